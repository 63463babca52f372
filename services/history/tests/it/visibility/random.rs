//! Random histories, and a naive filter of them.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// A ticket as the naive filter knows it; instants in minutes ago.
#[derive(Debug)]
struct Known {
    ticket_id: i64,
    tenant_id: i64,
    bot_id: i64,
    contact_id: i64,
    closed: Option<i64>,
    /// Agents and when they last dealt.
    dealt: Vec<(i64, i64)>,
}

const MINUTES: [i64; 8] = [
    5,
    60,
    3 * 60 - 2,
    3 * 60 + 2,
    10_000,
    90 * 1_440 - 2,
    90 * 1_440 + 2,
    200 * 1_440,
];
const AGENTS: [i64; 3] = [11, 12, 13];
const BOTS: [i64; 3] = [3, 4, 5];

fn random_ticket(random: &mut StdRng, ticket_id: i64) -> Known {
    let closed = random
        .random_ratio(4, 5)
        .then(|| *MINUTES.choose(random).expect("some"));
    let mut dealt = Vec::new();
    for agent_id in AGENTS {
        if random.random_ratio(1, 2) {
            dealt.push((agent_id, *MINUTES.choose(random).expect("some")));
        }
    }
    // A contact belongs to one tenant.
    let tenant_id = random.random_range(1..=2);
    Known {
        ticket_id,
        tenant_id,
        bot_id: *BOTS.choose(random).expect("some"),
        contact_id: tenant_id * 100 + random.random_range(0..5),
        closed,
        dealt,
    }
}

/// PRODUCT's rules, word by word.
fn naive(known: &[Known], actor: &Actor, is_granted: bool, on: &[i64]) -> Shown {
    let lookback = 90 * 1_440;
    let in_reach = |ticket: &&Known| {
        ticket.tenant_id == actor.tenant_id
            && actor.may_use_bot(ticket.bot_id)
            && on.contains(&ticket.bot_id)
    };
    let reached: Vec<&Known> = known.iter().filter(in_reach).collect();
    let Some(agent_id) = actor.agent_id() else {
        return Shown {
            tickets: reached.iter().map(|ticket| ticket.ticket_id).collect(),
            contacts: reached.iter().map(|ticket| ticket.contact_id).collect(),
        };
    };
    let shows = |ticket: &Known| ticket.closed.is_some_and(|closed| closed >= 180);
    let dealt = |ticket: &&&Known| {
        let by_him = |(by, when): &(i64, i64)| *by == agent_id && *when <= lookback;
        is_granted && shows(ticket) && ticket.dealt.iter().any(by_him)
    };
    let contacts: BTreeSet<i64> = reached
        .iter()
        .filter(dealt)
        .map(|ticket| ticket.contact_id)
        .collect();
    let tickets = reached.iter().filter(|ticket| {
        contacts.contains(&ticket.contact_id)
            && shows(ticket)
            && ticket.closed.is_some_and(|closed| closed <= lookback)
    });
    Shown {
        tickets: tickets.map(|ticket| ticket.ticket_id).collect(),
        contacts,
    }
}

#[tokio::test]
async fn random_histories_show_what_a_naive_filter_shows() {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let mut seen_tickets = 0;
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let known: Vec<Known> = (1..=24).map(|id| random_ticket(&mut random, id)).collect();
        let on: Vec<i64> = BOTS
            .into_iter()
            .filter(|_| random.random_ratio(4, 5))
            .collect();
        let granted: Vec<i64> = AGENTS
            .into_iter()
            .filter(|_| random.random_ratio(4, 5))
            .collect();
        save(&history.database, &known, &on, &granted).await;

        let tickets: Vec<i64> = known.iter().map(|ticket| ticket.ticket_id).collect();
        let contacts: BTreeSet<i64> = known.iter().map(|ticket| ticket.contact_id).collect();
        let contacts: Vec<i64> = contacts.into_iter().collect();
        let mut actors = vec![viewer(1), viewer_of(2, &[3, 4])];
        for agent_id in AGENTS {
            actors.push(agent(agent_id, &BOTS));
            let bots: Vec<i64> = BOTS
                .into_iter()
                .filter(|_| random.random_bool(0.5))
                .collect();
            actors.push(agent(agent_id, &bots));
        }
        for actor in actors {
            let is_granted = actor.agent_id().is_some_and(|id| granted.contains(&id));
            let expected = naive(&known, &actor, is_granted, &on);
            let answer = shown(&history, &actor, &tickets, &contacts).await;
            assert_eq!(
                answer, expected,
                "seed {seed}, {actor:?}, on {on:?}, {known:#?}"
            );
            if actor.agent_id().is_some() {
                seen_tickets += answer.tickets.len();
            }
        }
    }
    assert!(seen_tickets > 30, "agents see something: {seen_tickets}");
}

async fn save(database: &str, known: &[Known], on: &[i64], granted: &[i64]) {
    let minutes_ago = |minutes: i64| format!("(now() - interval '{minutes} minutes')");
    let mut rows = Rows::default();
    rows.add(
        "DELETE FROM tickets; DELETE FROM dealings; DELETE FROM contacts; DELETE FROM history_bots;
        DELETE FROM history_agents;",
    );
    for bot_id in on {
        rows.add(&format!(
            "INSERT INTO history_bots (tenant_id, bot_id) VALUES (1, {bot_id}), (2, {bot_id});"
        ));
    }
    for agent_id in granted {
        rows.grant(*agent_id);
    }
    let mut contacts = BTreeSet::new();
    for ticket in known {
        let row = TicketRow {
            tenant_id: ticket.tenant_id,
            bot_id: ticket.bot_id,
            contact_id: ticket.contact_id,
            opened_at: "now() - interval '300 days'".to_owned(),
            closed_at: ticket.closed.map(minutes_ago),
            ..TicketRow::closed(ticket.ticket_id, &minutes_ago(ticket.closed.unwrap_or(0)))
        };
        rows.ticket(&row);
        for (agent_id, dealt) in &ticket.dealt {
            rows.dealing(*agent_id, &row, &minutes_ago(*dealt));
        }
        if contacts.insert(ticket.contact_id) {
            rows.contact(&ContactRow {
                tenant_id: ticket.tenant_id,
                ..ContactRow::named(ticket.contact_id, "Contact")
            });
        }
    }
    rows.save(database).await;
}
