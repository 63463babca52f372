//! The event feed: complete and in order for each ticket, whatever writers and readers do.

mod positions;
mod writers;

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::{MessageKind, StreamEventsRequest, StreamEventsResponse};
use plazo_service::{Actor, ActorKind, BotScope, Permission, Permissions};
use plazo_ticketing::feed::{self, FeedIdentity, Position};
use plazo_ticketing::store::messages::NewMessage;
use plazo_ticketing::store::settings::PolicyCache;
use plazo_ticketing::tickets::record::{AddressedMessage, record_message};
use sqlx::{PgConnection, PgPool};
use tonic::Streaming;

use crate::desk::{BOUND, Desk, Ledger, eventually, unwarned};
use crate::support::TENANT;

/// Opens the stream where a reader is.
async fn stream(desk: &Desk, position: &str) -> Streaming<StreamEventsResponse> {
    let request = StreamEventsRequest {
        position: position.to_owned(),
    };
    let answer = desk.service.feed.clone().stream_events(request).await;
    answer.expect("a good position").into_inner()
}

/// Reads on until the reader has so many events.
pub(crate) async fn read_on(desk: &Desk, ledger: &mut Ledger, count: usize) {
    let mut stream = stream(desk, &ledger.position).await;
    while ledger.events.len() < count {
        let batch = tokio::time::timeout(BOUND, stream.message()).await;
        let batch = batch
            .expect("events come")
            .expect("the stream lasts")
            .expect("the stream goes on");
        ledger.take(batch);
    }
    assert_eq!(ledger.events.len(), count);
}

/// Makes all events so far 200 days old, in a partition of their week.
pub(crate) async fn age_events(pool: &PgPool) {
    sqlx::query(
        "DO $$
         DECLARE
             day date := date_trunc('week', now() AT TIME ZONE 'UTC' - interval '200 days')::date;
         BEGIN
             EXECUTE format(
                 'CREATE TABLE IF NOT EXISTS %I PARTITION OF ticket_events FOR VALUES FROM (%L) TO (%L)',
                 'ticket_events_' || to_char(day, 'YYYYMMDD'),
                 day::timestamp AT TIME ZONE 'UTC', (day + 7)::timestamp AT TIME ZONE 'UTC'
             );
             UPDATE ticket_events SET recorded_at = (day + 2)::timestamp AT TIME ZONE 'UTC';
         END
         $$",
    )
    .execute(pool)
    .await
    .expect("aged");
}

pub(crate) async fn count_events(pool: &PgPool) -> usize {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM ticket_events")
        .fetch_one(pool)
        .await
        .expect("counted");
    usize::try_from(count).expect("not negative")
}

/// A reader that looks exactly when it is told to.
struct Reader {
    ledger: Ledger,
    position: Position,
    identity: FeedIdentity,
}

impl Reader {
    async fn at_beginning(pool: &PgPool) -> Self {
        Self {
            ledger: Ledger::default(),
            position: feed::beginning(pool).await.expect("a position"),
            identity: feed::identity(pool).await.expect("an identity"),
        }
    }

    /// Reads all that can be read now.
    async fn look(&mut self, pool: &PgPool) {
        loop {
            let batch = feed::read(pool, self.position).await.expect("a batch");
            self.position = batch.position;
            let is_empty = batch.events.is_empty();
            self.ledger.take(StreamEventsResponse {
                events: batch.events,
                position: batch.position.write(&self.identity),
            });
            if !batch.more && is_empty {
                break;
            }
        }
    }
}

impl Reader {
    /// Looks until it has so many events.
    async fn look_until(&mut self, pool: &PgPool, count: usize) {
        // Transactions of other databases of the server hold it up as well.
        eventually("all events can be read", async || {
            self.look(pool).await;
            (self.ledger.events.len() >= count).then_some(())
        })
        .await;
        assert_eq!(self.ledger.events.len(), count);
    }
}

/// Takes a transaction id, as whatever writes does.
async fn take_transaction_id(connection: &mut PgConnection) {
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(connection)
        .await
        .expect("an id");
}

/// The customer writes, inside of a transaction that the caller commits.
async fn customer_writes(connection: &mut PgConnection, ticket_id: i64) {
    let actor = Actor {
        tenant_id: TENANT,
        kind: ActorKind::Administrator(1),
        permissions: Permissions::NONE.with(Permission::TicketsAttend),
        bots: BotScope::All,
    };
    let message = NewMessage {
        author: Author {
            kind: AuthorKind::Customer.into(),
            id: 0,
        },
        kind: MessageKind::Chat,
        text: "Hola".to_owned(),
        attachment_urls: Vec::new(),
        channel_at: None,
    };
    let addressed = AddressedMessage {
        ticket_id,
        new: message,
    };
    record_message(connection, &PolicyCache::new(), &actor, addressed)
        .await
        .expect("recorded");
}

/// A ticket's second change has a lower transaction id than its first. `bystander`: a transaction with an id between
/// the two lasts until the end. `looks`: the bits say after which steps the reader looks.
async fn inverted_pair(desk: &Desk, bystander: bool, looks: u32) {
    let pool = &desk.fixture.pool;
    let ticket_id = desk.open().await.ticket_id;
    let mut reader = Reader::at_beginning(pool).await;
    let mut step = 0;
    let mut look = async |reader: &mut Reader| {
        if looks & (1 << step) != 0 {
            reader.look(pool).await;
        }
        step += 1;
    };

    let mut second = pool.begin().await.expect("a transaction");
    take_transaction_id(&mut second).await;
    let mut between = pool.begin().await.expect("a transaction");
    if bystander {
        take_transaction_id(&mut between).await;
    }
    look(&mut reader).await;
    desk.writes(ticket_id, AuthorKind::Customer).await;
    look(&mut reader).await;
    customer_writes(&mut second, ticket_id).await;
    look(&mut reader).await;
    second.commit().await.expect("committed");
    look(&mut reader).await;
    between.commit().await.expect("committed");
    reader.look_until(pool, count_events(pool).await).await;

    let last = reader
        .ledger
        .events
        .iter()
        .rfind(|event| event.ticket_id == ticket_id);
    assert_eq!(last.map(|event| event.ticket_seq), Some(4), "{looks:#b}");
    let mut ledger = Ledger::default();
    read_on(desk, &mut ledger, reader.ledger.events.len()).await;
}

#[tokio::test]
async fn inverted_pairs_come_in_order_whenever_one_looks() {
    let desk = Desk::start().await;
    for bystander in [false, true] {
        for looks in 0..1 << 4 {
            inverted_pair(&desk, bystander, looks).await;
        }
    }
}

#[tokio::test]
async fn a_long_transaction_delays_the_feed_and_skips_nothing() {
    let desk = Desk::start().await;
    let pool = &desk.fixture.pool;
    let before = desk.open().await.ticket_id;
    let mut reader = Reader::at_beginning(pool).await;
    reader.look_until(pool, 2).await;
    let mut long = pool.begin().await.expect("a transaction");
    take_transaction_id(&mut long).await;
    for _ in 0..5 {
        let ticket = desk.open().await;
        desk.writes(ticket.ticket_id, AuthorKind::Customer).await;
        desk.writes(before, AuthorKind::Customer).await;
        reader.look(pool).await;
    }
    assert_eq!(reader.ledger.events.len(), 2, "the rest waits");
    customer_writes(&mut long, before).await;
    reader.look(pool).await;
    assert_eq!(reader.ledger.events.len(), 2, "the rest waits");
    long.commit().await.expect("committed");
    reader.look_until(pool, 23).await;
    read_on(&desk, &mut Ledger::default(), 23).await;
}

#[tokio::test]
async fn a_large_window_is_resumed_in_its_middle() {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    let tickets = desk.bulk(1_000, 31.0).await;
    let asked: Vec<_> = tickets.iter().map(|&ticket_id| (ticket_id, 2)).collect();
    desk.handle(&asked).await.expect("closed");

    let mut ledger = Ledger::default();
    for count in [1_000, 2_000, 3_000] {
        // A stream of its own for each batch.
        read_on(&desk, &mut ledger, count).await;
    }
    desk.writes(tickets[0], AuthorKind::Customer).await;
    read_on(&desk, &mut ledger, 3_003).await;
}
