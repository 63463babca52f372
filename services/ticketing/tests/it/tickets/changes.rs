//! What holds for every change of a ticket: etag, request id, whose ticket it is, and that one of many callers wins.

use std::sync::Arc;

use plazo_proto::ticketing::v1::{PauseAutomationRequest, Ticket};
use tokio::task::JoinSet;
use tonic::Code;

use super::calls::Change;
use crate::desk::Desk;
use crate::support::{TENANT, refusal, request_id, wrong_fields};

const TICKETS: usize = 50;
const CALLERS: usize = 8;

/// A ticket of which this change can be made.
async fn ready_for(desk: &Desk, change: Change) -> Ticket {
    let mut opening = desk.opening();
    opening.agent_id = desk.agent_id;
    let ticket = desk.open_as(opening).await;
    let first = match change {
        Change::Reopen => Change::Close,
        Change::Resume => Change::Hold,
        _ => return ticket,
    };
    let ready = first.make(&desk.people, ticket.ticket_id).await;
    ready.expect("ready")
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_a_repeated_request_gets_its_first_answer() {
    let desk = Desk::start().await;
    let queue_id = desk.queue("Ventas").await;
    for change in Change::all(desk.agent_id, queue_id) {
        let before = ready_for(&desk, change).await;
        let ticket_id = before.ticket_id;
        let story = desk.whole_story(ticket_id).await;
        let stale = (before.etag.parse::<i64>().expect("a number") - 1).to_string();
        for etag in [&*stale, "0", "nonsense", &"9".repeat(5_000)] {
            let refused = change.make_with(&desk.people, ticket_id, etag, "").await;
            let mismatch = (Code::Aborted, "ETAG_MISMATCH".to_owned());
            assert_eq!(refusal(refused), mismatch, "{change:?}");
        }
        assert_eq!(desk.ticket(ticket_id).await, before, "{change:?}");

        let id = request_id();
        let etag = &before.etag;
        let first = change.make_with(&desk.people, ticket_id, etag, &id).await;
        let first = first.expect("the etag is the present one");
        let after = desk.whole_story(ticket_id).await;
        // Only the longer pause that holds already is no event.
        assert_eq!(after == story, change == Change::Pause, "{change:?}");
        for _ in 0..2 {
            let again = change.make_with(&desk.people, ticket_id, etag, &id).await;
            assert_eq!(again.expect("answered"), first, "{change:?}");
        }
        assert_eq!(desk.whole_story(ticket_id).await, after, "{change:?}");

        // The id stands for this body, this method and this actor.
        let reused = (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned());
        let other = change.make_with(&desk.people, ticket_id, "1", &id).await;
        assert_eq!(refusal(other), reused, "{change:?}");
        let method = if change == Change::SetOpen {
            Change::Close
        } else {
            Change::SetOpen
        };
        let other = method.make_with(&desk.people, ticket_id, etag, &id).await;
        assert_eq!(refusal(other), reused, "{change:?}");
        if change != Change::SetOpen {
            let other = change.make_with(&desk.agent, ticket_id, etag, &id).await;
            assert_eq!(refusal(other), reused, "{change:?}");
        }
    }
}

#[tokio::test]
async fn ids_are_checked_and_what_is_not_ones_own_does_not_exist() {
    let desk = Desk::start().await;
    let queue_id = desk.queue("Ventas").await;
    let other_bot = desk.people.clone().create_bot("Compras").await.bot_id;
    let may = "tickets:attend,builder:edit";
    let foreigners = [
        desk.fixture.administrator_of(TENANT + 1),
        desk.fixture
            .as_actor("administrator/2", may, &other_bot.to_string()),
        desk.fixture.as_actor("administrator/2", may, ""),
    ];
    for change in Change::all(desk.agent_id, queue_id) {
        let before = ready_for(&desk, change).await;
        let ticket_id = before.ticket_id;
        for foreigner in &foreigners {
            for ticket_id in [ticket_id, ticket_id + 100_000] {
                let refused = change.make(foreigner, ticket_id).await;
                let not_found = (Code::NotFound, "TICKET_NOT_FOUND".to_owned());
                assert_eq!(refusal(refused), not_found, "{change:?}");
            }
        }
        for wrong in [0, -1, i64::MIN] {
            let refused = change.make_with(&desk.people, wrong, "", "7").await;
            assert_eq!(
                wrong_fields(refused),
                ["ticket_id", "request_id"],
                "{change:?}"
            );
        }
        assert_eq!(desk.ticket(ticket_id).await, before, "{change:?}");
    }
    for (wrong, field) in [
        (Change::Assign(0), "agent_id"),
        (Change::Assign(-3), "agent_id"),
        (Change::Transfer(0), "queue_id"),
        (Change::Transfer(-3), "queue_id"),
    ] {
        let refused = wrong.make(&desk.people, 1).await;
        assert_eq!(wrong_fields(refused), [field], "{wrong:?}");
    }
    let mut tickets = desk.people.tickets.clone();
    let nothing = PauseAutomationRequest::default();
    let refused = tickets.pause_automation(nothing).await;
    assert_eq!(wrong_fields(refused), ["ticket_id", "pause_for"]);
}

/// The changes that leave an event in any case, of a ticket as `ready_for` the first of them has it.
fn contest(agent_id: i64, queue_id: i64, place: usize) -> Vec<Change> {
    let (assign, transfer) = (Change::Assign(agent_id), Change::Transfer(queue_id));
    match place % 3 {
        0 => vec![
            assign,
            Change::Close,
            Change::Hold,
            transfer,
            Change::Unlink,
            Change::SetOpen,
            Change::ResumeAutomation,
        ],
        1 => vec![Change::Reopen, assign, Change::SetOpen, Change::Unlink],
        _ => vec![Change::Resume, Change::Close, Change::Hold, transfer],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_callers_with_the_same_etag_one_wins() {
    let desk = Arc::new(Desk::start().await);
    let queue_id = desk.queue("Ventas").await;
    let mut callers = JoinSet::new();
    let mut stories = Vec::new();
    for place in 0..TICKETS {
        let kinds = contest(desk.agent_id, queue_id, place);
        let ticket = ready_for(&desk, kinds[0]).await;
        stories.push((ticket.ticket_id, desk.events(ticket.ticket_id).await.len()));
        for caller in 0..CALLERS {
            let change = kinds[(place / 3 + caller) % kinds.len()];
            let (desk, ticket) = (Arc::clone(&desk), ticket.clone());
            callers.spawn(async move {
                let (ticket_id, etag) = (ticket.ticket_id, &ticket.etag);
                let answer = change.make_with(&desk.people, ticket_id, etag, "").await;
                (ticket_id, change, answer)
            });
        }
    }
    let mut winners = std::collections::HashMap::new();
    for (ticket_id, change, answer) in callers.join_all().await {
        match answer {
            Ok(ticket) => {
                let before = winners.insert(ticket_id, ticket);
                assert!(before.is_none(), "{change:?} won as well");
            }
            refused => assert_eq!(
                refusal(refused),
                (Code::Aborted, "ETAG_MISMATCH".to_owned()),
                "{change:?}"
            ),
        }
    }
    assert_eq!(winners.len(), TICKETS);
    for (ticket_id, events) in stories {
        assert_eq!(desk.ticket(ticket_id).await, winners[&ticket_id]);
        // The events of one change: four at most.
        let after = desk.events(ticket_id).await.len();
        assert!((1..=4).contains(&(after - events)));
    }
}
