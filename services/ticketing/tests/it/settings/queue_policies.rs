//! Policies of queues, which override the bot's.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{
    GetInactivityPolicyRequest, InactivityPolicy, ListQueuesRequest, OpenTicketRequest, Queue,
    RemoveQueuePolicyRequest, RemoveQueuePolicyResponse, SetExitRouteRequest,
    SetInactivityPolicyRequest, Ticket,
};
use tonic::{Code, Status};

use super::{applied, cycle, in_force, put, stretched, untouched};
use crate::desk::Desk;
use crate::support::refusal;

async fn remove(
    desk: &Desk,
    queue_id: i64,
    apply: bool,
) -> Result<RemoveQueuePolicyResponse, Status> {
    let request = RemoveQueuePolicyRequest {
        bot_id: desk.bot_id,
        queue_id,
        request_id: String::new(),
        apply_to_open_tickets: apply,
    };
    let answer = desk
        .people
        .settings
        .clone()
        .remove_queue_policy(request)
        .await;
    answer.map(tonic::Response::into_inner)
}

async fn listed(desk: &Desk) -> Vec<Queue> {
    let request = ListQueuesRequest {
        bot_id: desk.bot_id,
        ..Default::default()
    };
    let page = desk.people.settings.clone().list_queues(request).await;
    page.expect("a page").into_inner().queues
}

/// A ticket in which the agent has written; in no queue for 0.
async fn answered_in(desk: &Desk, queue_id: i64) -> Ticket {
    let request = OpenTicketRequest {
        queue_id,
        ..desk.opening()
    };
    let ticket = desk.open_as(request).await;
    desk.writes(ticket.ticket_id, AuthorKind::Agent).await
}

#[tokio::test]
async fn a_queues_own_policy_goes_before_the_bots_until_it_is_removed() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(1)).await;
    let queue_id = desk.queue("Suporte").await;
    let of_bot = in_force(&desk, 0).await;
    assert!(!of_bot.inherited && !of_bot.applying);
    let inherited = in_force(&desk, queue_id).await;
    assert_eq!(
        (inherited.policy, inherited.inherited),
        (of_bot.policy.clone(), true)
    );

    let version = put(&desk, queue_id, stretched(2), false).await;
    let own = in_force(&desk, queue_id).await;
    assert_eq!(own.policy.expect("a policy").version, version);
    assert!(!own.inherited);
    assert_eq!(listed(&desk).await[0].policy_version, version);
    assert_eq!(in_force(&desk, 0).await, of_bot, "the bot's stays");

    let elsewhere = answered_in(&desk, 0).await;
    assert_eq!(cycle(&elsewhere).1, untouched(10, 20, 25, 30));
    let inside = answered_in(&desk, queue_id).await;
    assert_eq!(cycle(&inside), (version, untouched(20, 40, 50, 60)));

    // The versions of a queue are its own.
    let stale = SetInactivityPolicyRequest {
        bot_id: desk.bot_id,
        queue_id,
        policy: Some(stretched(3)),
        replaces_version: of_bot.policy.expect("a policy").version,
        ..Default::default()
    };
    let answer = desk
        .people
        .settings
        .clone()
        .set_inactivity_policy(stale)
        .await;
    assert_eq!(refusal(answer), (Code::Aborted, "ETAG_MISMATCH".to_owned()));

    let queue = remove(&desk, queue_id, false).await.expect("removed").queue;
    assert_eq!(queue.expect("the queue").policy_version, 0);
    assert!(in_force(&desk, queue_id).await.inherited);
    assert_eq!(
        cycle(&desk.ticket(inside.ticket_id).await).0,
        version,
        "fixed at its start"
    );
    assert_eq!(
        cycle(&answered_in(&desk, queue_id).await).1,
        untouched(10, 20, 25, 30)
    );
    remove(&desk, queue_id, false)
        .await
        .expect("nothing is left to remove");
}

#[tokio::test]
async fn a_policy_is_applied_in_its_scope_only() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(1)).await;
    let own = desk.queue("own").await;
    let plain = desk.queue("plain").await;
    put(&desk, own, stretched(2), false).await;
    let tickets = [
        answered_in(&desk, 0).await,
        answered_in(&desk, own).await,
        answered_in(&desk, plain).await,
    ];
    let first_alerts = async || {
        let mut found = Vec::new();
        for ticket in &tickets {
            found.push(cycle(&desk.ticket(ticket.ticket_id).await).1[0].1);
        }
        found
    };
    assert_eq!(first_alerts().await, [10, 20, 10]);
    put(&desk, 0, stretched(3), true).await;
    assert_eq!(first_alerts().await, [30, 20, 30]);
    put(&desk, own, stretched(4), true).await;
    assert_eq!(first_alerts().await, [30, 40, 30]);

    // The bot's version rises, so that the queue's cycles move to it, though theirs is higher.
    let before = in_force(&desk, 0).await.policy.expect("a policy");
    remove(&desk, own, true).await.expect("removed");
    applied(&desk, own).await;
    assert_eq!(first_alerts().await, [30, 30, 30]);
    let after = in_force(&desk, 0).await.policy.expect("a policy");
    assert!(after.version > before.version);
    assert_eq!(
        InactivityPolicy {
            version: before.version,
            ..after
        },
        before
    );
}

#[tokio::test]
async fn where_the_bot_has_no_policy_removing_a_queues_ends_what_runs() {
    let desk = Desk::start().await;
    desk.set_policy(InactivityPolicy::default()).await;
    sqlx::query("UPDATE bots SET policy_version = NULL")
        .execute(&desk.fixture.pool)
        .await
        .expect("as when none was ever set");
    let queue_id = desk.queue("Suporte").await;
    put(&desk, queue_id, stretched(1), false).await;
    let ticket = answered_in(&desk, queue_id).await;
    remove(&desk, queue_id, true).await.expect("removed");
    applied(&desk, queue_id).await;
    let after = desk.ticket(ticket.ticket_id).await;
    assert!(after.inactivity_cycle.is_none() && after.next_due_time.is_none());
    assert_eq!(
        desk.story(ticket.ticket_id).await,
        ["opened", "Agent wrote", "policy applied"]
    );
}

#[tokio::test]
async fn queues_of_other_bots_have_no_policy_and_an_exit_route_stays_for_a_queue() {
    let desk = Desk::start().await;
    desk.set_policy(InactivityPolicy::default()).await;
    let queue_id = desk.queue("Suporte").await;
    let other = desk.people.clone().create_bot("another").await.bot_id;
    let no_queue = (Code::NotFound, "QUEUE_NOT_FOUND".to_owned());
    let get = GetInactivityPolicyRequest {
        bot_id: other,
        queue_id,
    };
    let mut settings = desk.people.settings.clone();
    assert_eq!(refusal(settings.get_inactivity_policy(get).await), no_queue);
    let set = SetInactivityPolicyRequest {
        bot_id: other,
        queue_id,
        policy: Some(InactivityPolicy::default()),
        ..Default::default()
    };
    assert_eq!(refusal(settings.set_inactivity_policy(set).await), no_queue);
    let removal = RemoveQueuePolicyRequest {
        bot_id: other,
        queue_id,
        ..Default::default()
    };
    assert_eq!(
        refusal(settings.remove_queue_policy(removal).await),
        no_queue
    );

    put(&desk, queue_id, stretched(1), false).await;
    let unset = SetExitRouteRequest {
        bot_id: desk.bot_id,
        ..Default::default()
    };
    let answer = settings.set_exit_route(unset.clone()).await;
    assert_eq!(
        refusal(answer),
        (Code::FailedPrecondition, "EXIT_ROUTE_IN_USE".to_owned())
    );
    remove(&desk, queue_id, false).await.expect("removed");
    settings
        .set_exit_route(unset)
        .await
        .expect("nothing needs it");
}
