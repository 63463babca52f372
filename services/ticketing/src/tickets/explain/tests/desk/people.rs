//! What people and bots do with the ticket.

use plazo_proto::ticketing::v1::{
    Hold, Message, MessageKind, MessageRecorded, PolicyApplied, TagsChanged, TicketHeld,
    TicketReopened, TicketState, TicketTransferred,
};

use super::*;

impl Desk {
    pub(in super::super) fn close(&mut self, when: f64) {
        self.pass(when);
        let ended = self.clock.closed();
        self.end_ticket(AGENT, CloseSource::Agent, 0, Some(ended));
    }

    pub(in super::super) fn agent(&mut self, when: f64) {
        self.pass(when);
        self.written(AGENT, MessageKind::Chat, None);
    }

    /// Records the customer's message before anything acts that falls due in the last second.
    pub(in super::super) fn customer(&mut self, when: f64) {
        self.pass(when);
        self.written(CUSTOMER, MessageKind::Chat, None);
    }

    /// A message that changes nothing.
    pub(in super::super) fn other(&mut self, when: f64, author: AuthorKind, kind: MessageKind) {
        self.pass(when);
        let author = Author {
            kind: author.into(),
            id: 5,
        };
        self.written(author, kind, None);
    }

    /// The answer that was written before the close, and arrives after it.
    pub(in super::super) fn late_answer(&mut self, written: f64, arrives: f64) {
        self.pass(arrives);
        self.is_open = true;
        self.record(
            CUSTOMER,
            Payload::Reopened(TicketReopened {
                state: TicketState::Open.into(),
                agent_id: 5,
                supersedes_close: true,
                tags: self.tags.clone(),
                ..TicketReopened::default()
            }),
        );
        self.written(CUSTOMER, MessageKind::Chat, Some(at(written)));
    }

    fn written(&mut self, author: Author, kind: MessageKind, channel_at: Option<Timestamp>) {
        let (policy, version) = self.in_force();
        let in_force = Some(rules(&policy, version, &self.tags));
        let is_chat = kind == MessageKind::Chat;
        let running = self
            .clock
            .cycle()
            .map(|it| Arc::clone(&self.policies[&it.policy_version]));
        let change = match author.kind() {
            AuthorKind::Agent if is_chat => {
                self.clock
                    .agent_wrote(self.now, in_force, running.as_deref())
            }
            AuthorKind::Customer => self.clock.customer_wrote(self.now, in_force),
            _ => plazo_domain::Change::default(),
        };
        if let Some(hold) = &change.hold_ended {
            let (ender, cause) = if hold.due_at <= self.now {
                (SYSTEM, HoldEnd::Expired)
            } else {
                (author, HoldEnd::CustomerWrote)
            };
            self.record(ender, hold_ended(cause, hold.due_at, &hold.started));
        }
        let message = Message {
            author: Some(author),
            kind: kind.into(),
            text: SECRET.to_owned(),
            channel_time: channel_at.map(to_proto),
            ..Message::default()
        };
        self.record(
            author,
            Payload::MessageRecorded(MessageRecorded {
                message: Some(message),
                cycles: cycles_to_proto(&change.started),
                ..MessageRecorded::default()
            }),
        );
        if let Some(payload) = cleared(change.removed) {
            self.record(author, payload);
        }
    }

    pub(in super::super) fn hold(&mut self, when: f64, max_length: f64) {
        self.pass(when);
        let until = self.now + SignedDuration::from_secs_f64(max_length);
        let removed = self.clock.hold(until);
        let hold = Hold {
            reason: "asks the workshop".to_owned(),
            start_time: Some(to_proto(self.now)),
            end_time: Some(to_proto(until)),
            author: Some(AGENT),
        };
        self.record(AGENT, Payload::Held(TicketHeld { hold: Some(hold) }));
        if let Some(payload) = cleared(removed) {
            self.record(AGENT, payload);
        }
    }

    pub(in super::super) fn resume(&mut self, when: f64) {
        self.pass(when);
        let (policy, version) = self.in_force();
        let due_at = self.clock.state().hold_until.expect("on hold");
        let in_force = rules(&policy, version, &self.tags);
        let started = self.clock.resume(self.now, Some(in_force));
        let started = started.expect("on hold");
        self.record(AGENT, hold_ended(HoldEnd::Resumed, due_at, &started));
    }

    pub(in super::super) fn transfer(&mut self, when: f64) {
        self.pass(when);
        let ended = self.clock.transferred();
        let moved = TicketTransferred {
            queue_id: 8,
            previous_queue_id: 0,
            previous_agent_id: 5,
        };
        self.record(AGENT, Payload::Transferred(moved));
        self.ended(AGENT, HoldEnd::Transferred, ended);
    }

    /// Adds the tag, or removes it.
    pub(in super::super) fn tag(&mut self, when: f64, tag: &str, is_there: bool) {
        self.pass(when);
        let tags = vec![tag.to_owned()];
        self.tags.retain(|other| other != tag);
        let mut changed = TagsChanged::default();
        if is_there {
            self.tags.push(tag.to_owned());
            changed.added = tags;
        } else {
            changed.removed = tags;
        }
        changed.tags.clone_from(&self.tags);
        if let Some(version) = self.clock.cycle().map(|cycle| cycle.policy_version) {
            let policy = Arc::clone(&self.policies[&version]);
            let is_excluded = policy.excludes(&self.tags);
            self.clock.set_excluded(is_excluded, self.now, &policy);
        }
        self.record(AGENT, Payload::TagsChanged(changed));
    }

    /// Other settings, applied to the open ticket.
    pub(in super::super) fn apply(&mut self, when: f64, policy: InactivityPolicy) {
        self.pass(when);
        self.set(policy);
        let (policy, version) = self.in_force();
        let in_force = rules(&policy, version, &self.tags);
        let policies = self.policies.clone();
        let of_version = |version| policies.get(&version).map(|policy| &**policy);
        let applied = self.clock.apply_policy(in_force, of_version, self.now);
        self.record(
            SYSTEM,
            Payload::PolicyApplied(PolicyApplied {
                policy_version: version,
                cycles: cycles_to_proto(&applied.started),
                ended_cycles: applied.ended,
            }),
        );
    }

    /// The agent pauses the automation for so many minutes from then.
    pub(in super::super) fn pause(&mut self, when: f64, minutes: i32) {
        self.pass(when);
        let length = TimeValue::new(minutes, TimeUnit::Minute).expect("valid");
        let change = self
            .clock
            .pause_automation(self.now, AutomationPause::For(length));
        self.record(AGENT, paused(change.after));
    }
}
