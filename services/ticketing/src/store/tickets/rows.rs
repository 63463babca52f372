//! A ticket between the rows of the database and what the use cases know of it.

use jiff_sqlx::Timestamp as SqlTimestamp;
use plazo_domain::{
    Automation, AutomationPause, CloseSource, ClosingNote, TicketState, TimeUnit, TimeValue,
};
use plazo_proto::common::v1::Author;

use super::{BeforeClose, BotSettings, ClockView, Closure, HoldFacts, KnownTicket, TicketFacts};
use crate::error::Error;
use crate::store::clocks::{TicketKey, clock_of_row};

/// A row of `queries/ticket_facts.sql`.
#[expect(clippy::struct_excessive_bools, reason = "columns, each its own")]
pub(super) struct FactsRow {
    pub(super) tenant_id: i64,
    pub(super) ticket_id: i64,
    pub(super) bot_id: i64,
    pub(super) queue_id: Option<i64>,
    pub(super) contact_id: i64,
    pub(super) agent_id: Option<i64>,
    pub(super) state: i16,
    pub(super) previous_ticket_id: Option<i64>,
    pub(super) tags: Vec<String>,
    pub(super) opened_at: SqlTimestamp,
    pub(super) first_assigned_at: Option<SqlTimestamp>,
    pub(super) first_agent_message_at: Option<SqlTimestamp>,
    pub(super) closed_at: Option<SqlTimestamp>,
    pub(super) close_source: Option<i16>,
    pub(super) close_author_kind: Option<i16>,
    pub(super) close_author_id: Option<i64>,
    pub(super) close_category: Option<String>,
    pub(super) close_summary: Option<String>,
    pub(super) close_exit_route: Option<String>,
    pub(super) is_unlinked: bool,
    pub(super) state_before_close: Option<i16>,
    pub(super) agent_before_close: Option<i64>,
    pub(super) tags_of_close: Option<Vec<String>>,
    pub(super) automation_before_close: Option<i16>,
    pub(super) automation_until_before_close: Option<SqlTimestamp>,
    pub(super) hold_reason: Option<String>,
    pub(super) held_at: Option<SqlTimestamp>,
    pub(super) hold_author_kind: Option<i16>,
    pub(super) hold_author_id: Option<i64>,
    pub(super) reached_contact_id: Option<i64>,
    pub(super) is_erased: bool,
    pub(super) policy_in_force: Option<i64>,
    pub(super) bot_exit_route: String,
    pub(super) bot_channel_account_id: i64,
    pub(super) reopen_window_value: i32,
    pub(super) reopen_window_unit: i16,
    pub(super) automation_pause_value: Option<i32>,
    pub(super) automation_pause_unit: Option<i16>,
    pub(super) max_hold_value: i32,
    pub(super) max_hold_unit: i16,
    pub(super) late_reply_grace_value: i32,
    pub(super) late_reply_grace_unit: i16,
    pub(super) unassign_on_close: Vec<i16>,
    pub(super) ticket_seq: i64,
    pub(super) generation: i64,
    pub(super) next_due_at: Option<SqlTimestamp>,
    pub(super) last_cycle: i32,
    pub(super) cycle: Option<i32>,
    pub(super) cycle_kind: Option<i16>,
    pub(super) anchor_at: Option<SqlTimestamp>,
    pub(super) policy_version: Option<i64>,
    pub(super) stages_done: i16,
    pub(super) is_excluded: bool,
    pub(super) warning_accepted_at: Option<SqlTimestamp>,
    pub(super) warning_settled_at: Option<SqlTimestamp>,
    pub(super) changed_at: Option<SqlTimestamp>,
    pub(super) cycle_due_at: Option<SqlTimestamp>,
    pub(super) alert: i16,
    pub(super) agent_cycle: Option<i32>,
    pub(super) agent_anchor_at: Option<SqlTimestamp>,
    pub(super) agent_policy_version: Option<i64>,
    pub(super) agent_stages_done: i16,
    pub(super) agent_changed_at: Option<SqlTimestamp>,
    pub(super) agent_due_at: Option<SqlTimestamp>,
    pub(super) agent_alert: i16,
    pub(super) turn: i16,
    pub(super) turn_since_at: Option<SqlTimestamp>,
    pub(super) turn_last_at: Option<SqlTimestamp>,
    pub(super) agent_has_written: bool,
    pub(super) hold_until: Option<SqlTimestamp>,
    pub(super) automation: i16,
    pub(super) automation_until: Option<SqlTimestamp>,
    pub(super) last_customer_message_at: Option<SqlTimestamp>,
    pub(super) is_attended: bool,
    pub(super) now: SqlTimestamp,
}

impl FactsRow {
    fn closure(&self) -> Result<Option<Closure>, Error> {
        let Some(closed_at) = self.closed_at else {
            return Ok(None);
        };
        let source = self
            .close_source
            .and_then(CloseSource::from_code)
            .ok_or(Error::OutOfRange("close_source"))?;
        let author = Author {
            kind: self.close_author_kind.unwrap_or_default().into(),
            id: self.close_author_id.unwrap_or_default(),
        };
        let note = match (&self.close_category, &self.close_summary) {
            (Some(category), Some(summary)) => Some(ClosingNote {
                category: category.clone(),
                summary: summary.clone(),
            }),
            _ => None,
        };
        Ok(Some(Closure {
            closed_at: closed_at.to_jiff(),
            source,
            author,
            note,
            exit_route: self.close_exit_route.clone().unwrap_or_default(),
        }))
    }

    fn before_close(&self) -> Result<Option<BeforeClose>, Error> {
        let Some(state) = self.state_before_close else {
            return Ok(None);
        };
        let pause_until = self
            .automation_until_before_close
            .map(SqlTimestamp::to_jiff);
        let ended_pause = self
            .automation_before_close
            .and_then(|code| Automation::from_parts(code, pause_until))
            .ok_or(Error::OutOfRange("automation_before_close"))?;
        Ok(Some(BeforeClose {
            ended_pause,
            state: TicketState::from_code(state).ok_or(Error::OutOfRange("state_before_close"))?,
            agent_id: self.agent_before_close,
            added_tags: self.tags_of_close.clone().unwrap_or_default(),
        }))
    }

    fn hold(&self) -> Option<HoldFacts> {
        Some(HoldFacts {
            reason: self.hold_reason.clone()?,
            started_at: self.held_at?.to_jiff(),
            author: Author {
                kind: self.hold_author_kind?.into(),
                id: self.hold_author_id?,
            },
        })
    }

    fn settings(&self) -> Result<BotSettings, Error> {
        let time = |name, value, unit| {
            TimeUnit::from_code(unit)
                .and_then(|unit| TimeValue::new(value, unit).ok())
                .ok_or(Error::OutOfRange(name))
        };
        let automation_pause = match (self.automation_pause_value, self.automation_pause_unit) {
            (Some(value), Some(unit)) => {
                AutomationPause::For(time("automation_pause", value, unit)?)
            }
            _ => AutomationPause::UntilCompleted,
        };
        let sources = self.unassign_on_close.iter().copied();
        Ok(BotSettings {
            policy_version: self.policy_in_force,
            exit_route: self.bot_exit_route.clone(),
            channel_account_id: self.bot_channel_account_id,
            reopen_window: time(
                "reopen_window",
                self.reopen_window_value,
                self.reopen_window_unit,
            )?,
            automation_pause,
            max_hold: time("max_hold", self.max_hold_value, self.max_hold_unit)?,
            late_reply_grace: time(
                "late_reply_grace",
                self.late_reply_grace_value,
                self.late_reply_grace_unit,
            )?,
            unassign_on_close: sources.filter_map(CloseSource::from_code).collect(),
        })
    }

    fn clock(&self) -> Result<ClockView, Error> {
        Ok(ClockView {
            ticket_seq: self.ticket_seq,
            clock: clock_of_row!(self)?,
            last_customer_message_at: self.last_customer_message_at.map(SqlTimestamp::to_jiff),
            now: self.now.to_jiff(),
        })
    }

    /// What the row tells.
    pub(super) fn into_known(self) -> Result<KnownTicket, Error> {
        let closure = self.closure()?;
        let before_close = self.before_close()?;
        let hold = self.hold();
        let settings = self.settings()?;
        let clock = self.clock()?;
        let is_attended = self.is_attended;
        let facts = TicketFacts {
            key: TicketKey {
                tenant_id: self.tenant_id,
                ticket_id: self.ticket_id,
            },
            bot_id: self.bot_id,
            queue_id: self.queue_id,
            contact_id: self.contact_id,
            agent_id: self.agent_id,
            state: TicketState::from_code(self.state).ok_or(Error::OutOfRange("state"))?,
            previous_ticket_id: self.previous_ticket_id,
            tags: self.tags,
            opened_at: self.opened_at.to_jiff(),
            first_assigned_at: self.first_assigned_at.map(SqlTimestamp::to_jiff),
            first_agent_message_at: self.first_agent_message_at.map(SqlTimestamp::to_jiff),
            closure,
            is_unlinked: self.is_unlinked,
            before_close,
            hold,
            reached_contact_id: self.reached_contact_id,
            is_erased: self.is_erased,
        };
        Ok(KnownTicket {
            facts,
            settings,
            clock,
            is_attended,
        })
    }
}
