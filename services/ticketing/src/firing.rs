//! The firing path: what the timer asks about is decided here, from the rows as they are then.

mod messages;
mod told;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use plazo_domain::{Advance, Clock, InactivityPolicy, Outcome, Policies, Stage, advance};
use plazo_proto::notification::v1::ActiveMessage;
use plazo_service::{commit_in_background, telemetry};
use sqlx::PgConnection;

use crate::changes::Changes;
use crate::error::Error;
use crate::firing::told::Told;
use crate::metrics::FiringMetrics;
use crate::store::active_messages;
use crate::store::clocks::{self, LockedClock, TicketKey};
use crate::store::events;
use crate::store::messages as messages_of;
use crate::store::parties::{self, Recipient};
use crate::store::settings::{PolicyCache, PolicyKey};
use crate::store::tickets;
use crate::tickets::change::{PolicyInForce, TicketChange};

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

/// Policies by tenant and version.
type KnownPolicies = HashMap<PolicyKey, Arc<InactivityPolicy>>;

/// A ticket that is locked, with as much of it as the look needs. Alerts need no more than the narrow row.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all tickets are narrow: a box would cost each of them an allocation"
)]
enum Subject {
    Narrow(LockedClock),
    Whole(Box<TicketChange>),
}

impl Subject {
    fn locked(&self) -> &LockedClock {
        match self {
            Self::Narrow(locked) => locked,
            Self::Whole(change) => &change.locked,
        }
    }

    fn locked_mut(&mut self) -> &mut LockedClock {
        match self {
            Self::Narrow(locked) => locked,
            Self::Whole(change) => &mut change.locked,
        }
    }
}

/// A ticket that was looked at.
struct Looked {
    subject: Subject,
    before: Clock,
    advance: Advance,
}

impl Looked {
    /// Whether more of the ticket is needed than its narrow row.
    fn goes_beyond_alerts(&self) -> bool {
        self.advance
            .stages()
            .any(|fired| fired.stage >= Stage::Warning)
    }
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
        let mut locked = clocks::lock_free(&mut transaction, &keys).await?;
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
        locked.retain(|row| wanted.contains(&(row.key, row.clock.generation())));
        let subjects = with_holds_that_are_over(&mut transaction, locked).await?;
        let policies = self.policies_of(&mut transaction, &subjects).await?;
        let (looks, mut answers) = look_at(subjects, &policies);
        let looks = widen(&mut transaction, looks).await?;
        answers.extend(self.take_effect(&mut transaction, looks, &policies).await?);
        let traces = traces_of(&mut transaction, &answers).await?;
        transaction.commit().await?;
        for trace in &traces {
            telemetry::link_to(trace);
        }
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

    async fn policies_of(
        &self,
        connection: &mut PgConnection,
        subjects: &[Subject],
    ) -> Result<KnownPolicies, Error> {
        let keys: Vec<PolicyKey> = subjects.iter().flat_map(policy_keys).collect();
        self.policies.policies(connection, &keys).await
    }

    /// Writes what the looks changed, and makes the answers.
    async fn take_effect(
        &self,
        connection: &mut PgConnection,
        mut looks: Vec<Looked>,
        policies: &KnownPolicies,
    ) -> Result<HashMap<(TicketKey, i64), Handled>, Error> {
        let written_to: Vec<TicketKey> = looks
            .iter()
            .filter(|look| look.goes_beyond_alerts())
            .map(|look| look.subject.locked().key)
            .collect();
        let recipients = recipients(&mut *connection, &written_to).await?;

        let mut new_events = Vec::new();
        let mut active_messages = Vec::new();
        let mut answers = HashMap::with_capacity(looks.len());
        for look in &mut looks {
            let key = look.subject.locked().key;
            let mut told = Told {
                policies,
                recipient: recipients.get(&key),
                messages: Vec::new(),
                events: Vec::new(),
            };
            told.tell(look);
            self.metrics
                .observe(&look.advance, look.subject.locked().now);
            let handled = Handled::Looked {
                outcome: look.advance.outcome,
                look_again_after_ms: look_again_after_ms(look),
                active_messages: told.messages.clone(),
            };
            answers.insert((key, look.before.generation()), handled);
            new_events.append(&mut told.events);
            let asked_at = look.subject.locked().now;
            active_messages.extend(told.messages.into_iter().map(|message| (message, asked_at)));
        }

        save_clocks(&mut *connection, &looks).await?;
        let facts: Vec<_> = looks
            .iter()
            .filter_map(|look| match &look.subject {
                Subject::Whole(change) => change.changed_facts(),
                Subject::Narrow(_) => None,
            })
            .collect();
        tickets::save(&mut *connection, &facts).await?;
        active_messages::insert(&mut *connection, &active_messages).await?;
        events::append(connection, &new_events.iter().collect::<Vec<_>>()).await?;
        Ok(answers)
    }
}

/// Writes the clocks that changed, as few of their columns as needed.
async fn save_clocks(connection: &mut PgConnection, looks: &[Looked]) -> Result<(), Error> {
    let changed = looks
        .iter()
        .filter(|look| look.subject.locked().clock != look.before);
    let (narrow, wide): (Vec<_>, Vec<_>) = changed.partition(|look| {
        matches!(look.subject, Subject::Narrow(_))
            && look
                .subject
                .locked()
                .clock
                .differs_in_alerts_only(&look.before)
    });
    let (narrow, wide) = (clocks_of(&narrow), clocks_of(&wide));
    if !narrow.is_empty() {
        clocks::save_alerts(&mut *connection, &narrow).await?;
    }
    if !wide.is_empty() {
        clocks::save(&mut *connection, &wide).await?;
    }
    Ok(())
}

fn clocks_of<'a>(looks: &[&'a Looked]) -> Vec<&'a LockedClock> {
    looks.iter().map(|look| look.subject.locked()).collect()
}

/// The traces of the messages that led to what fired; none while this call is not traced itself.
async fn traces_of(
    connection: &mut PgConnection,
    answers: &HashMap<(TicketKey, i64), Handled>,
) -> Result<Vec<Vec<u8>>, Error> {
    if telemetry::current_trace().is_none() {
        return Ok(Vec::new());
    }
    let fired: Vec<TicketKey> = answers
        .iter()
        .filter(|(_, handled)| {
            matches!(
                handled,
                Handled::Looked {
                    outcome: Outcome::Fired,
                    ..
                }
            )
        })
        .map(|((key, _), _)| *key)
        .collect();
    messages_of::newest_traces(connection, &fired).await
}

/// The policies of the running cycles, and the one in force where a hold is over.
fn policy_keys(subject: &Subject) -> Vec<PolicyKey> {
    let locked = subject.locked();
    let in_force = match subject {
        Subject::Whole(change) => change.settings.policy_version,
        Subject::Narrow(_) => None,
    };
    let versions = locked.clock.policy_versions().chain(in_force);
    versions
        .map(|version| (locked.key.tenant_id, version))
        .collect()
}

/// Reads the rest of those tickets whose hold is over: what then begins depends on the policy in force.
async fn with_holds_that_are_over(
    connection: &mut PgConnection,
    locked: Vec<LockedClock>,
) -> Result<Vec<Subject>, Error> {
    let (over, others): (Vec<_>, Vec<_>) = locked
        .into_iter()
        .partition(|row| row.clock.is_hold_over(row.now));
    let mut subjects: Vec<Subject> = others.into_iter().map(Subject::Narrow).collect();
    let whole = TicketChange::of_locked(connection, over).await?;
    subjects.extend(
        whole
            .into_iter()
            .map(|change| Subject::Whole(Box::new(change))),
    );
    Ok(subjects)
}

/// Applies the rules.
fn look_at(
    subjects: Vec<Subject>,
    policies: &KnownPolicies,
) -> (Vec<Looked>, HashMap<(TicketKey, i64), Handled>) {
    let mut looks = Vec::with_capacity(subjects.len());
    let mut failed = HashMap::new();
    for mut subject in subjects {
        let key = subject.locked().key;
        let is_unreadable = policy_keys(&subject)
            .iter()
            .any(|key| !policies.contains_key(key));
        if is_unreadable {
            let asked = (key, subject.locked().clock.generation());
            failed.insert(asked, Handled::Failed("POLICY_UNREADABLE"));
            continue;
        }
        let policy = |version: i64| policies.get(&(key.tenant_id, version));
        let in_force = match &subject {
            Subject::Whole(change) => change.settings.policy_version.and_then(|version| {
                let policy = Arc::clone(policy(version)?);
                Some(PolicyInForce::new(version, policy, &change.facts.tags))
            }),
            Subject::Narrow(_) => None,
        };
        let locked = subject.locked_mut();
        let before = locked.clock.clone();
        let of_cycle = |cycle: Option<&plazo_domain::Cycle>| {
            cycle
                .and_then(|cycle| policy(cycle.policy_version))
                .map(|policy| &**policy)
        };
        let needed = Policies {
            cycle: of_cycle(before.cycle()),
            agent_cycle: of_cycle(before.agent_cycle()),
            in_force: in_force.as_ref().map(PolicyInForce::as_rules),
        };
        let advance = advance(&mut locked.clock, needed, locked.now);
        looks.push(Looked {
            subject,
            before,
            advance,
        });
    }
    (looks, failed)
}

/// Reads the rest of those tickets in which more happened than alerts.
async fn widen(connection: &mut PgConnection, looks: Vec<Looked>) -> Result<Vec<Looked>, Error> {
    let mut wide = Vec::with_capacity(looks.len());
    let mut narrow = HashMap::new();
    let mut rows = Vec::new();
    for look in looks {
        match look.subject {
            Subject::Narrow(ref locked) if look.goes_beyond_alerts() => {
                rows.push(locked.clone());
                narrow.insert(locked.key, (look.before, look.advance));
            }
            _ => wide.push(look),
        }
    }
    for change in TicketChange::of_locked(connection, rows).await? {
        if let Some((before, advance)) = narrow.remove(&change.locked.key) {
            wide.push(Looked {
                subject: Subject::Whole(Box::new(change)),
                before,
                advance,
            });
        }
    }
    Ok(wide)
}

/// How long until the ticket must be looked at again, in the generation that was asked about. Whole milliseconds,
/// rounded up.
fn look_again_after_ms(look: &Looked) -> Option<i64> {
    let locked = look.subject.locked();
    // A new generation is armed by the relay.
    if locked.clock.generation() != look.before.generation() {
        return None;
    }
    let next_due_at = locked.clock.next_due_at()?;
    let micros = next_due_at.as_microsecond() - locked.now.as_microsecond();
    Some(micros.max(0).div_euclid(1_000) + i64::from(micros.max(0) % 1_000 != 0))
}

async fn recipients(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<HashMap<TicketKey, Recipient>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let recipients = parties::recipients(connection, keys).await?;
    Ok(recipients
        .into_iter()
        .map(|recipient| (recipient.key, recipient))
        .collect())
}
