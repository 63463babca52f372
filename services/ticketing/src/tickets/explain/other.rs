//! The events that only touch the clocks, or not at all.

use std::fmt::Write as _;

use jiff::Timestamp;
use plazo_domain::{Alert, CycleKind};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind, ActiveMessageState};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    ActiveMessageReported, AlertCleared, Automation, AutomationResumeCause, AutomationResumed,
    AutomationState, CycleEnd, ExplainedHold, HoldEnd, TagsChanged, TicketHeld, TicketOpened,
};

use super::fold::Fold;
use super::words;
use crate::firing::warned_cycle;
use crate::instants::from_proto;
use crate::store::clocks::TicketKey;

impl Fold<'_> {
    /// Takes an event that starts no cycle.
    pub(super) fn take_other(&mut self, place: usize, at: Timestamp, by: &str, payload: &Payload) {
        match payload {
            Payload::Closed(closed) => self.closed(at, by, closed),
            Payload::Reopened(reopened) => self.reopened(place, at, by, reopened),
            Payload::Held(held) => self.held(at, by, held),
            Payload::AlertCleared(cleared) => self.cleared(at, *cleared),
            Payload::TagsChanged(changed) => self.tags_changed(at, by, changed),
            Payload::ActiveMessageReported(reported) => self.reported(place, at, reported),
            Payload::Transferred(moved) => {
                let queue = moved.queue_id;
                let text = format!(
                    "transferred to queue {queue} by {by}: the inactivity clocks are disarmed until somebody writes"
                );
                self.cause = "the ticket was transferred";
                self.say(at, &[], &text);
                self.end_all(
                    CycleEnd::Transferred,
                    at,
                    "the ticket was transferred to a queue",
                );
            }
            Payload::Assigned(assigned) => {
                let (agent, before) = (assigned.agent_id, assigned.previous_agent_id);
                let text = match before {
                    0 => format!("assigned to agent {agent} by {by}"),
                    before => {
                        format!("assigned to agent {agent} in the place of agent {before} by {by}")
                    }
                };
                self.say(at, &[], &text);
            }
            Payload::Unlinked(_) => {
                self.say(at, &[], &format!("unlinked by {by}: hidden from the lists"));
            }
            Payload::SetOpen(_) => {
                self.say(at, &[], &format!("set open by an action block ({by})"));
            }
            Payload::AutomationPaused(paused) => {
                let is_extended = self.pause.is_some();
                self.pause = paused.automation;
                let text = paused_until(by, is_extended, paused.automation.as_ref());
                self.say(at, &[], &text);
            }
            Payload::AutomationResumed(resumed) => {
                let was_paused = self.pause.take();
                self.say(at, &[], &resumption(at, by, was_paused, resumed));
            }
            Payload::ActiveMessageRequested(requested) => {
                let kind = requested.message.as_ref().map(ActiveMessage::kind);
                // The warning is told with its stage.
                if kind != Some(ActiveMessageKind::Warning) {
                    let what = match kind {
                        Some(ActiveMessageKind::ClosingText) => "the closing text",
                        _ => "an active message",
                    };
                    self.say(at, &[], &format!("{what} goes out to the customer"));
                }
            }
            Payload::Opened(_)
            | Payload::MessageRecorded(_)
            | Payload::StageFired(_)
            | Payload::HoldEnded(_)
            | Payload::PolicyApplied(_)
            | Payload::ContactChanged(_)
            | Payload::PersonalDataErased(_) => {}
        }
    }

    pub(super) fn opened(&mut self, at: Timestamp, opened: &TicketOpened) {
        let mut text = "the ticket was opened".to_owned();
        if opened.queue_id != 0 {
            let _ = write!(text, " in queue {}", opened.queue_id);
        }
        if opened.agent_id != 0 {
            let _ = write!(text, " and assigned to agent {}", opened.agent_id);
        }
        if opened.previous_ticket_id != 0 {
            let _ = write!(text, "; it continues ticket {}", opened.previous_ticket_id);
        }
        self.say(at, &[], &text);
    }

    fn held(&mut self, at: Timestamp, by: &str, event: &TicketHeld) {
        let hold = event.hold.clone().unwrap_or_default();
        let until = hold.end_time.as_ref().and_then(from_proto);
        let until = until.map(words::instant).map_or(String::new(), |until| {
            format!(", at the latest until {until}")
        });
        let reason = &hold.reason;
        let text = if self.is_on_hold {
            format!("the hold was changed by {by} (\"{reason}\"){until}")
        } else {
            format!("put on hold by {by} (\"{reason}\"){until}: the inactivity clocks stop")
        };
        self.is_on_hold = true;
        self.holds.push(ExplainedHold {
            hold: Some(hold),
            ..ExplainedHold::default()
        });
        self.cause = "the ticket was put on hold";
        self.say(at, &[], &text);
        self.end_all(CycleEnd::Held, at, "the ticket was put on hold");
    }

    fn cleared(&mut self, at: Timestamp, cleared: AlertCleared) {
        let alert = |code: i32| i16::try_from(code).ok().and_then(Alert::from_code);
        let mut gone = Vec::new();
        if let Some(before) = alert(cleared.previous_alert).filter(|it| *it != Alert::None) {
            gone.push(words::alert(before).to_owned());
            self.alert = Alert::None;
        }
        if let Some(before) = alert(cleared.previous_agent_alert).filter(|it| *it != Alert::None) {
            gone.push(format!("{} of the agent's side", words::alert(before)));
        }
        let text = format!("{} went away: {}", words::list(&gone), self.cause);
        self.say(at, &[], &text);
    }

    fn tags_changed(&mut self, at: Timestamp, by: &str, changed: &TagsChanged) {
        let quoted = |tags: &[String]| {
            let tags: Vec<String> = tags.iter().map(|tag| format!("\"{tag}\"")).collect();
            words::list(&tags)
        };
        let mut told = Vec::new();
        if !changed.added.is_empty() {
            told.push(format!("added {}", quoted(&changed.added)));
        }
        if !changed.removed.is_empty() {
            told.push(format!("removed {}", quoted(&changed.removed)));
        }
        self.tags.clone_from(&changed.tags);
        let mut text = format!("tags changed by {by}: {}", told.join("; "));
        let running = self
            .running
            .and_then(|index| Some((index, self.policy_of(index)?)));
        let Some((index, policy)) = running else {
            self.say(at, &[], &text);
            return;
        };
        let was_excluded = self.cycles[index].cycle.is_excluded;
        let is_excluded = policy.excludes(&self.tags);
        let traced = &mut self.cycles[index];
        traced.cycle.is_excluded = is_excluded;
        let number = traced.cycle.number;
        if is_excluded && !was_excluded {
            let tags = self.excluding_tags(policy);
            let _ = write!(
                text,
                "; {tags}, so cycle {number} neither warns nor closes it"
            );
        } else if was_excluded && !is_excluded {
            traced.kept_until = Some((at, "an excluded tag kept it from acting until"));
            let _ = write!(
                text,
                "; nothing keeps cycle {number} from warning and closing any more"
            );
        }
        self.say(at, &[index], &text);
    }

    /// Notification told what became of a message.
    fn reported(&mut self, place: usize, at: Timestamp, reported: &ActiveMessageReported) {
        let event = &self.story.events[place];
        let key = TicketKey {
            tenant_id: event.tenant_id,
            ticket_id: event.ticket_id,
        };
        let number = warned_cycle(key, &reported.idempotency_key);
        let is_closing = reported.idempotency_key.ends_with("/closing");
        let what = match number {
            Some(number) => format!("the warning of cycle {number}"),
            None if is_closing => "the closing text".to_owned(),
            None => "an active message".to_owned(),
        };
        let state = reported.state();
        let became = match state {
            ActiveMessageState::Accepted => "was accepted",
            ActiveMessageState::Sent => "was taken by the provider",
            ActiveMessageState::Delivered => "was delivered",
            ActiveMessageState::Read => "was read",
            ActiveMessageState::Failed => "failed",
            ActiveMessageState::Cancelled => "was called off before it was sent",
            ActiveMessageState::Unspecified | ActiveMessageState::Uncertain => return,
        };
        let said_at = reported
            .state_time
            .as_ref()
            .and_then(from_proto)
            .unwrap_or(at);
        let mut text = format!("{what} {became} at {}", words::instant(said_at));
        let index = number.and_then(|number| self.find(number));
        if let Some(index) = index.filter(|_| state != ActiveMessageState::Cancelled)
            && let Some(due) = self.warning_reported(index, state, said_at, at)
        {
            text.push_str(&due);
        }
        let about: Vec<usize> = index.into_iter().collect();
        self.say(at, &about, &text);
    }

    /// Takes a report about a cycle's warning, and tells when the close is due with it.
    fn warning_reported(
        &mut self,
        index: usize,
        state: ActiveMessageState,
        said_at: Timestamp,
        at: Timestamp,
    ) -> Option<String> {
        let policy = self.policy_of(index);
        let traced = &mut self.cycles[index];
        let warned = traced.fired(plazo_domain::Stage::Warning).copied()?;
        let is_settled = matches!(
            state,
            ActiveMessageState::Delivered | ActiveMessageState::Read | ActiveMessageState::Failed
        );
        // The rules take implausible times as the nearest plausible ones.
        let at_most = said_at.max(warned.due_at).min(at);
        traced.has_failed_warning |= state == ActiveMessageState::Failed;
        let before = traced.cycle;
        traced.warning_reported(at_most, is_settled);
        if traced.end.is_some() || traced.cycle == before {
            return None;
        }
        let policy = policy?;
        let due_at = plazo_domain::plan(&traced.cycle, policy).close_at()?;
        let due = words::instant(due_at);
        Some(match traced.why_moved(policy, due_at) {
            Some(why) => format!("; the close is due at {due}: {why}"),
            None => format!("; the close is due at {due}, as it was set"),
        })
    }

    /// What the ticket itself knows better than its events.
    pub(super) fn reconcile(&mut self) {
        let ticket = self.story.ticket;
        let number =
            |cycle: Option<&plazo_proto::ticketing::v1::InactivityCycle>| cycle.map(|it| it.cycle);
        let present = number(ticket.inactivity_cycle.as_ref());
        let agents = number(ticket.agent_cycle.as_ref());
        for (place, present) in [(self.running, present), (self.agents_side, agents)] {
            let ended = place.filter(|&index| Some(self.cycles[index].cycle.number) != present);
            if let Some(index) = ended {
                let why = "the settings in force since have nothing to count";
                self.end(index, CycleEnd::PolicyApplied, self.story.now, why);
            }
        }
        if let (Some(index), Some(cycle)) = (self.running, &ticket.inactivity_cycle) {
            self.cycles[index].warning_known(
                cycle.warning_accept_time.as_ref().and_then(from_proto),
                cycle.warning_settle_time.as_ref().and_then(from_proto),
            );
            if self.cycles[index].cycle.kind != CycleKind::AgentSilent {
                self.cycles[index].cycle.is_excluded = ticket.excluded;
            }
        }
        let is_told = self.holds.iter().any(|told| told.hold == ticket.hold);
        if ticket.hold.is_some() && !is_told {
            // It began before the first event that is known.
            self.holds.push(ExplainedHold {
                hold: ticket.hold.clone(),
                ..ExplainedHold::default()
            });
        }
    }
}

/// That a hold ended.
pub(super) fn hold_end(
    at: Timestamp,
    by: &str,
    cause: HoldEnd,
    due_at: Option<Timestamp>,
) -> String {
    let why = match cause {
        HoldEnd::Resumed => format!("{by} resumed the ticket"),
        HoldEnd::Expired => {
            let late = due_at.map(|due_at| words::lateness(due_at, at));
            let late = late.map_or(String::new(), |late| format!(" ({late})"));
            format!("it reached its maximum length{late}")
        }
        HoldEnd::CustomerWrote => "the customer wrote".to_owned(),
        HoldEnd::Closed => "the ticket was closed".to_owned(),
        HoldEnd::Transferred => "the ticket was transferred".to_owned(),
        HoldEnd::Unspecified => "no reason is known".to_owned(),
    };
    format!("the hold ended: {why}")
}

fn paused_until(by: &str, is_extended: bool, automation: Option<&Automation>) -> String {
    let pauses = if is_extended {
        format!("the pause of the bot's automation was extended by {by}: it pauses")
    } else {
        "the bot's automation pauses".to_owned()
    };

    let until = automation.filter(|it| it.state() == AutomationState::Paused);
    let until = until
        .and_then(|it| it.resume_time.as_ref())
        .and_then(from_proto);
    match until {
        Some(until) => format!(
            "{pauses}, until {} if nothing extends it",
            words::instant(until)
        ),
        None => format!("{pauses} until the ticket is completed"),
    }
}

fn resumption(
    at: Timestamp,
    by: &str,
    pause: Option<Automation>,
    resumed: &AutomationResumed,
) -> String {
    let why = match resumed.cause() {
        AutomationResumeCause::TimeOver => {
            let due_at = resumed.due_time.as_ref().and_then(from_proto);
            let late = due_at.map(|due_at| words::lateness(due_at, at));
            // Messages and the like move the end, and are no events of the pause.
            let told = pause.and_then(|it| it.resume_time.as_ref().and_then(from_proto));
            let moved = match (told, due_at) {
                (Some(told), Some(due_at)) if told < due_at => {
                    let due = words::instant(due_at);
                    format!(", extended until {due} by what kept the ticket open,")
                }
                _ => String::new(),
            };
            late.map_or("its pause was over".to_owned(), |late| {
                format!("its pause{moved} was over ({late})")
            })
        }
        AutomationResumeCause::Completed => "the ticket was completed".to_owned(),
        AutomationResumeCause::Requested => format!("{by} asked for it"),
        AutomationResumeCause::Unspecified => "no reason is known".to_owned(),
    };
    format!("the bot's automation resumed: {why}")
}
