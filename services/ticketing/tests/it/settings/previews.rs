//! What a policy would do, against what it then does.

use plazo_proto::common::v1::{AuthorKind, TimeUnit};
use plazo_proto::ticketing::v1::{
    AlertSettings, AutoCloseSettings, HoldTicketRequest, InactivityPolicy, PreviewSettingsRequest,
    PreviewSettingsResponse, Ticket, TicketState,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::Status;

use super::{put, stretched};
use crate::desk::{Desk, named};
use crate::support::{time_value, wrong_fields};

async fn preview(
    desk: &Desk,
    queue_id: i64,
    policy: InactivityPolicy,
) -> Result<PreviewSettingsResponse, Status> {
    let request = PreviewSettingsRequest {
        bot_id: desk.bot_id,
        policy: Some(policy),
        queue_id,
    };
    let answer = desk.people.settings.clone().preview_settings(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Tickets of any age in whole minutes and a half, so that nothing becomes due between the look and the deed.
async fn crowd(desk: &Desk, random: &mut StdRng, count: usize) -> Vec<i64> {
    let mut ticket_ids = Vec::new();
    for _ in 0..count {
        let ticket_id = desk.open().await.ticket_id;
        ticket_ids.push(ticket_id);
        for author in [
            AuthorKind::Customer,
            AuthorKind::Agent,
            AuthorKind::Customer,
        ] {
            if random.random_bool(0.6) {
                desk.writes(ticket_id, author).await;
            }
        }
        desk.age(&[ticket_id], f64::from(random.random_range(0..40)) + 0.5)
            .await;
        if random.random_bool(0.2) {
            sqlx::query("UPDATE tickets SET tags = '{vip}' WHERE ticket_id = $1")
                .bind(ticket_id)
                .execute(&desk.fixture.pool)
                .await
                .expect("tagged");
        }
        if random.random_bool(0.3) {
            desk.outcomes(&named(&[desk.ticket(ticket_id).await])).await;
        }
        if random.random_bool(0.1) && desk.ticket(ticket_id).await.state() != TicketState::Closed {
            let hold = HoldTicketRequest {
                ticket_id,
                reason: "lunch".to_owned(),
                ..Default::default()
            };
            desk.people
                .tickets
                .clone()
                .hold_ticket(hold)
                .await
                .expect("held");
        }
    }
    ticket_ids
}

fn rich() -> InactivityPolicy {
    InactivityPolicy {
        auto_close: Some(AutoCloseSettings {
            only_after_first_agent_message: Some(false),
            close_while_customer_waits: true,
            exclude_tags: vec!["vip".to_owned()],
            ..stretched(1).auto_close.expect("it closes")
        }),
        agent_alerts: Some(AlertSettings {
            first_alert: Some(time_value(8, TimeUnit::Minute)),
            second_alert: Some(time_value(16, TimeUnit::Minute)),
        }),
        ..stretched(1)
    }
}

#[tokio::test]
async fn a_preview_tells_what_applying_then_does() {
    let desk = Desk::start().await;
    desk.set_policy(stretched(2)).await;
    let seed = 4;
    let mut random = StdRng::seed_from_u64(seed);
    let ticket_ids = crowd(&desk, &mut random, 200).await;
    let unwarned = InactivityPolicy {
        warning: None,
        ..rich()
    };
    let mut all = (0, 0, 0);
    for policy in [rich(), unwarned] {
        let mut before: Vec<Ticket> = Vec::new();
        for &ticket_id in &ticket_ids {
            before.push(desk.ticket(ticket_id).await);
        }
        let foreseen = preview(&desk, 0, policy.clone()).await.expect("a preview");
        let open = before
            .iter()
            .filter(|it| it.state() != TicketState::Closed)
            .count();
        assert_eq!(foreseen.examined_count, i64::try_from(open).expect("few"));
        assert!(!foreseen.truncated);

        put(&desk, 0, policy, true).await;
        let (mut alerted, mut warned, mut closed) = (0, 0, 0);
        for then in &before {
            let ticket_id = then.ticket_id;
            let length = desk.events(ticket_id).await.len();
            desk.outcomes(&named(&[desk.ticket(ticket_id).await])).await;
            let now = desk.ticket(ticket_id).await;
            let new = &desk.whole_story(ticket_id).await[length..];
            alerted += i64::from(now.alert > then.alert || now.agent_alert > then.agent_alert);
            warned += i64::from(new.iter().any(|event| event == "fired Warning"));
            closed += i64::from(new.iter().any(|event| event == "fired Close"));
        }
        let happened = (alerted, warned, closed);
        let told = (
            foreseen.alerted_count,
            foreseen.warned_count,
            foreseen.closed_count,
        );
        assert_eq!(told, happened, "seed {seed}");
        all = (all.0 + alerted, all.1 + warned, all.2 + closed);
    }
    assert!(
        all.0 > 20 && all.1 > 20 && all.2 > 20,
        "too few to mean anything: {all:?}"
    );
}

#[tokio::test]
async fn a_preview_refuses_what_setting_refuses_and_keeps_to_its_scope() {
    let desk = Desk::start().await;
    let answer = preview(&desk, 0, stretched(1)).await;
    assert_eq!(wrong_fields(answer), ["policy.auto_close"]);
    desk.set_policy(InactivityPolicy::default()).await;
    let queue_id = desk.queue("Suporte").await;
    let mut request = desk.opening();
    request.queue_id = queue_id;
    let inside = desk.open_as(request).await.ticket_id;
    desk.writes(inside, AuthorKind::Agent).await;
    let outside = desk.answered(2).await;
    desk.age(&[inside, outside[0].ticket_id, outside[1].ticket_id], 15.5)
        .await;

    let of_queue = preview(&desk, queue_id, stretched(1))
        .await
        .expect("a preview");
    assert_eq!((of_queue.examined_count, of_queue.alerted_count), (1, 1));
    let of_bot = preview(&desk, 0, stretched(1)).await.expect("a preview");
    assert_eq!((of_bot.examined_count, of_bot.alerted_count), (3, 3));
    put(&desk, queue_id, InactivityPolicy::default(), false).await;
    let of_bot = preview(&desk, 0, stretched(1)).await.expect("a preview");
    assert_eq!((of_bot.examined_count, of_bot.alerted_count), (2, 2));
    assert_eq!(
        desk.story(inside).await,
        ["opened", "Agent wrote"],
        "nothing is changed"
    );
}
