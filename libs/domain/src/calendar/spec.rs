//! A calendar as somebody set it.

use jiff::civil::{Date, Weekday};

/// The most open intervals of a weekday or of a date with intervals of its own.
pub const MAX_DAY_INTERVALS: usize = 10;
/// The most dates that differ from their weekday.
pub const MAX_EXCEPTIONS: usize = 1_000;
/// The most characters of the name of such a date.
pub const MAX_EXCEPTION_NAME_CHARS: usize = 100;
/// The minutes of a day on the clock, and so the last end of an interval.
pub const MINUTES_IN_DAY: u16 = 1_440;

/// The settings of a calendar: at least one weekly interval, at most [`MAX_EXCEPTIONS`] exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarSpec {
    /// The name of a time zone in the IANA database, for instance `Europe/Berlin`, spelled as there.
    pub time_zone: String,
    /// When the desk is open, in any order: at most [`MAX_DAY_INTERVALS`] a weekday, which may touch
    /// but not overlap.
    pub week: Vec<WeeklyInterval>,
    /// The dates that differ from their weekday, in any order, none twice.
    pub exceptions: Vec<DateException>,
}

/// An open interval of each date that falls on a weekday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeeklyInterval {
    /// The day on which the interval begins and ends.
    pub weekday: Weekday,
    /// When the desk is open on it.
    pub open: OpenInterval,
}

/// A date with intervals of its own, instead of its weekday's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DateException {
    /// The local date.
    pub date: Date,
    /// What people call it, for instance `Christmas Day`; may be empty. At most
    /// [`MAX_EXCEPTION_NAME_CHARS`] characters, without control characters.
    pub name: String,
    /// When the desk is open on it: empty on a holiday, else at most [`MAX_DAY_INTERVALS`], which may
    /// touch but not overlap.
    pub open: Vec<OpenInterval>,
}

/// A part of a local day, by what the clock on the wall shows: open from the first instant of
/// `start_minute` up to the first instant of `end_minute`, which is closed.
///
/// Where the clock is changed within it, it is as much longer or shorter. An interval over midnight is
/// two: one to 1,440 and one from 0 of the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenInterval {
    /// In minutes from local midnight, 0 to 1,439.
    pub start_minute: u16,
    /// In minutes from local midnight, above the start and at most 1,440.
    pub end_minute: u16,
}
