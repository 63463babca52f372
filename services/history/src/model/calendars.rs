//! The calendars that business time is counted by.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Weekday;
use plazo_domain::{Calendar, CalendarSpec, DateException, OpenInterval, WeeklyInterval};
use plazo_proto::ticketing::v1 as proto;

use super::Refusal;

/// A version of a calendar. Versions never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CalendarKey {
    pub(crate) tenant_id: i64,
    /// 0 for none.
    pub(crate) calendar_version: i64,
}

/// The versions that some events need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calendars(HashMap<CalendarKey, Arc<Calendar>>);

impl Calendars {
    pub(crate) fn insert(&mut self, key: CalendarKey, calendar: Arc<Calendar>) {
        self.0.insert(key, calendar);
    }

    /// None for version 0.
    pub(super) fn find(&self, key: CalendarKey) -> Result<Option<&Calendar>, Refusal> {
        let CalendarKey {
            tenant_id,
            calendar_version,
        } = key;
        if calendar_version == 0 {
            return Ok(None);
        }
        let found = self.0.get(&key).ok_or(Refusal::NoCalendar {
            tenant_id,
            calendar_version,
        })?;
        Ok(Some(found))
    }
}

/// The calendar that ticketing told of; none when this program can't read it.
pub(crate) fn calendar_from_proto(calendar: &proto::Calendar) -> Option<Calendar> {
    let week = calendar.week.iter().map(|weekly| {
        let weekday = Weekday::from_monday_one_offset(i8::try_from(weekly.weekday).ok()?).ok()?;
        let open = interval(weekly.open?)?;
        Some(WeeklyInterval { weekday, open })
    });
    let exceptions = calendar.exceptions.iter().map(|exception| {
        Some(DateException {
            date: exception.date.parse().ok()?,
            name: exception.name.clone(),
            open: exception
                .open
                .iter()
                .copied()
                .map(interval)
                .collect::<Option<_>>()?,
        })
    });
    let spec = CalendarSpec {
        time_zone: calendar.time_zone.clone(),
        week: week.collect::<Option<_>>()?,
        exceptions: exceptions.collect::<Option<_>>()?,
    };
    Calendar::new(spec).ok()
}

fn interval(open: proto::OpenInterval) -> Option<OpenInterval> {
    Some(OpenInterval {
        start_minute: open.start_minute.try_into().ok()?,
        end_minute: open.end_minute.try_into().ok()?,
    })
}
