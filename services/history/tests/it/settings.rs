//! What tenants set.

use plazo_proto::history::v1::{
    GetHistorySettingsRequest, HistorySettings, ListHistoryAgentsRequest, ListHistoryBotsRequest,
    SetAgentAccessRequest, SetAgentAccessResponse, SetBotHistoryRequest,
    UpdateHistorySettingsRequest,
};
use plazo_service::status::{reason_of, violations_of};
use plazo_service::{Actor, BotScope, Permission, Permissions};
use prost_types::{Duration, FieldMask};
use tonic::{Code, Request, Status};

use crate::feed::Feed;
use crate::rebuild::sql;
use crate::rows::run;
use crate::running::{Running, eventually, fresh_config, viewer};

const REQUEST_ID: &str = "0190a5c0-aaaa-7000-8000-00000000000f";

fn administrator(tenant_id: i64) -> Actor {
    Actor {
        permissions: Permissions::NONE
            .with(Permission::HelpdeskView)
            .with(Permission::HelpdeskEdit),
        ..viewer(tenant_id)
    }
}

async fn set_up() -> (Feed, Running) {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    run(&history.database, "DELETE FROM history_bots").await;
    (feed, history)
}

async fn bots(history: &Running, actor: &Actor, page_size: i32) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = actor.sign(Request::new(ListHistoryBotsRequest {
            page_size,
            page_token,
        }));
        let page = history.settings.clone().list_history_bots(request).await;
        let page = page.expect("the bots are listed").into_inner();
        assert!(page.bots.iter().all(|bot| bot.enable_time.is_some()));
        ids.extend(page.bots.iter().map(|bot| bot.bot_id));
        if page.next_page_token.is_empty() {
            return ids;
        }
        page_token = page.next_page_token;
    }
}

async fn agents(history: &Running, actor: &Actor) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = actor.sign(Request::new(ListHistoryAgentsRequest {
            page_size: 300,
            page_token,
        }));
        let page = history.settings.clone().list_history_agents(request).await;
        let page = page.expect("the agents are listed").into_inner();
        ids.extend(page.agents.iter().map(|agent| agent.agent_id));
        if page.next_page_token.is_empty() {
            return ids;
        }
        page_token = page.next_page_token;
    }
}

async fn switch(
    history: &Running,
    actor: &Actor,
    bot_id: i64,
    enabled: bool,
    request_id: &str,
) -> Result<bool, Status> {
    let request = actor.sign(Request::new(SetBotHistoryRequest {
        bot_id,
        enabled,
        request_id: request_id.to_owned(),
    }));
    let answer = history.settings.clone().set_bot_history(request).await?;
    let bot = answer.into_inner().bot.expect("the bot comes back");
    assert_eq!(bot.bot_id, bot_id);
    Ok(bot.enable_time.is_some())
}

async fn give(
    history: &Running,
    actor: &Actor,
    agent_ids: &[i64],
    granted: bool,
) -> Result<SetAgentAccessResponse, Status> {
    let request = actor.sign(Request::new(SetAgentAccessRequest {
        agent_ids: agent_ids.to_vec(),
        granted,
        request_id: String::new(),
    }));
    let answer = history.settings.clone().set_agent_access(request).await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn bots_are_switched_and_listed() {
    let (_feed, history) = set_up().await;
    let actor = administrator(1);
    for bot_id in [5, 3, 4, 3] {
        let on = switch(&history, &actor, bot_id, true, "").await;
        assert!(on.expect("it is switched"));
    }
    assert!(
        switch(&history, &administrator(2), 9, true, "")
            .await
            .expect("it is switched")
    );
    assert_eq!(bots(&history, &actor, 2).await, [3, 4, 5]);
    let of_some = Actor {
        bots: BotScope::Only(vec![3, 7]),
        ..administrator(1)
    };
    assert_eq!(bots(&history, &of_some, 0).await, [3]);
    for _ in 0..2 {
        let on = switch(&history, &of_some, 3, false, "").await;
        assert!(!on.expect("it is switched"));
    }
    assert_eq!(bots(&history, &actor, 0).await, [4, 5]);

    let status = switch(&history, &of_some, 4, false, "").await;
    let status = status.expect_err("it is not his");
    assert_eq!(reason_of(&status).as_deref(), Some("BOT_NOT_PERMITTED"));
    let status = switch(&history, &actor, 0, true, "").await;
    let status = status.expect_err("it is no bot");
    assert_eq!(violations_of(&status)[0].0, "bot_id");
}

#[tokio::test]
async fn a_thousand_agents_get_the_permission_in_one_call() {
    let (_feed, history) = set_up().await;
    let actor = administrator(1);
    let thousand: Vec<i64> = (1..=1_000).rev().collect();
    give(&history, &actor, &[7, 7, 2_000], true)
        .await
        .expect("it is given");
    let answer = give(&history, &actor, &thousand, true)
        .await
        .expect("it is given");
    let told: Vec<_> = answer
        .agents
        .iter()
        .map(|access| {
            let agent = access.agent.as_ref().expect("it is set");
            assert!(agent.grant_time.is_some());
            (agent.agent_id, access.changed)
        })
        .collect();
    let expected: Vec<_> = (1..=1_000).map(|id| (id, id != 7)).collect();
    assert_eq!(told, expected);
    let mut all: Vec<i64> = (1..=1_000).collect();
    all.push(2_000);
    assert_eq!(agents(&history, &actor).await, all);
    assert!(agents(&history, &administrator(2)).await.is_empty());

    let answer = give(&history, &actor, &[2_000, 3_000], false)
        .await
        .expect("it is taken");
    let told: Vec<_> = answer
        .agents
        .iter()
        .map(|access| (access.agent.expect("it is set").grant_time, access.changed))
        .collect();
    assert_eq!(told, [(None, true), (None, false)]);
    all.pop();
    assert_eq!(agents(&history, &actor).await, all);

    // All or nothing.
    let too_many: Vec<i64> = (1..=1_001).collect();
    for (ids, field) in [
        (&[1, 0, 2_000][..], "agent_ids[1]"),
        (&[], "agent_ids"),
        (&too_many, "agent_ids"),
    ] {
        let status = give(&history, &actor, ids, true).await;
        let status = status.expect_err("it is refused");
        assert_eq!(violations_of(&status)[0].0, field);
    }
    assert_eq!(agents(&history, &actor).await, all);
}

#[tokio::test]
async fn what_holds_for_all_bots_is_changed_by_those_who_may_use_all() {
    let (_feed, history) = set_up().await;
    let of_some = Actor {
        bots: BotScope::Only(vec![3]),
        ..administrator(1)
    };
    let viewer_alone = Actor {
        permissions: Permissions::NONE.with(Permission::HelpdeskView),
        ..viewer(1)
    };
    for (actor, reason) in [
        (of_some.clone(), "BOT_NOT_PERMITTED"),
        (viewer_alone, "PERMISSION_DENIED"),
    ] {
        let status = give(&history, &actor, &[7], true).await;
        let status = status.expect_err("it is refused");
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(reason_of(&status).as_deref(), Some(reason));
        let status = update(&history, &actor, HistorySettings::default(), &[], "").await;
        let status = status.expect_err("it is refused");
        assert_eq!(reason_of(&status).as_deref(), Some(reason));
    }
    // Agents of other bots don't exist for him.
    let request = of_some.sign(Request::new(ListHistoryAgentsRequest::default()));
    let status = history.settings.clone().list_history_agents(request).await;
    let status = status.expect_err("it is refused");
    assert_eq!(reason_of(&status).as_deref(), Some("BOT_NOT_PERMITTED"));
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer() {
    let (_feed, history) = set_up().await;
    let actor = administrator(1);
    let on = async |enabled| switch(&history, &actor, 3, enabled, REQUEST_ID).await;
    assert!(on(true).await.expect("it is switched"));
    let off = switch(&history, &actor, 3, false, "").await;
    assert!(!off.expect("it is switched"));
    // The answer is the first one, and nothing is changed.
    assert!(on(true).await.expect("it is answered"));
    assert!(bots(&history, &actor, 0).await.is_empty());
    let status = on(false).await.expect_err("it says something else");
    assert_eq!(reason_of(&status).as_deref(), Some("REQUEST_ID_REUSED"));
    // Another tenant's id is another id.
    let elsewhere = switch(&history, &administrator(2), 3, true, REQUEST_ID).await;
    assert!(elsewhere.expect("it is switched"));
    let status = switch(&history, &actor, 3, true, "7").await;
    let status = status.expect_err("it is no UUID");
    assert_eq!(violations_of(&status)[0].0, "request_id");
}

#[tokio::test]
async fn first_answers_are_forgotten_after_their_time_whoever_calls() {
    let feed = Feed::start().await;
    let mut config = fresh_config(&feed).await;
    config.requests.keep_hours = 2;
    let history = Running::start(config.clone()).await;
    for tenant_id in [1, 2] {
        let switched = switch(&history, &administrator(tenant_id), 3, true, REQUEST_ID).await;
        assert!(switched.expect("it is switched"));
    }
    history.stop().await;
    // Of many tenants that have not called since, and more than one statement takes.
    sql(
        &config,
        "UPDATE answered_requests SET answered_at = now() - make_interval(mins => CASE tenant_id WHEN 1 THEN 110 ELSE 121 END);
         INSERT INTO answered_requests (tenant_id, request_id, method, fingerprint, answer, answered_at)
         SELECT number % 7 + 3, gen_random_uuid(), 'SetBotHistory', '', '', now() - interval '3 hours'
         FROM generate_series(1, 12000) AS number",
    )
    .await;

    // Within one round: the next one is an hour away.
    let history = Running::start(config.clone()).await;
    let kept = "SELECT string_agg(tenant_id::text, ' ') FROM answered_requests";
    eventually("what is too old is forgotten", async || {
        (sql(&config, kept).await.trim() == "1").then_some(())
    })
    .await;
    let again =
        async |tenant_id| switch(&history, &administrator(tenant_id), 3, false, REQUEST_ID).await;
    let status = again(1).await.expect_err("it says something else");
    assert_eq!(reason_of(&status).as_deref(), Some("REQUEST_ID_REUSED"));
    assert!(!again(2).await.expect("it is switched"));
}

async fn update(
    history: &Running,
    actor: &Actor,
    settings: HistorySettings,
    paths: &[&str],
    request_id: &str,
) -> Result<HistorySettings, Status> {
    let request = actor.sign(Request::new(UpdateHistorySettingsRequest {
        settings: Some(settings),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        request_id: request_id.to_owned(),
    }));
    let answer = history
        .settings
        .clone()
        .update_history_settings(request)
        .await?;
    Ok(answer
        .into_inner()
        .settings
        .expect("the settings come back"))
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn settings_are_read_and_changed() {
    let (_feed, history) = set_up().await;
    let actor = administrator(1);
    let read = async || {
        let request = actor.sign(Request::new(GetHistorySettingsRequest {}));
        let answer = history.settings.clone().get_history_settings(request).await;
        answer.expect("the settings are read").into_inner()
    };
    let answer = read().await;
    let first = answer.settings.expect("they are set");
    assert_eq!((first.time_zone.as_str(), first.lookback), ("UTC", None));
    let defaults = answer.defaults.expect("they are set");
    assert_eq!(
        (defaults.lookback, defaults.show_delay),
        (seconds(7_776_000), seconds(10_800))
    );

    let new = HistorySettings {
        time_zone: "America/Sao_Paulo".to_owned(),
        lookback: seconds(3_600),
        show_delay: seconds(0),
        retention_days: 30,
        etag: first.etag.clone(),
    };
    let second = update(&history, &actor, new.clone(), &[], REQUEST_ID).await;
    let second = second.expect("they are changed");
    assert_ne!(second.etag, first.etag);
    let expected = HistorySettings {
        etag: second.etag.clone(),
        ..new.clone()
    };
    assert_eq!(second, expected);
    assert_eq!(read().await.settings, Some(second.clone()));
    // Repeated, it gets its first answer; as a new request its etag is too old.
    let again = update(&history, &actor, new.clone(), &[], REQUEST_ID).await;
    assert_eq!(again.expect("it is answered"), second);
    let status = update(&history, &actor, new, &[], "")
        .await
        .expect_err("the etag is old");
    assert_eq!(
        (status.code(), reason_of(&status).as_deref()),
        (Code::Aborted, Some("CHANGED"))
    );

    // Only what the mask names, and what is not set gets its default.
    let other = HistorySettings {
        time_zone: "Europe/Berlin".to_owned(),
        ..HistorySettings::default()
    };
    let third = update(&history, &actor, other, &["lookback", "retention_days"], "").await;
    let third = third.expect("they are changed");
    assert_eq!(
        (third.time_zone.as_str(), third.lookback),
        ("America/Sao_Paulo", None)
    );
    assert_eq!((third.show_delay, third.retention_days), (seconds(0), 0));
}

#[tokio::test]
async fn wrong_settings_are_refused_by_field() {
    let (_feed, history) = set_up().await;
    let actor = administrator(1);
    let zone = |name: &str| HistorySettings {
        time_zone: name.to_owned(),
        ..HistorySettings::default()
    };
    let lookback = |lookback| HistorySettings {
        lookback,
        ..HistorySettings::default()
    };
    let half = Some(Duration {
        seconds: 5,
        nanos: 500_000_000,
    });
    let delay = HistorySettings {
        show_delay: seconds(-1),
        ..HistorySettings::default()
    };
    let retention = HistorySettings {
        retention_days: 36_501,
        ..HistorySettings::default()
    };
    for (settings, path, field) in [
        (zone("Brasilia"), "time_zone", "settings.time_zone"),
        (zone("america/sao_paulo"), "time_zone", "settings.time_zone"),
        (zone("Etc/Unknown"), "time_zone", "settings.time_zone"),
        (lookback(seconds(0)), "lookback", "settings.lookback"),
        (lookback(half), "lookback", "settings.lookback"),
        (
            lookback(seconds(315_360_001)),
            "lookback",
            "settings.lookback",
        ),
        (delay, "show_delay", "settings.show_delay"),
        (retention, "retention_days", "settings.retention_days"),
        (zone("UTC"), "etag", "update_mask"),
    ] {
        let status = update(&history, &actor, settings, &[path], "").await;
        let status = status.expect_err("it is refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(violations_of(&status)[0].0, field);
    }
}
