//! How late things were.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest lateness that is told from longer ones: a day.
const LATENESS_US_MAX: u64 = 24 * 3_600 * 1_000_000;
/// Values are kept to a thousandth.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of microseconds.
pub(super) type LatenessUs = Histogram<u64>;

/// An empty histogram.
pub(super) fn new_histogram() -> LatenessUs {
    Histogram::new_with_bounds(1, LATENESS_US_MAX, SIGNIFICANT_DIGITS)
        .expect("these bounds are valid")
}

/// Records one lateness. What is below zero, which is counted elsewhere, is recorded as zero.
pub(super) fn record(histogram: &mut LatenessUs, late_us: i64) {
    histogram.saturating_record(u64::try_from(late_us).unwrap_or(0));
}

/// Whole microseconds as milliseconds with three digits.
#[expect(
    clippy::cast_precision_loss,
    reason = "lateness is far below 2^53 microseconds"
)]
pub(super) fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// Percentiles in milliseconds; null when there is no value.
pub(super) fn summary_json(histogram: &LatenessUs) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let at = |quantile| millis(histogram.value_at_quantile(quantile));
    json!({
        "count": histogram.len(),
        "min": millis(histogram.min()),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": millis(histogram.max()),
    })
}
