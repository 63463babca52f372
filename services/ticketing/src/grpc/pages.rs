//! Pages of lists that are ordered by an id.

use plazo_service::paging::{decode_page_token, encode_page_token, page_size};
use tonic::Status;

const DEFAULT_PAGE_SIZE: i32 = 50;

/// The page that a request asks for.
#[derive(Debug)]
pub(super) struct Page {
    filter: String,
    size: i64,
    /// The id after which the page begins; 0 for the first page.
    pub(super) after: i64,
}

impl Page {
    /// Reads size and token of a request. `filter` tells this list from others; tokens of others are
    /// refused.
    pub(super) fn read(filter: String, size: i32, token: &str) -> Result<Self, Status> {
        let size = page_size(size, DEFAULT_PAGE_SIZE)?;
        let [after] = decode_page_token(filter.as_bytes(), token)?.unwrap_or([0]);
        Ok(Self {
            filter,
            size,
            after,
        })
    }

    /// How many rows to read: one more than fit, to see whether another page follows.
    pub(super) fn limit(&self) -> i64 {
        self.size + 1
    }

    /// The rows of this page and the token of the next one.
    pub(super) fn finish<T>(&self, mut rows: Vec<T>, id: impl Fn(&T) -> i64) -> (Vec<T>, String) {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        if rows.len() <= size {
            return (rows, String::new());
        }
        rows.truncate(size);
        let token = rows
            .last()
            .map(|last| encode_page_token(self.filter.as_bytes(), [id(last)]));
        (rows, token.unwrap_or_default())
    }
}
