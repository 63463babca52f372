//! Calls of the service for webhook subscriptions: who may, what is refused, and pages.

use plazo_proto::notification::v1::{
    CreateWebhookSubscriptionRequest, GetWebhookSubscriptionRequest, ListWebhookDeliveriesRequest,
    ListWebhookSubscriptionsRequest, RotateWebhookSecretRequest, UpdateWebhookSubscriptionRequest,
    WebhookDeliveryState, WebhookSubscription,
};
use plazo_service::{Actor, BotScope, Permission, Permissions, status};
use tonic::{Code, Status};

use crate::support::endpoint::Endpoint;
use crate::support::subscriptions::{set_open, subscription};
use crate::support::{Api, BOT, TENANT, World, administrator, eventually};

const URL: &str = "http://127.0.0.1:9/hook";

async fn create(
    api: Api,
    actor: Actor,
    subscription: WebhookSubscription,
) -> Result<WebhookSubscription, Status> {
    let request = CreateWebhookSubscriptionRequest {
        subscription: Some(subscription),
        request_id: String::new(),
    };
    let answer = api
        .subscriptions(actor)
        .create_webhook_subscription(request)
        .await?;
    Ok(answer.into_inner().subscription.expect("it is set"))
}

fn of_bot(bot_id: i64) -> Actor {
    Actor {
        bots: BotScope::Only(vec![bot_id]),
        ..administrator()
    }
}

#[tokio::test]
async fn bad_subscriptions_are_refused_with_the_field() {
    let world = World::new().await;
    let service = world.start().await;
    let good = || subscription(URL);
    let strict = World::new()
        .await
        .with("webhook.allow_private_networks", "false")
        .with("webhook.allow_http", "false");
    let strict_service = strict.start().await;
    for url in [
        "https://127.0.0.1/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "https://localhost/hook",
        "http://example.com/hook",
        "",
    ] {
        let error = create(strict_service.api, administrator(), subscription(url))
            .await
            .expect_err(url);
        assert_eq!(
            status::violations_of(&error)[0].0,
            "subscription.url",
            "{url}"
        );
    }
    strict_service.stop().await;
    let types = |types: &[&str]| WebhookSubscription {
        event_types: types.iter().map(|&one| one.to_owned()).collect(),
        ..good()
    };
    for (wrong, field) in [
        (
            WebhookSubscription {
                name: " ".to_owned(),
                ..good()
            },
            "subscription.name",
        ),
        (
            WebhookSubscription {
                name: "x".repeat(201),
                ..good()
            },
            "subscription.name",
        ),
        (
            WebhookSubscription {
                subscription_id: 1,
                ..good()
            },
            "subscription.subscription_id",
        ),
        (
            WebhookSubscription {
                bot_ids: vec![0],
                ..good()
            },
            "subscription.bot_ids[0]",
        ),
        (
            WebhookSubscription {
                bot_ids: vec![4, 4],
                ..good()
            },
            "subscription.bot_ids[1]",
        ),
        (
            types(&["ticket.closed", "nothing.ever"]),
            "subscription.event_types[1]",
        ),
        (
            types(&["ticket.*", "ticket.*"]),
            "subscription.event_types[1]",
        ),
    ] {
        let error = create(service.api, administrator(), wrong)
            .await
            .expect_err(field);
        assert_eq!(error.code(), Code::InvalidArgument, "{field}");
        assert_eq!(status::violations_of(&error)[0].0, field);
    }
    assert_eq!(
        world
            .count("SELECT count(*) FROM webhook_subscriptions")
            .await,
        0
    );
    service.stop().await;
}

#[tokio::test]
async fn nobody_sees_or_changes_what_is_not_his() {
    let world = World::new().await;
    let service = world.start().await;
    let viewer = Actor {
        permissions: Permissions::NONE.with(Permission::HelpdeskView),
        ..administrator()
    };
    let error = create(service.api, viewer.clone(), subscription(URL))
        .await
        .expect_err("he may only look");
    assert_eq!(error.code(), Code::PermissionDenied);
    let of_all = create(service.api, administrator(), subscription(URL))
        .await
        .expect("it is good");
    let error = create(service.api, of_bot(BOT), subscription(URL))
        .await
        .expect_err("not all bots");
    assert_eq!(
        status::reason_of(&error).as_deref(),
        Some("BOT_NOT_PERMITTED")
    );
    let one_bot = WebhookSubscription {
        bot_ids: vec![BOT],
        ..subscription(URL)
    };
    let of_one = create(service.api, of_bot(BOT), one_bot)
        .await
        .expect("his bot");

    let foreigner = Actor {
        tenant_id: TENANT + 1,
        ..administrator()
    };
    for (actor, id) in [
        (foreigner, of_all.subscription_id),
        (of_bot(BOT), of_all.subscription_id),
        (of_bot(BOT + 1), of_one.subscription_id),
    ] {
        let mut client = service.api.subscriptions(actor);
        let request = GetWebhookSubscriptionRequest {
            subscription_id: id,
        };
        let error = client
            .get_webhook_subscription(request)
            .await
            .expect_err("not his");
        assert_eq!(error.code(), Code::NotFound);
        let request = RotateWebhookSecretRequest {
            subscription_id: id,
            ..RotateWebhookSecretRequest::default()
        };
        let error = client
            .rotate_webhook_secret(request)
            .await
            .expect_err("not his");
        assert_eq!(
            status::reason_of(&error).as_deref(),
            Some("WEBHOOK_SUBSCRIPTION_NOT_FOUND")
        );
        let listed = client
            .list_webhook_subscriptions(ListWebhookSubscriptionsRequest::default())
            .await
            .expect("he may list")
            .into_inner();
        assert!(
            listed
                .subscriptions
                .iter()
                .all(|one| one.subscription_id != id)
        );
    }
    // The answer to a request is repeated, but for the secret when the bot is no longer the caller's.
    let request = RotateWebhookSecretRequest {
        subscription_id: of_one.subscription_id,
        request_id: "7d0e1f0c-5a53-4a4e-9a3b-0a4a0b0c9d11".to_owned(),
        ..RotateWebhookSecretRequest::default()
    };
    for (bot_id, is_told) in [(BOT, true), (BOT, true), (BOT + 1, false)] {
        let mut client = service.api.subscriptions(of_bot(bot_id));
        let answer = client.rotate_webhook_secret(request.clone()).await;
        let secret = answer.expect("his request").into_inner().signing_secret;
        assert_eq!(!secret.is_empty(), is_told);
    }
    // Nor may he widen his own to all bots.
    let request = UpdateWebhookSubscriptionRequest {
        subscription: Some(WebhookSubscription {
            subscription_id: of_one.subscription_id,
            ..WebhookSubscription::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["bot_ids".to_owned()],
        }),
        ..UpdateWebhookSubscriptionRequest::default()
    };
    let error = service
        .api
        .subscriptions(of_bot(BOT))
        .update_webhook_subscription(request)
        .await
        .expect_err("all bots are not his");
    assert_eq!(error.code(), Code::PermissionDenied);
    service.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gives_the_first_answer_and_a_stale_etag_is_refused() {
    let world = World::new().await;
    let service = world.start().await;
    let mut client = service.api.subscriptions(administrator());
    let request = CreateWebhookSubscriptionRequest {
        subscription: Some(subscription(URL)),
        request_id: "0190a5c0-0000-7000-8000-000000000001".to_owned(),
    };
    let first = client.create_webhook_subscription(request.clone()).await;
    let again = client.create_webhook_subscription(request).await;
    let (first, again) = (first.expect("good"), again.expect("the same"));
    assert_eq!(first.get_ref(), again.get_ref());
    let created = first.into_inner().subscription.expect("it is set");

    let request = UpdateWebhookSubscriptionRequest {
        subscription: Some(WebhookSubscription {
            name: "another".to_owned(),
            event_types: vec!["ticket.*".to_owned()],
            ..created.clone()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["name".to_owned()],
        }),
        ..UpdateWebhookSubscriptionRequest::default()
    };
    let updated = client
        .update_webhook_subscription(request.clone())
        .await
        .expect("the etag is fresh")
        .into_inner()
        .subscription
        .expect("it is set");
    assert_eq!(updated.name, "another");
    assert_eq!(updated.event_types, created.event_types);
    let error = client
        .update_webhook_subscription(request)
        .await
        .expect_err("the etag is stale");
    assert_eq!(error.code(), Code::Aborted);
    assert_eq!(status::reason_of(&error).as_deref(), Some("ETAG_MISMATCH"));
    let request = UpdateWebhookSubscriptionRequest {
        subscription: Some(created),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["state".to_owned()],
        }),
        ..UpdateWebhookSubscriptionRequest::default()
    };
    let error = client
        .update_webhook_subscription(request)
        .await
        .expect_err("the service's own");
    assert_eq!(status::violations_of(&error)[0].0, "update_mask");
    service.stop().await;
}

#[tokio::test]
async fn deliveries_are_listed_in_pages_with_their_attempts() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    endpoint.answer("/hook", &[(500, None), (200, None)]);
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    world
        .ticketing
        .publish((1..=7).map(|seq| set_open(1, seq)).collect());
    eventually("all are settled", || async {
        (service.api.deliveries(id).await.len() == 7
            && service.api.subscription(id).await.waiting_events == 0)
            .then_some(())
    })
    .await;
    let mut client = service.api.subscriptions(administrator());
    let mut request = ListWebhookDeliveriesRequest {
        subscription_id: id,
        state: WebhookDeliveryState::Delivered.into(),
        page_size: 3,
        page_token: String::new(),
    };
    let mut seqs = Vec::new();
    loop {
        let page = client
            .list_webhook_deliveries(request.clone())
            .await
            .expect("a page")
            .into_inner();
        for one in &page.deliveries {
            seqs.push(one.ticket_seq);
            assert!(one.settle_time.is_some() && one.next_attempt_time.is_none());
            let statuses: Vec<_> = one.attempts.iter().map(|it| it.http_status).collect();
            let expected: &[i32] = if one.ticket_seq == 1 {
                &[500, 200]
            } else {
                &[200]
            };
            assert_eq!(statuses, expected);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seqs, [7, 6, 5, 4, 3, 2, 1]);
    request.state = WebhookDeliveryState::Failed.into();
    let failed = client
        .list_webhook_deliveries(request)
        .await
        .expect("a page");
    assert!(failed.into_inner().deliveries.is_empty());
    service.stop().await;
}
