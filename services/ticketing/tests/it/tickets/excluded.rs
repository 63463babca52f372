//! A ticket that carries an excluded tag is never warned or closed.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert, InactivityPolicy, Stage, StageProgress, Ticket, TicketState,
};

use super::calls::{Change, micros, now, pass, tag};
use super::delivery::{report, tell};
use crate::desk::{Desk, everything, unwarned};

fn excluding(mut policy: InactivityPolicy) -> InactivityPolicy {
    let close = policy.auto_close.as_mut().expect("it closes");
    close.exclude_tags = vec!["vip".to_owned(), "legal".to_owned()];
    policy
}

async fn desk(policy: InactivityPolicy) -> Desk {
    let desk = Box::pin(Desk::start()).await;
    desk.set_policy(excluding(policy)).await;
    desk
}

fn stages(ticket: &Ticket) -> Vec<Stage> {
    let cycle = ticket.inactivity_cycle.as_ref().expect("a cycle");
    cycle.stages.iter().map(StageProgress::stage).collect()
}

#[tokio::test]
async fn a_tag_keeps_off_warning_and_close_and_its_removal_lets_them_act() {
    let desk = desk(everything()).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired FirstAlert"]);
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired SecondAlert"]);
    desk.age(&[ticket_id], 2.0).await;
    let tagged = tag(&desk, ticket_id, &["vip"], &[]).await;
    assert!(tagged.excluded);
    assert_eq!(tagged.alert(), Alert::Red, "alerts are another matter");
    assert_eq!(stages(&tagged), [Stage::FirstAlert, Stage::SecondAlert]);
    assert_eq!(tagged.next_due_time, None);
    assert!(pass(&desk, ticket_id, 6.0).await.is_empty());

    // A second one, and the first removed: it is excluded still.
    tag(&desk, ticket_id, &["legal"], &[]).await;
    let still = tag(&desk, ticket_id, &[], &["vip"]).await;
    assert!(still.excluded && still.next_due_time.is_none());
    let free = tag(&desk, ticket_id, &[], &["legal"]).await;
    assert!(!free.excluded);
    assert!(free.generation > tagged.generation, "the timer must know");
    assert_eq!(
        pass(&desk, ticket_id, 0.0).await,
        ["fired Warning", "asked for Warning"]
    );
    // It was due long ago, but it is not late: the tag kept it.
    let events = desk.events(ticket_id).await;
    let last_stage = events.iter().rev().find_map(|event| match event.payload {
        Some(Payload::StageFired(fired)) => Some((fired, event.event_time)),
        _ => None,
    });
    let (fired, fired_at) = last_stage.expect("it fired");
    let could_act = micros(fired.could_act_time);
    assert!(could_act - micros(fired.due_time) > 179 * 1_000_000);
    assert!((0..30_000_000).contains(&(micros(fired_at) - could_act)));
    // Three minutes late: the close follows five minutes after it.
    let accepted_at = now(&desk).await;
    let accepted = report(ticket_id, 1, ActiveMessageState::Accepted, accepted_at);
    tell(&desk, vec![accepted]).await;
    assert!(pass(&desk, ticket_id, 4.9).await.is_empty());
    assert_eq!(pass(&desk, ticket_id, 0.1).await[0], "fired Close");
}

#[tokio::test]
async fn a_tag_counts_from_the_start_of_a_cycle_and_at_any_time_before_the_close() {
    let desk = desk(unwarned()).await;
    let ticket_id = desk.open().await.ticket_id;
    let tagged = tag(&desk, ticket_id, &["vip", "other"], &[]).await;
    assert!(!tagged.excluded, "no cycle runs");
    let answered = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert!(answered.excluded);
    assert_eq!(stages(&answered), [Stage::FirstAlert, Stage::SecondAlert]);
    assert_eq!(pass(&desk, ticket_id, 60.0).await, ["fired SecondAlert"]);
    let next = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert!(next.excluded, "in each cycle");

    // What is overdue acts as soon as it may.
    assert_eq!(pass(&desk, ticket_id, 60.0).await, ["fired SecondAlert"]);
    let free = tag(&desk, ticket_id, &[], &["vip"]).await;
    assert!(!free.excluded);
    assert_eq!(pass(&desk, ticket_id, 0.0).await[0], "fired Close");

    // A tag that the policy does not name keeps nothing off.
    let ticket_id = desk.answered(1).await[0].ticket_id;
    assert!(!tag(&desk, ticket_id, &["other"], &[]).await.excluded);
    assert_eq!(pass(&desk, ticket_id, 30.0).await[0], "fired Close");
    let closed = desk.ticket(ticket_id).await;
    assert_eq!(closed.tags, ["auto", "other", "silent"]);
}

#[tokio::test]
async fn a_tag_after_the_warning_keeps_off_the_close() {
    let desk = desk(everything()).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let warned = pass(&desk, ticket_id, 25.0).await;
    assert_eq!(warned.last().expect("one"), "asked for Warning");
    let accepted_at = now(&desk).await;
    let accepted = report(ticket_id, 1, ActiveMessageState::Accepted, accepted_at);
    tell(&desk, vec![accepted]).await;
    tag(&desk, ticket_id, &["vip"], &[]).await;
    assert!(pass(&desk, ticket_id, 600.0).await.is_empty());
    assert_eq!(desk.ticket(ticket_id).await.state(), TicketState::Open);
    tag(&desk, ticket_id, &[], &["vip"]).await;
    // It was warned in this cycle, and is not warned twice.
    assert_eq!(pass(&desk, ticket_id, 0.0).await[0], "fired Close");
}

#[tokio::test]
async fn a_hold_that_ends_looks_at_the_tags_of_then() {
    let desk = desk(unwarned()).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let held = Change::Hold.make(&desk.people, ticket_id).await;
    held.expect("held");
    let tagged = tag(&desk, ticket_id, &["vip"], &[]).await;
    assert!(!tagged.excluded && tagged.hold.is_some());
    // The longest hold is a day.
    assert_eq!(
        pass(&desk, ticket_id, 24.0 * 60.0 + 45.0).await,
        ["hold ended: Expired", "fired SecondAlert"]
    );
    assert!(desk.ticket(ticket_id).await.excluded);
}
