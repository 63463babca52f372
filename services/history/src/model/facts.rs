//! What reports are made of. `plazo.history.v1.ReportService` defines each of these.

use jiff::Timestamp;
use plazo_domain::Calendar;
use plazo_proto::common::v1::Author;

const MICROS_IN_MILLI: i64 = 1_000;

/// What reports need of a ticket, and what is running in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Where it comes from: the queue it was opened in, and who opened it.
    pub(crate) first_queue_id: i64,
    pub(crate) opened_by: Author,
    pub(crate) first_assigned_at: Option<Timestamp>,
    pub(crate) first_agent_message_at: Option<Timestamp>,
    /// A close that was superseded never was.
    pub(crate) first_closed_at: Option<Timestamp>,
    /// Answers of agents after the first, and for how long their customers waited for them together.
    pub(crate) later_response_count: i32,
    pub(crate) later_response_ms: i64,
    /// How long it was OPEN with an agent and not on hold, in the spans that have ended.
    pub(crate) handling_ms: i64,
    /// The version of the calendar that the bot had at the opening; 0 for none.
    pub(crate) calendar_version: i64,
    pub(crate) business: BusinessTimes,

    /// Whom it is assigned to now.
    pub(crate) assigned_agent_id: i64,
    /// The customer's first chat message that no agent has answered yet.
    pub(crate) customer_waits_since: Option<Timestamp>,
    /// Since when it is OPEN with an agent and not on hold. Of a closed ticket: since when it was so until its close, so
    /// that the span goes on when the close is superseded.
    pub(crate) handled_since: Option<Timestamp>,
    pub(crate) is_held: bool,

    /// The last opening, chat message, close or reopening.
    pub(crate) last_interaction_at: Timestamp,
    /// Events up to this one came with a snapshot: the feed may bring them once more. 0 for none.
    pub(crate) snapshot_seq: i64,
}

/// The same lengths in business time; none without a calendar, or where the plain time is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "units stand in names")]
pub(crate) struct BusinessTimes {
    pub(crate) wait_ms: Option<i64>,
    pub(crate) first_response_ms: Option<i64>,
    pub(crate) later_response_ms: Option<i64>,
    pub(crate) first_resolution_ms: Option<i64>,
    pub(crate) full_resolution_ms: Option<i64>,
    pub(crate) handling_ms: Option<i64>,
}

impl Facts {
    pub(super) fn of_new(opened_at: Timestamp) -> Self {
        Self {
            first_queue_id: 0,
            opened_by: Author::default(),
            first_assigned_at: None,
            first_agent_message_at: None,
            first_closed_at: None,
            later_response_count: 0,
            later_response_ms: 0,
            handling_ms: 0,
            calendar_version: 0,
            business: BusinessTimes::default(),
            assigned_agent_id: 0,
            customer_waits_since: None,
            handled_since: None,
            is_held: false,
            last_interaction_at: opened_at,
            snapshot_seq: 0,
        }
    }

    /// Somebody was assigned.
    pub(super) fn assigned(
        &mut self,
        opened_at: Timestamp,
        at: Timestamp,
        calendar: Option<&Calendar>,
    ) {
        if self.first_assigned_at.is_none() {
            self.first_assigned_at = Some(at);
            self.business.wait_ms = open_ms(calendar, opened_at, at);
        }
    }

    /// The customer wrote.
    pub(super) fn customer_wrote(&mut self, at: Timestamp) {
        self.customer_waits_since.get_or_insert(at);
    }

    /// An agent wrote: he answers what the customer wrote since the answer before. The first answer counts from the
    /// opening, all others from the first message that they answer.
    pub(super) fn agent_wrote(
        &mut self,
        opened_at: Timestamp,
        at: Timestamp,
        calendar: Option<&Calendar>,
    ) {
        let waited_since = self.customer_waits_since.take();
        if self.first_agent_message_at.is_none() {
            self.first_agent_message_at = Some(at);
            self.business.first_response_ms = open_ms(calendar, opened_at, at);
        } else if let Some(since) = waited_since {
            self.later_response_count += 1;
            self.later_response_ms += plain_ms(since, at);
            add(
                &mut self.business.later_response_ms,
                open_ms(calendar, since, at),
            );
        }
    }

    /// The ticket was closed; `handled_since` stays, see there.
    pub(super) fn closed(
        &mut self,
        opened_at: Timestamp,
        closed_at: Timestamp,
        calendar: Option<&Calendar>,
    ) {
        self.business.full_resolution_ms = open_ms(calendar, opened_at, closed_at);
        if self.first_closed_at.is_none() {
            self.first_closed_at = Some(closed_at);
            self.business.first_resolution_ms = self.business.full_resolution_ms;
        }
        if let Some(since) = self.handled_since {
            self.add_handling(since, closed_at, calendar, 1);
        }
    }

    /// A ticket that was closed is open again.
    pub(super) fn opened_again(&mut self) {
        self.business.full_resolution_ms = None;
        self.handled_since = None;
    }

    /// A close never was: the span that it ended goes on.
    pub(super) fn close_superseded(&mut self, closed_at: Timestamp, calendar: Option<&Calendar>) {
        self.business.full_resolution_ms = None;
        if self.first_closed_at == Some(closed_at) {
            self.first_closed_at = None;
            self.business.first_resolution_ms = None;
        }
        if let Some(since) = self.handled_since {
            self.add_handling(since, closed_at, calendar, -1);
        }
    }

    /// Whether an open ticket is handled from now on.
    pub(super) fn set_handled(
        &mut self,
        is_handled: bool,
        at: Timestamp,
        calendar: Option<&Calendar>,
    ) {
        match self.handled_since {
            None if is_handled => self.handled_since = Some(at),
            Some(since) if !is_handled => {
                self.handled_since = None;
                self.add_handling(since, at, calendar, 1);
            }
            _ => {}
        }
    }

    fn add_handling(
        &mut self,
        since: Timestamp,
        until: Timestamp,
        calendar: Option<&Calendar>,
        sign: i64,
    ) {
        self.handling_ms += sign * plain_ms(since, until);
        let open = open_ms(calendar, since, until).map(|ms| sign * ms);
        add(&mut self.business.handling_ms, open);
    }

    /// Sums in business time are there from the beginning if there is a calendar.
    pub(super) fn begin_business(&mut self, calendar: Option<&Calendar>) {
        if calendar.is_some() {
            self.business.later_response_ms = Some(0);
            self.business.handling_ms = Some(0);
        }
    }
}

fn add(sum: &mut Option<i64>, more: Option<i64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or_default() + more);
    }
}

/// Whole milliseconds, a part of one left out; never below zero.
pub(super) fn plain_ms(from: Timestamp, until: Timestamp) -> i64 {
    let micros = until.as_microsecond().saturating_sub(from.as_microsecond());
    micros.max(0) / MICROS_IN_MILLI
}

fn open_ms(calendar: Option<&Calendar>, from: Timestamp, until: Timestamp) -> Option<i64> {
    calendar.map(|calendar| calendar.open_between(from, until))
}
