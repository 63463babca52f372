//! Pages of rows, bounded by number and by the size of their texts.

use futures::{Stream, StreamExt as _};

use super::view::{CommentView, ContactView, TicketView};
use crate::model::Entry;

/// A page ends when its texts reach this size, so that it fits into a message whatever they are.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) has_more: bool,
}

/// Something whose texts may be long.
pub(super) trait Weighed {
    fn text_bytes(&self) -> usize;
}

impl Weighed for TicketView {
    fn text_bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let note = length(&self.close_category) + length(&self.close_summary);
        note + self.tags.iter().map(String::len).sum::<usize>()
    }
}

impl Weighed for Entry {
    fn text_bytes(&self) -> usize {
        self.text.len() + self.attachment_urls.iter().map(String::len).sum::<usize>()
    }
}

impl Weighed for CommentView {
    fn text_bytes(&self) -> usize {
        self.entry.text_bytes()
    }
}

impl Weighed for ContactView {
    fn text_bytes(&self) -> usize {
        self.name.len() + self.email.len() + self.address.len()
    }
}

/// Reads rows until the page is full by number or by bytes; at least one, so that each page goes on.
pub(super) async fn collect_page<T: Weighed>(
    rows: impl Stream<Item = Result<T, sqlx::Error>>,
    page_size: i64,
) -> Result<Page<T>, sqlx::Error> {
    let page_size = usize::try_from(page_size).unwrap_or(1);
    let mut rows = std::pin::pin!(rows);
    let mut items: Vec<T> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next().await {
        if items.len() >= page_size || bytes >= MAX_PAGE_BYTES {
            return Ok(Page {
                items,
                has_more: true,
            });
        }
        let item = row?;
        bytes += item.text_bytes();
        items.push(item);
    }
    Ok(Page {
        items,
        has_more: false,
    })
}
