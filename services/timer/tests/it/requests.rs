//! Bad input: refused with code, reason and field; nothing is changed.

use plazo_proto::timer::v1 as proto;
use plazo_service::status::{reason_of, violations_of};
use plazo_service::{Actor, ActorKind, BotScope, Permission, Permissions};
use tonic::{Code, Request, Status};

use crate::bed::{Bed, RunningTimer, arm, member, wait_for};
use crate::desk::{now_ms, timestamp};

const HOUR_MS: i64 = 3_600_000;

async fn running() -> (Bed, RunningTimer) {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    (bed, timer)
}

fn administrator(tenant_id: i64) -> Actor {
    Actor {
        tenant_id,
        kind: ActorKind::Administrator(1),
        permissions: Permissions::NONE.with(Permission::HelpdeskView),
        bots: BotScope::All,
    }
}

fn assert_fields(status: &Status, fields: &[&str]) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason_of(status).as_deref(), Some("FIELD_INVALID"));
    let found: Vec<_> = violations_of(status)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(found, fields);
}

async fn assert_arm_refused(timer: &mut RunningTimer, wrong: proto::TicketArm, fields: &[&str]) {
    // A good one goes along: nothing of a bad request is done.
    let good = arm((1, 77), 1, Some(now_ms() + HOUR_MS), 0);
    let request = proto::ArmTicketsRequest {
        arms: vec![good, wrong],
    };
    let status = timer
        .client
        .arm_tickets(request)
        .await
        .expect_err("it is wrong");
    assert_fields(&status, fields);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arms_are_checked() {
    let (_bed, mut timer) = running().await;
    let due = Some(now_ms() + HOUR_MS);
    let wrong_time = |seconds, nanos| proto::TicketArm {
        due_time: Some(prost_types::Timestamp { seconds, nanos }),
        ..arm((1, 1), 1, None, 0)
    };
    for (wrong, fields) in [
        (
            arm((0, -1), 0, due, 0),
            &[
                "arms[1].ticket.tenant_id",
                "arms[1].ticket.ticket_id",
                "arms[1].ticket.generation",
            ][..],
        ),
        (proto::TicketArm::default(), &["arms[1].ticket"]),
        (
            arm((1, 1), 20, due, 3),
            &["arms[1].first_superseded_generation"],
        ),
        (
            arm((1, 1), 20, due, 21),
            &["arms[1].first_superseded_generation"],
        ),
        (
            arm((1, 1), 20, due, -1),
            &["arms[1].first_superseded_generation"],
        ),
        (
            arm((1, 1), i64::MAX, due, i64::MIN),
            &["arms[1].first_superseded_generation"],
        ),
        (wrong_time(1, 1), &["arms[1].due_time"]),
        (wrong_time(1, -1_000_000), &["arms[1].due_time"]),
        (wrong_time(1, 1_000_000_000), &["arms[1].due_time"]),
        (wrong_time(-1, 0), &["arms[1].due_time"]),
        (wrong_time(i64::MAX, 0), &["arms[1].due_time"]),
        (wrong_time(253_402_300_800, 0), &["arms[1].due_time"]),
    ] {
        assert_arm_refused(&mut timer, wrong, fields).await;
    }
    let request = proto::ArmTicketsRequest::default();
    assert_fields(
        &timer.client.arm_tickets(request).await.expect_err("empty"),
        &["arms"],
    );
    let request = proto::ArmTicketsRequest {
        arms: vec![arm((1, 1), 1, due, 0); 1_001],
    };
    assert_fields(
        &timer
            .client
            .arm_tickets(request)
            .await
            .expect_err("too many"),
        &["arms"],
    );
    assert!(
        timer.entries((1, 77)).await.is_empty(),
        "nothing was changed"
    );

    // Sixteen older generations are allowed.
    let counts = timer
        .arm_all(vec![arm((1, 1), 20, due, 4), arm((1, 2), 5, due, 5)])
        .await;
    assert_eq!((counts.added_count, counts.removed_count), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_requests_are_checked() {
    let (_bed, mut timer) = running().await;
    let client = &mut timer.client;
    let tickets = vec![proto::PendingTicket::default()];
    let status = client
        .repair_tickets(proto::RepairTicketsRequest { tickets })
        .await;
    assert_fields(
        &status.expect_err("empty"),
        &["tickets[0].ticket", "tickets[0].due_time"],
    );
    let status = client
        .repair_tickets(proto::RepairTicketsRequest::default())
        .await;
    assert_fields(&status.expect_err("none"), &["tickets"]);

    let tickets = vec![member((1, 1), 0)];
    let request = proto::ReleaseQuarantinedEntriesRequest { tickets };
    let status = client
        .release_quarantined_entries(request)
        .await
        .expect_err("no generation");
    assert_fields(&status, &["tickets[0].generation"]);
    let tickets = vec![member((1, 1), 1); 501];
    let request = proto::ReleaseQuarantinedEntriesRequest { tickets };
    let status = client
        .release_quarantined_entries(request)
        .await
        .expect_err("too many");
    assert_fields(&status, &["tickets"]);

    for (tenant_id, ticket_id, field) in [(0, 1, "tenant_id"), (1, 0, "ticket_id")] {
        let request = proto::GetTicketEntriesRequest {
            tenant_id,
            ticket_id,
        };
        let status = client.get_ticket_entries(request).await.expect_err("zero");
        assert_fields(&status, &[field]);
    }

    let request = proto::ListDueEntriesRequest {
        page_size: -1,
        page_token: String::new(),
    };
    let status = client
        .list_due_entries(request)
        .await
        .expect_err("negative");
    assert_fields(&status, &["page_size"]);
    for token in ["x", "AAAA", "ÄÖ"] {
        let request = proto::ListDueEntriesRequest {
            page_size: 1,
            page_token: token.to_owned(),
        };
        let status = client
            .list_due_entries(request)
            .await
            .expect_err("nonsense");
        assert_eq!(reason_of(&status).as_deref(), Some("PAGE_TOKEN_INVALID"));
        let request = proto::ListQuarantinedEntriesRequest {
            page_size: 1,
            page_token: token.to_owned(),
        };
        let status = client
            .list_quarantined_entries(request)
            .await
            .expect_err("nonsense");
        assert_eq!(reason_of(&status).as_deref(), Some("PAGE_TOKEN_INVALID"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrators_read_their_own_tenant_and_change_nothing() {
    let (_bed, mut timer) = running().await;
    let due = now_ms() + HOUR_MS;
    timer.arm((7, 1), 1, due).await;
    let administrator = administrator(7);

    let request = |tenant_id| {
        administrator.sign(Request::new(proto::GetTicketEntriesRequest {
            tenant_id,
            ticket_id: 1,
        }))
    };
    let entries = timer
        .client
        .get_ticket_entries(request(0))
        .await
        .expect("its own")
        .into_inner();
    assert_eq!(entries.entries.len(), 1);
    assert_eq!(entries.entries[0].due_time, Some(timestamp(due)));
    let status = timer
        .client
        .get_ticket_entries(request(8))
        .await
        .expect_err("another's");
    assert_fields(&status, &["tenant_id"]);

    let arms = vec![arm((7, 1), 1, Some(due), 0)];
    let request = administrator.sign(Request::new(proto::ArmTicketsRequest { arms }));
    let status = timer
        .client
        .arm_tickets(request)
        .await
        .expect_err("not allowed");
    assert_eq!(status.code(), Code::PermissionDenied);

    let agent = Actor {
        kind: ActorKind::Agent(1),
        ..administrator.clone()
    };
    let of_one_bot = Actor {
        bots: BotScope::Only(vec![1]),
        ..administrator
    };
    for (actor, reason) in [
        (agent, "ACTOR_NOT_PERMITTED"),
        (of_one_bot, "BOT_NOT_PERMITTED"),
    ] {
        let request = actor.sign(Request::new(proto::ListDueEntriesRequest::default()));
        let status = timer
            .client
            .list_due_entries(request)
            .await
            .expect_err("not allowed");
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(reason_of(&status).as_deref(), Some(reason));
    }
}

/// All due entries, page by page.
async fn due_entries(
    timer: &mut RunningTimer,
    actor: &Actor,
    page_size: i32,
) -> Vec<proto::TimerEntry> {
    let mut entries = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = actor.sign(Request::new(proto::ListDueEntriesRequest {
            page_size,
            page_token,
        }));
        let page = timer
            .client
            .list_due_entries(request)
            .await
            .expect("it works")
            .into_inner();
        assert!(page.entries.len() <= usize::try_from(page_size).expect("it is positive"));
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return entries;
        }
        page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_entries_are_listed_page_by_page() {
    // One slot that a call without an answer occupies: what is due stays.
    let mut bed = Bed::new()
        .await
        .set("timer.dispatch_slots", &1)
        .set("timer.batch_limit", &1);
    bed.desk.trouble(|trouble| trouble.is_down = true);
    let mut timer = bed.start().await;
    timer.arm((9, 1_000), 1, now_ms()).await;
    wait_for("the slot to be taken", async || {
        timer
            .stats()
            .await
            .shards
            .iter()
            .any(|shard| shard.lease_count > 0)
    })
    .await;

    let now = now_ms();
    let arms = (1..=60).map(|ticket| arm((1 + ticket % 2, ticket), 1, Some(now - ticket / 10), 0));
    timer.arm_all(arms.collect()).await;
    let service = Actor::service("ticketing");
    let entries = due_entries(&mut timer, &service, 7).await;
    assert_eq!(entries.len(), 60);
    let order = |entry: &proto::TimerEntry| {
        let due = entry.due_time.expect("it is set");
        (entry.shard, due.seconds, due.nanos)
    };
    assert!(
        entries.is_sorted_by_key(order),
        "shard by shard, the longest due first"
    );
    let own = due_entries(&mut timer, &administrator(2), 7).await;
    assert_eq!(own.len(), 30);
    assert!(
        own.iter()
            .all(|entry| entry.ticket.expect("it is set").tenant_id == 2)
    );
}
