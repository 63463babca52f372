//! Pages of lists that are ordered by an id.

use plazo_service::paging::{decode_page_token, encode_page_token, page_size};
use tonic::Status;

use crate::fitting::fitting;

const DEFAULT_PAGE_SIZE: i32 = 50;
/// A page must not outgrow what callers take in one message.
const PAGE_BYTES: usize = 1 << 20;

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
    pub(super) fn finish<T>(&self, rows: Vec<T>, id: impl Fn(&T) -> i64) -> (Vec<T>, String) {
        self.finish_by_size(rows, id, |_| 0)
    }

    /// The same for rows with texts of people: the page ends earlier when they are long.
    pub(super) fn finish_by_size<T>(
        &self,
        mut rows: Vec<T>,
        id: impl Fn(&T) -> i64,
        bytes: impl Fn(&T) -> usize,
    ) -> (Vec<T>, String) {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let fits = fitting(rows.iter().map(bytes), PAGE_BYTES).min(size);
        if rows.len() <= fits {
            return (rows, String::new());
        }
        rows.truncate(fits);
        let token = rows
            .last()
            .map(|last| encode_page_token(self.filter.as_bytes(), [id(last)]));
        (rows, token.unwrap_or_default())
    }
}
