//! Instants of the protos and of this program.

use prost_types::Timestamp;

/// None for an unset timestamp and for one outside of the years -9999 to 9999. Rounded down to the microseconds that
/// PostgreSQL keeps, so that what is compared in the program is what is stored.
pub(crate) fn from_proto(timestamp: Option<Timestamp>) -> Option<jiff::Timestamp> {
    let Timestamp { seconds, nanos } = timestamp?;
    let exact = jiff::Timestamp::new(seconds, nanos).ok()?;
    jiff::Timestamp::from_microsecond(exact.as_nanosecond().div_euclid(1_000).try_into().ok()?).ok()
}

/// The proto's form of an instant.
pub(crate) fn to_proto(at: jiff::Timestamp) -> Timestamp {
    // Before 1970 jiff counts both parts downwards; protos want the nanoseconds upwards.
    let nanos = at.as_nanosecond();
    let seconds = nanos.div_euclid(1_000_000_000);
    Timestamp {
        seconds: i64::try_from(seconds).unwrap_or_default(),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
    }
}
