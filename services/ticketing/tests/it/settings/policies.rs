//! The inactivity policy of a bot, and its exit route.

use plazo_proto::common::v1::{TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::{
    AlertSettings, Anchor, AutoCloseSettings, Calendar, ClosingNote, GetInactivityPolicyRequest,
    InactivityPolicy, PreviewSettingsRequest, SetExitRouteRequest, SetInactivityPolicyRequest,
    WarningSettings,
};
use plazo_ticketing::store::settings::PolicyCache;
use tonic::{Code, Response, Status};

use crate::support::{
    Clients, Fixture, TENANT, refusal, request_id, seconds, time_value, wrong_fields,
};

fn alerts() -> InactivityPolicy {
    InactivityPolicy {
        anchor: Anchor::LastMessage.into(),
        alerts: Some(AlertSettings {
            first_alert: seconds(10),
            second_alert: seconds(20),
        }),
        ..InactivityPolicy::default()
    }
}

fn everything() -> InactivityPolicy {
    InactivityPolicy {
        version: 0,
        anchor: Anchor::FirstMessage.into(),
        alerts: Some(AlertSettings {
            first_alert: Some(time_value(90, TimeUnit::Minute)),
            second_alert: Some(time_value(2, TimeUnit::Hour)),
        }),
        auto_close: Some(AutoCloseSettings {
            close_after: Some(time_value(1, TimeUnit::Day)),
            tags: vec!["inactive".to_owned(), "auto".to_owned()],
            note: Some(ClosingNote {
                category: "silence".to_owned(),
                summary: "a\nb".to_owned(),
            }),
            closing_text: "Bye, {{contact_name}}".to_owned(),
            only_after_first_agent_message: Some(false),
            close_while_customer_waits: true,
            exclude_tags: vec!["vip".to_owned()],
            close_needs_delivery: true,
            max_delivery_wait: Some(time_value(90, TimeUnit::Second)),
        }),
        warning: Some(WarningSettings {
            warn_after: Some(time_value(86_000, TimeUnit::Second)),
            text: "{{contact_name}}, we close in {{time_left}}".to_owned(),
            image_url: "https://example.com/clock.png".to_owned(),
        }),
        agent_alerts: Some(AlertSettings {
            first_alert: Some(time_value(5, TimeUnit::Minute)),
            second_alert: Some(time_value(1, TimeUnit::Hour)),
        }),
        business_time: false,
        calendar: None,
    }
}

fn closing() -> InactivityPolicy {
    let auto_close = AutoCloseSettings {
        close_after: seconds(30),
        ..AutoCloseSettings::default()
    };
    InactivityPolicy {
        auto_close: Some(auto_close),
        ..alerts()
    }
}

fn request(bot_id: i64, policy: InactivityPolicy) -> SetInactivityPolicyRequest {
    SetInactivityPolicyRequest {
        bot_id,
        policy: Some(policy),
        ..Default::default()
    }
}

async fn set(clients: &mut Clients, bot_id: i64, policy: InactivityPolicy) -> InactivityPolicy {
    let answer = clients
        .settings
        .set_inactivity_policy(request(bot_id, policy))
        .await;
    answer
        .expect("the policy is right")
        .into_inner()
        .policy
        .expect("the policy")
}

async fn get(clients: &mut Clients, bot_id: i64) -> InactivityPolicy {
    let request = GetInactivityPolicyRequest {
        bot_id,
        queue_id: 0,
    };
    let answer = clients.settings.get_inactivity_policy(request).await;
    answer
        .expect("the bot exists")
        .into_inner()
        .policy
        .expect("the policy")
}

async fn set_exit_route(
    clients: &mut Clients,
    bot_id: i64,
    exit_route: &str,
) -> Result<(), Status> {
    let exit_route = exit_route.to_owned();
    let request = SetExitRouteRequest {
        bot_id,
        exit_route,
        ..Default::default()
    };
    clients
        .settings
        .set_exit_route(request)
        .await
        .map(|_: Response<_>| ())
}

#[tokio::test]
async fn a_policy_is_read_back_as_it_was_set() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_id = administrator.create_bot("bot").await.bot_id;
    assert_eq!(
        get(&mut administrator, bot_id).await,
        InactivityPolicy::default()
    );

    set_exit_route(&mut administrator, bot_id, "goodbye")
        .await
        .expect("an exit route");
    let first = set(&mut administrator, bot_id, everything()).await;
    assert!(first.version > 0);
    assert_eq!(
        first,
        InactivityPolicy {
            version: first.version,
            ..everything()
        }
    );
    assert_eq!(get(&mut administrator, bot_id).await, first);

    let off = set(&mut administrator, bot_id, InactivityPolicy::default()).await;
    assert!(off.version > first.version);
    let anchor = Anchor::LastMessage.into();
    let expected = InactivityPolicy {
        version: off.version,
        anchor,
        ..Default::default()
    };
    assert_eq!(get(&mut administrator, bot_id).await, expected);
}

#[tokio::test]
async fn everything_wrong_with_a_policy_is_named_at_once_and_nothing_is_changed() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_id = administrator.create_bot("bot").await.bot_id;
    let before = set(&mut administrator, bot_id, alerts()).await;
    let wrong = InactivityPolicy {
        version: 0,
        anchor: 3,
        alerts: Some(AlertSettings {
            first_alert: Some(TimeValue { value: 0, unit: 1 }),
            second_alert: seconds(40),
        }),
        auto_close: Some(AutoCloseSettings {
            close_after: seconds(30),
            tags: vec![String::new()],
            note: None,
            closing_text: "{{time_left}}".to_owned(),
            max_delivery_wait: seconds(1),
            ..AutoCloseSettings::default()
        }),
        warning: Some(WarningSettings {
            warn_after: Some(TimeValue { value: 1, unit: 0 }),
            text: "{{nobody}}".to_owned(),
            image_url: "http://example.com".to_owned(),
        }),
        agent_alerts: Some(AlertSettings {
            first_alert: seconds(3),
            second_alert: seconds(3),
        }),
        business_time: true,
        calendar: None,
    };
    let answer = administrator
        .settings
        .set_inactivity_policy(request(bot_id, wrong.clone()))
        .await;
    let expected = [
        "policy.anchor",
        "policy.alerts.first_alert",
        "policy.auto_close.max_delivery_wait",
        "policy.warning.warn_after.unit",
        "policy.business_time",
        "policy.alerts.second_alert",
        "policy.auto_close",
        "policy.auto_close.tags[0]",
        "policy.auto_close.closing_text",
        "policy.warning.text",
        "policy.warning.image_url",
        "policy.agent_alerts.first_alert",
    ];
    assert_eq!(wrong_fields(answer), expected);

    let more = SetInactivityPolicyRequest {
        bot_id: 0,
        policy: Some(InactivityPolicy {
            version: 4,
            calendar: Some(Calendar::default()),
            ..wrong
        }),
        replaces_version: -1,
        request_id: "x".to_owned(),
        ..Default::default()
    };
    let found = wrong_fields(administrator.settings.set_inactivity_policy(more).await);
    assert_eq!(
        found[..5],
        [
            "request_id",
            "bot_id",
            "replaces_version",
            "policy.version",
            "policy.calendar"
        ]
    );
    assert!(
        found.contains(&"policy.anchor".to_owned()) && found.len() == 15,
        "{found:?}"
    );
    let nothing = SetInactivityPolicyRequest {
        bot_id,
        ..Default::default()
    };
    let answer = administrator.settings.set_inactivity_policy(nothing).await;
    assert_eq!(wrong_fields(answer), ["policy"]);
    assert_eq!(get(&mut administrator, bot_id).await, before);
}

#[tokio::test]
async fn missing_times_are_named_and_nothing_else() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_id = administrator.create_bot("bot").await.bot_id;
    set_exit_route(&mut administrator, bot_id, "goodbye")
        .await
        .expect("an exit route");
    let mut wrong = everything();
    wrong.alerts = Some(AlertSettings::default());
    wrong.auto_close.as_mut().expect("it closes").close_after = None;
    wrong.warning.as_mut().expect("it warns").warn_after = None;
    let answer = administrator
        .settings
        .set_inactivity_policy(request(bot_id, wrong))
        .await;
    let expected = [
        "policy.alerts.first_alert",
        "policy.alerts.second_alert",
        "policy.auto_close.close_after",
        "policy.warning.warn_after",
    ];
    assert_eq!(wrong_fields(answer), expected);
}

#[tokio::test]
async fn a_policy_replaces_the_version_that_the_caller_has_seen() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_id = administrator.create_bot("bot").await.bot_id;
    let never_set = SetInactivityPolicyRequest {
        replaces_version: 1,
        ..request(bot_id, alerts())
    };
    let answer = administrator
        .settings
        .set_inactivity_policy(never_set)
        .await;
    assert_eq!(refusal(answer), (Code::Aborted, "ETAG_MISMATCH".to_owned()));

    let first = set(&mut administrator, bot_id, alerts()).await;
    let replacing = SetInactivityPolicyRequest {
        replaces_version: first.version,
        request_id: request_id(),
        ..request(bot_id, alerts())
    };
    let answer = administrator
        .settings
        .set_inactivity_policy(replacing.clone())
        .await;
    let second = answer.expect("the version in force").into_inner();
    let again = administrator
        .settings
        .set_inactivity_policy(replacing.clone())
        .await;
    assert_eq!(again.expect("repeated").into_inner(), second);
    let anew = SetInactivityPolicyRequest {
        request_id: String::new(),
        ..replacing
    };
    let answer = administrator.settings.set_inactivity_policy(anew).await;
    assert_eq!(refusal(answer), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    assert_eq!(Some(get(&mut administrator, bot_id).await), second.policy);
}

#[tokio::test]
async fn an_exit_route_stays_while_the_policy_needs_it() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_id = administrator.create_bot("bot").await.bot_id;
    let answer = administrator
        .settings
        .set_inactivity_policy(request(bot_id, closing()))
        .await;
    assert_eq!(wrong_fields(answer), ["policy.auto_close"]);

    set_exit_route(&mut administrator, bot_id, "goodbye")
        .await
        .expect("an exit route");
    set(&mut administrator, bot_id, closing()).await;
    let removed = set_exit_route(&mut administrator, bot_id, "").await;
    assert_eq!(
        refusal(removed),
        (Code::FailedPrecondition, "EXIT_ROUTE_IN_USE".to_owned())
    );
    set_exit_route(&mut administrator, bot_id, "elsewhere")
        .await
        .expect("another exit route");
    set(&mut administrator, bot_id, alerts()).await;
    set_exit_route(&mut administrator, bot_id, "")
        .await
        .expect("nothing needs it any more");

    for exit_route in [" ", "a\nb", &"x".repeat(201)] {
        let answer = set_exit_route(&mut administrator, bot_id, exit_route).await;
        assert_eq!(wrong_fields(answer), ["exit_route"]);
    }
    let mut editor = fixture.as_actor("administrator/2", "helpdesk:edit", "*");
    let answer = set_exit_route(&mut editor, bot_id, "x").await;
    assert_eq!(
        refusal(answer),
        (Code::PermissionDenied, "PERMISSION_DENIED".to_owned())
    );
}

/// Whatever comes first: never both a policy that closes and no exit route.
#[tokio::test]
async fn removing_the_exit_route_and_closing_automatically_cannot_cross() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_id = administrator.create_bot("bot").await.bot_id;
    for _ in 0..20 {
        set(&mut administrator, bot_id, alerts()).await;
        set_exit_route(&mut administrator, bot_id, "goodbye")
            .await
            .expect("an exit route");
        let (mut one, mut other) = (administrator.clone(), administrator.clone());
        let (policy, removal) = tokio::join!(
            one.settings
                .set_inactivity_policy(request(bot_id, closing())),
            set_exit_route(&mut other, bot_id, ""),
        );
        assert_ne!(policy.is_ok(), removal.is_ok(), "one of the two is refused");
    }
}

#[tokio::test]
async fn policies_of_many_tickets_come_from_memory_or_one_query() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_id = administrator.create_bot("bot").await.bot_id;
    let first = set(&mut administrator, bot_id, alerts()).await.version;
    let second = set(&mut administrator, bot_id, InactivityPolicy::default())
        .await
        .version;
    let mut connection = fixture.pool.acquire().await.expect("a connection");

    let cache = PolicyCache::new();
    let wanted = [
        (TENANT, first),
        (TENANT, second),
        (TENANT, first),
        (8, first),
        (TENANT, 999),
    ];
    let found = cache
        .policies(&mut connection, &wanted)
        .await
        .expect("a query");
    let mut keys: Vec<_> = found.keys().copied().collect();
    keys.sort_unstable();
    assert_eq!(keys, [(TENANT, first), (TENANT, second)]);
    assert!(found[&(TENANT, first)].alerts.is_some() && found[&(TENANT, second)].alerts.is_none());
    assert!(cache.policy(&mut connection, 8, first).await.is_err());

    connection.close().await.expect("a connection");
    let mut closed = fixture.pool.acquire().await.expect("a connection");
    sqlx::raw_sql("ALTER TABLE inactivity_policies RENAME TO elsewhere")
        .execute(&mut *closed)
        .await
        .expect("the table is gone");
    let found = cache
        .policies(&mut closed, &wanted[..3])
        .await
        .expect("no query");
    assert_eq!(found.len(), 2);
    assert!(
        cache.policies(&mut closed, &wanted).await.is_err(),
        "the others are not in memory"
    );
}

#[tokio::test]
async fn bots_out_of_reach_have_no_policy() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_id = administrator.create_bot("bot").await.bot_id;
    let permissions = "helpdesk:view,helpdesk:edit,builder:edit";
    let no_bot = (Code::NotFound, "BOT_NOT_FOUND".to_owned());
    for mut outsider in [
        fixture.as_actor("administrator/2", permissions, "1000000"),
        fixture.as_actor_of(8, "administrator/1", permissions, "*"),
    ] {
        let get = GetInactivityPolicyRequest {
            bot_id,
            queue_id: 0,
        };
        assert_eq!(
            refusal(outsider.settings.get_inactivity_policy(get).await),
            no_bot
        );
        let set = request(bot_id, alerts());
        assert_eq!(
            refusal(outsider.settings.set_inactivity_policy(set).await),
            no_bot
        );
        assert_eq!(
            refusal(set_exit_route(&mut outsider, bot_id, "x").await),
            no_bot
        );
        let preview = PreviewSettingsRequest {
            bot_id,
            policy: Some(alerts()),
            queue_id: 0,
        };
        assert_eq!(
            refusal(outsider.settings.preview_settings(preview).await),
            no_bot
        );
    }
}
