//! Lateness over time, for the picture and for the log in the format of `HdrHistogram`.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use super::lateness::{LatenessUs, new_histogram};

/// Values are microseconds, and shown as milliseconds.
const MAX_VALUE_DIVISOR: f64 = 1_000.0;

/// One interval in which something was handled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    /// Its place, from 0.
    pub(super) index: usize,
    /// How many were handled.
    pub(super) fired: u64,
    /// The middle lateness, in microseconds.
    pub(super) p50_us: u64,
    /// One in a hundred was later.
    pub(super) p99_us: u64,
    /// The longest.
    pub(super) max_us: u64,
}

/// Intervals that are over.
#[derive(Debug)]
pub(super) struct Timeline {
    interval_ms: u32,
    pub(super) points: Vec<Point>,
    log: Vec<u8>,
}

impl Timeline {
    /// Nothing yet.
    pub(super) fn new(interval_ms: u32) -> Self {
        Self {
            interval_ms,
            points: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Adds intervals, and returns what was handled in them.
    pub(super) fn absorb(&mut self, finished: Vec<(usize, LatenessUs)>) -> LatenessUs {
        let mut all = new_histogram();
        for (index, histogram) in finished {
            self.points.push(Point {
                index,
                fired: histogram.len(),
                p50_us: histogram.value_at_quantile(0.5),
                p99_us: histogram.value_at_quantile(0.99),
                max_us: histogram.max(),
            });
            self.write(index, &histogram);
            // They have the same bounds.
            let _ = all.add(&histogram);
        }
        all
    }

    fn write(&mut self, index: usize, histogram: &LatenessUs) {
        let length = Duration::from_millis(self.interval_ms.into());
        let start = length.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
        let mut serializer = V2DeflateSerializer::new();
        let mut line = Vec::new();
        let written = IntervalLogWriterBuilder::new()
            .with_max_value_divisor(MAX_VALUE_DIVISOR)
            .begin_log_with(&mut line, &mut serializer)
            .map_err(|error| error.to_string())
            .and_then(|mut writer| {
                let written = writer.write_histogram(histogram, start, length, None);
                written.map_err(|error| error.to_string())
            });
        if let Err(error) = written {
            // Memory takes everything, so it can only be the histogram.
            tracing::error!(error, "an interval can't be written");
            return;
        }
        // The header stands in the file once.
        let body = line.split_inclusive(|byte| *byte == b'\n');
        self.log
            .extend(body.filter(|line| !line.starts_with(b"#")).flatten());
    }

    /// The log of all intervals, in version 1.3 of the format that the tools of `HdrHistogram` read.
    pub(super) fn log(&self, start_us: i64, comment: &str) -> Vec<u8> {
        let mut log = Vec::new();
        let start = UNIX_EPOCH + Duration::from_micros(u64::try_from(start_us).unwrap_or(0));
        // Memory takes everything.
        let _ = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(comment)
            .add_comment("Values are lateness in microseconds; Interval_Max is in milliseconds.")
            .with_start_time(start)
            .with_max_value_divisor(MAX_VALUE_DIVISOR)
            .begin_log_with(&mut log, &mut V2DeflateSerializer::new());
        log.extend(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        );
        log.extend(&self.log);
        log
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn the_log_can_be_read_back() {
        let mut timeline = Timeline::new(500);
        let mut histogram = new_histogram();
        for value in [1_000, 2_000, 30_000] {
            histogram.record(value).expect("it is within the bounds");
        }
        let all = timeline.absorb(vec![(0, histogram.clone()), (3, histogram)]);
        assert_eq!(all.len(), 6);
        let log = timeline.log(1_700_000_000_000_000, "a load");
        let text = String::from_utf8(log.clone()).expect("text");
        assert!(
            text.starts_with("#[Histogram log format version 1.3]\n"),
            "{text}"
        );
        let mut starts = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            let LogEntry::Interval(interval) = entry.expect("it is well-formed") else {
                continue;
            };
            starts.push(interval.start_timestamp().as_millis());
            assert_eq!(interval.duration(), Duration::from_millis(500));
            let bytes = read_base64(interval.encoded_histogram());
            let read: LatenessUs = Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .expect("a histogram");
            assert_eq!(read.len(), 3);
            assert!(read.max().abs_diff(30_000) < 30);
        }
        assert_eq!(starts, [0, 1_500]);
    }

    /// The twelve lines that spare a crate.
    fn read_base64(text: &str) -> Vec<u8> {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let place = |letter: u8| LETTERS.iter().position(|l| *l == letter);
        let mut bytes = Vec::new();
        let (mut bits, mut count) = (0, 0);
        for six in text.bytes().map_while(place) {
            bits = (bits << 6 | six) & 0xffff;
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
            }
        }
        bytes
    }
}
