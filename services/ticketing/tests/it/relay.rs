//! From committed rows to the timer, against a timer that does as it is told.

mod timer;

use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::timer::v1::{ListPendingTicketsRequest, TicketArm};
use tokio::time::Instant;
use tonic::Code;

use self::timer::{Mood, ScriptedTimer};
use crate::desk::{Desk, eventually, everything, ids};
use crate::support::{Fixture, TENANT, wrong_fields};

async fn desk_with(timer: &ScriptedTimer) -> Desk {
    let desk = Desk::on(Fixture::start_with_timer(&timer.endpoint()).await).await;
    desk.set_policy(everything()).await;
    desk
}

/// The generation that the timer is known to hold.
async fn armed_generation(desk: &Desk, ticket_id: i64) -> i64 {
    sqlx::query_scalar("SELECT armed_generation FROM ticket_clocks WHERE ticket_id = $1")
        .bind(ticket_id)
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("a row")
}

async fn until_armed(desk: &Desk, ticket_id: i64) {
    let generation = desk.ticket(ticket_id).await.generation;
    eventually("the ticket is armed", async || {
        (armed_generation(desk, ticket_id).await == generation).then_some(())
    })
    .await;
}

fn parts(arm: &TicketArm) -> (i64, i64, i64) {
    let ticket = arm.ticket.expect("a ticket");
    assert_eq!(ticket.tenant_id, TENANT);
    (
        ticket.ticket_id,
        ticket.generation,
        arm.first_superseded_generation,
    )
}

#[tokio::test]
async fn a_cycle_that_starts_is_armed_and_others_cost_nothing() {
    let timer = ScriptedTimer::start();
    let desk = desk_with(&timer).await;
    let ticket = desk.answered(1).await.remove(0);
    let ticket_id = ticket.ticket_id;
    until_armed(&desk, ticket_id).await;
    let arms = timer.take_arms();
    assert_eq!(
        arms.iter().map(parts).collect::<Vec<_>>(),
        [(ticket_id, 2, 1)]
    );
    let due = arms[0].due_time;
    assert!(due.is_some() && due == ticket.next_due_time, "{due:?}");
    assert_eq!(
        due.expect("a time").nanos % 1_000_000,
        0,
        "whole milliseconds"
    );

    // Messages while the customer is silent only postpone.
    for _ in 0..10 {
        desk.writes(ticket_id, AuthorKind::Agent).await;
        desk.writes(ticket_id, AuthorKind::Bot).await;
    }
    // A reply ends the cycle; the message after it starts the next one.
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let again = desk.writes(ticket_id, AuthorKind::Agent).await;
    until_armed(&desk, ticket_id).await;
    let arms = timer.take_arms();
    assert_eq!(
        arms.iter().map(parts).collect::<Vec<_>>(),
        [(ticket_id, 3, 2)]
    );
    assert_eq!(arms[0].due_time, again.next_due_time);
}

#[tokio::test]
async fn nothing_counts_as_armed_while_the_timer_is_away() {
    let timer = ScriptedTimer::start();
    let desk = desk_with(&timer).await;
    timer.set_mood(Mood::Unavailable);
    let ticket_id = desk.answered(1).await[0].ticket_id;
    for _ in 0..20 {
        desk.writes(ticket_id, AuthorKind::Customer).await;
        desk.writes(ticket_id, AuthorKind::Agent).await;
    }
    let calls = timer.calls();
    eventually("the relay tries again", async || {
        (timer.calls() >= calls + 2).then_some(())
    })
    .await;
    assert_eq!(armed_generation(&desk, ticket_id).await, 1);
    timer.take_arms();
    timer.set_mood(Mood::Takes);
    until_armed(&desk, ticket_id).await;
    // The last of many generations, and the sixteen before it are removed.
    let arms = timer.take_arms();
    assert_eq!(
        arms.iter().map(parts).collect::<Vec<_>>(),
        [(ticket_id, 22, 6)]
    );
}

#[tokio::test]
async fn tickets_that_the_timer_can_not_take_keep_the_others_from_nothing() {
    let timer = ScriptedTimer::start();
    let desk = desk_with(&timer).await;
    // More than one call's worth, so that they would fill each call if they always came first.
    let mut ids: Vec<i64> = desk.bulk(620, 0.0).await;
    ids.sort_unstable();
    let (refused, taken) = ids.split_at(610);
    timer.set_mood(Mood::TakesAbove(refused[609]));
    sqlx::query("UPDATE ticket_clocks SET generation = 3")
        .execute(&desk.fixture.pool)
        .await
        .expect("updated");
    let until_all_armed = async |ids: &[i64]| {
        for ticket_id in ids {
            eventually("the ticket is armed", async || {
                (armed_generation(&desk, *ticket_id).await == 3).then_some(())
            })
            .await;
        }
    };
    until_all_armed(taken).await;
    for ticket_id in refused {
        assert_eq!(armed_generation(&desk, *ticket_id).await, 2);
    }
    timer.set_mood(Mood::Takes);
    until_all_armed(refused).await;
}

#[tokio::test]
async fn a_ticket_that_moved_on_during_the_call_stays_dirty() {
    let timer = ScriptedTimer::start();
    let desk = desk_with(&timer).await;
    timer.set_mood(Mood::Hangs);
    let ticket_id = desk.answered(1).await[0].ticket_id;
    eventually("the relay calls", async || {
        (timer.hanging() > 0).then_some(())
    })
    .await;
    desk.writes(ticket_id, AuthorKind::Customer).await;
    desk.writes(ticket_id, AuthorKind::Agent).await;
    timer.set_mood(Mood::Takes);
    until_armed(&desk, ticket_id).await;
    let arms: Vec<_> = timer.take_arms().iter().map(parts).collect();
    assert_eq!(arms.last(), Some(&(ticket_id, 3, 2)), "{arms:?}");
}

#[tokio::test]
async fn a_timer_that_hangs_holds_up_nobody() {
    let timer = ScriptedTimer::start();
    let desk = desk_with(&timer).await;
    timer.set_mood(Mood::Hangs);
    let ticket_id = desk.answered(1).await[0].ticket_id;
    for kind in [
        AuthorKind::Customer,
        AuthorKind::Agent,
        AuthorKind::Customer,
    ] {
        eventually("the relay calls", async || {
            (timer.hanging() > 0).then_some(())
        })
        .await;
        let asked_at = Instant::now();
        desk.writes(ticket_id, kind).await;
        let took = asked_at.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    assert!(armed_generation(&desk, ticket_id).await < desk.ticket(ticket_id).await.generation);
}

#[tokio::test]
async fn pending_tickets_are_listed_page_by_page_armed_or_not() {
    let desk = Desk::with_policy().await;
    let mut expected = ids(&desk.answered(6).await);
    // Due at the same instant.
    expected.extend(desk.bulk(5, 0.0).await);
    desk.open().await;
    let ended = desk.answered(1).await[0].ticket_id;
    desk.writes(ended, AuthorKind::Customer).await;

    let mut handler = desk.service.handler.clone();
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListPendingTicketsRequest {
            page_size: 2,
            page_token,
        };
        let page = handler
            .list_pending_tickets(request)
            .await
            .expect("a page")
            .into_inner();
        assert!(page.tickets.len() <= 2);
        for pending in &page.tickets {
            let named = pending.ticket.expect("a ticket");
            let ticket = desk.ticket(named.ticket_id).await;
            assert_eq!(
                (named.tenant_id, named.generation),
                (TENANT, ticket.generation)
            );
            assert_eq!(pending.due_time, ticket.next_due_time);
            listed.push((
                pending.due_time.map(|at| (at.seconds, at.nanos)),
                named.ticket_id,
            ));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(listed.is_sorted(), "the earliest first");
    let mut listed: Vec<_> = listed.into_iter().map(|(_, ticket_id)| ticket_id).collect();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);

    let request = |page_size, page_token: &str| ListPendingTicketsRequest {
        page_size,
        page_token: page_token.to_owned(),
    };
    assert_eq!(
        wrong_fields(handler.list_pending_tickets(request(-1, "")).await),
        ["page_size"]
    );
    assert_eq!(
        wrong_fields(handler.list_pending_tickets(request(1, "x")).await),
        ["page_token"]
    );
    let refused = desk
        .people
        .handler
        .clone()
        .list_pending_tickets(request(1, ""))
        .await;
    assert_eq!(refused.expect_err("refused").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn overdue_tickets_are_checked_with_the_timer() {
    let timer = ScriptedTimer::start();
    let fixture = Fixture::start_with(&[
        ("TIMER__ENDPOINT", &timer.endpoint()),
        ("SWEEP__PERIOD_MS", "50"),
        ("SWEEP__GRACE_MS", "60000"),
    ])
    .await;
    let desk = Desk::on(fixture).await;
    desk.set_policy(everything()).await;
    let tickets = desk.answered(3).await;
    // One is overdue for longer than the grace, one for less, one is not due.
    desk.age(&[tickets[0].ticket_id], 3_600.0).await;
    desk.age(&[tickets[1].ticket_id], 10.05).await;
    let pending = eventually("the sweep calls", async || {
        timer.repaired().into_iter().next()
    })
    .await;
    let named = pending.ticket.expect("a ticket");
    assert_eq!(
        (named.tenant_id, named.ticket_id, named.generation),
        (TENANT, tickets[0].ticket_id, tickets[0].generation)
    );
    let ticket = desk.ticket(named.ticket_id).await;
    assert_eq!(pending.due_time, ticket.next_due_time);
    assert!(
        timer
            .repaired()
            .iter()
            .all(|pending| pending.ticket == Some(named))
    );
}
