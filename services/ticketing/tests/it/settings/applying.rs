//! Policies that are applied to open tickets.

use std::collections::HashMap;
use std::sync::Arc;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert, AutoCloseSettings, ExplainTicketRequest, InactivityPolicy, SetInactivityPolicyRequest,
    Stage,
};
use plazo_ticketing::applying::Applying;
use plazo_ticketing::changes::Changes;
use plazo_ticketing::metrics::ApplyingMetrics;
use plazo_ticketing::store::settings::PolicyCache;
use tokio_util::sync::CancellationToken;

use super::{applied, cycle, in_force, put, stretched, untouched};
use crate::desk::{Desk, eventually, ids, named};

#[tokio::test]
async fn settings_doubled_at_5_matter_to_running_cycles_only_when_they_are_applied() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(1)).await;
    let ticket_id = desk.answered(1).await.remove(0).ticket_id;
    desk.age(&[ticket_id], 5.0).await;
    put(&desk, 0, stretched(2), false).await;
    let running = desk.ticket(ticket_id).await;
    assert_eq!(cycle(&running).1, untouched(10, 20, 25, 30));

    let version = put(&desk, 0, stretched(2), true).await;
    let running = desk.ticket(ticket_id).await;
    assert_eq!(cycle(&running), (version, untouched(20, 40, 50, 60)));
    let events = desk.events(ticket_id).await;
    let Some(Payload::PolicyApplied(payload)) = &events.last().expect("events").payload else {
        panic!("{events:?}")
    };
    assert_eq!(payload.policy_version, version);
    assert!(payload.cycles.is_empty() && payload.ended_cycles.is_empty());
}

#[tokio::test]
async fn what_applied_settings_made_due_is_late_from_then_on() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(9)).await;
    let ticket_id = desk.answered(1).await.remove(0).ticket_id;
    desk.age(&[ticket_id], 27.0).await;
    let version = put(&desk, 0, stretched(1), true).await;
    desk.outcomes(&named(&[desk.ticket(ticket_id).await])).await;
    let events = desk.events(ticket_id).await;
    let mut stages = events.iter().filter_map(|event| match event.payload {
        Some(Payload::StageFired(fired)) => Some((fired, event.event_time)),
        _ => None,
    });
    let applied = events.iter().find_map(|event| match &event.payload {
        Some(Payload::PolicyApplied(applied)) if applied.policy_version == version => {
            Some(event.event_time)
        }
        _ => None,
    });
    for (stage, due_minute) in [(Stage::SecondAlert, 20), (Stage::Warning, 25)] {
        let (fired, at) = stages.next().expect("it fired");
        assert_eq!(fired.stage(), stage);
        assert_eq!(Some(fired.could_act_time), applied);
        let seconds = |at: Option<prost_types::Timestamp>| at.expect("an instant").seconds;
        let early = seconds(fired.could_act_time) - seconds(fired.due_time);
        let expected = (27 - due_minute) * 60;
        assert!((expected - 2..expected + 30).contains(&early), "{early}");
        assert!(seconds(at) - seconds(fired.could_act_time) < 30);
    }
    let request = ExplainTicketRequest { ticket_id };
    let told = desk.agent.tickets.clone().explain_ticket(request).await;
    let told = told.expect("explained").into_inner();
    assert!(!told.text.contains("outage"), "{}", told.text);
    assert!(told.text.contains("but the settings were applied only at"));
}

#[tokio::test]
async fn settings_doubled_at_12_leave_what_is_over_and_what_shows() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(1)).await;
    let ticket_id = desk.answered(1).await.remove(0).ticket_id;
    desk.age(&[ticket_id], 12.0).await;
    desk.outcomes(&named(&[desk.ticket(ticket_id).await])).await;
    put(&desk, 0, stretched(2), true).await;
    let running = desk.ticket(ticket_id).await;
    assert_eq!(running.alert(), Alert::Yellow);
    let mut expected = untouched(20, 40, 50, 60);
    expected[0].2 = true;
    assert_eq!(cycle(&running).1, expected);
    // Back again: what is due by now acts at once, and the alert that acted does not act again.
    put(&desk, 0, stretched(1), true).await;
    desk.age(&[ticket_id], 10.0).await;
    desk.outcomes(&named(&[desk.ticket(ticket_id).await])).await;
    assert_eq!(desk.ticket(ticket_id).await.alert(), Alert::Red);
    assert_eq!(
        desk.story(ticket_id).await,
        [
            "opened",
            "Agent wrote",
            "fired FirstAlert",
            "policy applied",
            "policy applied",
            "fired SecondAlert",
        ]
    );
}

#[tokio::test]
async fn cycles_end_and_begin_with_what_the_policy_has_for_them() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(1)).await;
    let silent = desk.answered(1).await.remove(0).ticket_id;
    let waiting = desk.open().await.ticket_id;
    let excluded = desk.answered(1).await.remove(0).ticket_id;
    sqlx::query("UPDATE tickets SET tags = '{vip}' WHERE ticket_id = $1")
        .bind(excluded)
        .execute(&desk.fixture.pool)
        .await
        .expect("tagged");
    put(&desk, 0, InactivityPolicy::default(), true).await;
    assert!(desk.ticket(silent).await.inactivity_cycle.is_none());
    assert_eq!(desk.story(waiting).await, ["opened"], "nothing ran");

    let policy = InactivityPolicy {
        auto_close: Some(AutoCloseSettings {
            only_after_first_agent_message: Some(false),
            exclude_tags: vec!["vip".to_owned()],
            ..stretched(1).auto_close.expect("it closes")
        }),
        ..stretched(1)
    };
    let version = put(&desk, 0, policy, true).await;
    let again = desk.ticket(silent).await;
    assert_eq!(cycle(&again), (version, untouched(10, 20, 25, 30)));
    assert_eq!(again.inactivity_cycle.expect("a cycle").cycle, 2);
    let counted = desk.ticket(waiting).await;
    assert_eq!(
        cycle(&counted),
        (
            version,
            vec![(Stage::Warning, 25, false), (Stage::Close, 30, false)]
        )
    );
    assert!(desk.ticket(excluded).await.excluded);
    let events = desk.events(silent).await;
    let [.., ended, began] = events.as_slice() else {
        panic!("{events:?}")
    };
    let (Some(Payload::PolicyApplied(ended)), Some(Payload::PolicyApplied(began))) =
        (&ended.payload, &began.payload)
    else {
        panic!("{events:?}")
    };
    assert_eq!((&*ended.ended_cycles, ended.cycles.len()), (&[1][..], 0));
    assert_eq!((began.ended_cycles.len(), began.cycles[0].cycle), (0, 2));
}

/// How often each ticket tells that a policy was applied to it.
async fn times_applied(desk: &Desk) -> HashMap<i64, i64> {
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT ticket_id, payload FROM ticket_events ORDER BY event_id")
            .fetch_all(&desk.fixture.pool)
            .await
            .expect("events");
    let mut times = HashMap::new();
    for (ticket_id, payload) in rows {
        let event: plazo_proto::ticketing::v1::TicketEvent =
            prost::Message::decode(payload.as_slice()).expect("an event");
        if matches!(event.payload, Some(Payload::PolicyApplied(_))) {
            *times.entry(ticket_id).or_default() += 1;
        }
    }
    times
}

async fn start_applying(desk: &Desk, policy: InactivityPolicy) -> i64 {
    let request = SetInactivityPolicyRequest {
        bot_id: desk.bot_id,
        policy: Some(policy),
        apply_to_open_tickets: true,
        ..Default::default()
    };
    let answer = desk
        .people
        .settings
        .clone()
        .set_inactivity_policy(request)
        .await;
    answer
        .expect("set")
        .into_inner()
        .policy
        .expect("it")
        .version
}

/// A replica dies in the middle of a page, and another loses its connection to the database.
#[tokio::test]
async fn an_application_goes_on_after_the_last_page_that_was_committed() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(1)).await;
    let ticket_ids = desk.bulk(1_000, 1.0).await;
    let mut sorted = ticket_ids.clone();
    sorted.sort_unstable();
    let mut barrier = desk.fixture.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM ticket_clocks WHERE ticket_id = $1 FOR UPDATE")
        .bind(sorted[450])
        .execute(&mut *barrier)
        .await
        .expect("locked");
    let version = start_applying(&desk, stretched(2)).await;
    let progress = async || {
        let after: Option<i64> =
            sqlx::query_scalar("SELECT after_ticket_id FROM policy_applications")
                .fetch_optional(&desk.fixture.pool)
                .await
                .expect("a query");
        after
    };
    eventually("two pages are done", async || {
        (progress().await == Some(sorted[399])).then_some(())
    })
    .await;
    let terminate = async || {
        eventually("a page waits for the lock", async || {
            let ended: Vec<bool> = sqlx::query_scalar(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_all(&desk.fixture.pool)
            .await
            .expect("a query");
            (!ended.is_empty()).then_some(())
        })
        .await;
    };
    terminate().await;
    let mut registry = prometheus_client::registry::Registry::default();
    let replica = Applying::new(
        Changes::new(desk.fixture.requests(), desk.fixture.pool.clone()),
        Arc::new(PolicyCache::new()),
        ApplyingMetrics::register(&mut registry),
    );
    #[expect(clippy::disallowed_methods, reason = "aborted below")]
    let dying = tokio::spawn(replica.run(CancellationToken::new()));
    terminate().await;
    dying.abort();
    assert_eq!(
        progress().await,
        Some(sorted[399]),
        "nothing of the page is left"
    );
    assert!(in_force(&desk, 0).await.applying);
    barrier.rollback().await.expect("released");
    applied(&desk, 0).await;

    let times = times_applied(&desk).await;
    assert!(
        sorted.iter().all(|id| times.get(id) == Some(&1)),
        "each once: {times:?}"
    );
    for ticket_id in [
        sorted[0],
        sorted[399],
        sorted[400],
        sorted[450],
        sorted[999],
    ] {
        let running = desk.ticket(ticket_id).await;
        assert_eq!(cycle(&running), (version, untouched(20, 40, 50, 60)));
    }
}

#[tokio::test]
async fn thousands_of_tickets_are_applied_to_while_messages_arrive() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(1)).await;
    let ticket_ids = desk.bulk(5_000, 1.0).await;
    let version = start_applying(&desk, stretched(2)).await;
    let written: Vec<i64> = ticket_ids.iter().copied().rev().step_by(97).collect();
    for &ticket_id in &written {
        desk.writes(ticket_id, AuthorKind::Customer).await;
        desk.writes(ticket_id, AuthorKind::Agent).await;
    }
    let opened = ids(&desk.answered(5).await);
    applied(&desk, 0).await;

    let behind: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ticket_clocks WHERE policy_version <> $1")
            .bind(version)
            .fetch_one(&desk.fixture.pool)
            .await
            .expect("counted");
    assert_eq!(behind, 0);
    let times = times_applied(&desk).await;
    for ticket_id in &ticket_ids {
        let times = times.get(ticket_id).copied().unwrap_or_default();
        assert!(
            times == 1 || (times == 0 && written.contains(ticket_id)),
            "{ticket_id}: {times}"
        );
    }
    for ticket_id in opened.into_iter().chain(written) {
        assert_eq!(
            cycle(&desk.ticket(ticket_id).await).1,
            untouched(20, 40, 50, 60)
        );
    }
}

/// Waits until so many connections wait for locks.
async fn waiting(desk: &Desk, wanted: i64) {
    eventually("locks are waited for", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("a query");
        (waiting >= wanted).then_some(())
    })
    .await;
}

/// A policy that is put in force later ends what was begun for the one before.
#[tokio::test]
async fn a_later_policy_supersedes_one_that_is_being_applied() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(1)).await;
    let mut ticket_ids = desk.bulk(300, 1.0).await;
    ticket_ids.sort_unstable();
    let mut barrier = desk.fixture.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM ticket_clocks WHERE ticket_id = $1 FOR UPDATE")
        .bind(ticket_ids[0])
        .execute(&mut *barrier)
        .await
        .expect("locked");
    let first = start_applying(&desk, stretched(2)).await;
    waiting(&desk, 1).await;
    let (second, ()) = tokio::join!(put(&desk, 0, stretched(3), true), async {
        // The second waits for the page, which goes by what is in force.
        waiting(&desk, 2).await;
        barrier.rollback().await.expect("released");
    });
    assert!(second > first);
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT DISTINCT policy_version FROM ticket_clocks")
            .fetch_all(&desk.fixture.pool)
            .await
            .expect("versions");
    assert_eq!(versions, [second]);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM policy_applications")
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("counted");
    assert_eq!(left, 0);
}
