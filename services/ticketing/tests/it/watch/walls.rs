//! What watchers are told comes through the walls between tenants.

use plazo_proto::ticketing::v1::{OpenTicketRequest, TicketFilter};
use sqlx::{Executor as _, PgPool};

use super::{View, next_ticket, snapshot, watch};
use crate::desk::Desk;
use crate::support::{Clients, TENANT};

/// Changes a ticket behind the service's back, so that no other statement of it meets the walls.
async fn touch(pool: &PgPool, ticket_id: i64) {
    sqlx::query(
        "WITH clock AS (
             UPDATE ticket_clocks SET ticket_seq = ticket_seq + 1 WHERE ticket_id = $1
             RETURNING tenant_id, ticket_id, ticket_seq
         )
         INSERT INTO ticket_events (transaction_id, tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id,
             recorded_at, payload)
         SELECT pg_current_xact_id(), tenant_id, ticket_id, ticket_seq, 1, 1, 0, clock_timestamp(), '' FROM clock",
    )
    .bind(ticket_id)
    .execute(pool)
    .await
    .expect("touched");
}

/// Says which tickets the role of requests sees; background work sees all of them anyhow.
async fn let_requests_see(pool: &PgPool, condition: &str) {
    let policy = format!("ALTER POLICY request ON tickets USING ({condition})");
    let altered = pool.execute(sqlx::AssertSqlSafe(policy)).await;
    altered.expect("altered");
}

const AS_IT_IS: &str = "tenant_id = nullif(current_setting('plazo.tenant_id', true), '')::bigint";

/// A ticket of another tenant, and its administrator.
async fn foreign_ticket(desk: &Desk) -> (Clients, i64) {
    let mut people = desk.fixture.administrator_of(TENANT + 1);
    let bot_id = people.create_bot("Otra").await.bot_id;
    let contact_id = people.create_contact("Eva", "eva").await.contact_id;
    let request = OpenTicketRequest {
        bot_id,
        contact_id,
        ..Default::default()
    };
    let answer = people.tickets.open_ticket(request).await;
    let ticket = answer.expect("a ticket").into_inner().ticket;
    (people, ticket.expect("the ticket").ticket_id)
}

#[tokio::test]
async fn a_change_that_requests_do_not_see_is_not_told() {
    let desk = Desk::start().await;
    let pool = &desk.fixture.pool;
    let (hidden, shown) = (desk.open().await.ticket_id, desk.open().await.ticket_id);
    let (foreigner, foreign) = foreign_ticket(&desk).await;
    let mut updates = watch(&desk.people, TicketFilter::default()).await;
    let mut of_foreigner = watch(&foreigner, TicketFilter::default()).await;
    assert_eq!(snapshot(&mut updates).await.len(), 2);
    assert_eq!(snapshot(&mut of_foreigner).await.len(), 1);

    let_requests_see(pool, &format!("{AS_IT_IS} AND tenant_id <> {TENANT}")).await;
    touch(pool, hidden).await;
    touch(pool, foreign).await;
    // The feed was read that far, and the wall is there for the one tenant alone.
    assert_eq!(next_ticket(&mut of_foreigner).await.ticket_id, foreign);
    let_requests_see(pool, AS_IT_IS).await;
    touch(pool, shown).await;
    assert_eq!(next_ticket(&mut updates).await.ticket_id, shown);
}

#[tokio::test]
async fn who_goes_on_is_told_of_no_ticket_that_requests_do_not_see() {
    let desk = Desk::start().await;
    let pool = &desk.fixture.pool;
    let ticket_id = desk.open().await.ticket_id;
    let everything = TicketFilter::default();
    let mut view = View::default();
    let mut updates = view.open(&desk.people, &everything).await;
    view.read_until(&mut updates, |view| !view.position.is_empty())
        .await;
    drop(updates);
    touch(pool, ticket_id).await;

    for (condition, expected) in [
        ("false".to_owned(), Vec::new()),
        (AS_IT_IS.to_owned(), vec![format!("{ticket_id} at 3")]),
    ] {
        let_requests_see(pool, &condition).await;
        let mut again = View {
            position: view.position.clone(),
            ..View::default()
        };
        let mut updates = again.open(&desk.people, &everything).await;
        again.position.clear();
        again
            .read_until(&mut updates, |view| !view.position.is_empty())
            .await;
        assert_eq!(again.told, expected, "{condition}");
    }
}

#[tokio::test]
async fn an_event_that_names_a_ticket_of_others_tells_nothing() {
    let desk = Desk::start().await;
    let pool = &desk.fixture.pool;
    let mine = desk.open().await.ticket_id;
    let (foreigner, foreign) = foreign_ticket(&desk).await;
    let mut updates = watch(&desk.people, TicketFilter::default()).await;
    let mut of_foreigner = watch(&foreigner, TicketFilter::default()).await;
    snapshot(&mut updates).await;
    snapshot(&mut of_foreigner).await;
    let mut view = View::default();
    let mut seen = view.open(&desk.people, &TicketFilter::default()).await;
    view.read_until(&mut seen, |view| !view.position.is_empty())
        .await;
    drop(seen);

    sqlx::query(
        "INSERT INTO ticket_events (transaction_id, tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id,
             recorded_at, payload)
         VALUES (pg_current_xact_id(), $1, $2, 99, $3, 1, 0, clock_timestamp(), '')",
    )
    .bind(TENANT)
    .bind(foreign)
    .bind(desk.bot_id)
    .execute(pool)
    .await
    .expect("inserted");
    touch(pool, mine).await;
    assert_eq!(next_ticket(&mut updates).await.ticket_id, mine);
    touch(pool, foreign).await;
    assert_eq!(next_ticket(&mut of_foreigner).await.ticket_id, foreign);
    // Nor to who goes on from before.
    let mut seen = view.open(&desk.people, &TicketFilter::default()).await;
    view.position.clear();
    view.read_until(&mut seen, |view| !view.position.is_empty())
        .await;
    assert_eq!(view.told, [format!("{mine} at 3")]);
}
