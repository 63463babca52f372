//! One cycle as the events tell of it.

use jiff::Timestamp;
use plazo_domain::{
    Cycle, CycleKind, InactivityPolicy, ON_TIME_TOLERANCE_MS, Stage, TimeValue, plan,
};
use plazo_proto::ticketing::v1::{CycleEnd, CycleStart, ExplainedCycle, ExplainedStage, StageFate};

use super::words;
use crate::instants::to_proto;

/// The words about one cycle end after so many bytes.
const MAX_TEXT_BYTES: usize = 8_192;

/// A stage that took effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fired {
    pub(super) stage: Stage,
    pub(super) due_at: Timestamp,
    /// When it could first act: `due_at`, or when a change made it due later.
    pub(super) could_act_at: Timestamp,
    pub(super) at: Timestamp,
}

/// A stage of a cycle, with what became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TracedStage {
    pub(super) stage: Stage,
    pub(super) due_at: Timestamp,
    pub(super) fate: StageFate,
    /// For one that took effect: when it could first act, and when it did.
    acted: Option<(Timestamp, Timestamp)>,
}

/// A cycle, from its start to its end.
#[derive(Debug, Clone)]
pub(super) struct TracedCycle {
    start: CycleStart,
    /// As the rules see it.
    pub(super) cycle: Cycle,
    /// What its anchor is, as in "the agent's message".
    pub(super) origin: &'static str,
    pub(super) fired: Vec<Fired>,
    pub(super) end: Option<(CycleEnd, Timestamp)>,
    /// Until when something kept it from acting on its instants, and what.
    pub(super) kept_until: Option<(Timestamp, &'static str)>,
    /// Whether its warning failed, as far as is known.
    pub(super) has_failed_warning: bool,
    accepted_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
    text: String,
}

impl TracedCycle {
    pub(super) fn new(start: CycleStart, cycle: Cycle, origin: &'static str) -> Self {
        Self {
            start,
            cycle,
            origin,
            fired: Vec::new(),
            end: None,
            kept_until: None,
            has_failed_warning: false,
            accepted_at: None,
            settled_at: None,
            text: String::new(),
        }
    }

    /// Adds a statement about it.
    pub(super) fn say(&mut self, line: &str) {
        if self.text.len() + line.len() < MAX_TEXT_BYTES {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    pub(super) fn fired(&self, stage: Stage) -> Option<&Fired> {
        self.fired.iter().find(|fired| fired.stage == stage)
    }

    /// What is known of its warning, from a report. Changes the close only while the cycle runs.
    pub(super) fn warning_reported(&mut self, at: Timestamp, is_settled: bool) {
        let earliest = |known: Option<Timestamp>| Some(known.map_or(at, |known| known.min(at)));
        self.accepted_at = earliest(self.accepted_at);
        if is_settled {
            self.settled_at = earliest(self.settled_at);
        }
        if self.end.is_none() {
            self.cycle.warning_accepted_at = self.accepted_at;
            self.cycle.warning_settled_at = self.settled_at;
        }
    }

    /// What the ticket itself says of the warning of its running cycle: it knows more than the events.
    pub(super) fn warning_known(
        &mut self,
        accepted: Option<Timestamp>,
        settled: Option<Timestamp>,
    ) {
        self.accepted_at = accepted.or(self.accepted_at);
        self.settled_at = settled.or(self.settled_at);
        self.cycle.warning_accepted_at = self.accepted_at;
        self.cycle.warning_settled_at = self.settled_at;
    }

    /// The stages that the policy has for this cycle, by rank, with their times.
    pub(super) fn configured(&self, policy: &InactivityPolicy) -> Vec<(Stage, TimeValue)> {
        let alerts = match self.cycle.kind {
            CycleKind::CustomerSilent => policy.alerts,
            CycleKind::CustomerWaits => None,
            CycleKind::AgentSilent => policy.agent_alerts,
        };
        let mut stages = Vec::with_capacity(4);
        if let Some(alerts) = alerts {
            stages.push((Stage::FirstAlert, alerts.first));
            stages.push((Stage::SecondAlert, alerts.second));
        }
        if self.cycle.kind != CycleKind::AgentSilent {
            let warning = policy.warning.as_ref();
            stages.extend(warning.map(|warning| (Stage::Warning, warning.after)));
            let close = policy.auto_close.as_ref();
            stages.extend(close.map(|close| (Stage::Close, close.after)));
        }
        stages
    }

    /// When a stage is due as it was set, whatever became of the warning.
    pub(super) fn configured_at(&self, policy: &InactivityPolicy, after: TimeValue) -> Timestamp {
        policy.instant_after(self.cycle.anchor_at, after.as_millis())
    }

    /// When a stage that has not acted is due, as far as was known at `until`.
    fn due_at(
        &self,
        policy: &InactivityPolicy,
        (stage, after): (Stage, TimeValue),
        until: Timestamp,
    ) -> Timestamp {
        let configured_at = self.configured_at(policy, after);
        if stage != Stage::Close {
            return configured_at;
        }
        let planned = plan(&self.cycle, policy).stages(until);
        let close = planned.iter().find(|planned| planned.stage == Stage::Close);
        // What a tag keeps from acting is not in the plan.
        close.map_or(configured_at, |close| close.due_at)
    }

    /// What became of each stage until `now`, or until the end of the cycle. Those are missing that were over before
    /// the first event that is known.
    pub(super) fn stages(
        &self,
        policy: Option<&InactivityPolicy>,
        now: Timestamp,
    ) -> Vec<TracedStage> {
        let until = self.end.map_or(now, |(_, at)| at);
        let mut stages: Vec<TracedStage> = self
            .fired
            .iter()
            .map(|fired| TracedStage {
                stage: fired.stage,
                due_at: fired.due_at,
                fate: StageFate::Fired,
                acted: Some((fired.could_act_at, fired.at)),
            })
            .collect();
        let configured = policy.map(|policy| (policy, self.configured(policy)));
        if let Some((policy, configured)) = configured {
            let open = configured
                .into_iter()
                .filter(|(stage, _)| !self.cycle.done.contains(*stage));
            let open: Vec<TracedStage> = open
                .map(|it| {
                    let due_at = self.due_at(policy, it, until);
                    TracedStage {
                        stage: it.0,
                        due_at,
                        fate: self.fate(it.0, due_at, until),
                        acted: None,
                    }
                })
                .collect();
            stages.extend(open);
        }
        stages.sort_by_key(|traced| traced.stage);
        stages
    }

    /// What became of a stage that did not act.
    fn fate(&self, stage: Stage, due_at: Timestamp, until: Timestamp) -> StageFate {
        let is_alert = |stage: Stage| stage < Stage::Warning;
        let gave_way = self.fired.iter().any(|higher| {
            let acts_alone = higher.due_at == due_at || higher.stage == Stage::Close;
            let is_higher_alert = is_alert(stage) && is_alert(higher.stage);
            higher.stage > stage && (is_higher_alert || (acts_alone && due_at <= until))
        });
        let is_reached = due_at <= until;
        if gave_way {
            StageFate::PassedOver
        } else if self.cycle.is_excluded && !is_alert(stage) && (is_reached || self.end.is_none()) {
            StageFate::Excluded
        } else if self.end.is_some() {
            StageFate::NotReached
        } else {
            StageFate::Pending
        }
    }

    /// The lower stages that `fired` passed over, and did not before.
    pub(super) fn passed_over_by(
        &self,
        fired: &Fired,
        policy: Option<&InactivityPolicy>,
    ) -> Vec<TracedStage> {
        let mut before = self.clone();
        before.fired.retain(|other| other.stage != fired.stage);
        let was_passed: Vec<Stage> = before.passed_over(policy, fired.at);
        self.stages(policy, fired.at)
            .into_iter()
            .filter(|traced| traced.fate == StageFate::PassedOver && traced.stage < fired.stage)
            .filter(|traced| !was_passed.contains(&traced.stage))
            .collect()
    }

    fn passed_over(&self, policy: Option<&InactivityPolicy>, at: Timestamp) -> Vec<Stage> {
        self.stages(policy, at)
            .into_iter()
            .filter(|traced| traced.fate == StageFate::PassedOver)
            .map(|traced| traced.stage)
            .collect()
    }

    /// Why the close is or was due later than it was set; none when it was not.
    pub(super) fn why_moved(&self, policy: &InactivityPolicy, due_at: Timestamp) -> Option<String> {
        let auto_close = policy.auto_close.as_ref()?;
        let warning = policy.warning.as_ref()?;
        let configured_at = self.configured_at(policy, auto_close.after);
        if due_at <= configured_at {
            return None;
        }
        let Some(accepted_at) = self.cycle.warning_accepted_at else {
            return Some(
                "nobody is closed unwarned, and the warning is not accepted yet".to_owned(),
            );
        };
        let warning_due_at = self.configured_at(policy, warning.after);
        let (out_at, what) = match auto_close.max_delivery_wait {
            None => (accepted_at, "the warning was accepted at"),
            Some(wait) => {
                let latest =
                    InactivityPolicy::default().instant_after(accepted_at, wait.as_millis());
                match self.cycle.warning_settled_at.filter(|at| *at <= latest) {
                    Some(at) if self.has_failed_warning => (at, "the warning failed at"),
                    Some(at) => (at, "the warning was delivered at"),
                    None => (latest, "the warning's delivery is waited for at most until"),
                }
            }
        };
        let late_ms = words::millis_between(warning_due_at, out_at);
        let at = words::instant(out_at);
        if late_ms <= ON_TIME_TOLERANCE_MS {
            return Some(format!("{what} {at}"));
        }
        let gap = words::length(policy.warning_gap_ms().unwrap_or_default());
        let open_time = words::of_open_time(policy.calendar.as_ref());
        Some(format!(
            "{what} {at}, {} after it was due, and {gap}{open_time} must lie between it and the close",
            words::length(late_ms)
        ))
    }

    /// As it is answered.
    pub(super) fn explained(
        &self,
        policy: Option<&InactivityPolicy>,
        now: Timestamp,
    ) -> ExplainedCycle {
        let stages = self.stages(policy, now).into_iter().map(|traced| {
            let lateness = traced.acted.map(|(could_act_at, at)| {
                let micros = (at.as_microsecond() - could_act_at.as_microsecond()).max(0);
                prost_types::Duration {
                    seconds: micros / 1_000_000,
                    nanos: i32::try_from(micros % 1_000_000 * 1_000).unwrap_or_default(),
                }
            });
            ExplainedStage {
                stage: traced.stage.code().into(),
                due_time: Some(to_proto(traced.due_at)),
                fate: traced.fate.into(),
                fire_time: traced.acted.map(|(_, at)| to_proto(at)),
                lateness,
            }
        });
        ExplainedCycle {
            start: Some(self.start),
            policy_version: self.cycle.policy_version,
            end: self
                .end
                .map_or(CycleEnd::Unspecified, |(end, _)| end)
                .into(),
            end_time: self.end.map(|(_, at)| to_proto(at)),
            stages: stages.collect(),
            warning_accept_time: self.accepted_at.map(to_proto),
            warning_settle_time: self.settled_at.map(to_proto),
            text: self.text.clone(),
            time_zone: policy
                .and_then(|policy| policy.calendar.as_ref())
                .map(|calendar| calendar.spec().time_zone.clone())
                .unwrap_or_default(),
        }
    }

    /// When notification accepted its warning, if it did.
    pub(super) const fn accepted_at(&self) -> Option<Timestamp> {
        self.accepted_at
    }

    /// The version it began with.
    pub(super) const fn first_version(&self) -> i64 {
        self.start.policy_version
    }
}
