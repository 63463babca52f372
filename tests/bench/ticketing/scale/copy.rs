//! Rows for `COPY … WITH (FORMAT binary)`.

use sqlx::PgConnection;

/// Seconds from 1970 to 2000, where PostgreSQL's instants begin.
const EPOCH_2000_US: i64 = 946_684_800 * 1_000_000;
const OID_INT8: i32 = 20;
const OID_TEXT: i32 = 25;
/// Sent at once.
const CHUNK_BYTES: usize = 1 << 20;

/// One row after another, each value in the type of its column.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
}

impl Rows {
    /// Begins a row with so many values.
    pub(super) fn row(&mut self, values: usize) -> &mut Self {
        let values = i16::try_from(values).expect("a table has few columns");
        self.bytes.extend(values.to_be_bytes());
        self
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.bytes.extend((-1_i32).to_be_bytes());
        self
    }

    /// `bigint`, `xid8`.
    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    pub(super) fn i64_or_null(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.i64(value),
            None => self.null(),
        }
    }

    /// `integer`.
    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    /// `smallint`.
    pub(super) fn i16(&mut self, value: i16) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    pub(super) fn i32_or_null(&mut self, value: Option<i32>) -> &mut Self {
        match value {
            Some(value) => self.i32(value),
            None => self.null(),
        }
    }

    pub(super) fn i16_or_null(&mut self, value: Option<i16>) -> &mut Self {
        match value {
            Some(value) => self.i16(value),
            None => self.null(),
        }
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.value(value.as_bytes())
    }

    pub(super) fn text_or_null(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    /// `bytea`, `uuid`.
    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.value(value)
    }

    /// `timestamptz` from microseconds since 1970.
    pub(super) fn instant(&mut self, us: i64) -> &mut Self {
        self.i64(us - EPOCH_2000_US)
    }

    pub(super) fn instant_or_null(&mut self, us: Option<i64>) -> &mut Self {
        self.i64_or_null(us.map(|us| us - EPOCH_2000_US))
    }

    /// `text[]` with nothing in it.
    pub(super) fn no_texts(&mut self) -> &mut Self {
        self.bytes.extend(12_i32.to_be_bytes());
        for part in [0, 0, OID_TEXT] {
            self.bytes.extend(part.to_be_bytes());
        }
        self
    }

    /// `bigint[]`.
    pub(super) fn i64s(&mut self, values: &[i64]) -> &mut Self {
        let count = i32::try_from(values.len()).expect("a short array");
        self.bytes.extend((20 + 12 * count).to_be_bytes());
        for part in [1, 0, OID_INT8, count, 1] {
            self.bytes.extend(part.to_be_bytes());
        }
        for value in values {
            self.i64(*value);
        }
        self
    }

    fn value(&mut self, value: &[u8]) -> &mut Self {
        let length = i32::try_from(value.len()).expect("a short value");
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(value);
        self
    }
}

/// Copies rows into a table: `add` adds those for a number, for each number of the range.
pub(super) async fn copy(
    connection: &mut PgConnection,
    statement: &str,
    numbers: std::ops::RangeInclusive<i64>,
    mut add: impl FnMut(&mut Rows, i64),
) {
    let mut copy = connection
        .copy_in_raw(statement)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    let mut rows = Rows::default();
    rows.bytes.extend(b"PGCOPY\n\xff\r\n\0");
    rows.bytes.extend([0; 8]);
    for number in numbers {
        add(&mut rows, number);
        if rows.bytes.len() >= CHUNK_BYTES {
            copy.send(&rows.bytes[..])
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
            rows.bytes.clear();
        }
    }
    rows.bytes.extend((-1_i16).to_be_bytes());
    copy.send(&rows.bytes[..]).await.expect("the end is sent");
    copy.finish()
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}
