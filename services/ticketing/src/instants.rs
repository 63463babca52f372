//! Instants between the protos and jiff.

use jiff::Timestamp;

/// The proto's form of an instant.
pub(crate) fn to_proto(at: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

/// The first instant of the year 1, the earliest that a proto may hold, in seconds.
const FIRST_SECOND: i64 = -62_135_596_800;

/// The instant of a proto; none when it is out of range.
pub(crate) fn from_proto(at: &prost_types::Timestamp) -> Option<Timestamp> {
    if !(0..1_000_000_000).contains(&at.nanos) || at.seconds < FIRST_SECOND {
        return None;
    }
    Timestamp::new(at.seconds, at.nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_come_back_as_they_went() {
        for text in [
            "2026-03-01T12:00:00.123456Z",
            "1969-12-31T23:59:59.5Z",
            "1970-01-01T00:00:00Z",
        ] {
            let at: Timestamp = text.parse().expect("an instant");
            assert_eq!(from_proto(&to_proto(at)), Some(at));
        }
        assert_eq!(
            from_proto(&prost_types::Timestamp {
                seconds: 0,
                nanos: -1
            }),
            None
        );
        assert_eq!(
            from_proto(&prost_types::Timestamp {
                seconds: FIRST_SECOND - 1,
                nanos: 999_999_999
            }),
            None
        );
        assert_eq!(
            from_proto(&prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0
            }),
            None
        );
    }
}
