//! Nobody is closed unwarned: the close waits for the acceptance of its warning.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::notification::v1::{ActiveMessageKind, ActiveMessageState};
use plazo_proto::ticketing::v1::{
    MessageStateReport, ReportMessageStatesRequest, ReportOutcome, TicketState,
};
use plazo_proto::timer::v1::HandleOutcome;
use prost_types::Timestamp;
use tonic::Code;

use super::{look, look_again_ms, micros};
use crate::desk::Desk;
use crate::support::{TENANT, refusal, wrong_fields};

fn at(micros: i64) -> Timestamp {
    Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).expect("below a second"),
    }
}

/// A report about the warning of the first cycle.
fn report(ticket_id: i64, state: ActiveMessageState, at_micros: i64) -> MessageStateReport {
    MessageStateReport {
        tenant_id: TENANT,
        ticket_id,
        idempotency_key: format!("ticket/{ticket_id}/cycle/1/warning"),
        state: state.into(),
        state_time: Some(at(at_micros)),
        failure_reason: String::new(),
    }
}

async fn tell(desk: &Desk, reports: Vec<MessageStateReport>) -> Vec<ReportOutcome> {
    let request = ReportMessageStatesRequest { reports };
    let answer = desk
        .service
        .states
        .clone()
        .report_message_states(request)
        .await;
    answer.expect("taken").into_inner().outcomes().collect()
}

async fn now(desk: &Desk) -> i64 {
    let micros: i64 =
        sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint")
            .fetch_one(&desk.fixture.pool)
            .await
            .expect("the time");
    micros
}

/// A ticket whose warning has just gone out on time.
async fn warned(desk: &Desk) -> i64 {
    let ticket_id = desk.answered(1).await[0].ticket_id;
    desk.age(&[ticket_id], 25.0).await;
    let result = look(desk, ticket_id).await;
    assert_eq!(result.outcome(), HandleOutcome::Fired);
    let [message] = &result.active_messages[..] else {
        panic!("{:?}", result.active_messages)
    };
    assert_eq!(message.kind(), ActiveMessageKind::Warning);
    assert_eq!(
        message.idempotency_key,
        format!("ticket/{ticket_id}/cycle/1/warning")
    );
    assert_eq!(message.text, "Ana, 5 min left");
    assert_eq!(message.image_url, "https://example.com/clock.png");
    assert!(message.last_customer_message_time.is_none());
    ticket_id
}

#[tokio::test]
async fn the_close_waits_until_its_warning_is_accepted() {
    let desk = Desk::with_policy().await;
    let ticket_id = warned(&desk).await;
    let warned_at = now(&desk).await;
    desk.age(&[ticket_id], 5.0).await;
    for _ in 0..2 {
        let waiting = look(&desk, ticket_id).await;
        assert_eq!(waiting.outcome(), HandleOutcome::NotDue);
        // Not accepted 5 min after it was due: the gap of 5 min begins with the acceptance, which may come at any time.
        let after_ms = look_again_ms(&waiting).expect("a next look");
        assert!((1..=300_001).contains(&after_ms), "{after_ms}");
    }
    assert_eq!(desk.ticket(ticket_id).await.state(), TicketState::Open);

    // It was accepted on time, and the report is late.
    let accepted = report(
        ticket_id,
        ActiveMessageState::Accepted,
        warned_at - 3_600_000_000,
    );
    assert_eq!(
        tell(&desk, vec![accepted.clone()]).await,
        [ReportOutcome::Taken]
    );
    assert_eq!(tell(&desk, vec![accepted]).await, [ReportOutcome::Known]);
    let closed = look(&desk, ticket_id).await;
    assert_eq!(closed.outcome(), HandleOutcome::Fired);
    assert_eq!(
        desk.story(ticket_id).await[2..],
        [
            "fired SecondAlert",
            "fired Warning",
            "asked for Warning",
            "reported Accepted",
            "fired Close",
            "closed by CustomerInactivity",
            "cleared Red",
            "asked for ClosingText",
        ]
    );
}

#[tokio::test]
async fn a_late_acceptance_moves_the_close() {
    let desk = Desk::with_policy().await;
    let ticket_id = warned(&desk).await;
    desk.age(&[ticket_id], 20.0).await;
    let accepted_at = now(&desk).await;
    let accepted = report(ticket_id, ActiveMessageState::Accepted, accepted_at);
    assert_eq!(tell(&desk, vec![accepted]).await, [ReportOutcome::Taken]);
    let next = desk
        .ticket(ticket_id)
        .await
        .next_due_time
        .map(micros)
        .expect("a next look");
    assert!(
        (0..1_000).contains(&(next - accepted_at - 300_000_000)),
        "{next} {accepted_at}"
    );
    let waiting = look(&desk, ticket_id).await;
    assert_eq!(waiting.outcome(), HandleOutcome::NotDue);
    assert!(look_again_ms(&waiting) <= Some(300_001));
    desk.age(&[ticket_id], 5.0).await;
    assert_eq!(look(&desk, ticket_id).await.outcome(), HandleOutcome::Fired);
    assert_eq!(desk.ticket(ticket_id).await.state(), TicketState::Closed);
}

#[tokio::test]
async fn a_later_state_implies_the_acceptance_and_states_only_move_forward() {
    let desk = Desk::with_policy().await;
    let ticket_id = warned(&desk).await;
    let warned_at = now(&desk).await;
    let states = [
        (ActiveMessageState::Delivered, ReportOutcome::Taken),
        (ActiveMessageState::Accepted, ReportOutcome::Known),
        (ActiveMessageState::Sent, ReportOutcome::Known),
        (ActiveMessageState::Delivered, ReportOutcome::Known),
        (ActiveMessageState::Failed, ReportOutcome::Known),
        (ActiveMessageState::Read, ReportOutcome::Taken),
    ];
    // Not before it was due, whatever is said.
    let said_at = warned_at - 3_600_000_000;
    let reports = states
        .map(|(state, _)| report(ticket_id, state, said_at))
        .to_vec();
    assert_eq!(
        tell(&desk, reports).await,
        states.map(|(_, outcome)| outcome)
    );
    assert_eq!(
        desk.story(ticket_id).await[5..],
        ["reported Delivered", "reported Read"]
    );
    desk.age(&[ticket_id], 5.0).await;
    assert_eq!(look(&desk, ticket_id).await.outcome(), HandleOutcome::Fired);
}

#[tokio::test]
async fn news_about_an_old_warning_changes_no_deadline() {
    let desk = Desk::with_policy().await;
    let ticket_id = warned(&desk).await;
    let warned_at = now(&desk).await;
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let before = desk.writes(ticket_id, AuthorKind::Agent).await;
    let accepted = report(ticket_id, ActiveMessageState::Accepted, warned_at);
    assert_eq!(tell(&desk, vec![accepted]).await, [ReportOutcome::Taken]);
    let after = desk.ticket(ticket_id).await;
    assert_eq!(after.next_due_time, before.next_due_time);
    assert_eq!(after.generation, before.generation);
    let cycle = after.inactivity_cycle.expect("a cycle");
    assert_eq!((cycle.cycle, cycle.warning_accept_time), (2, None));
}

#[tokio::test]
async fn bad_reports_are_answered_one_by_one() {
    let desk = Desk::with_policy().await;
    let ticket_id = warned(&desk).await;
    let good = report(ticket_id, ActiveMessageState::Accepted, now(&desk).await);
    let with = |change: fn(&mut MessageStateReport)| {
        let mut report = good.clone();
        change(&mut report);
        report
    };
    let mut reports = vec![
        with(|report| report.tenant_id = 0),
        with(|report| report.state = 0),
        with(|report| report.state = 99),
        with(|report| report.state_time = None),
        with(|report| report.idempotency_key.clear()),
        with(|report| report.idempotency_key = "x".repeat(129)),
        with(|report| report.failure_reason = "x".repeat(201)),
        with(|report| report.failure_reason = "a\0".to_owned()),
        // Before the year 1, which the database could not store.
        with(|report| {
            report.state_time = Some(Timestamp {
                seconds: -300_000_000_000,
                nanos: 0,
            });
        }),
    ];
    let invalid = reports.len();
    reports.push(with(|report| report.idempotency_key.push('x')));
    reports.push(with(|report| report.tenant_id += 1));
    reports.push(with(|report| report.ticket_id += 1_000));
    reports.push(good);
    let mut expected = vec![ReportOutcome::Invalid; invalid];
    expected.extend([ReportOutcome::UnknownMessage; 3]);
    expected.push(ReportOutcome::Taken);
    assert_eq!(tell(&desk, reports.clone()).await, expected);

    let mut states = desk.service.states.clone();
    for reports in [vec![], vec![reports[0].clone(); 501]] {
        let request = ReportMessageStatesRequest { reports };
        let refused = states.report_message_states(request).await;
        assert_eq!(wrong_fields(refused), ["reports"]);
    }
    let request = ReportMessageStatesRequest { reports };
    let refused = desk
        .people
        .states
        .clone()
        .report_message_states(request)
        .await;
    assert_eq!(refusal(refused).0, Code::PermissionDenied);
}
