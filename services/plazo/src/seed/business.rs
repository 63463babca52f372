//! Business time of the calendar that seeded bots have.

use plazo_proto::ticketing::v1::{Calendar, OpenInterval, WeeklyInterval};

/// Where it is always three hours before UTC, so that a day has 24 hours.
pub(super) const TIME_ZONE: &str = "Etc/GMT+3";
const OFFSET_MS: i64 = -3 * 3_600_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// 1970 began on a Thursday.
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// Day of the week from Monday, and the minutes of the day in which it is open.
const OPEN: [(i64, i64, i64); 11] = [
    (0, 8 * 60, 12 * 60),
    (0, 13 * 60, 18 * 60),
    (1, 8 * 60, 12 * 60),
    (1, 13 * 60, 18 * 60),
    (2, 8 * 60, 12 * 60),
    (2, 13 * 60, 18 * 60),
    (3, 8 * 60, 12 * 60),
    (3, 13 * 60, 18 * 60),
    (4, 8 * 60, 12 * 60),
    (4, 13 * 60, 18 * 60),
    (5, 9 * 60, 13 * 60),
];

/// How long it is open in a week.
const OPEN_IN_WEEK_MS: i64 = (5 * 9 + 4) * 60 * MINUTE_MS;

/// The calendar as ticketing would tell it.
pub fn calendar(bot_id: i64) -> Calendar {
    let minute = |value: i64| i32::try_from(value).expect("a minute of a day");
    Calendar {
        calendar_id: bot_id,
        name: "Horário de atendimento".to_owned(),
        time_zone: TIME_ZONE.to_owned(),
        week: OPEN
            .iter()
            .map(|(day, from, until)| WeeklyInterval {
                weekday: minute(day + 1),
                open: Some(OpenInterval {
                    start_minute: minute(*from),
                    end_minute: minute(*until),
                }),
            })
            .collect(),
        exceptions: Vec::new(),
        etag: String::new(),
    }
}

/// For how long it was open between two instants, in milliseconds since 1970.
pub(super) fn open_ms(from_ms: i64, until_ms: i64) -> i64 {
    opened_until(until_ms) - opened_until(from_ms)
}

/// For how long it was open since some Monday.
fn opened_until(at_ms: i64) -> i64 {
    let local_ms = at_ms + OFFSET_MS - FIRST_MONDAY_MS;
    let (weeks, in_week_ms) = (local_ms.div_euclid(WEEK_MS), local_ms.rem_euclid(WEEK_MS));
    let in_week: i64 = OPEN
        .iter()
        .map(|(day, from, until)| {
            let start_ms = day * DAY_MS + from * MINUTE_MS;
            (in_week_ms - start_ms).clamp(0, (until - from) * MINUTE_MS)
        })
        .sum();
    weeks * OPEN_IN_WEEK_MS + in_week
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_hours_count() {
        // Monday 2026-01-05, 00:00 of the zone.
        let monday_ms = 1_767_582_000_000;
        for (from_h, until_h, expected_h) in [
            (0, 8, 0),
            (0, 9, 1),
            (11, 14, 2),
            (12, 13, 0),
            (17, 24 + 9, 2),
            (0, 7 * 24, 49),
            // Friday afternoon to Monday morning, with the Saturday.
            (4 * 24 + 17, 7 * 24 + 9, 1 + 4 + 1),
            (5 * 24 + 13, 7 * 24 + 8, 0),
        ] {
            let at = |hours: i64| monday_ms + hours * 3_600_000;
            assert_eq!(
                open_ms(at(from_h), at(until_h)),
                expected_h * 3_600_000,
                "{from_h} to {until_h}"
            );
        }
    }
}
