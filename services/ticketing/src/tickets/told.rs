//! What changes of a ticket's clocks are told as.

use jiff::Timestamp;
use plazo_domain::{Automation, Ended, Removed, StartedCycle};
use plazo_proto::common::v1::{Author, ChannelIdentity};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    AlertCleared, Automation as ProtoAutomation, AutomationPaused, AutomationResumeCause,
    AutomationResumed, Contact as ProtoContact, CycleStart, HoldEnd, HoldEnded,
};

use crate::instants::to_proto;
use crate::store::contacts::Contact;
use crate::tickets::change::TicketChange;

/// Cycles that began.
pub fn cycles_to_proto(started: &[StartedCycle]) -> Vec<CycleStart> {
    let starts = started.iter().map(|cycle| CycleStart {
        cycle: cycle.number,
        kind: cycle.kind.code().into(),
        anchor_time: Some(to_proto(cycle.anchor_at)),
        policy_version: cycle.policy_version,
    });
    starts.collect()
}

/// A customer as known at this moment; without an etag, since nobody changes the contact by what he is told here.
pub fn contact_to_proto(contact: &Contact) -> ProtoContact {
    ProtoContact {
        contact_id: contact.contact_id,
        name: contact.name.clone(),
        email: contact.email.clone(),
        phone: contact.phone.clone(),
        channel_identity: Some(ChannelIdentity {
            channel: contact.channel.into(),
            address: contact.address.clone(),
        }),
        etag: String::new(),
    }
}

/// The bot's automation.
pub fn automation_to_proto(automation: Automation) -> ProtoAutomation {
    ProtoAutomation {
        state: automation.code().into(),
        resume_time: automation.resumes_at().map(to_proto),
    }
}

/// The event that alerts went away, if any did.
pub fn cleared(removed: Removed) -> Option<Payload> {
    removed.is_any().then(|| {
        Payload::AlertCleared(AlertCleared {
            previous_alert: removed.alert.code().into(),
            previous_agent_alert: removed.agent_alert.code().into(),
        })
    })
}

/// The event that a hold ended.
pub fn hold_ended(cause: HoldEnd, due_at: Timestamp, started: &[StartedCycle]) -> Payload {
    Payload::HoldEnded(HoldEnded {
        cause: cause.into(),
        due_time: Some(to_proto(due_at)),
        cycles: cycles_to_proto(started),
    })
}

/// The event that the automation resumed.
pub fn automation_resumed(cause: AutomationResumeCause, due_at: Option<Timestamp>) -> Payload {
    Payload::AutomationResumed(AutomationResumed {
        cause: cause.into(),
        due_time: due_at.map(to_proto),
    })
}

impl TicketChange {
    /// Records that alerts went away, if any did.
    pub fn record_cleared(&mut self, author: Author, removed: Removed) {
        if let Some(payload) = cleared(removed) {
            self.record(author, payload);
        }
    }

    /// Forgets a hold and records that it ended, and the cycles that began with that.
    pub fn record_hold_ended(
        &mut self,
        author: Author,
        cause: HoldEnd,
        due_at: Timestamp,
        started: &[StartedCycle],
    ) {
        self.facts.hold = None;
        self.record(author, hold_ended(cause, due_at, started));
    }

    /// Records what a close or a transfer ended.
    pub fn record_ended(&mut self, author: Author, cause: HoldEnd, ended: Ended) {
        if let Some(due_at) = ended.hold_ended {
            self.record_hold_ended(author, cause, due_at, &[]);
        }
        self.record_cleared(author, ended.removed);
        if ended.is_automation_resumed() {
            self.record(
                author,
                automation_resumed(AutomationResumeCause::Completed, None),
            );
        }
    }

    /// Pauses the automation for as long as the bot says, as part of another change. Records it when the pause begins or
    /// lasts until the ticket is completed now. Where a later end is all that is new, the event of that other change tells
    /// it: each message of an agent moves the end, and an event for each would double the stream.
    pub fn pause_automation(&mut self, author: Author) {
        let (now, pause) = (self.now(), self.settings.automation_pause);
        if self.clock().pause_automation(now, pause).is_of_kind() {
            self.record_paused(author);
        }
    }

    /// Records that the automation is paused.
    pub fn record_paused(&mut self, author: Author) {
        let automation = automation_to_proto(self.locked.clock.state().automation);
        self.record(
            author,
            Payload::AutomationPaused(AutomationPaused {
                automation: Some(automation),
            }),
        );
    }
}
