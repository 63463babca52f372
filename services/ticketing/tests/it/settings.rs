//! Bots, queues, agents, calendars and policies.

mod agents;
mod applying;
mod bots;
mod calendars;
mod policies;
mod previews;
mod queue_policies;
mod queues;

use plazo_proto::common::v1::TimeUnit;
use plazo_proto::ticketing::v1::{
    AlertSettings, AutoCloseSettings, Bot, CreateBotRequest, GetInactivityPolicyRequest,
    GetInactivityPolicyResponse, InactivityPolicy, ListBotsRequest, SetInactivityPolicyRequest,
    Stage, Ticket, UpdateBotRequest, WarningSettings,
};
use prost_types::FieldMask;
use tonic::Code;

use crate::desk::{Desk, eventually};
use crate::support::{Fixture, refusal, request_id, time_value};

/// The policy of the examples with a minute for each second, stretched: alerts after 10 and 20, the warning after 25,
/// the close after 30.
fn stretched(by: i32) -> InactivityPolicy {
    let minutes = |value: i32| Some(time_value(value * by, TimeUnit::Minute));
    InactivityPolicy {
        alerts: Some(AlertSettings {
            first_alert: minutes(10),
            second_alert: minutes(20),
        }),
        auto_close: Some(AutoCloseSettings {
            close_after: minutes(30),
            ..AutoCloseSettings::default()
        }),
        warning: Some(WarningSettings {
            warn_after: minutes(25),
            text: "Hola?".to_owned(),
            image_url: String::new(),
        }),
        ..InactivityPolicy::default()
    }
}

/// Puts a policy in force in the bot, or in a queue of it, and waits until it is applied when that is wanted. Returns
/// its version.
async fn put(desk: &Desk, queue_id: i64, policy: InactivityPolicy, apply: bool) -> i64 {
    let request = SetInactivityPolicyRequest {
        bot_id: desk.bot_id,
        policy: Some(policy),
        queue_id,
        apply_to_open_tickets: apply,
        ..Default::default()
    };
    let answer = desk
        .people
        .settings
        .clone()
        .set_inactivity_policy(request)
        .await;
    let version = answer
        .expect("set")
        .into_inner()
        .policy
        .expect("it")
        .version;
    applied(desk, queue_id).await;
    version
}

/// What is in force.
async fn in_force(desk: &Desk, queue_id: i64) -> GetInactivityPolicyResponse {
    let request = GetInactivityPolicyRequest {
        bot_id: desk.bot_id,
        queue_id,
    };
    let answer = desk
        .people
        .settings
        .clone()
        .get_inactivity_policy(request)
        .await;
    answer.expect("it exists").into_inner()
}

/// Waits until nothing is being applied any more.
async fn applied(desk: &Desk, queue_id: i64) {
    eventually("the policy is applied", async || {
        (!in_force(desk, queue_id).await.applying).then_some(())
    })
    .await;
}

/// The version of a ticket's running cycle, and its stages in minutes from the anchor, each with whether it is over.
fn cycle(ticket: &Ticket) -> (i64, Vec<(Stage, i64, bool)>) {
    let cycle = ticket.inactivity_cycle.as_ref().expect("a cycle runs");
    let anchor = cycle.anchor_time.expect("an anchor").seconds;
    let stages = cycle.stages.iter().map(|progress| {
        // Instants are rounded up to milliseconds.
        let due = progress.due_time.expect("an instant").seconds;
        (progress.stage(), (due - anchor) / 60, progress.over)
    });
    (cycle.policy_version, stages.collect())
}

/// The stages of a cycle that nothing happened in.
fn untouched(first: i64, second: i64, warning: i64, close: i64) -> Vec<(Stage, i64, bool)> {
    vec![
        (Stage::FirstAlert, first, false),
        (Stage::SecondAlert, second, false),
        (Stage::Warning, warning, false),
        (Stage::Close, close, false),
    ]
}

#[expect(clippy::unnecessary_wraps, reason = "messages have it so")]
fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    })
}

fn no_bot() -> (Code, String) {
    (Code::NotFound, "BOT_NOT_FOUND".to_owned())
}

fn update_bot(bot: Bot, paths: &[&str]) -> UpdateBotRequest {
    UpdateBotRequest {
        bot: Some(bot),
        update_mask: mask(paths),
        request_id: String::new(),
    }
}

#[tokio::test]
async fn reading_and_changing_need_their_permissions() {
    let fixture = Fixture::start().await;
    let mut viewer = fixture.as_actor("administrator/2", "helpdesk:view", "*");
    let mut editor = fixture.as_actor("administrator/2", "helpdesk:edit", "*");
    let denied = (Code::PermissionDenied, "PERMISSION_DENIED".to_owned());
    let bot = Some(Bot {
        name: "new".to_owned(),
        ..Bot::default()
    });
    let request = CreateBotRequest {
        bot,
        request_id: String::new(),
    };
    assert_eq!(
        refusal(viewer.settings.create_bot(request.clone()).await),
        denied
    );
    assert!(editor.settings.create_bot(request).await.is_ok());
    assert_eq!(
        refusal(editor.settings.list_bots(ListBotsRequest::default()).await),
        denied
    );
    assert!(
        viewer
            .settings
            .list_bots(ListBotsRequest::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_repeated_change_is_made_once() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot = Some(Bot {
        name: "one".to_owned(),
        ..Bot::default()
    });
    let request = CreateBotRequest {
        bot,
        request_id: request_id(),
    };
    let first = administrator
        .settings
        .create_bot(request.clone())
        .await
        .expect("created");
    let again = administrator
        .settings
        .create_bot(request)
        .await
        .expect("repeated");
    assert_eq!(first.into_inner(), again.into_inner());
    let page = administrator
        .settings
        .list_bots(ListBotsRequest::default())
        .await
        .expect("a page");
    assert_eq!(page.into_inner().bots.len(), 1);
}
