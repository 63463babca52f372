//! Bots.

use plazo_proto::common::v1::{TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::automation_pause_settings::Mode;
use plazo_proto::ticketing::v1::{
    AutomationPauseSettings, Bot, CloseSource, CreateBotRequest, CreateQueueRequest, GetBotRequest,
    ListAgentsRequest, ListBotsRequest, Queue,
};
use tonic::Code;

use super::{no_bot, update_bot};
use crate::support::{Fixture, refusal, seconds, time_value, wrong_fields};

#[expect(clippy::unnecessary_wraps, reason = "messages have it so")]
fn pause_for(value: i32, unit: TimeUnit) -> Option<AutomationPauseSettings> {
    Some(AutomationPauseSettings {
        mode: Some(Mode::PauseFor(time_value(value, unit))),
    })
}

#[tokio::test]
async fn a_bot_has_defaults_and_keeps_the_unit_that_was_set() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot = administrator.create_bot("Vendas").await;
    assert_eq!(bot.reopen_window, Some(time_value(24, TimeUnit::Hour)));
    assert_eq!((&*bot.exit_route, bot.channel_account_id), ("", 0));
    assert_eq!(bot.automation_pause, pause_for(60, TimeUnit::Minute));
    assert_eq!(bot.max_hold, Some(time_value(24, TimeUnit::Hour)));
    assert_eq!(bot.late_reply_grace, seconds(60));
    assert!(bot.note_categories.is_empty() && bot.unassign_on_close.is_empty());
    assert_eq!((bot.note_required, bot.calendar_id), (false, 0));
    assert!(!bot.open_ticket_on_inbound);

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
        automation_pause: Some(AutomationPauseSettings {
            mode: Some(Mode::UntilCompleted(false)),
        }),
        note_categories: vec![
            "a".to_owned(),
            " ".to_owned(),
            "a".to_owned(),
            "b\n".to_owned(),
        ],
        note_required: true,
        unassign_on_close: vec![1, 9, 1, 0],
        max_hold: seconds(0),
        late_reply_grace: Some(time_value(401, TimeUnit::Day)),
        calendar_id: -1,
        open_ticket_on_inbound: true,
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
            "bot.exit_route",
            "bot.etag",
            "bot.name",
            "bot.channel_account_id",
            "bot.reopen_window.unit",
            "bot.reopen_window",
            "bot.max_hold",
            "bot.late_reply_grace",
            "bot.automation_pause.until_completed",
            "bot.note_categories[1]",
            "bot.note_categories[2]",
            "bot.note_categories[3]",
            "bot.unassign_on_close[1]",
            "bot.unassign_on_close[2]",
            "bot.unassign_on_close[3]",
            "bot.calendar_id",
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
    let mut limited = fixture.as_actor("administrator/2", permissions, &first.bot_id.to_string());
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

#[expect(clippy::too_many_lines, reason = "one field after the other")]
#[tokio::test]
async fn each_field_of_a_bot_is_read_back_as_it_was_set() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot = Bot {
        name: "Vendas".to_owned(),
        channel_account_id: 3,
        reopen_window: Some(time_value(2, TimeUnit::Day)),
        automation_pause: pause_for(3, TimeUnit::Hour),
        note_categories: vec!["b".to_owned(), "ñ".repeat(100)],
        note_required: true,
        unassign_on_close: vec![CloseSource::Workflow.into(), CloseSource::Agent.into()],
        max_hold: Some(time_value(90, TimeUnit::Minute)),
        late_reply_grace: seconds(5),
        open_ticket_on_inbound: true,
        ..Bot::default()
    };
    let request = CreateBotRequest {
        bot: Some(bot.clone()),
        request_id: String::new(),
    };
    let answer = administrator.settings.create_bot(request).await;
    let created = answer.expect("created").into_inner().bot.expect("the bot");
    let expected = Bot {
        bot_id: created.bot_id,
        etag: created.etag.clone(),
        ..bot
    };
    assert_eq!(created, expected);

    // One field by the mask leaves the others.
    let until_completed = Some(AutomationPauseSettings {
        mode: Some(Mode::UntilCompleted(true)),
    });
    let wanted = Bot {
        bot_id: created.bot_id,
        automation_pause: until_completed,
        ..Bot::default()
    };
    let request = update_bot(wanted, &["automation_pause"]);
    let answer = administrator.settings.update_bot(request).await;
    let changed = answer.expect("changed").into_inner().bot.expect("the bot");
    let expected = Bot {
        automation_pause: until_completed,
        etag: changed.etag.clone(),
        ..created.clone()
    };
    assert_eq!(changed, expected);
    let get = GetBotRequest {
        bot_id: created.bot_id,
    };
    let read = administrator.settings.get_bot(get).await;
    assert_eq!(read.expect("it exists").into_inner().bot, Some(expected));

    // Without a mask what is not set gets its default.
    let wanted = Bot {
        bot_id: created.bot_id,
        name: "Vendas".to_owned(),
        ..Bot::default()
    };
    let answer = administrator
        .settings
        .update_bot(update_bot(wanted, &[]))
        .await;
    let reset = answer.expect("changed").into_inner().bot.expect("the bot");
    assert_eq!(reset.automation_pause, pause_for(60, TimeUnit::Minute));
    assert!(reset.note_categories.is_empty() && !reset.note_required);
    assert!(!reset.open_ticket_on_inbound);

    for (field, spoilt) in [
        (
            "bot.automation_pause",
            Bot {
                automation_pause: Some(AutomationPauseSettings { mode: None }),
                ..changed.clone()
            },
        ),
        (
            "bot.note_categories",
            Bot {
                note_categories: (0..201).map(|number| number.to_string()).collect(),
                ..changed.clone()
            },
        ),
        (
            "bot.note_categories[1]",
            Bot {
                note_categories: vec!["a".to_owned(), "x".repeat(101)],
                ..changed.clone()
            },
        ),
        (
            "bot.calendar_id",
            Bot {
                calendar_id: 1_000_000,
                ..changed.clone()
            },
        ),
    ] {
        let spoilt = Bot {
            etag: String::new(),
            ..spoilt
        };
        let answer = administrator
            .settings
            .update_bot(update_bot(spoilt, &[]))
            .await;
        assert_eq!(wrong_fields(answer), [field]);
    }
}
