//! Random changes under watchers that come and go: what each has put together is what the list says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, CloseTicketRequest, ListTicketsRequest, OpenTicketRequest,
    ReopenTicketRequest, TicketFilter, TicketState,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Updates, View};
use crate::desk::{BOUND, Desk, create_agent};
use crate::support::{Clients, Fixture};

const SEEDS: std::ops::Range<u64> = 0..4;
const CHANGES: usize = 250;
const WRITERS: usize = 3;
const WATCHERS: u64 = 10;
/// How long to wait for a message before the list is looked at again.
const LOOK: Duration = Duration::from_millis(50);

struct World {
    desk: Desk,
    /// Another replica on the same database.
    replica: Fixture,
    queues: [i64; 2],
    agents: [i64; 2],
    bots: [i64; 2],
}

async fn world() -> World {
    let desk = Desk::start().await;
    let mut people = desk.people.clone();
    let other_bot = people.create_bot("Compras").await.bot_id;
    let bots = [desk.bot_id, other_bot];
    let other_agent = create_agent(&people, "Leo", &bots).await.agent_id;
    let queues = [desk.queue("A").await, desk.queue("B").await];
    World {
        replica: desk.fixture.another(&[]).await,
        queues,
        agents: [desk.agent_id, other_agent],
        bots,
        desk,
    }
}

async fn change(world: &World, random: &mut StdRng) {
    let mut tickets = world.desk.people.tickets.clone();
    let known: Vec<i64> = sqlx::query_scalar("SELECT ticket_id FROM tickets ORDER BY ticket_id")
        .fetch_all(&world.desk.fixture.pool)
        .await
        .expect("read");
    let which = random.random_range(0..10);
    if known.is_empty() || which == 0 {
        let is_first = random.random_bool(0.8);
        let queue_id = if is_first && random.random_bool(0.5) {
            world.queues[random.random_range(0..2)]
        } else {
            0
        };
        let request = OpenTicketRequest {
            bot_id: world.bots[usize::from(!is_first)],
            contact_id: world.desk.contact_id,
            queue_id,
            ..Default::default()
        };
        tickets.open_ticket(request).await.expect("opened");
        return;
    }
    let ticket_id = known[random.random_range(0..known.len())];
    // Some of these are refused, as for a ticket that is closed already.
    match which {
        1..=3 => {
            let agent_id = world.agents[random.random_range(0..2)];
            let request = AssignTicketRequest {
                ticket_id,
                agent_id,
                ..Default::default()
            };
            let _ = tickets.assign_ticket(request).await;
        }
        4..=5 => {
            let request = CloseTicketRequest {
                ticket_id,
                ..Default::default()
            };
            let _ = tickets.close_ticket(request).await;
        }
        6 => {
            let request = ReopenTicketRequest {
                ticket_id,
                ..Default::default()
            };
            let _ = tickets.reopen_ticket(request).await;
        }
        _ => {
            let author = if random.random_bool(0.5) {
                AuthorKind::Agent
            } else {
                AuthorKind::Customer
            };
            let message = world.desk.message(ticket_id, author);
            let _ = world.desk.record(message).await;
        }
    }
}

fn filter(world: &World, random: &mut StdRng) -> TicketFilter {
    let mut filter = TicketFilter::default();
    match random.random_range(0..5) {
        0 => {}
        1 => filter.bot_id = world.bots[0],
        2 => filter.queue_id = world.queues[random.random_range(0..2)],
        3 => filter.agent_id = world.agents[random.random_range(0..2)],
        _ => {
            filter.agent_id = world.agents[random.random_range(0..2)];
            filter.queue_id = world.queues[random.random_range(0..2)];
        }
    }
    let states = [TicketState::Waiting, TicketState::Open, TicketState::Closed];
    for state in states {
        if random.random_bool(0.3) {
            filter.states.push(state.into());
        }
    }
    filter
}

/// Reads, goes away and comes back until `done`, then until nothing is missing.
async fn keep_view(
    clients: [Clients; 2],
    filter: TicketFilter,
    mut random: StdRng,
    done: CancellationToken,
) -> (usize, usize) {
    let mut view = View::default();
    let (mut resumed, mut begun) = (0, 0);
    while !done.is_cancelled() {
        let client = &clients[random.random_range(0..2)];
        let mut updates: Updates = view.open(client, &filter).await;
        for _ in 0..random.random_range(0..40) {
            let message = tokio::select! {
                message = updates.message() => message,
                () = done.cancelled() => break,
            };
            view.apply(message.expect("it lasts").expect("it goes on"));
        }
        begun += 1;
        resumed += usize::from(!view.told.iter().any(|told| told == "NoPosition"));
    }
    let mut updates = view.open(&clients[0], &filter).await;
    let until_equal = async {
        while view.etags() != list(&clients[0], &filter).await {
            let message = tokio::time::timeout(LOOK, updates.message()).await;
            if let Ok(message) = message {
                view.apply(message.expect("it lasts").expect("it goes on"));
            }
        }
    };
    let ended = tokio::time::timeout(BOUND, until_equal).await;
    if ended.is_err() {
        let listed = list(&clients[0], &filter).await;
        panic!("{filter:?}: {:?}, not {listed:?}", view.etags());
    }
    (begun, resumed)
}

impl View {
    fn etags(&self) -> BTreeMap<i64, String> {
        let tickets = self.tickets.iter();
        tickets
            .map(|(id, ticket)| (*id, ticket.etag.clone()))
            .collect()
    }
}

async fn list(clients: &Clients, filter: &TicketFilter) -> BTreeMap<i64, String> {
    let request = ListTicketsRequest {
        filter: Some(filter.clone()),
        page_size: 500,
        ..Default::default()
    };
    let answer = clients.tickets.clone().list_tickets(request).await;
    let page = answer.expect("a page").into_inner();
    assert!(page.next_page_token.is_empty(), "it fits");
    let tickets = page.tickets.into_iter();
    tickets
        .map(|ticket| (ticket.ticket_id, ticket.etag))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_view_becomes_what_the_list_says() {
    let world = Arc::new(Box::pin(world()).await);
    for seed in SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let done = CancellationToken::new();
        let mut watchers = JoinSet::new();
        for number in 0..WATCHERS {
            let filter = filter(&world, &mut random);
            let clients = [&world.desk.fixture, &world.replica].map(|fixture| {
                if number % 3 == 0 {
                    let bot = world.bots[0].to_string();
                    fixture.as_actor("administrator/2", "tickets:attend", &bot)
                } else {
                    fixture.administrator()
                }
            });
            let random = StdRng::seed_from_u64(random.random());
            watchers.spawn(keep_view(clients, filter, random, done.clone()));
        }
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let world = Arc::clone(&world);
            let mut random = StdRng::seed_from_u64(random.random());
            writers.spawn(async move {
                for _ in 0..CHANGES / WRITERS {
                    change(&world, &mut random).await;
                }
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.expect("written");
        }
        done.cancel();
        let (mut begun, mut resumed) = (0, 0);
        while let Some(ended) = watchers.join_next().await {
            let (streams, went_on) = ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            begun += streams;
            resumed += went_on;
        }
        println!("seed {seed}: {begun} streams, {resumed} of them from a position");
        assert!(resumed > 0, "seed {seed}");
    }
}
