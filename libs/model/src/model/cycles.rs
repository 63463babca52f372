//! The policy in force, and the cycles that begin and end under it.

use super::count::Count;
use super::{LastWord, Model};
use crate::story::{Anchor, Policy, Scope, Ticks};
use crate::view::{Alert, Cycle, Effect, Kind};

impl Model {
    pub(super) fn settings_change(
        &mut self,
        scope: Scope,
        policy: Option<&Policy>,
        applies: bool,
        now: Ticks,
        effects: &mut Vec<Effect>,
    ) {
        let (version_before, _) = self.in_force();
        let saved = policy.map(|policy| {
            self.last_version += 1;
            (self.last_version, policy.clone())
        });
        match (scope, saved) {
            (Scope::Bot, Some(saved)) => self.bot = saved,
            (Scope::Bot, None) => {}
            (Scope::Queue(queue), saved) => self.queues[queue] = saved,
        }
        let (version, policy) = self.in_force();
        let concerns_this_ticket = version != version_before;
        if !applies || !concerns_this_ticket || self.hold_until.is_some() {
            return;
        }
        let has_written = self.has_agent_ever_written;
        for count in [&mut self.count, &mut self.agent_count] {
            if let Some(running) = count {
                if has_stages(&policy, running.seen.kind, has_written) {
                    if !running.is_overdue(&self.tags, now) {
                        running.changed = Some(now);
                    }
                    running.go_by(&policy, version);
                } else {
                    *count = None;
                }
            }
        }
        let ran_already = [self.count.is_some(), self.agent_count.is_some()];
        self.start_missing(effects);
        for (count, ran) in [&mut self.count, &mut self.agent_count]
            .into_iter()
            .zip(ran_already)
        {
            if let Some(count) = count.as_mut().filter(|_| !ran) {
                count.changed = Some(now);
            }
        }
    }

    fn in_force(&self) -> (i64, Policy) {
        let of_queue = self.queue.and_then(|queue| self.queues[queue].clone());
        of_queue.unwrap_or_else(|| self.bot.clone())
    }

    /// Starts what should count by the last word and the policy in force, and does not.
    pub(super) fn start_missing(&mut self, effects: &mut Vec<Effect>) {
        let (_, policy) = self.in_force();
        let (of_customer, of_agent) = match &self.last_word {
            LastWord::Nobody => (None, None),
            LastWord::Opening(at) => (Some((Kind::CustomerWaits, *at)), None),
            LastWord::Agent(messages) => {
                let anchor = match policy.anchor {
                    Anchor::First => messages.first(),
                    Anchor::Last => messages.last(),
                };
                let anchor = anchor.expect("there is a last word");
                (Some((Kind::CustomerSilent, *anchor)), None)
            }
            LastWord::Customer(messages) => (
                messages.last().map(|last| (Kind::CustomerWaits, *last)),
                messages.first().map(|first| (Kind::AgentSilent, *first)),
            ),
        };
        if let Some((kind, anchor)) = of_customer.filter(|_| self.count.is_none()) {
            self.start(kind, anchor, effects);
        }
        if let Some((kind, anchor)) = of_agent.filter(|_| self.agent_count.is_none()) {
            self.start(kind, anchor, effects);
        }
    }

    pub(super) fn start(&mut self, kind: Kind, anchor: Ticks, effects: &mut Vec<Effect>) {
        let (policy_version, policy) = self.in_force();
        if !has_stages(&policy, kind, self.has_agent_ever_written) {
            return;
        }
        self.cycles += 1;
        let cycle = Cycle {
            number: self.cycles,
            kind,
            anchor,
            policy_version,
        };
        effects.push(Effect::Started {
            cycle: cycle.number,
            kind,
            anchor,
            policy_version,
        });
        let count = Some(Count::new(cycle, &policy, &self.settings.week));
        match kind {
            Kind::CustomerSilent | Kind::CustomerWaits => self.count = count,
            Kind::AgentSilent => self.agent_count = count,
        }
    }

    /// Clears both alerts and stops both clocks.
    pub(super) fn disarm(&mut self, effects: &mut Vec<Effect>) {
        self.count = None;
        self.agent_count = None;
        clear(&mut self.alert, Effect::Cleared, effects);
        clear(&mut self.agent_alert, Effect::AgentAlertCleared, effects);
    }
}

pub(super) fn clear(alert: &mut Alert, effect: fn(Alert) -> Effect, effects: &mut Vec<Effect>) {
    if *alert > Alert::No {
        effects.push(effect(*alert));
    }
    *alert = Alert::No;
}

fn has_stages(policy: &Policy, kind: Kind, has_agent_written: bool) -> bool {
    match (kind, &policy.close) {
        (Kind::AgentSilent, _) => policy.agent_alerts.is_some(),
        (Kind::CustomerSilent, close) => policy.alerts.is_some() || close.is_some(),
        (Kind::CustomerWaits, None) => false,
        (Kind::CustomerWaits, Some(close)) if has_agent_written => close.while_customer_waits,
        (Kind::CustomerWaits, Some(close)) => !close.only_after_first_agent_message,
    }
}
