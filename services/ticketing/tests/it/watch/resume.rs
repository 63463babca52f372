//! Going on from a position.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::TicketFilter;
use tonic::Code;

use super::{Updates, View, watch_from};
use crate::desk::{Desk, create_agent};
use crate::support::{Clients, refusal, wrong_fields};

/// Reads until the view is whole.
async fn whole(view: &mut View, clients: &Clients, filter: &TicketFilter) -> Updates {
    let mut updates = view.open(clients, filter).await;
    let before = std::mem::take(&mut view.position);
    view.read_until(&mut updates, |view| !view.position.is_empty())
        .await;
    assert!(before.is_empty() || view.position.len() > 20);
    updates
}

/// What a stream that goes on from the view's position tells before it is whole.
async fn missed(view: &mut View, clients: &Clients, filter: &TicketFilter) -> Vec<String> {
    whole(view, clients, filter).await;
    let mut told = view.told.clone();
    told.sort();
    told
}

#[tokio::test]
async fn who_goes_on_gets_exactly_what_changed() {
    let desk = Desk::start().await;
    let other_id = create_agent(&desk.people, "Leo", &[desk.bot_id])
        .await
        .agent_id;
    let (mut all, mut of_agent) = (View::default(), View::default());
    let everything = TicketFilter::default();
    let mut tickets = Vec::new();
    for _ in 0..5 {
        tickets.push(desk.open_assigned().await.ticket_id);
    }
    let [same, written, assigned, closed, twice] = tickets[..] else {
        unreachable!("five");
    };
    for (view, filter) in [(&mut all, &everything), (&mut of_agent, &desk.of_agent())] {
        whole(view, &desk.people, filter).await;
        assert_eq!(view.told[0], "NoPosition");
        assert_eq!(view.tickets.len(), 5);
    }
    let writes = desk.writes(written, AuthorKind::Customer).await;
    let assigns = desk.assigns(assigned, other_id).await;
    desk.closes(closed).await;
    desk.writes(twice, AuthorKind::Customer).await;
    let twice_written = desk.writes(twice, AuthorKind::Agent).await;
    let new = desk.open().await;
    // Came and went.
    let brief = desk.open_assigned().await.ticket_id;
    desk.closes(brief).await;

    let told = |ticket_id: i64, etag: &str| format!("{ticket_id} at {etag}");
    let mut expected = vec![
        told(written, &writes.etag),
        told(assigned, &assigns.etag),
        format!("{closed} left"),
        told(twice, &twice_written.etag),
        told(new.ticket_id, &new.etag),
        // It may have been told before the connection broke.
        format!("{brief} left"),
    ];
    expected.sort();
    assert_eq!(missed(&mut all, &desk.people, &everything).await, expected);
    let of = desk.of_agent();
    let mut expected = vec![
        told(written, &writes.etag),
        format!("{assigned} left"),
        format!("{closed} left"),
        told(twice, &twice_written.etag),
        format!("{} left", new.ticket_id),
        format!("{brief} left"),
    ];
    expected.sort();
    assert_eq!(missed(&mut of_agent, &desk.people, &of).await, expected);
    assert_eq!(of_agent.tickets.len(), 3);
    // Nothing changed since.
    let mut updates = whole(&mut of_agent, &desk.people, &of).await;
    assert_eq!(of_agent.told, Vec::<String>::new());

    // And what did not change since is still the watcher's.
    desk.assigns(same, other_id).await;
    of_agent
        .read_until(&mut updates, |view| view.etag(same).is_none())
        .await;
    assert_eq!(of_agent.told, [format!("{same} left")]);

    // Who sees other bots has another view.
    whole(&mut of_agent, &desk.agent, &of).await;
    assert_eq!(of_agent.told[0], "OtherFilter");
}

#[tokio::test]
async fn positions_outlive_the_service_and_hold_on_other_replicas() {
    let mut desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let everything = TicketFilter::default();
    let mut view = View::default();
    let mut updates = whole(&mut view, &desk.people, &everything).await;
    let replica = desk.fixture.another(&[]).await;
    let people = replica.administrator();
    let answered = desk.writes(ticket_id, AuthorKind::Agent).await;
    view.read_until(&mut updates, |view| {
        view.etag(ticket_id) == Some(&*answered.etag) && !view.position.is_empty()
    })
    .await;
    view.read(&mut updates).await.ok();

    // The first replica stops: it says so, and the other one goes on.
    desk.fixture = replica;
    let cut_off = loop {
        if let Err(status) = view.read(&mut updates).await {
            break status;
        }
    };
    let stops = (Code::Unavailable, "SHUTTING_DOWN".to_owned());
    assert_eq!(refusal(Err::<(), _>(cut_off)), stops);
    desk.people = people;
    assert!(
        missed(&mut view, &desk.people, &everything)
            .await
            .is_empty()
    );
    let closed = desk.closes(ticket_id).await;
    let told = missed(&mut view, &desk.people, &everything).await;
    assert_eq!(told, [format!("{ticket_id} left")], "{}", closed.etag);
}

#[tokio::test]
async fn positions_that_are_of_no_use_bring_a_snapshot_and_say_why() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let everything = TicketFilter::default();
    let mut view = View::default();
    whole(&mut view, &desk.people, &everything).await;
    let position = view.position.clone();
    let parts: Vec<&str> = position.split('.').collect();
    let [version, feed, transaction_id, event_id, of] = parts[..] else {
        panic!("{position}")
    };
    let later = transaction_id.parse::<i64>().expect("a number") + 1_000_000;
    for (foreign, reason) in [
        (
            format!("{version}.0123456789abcdef.{transaction_id}.{event_id}.{of}"),
            "OtherFeed",
        ),
        // As after a restore of an older state.
        (
            format!("{version}.{feed}.{later}.{event_id}.{of}"),
            "OtherFeed",
        ),
        (
            format!("{version}.{feed}.{transaction_id}.{event_id}.0123456789abcdef"),
            "OtherFilter",
        ),
    ] {
        view.position = foreign;
        whole(&mut view, &desk.people, &everything).await;
        assert_eq!(view.told, [reason.to_owned(), format!("{ticket_id} at 2")]);
    }
    for malformed in [
        "nonsense".to_owned(),
        format!("{position}0"),
        format!("{version}.{feed}.{transaction_id}.{event_id}"),
        format!("{version}.{feed}.-1.{event_id}.{of}"),
        format!("9.{feed}.{transaction_id}.{event_id}.{of}"),
        "9".repeat(100_000 / 10),
    ] {
        let refused = watch_from(&desk.people, everything.clone(), &malformed).await;
        assert_eq!(wrong_fields(refused), ["position"], "{malformed}");
    }

    // More events than are looked through.
    view.position.clone_from(&position);
    sqlx::query(
        "INSERT INTO ticket_events (transaction_id, tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id,
             recorded_at, payload)
         SELECT pg_current_xact_id(), 99, 1, number, 1, 1, 0, clock_timestamp(), ''
         FROM generate_series(1, 20001) AS number",
    )
    .execute(&desk.fixture.pool)
    .await
    .expect("inserted");
    whole(&mut view, &desk.people, &everything).await;
    assert_eq!(view.told[0], "TooFarBehind");

    // Dropped events.
    view.position = position;
    sqlx::query("DELETE FROM ticket_events WHERE tenant_id = 99")
        .execute(&desk.fixture.pool)
        .await
        .expect("deleted");
    sqlx::query("UPDATE feed SET horizon_transaction_id = pg_current_xact_id()")
        .execute(&desk.fixture.pool)
        .await
        .expect("moved");
    whole(&mut view, &desk.people, &everything).await;
    assert_eq!(view.told[0], "PositionExpired");
}
