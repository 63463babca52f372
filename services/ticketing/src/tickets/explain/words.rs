//! Instants, lengths of time and people in plain English.

use jiff::Timestamp;
use plazo_domain::{Alert, Calendar, Stage, TimeUnit, TimeValue};
use plazo_proto::common::v1::{Author, AuthorKind};

/// An instant in RFC 3339, UTC, with milliseconds; what is below is cut off.
pub(super) fn instant(at: Timestamp) -> String {
    let whole = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
    format!("{whole:.3}")
}

/// From one instant to another in milliseconds, cut off; 0 when it lies before.
pub(super) fn millis_between(from: Timestamp, to: Timestamp) -> i64 {
    let nanos = to.as_nanosecond() - from.as_nanosecond();
    i64::try_from(nanos.max(0) / 1_000_000).unwrap_or(i64::MAX)
}

/// A length of time, as in `4 ms`, `10 s`, `5.250 s`, `1 min 30 s` and `2 h`. From a minute on milliseconds are left
/// out, from a day on seconds.
pub(super) fn length(millis: i64) -> String {
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    if millis < TimeUnit::Minute.millis() {
        let (whole, rest) = (millis / 1_000, millis % 1_000);
        return if rest == 0 {
            format!("{whole} s")
        } else {
            format!("{whole}.{rest:03} s")
        };
    }
    let mut left = millis;
    let mut parts = Vec::new();
    for unit in TimeUnit::LONGEST_FIRST {
        if unit == TimeUnit::Second && millis >= TimeUnit::Day.millis() {
            break;
        }
        let count = left / unit.millis();
        left %= unit.millis();
        if count > 0 {
            parts.push(format!("{count} {}", unit.symbol()));
        }
    }
    parts.join(" ")
}

/// The length from one instant to another.
pub(super) fn between(from: Timestamp, to: Timestamp) -> String {
    length(millis_between(from, to))
}

/// A length of time as it was set.
pub(super) fn as_set(value: TimeValue, calendar: Option<&Calendar>) -> String {
    let open_time = of_open_time(calendar);
    format!("{} {}{open_time}", value.value(), value.unit().symbol())
}

/// By which clock a length of time is counted, if it is that of a calendar.
pub(super) fn of_open_time(calendar: Option<&Calendar>) -> String {
    calendar.map_or(String::new(), |calendar| {
        format!(" of open time ({})", calendar.spec().time_zone)
    })
}

/// How late something was.
pub(super) fn lateness(due_at: Timestamp, at: Timestamp) -> String {
    match millis_between(due_at, at) {
        0 => "on time".to_owned(),
        late_ms => format!("{} late", length(late_ms)),
    }
}

/// A stage.
pub(super) const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::FirstAlert => "yellow alert",
        Stage::SecondAlert => "red alert",
        Stage::Warning => "warning",
        Stage::Close => "close",
    }
}

/// An alert that shows.
pub(super) const fn alert(alert: Alert) -> &'static str {
    match alert {
        Alert::None => "no alert",
        Alert::Yellow => "the yellow alert",
        Alert::Red => "the red alert",
    }
}

/// Who did something, by kind and number: never by name.
pub(super) fn author(author: Option<&Author>) -> String {
    let Some(author) = author else {
        return "somebody".to_owned();
    };
    match author.kind() {
        AuthorKind::Customer => "the customer".to_owned(),
        AuthorKind::Agent => format!("agent {}", author.id),
        AuthorKind::Bot => "the bot".to_owned(),
        AuthorKind::System => "Plazo".to_owned(),
        AuthorKind::Service => "another back end".to_owned(),
        AuthorKind::Administrator => format!("administrator {}", author.id),
        AuthorKind::Unspecified => "somebody".to_owned(),
    }
}

/// Things one after another, the last with "and".
pub(super) fn list(things: &[String]) -> String {
    match things {
        [] => String::new(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_readable() {
        for (millis, expected) in [
            (0, "0 ms"),
            (4, "4 ms"),
            (10_000, "10 s"),
            (10_004, "10.004 s"),
            (60_000, "1 min"),
            (90_250, "1 min 30 s"),
            (7_200_000, "2 h"),
            (90_061_000, "1 d 1 h 1 min"),
        ] {
            assert_eq!(length(millis), expected);
        }
    }

    #[test]
    fn instants_have_milliseconds_and_are_never_rounded_up() {
        let at = Timestamp::from_microsecond(1_795_341_610_004_999).expect("in range");
        assert_eq!(instant(at), "2026-11-22T10:00:10.004Z");
        assert_eq!(instant(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        let earlier = Timestamp::from_microsecond(1_795_341_610_000_000).expect("in range");
        assert_eq!(lateness(earlier, at), "4 ms late");
        assert_eq!(lateness(at, at), "on time");
    }
}
