//! One running cycle: what its policy says at a tick.

use crate::story::{Anchor, Policy, TICKS_IN_SECOND, Tag, Ticks};
use crate::view::{Alert, Cycle, Kind, Stage};
use crate::week::{OpenMinutes, ticks_after};

/// A cycle that counts. It goes on after its last stage.
#[derive(Debug, Clone)]
pub(super) struct Count {
    pub(super) seen: Cycle,
    policy: Policy,
    week: Vec<OpenMinutes>,
    /// When the stages are due by the policy; the close if its warning is on time.
    first: Option<Ticks>,
    second: Option<Ticks>,
    warning: Option<Ticks>,
    close: Option<Ticks>,
    /// The highest alert that is over: it was raised, or gave way to a higher stage.
    over: Alert,
    is_warned: bool,
    accepted: Option<Ticks>,
    settled: Option<Ticks>,
    /// When settings or tags last changed what is due while nothing was overdue.
    pub(super) changed: Option<Ticks>,
}

/// A stage, when it was due, and the alert that it raises.
pub(super) type Reached = (Stage, Ticks, Alert);

impl Count {
    pub(super) fn new(seen: Cycle, policy: &Policy, week: &[OpenMinutes]) -> Self {
        let mut count = Self {
            seen,
            policy: policy.clone(),
            week: week.to_vec(),
            first: None,
            second: None,
            warning: None,
            close: None,
            over: Alert::No,
            is_warned: false,
            accepted: None,
            settled: None,
            changed: None,
        };
        count.go_by(policy, seen.policy_version);
        count
    }

    /// Goes on by another policy. What is over stays over.
    pub(super) fn go_by(&mut self, policy: &Policy, version: i64) {
        self.policy = policy.clone();
        self.seen.policy_version = version;
        let alerts = match self.seen.kind {
            Kind::CustomerSilent => policy.alerts,
            Kind::CustomerWaits => None,
            Kind::AgentSilent => policy.agent_alerts,
        };
        let close = match self.seen.kind {
            Kind::AgentSilent => None,
            Kind::CustomerSilent | Kind::CustomerWaits => policy.close.as_ref(),
        };
        let anchor = self.seen.anchor;
        self.first = alerts.map(|(first, _)| self.after(anchor, first));
        self.second = alerts.map(|(_, second)| self.after(anchor, second));
        self.close = close.map(|close| self.after(anchor, close.after_s));
        let warn_after_s = close.and_then(|close| close.warn_after_s);
        self.warning = warn_after_s.map(|seconds| self.after(anchor, seconds));
    }

    /// Whether it counts from the first unanswered message: further ones change nothing.
    pub(super) fn is_from_first(&self) -> bool {
        self.policy.anchor == Anchor::First
    }

    fn after(&self, from: Ticks, seconds: i64) -> Ticks {
        let week = self.policy.in_business_time.then_some(&self.week[..]);
        ticks_after(from, seconds, week)
    }

    /// Whether a look would find something, which it has not yet.
    pub(super) fn is_overdue(&self, tags: &[Tag], now: Ticks) -> bool {
        self.due_close(tags, now).is_some() || !self.clone().look(tags, now).is_empty()
    }

    /// When what was due then could first act.
    pub(super) fn could_act(&self, due: Ticks) -> Ticks {
        self.changed.map_or(due, |changed| changed.max(due))
    }

    pub(super) fn is_excluded(&self, tags: &[Tag]) -> bool {
        let close = self.policy.close.as_ref();
        close.is_some_and(|close| tags.iter().any(|tag| close.exclude_tags.contains(tag)))
    }

    /// Notification reports an acceptance. It was not before the warning was due, nor is it still to come.
    pub(super) fn accept(&mut self, at: Ticks, now: Ticks) {
        if !self.is_warned {
            return;
        }
        let at = self.plausible(at, now);
        if self.accepted.is_none_or(|known| at < known) {
            self.accepted = Some(at);
        }
    }

    /// Notification reports a delivery or failure. What was delivered was accepted.
    pub(super) fn settle(&mut self, at: Ticks, now: Ticks) {
        if !self.is_warned {
            return;
        }
        self.accept(at, now);
        let at = self.plausible(at, now);
        if self.settled.is_none_or(|known| at < known) {
            self.settled = Some(at);
        }
    }

    fn plausible(&self, at: Ticks, now: Ticks) -> Ticks {
        let due = self.warning.unwrap_or(self.seen.anchor);
        if at > now || due > now {
            now
        } else if at < due {
            due
        } else {
            at
        }
    }

    /// When the warning was out: accepted, or where the delivery counts, delivered, or waited for long
    /// enough.
    fn out(&self) -> Option<Ticks> {
        let accepted = self.accepted?;
        let max_wait_s = self.policy.close.as_ref()?.max_delivery_wait_s;
        let Some(max_wait_s) = max_wait_s else {
            return Some(accepted);
        };
        let given_up = accepted + max_wait_s * TICKS_IN_SECOND;
        match self.settled {
            Some(settled) if settled < given_up => Some(settled),
            _ => Some(given_up),
        }
    }

    /// When the close is due, and if that is not known yet, when it may still be.
    fn close(&self, tags: &[Tag], now: Ticks) -> (Option<Ticks>, Option<Ticks>) {
        let Some(configured) = self.close.filter(|_| !self.is_excluded(tags)) else {
            return (None, None);
        };
        let Some(warning) = self.warning else {
            return (Some(configured), None);
        };
        let last_on_time = warning + TICKS_IN_SECOND;
        let Some(out) = self.out() else {
            return (None, (now <= last_on_time).then_some(configured));
        };
        if out <= last_on_time {
            return (Some(configured), None);
        }
        let settings = self.policy.close.as_ref().expect("it closes");
        let warn_after_s = settings.warn_after_s.expect("it warns");
        let moved = self.after(out, settings.after_s - warn_after_s);
        (Some(moved.max(configured)), None)
    }

    /// When the close was due, if it is.
    pub(super) fn due_close(&self, tags: &[Tag], now: Ticks) -> Option<Ticks> {
        self.close(tags, now).0.filter(|at| *at <= now)
    }

    /// Lets the highest alert and the warning act that are due.
    pub(super) fn look(&mut self, tags: &[Tag], now: Ticks) -> Vec<Reached> {
        let (close, possible_close) = self.close(tags, now);
        let warning = self.warning.filter(|_| !self.is_excluded(tags));
        let higher = [warning, close, possible_close];
        let acts = |at: &Ticks| *at <= now && !higher.contains(&Some(*at));

        let mut reached = Vec::new();
        if let Some(second) = self.second.filter(acts).filter(|_| self.over < Alert::Red) {
            self.over = Alert::Red;
            reached.push((Stage::Second, second, Alert::Red));
        } else if let Some(first) = self
            .first
            .filter(acts)
            .filter(|_| self.over < Alert::Yellow)
        {
            self.over = Alert::Yellow;
            reached.push((Stage::First, first, Alert::Yellow));
        }
        if let Some(warning) = warning.filter(|at| *at <= now && !self.is_warned) {
            self.is_warned = true;
            reached.push((Stage::Warning, warning, Alert::No));
            if self.first == Some(warning) {
                self.over = self.over.max(Alert::Yellow);
            }
            if self.second == Some(warning) {
                self.over = Alert::Red;
            }
        }
        reached
    }
}
