//! Times within the hours of a bot's calendar.

use plazo_domain::{Calendar, CalendarSpec, OpenInterval, WeeklyInterval};

use super::*;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const HOUR_MS: Option<i64> = Some(HOUR * 1_000);

fn weekdays(time_zone: &str, start_minute: u16, end_minute: u16) -> Calendar {
    let days = jiff::civil::Weekday::Monday.cycle_forward().take(5);
    let week = days.map(|weekday| WeeklyInterval {
        weekday,
        open: OpenInterval {
            start_minute,
            end_minute,
        },
    });
    Calendar::new(CalendarSpec {
        time_zone: time_zone.to_owned(),
        week: week.collect(),
        exceptions: Vec::new(),
    })
    .expect("it is a calendar")
}

#[test]
fn business_times_leave_out_the_weekend() {
    assert_eq!(at(0).to_string(), "2027-01-15T08:00:00Z", "a Friday");
    let friday_16 = 8 * HOUR;
    let monday_8 = 3 * DAY;
    let story = [
        (friday_16, Did::Opened),
        // Half an hour of Friday.
        (friday_16 + HOUR / 2, Did::Assigned(12)),
        // All of Friday's hour and half an hour of Monday's.
        (monday_8 + HOUR / 2, Did::Agent(12)),
        (monday_8 + HOUR, Did::Customer),
        (monday_8 + 2 * HOUR, Did::Agent(12)),
        (monday_8 + 3 * HOUR, Did::Closed),
        // Opened again by night and closed at nine.
        (monday_8 + DAY - 3 * HOUR, Did::Reopened(12)),
        (monday_8 + DAY + HOUR, Did::Closed),
    ];
    // Open from 8 to 17.
    let calendar = weekdays("UTC", 480, 1_020);
    let (record, _) = after(&story, Some(calendar));
    let hours = |hours: i64| Some(hours * HOUR * 1_000);
    let expected = BusinessTimes {
        wait_ms: Some(HOUR * 500),
        first_response_ms: Some(HOUR * 1_500),
        later_response_ms: HOUR_MS,
        first_resolution_ms: hours(4),
        // Until Tuesday nine: one, nine and one.
        full_resolution_ms: hours(11),
        // Half an hour of Friday, three hours of Monday, one of Tuesday.
        handling_ms: Some(HOUR * 4_500),
    };
    assert_eq!(record.facts.business, expected);
    assert_eq!(record.facts.calendar_version, 1);
}

#[test]
fn business_times_follow_a_change_of_the_clock() {
    // On Sunday, 28 March 2027, clocks in Berlin go from 2:00 to 3:00.
    let every_day = CalendarSpec {
        time_zone: "Europe/Berlin".to_owned(),
        week: jiff::civil::Weekday::Monday
            .cycle_forward()
            .take(7)
            .map(|weekday| WeeklyInterval {
                weekday,
                open: OpenInterval {
                    start_minute: 60,
                    end_minute: 300,
                },
            })
            .collect(),
        exceptions: Vec::new(),
    };
    let calendar = Calendar::new(every_day).expect("it is a calendar");
    let midnight: jiff::Timestamp = "2027-03-27T23:00:00Z".parse().expect("an instant");
    let opened = midnight.as_second() - at(0).as_second();
    let story = [
        (opened, Did::Opened),
        // Opens at 1:00; 2:30 there is none, so 3:30 is an hour and a half later.
        (opened + 2 * HOUR + HOUR / 2, Did::Assigned(12)),
        // Eight o'clock, after the end at 5:00.
        (opened + 7 * HOUR, Did::Closed),
    ];
    let (record, _) = after(&story, Some(calendar));
    assert_eq!(record.facts.business.wait_ms, Some(HOUR * 1_500));
    assert_eq!(
        record.facts.business.full_resolution_ms,
        Some(3 * HOUR * 1_000),
        "the hour that is left out is no open time"
    );
}

#[test]
fn superseded_closes_leave_no_business_time_either() {
    let story = [
        (0, Did::OpenedFor(12)),
        (HOUR, Did::Closed),
        (2 * HOUR, Did::Superseded(12)),
    ];
    let (record, _) = after(&story, Some(weekdays("UTC", 480, 1_020)));
    let expected = BusinessTimes {
        wait_ms: Some(0),
        later_response_ms: Some(0),
        handling_ms: Some(0),
        ..BusinessTimes::default()
    };
    assert_eq!(record.facts.business, expected);
    assert_eq!(record.facts.handled_since, Some(at(0)), "the span goes on");
}
