//! The owner's account: what was planned, what was called off, and what was done.

use std::collections::HashMap;

use super::{STAGES_MAX, TicketIndex};

/// A stage of a cycle of a ticket.
type StageKey = (TicketIndex, u32, usize);

#[derive(Debug, Clone, Copy)]
struct Plan {
    due_us: i64,
    called_off_us: Option<i64>,
}

/// A stage that took effect.
#[derive(Debug, Clone, Copy)]
pub struct Acted {
    /// The ticket.
    pub ticket: TicketIndex,
    /// Its cycle.
    pub cycle: u32,
    /// The stage, from 0.
    pub stage: usize,
    /// When it was due, in Unix microseconds.
    pub due_us: i64,
    /// When it took effect.
    pub at_us: i64,
}

/// What was planned and done.
#[derive(Debug, Default)]
pub(super) struct Books {
    plans: HashMap<StageKey, Plan>,
    acted: Vec<(StageKey, i64)>,
}

/// The judgement over a whole run.
#[derive(Debug, Clone, Default)]
pub struct OwnerAccount {
    /// Stages that were due and never acted, nor did a higher one in their place.
    pub lost: usize,
    /// Stages that acted more than once.
    pub twice: usize,
    /// Stages that acted before their instant.
    pub early: usize,
    /// Stages that acted after they were called off.
    pub wrong: usize,
    /// Stages in whose place a higher one acted.
    pub overtaken: usize,
    /// All that acted, in the order in which they did.
    pub acted: Vec<Acted>,
    /// The first few violations, in words.
    pub problems: Vec<String>,
}

impl Books {
    pub(super) fn plan(&mut self, ticket: TicketIndex, cycle: u32, stages: &[i64; STAGES_MAX]) {
        for (stage, due_ms) in stages.iter().enumerate() {
            if *due_ms != i64::MAX {
                let plan = Plan {
                    due_us: due_ms * 1_000,
                    called_off_us: None,
                };
                self.plans.insert((ticket, cycle, stage), plan);
            }
        }
    }

    /// Whatever of the cycle has not acted is called off.
    pub(super) fn call_off(&mut self, ticket: TicketIndex, cycle: u32, now_us: i64) {
        for stage in 0..STAGES_MAX {
            if let Some(plan) = self.plans.get_mut(&(ticket, cycle, stage)) {
                plan.called_off_us.get_or_insert(now_us);
            }
        }
    }

    pub(super) fn act(&mut self, ticket: TicketIndex, cycle: u32, stage: usize, now_us: i64) {
        self.acted.push(((ticket, cycle, stage), now_us));
    }

    pub(super) fn acted_count(&self) -> usize {
        self.acted.len()
    }

    pub(super) fn judge(&self, now_us: i64) -> OwnerAccount {
        const SHOWN: usize = 5;
        let mut account = OwnerAccount::default();
        let say = |text: String, problems: &mut Vec<String>| {
            if problems.len() < SHOWN {
                problems.push(text);
            }
        };
        let mut times: HashMap<StageKey, (usize, i64)> = HashMap::new();
        for (key, at_us) in &self.acted {
            let known = times.entry(*key).or_insert((0, *at_us));
            known.0 += 1;
            let Some(plan) = self.plans.get(key) else {
                account.wrong += 1;
                say(format!("{key:?} was never planned"), &mut account.problems);
                continue;
            };
            if known.0 > 1 {
                account.twice += 1;
                say(format!("{key:?} acted twice"), &mut account.problems);
            }
            if *at_us < plan.due_us {
                account.early += 1;
                let us = plan.due_us - at_us;
                say(format!("{key:?} was {us} us early"), &mut account.problems);
            }
            if plan.called_off_us.is_some_and(|off_us| *at_us > off_us) {
                account.wrong += 1;
                say(format!("{key:?} was called off"), &mut account.problems);
            }
            let (ticket, cycle, stage) = *key;
            account.acted.push(Acted {
                ticket,
                cycle,
                stage,
                due_us: plan.due_us,
                at_us: *at_us,
            });
        }
        for (key, plan) in &self.plans {
            // What is called off before it was due needn't act; what is called off later had its time.
            let end_us = plan.called_off_us.unwrap_or(now_us);
            if plan.due_us > end_us || times.contains_key(key) {
                continue;
            }
            if plan.called_off_us.is_some() {
                // Late at most: how late is seen in those that acted.
                continue;
            }
            let (ticket, cycle, stage) = *key;
            let higher = (stage + 1..STAGES_MAX).any(|higher| {
                let plan = self.plans.get(&(ticket, cycle, higher));
                let acted = times.get(&(ticket, cycle, higher));
                plan.zip(acted)
                    .is_some_and(|(plan, (_, at_us))| *at_us >= plan.due_us)
            });
            if higher {
                account.overtaken += 1;
            } else {
                account.lost += 1;
                say(format!("{key:?} never acted"), &mut account.problems);
            }
        }
        account
    }
}

impl OwnerAccount {
    /// How late those were that this picks, in milliseconds: this share of them were no later.
    pub fn lateness_ms(&self, share: f64, picks: impl Fn(&Acted) -> bool) -> f64 {
        let acted = self.acted.iter().filter(|acted| picks(acted));
        let mut late: Vec<i64> = acted.map(|acted| acted.at_us - acted.due_us).collect();
        late.sort_unstable();
        if late.is_empty() {
            return 0.0;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a list, and a time of a test"
        )]
        let (place, ms) = (((late.len() - 1) as f64 * share) as usize, |us: i64| {
            us as f64 / 1_000.0
        });
        ms(late[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: i64 = i64::MAX;

    #[test]
    fn what_acts_once_in_time_is_right() {
        let mut books = Books::default();
        books.plan(0, 1, &[10, 20, NONE]);
        books.act(0, 1, 0, 10_000);
        books.act(0, 1, 1, 25_000);
        let account = books.judge(30_000);
        assert_eq!((account.lost, account.twice, account.early), (0, 0, 0));
        assert!((account.lateness_ms(1.0, |_| true) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_lost_doubled_early_or_called_off_is_found() {
        let mut books = Books::default();
        for ticket in 0..6 {
            books.plan(ticket, 1, &[10, 20, NONE]);
        }
        // Never; twice; early; after it was called off; a higher stage in its place; called off before it was due.
        books.act(1, 1, 0, 10_000);
        books.act(1, 1, 0, 11_000);
        books.act(1, 1, 1, 20_000);
        books.act(2, 1, 0, 9_000);
        books.act(2, 1, 1, 20_000);
        books.call_off(3, 1, 5_000);
        books.act(3, 1, 0, 10_000);
        books.act(4, 1, 1, 20_000);
        books.call_off(5, 1, 5_000);
        let account = books.judge(30_000);
        assert_eq!(account.lost, 2);
        assert_eq!(account.twice, 1);
        assert_eq!(account.early, 1);
        assert_eq!(account.wrong, 1);
        assert_eq!(account.overtaken, 1);
    }
}
