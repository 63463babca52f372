//! What is said of a cycle as it begins, acts and ends.

use std::fmt::Write as _;

use plazo_domain::{Alert, CycleKind, InactivityPolicy, Stage};
use plazo_proto::ticketing::v1::StageFate;

use super::cycles::{Fired, TracedCycle, TracedStage};
use super::fold::Fold;
use super::words;

impl Fold<'_> {
    /// That a cycle began, and when its stages are due.
    pub(super) fn beginning(&self, index: usize) -> String {
        let traced = &self.cycles[index];
        let cycle = &traced.cycle;
        let what = match cycle.kind {
            CycleKind::CustomerSilent => "the customer's silence",
            CycleKind::CustomerWaits => "the time without a message, for the close alone,",
            CycleKind::AgentSilent => "the customer's wait for an agent",
        };
        let mut statement = format!(
            "cycle {} began: it counts {what} since {} of {}, by policy version {}, then in force",
            cycle.number,
            traced.origin,
            words::instant(cycle.anchor_at),
            cycle.policy_version
        );
        statement.push_str(&self.due_list(index));
        if self.alert != Alert::None && cycle.kind == CycleKind::CustomerSilent {
            let shows = words::alert(self.alert);
            let _ = write!(statement, "; {shows} stays until the customer answers");
        }
        statement
    }

    /// That a running cycle goes by another policy.
    pub(super) fn recomputed(&self, index: usize) -> String {
        let cycle = &self.cycles[index].cycle;
        format!(
            "cycle {} counts on from the same anchor by policy version {}; what has acted stays{}",
            cycle.number,
            cycle.policy_version,
            self.due_list(index)
        )
    }

    /// The stages that are to come, with their times: ": yellow alert after 10 s (…), …".
    fn due_list(&self, index: usize) -> String {
        let traced = &self.cycles[index];
        let Some(policy) = self.policy_of(index) else {
            return String::new();
        };
        let configured = traced.configured(policy);
        let stages: Vec<String> = configured
            .iter()
            .filter(|(stage, _)| !traced.cycle.done.contains(*stage))
            .map(|&(stage, after)| {
                let name = words::stage(stage);
                let after_words = words::as_set(after, policy.calendar.as_ref());
                let due = words::instant(traced.configured_at(policy, after));
                format!("{name} after {after_words} (at {due})")
            })
            .collect();
        let excluded = if traced.cycle.is_excluded {
            format!(
                "; {}, so it is neither warned nor closed",
                self.excluding_tags(policy)
            )
        } else {
            String::new()
        };
        if stages.is_empty() {
            return excluded;
        }
        format!(": {}{excluded}", words::list(&stages))
    }

    /// Which tags keep the ticket from being warned and closed: `it carries the tag "vip"`.
    pub(super) fn excluding_tags(&self, policy: &InactivityPolicy) -> String {
        let excluded = policy.auto_close.iter().flat_map(|it| &it.exclude_tags);
        let tags: Vec<String> = excluded
            .filter(|tag| self.tags.contains(tag))
            .map(|tag| format!("\"{tag}\""))
            .collect();
        let noun = if tags.len() == 1 { "tag" } else { "tags" };
        format!(
            "the ticket carries the excluded {noun} {}",
            words::list(&tags)
        )
    }

    /// How long what has lasted since when: "the customer has been silent for 10 s since the agent's message of …".
    pub(super) fn silence(&self, index: usize, fired: &Fired) -> String {
        let traced = &self.cycles[index];
        let after = self.policy_of(index).and_then(|policy| {
            let configured = traced.configured(policy);
            let (_, after) = configured.iter().find(|(stage, _)| *stage == fired.stage)?;
            // A moved close comes later than it was set.
            (traced.configured_at(policy, *after) == fired.due_at)
                .then(|| words::as_set(*after, policy.calendar.as_ref()))
        });
        let after = after.unwrap_or_else(|| words::between(traced.cycle.anchor_at, fired.due_at));
        let since = format!(
            "{} of {}",
            traced.origin,
            words::instant(traced.cycle.anchor_at)
        );
        match traced.cycle.kind {
            CycleKind::CustomerSilent => {
                format!("the customer has been silent for {after} since {since}")
            }
            CycleKind::CustomerWaits => format!("nobody has written for {after} since {since}"),
            CycleKind::AgentSilent => {
                format!("the customer has been waiting for an agent for {after} since {since}")
            }
        }
    }

    /// How late a stage acted, with what kept it if anything is known to have.
    pub(super) fn late(&self, index: usize, fired: &Fired) -> String {
        let since = fired.could_act_at;
        let late = words::lateness(since, fired.at);
        let due = words::instant(fired.due_at);
        let is_long = words::millis_between(since, fired.at) >= 1_000;
        if since > fired.due_at {
            let kept = self.cycles[index].kept_until;
            let (_, why) = kept.unwrap_or((since, "a change made it due only at"));
            let since = words::instant(since);
            let outage = if is_long {
                ", and Plazo acted only now, as after an outage"
            } else {
                ""
            };
            format!("{late}: due at {due}, but {why} {since}{outage}")
        } else if is_long {
            format!("{late}: due at {due}, and Plazo acted only now, as after an outage")
        } else {
            late
        }
    }

    /// That an alert or the warning took effect. `showed` is the alert that showed before.
    pub(super) fn firing(&self, index: usize, fired: Fired, showed: Alert) -> String {
        let traced = &self.cycles[index];
        let side = match traced.cycle.kind {
            CycleKind::AgentSilent => " of the agent's side",
            _ => "",
        };
        let name = words::stage(fired.stage);
        let mut statement = format!(
            "{name}{side}: {} ({})",
            self.silence(index, &fired),
            self.late(index, &fired)
        );
        let stays = match (fired.stage, showed) {
            (Stage::FirstAlert, Alert::Yellow | Alert::Red) | (Stage::SecondAlert, Alert::Red) => {
                side.is_empty()
            }
            _ => false,
        };
        if stays {
            let shows = words::alert(showed);
            let _ = write!(statement, "; {shows} shows already, and stays");
        }
        let policy = self.policy_of(index);
        if fired.stage == Stage::Warning
            && let Some(gap) = policy.and_then(InactivityPolicy::warning_gap_ms)
        {
            let gap = words::length(gap);
            let _ = write!(
                statement,
                "; the customer is told that the ticket closes in {gap}"
            );
        }
        statement.push_str(&passed_over(&traced.passed_over_by(&fired, policy)));
        statement
    }

    /// That a cycle ended, and what it did not reach.
    pub(super) fn ending(&self, index: usize, why: &str) -> String {
        let traced = &self.cycles[index];
        let number = traced.cycle.number;
        let mut statement = format!("cycle {number} ended: {why}");
        let Some((_, ended_at)) = traced.end else {
            return statement;
        };
        let stages = traced.stages(self.policy_of(index), ended_at);
        let not_reached = stages
            .iter()
            .filter(|traced| traced.fate == StageFate::NotReached);
        let told: Vec<String> = not_reached
            .map(|stage| {
                let (name, due) = (words::stage(stage.stage), words::instant(stage.due_at));
                if stage.due_at <= ended_at {
                    let earlier = words::between(stage.due_at, ended_at);
                    format!(
                        "the {name} (due at {due}, {earlier} earlier, but it had not acted when this was committed, and what is committed first wins)"
                    )
                } else {
                    let later = words::between(ended_at, stage.due_at);
                    format!("the {name} (due at {due}, {later} later)")
                }
            })
            .collect();
        if !told.is_empty() {
            let _ = write!(statement, "; not reached: {}", words::list(&told));
        }
        let excluded: Vec<String> = stages
            .iter()
            .filter(|stage| stage.fate == StageFate::Excluded)
            .map(|stage| format!("the {}", words::stage(stage.stage)))
            .collect();
        if !excluded.is_empty() {
            let excluded = words::list(&excluded);
            let _ = write!(statement, "; kept from acting by a tag: {excluded}");
        }
        statement
    }

    /// How the ticket stands now.
    pub(super) fn standing(&mut self) {
        let now = self.story.now;
        for index in self.running.into_iter().chain(self.agents_side) {
            let statement = self.still_to_come(&self.cycles[index], index);
            self.say(now, &[index], &statement);
        }
        if let Some(next) = self.story.continued_by {
            self.say(now, &[], &format!("now ticket {next} continues this one"));
        }
    }

    fn still_to_come(&self, traced: &TracedCycle, index: usize) -> String {
        let (now, policy) = (self.story.now, self.policy_of(index));
        let number = traced.cycle.number;
        let stages = traced.stages(policy, now);
        let pending: Vec<String> = stages
            .iter()
            .filter(|stage| stage.fate == StageFate::Pending)
            .map(|stage| self.pending(traced, stage))
            .collect();
        let mut statement = if pending.is_empty() {
            format!("now cycle {number} runs, and nothing of it is to come")
        } else {
            format!(
                "now cycle {number} runs; to come: {}",
                words::list(&pending)
            )
        };
        let is_kept = stages.iter().any(|stage| stage.fate == StageFate::Excluded);
        if let Some(policy) = policy.filter(|_| is_kept) {
            let tags = self.excluding_tags(policy);
            let _ = write!(statement, "; {tags}, so it is neither warned nor closed");
        }
        statement
    }

    fn pending(&self, traced: &TracedCycle, stage: &TracedStage) -> String {
        let now = self.story.now;
        let name = words::stage(stage.stage);
        let due = words::instant(stage.due_at);
        let when = if stage.due_at > now {
            format!("in {}", words::between(now, stage.due_at))
        } else {
            "due".to_owned()
        };
        let policy = self.policy(traced.cycle.policy_version);
        let moved = policy
            .filter(|_| stage.stage == Stage::Close)
            .and_then(|policy| traced.why_moved(policy, stage.due_at));
        match moved {
            Some(why) => format!("the {name} at {due} ({when}; {why})"),
            None => format!("the {name} at {due} ({when})"),
        }
    }
}

/// What a stage passed over.
pub(super) fn passed_over(stages: &[TracedStage]) -> String {
    if stages.is_empty() {
        return String::new();
    }
    let told: Vec<String> = stages
        .iter()
        .map(|stage| {
            let due = words::instant(stage.due_at);
            format!("the {} (due at {due})", words::stage(stage.stage))
        })
        .collect();
    let verb = if stages.len() == 1 { "was" } else { "were" };
    let told = words::list(&told);
    format!("; {told} {verb} passed over, since the higher stage acts alone")
}
