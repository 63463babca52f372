//! Rows for `COPY … WITH (FORMAT binary)`.

use sqlx::PgConnection;

/// Seconds from 1970 to 2000, where PostgreSQL's instants begin.
const EPOCH_2000_US: i64 = 946_684_800 * 1_000_000;
const OID_TEXT: i32 = 25;
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: i16 = -1;
/// Sent at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Rows of one table, one after another, each value in the type of its column.
#[derive(Debug)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    count: u64,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self {
            bytes: HEADER.to_vec(),
            count: 0,
        }
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Begins a row with so many values.
    pub(super) fn row(&mut self, values: i16) -> &mut Self {
        self.bytes.extend(values.to_be_bytes());
        self.count += 1;
        self
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.bytes.extend((-1_i32).to_be_bytes());
        self
    }

    /// `bigint`.
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

    pub(super) fn i32_or_null(&mut self, value: Option<i32>) -> &mut Self {
        match value {
            Some(value) => self.i32(value),
            None => self.null(),
        }
    }

    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.value(&[u8::from(value)])
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

    /// `text[]`.
    pub(super) fn texts(&mut self, values: &[&str]) -> &mut Self {
        let length = |count: usize| i32::try_from(count).expect("a short array");
        let bytes: usize = values.iter().map(|value| 4 + value.len()).sum();
        if values.is_empty() {
            self.head(12, &[0, 0, OID_TEXT]);
            return self;
        }
        self.head(
            length(20 + bytes),
            &[1, 0, OID_TEXT, length(values.len()), 1],
        );
        for value in values {
            self.text(value);
        }
        self
    }

    /// `timestamptz` from microseconds since 1970.
    pub(super) fn instant(&mut self, us: i64) -> &mut Self {
        self.i64(us - EPOCH_2000_US)
    }

    pub(super) fn instant_or_null(&mut self, us: Option<i64>) -> &mut Self {
        self.i64_or_null(us.map(|us| us - EPOCH_2000_US))
    }

    fn head(&mut self, bytes: i32, parts: &[i32]) {
        self.bytes.extend(bytes.to_be_bytes());
        for part in parts {
            self.bytes.extend(part.to_be_bytes());
        }
    }

    fn value(&mut self, value: &[u8]) -> &mut Self {
        let length = i32::try_from(value.len()).expect("a short value");
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(value);
        self
    }

    /// Puts the rows into a table.
    pub(super) async fn write(
        mut self,
        connection: &mut PgConnection,
        table: &str,
        columns: &str,
    ) -> Result<(), sqlx::Error> {
        if self.count == 0 {
            return Ok(());
        }
        self.bytes.extend(END.to_be_bytes());
        let statement = format!("COPY {table} ({columns}) FROM STDIN WITH (FORMAT binary)");
        let mut copy = connection.copy_in_raw(&statement).await?;
        for chunk in self.bytes.chunks(CHUNK_BYTES) {
            copy.send(chunk).await?;
        }
        copy.finish().await?;
        Ok(())
    }
}
