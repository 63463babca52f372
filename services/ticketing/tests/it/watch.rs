//! The live view of tickets.

mod crowd;
mod random;
mod resume;
mod slow;
mod walls;

use std::collections::{BTreeMap, HashMap};

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::watch_tickets_response::Update;
use plazo_proto::ticketing::v1::{
    Alert, AssignTicketRequest, CloseTicketRequest, SnapshotReason, Ticket, TicketFilter,
    TicketState, WatchTicketsRequest, WatchTicketsResponse,
};
use tonic::{Code, Status, Streaming};

use crate::desk::{BOUND, Desk, create_agent, eventually, unwarned};
use crate::support::{Clients, TENANT, refusal, wrong_fields};

type Updates = Streaming<WatchTicketsResponse>;

async fn watch(clients: &Clients, filter: TicketFilter) -> Updates {
    watch_from(clients, filter, "").await.expect("permitted")
}

async fn watch_from(
    clients: &Clients,
    filter: TicketFilter,
    position: &str,
) -> Result<Updates, Status> {
    let request = WatchTicketsRequest {
        filter: Some(filter),
        position: position.to_owned(),
    };
    let answer = clients.tickets.clone().watch_tickets(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn next_message(updates: &mut Updates) -> Result<WatchTicketsResponse, Status> {
    let message = tokio::time::timeout(BOUND, updates.message()).await;
    let message = message.expect("something comes")?;
    Ok(message.expect("the stream goes on"))
}

/// The next update; positions alone are passed over.
async fn next(updates: &mut Updates) -> Update {
    loop {
        let message = next_message(updates).await.expect("the stream lasts");
        if let Some(update) = message.update {
            return update;
        }
    }
}

async fn next_ticket(updates: &mut Updates) -> Ticket {
    match next(updates).await {
        Update::Ticket(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// What comes next about a ticket.
async fn next_about(updates: &mut Updates, ticket_id: i64) -> Update {
    loop {
        let update = next(updates).await;
        match &update {
            Update::Ticket(ticket) if ticket.ticket_id == ticket_id => return update,
            Update::LeftTicketId(left_id) if *left_id == ticket_id => return update,
            Update::Ticket(_) | Update::LeftTicketId(_) => {}
            Update::SnapshotBegin(_) | Update::SnapshotEnd(_) => panic!("a second snapshot"),
        }
    }
}

/// The tickets of the snapshot, in the order in which they came.
async fn snapshot(updates: &mut Updates) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    let begin = next(updates).await;
    assert!(
        matches!(begin, Update::SnapshotBegin(begin) if begin.reason() == SnapshotReason::NoPosition)
    );
    loop {
        match next(updates).await {
            Update::Ticket(ticket) => tickets.push(ticket),
            Update::SnapshotEnd(end) => {
                assert_eq!(usize::try_from(end.ticket_count), Ok(tickets.len()));
                return tickets;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A view as a front end keeps it.
#[derive(Default)]
struct View {
    tickets: BTreeMap<i64, Ticket>,
    /// The last one that came.
    position: String,
    /// What came since the stream began, in short.
    told: Vec<String>,
    /// The numbers of the last events that this stream has told of.
    seqs: HashMap<i64, i64>,
}

impl View {
    /// Starts a stream from where the view is.
    async fn open(&mut self, clients: &Clients, filter: &TicketFilter) -> Updates {
        self.told.clear();
        self.seqs.clear();
        let updates = watch_from(clients, filter.clone(), &self.position).await;
        updates.expect("permitted")
    }

    fn apply(&mut self, message: WatchTicketsResponse) {
        match message.update {
            Some(Update::SnapshotBegin(begin)) => {
                assert!(self.told.is_empty(), "it comes first");
                self.tickets.clear();
                self.position.clear();
                self.told.push(format!("{:?}", begin.reason()));
            }
            Some(Update::Ticket(ticket)) => {
                let seq: i64 = ticket.etag.parse().expect("a number");
                let last = self.seqs.insert(ticket.ticket_id, seq);
                assert!(last < Some(seq), "{seq} after {last:?}");
                self.told.push(format!("{} at {seq}", ticket.ticket_id));
                self.tickets.insert(ticket.ticket_id, ticket);
            }
            Some(Update::LeftTicketId(ticket_id)) => {
                self.tickets.remove(&ticket_id);
                self.told.push(format!("{ticket_id} left"));
            }
            Some(Update::SnapshotEnd(end)) => {
                assert!(!message.position.is_empty(), "the view is whole");
                assert_eq!(usize::try_from(end.ticket_count), Ok(self.tickets.len()));
            }
            None => assert!(!message.position.is_empty(), "an empty message"),
        }
        if !message.position.is_empty() {
            assert!(message.position.len() <= 200);
            self.position = message.position;
        }
    }

    /// Reads until the next position.
    async fn read(&mut self, updates: &mut Updates) -> Result<(), Status> {
        let before = self.position.clone();
        loop {
            let message = next_message(updates).await?;
            let is_whole = !message.position.is_empty();
            self.apply(message);
            // With the same position it only lives.
            if is_whole && (self.position != before || !self.told.is_empty()) {
                return Ok(());
            }
        }
    }

    /// Reads until the view fulfils a condition.
    async fn read_until(&mut self, updates: &mut Updates, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            let message = next_message(updates).await.expect("the stream lasts");
            self.apply(message);
        }
    }

    fn etag(&self, ticket_id: i64) -> Option<&str> {
        self.tickets
            .get(&ticket_id)
            .map(|ticket| ticket.etag.as_str())
    }
}

impl Desk {
    async fn assigns(&self, ticket_id: i64, agent_id: i64) -> Ticket {
        let request = AssignTicketRequest {
            ticket_id,
            agent_id,
            ..Default::default()
        };
        let answer = self.people.tickets.clone().assign_ticket(request).await;
        let ticket = answer.expect("assigned").into_inner().ticket;
        ticket.expect("the ticket")
    }

    async fn closes(&self, ticket_id: i64) -> Ticket {
        let request = CloseTicketRequest {
            ticket_id,
            ..Default::default()
        };
        let answer = self.people.tickets.clone().close_ticket(request).await;
        let ticket = answer.expect("closed").into_inner().ticket;
        ticket.expect("the ticket")
    }

    fn of_agent(&self) -> TicketFilter {
        TicketFilter {
            agent_id: self.agent_id,
            ..TicketFilter::default()
        }
    }

    /// A ticket of the agent.
    async fn open_assigned(&self) -> Ticket {
        let mut opening = self.opening();
        opening.agent_id = self.agent_id;
        self.open_as(opening).await
    }
}

#[tokio::test]
async fn what_is_assigned_or_closed_leaves_those_who_had_it() {
    let desk = Desk::start().await;
    let other_id = create_agent(&desk.people, "Leo", &[desk.bot_id])
        .await
        .agent_id;
    let of_other = TicketFilter {
        agent_id: other_id,
        ..TicketFilter::default()
    };
    let before = desk.open_assigned().await.ticket_id;
    let mut of_agent = watch(&desk.agent, desk.of_agent()).await;
    assert_eq!(snapshot(&mut of_agent).await.len(), 1);
    let mut of_other = watch(&desk.people, of_other).await;
    assert!(snapshot(&mut of_other).await.is_empty());
    let after = desk.open_assigned().await.ticket_id;
    assert_eq!(next_ticket(&mut of_agent).await.ticket_id, after);
    for ticket_id in [before, after] {
        let assigned = desk.assigns(ticket_id, other_id).await;
        assert_eq!(next(&mut of_agent).await, Update::LeftTicketId(ticket_id));
        let told = next_ticket(&mut of_other).await;
        assert_eq!((told.ticket_id, &told.etag), (ticket_id, &assigned.etag));
        // What goes on elsewhere is no more news here: the next thing told is the next ticket's.
        desk.writes(ticket_id, AuthorKind::Agent).await;
        next_ticket(&mut of_other).await;
        desk.closes(ticket_id).await;
        assert_eq!(next(&mut of_other).await, Update::LeftTicketId(ticket_id));
    }
    let again = desk.open_assigned().await.ticket_id;
    assert_eq!(next_ticket(&mut of_agent).await.ticket_id, again);
}

#[tokio::test]
async fn a_snapshot_comes_first_and_changes_follow() {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    let tickets = desk.answered(3).await;
    let mut updates = watch(&desk.people, TicketFilter::default()).await;
    let told = snapshot(&mut updates).await;
    assert_eq!(told, tickets.iter().rev().cloned().collect::<Vec<_>>());

    let new = desk.open().await;
    let ticket_id = new.ticket_id;
    assert_eq!(
        next_about(&mut updates, ticket_id).await,
        Update::Ticket(new)
    );
    let answered = desk.writes(ticket_id, AuthorKind::Agent).await;
    let generation = answered.generation;
    let told = next_about(&mut updates, ticket_id).await;
    assert!(matches!(told, Update::Ticket(ticket) if ticket.etag == answered.etag));

    desk.age(&[ticket_id], 10.0).await;
    desk.handle(&[(ticket_id, generation)])
        .await
        .expect("handled");
    let told = next_about(&mut updates, ticket_id).await;
    assert!(matches!(told, Update::Ticket(ticket) if ticket.alert() == Alert::Yellow));
    desk.age(&[ticket_id], 20.0).await;
    desk.handle(&[(ticket_id, generation)])
        .await
        .expect("handled");
    assert_eq!(
        next_about(&mut updates, ticket_id).await,
        Update::LeftTicketId(ticket_id)
    );
    // What comes back matches again.
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let told = next_about(&mut updates, ticket_id).await;
    assert!(matches!(told, Update::Ticket(ticket) if ticket.state() == TicketState::Waiting));
}

#[tokio::test]
async fn nobody_is_told_of_other_tenants_bots_and_states() {
    let desk = Desk::start().await;
    let mut people = desk.people.clone();
    let other_bot = people.create_bot("Compras").await.bot_id;
    let mut all = watch(&desk.people, TicketFilter::default()).await;
    let bots = desk.bot_id.to_string();
    let restricted = desk
        .fixture
        .as_actor("administrator/2", "tickets:attend", &bots);
    let mut of_bot = watch(&restricted, TicketFilter::default()).await;
    let filter = TicketFilter {
        states: vec![TicketState::Open.into()],
        ..TicketFilter::default()
    };
    let mut open = watch(&desk.people, filter).await;
    let foreigner = desk.fixture.administrator_of(TENANT + 1);
    let mut foreign = watch(&foreigner, TicketFilter::default()).await;
    for updates in [&mut all, &mut of_bot, &mut open, &mut foreign] {
        assert!(snapshot(updates).await.is_empty());
    }

    let mut opening = desk.opening();
    opening.bot_id = other_bot;
    let elsewhere = desk.open_as(opening).await;
    let here = desk.open().await;
    let mut told = [next_ticket(&mut all).await, next_ticket(&mut all).await];
    told.sort_unstable_by_key(|ticket| ticket.ticket_id);
    assert_eq!(told, [elsewhere, here.clone()]);
    assert_eq!(next_ticket(&mut of_bot).await, here);
    let answered = desk.writes(here.ticket_id, AuthorKind::Agent).await;
    assert_eq!(next_ticket(&mut open).await.etag, answered.etag);

    // The foreigner's own ticket is the first thing that he is told.
    let mut clients = foreigner.clone();
    let bot_id = clients.create_bot("Otra").await.bot_id;
    let contact_id = clients.create_contact("Eva", "eva").await.contact_id;
    let request = plazo_proto::ticketing::v1::OpenTicketRequest {
        bot_id,
        contact_id,
        ..Default::default()
    };
    let answer = clients
        .tickets
        .open_ticket(request)
        .await
        .expect("a ticket");
    assert_eq!(
        Some(next_ticket(&mut foreign).await),
        answer.into_inner().ticket
    );
}

#[tokio::test]
async fn a_watch_that_may_not_be_is_refused() {
    let desk = Desk::start().await;
    let request = |filter| WatchTicketsRequest {
        filter: Some(filter),
        position: String::new(),
    };
    let bad = TicketFilter {
        states: vec![TicketState::Open.into(), 0, 9],
        bot_id: -1,
        ..TicketFilter::default()
    };
    let refused = desk
        .people
        .tickets
        .clone()
        .watch_tickets(request(bad))
        .await;
    assert_eq!(
        wrong_fields(refused),
        ["filter.states[1]", "filter.states[2]", "filter.bot_id"]
    );
    let foreign = TicketFilter {
        bot_id: desk.bot_id + 1,
        ..TicketFilter::default()
    };
    let refused = desk
        .agent
        .tickets
        .clone()
        .watch_tickets(request(foreign))
        .await;
    let not_permitted = (Code::PermissionDenied, "BOT_NOT_PERMITTED".to_owned());
    assert_eq!(refusal(refused), not_permitted);
}

#[tokio::test]
async fn watchers_miss_nothing_when_connections_are_lost() {
    let desk = Desk::start().await;
    let mut updates = watch(&desk.people, TicketFilter::default()).await;
    snapshot(&mut updates).await;
    for _ in 0..5 {
        let mut tickets = desk.people.tickets.clone();
        // Callers repeat what meets a connection that was lost.
        let ticket = eventually("a ticket is opened", async || {
            let answer = tickets.open_ticket(desk.opening()).await.ok()?;
            answer.into_inner().ticket
        })
        .await;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'plazo-ticketing'",
        )
        .execute(&desk.fixture.pool)
        .await
        .expect("terminated");
        assert_eq!(next_ticket(&mut updates).await.ticket_id, ticket.ticket_id);
    }
}
