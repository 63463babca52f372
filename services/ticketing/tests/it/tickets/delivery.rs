//! `close_needs_delivery`: the close counts from the delivery of its warning, and waits for it so long.

use plazo_proto::common::v1::{AuthorKind, TimeUnit};
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::{
    InactivityPolicy, MessageStateReport, ReportMessageStatesRequest, ReportOutcome, TicketState,
};

use super::calls::{at, micros, now, pass};
use crate::desk::{Desk, everything};
use crate::support::{TENANT, time_value};

const MINUTE_US: i64 = 60_000_000;

/// A report about the warning of a cycle.
pub(super) fn report(
    ticket_id: i64,
    cycle: i32,
    state: ActiveMessageState,
    at_us: i64,
) -> MessageStateReport {
    MessageStateReport {
        tenant_id: TENANT,
        ticket_id,
        idempotency_key: format!("ticket/{ticket_id}/cycle/{cycle}/warning"),
        state: state.into(),
        state_time: Some(at(at_us)),
        failure_reason: String::new(),
    }
}

/// Has notification report.
pub(super) async fn tell(desk: &Desk, reports: Vec<MessageStateReport>) -> Vec<ReportOutcome> {
    let request = ReportMessageStatesRequest { reports };
    let mut states = desk.service.states.clone();
    let answer = states.report_message_states(request).await;
    answer.expect("taken").into_inner().outcomes().collect()
}

/// The close needs the delivery, and waits for it ten minutes, or as long as is said.
fn policy(wait_minutes: Option<i32>) -> InactivityPolicy {
    let mut policy = everything();
    let close = policy.auto_close.as_mut().expect("it closes");
    close.close_needs_delivery = true;
    close.max_delivery_wait = wait_minutes.map(|it| time_value(it, TimeUnit::Minute));
    policy
}

/// A ticket whose warning has just gone out on time, and the instant of its close if all goes well.
async fn warned(desk: &Desk) -> (i64, i64) {
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let story = pass(desk, ticket_id, 25.0).await;
    assert_eq!(
        story,
        ["fired SecondAlert", "fired Warning", "asked for Warning"]
    );
    let cycle = desk.ticket(ticket_id).await.inactivity_cycle;
    let anchor = micros(cycle.expect("a cycle").anchor_time);
    (ticket_id, anchor + 30 * MINUTE_US)
}

async fn next_due(desk: &Desk, ticket_id: i64) -> i64 {
    micros(desk.ticket(ticket_id).await.next_due_time)
}

/// Rounded up to whole milliseconds.
fn ceil(us: i64) -> i64 {
    us.div_euclid(1_000) * 1_000 + i64::from(us.rem_euclid(1_000) != 0) * 1_000
}

async fn says(desk: &Desk, ticket_id: i64, state: ActiveMessageState) -> i64 {
    let said_at = now(desk).await;
    let outcome = tell(desk, vec![report(ticket_id, 1, state, said_at)]).await;
    assert_eq!(outcome, [ReportOutcome::Taken], "{state:?}");
    said_at
}

#[tokio::test]
async fn a_warning_that_is_delivered_or_fails_at_once_delays_nothing() {
    let desk = Desk::start().await;
    desk.set_policy(policy(None)).await;
    for state in [
        ActiveMessageState::Delivered,
        ActiveMessageState::Read,
        ActiveMessageState::Failed,
    ] {
        let (ticket_id, close_at) = warned(&desk).await;
        // On time, whatever the machine takes for it.
        let warned_at = close_at - 5 * MINUTE_US + 500_000;
        let accepted = report(ticket_id, 1, ActiveMessageState::Accepted, warned_at);
        let settled = report(ticket_id, 1, state, warned_at + 400_000);
        tell(&desk, vec![accepted, settled]).await;
        assert_eq!(
            next_due(&desk, ticket_id).await,
            ceil(close_at),
            "{state:?}"
        );
        assert_eq!(pass(&desk, ticket_id, 5.0).await[0], "fired Close");
    }
}

#[tokio::test]
async fn acceptance_alone_does_not_close() {
    let desk = Desk::start().await;
    desk.set_policy(policy(None)).await;
    let (ticket_id, _) = warned(&desk).await;
    let accepted_at = says(&desk, ticket_id, ActiveMessageState::Accepted).await;
    // Ten minutes for the delivery by default, and then the five between warning and close.
    let latest = ceil(accepted_at + 15 * MINUTE_US);
    assert_eq!(next_due(&desk, ticket_id).await, latest);
    says(&desk, ticket_id, ActiveMessageState::Sent).await;
    assert_eq!(
        next_due(&desk, ticket_id).await,
        latest,
        "sent is not delivered"
    );
    assert!(pass(&desk, ticket_id, 14.9).await.is_empty());
    // Never delivered.
    let closed = pass(&desk, ticket_id, 0.1).await;
    assert_eq!(closed[..2], ["fired Close", "closed by CustomerInactivity"]);
}

#[tokio::test]
async fn a_late_delivery_or_failure_moves_the_close() {
    let desk = Desk::start().await;
    desk.set_policy(policy(Some(20))).await;
    for state in [ActiveMessageState::Delivered, ActiveMessageState::Failed] {
        let (ticket_id, _) = warned(&desk).await;
        says(&desk, ticket_id, ActiveMessageState::Accepted).await;
        assert!(pass(&desk, ticket_id, 12.0).await.is_empty());
        let before = desk.ticket(ticket_id).await;
        let settled_at = says(&desk, ticket_id, state).await;
        let after = desk.ticket(ticket_id).await;
        assert_eq!(
            micros(after.next_due_time),
            ceil(settled_at + 5 * MINUTE_US),
            "{state:?}"
        );
        assert!(
            after.generation > before.generation,
            "earlier than after the longest wait"
        );
        let cycle = after.inactivity_cycle.expect("a cycle");
        assert_eq!(micros(cycle.warning_settle_time), settled_at);
        assert!(pass(&desk, ticket_id, 4.9).await.is_empty());
        assert_eq!(pass(&desk, ticket_id, 0.1).await[0], "fired Close");
    }
}

#[tokio::test]
async fn a_delivery_after_the_longest_wait_changes_nothing() {
    let desk = Desk::start().await;
    desk.set_policy(policy(Some(2))).await;
    let (ticket_id, _) = warned(&desk).await;
    says(&desk, ticket_id, ActiveMessageState::Accepted).await;
    assert!(pass(&desk, ticket_id, 6.0).await.is_empty());
    let due = next_due(&desk, ticket_id).await;
    says(&desk, ticket_id, ActiveMessageState::Delivered).await;
    assert_eq!(
        next_due(&desk, ticket_id).await,
        due,
        "two and five minutes"
    );
    assert_eq!(pass(&desk, ticket_id, 1.0).await[0], "fired Close");
}

#[tokio::test]
async fn without_acceptance_nobody_is_closed() {
    let desk = Desk::start().await;
    desk.set_policy(policy(None)).await;
    let (ticket_id, _) = warned(&desk).await;
    assert!(pass(&desk, ticket_id, 600.0).await.is_empty());
    assert_eq!(desk.ticket(ticket_id).await.state(), TicketState::Open);
    // It comes after all: the wait begins.
    let accepted_at = says(&desk, ticket_id, ActiveMessageState::Accepted).await;
    let due = next_due(&desk, ticket_id).await;
    assert_eq!(due, ceil(accepted_at + 15 * MINUTE_US));
}

#[tokio::test]
async fn reports_come_in_any_order_and_states_move_forward() {
    use ActiveMessageState::{Accepted, Delivered, Failed, Read, Sent};
    use ReportOutcome::{Known, Taken};
    let desk = Desk::start().await;
    desk.set_policy(policy(None)).await;
    let (ticket_id, _) = warned(&desk).await;
    desk.age(&[ticket_id], 3.0).await;
    let base = now(&desk).await;
    let step = |state, place: i64| report(ticket_id, 1, state, base - 10_000_000 + place);
    for (reports, outcomes) in [
        (vec![step(Sent, 3)], vec![Taken]),
        // Older than what is known, and yet news to the clock: it was accepted earlier.
        (vec![step(Accepted, 1)], vec![Taken]),
        (vec![step(Accepted, 1), step(Sent, 3)], vec![Known, Known]),
        // What was sent can fail; what failed before it was sent is old news.
        (vec![step(Failed, 5), step(Failed, 5)], vec![Taken, Known]),
        (vec![step(Sent, 3)], vec![Known]),
        // Sent again.
        (vec![step(Sent, 7), step(Failed, 5)], vec![Taken, Known]),
        (vec![step(Read, 9), step(Delivered, 8)], vec![Taken, Known]),
        (vec![step(Failed, 11), step(Sent, 12)], vec![Known, Known]),
    ] {
        assert_eq!(tell(&desk, reports.clone()).await, outcomes, "{reports:?}");
    }
    let story = desk.story(ticket_id).await;
    let reported: Vec<&str> = story
        .iter()
        .filter_map(|event| event.strip_prefix("reported "))
        .collect();
    assert_eq!(reported, ["Sent", "Failed", "Sent", "Read"]);
    let cycle = desk.ticket(ticket_id).await.inactivity_cycle.expect("it");
    assert_eq!(micros(cycle.warning_accept_time), base - 10_000_000 + 1);
    assert_eq!(micros(cycle.warning_settle_time), base - 10_000_000 + 5);
}

#[tokio::test]
async fn an_answer_ends_it_and_the_next_cycle_waits_for_its_own_warning() {
    let desk = Desk::start().await;
    desk.set_policy(policy(None)).await;
    let (ticket_id, _) = warned(&desk).await;
    says(&desk, ticket_id, ActiveMessageState::Accepted).await;
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let before = desk.writes(ticket_id, AuthorKind::Agent).await;
    says(&desk, ticket_id, ActiveMessageState::Delivered).await;
    let after = desk.ticket(ticket_id).await;
    assert_eq!(after.inactivity_cycle, before.inactivity_cycle);
    assert_eq!(after.generation, before.generation);
    pass(&desk, ticket_id, 25.0).await;
    assert!(pass(&desk, ticket_id, 60.0).await.is_empty());
    let second = report(
        ticket_id,
        2,
        ActiveMessageState::Delivered,
        now(&desk).await,
    );
    assert_eq!(tell(&desk, vec![second]).await, [ReportOutcome::Taken]);
    assert_eq!(pass(&desk, ticket_id, 5.0).await[0], "fired Close");
}
