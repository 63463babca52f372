//! What is told of a look: the events that stand in the feed and the active messages that they ask for.

use plazo_domain::{CloseSource, Effect, Ended, FiredStage, InactivityPolicy, Stage};
use plazo_proto::notification::v1::ActiveMessage;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    ActiveMessageRequested, AutomationResumeCause, HoldEnd, StageFired,
};

use super::messages::{CLOSING, Purpose, WARNING, compose};
use super::{KnownPolicies, Looked, Subject};
use crate::instants::to_proto;
use crate::store::events::NewEvent;
use crate::store::parties::Recipient;
use crate::store::tickets::Closure;
use crate::tickets::SYSTEM;
use crate::tickets::change::TicketChange;
use crate::tickets::told::automation_resumed;

/// The events and messages that follow from a look.
pub(super) struct Told<'a> {
    pub(super) policies: &'a KnownPolicies,
    /// There whenever a stage beyond the alerts fired: a ticket always has a contact.
    pub(super) recipient: Option<&'a Recipient>,
    pub(super) messages: Vec<ActiveMessage>,
    pub(super) events: Vec<NewEvent>,
}

impl Told<'_> {
    pub(super) fn tell(&mut self, look: &mut Looked) {
        for effect in look.advance.effects.clone() {
            match effect {
                Effect::HoldEnded { due_at, started } => {
                    if let Subject::Whole(change) = &mut look.subject {
                        change.record_hold_ended(SYSTEM, HoldEnd::Expired, due_at, &started);
                        self.events.append(&mut change.take_events());
                    }
                }
                Effect::Stage(fired) => self.tell_stage(look, fired),
                Effect::AutomationResumed { due_at } => {
                    let payload = automation_resumed(AutomationResumeCause::TimeOver, Some(due_at));
                    let event = look.subject.locked_mut().next_event(SYSTEM, payload);
                    self.events.push(event);
                }
            }
        }
    }

    fn tell_stage(&mut self, look: &mut Looked, fired: FiredStage) {
        let payload = Payload::StageFired(StageFired {
            cycle: fired.cycle,
            stage: fired.stage.code().into(),
            due_time: Some(to_proto(fired.due_at)),
            could_act_time: Some(to_proto(fired.could_act_at)),
            alert: fired.alert.code().into(),
            kind: fired.kind.code().into(),
            policy_version: fired.policy_version,
        });
        let event = look.subject.locked_mut().next_event(SYSTEM, payload);
        self.events.push(event);
        let Subject::Whole(change) = &mut look.subject else {
            return;
        };
        let policy_key = (change.locked.key.tenant_id, fired.policy_version);
        let Some(policy) = self.policies.get(&policy_key).cloned() else {
            return;
        };
        match fired.stage {
            Stage::FirstAlert | Stage::SecondAlert => {}
            Stage::Warning => self.ask_for(change, fired.cycle, &policy, WARNING),
            Stage::Close => {
                let ended = look.advance.closed.unwrap_or_default();
                close(change, fired.cycle, &policy, ended);
                self.events.append(&mut change.take_events());
                self.ask_for(change, fired.cycle, &policy, CLOSING);
            }
        }
    }

    fn ask_for(
        &mut self,
        change: &mut TicketChange,
        cycle: i32,
        policy: &InactivityPolicy,
        purpose: Purpose,
    ) {
        let composed = self.recipient.and_then(|recipient| {
            compose(
                purpose,
                cycle,
                policy,
                recipient,
                &change.settings,
                &change.locked,
            )
        });
        if let Some(message) = composed {
            let payload = ActiveMessageRequested {
                message: Some(message.clone()),
            };
            let event = change
                .locked
                .next_event(SYSTEM, Payload::ActiveMessageRequested(payload));
            self.events.push(event);
            self.messages.push(message);
        }
    }
}

/// Closes a ticket by inactivity, with what the policy leaves in it.
fn close(change: &mut TicketChange, cycle: i32, policy: &InactivityPolicy, ended: Ended) {
    let auto_close = policy.auto_close.as_ref();
    let closure = Closure {
        closed_at: change.now(),
        source: CloseSource::CustomerInactivity,
        author: SYSTEM,
        note: auto_close.and_then(|close| close.note.clone()),
        exit_route: change.settings.exit_route.clone(),
    };
    let tags = auto_close.map_or(&[] as &[String], |close| &close.tags);
    change.close(closure, cycle, tags, ended);
}
