//! Bots, queues and agents.

mod policies;

use plazo_proto::common::v1::{TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::{
    Agent, Bot, CreateAgentRequest, CreateBotRequest, CreateQueueRequest, GetAgentRequest,
    GetBotRequest, ListAgentsRequest, ListBotsRequest, ListQueuesRequest, Queue,
    UpdateAgentRequest, UpdateBotRequest,
};
use prost_types::FieldMask;
use tonic::Code;

use crate::support::{Clients, Fixture, refusal, request_id, time_value, wrong_fields};

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

fn update_agent(agent: Agent, paths: &[&str]) -> UpdateAgentRequest {
    UpdateAgentRequest {
        agent: Some(agent),
        update_mask: mask(paths),
        request_id: String::new(),
    }
}

async fn create_agent(clients: &mut Clients, name: &str, bot_ids: &[i64]) -> Agent {
    let agent = Agent {
        name: name.to_owned(),
        bot_ids: bot_ids.to_vec(),
        ..Agent::default()
    };
    let request = CreateAgentRequest {
        agent: Some(agent),
        request_id: String::new(),
    };
    let answer = clients
        .settings
        .create_agent(request)
        .await
        .expect("an agent is created");
    answer.into_inner().agent.expect("the agent")
}

async fn get_agent(clients: &mut Clients, agent_id: i64) -> Agent {
    let answer = clients
        .settings
        .get_agent(GetAgentRequest { agent_id })
        .await;
    answer
        .expect("the agent exists")
        .into_inner()
        .agent
        .expect("the agent")
}

#[tokio::test]
async fn a_bot_has_defaults_and_keeps_the_unit_that_was_set() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot = administrator.create_bot("Vendas").await;
    assert_eq!(bot.reopen_window, Some(time_value(24, TimeUnit::Hour)));
    assert_eq!((&*bot.exit_route, bot.channel_account_id), ("", 0));

    let window = Some(time_value(90, TimeUnit::Minute));
    let wanted = Bot {
        name: "Compras".to_owned(),
        reopen_window: window,
        ..bot.clone()
    };
    let request = update_bot(wanted, &["reopen_window"]);
    let answer = administrator
        .settings
        .update_bot(request)
        .await
        .expect("changed");
    let after = answer.into_inner().bot.expect("the bot");
    assert_eq!((&*after.name, after.reopen_window), ("Vendas", window));

    let read = administrator
        .settings
        .get_bot(GetBotRequest { bot_id: bot.bot_id })
        .await;
    assert_eq!(
        read.expect("it exists").into_inner().bot.as_ref(),
        Some(&after)
    );
    let stale = administrator
        .settings
        .update_bot(update_bot(bot, &[]))
        .await;
    assert_eq!(refusal(stale), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
}

#[tokio::test]
async fn wrong_fields_of_a_bot_are_named_at_once_and_nothing_is_changed() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot = Bot {
        bot_id: 5,
        name: " ".to_owned(),
        exit_route: "block".to_owned(),
        channel_account_id: -1,
        reopen_window: Some(TimeValue { value: -3, unit: 9 }),
        etag: "1".to_owned(),
    };
    let request = CreateBotRequest {
        bot: Some(bot),
        request_id: "no".to_owned(),
    };
    assert_eq!(
        wrong_fields(administrator.settings.create_bot(request).await),
        [
            "request_id",
            "bot.bot_id",
            "bot.name",
            "bot.exit_route",
            "bot.channel_account_id",
            "bot.reopen_window.unit",
            "bot.reopen_window",
            "bot.etag",
        ]
    );
    let bot = administrator.create_bot("Vendas").await;
    let wanted = Bot {
        name: "x".repeat(201),
        channel_account_id: -1,
        ..bot.clone()
    };
    let answer = administrator
        .settings
        .update_bot(update_bot(wanted, &["name", "etag"]))
        .await;
    assert_eq!(wrong_fields(answer), ["update_mask", "bot.name"]);
    let read = administrator
        .settings
        .get_bot(GetBotRequest { bot_id: bot.bot_id })
        .await;
    assert_eq!(read.expect("it exists").into_inner().bot, Some(bot));
}

#[tokio::test]
async fn bots_out_of_reach_do_not_exist() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let first = administrator.create_bot("one").await;
    let second = administrator.create_bot("two").await;
    let foreign = fixture.administrator_of(8).create_bot("three").await;

    let permissions = "helpdesk:view,helpdesk:edit";
    let mut limited = fixture.as_actor("agent/1", permissions, &first.bot_id.to_string());
    for bot_id in [second.bot_id, foreign.bot_id, 1_000_000] {
        let answer = limited.settings.get_bot(GetBotRequest { bot_id }).await;
        assert_eq!(refusal(answer), no_bot());
        let wanted = Bot {
            bot_id,
            name: "mine".to_owned(),
            ..Bot::default()
        };
        let answer = limited
            .settings
            .update_bot(update_bot(wanted, &["name"]))
            .await;
        assert_eq!(refusal(answer), no_bot());
        let queue = Queue {
            bot_id,
            name: "q".to_owned(),
            ..Queue::default()
        };
        let request = CreateQueueRequest {
            queue: Some(queue),
            request_id: String::new(),
        };
        assert_eq!(
            refusal(limited.settings.create_queue(request).await),
            no_bot()
        );
    }
    let answer = administrator
        .settings
        .get_bot(GetBotRequest {
            bot_id: foreign.bot_id,
        })
        .await;
    assert_eq!(refusal(answer), no_bot());
    let listed = limited
        .settings
        .list_bots(ListBotsRequest::default())
        .await
        .expect("a page");
    assert_eq!(listed.into_inner().bots, [first]);

    let bot = Some(Bot {
        name: "new".to_owned(),
        ..Bot::default()
    });
    let request = CreateBotRequest {
        bot,
        request_id: String::new(),
    };
    let answer = limited.settings.create_bot(request).await;
    assert_eq!(
        refusal(answer),
        (Code::PermissionDenied, "BOT_NOT_PERMITTED".to_owned())
    );
}

#[tokio::test]
async fn reading_and_changing_need_their_permissions() {
    let fixture = Fixture::start().await;
    let mut viewer = fixture.as_actor("agent/1", "helpdesk:view", "*");
    let mut editor = fixture.as_actor("agent/1", "helpdesk:edit", "*");
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
async fn bots_come_in_pages() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let mut created = Vec::new();
    for number in 0..5 {
        created.push(administrator.create_bot(&format!("bot {number}")).await);
    }
    let mut listed = Vec::new();
    let mut sizes = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListBotsRequest {
            page_size: 2,
            page_token,
        };
        let page = administrator
            .settings
            .list_bots(request)
            .await
            .expect("a page")
            .into_inner();
        sizes.push(page.bots.len());
        listed.extend(page.bots);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((listed, sizes), (created, vec![2, 2, 1]));

    let request = ListBotsRequest {
        page_size: -1,
        page_token: String::new(),
    };
    assert_eq!(
        wrong_fields(administrator.settings.list_bots(request).await),
        ["page_size"]
    );
    let request = ListBotsRequest {
        page_size: 2,
        page_token: String::new(),
    };
    let page = administrator
        .settings
        .list_bots(request)
        .await
        .expect("a page")
        .into_inner();
    let request = ListAgentsRequest {
        page_size: 2,
        page_token: page.next_page_token,
    };
    let answer = administrator.settings.list_agents(request).await;
    assert_eq!(
        refusal(answer),
        (Code::InvalidArgument, "PAGE_TOKEN_INVALID".to_owned())
    );
}

#[tokio::test]
async fn queue_names_are_unique_in_a_bot() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_ids = [
        administrator.create_bot("one").await.bot_id,
        administrator.create_bot("two").await.bot_id,
    ];
    for bot_id in bot_ids {
        let queue = Queue {
            bot_id,
            name: "Suporte".to_owned(),
            ..Queue::default()
        };
        let request = CreateQueueRequest {
            queue: Some(queue.clone()),
            request_id: String::new(),
        };
        let answer = administrator
            .settings
            .create_queue(request.clone())
            .await
            .expect("created");
        let created = answer.into_inner().queue.expect("the queue");
        assert_eq!(
            created,
            Queue {
                queue_id: created.queue_id,
                ..queue
            }
        );
        let again = administrator.settings.create_queue(request).await;
        assert_eq!(
            refusal(again),
            (Code::AlreadyExists, "QUEUE_EXISTS".to_owned())
        );

        let request = ListQueuesRequest {
            bot_id,
            ..ListQueuesRequest::default()
        };
        let page = administrator
            .settings
            .list_queues(request)
            .await
            .expect("a page");
        assert_eq!(page.into_inner().queues, [created]);
    }
    let queue = Queue {
        queue_id: 1,
        bot_id: -1,
        name: String::new(),
    };
    let request = CreateQueueRequest {
        queue: Some(queue),
        request_id: String::new(),
    };
    let answer = administrator.settings.create_queue(request).await;
    assert_eq!(
        wrong_fields(answer),
        ["queue.queue_id", "queue.bot_id", "queue.name"]
    );
}

#[tokio::test]
async fn agents_are_seen_and_changed_within_the_permitted_bots() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let first = administrator.create_bot("one").await.bot_id;
    let second = administrator.create_bot("two").await.bot_id;
    let both = create_agent(&mut administrator, "Ana", &[second, first, second]).await;
    assert_eq!(both.bot_ids, [first, second], "sorted, each once");
    let other = create_agent(&mut administrator, "Bia", &[second]).await;

    let permissions = "helpdesk:view,helpdesk:edit";
    let mut limited = fixture.as_actor("agent/1", permissions, &first.to_string());
    assert_eq!(
        get_agent(&mut limited, both.agent_id).await.bot_ids,
        [first]
    );
    let answer = limited
        .settings
        .get_agent(GetAgentRequest {
            agent_id: other.agent_id,
        })
        .await;
    assert_eq!(
        refusal(answer),
        (Code::NotFound, "AGENT_NOT_FOUND".to_owned())
    );
    let answer = limited
        .settings
        .update_agent(update_agent(other, &["away"]))
        .await;
    assert_eq!(
        refusal(answer),
        (Code::NotFound, "AGENT_NOT_FOUND".to_owned())
    );
    let page = limited
        .settings
        .list_agents(ListAgentsRequest::default())
        .await
        .expect("a page");
    let seen: Vec<_> = page
        .into_inner()
        .agents
        .into_iter()
        .map(|agent| agent.agent_id)
        .collect();
    assert_eq!(seen, [both.agent_id]);

    for bot_ids in [vec![second], vec![first, 1_000_000]] {
        let wanted = Agent {
            bot_ids,
            ..both.clone()
        };
        let answer = limited
            .settings
            .update_agent(update_agent(wanted, &["bot_ids"]))
            .await;
        assert_eq!(wrong_fields(answer), ["agent.bot_ids"]);
    }
    let nobody = Agent {
        name: "Caio".to_owned(),
        ..Agent::default()
    };
    let request = CreateAgentRequest {
        agent: Some(nobody),
        request_id: String::new(),
    };
    assert_eq!(
        wrong_fields(limited.settings.create_agent(request).await),
        ["agent.bot_ids"]
    );

    let wanted = Agent {
        bot_ids: vec![],
        away: true,
        ..both.clone()
    };
    let answer = limited
        .settings
        .update_agent(update_agent(wanted, &["bot_ids", "away"]))
        .await;
    let seen = answer
        .expect("changed")
        .into_inner()
        .agent
        .expect("the agent");
    assert!(seen.bot_ids.is_empty());
    let after = get_agent(&mut administrator, both.agent_id).await;
    assert_eq!(
        (after.bot_ids, after.away),
        (vec![second], true),
        "the other bot is untouched"
    );
}

#[tokio::test]
async fn an_agent_is_changed_by_mask_and_etag() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let before = create_agent(&mut administrator, "Ana", &[]).await;
    let wanted = Agent {
        name: "Bia".to_owned(),
        away: true,
        ..before.clone()
    };
    let request = update_agent(wanted.clone(), &["away"]);
    let answer = administrator
        .settings
        .update_agent(request)
        .await
        .expect("changed");
    let after = answer.into_inner().agent.expect("the agent");
    assert_eq!((&*after.name, after.away), ("Ana", true));
    let stale = administrator
        .settings
        .update_agent(update_agent(wanted, &["name"]))
        .await;
    assert_eq!(refusal(stale), (Code::Aborted, "ETAG_MISMATCH".to_owned()));

    let wrong = Agent {
        agent_id: 0,
        name: "\u{1b}".to_owned(),
        bot_ids: vec![0; 1_001],
        ..after
    };
    let answer = administrator
        .settings
        .update_agent(update_agent(wrong, &[]))
        .await;
    let expected = [
        "agent.agent_id",
        "agent.name",
        "agent.bot_ids",
        "agent.bot_ids",
    ];
    assert_eq!(wrong_fields(answer), expected);
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
