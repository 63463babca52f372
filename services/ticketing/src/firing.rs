//! The firing path: what the timer asks about is decided here, from the rows as they are then.

mod messages;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use plazo_domain::{Advance, Clock, InactivityPolicy, Outcome, Stage, advance};
use plazo_proto::notification::v1::ActiveMessage;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{ActiveMessageRequested, AlertCleared, StageFired, TicketClosed};
use plazo_service::commit_in_background;
use sqlx::PgConnection;

use crate::changes::Changes;
use crate::error::Error;
use crate::firing::messages::{CLOSING, WARNING, compose};
use crate::instants::to_proto;
use crate::metrics::FiringMetrics;
use crate::store::active_messages;
use crate::store::clocks::{self, LockedClock, TicketKey};
use crate::store::events::{self, NewEvent};
use crate::store::parties::{self, Recipient};
use crate::store::settings::PolicyCache;
use crate::store::tickets::{self, BotSettings, Closure, TicketFacts};
use crate::tickets::SYSTEM;
use crate::tickets::view::closure_to_proto;

pub(crate) use messages::warned_cycle;

/// What was done with a ticket that seemed due.
#[derive(Debug, Clone, PartialEq)]
pub enum Handled {
    /// Looked at, and perhaps changed.
    Looked {
        /// What was found.
        outcome: Outcome,
        /// When to look again, in milliseconds from now; none for never in this generation.
        look_again_after_ms: Option<i64>,
        /// The active messages that the stages call for.
        active_messages: Vec<ActiveMessage>,
    },
    /// Another generation, or no such ticket.
    Stale,
    /// Somebody changes it at this moment.
    Busy,
    /// It can't be handled; a stable reason in capitals.
    Failed(&'static str),
}

/// Handles tickets that seem due.
#[derive(Debug, Clone)]
pub struct Firing {
    changes: Changes,
    policies: Arc<PolicyCache>,
    metrics: FiringMetrics,
}

/// A ticket that is locked and was looks at.
struct Looked {
    locked: LockedClock,
    before: Clock,
    policy: Arc<InactivityPolicy>,
    advance: Advance,
}

/// What a batch writes besides the clocks.
#[derive(Default)]
struct Writes {
    facts: Vec<TicketFacts>,
    events: Vec<NewEvent>,
    active_messages: Vec<ActiveMessage>,
}

/// What the stages beyond the alerts need to know of a ticket.
struct Surroundings {
    facts: TicketFacts,
    settings: BotSettings,
    recipient: Recipient,
}

impl Firing {
    /// Wiring.
    pub fn new(changes: Changes, policies: Arc<PolicyCache>, metrics: FiringMetrics) -> Self {
        Self {
            changes,
            policies,
            metrics,
        }
    }

    /// Handles a batch in one transaction: answers in the order asked, and the database's time. Doing it twice does
    /// nothing the second time: the row lock keeps two callers apart, the generation fences off old entries, and
    /// the stages that are over are kept in the row.
    pub async fn handle(
        &self,
        asked: Vec<(TicketKey, i64)>,
    ) -> Result<(Vec<Handled>, Timestamp), Error> {
        let firing = self.clone();
        commit_in_background(async move { firing.transaction(&asked).await }).await
    }

    async fn transaction(
        &self,
        asked: &[(TicketKey, i64)],
    ) -> Result<(Vec<Handled>, Timestamp), Error> {
        let mut transaction = self.changes.pool().begin().await?;
        let keys: Vec<TicketKey> = asked
            .iter()
            .map(|(key, _)| *key)
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        let locked = clocks::lock_batch(&mut transaction, &keys).await?;
        let now = match locked.iter().map(|row| row.now).max() {
            Some(now) => now,
            None => clocks::now(&mut transaction).await?,
        };
        let unlocked: Vec<TicketKey> = {
            let held: HashSet<TicketKey> = locked.iter().map(|row| row.key).collect();
            keys.into_iter().filter(|key| !held.contains(key)).collect()
        };
        // Missing rows are held by somebody else, or don't exist.
        let elsewhere: HashMap<TicketKey, i64> = if unlocked.is_empty() {
            HashMap::new()
        } else {
            clocks::generations(&mut transaction, &unlocked)
                .await?
                .into_iter()
                .collect()
        };

        let wanted: HashSet<(TicketKey, i64)> = asked.iter().copied().collect();
        let (looks, mut answers) = self.look(&mut transaction, locked, &wanted).await?;
        answers.extend(self.take_effect(&mut transaction, looks).await?);
        transaction.commit().await?;
        self.changes.announce();

        let answer_of = |asked: &(TicketKey, i64)| match answers.get(asked) {
            Some(handled) => handled.clone(),
            None if elsewhere.get(&asked.0) == Some(&asked.1) => Handled::Busy,
            None => Handled::Stale,
        };
        let handled: Vec<Handled> = asked.iter().map(answer_of).collect();
        self.metrics.count(&handled);
        Ok((handled, now))
    }

    /// Applies the rules to the rows of the wanted generations.
    async fn look(
        &self,
        connection: &mut PgConnection,
        locked: Vec<LockedClock>,
        wanted: &HashSet<(TicketKey, i64)>,
    ) -> Result<(Vec<Looked>, HashMap<(TicketKey, i64), Handled>), Error> {
        let policy_key =
            |row: &LockedClock| Some((row.key.tenant_id, row.clock.cycle()?.policy_version));
        let policy_keys: Vec<_> = locked.iter().filter_map(policy_key).collect();
        let policies = self.policies.policies(connection, &policy_keys).await?;
        let none = Arc::new(InactivityPolicy::default());

        let mut looks = Vec::with_capacity(locked.len());
        let mut failed = HashMap::new();
        for mut row in locked {
            let asked = (row.key, row.clock.generation());
            if !wanted.contains(&asked) {
                continue;
            }
            let policy = match policy_key(&row) {
                None => &none,
                Some(key) => {
                    let Some(policy) = policies.get(&key) else {
                        failed.insert(asked, Handled::Failed("POLICY_UNREADABLE"));
                        continue;
                    };
                    policy
                }
            };
            let before = row.clock.clone();
            let advance = advance(&mut row.clock, policy, row.now);
            looks.push(Looked {
                locked: row,
                before,
                policy: Arc::clone(policy),
                advance,
            });
        }
        Ok((looks, failed))
    }

    /// Writes what the looks changed, and makes the answers.
    async fn take_effect(
        &self,
        connection: &mut PgConnection,
        mut looks: Vec<Looked>,
    ) -> Result<HashMap<(TicketKey, i64), Handled>, Error> {
        let beyond_alerts: Vec<TicketKey> = looks
            .iter()
            .filter(|look| {
                look.advance
                    .fired
                    .iter()
                    .any(|fired| fired.stage >= Stage::Warning)
            })
            .map(|look| look.locked.key)
            .collect();
        let surroundings = surroundings(&mut *connection, &beyond_alerts).await?;

        let mut writes = Writes::default();
        let mut answers = HashMap::with_capacity(looks.len());
        for look in &mut looks {
            let messages_before = writes.active_messages.len();
            let asked = (look.locked.key, look.before.generation());
            writes.add(look, surroundings.get(&look.locked.key));
            self.metrics.observe(&look.advance, look.locked.now);
            let handled = Handled::Looked {
                outcome: look.advance.outcome,
                look_again_after_ms: look_again_after_ms(look),
                active_messages: writes.active_messages[messages_before..].to_vec(),
            };
            answers.insert(asked, handled);
        }

        let changed: Vec<&LockedClock> = looks
            .iter()
            .filter(|look| look.locked.clock != look.before)
            .map(|look| &look.locked)
            .collect();
        if !changed.is_empty() {
            clocks::save(&mut *connection, &changed).await?;
        }
        tickets::save(&mut *connection, &writes.facts.iter().collect::<Vec<_>>()).await?;
        let messages: Vec<&ActiveMessage> = writes.active_messages.iter().collect();
        active_messages::insert(&mut *connection, &messages).await?;
        events::append(connection, &writes.events).await?;
        Ok(answers)
    }
}

/// How long until the ticket must be looks at again, in the generation that was asked about. Whole milliseconds,
/// rounded up.
fn look_again_after_ms(look: &Looked) -> Option<i64> {
    // A new generation is armed by the relay.
    if look.locked.clock.generation() != look.before.generation() {
        return None;
    }
    let next_due_at = look.locked.clock.next_due_at()?;
    let micros = next_due_at.as_microsecond() - look.locked.now.as_microsecond();
    Some(micros.max(0).div_euclid(1_000) + i64::from(micros.max(0) % 1_000 != 0))
}

async fn surroundings(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<HashMap<TicketKey, Surroundings>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let known = tickets::known(&mut *connection, keys).await?;
    let mut recipients: HashMap<TicketKey, Recipient> = parties::recipients(connection, keys)
        .await?
        .into_iter()
        .map(|recipient| (recipient.key, recipient))
        .collect();
    let joined = known.into_iter().filter_map(|known| {
        let key = known.facts.key;
        let recipient = recipients.remove(&key)?;
        let around = Surroundings {
            facts: known.facts,
            settings: known.settings,
            recipient,
        };
        Some((key, around))
    });
    Ok(joined.collect())
}

impl Writes {
    /// Adds the events, messages and facts that follow from a look. `surroundings` are there whenever a stage beyond
    /// the alerts fired: a ticket always has its bot and contact.
    fn add(&mut self, look: &mut Looked, surroundings: Option<&Surroundings>) {
        let Some(cycle) = look.before.cycle().map(|cycle| cycle.number) else {
            return;
        };
        let alert = look.locked.clock.alert();
        for fired in look.advance.fired.clone() {
            let payload = Payload::StageFired(StageFired {
                cycle,
                stage: fired.stage.code().into(),
                due_time: Some(to_proto(fired.due_at)),
                alert: alert.code().into(),
            });
            self.events.push(look.locked.next_event(SYSTEM, payload));
            let Some(around) = surroundings else { continue };
            match fired.stage {
                Stage::FirstAlert | Stage::SecondAlert => {}
                Stage::Warning => self.ask_for(look, around, cycle, WARNING),
                Stage::Close => self.close(look, around, cycle),
            }
        }
    }

    fn ask_for(
        &mut self,
        look: &mut Looked,
        around: &Surroundings,
        cycle: i32,
        purpose: messages::Purpose,
    ) {
        let composed = compose(
            purpose,
            cycle,
            &look.policy,
            &around.recipient,
            &around.settings,
            &look.locked,
        );
        if let Some(message) = composed {
            let payload = ActiveMessageRequested {
                message: Some(message.clone()),
            };
            let event = look
                .locked
                .next_event(SYSTEM, Payload::ActiveMessageRequested(payload));
            self.events.push(event);
            self.active_messages.push(message);
        }
    }

    fn close(&mut self, look: &mut Looked, around: &Surroundings, cycle: i32) {
        let auto_close = look.policy.auto_close.clone();
        let mut facts = around.facts.clone();
        let closure = Closure {
            closed_at: look.locked.now,
            source: plazo_domain::CloseSource::CustomerInactivity,
            author: SYSTEM,
            note: auto_close.as_ref().and_then(|close| close.note.clone()),
            exit_route: around.settings.exit_route.clone(),
        };
        facts
            .tags
            .extend(auto_close.into_iter().flat_map(|close| close.tags));
        facts.tags.sort_unstable();
        facts.tags.dedup();
        facts.state = plazo_domain::TicketState::Closed;
        let closed = TicketClosed {
            closure: Some(closure_to_proto(&closure)),
            cycle,
            tags: facts.tags.clone(),
        };
        facts.closure = Some(closure);
        self.events
            .push(look.locked.next_event(SYSTEM, Payload::Closed(closed)));
        if look.before.alert() != plazo_domain::Alert::None {
            let cleared = AlertCleared {
                previous_alert: look.before.alert().code().into(),
            };
            self.events.push(
                look.locked
                    .next_event(SYSTEM, Payload::AlertCleared(cleared)),
            );
        }
        self.ask_for(look, around, cycle, CLOSING);
        self.facts.push(facts);
    }
}
