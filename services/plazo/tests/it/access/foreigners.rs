//! Callers who are known, and have no right to what they ask for: those of another tenant, of other bots, and with too few
//! rights. And then the one who has just enough: that it is the right that they lacked, and nothing else.

use plazo_service::{ActorKind, BotScope};
use tonic::Code;

use super::desk::{BUSY_TENANT, Caller, Desk, EMPTY_TENANT, OTHER_TENANT, TENANT, outside_rights};
use super::requests::{self, Call};
use super::rights::{self, Expected, Line};
use super::rows::{Rows, changed};
use super::things::{AllSecrets, Secrets, Things};
use super::wire::Answer;
use super::world::{World, until};

/// One caller who must not succeed.
struct Case {
    name: String,
    caller: Caller,
    expected: Expected,
    /// The same things, with ids of nothing in place of those that don't exist for the caller.
    elsewhere: Things,
    secrets: Secrets,
}

/// Calls what there is, and keeps what went wrong.
struct Trial<'a> {
    desk: &'a Desk,
    world: &'a World,
    secrets: AllSecrets,
    rows: Rows,
    problems: Vec<String>,
}

/// Nobody without the right learns or changes anything by a call that succeeds for those who have it.
pub(super) async fn learn_and_change_nothing(desk: &Desk, world: &World) {
    let calls = requests::all();
    let table = rights::table();
    let mut prepared = Vec::new();
    for call in &calls {
        let things = world.things(desk, call.needs).await;
        prepared.push((call, &table[&call.name], things));
    }
    let rows = settled(desk).await;
    let mut trial = Trial {
        desk,
        world,
        secrets: world.secrets(desk).await,
        rows,
        problems: Vec::new(),
    };
    for (call, line, things) in &prepared {
        trial.refuse(call, line, things).await;
    }
    for (call, line, things) in &prepared {
        trial.allow(call, line, things).await;
    }
    let problems = trial.problems;
    settled(desk).await;
    assert!(problems.is_empty(), "{problems:#?}");
}

impl Trial<'_> {
    async fn refuse(&mut self, call: &Call, line: &Line, things: &Things) {
        for case in self.cases(call, line, things) {
            // Their success would show in the rows; they come with those who are allowed.
            if case.expected != Expected::Any {
                self.try_case(call, things, &case).await;
            }
        }
    }

    fn cases(&self, call: &Call, line: &Line, things: &Things) -> Vec<Case> {
        let all = outside_rights();
        let kind = kind(call, things);
        let case = |name: &str, caller, expected: &Expected| Case {
            name: name.to_owned(),
            caller,
            expected: expected.clone(),
            elsewhere: things.nowhere(),
            secrets: self.secrets.of_tenant.clone(),
        };
        // Where nothing is to be found, nothing may have been made.
        let tenant_id = if line.to_other_tenant == Expected::Own {
            BUSY_TENANT
        } else {
            OTHER_TENANT
        };
        let caller = self
            .desk
            .caller(tenant_id, kind.clone(), &all, BotScope::All);
        let mut cases = vec![case(
            "an actor of another tenant",
            caller,
            &line.to_other_tenant,
        )];
        let neighbours = [
            (
                "an administrator of other bots",
                ActorKind::Administrator(2),
            ),
            (
                "an agent of other bots",
                ActorKind::Agent(self.world.other_agent_id),
            ),
        ];
        for ((name, kind), expected) in neighbours.into_iter().zip(&line.to_other_bots) {
            let bots = BotScope::only(vec![self.world.other_bot_id]);
            // A contact is the tenant's, but in the history it is seen by its tickets alone.
            let (elsewhere, secrets) = if call.path().starts_with("/plazo.history.") {
                (things.nowhere(), &self.secrets.in_history)
            } else {
                (things.without_bot(), &self.secrets.of_bot)
            };
            cases.push(Case {
                elsewhere,
                secrets: secrets.clone(),
                ..case(name, self.desk.caller(TENANT, kind, &all, bots), expected)
            });
        }
        for rights in line.too_little() {
            let lacking = all.iter().find(|it| !rights.contains(it));
            let name = format!(
                "an actor without {}",
                lacking.map_or("service", |it| it.name())
            );
            let caller = self
                .desk
                .caller(TENANT, kind.clone(), &rights, BotScope::All);
            cases.push(case(&name, caller, &Expected::denied()));
        }
        if !line.is_for_services() {
            cases.push(case("a service", Caller::Service, &Expected::denied()));
        }
        cases
    }

    async fn try_case(&mut self, call: &Call, things: &Things, case: &Case) {
        let asked = call.message(things);
        let answer = self
            .desk
            .call(call.path(), asked.clone(), &case.caller)
            .await;
        let elsewhere = call.message(&case.elsewhere);
        let guessed = self.desk.call(call.path(), elsewhere, &case.caller).await;

        let mut wrong = Vec::new();
        let told = case.secrets.told(&answer.bytes(), &asked);
        if !told.is_empty() {
            wrong.push(format!("was told {told:?}"));
        }
        let expected = match &case.expected {
            Expected::Refused(outcome) => outcome.as_str(),
            _ => "OK",
        };
        if answer.outcome() != expected {
            wrong.push(format!("must be answered {expected}: {answer:?}"));
        } else if case.expected != Expected::Own {
            let said = |bytes: &[u8]| things.said_of(&case.elsewhere, bytes);
            let difference = differences(&said, &answer, &guessed);
            wrong.extend(
                difference.map(|it| {
                    format!("can tell from the {it} what exists: {answer:?}, {guessed:?}")
                }),
            );
        }
        if case.expected == Expected::Nothing {
            let empty = self.of_empty_tenant(call, things).await;
            if empty.messages != answer.messages {
                wrong.push(format!(
                    "must be answered as where nothing is: {answer:?}, {empty:?}"
                ));
            }
        }
        let rows = self.desk.databases.rows().await;
        let changes = changed(&self.rows, &rows, Some(TENANT));
        if !changes.is_empty() {
            wrong.push(format!("changed {changes:?}"));
        }
        self.rows = rows;
        for wrong in wrong {
            self.problems
                .push(format!("{}, {}: {wrong}", call.name, case.name));
        }
    }

    /// The answer to the same request in a tenant in which there is nothing.
    async fn of_empty_tenant(&self, call: &Call, things: &Things) -> Answer {
        let kind = kind(call, things);
        let rights = outside_rights();
        let caller = self.desk.caller(EMPTY_TENANT, kind, &rights, BotScope::All);
        self.desk
            .call(call.path(), call.message(things), &caller)
            .await
    }

    async fn allow(&mut self, call: &Call, line: &Line, things: &Things) {
        for case in self.cases(call, line, things) {
            if case.expected == Expected::Any {
                let things = self.world.things(self.desk, call.needs).await;
                let answer = self
                    .desk
                    .call(call.path(), call.message(&things), &case.caller)
                    .await;
                self.require(answer.code == Code::Ok, call, &case.name, &answer);
            }
        }
        if line.is_for_services() && call.name == call.path() {
            let answer = self
                .desk
                .call(call.path(), call.message(things), &Caller::Service)
                .await;
            self.require(answer.code == Code::Ok, call, "a service", &answer);
        }
        let Some(rights) = line.enough() else { return };
        let bots = if call.needs_all_bots {
            BotScope::All
        } else {
            BotScope::only(vec![things.bot_id])
        };
        let kind = kind(call, things);
        let caller = self.desk.caller(TENANT, kind, rights, bots);
        let empty = self.of_empty_tenant(call, things).await;
        let answer = self
            .desk
            .call(call.path(), call.message(things), &caller)
            .await;
        let has_told = call.may_be_empty || answer.messages != empty.messages;
        let is_done = answer.code == Code::Ok && has_told;
        self.require(is_done, call, "whoever has the right", &answer);
    }

    fn require(&mut self, holds: bool, call: &Call, who: &str, answer: &Answer) {
        if !holds {
            let problem = format!("{}, {who}: must succeed: {answer:?}", call.name);
            self.problems.push(problem);
        }
    }
}

/// Who makes a call with success.
fn kind(call: &Call, things: &Things) -> ActorKind {
    if call.is_by_agent {
        ActorKind::Agent(things.agent_id)
    } else {
        ActorKind::Administrator(1)
    }
}

/// In what an answer differs from the one about things that don't exist, in which `said` puts their ids.
fn differences(
    said: &dyn Fn(&[u8]) -> Vec<u8>,
    answer: &Answer,
    guessed: &Answer,
) -> Option<&'static str> {
    let messages = answer.messages.iter().map(|it| said(it));
    if answer.outcome() != guessed.outcome() {
        Some("code")
    } else if said(answer.text.as_bytes()) != guessed.text.as_bytes() {
        Some("text")
    } else if said(&answer.details) != guessed.details {
        Some("details")
    } else if messages.collect::<Vec<_>>() != guessed.messages {
        Some("messages")
    } else {
        None
    }
}

/// All rows, once the background has nothing left to do.
pub(super) async fn settled(desk: &Desk) -> Rows {
    let mut rows = desk.databases.rows().await;
    let mut quiet = 0;
    until("the rows come to rest", async || {
        let later = desk.databases.rows().await;
        quiet = if later == rows { quiet + 1 } else { 0 };
        rows = later;
        quiet == 10
    })
    .await;
    rows
}
