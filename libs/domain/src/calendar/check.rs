//! What is refused in a calendar. The number of violations is bounded, whatever is sent: what lies
//! beyond a limit is not looked at.

use std::collections::BTreeMap;

use jiff::civil::{Date, Weekday};

use super::spec::{
    DateException, MAX_DAY_INTERVALS, MAX_EXCEPTION_NAME_CHARS, MAX_EXCEPTIONS, MINUTES_IN_DAY,
    OpenInterval, WeeklyInterval,
};
use crate::violation::{Violation, check_length, check_line};

/// Checks the weekly intervals, day by day.
pub(super) fn check_week(week: &[WeeklyInterval], violations: &mut Vec<Violation>) {
    const FIELD: &str = "calendar.week";
    if week.is_empty() {
        violations.push(Violation::new(FIELD, "must hold at least one interval"));
    }
    for weekday in Weekday::Monday.cycle_forward().take(7) {
        let of_day: Vec<_> = week
            .iter()
            .enumerate()
            .filter(|(_, weekly)| weekly.weekday == weekday)
            .map(|(index, weekly)| (format!("{FIELD}[{index}].open"), weekly.open))
            .collect();
        if of_day.len() > MAX_DAY_INTERVALS {
            let count = of_day.len();
            let reason = format!(
                "must be at most {MAX_DAY_INTERVALS} intervals a weekday, are {count} on {weekday:?}"
            );
            violations.push(Violation::new(FIELD, reason));
        }
        check_day(&of_day, violations);
    }
}

/// Checks the dates that differ from their weekday.
pub(super) fn check_exceptions(exceptions: &[DateException], violations: &mut Vec<Violation>) {
    const FIELD: &str = "calendar.exceptions";
    if exceptions.len() > MAX_EXCEPTIONS {
        let reason = format!("must be at most {MAX_EXCEPTIONS}, are {}", exceptions.len());
        violations.push(Violation::new(FIELD, reason));
    }
    let mut first_of_date: BTreeMap<Date, usize> = BTreeMap::new();
    for (index, exception) in exceptions.iter().enumerate().take(MAX_EXCEPTIONS) {
        let field = format!("{FIELD}[{index}]");
        let first = *first_of_date.entry(exception.date).or_insert(index);
        if first != index {
            let reason = format!("must not repeat the date of {FIELD}[{first}]");
            violations.push(Violation::new(format!("{field}.date"), reason));
        }
        let name = format!("{field}.name");
        check_length(&name, &exception.name, MAX_EXCEPTION_NAME_CHARS, violations);
        check_line(&name, &exception.name, violations);
        let open = format!("{field}.open");
        if exception.open.len() > MAX_DAY_INTERVALS {
            let count = exception.open.len();
            let reason = format!("must be at most {MAX_DAY_INTERVALS} intervals, are {count}");
            violations.push(Violation::new(&open, reason));
        }
        let of_day: Vec<_> = exception
            .open
            .iter()
            .enumerate()
            .map(|(index, interval)| (format!("{open}[{index}]"), *interval))
            .collect();
        check_day(&of_day, violations);
    }
}

/// Checks the first [`MAX_DAY_INTERVALS`] intervals of one day, each with its field.
fn check_day(of_day: &[(String, OpenInterval)], violations: &mut Vec<Violation>) {
    let mut sound: Vec<&(String, OpenInterval)> = Vec::new();
    for named in of_day.iter().take(MAX_DAY_INTERVALS) {
        let (field, interval) = named;
        if !check_interval(field, *interval, violations) {
            continue;
        }
        if let Some((earlier, _)) = sound.iter().find(|(_, other)| overlap(*interval, *other)) {
            let reason = format!("must not overlap {earlier}");
            violations.push(Violation::new(field, reason));
        }
        sound.push(named);
    }
}

/// Checks one interval alone. Returns whether it is sound.
fn check_interval(field: &str, interval: OpenInterval, violations: &mut Vec<Violation>) -> bool {
    const LAST_START: u16 = MINUTES_IN_DAY - 1;
    let count_before = violations.len();
    let OpenInterval {
        start_minute,
        end_minute,
    } = interval;
    if start_minute > LAST_START {
        let reason = format!("must be at most {LAST_START}, is {start_minute}");
        violations.push(Violation::new(format!("{field}.start_minute"), reason));
    }
    if end_minute > MINUTES_IN_DAY {
        let reason = format!("must be at most {MINUTES_IN_DAY}, is {end_minute}");
        violations.push(Violation::new(format!("{field}.end_minute"), reason));
    } else if start_minute <= LAST_START && end_minute <= start_minute {
        let reason = format!(
            "must be above start_minute, {start_minute}, is {end_minute}; write an interval over \
             midnight as two: one to {MINUTES_IN_DAY} and one from 0 of the next day"
        );
        violations.push(Violation::new(format!("{field}.end_minute"), reason));
    }
    violations.len() == count_before
}

/// Whether two intervals of one day share a minute. Touching ones do not.
fn overlap(one: OpenInterval, other: OpenInterval) -> bool {
    one.start_minute < other.end_minute && other.start_minute < one.end_minute
}
