//! Calendars between the protos and the domain.

use jiff::civil::{Date, Weekday};
use plazo_domain::{
    Calendar, CalendarSpec, DateException, MINUTES_IN_DAY, OpenInterval, Violation, WeeklyInterval,
};
use plazo_proto::ticketing::v1 as proto;

/// More violations than these are of no use to anybody.
const MAX_VIOLATIONS: usize = 100;

/// Reads time zone, week and exceptions. The error is everything that is wrong with them, with fields named as in a
/// request that carries the calendar in its field `calendar`.
pub fn calendar_from_proto(calendar: &proto::Calendar) -> Result<Calendar, Vec<Violation>> {
    let mut violations = Vec::new();
    let mut week = Vec::with_capacity(calendar.week.len());
    for (index, weekly) in calendar.week.iter().enumerate() {
        let field = format!("calendar.week[{index}]");
        let weekday = weekday_from_proto(weekly.weekday);
        if weekday.is_none() {
            let reason = "must be one of the known values";
            violations.push(Violation::new(format!("{field}.weekday"), reason));
        }
        if weekly.open.is_none() {
            violations.push(Violation::new(format!("{field}.open"), "must be set"));
        }
        let open = weekly
            .open
            .and_then(|open| interval_from_proto(&format!("{field}.open"), open, &mut violations));
        week.extend(
            weekday
                .zip(open)
                .map(|(weekday, open)| WeeklyInterval { weekday, open }),
        );
    }
    let mut exceptions = Vec::with_capacity(calendar.exceptions.len());
    for (index, exception) in calendar.exceptions.iter().enumerate() {
        let field = format!("calendar.exceptions[{index}]");
        let date = date_from_proto(&exception.date);
        if date.is_none() {
            let reason = "must be a date that exists, written YYYY-MM-DD";
            violations.push(Violation::new(format!("{field}.date"), reason));
        }
        let intervals = exception.open.iter().enumerate();
        let open = intervals.filter_map(|(index, open)| {
            interval_from_proto(&format!("{field}.open[{index}]"), *open, &mut violations)
        });
        let open = open.collect();
        exceptions.extend(date.map(|date| DateException {
            date,
            name: exception.name.clone(),
            open,
        }));
    }
    // With values left out, the places of the others are not those of the request any more.
    if !violations.is_empty() {
        violations.truncate(MAX_VIOLATIONS);
        return Err(violations);
    }
    Calendar::new(CalendarSpec {
        time_zone: calendar.time_zone.clone(),
        week,
        exceptions,
    })
    .map_err(|mut violations| {
        violations.truncate(MAX_VIOLATIONS);
        violations
    })
}

fn weekday_from_proto(number: i32) -> Option<Weekday> {
    let number = i8::try_from(number).ok()?;
    Weekday::from_monday_one_offset(number).ok()
}

/// A date in the one form that is accepted. jiff alone takes others, too.
fn date_from_proto(text: &str) -> Option<Date> {
    let date: Date = text.parse().ok()?;
    (date.to_string() == text).then_some(date)
}

fn interval_from_proto(
    field: &str,
    open: proto::OpenInterval,
    violations: &mut Vec<Violation>,
) -> Option<OpenInterval> {
    let mut minute = |name: &str, value: i32, lower: &str, last: u16| {
        let minute = u16::try_from(value).ok().filter(|it| *it <= last);
        if minute.is_none() {
            let reason = format!("must be {lower} {last}, is {value}");
            violations.push(Violation::new(format!("{field}.{name}"), reason));
        }
        minute
    };
    let (start, end) = (open.start_minute, open.end_minute);
    let start_minute = minute("start_minute", start, "0 to", MINUTES_IN_DAY - 1);
    let lower = "above start_minute and at most";
    let end_minute = minute("end_minute", end, lower, MINUTES_IN_DAY);
    Some(OpenInterval {
        start_minute: start_minute?,
        end_minute: end_minute?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar() -> proto::Calendar {
        proto::Calendar {
            time_zone: "America/Sao_Paulo".to_owned(),
            week: vec![proto::WeeklyInterval {
                weekday: proto::Weekday::Monday.into(),
                open: Some(proto::OpenInterval {
                    start_minute: 540,
                    end_minute: 1_080,
                }),
            }],
            exceptions: vec![proto::DateException {
                date: "2026-12-25".to_owned(),
                name: "Natal".to_owned(),
                open: Vec::new(),
            }],
            ..proto::Calendar::default()
        }
    }

    #[test]
    fn each_wrong_value_is_named() {
        type Spoil = fn(&mut proto::Calendar);
        assert!(calendar_from_proto(&calendar()).is_ok());
        let cases: [(&str, Spoil); 10] = [
            ("calendar.time_zone", |c| {
                c.time_zone = "Brasilia".to_owned();
            }),
            ("calendar.week", |c| c.week.clear()),
            ("calendar.week[0].weekday", |c| c.week[0].weekday = 8),
            ("calendar.week[0].open", |c| c.week[0].open = None),
            ("calendar.week[0].open.start_minute", |c| {
                c.week[0].open.as_mut().expect("set").start_minute = -1;
            }),
            ("calendar.week[0].open.end_minute", |c| {
                c.week[0].open.as_mut().expect("set").end_minute = 70_000;
            }),
            ("calendar.week[0].open.end_minute", |c| {
                c.week[0].open.as_mut().expect("set").end_minute = 540;
            }),
            ("calendar.week[1].open", |c| {
                let first = c.week[0];
                c.week.push(first);
            }),
            ("calendar.exceptions[0].date", |c| {
                c.exceptions[0].date = "2026-02-30".to_owned();
            }),
            ("calendar.exceptions[0].date", |c| {
                c.exceptions[0].date = "20261225".to_owned();
            }),
        ];
        for (field, spoil) in cases {
            let mut spoilt = calendar();
            spoil(&mut spoilt);
            let violations = calendar_from_proto(&spoilt).expect_err(field);
            assert_eq!(violations[0].field, field);
        }
    }

    #[test]
    fn the_limits_of_minutes_are_told_as_they_are() {
        for (start, end, reasons) in [
            (0, 1_440, vec![]),
            (1_439, 1_440, vec![]),
            (1_440, 1_440, vec!["must be 0 to 1439, is 1440"]),
            (
                -1,
                1_441,
                vec![
                    "must be 0 to 1439, is -1",
                    "must be above start_minute and at most 1440, is 1441",
                ],
            ),
        ] {
            let mut spoilt = calendar();
            spoilt.week[0].open = Some(proto::OpenInterval {
                start_minute: start,
                end_minute: end,
            });
            let violations = calendar_from_proto(&spoilt).err().unwrap_or_default();
            let told: Vec<&str> = violations.iter().map(|it| it.reason.as_str()).collect();
            assert_eq!(told, reasons, "{start} to {end}");
        }
    }
}
