//! What is refused, and that nothing shows across tenants and bots.

use plazo_proto::notification::v1::{
    ActiveMessageState as State, CancelActiveMessageRequest, CreateChannelAccountRequest,
    GetActiveMessageRequest, ListActiveMessagesRequest, ListChannelAccountsRequest,
    ResendActiveMessageRequest, ResolveActiveMessageRequest, SendActiveMessagesRequest,
    SendOutcome, SetChannelAccountEnabledRequest,
};
use plazo_service::{Actor, ActorKind, BotScope, Permissions, status};
use tonic::{Code, Status};

use crate::support::{BOT, TENANT, World, account, administrator, warning};

fn fields(error: &Status) -> Vec<String> {
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    status::violations_of(error)
        .into_iter()
        .map(|(field, _)| field)
        .collect()
}

#[tokio::test]
async fn messages_are_judged_one_by_one() {
    let world = World::new().await;
    let service = world.start().await;
    let mut no_tenant = warning(1, 1);
    no_tenant.tenant_id = 0;
    let mut bad_text = warning(2, 1);
    bad_text.text = "\u{0}".to_owned();
    let mut no_address = warning(3, 1);
    no_address.recipient.get_or_insert_default().address.clear();
    let results = service
        .api
        .send(vec![no_tenant, warning(4, 1), bad_text, no_address])
        .await;
    let seen: Vec<_> = results
        .iter()
        .map(|one| (one.outcome(), one.invalid_field.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (SendOutcome::Invalid, "tenant_id"),
            (SendOutcome::Accepted, ""),
            (SendOutcome::Invalid, "text"),
            (SendOutcome::Invalid, "recipient.address"),
        ]
    );
    assert!(results[0].message_id == 0 && results[0].accept_time.is_none());

    let mut client = service.api.messages(Actor::service("timer"));
    for count in [0, 501] {
        let messages = vec![warning(1, 1); count];
        let error = client
            .send_active_messages(SendActiveMessagesRequest { messages })
            .await;
        assert_eq!(
            fields(&error.expect_err("too few or too many")),
            ["messages"]
        );
    }
    let mut of_a_tenant = Actor::service("timer");
    of_a_tenant.tenant_id = TENANT + 1;
    let request = SendActiveMessagesRequest {
        messages: vec![warning(9, 1)],
    };
    let answer = service
        .api
        .messages(of_a_tenant)
        .send_active_messages(request)
        .await;
    let results = answer.expect("the call is good").into_inner().results;
    assert_eq!(results[0].invalid_field, "tenant_id");
    assert_eq!(world.count("SELECT count(*) FROM active_messages").await, 1);
    service.stop().await;
}

#[tokio::test]
async fn lists_page_and_filter_and_their_tokens_are_bound() {
    let world = World::new().await;
    let service = world.start().await;
    let messages: Vec<_> = (1..=7).map(|ticket| warning(ticket, 1)).collect();
    let sent = service.api.send(messages).await;
    for one in &sent {
        service.api.until(one.message_id, State::Delivered).await;
    }
    let mut client = service.api.messages(administrator());
    let mut request = ListActiveMessagesRequest {
        states: vec![State::Delivered.into()],
        page_size: 3,
        ..ListActiveMessagesRequest::default()
    };
    let mut seen = Vec::new();
    let mut second_page = String::new();
    loop {
        let page = client
            .list_active_messages(request.clone())
            .await
            .expect("a page")
            .into_inner();
        seen.extend(page.messages.iter().map(|one| one.message_id));
        assert!(page.messages.iter().all(|one| one.attempts.is_empty()));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        if second_page.is_empty() {
            second_page.clone_from(&request.page_token);
        }
    }
    let mut expected: Vec<_> = sent.iter().map(|one| one.message_id).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(seen, expected);

    let with = |change: fn(&mut ListActiveMessagesRequest)| {
        let mut request = ListActiveMessagesRequest::default();
        change(&mut request);
        request
    };
    let other_filter = ListActiveMessagesRequest {
        page_token: second_page,
        ticket_id: 1,
        ..ListActiveMessagesRequest::default()
    };
    for (request, field) in [
        (other_filter, "page_token"),
        (with(|r| r.page_token = "nonsense".to_owned()), "page_token"),
        (with(|r| r.page_size = -1), "page_size"),
        (with(|r| r.states = vec![1, 0]), "states[1]"),
        (with(|r| r.states = vec![99]), "states[0]"),
        (with(|r| r.ticket_id = -1), "ticket_id"),
        (with(|r| r.bot_id = -1), "bot_id"),
    ] {
        let error = client.list_active_messages(request).await.expect_err(field);
        assert_eq!(fields(&error), [field]);
    }
    let one_ticket = with(|r| r.ticket_id = 4);
    let page = client
        .list_active_messages(one_ticket)
        .await
        .expect("a page")
        .into_inner();
    assert_eq!(page.messages.len(), 1);
    let failed = with(|r| r.states = vec![State::Failed.into()]);
    let page = client
        .list_active_messages(failed)
        .await
        .expect("a page")
        .into_inner();
    assert_eq!(page.messages, []);
    service.stop().await;
}

#[tokio::test]
async fn nothing_shows_across_tenants_and_bots() {
    let world = World::new().await;
    let service = world.start().await;
    let sent = service.api.send_one(warning(1, 1)).await;
    service.api.until(sent.message_id, State::Delivered).await;
    let (account_id, _) = service.api.create_account("http://127.0.0.1:9/hook").await;
    let stranger = Actor {
        tenant_id: TENANT + 1,
        ..administrator()
    };
    let other_bot = Actor {
        bots: BotScope::Only(vec![BOT + 1]),
        ..administrator()
    };

    for actor in [&stranger, &other_bot] {
        let mut client = service.api.messages(actor.clone());
        let get = GetActiveMessageRequest {
            message_id: sent.message_id,
        };
        let error = client
            .get_active_message(get)
            .await
            .expect_err("out of reach");
        assert_eq!(error.code(), Code::NotFound);
        let there = (error.code(), status::reason_of(&error));
        let missing = GetActiveMessageRequest {
            message_id: 999_999_999,
        };
        let error = client
            .get_active_message(missing)
            .await
            .expect_err("missing");
        assert_eq!((error.code(), status::reason_of(&error)), there);
        let resend = ResendActiveMessageRequest {
            message_id: sent.message_id,
            request_id: String::new(),
        };
        let error = client
            .resend_active_message(resend)
            .await
            .expect_err("out of reach");
        assert_eq!(error.code(), Code::NotFound);
        let list = client
            .list_active_messages(ListActiveMessagesRequest::default())
            .await;
        assert_eq!(list.expect("a page").into_inner().messages, []);
    }
    let list = ListActiveMessagesRequest {
        bot_id: BOT,
        ..ListActiveMessagesRequest::default()
    };
    let error = service
        .api
        .messages(other_bot)
        .list_active_messages(list)
        .await;
    assert_eq!(
        error.expect_err("not permitted").code(),
        Code::PermissionDenied
    );

    let mut accounts = service.api.accounts(stranger);
    let list = accounts
        .list_channel_accounts(ListChannelAccountsRequest::default())
        .await;
    assert_eq!(list.expect("a page").into_inner().accounts, []);
    let off = SetChannelAccountEnabledRequest {
        channel_account_id: account_id,
        enabled: false,
    };
    let error = accounts
        .set_channel_account_enabled(off)
        .await
        .expect_err("out of reach");
    assert_eq!(error.code(), Code::NotFound);
    service.stop().await;
}

#[tokio::test]
async fn each_call_wants_its_permission() {
    let world = World::new().await;
    let service = world.start().await;
    let nobody = Actor {
        permissions: Permissions::NONE,
        ..administrator()
    };
    let mut messages = service.api.messages(nobody.clone());
    let mut accounts = service.api.accounts(nobody);
    let codes = [
        messages
            .get_active_message(GetActiveMessageRequest::default())
            .await
            .map(|_| ()),
        messages
            .list_active_messages(ListActiveMessagesRequest::default())
            .await
            .map(|_| ()),
        messages
            .resend_active_message(ResendActiveMessageRequest::default())
            .await
            .map(|_| ()),
        messages
            .send_active_messages(SendActiveMessagesRequest::default())
            .await
            .map(|_| ()),
        accounts
            .create_channel_account(CreateChannelAccountRequest::default())
            .await
            .map(|_| ()),
        accounts
            .list_channel_accounts(ListChannelAccountsRequest::default())
            .await
            .map(|_| ()),
    ]
    .map(|answer| answer.map_err(|error| error.code()));
    assert_eq!(codes, [Err(Code::PermissionDenied); 6]);

    // An administrator is no service, and a service without a tenant has no accounts.
    let request = SendActiveMessagesRequest {
        messages: vec![warning(1, 1)],
    };
    let error = service
        .api
        .messages(administrator())
        .send_active_messages(request)
        .await;
    assert_eq!(
        error.expect_err("not permitted").code(),
        Code::PermissionDenied
    );
    let mut service_actor = administrator();
    service_actor.kind = ActorKind::Service("test".to_owned());
    service_actor.tenant_id = 0;
    let mut accounts = service.api.accounts(service_actor);
    let error = accounts
        .list_channel_accounts(ListChannelAccountsRequest::default())
        .await;
    assert_eq!(
        status::reason_of(&error.expect_err("no tenant")).as_deref(),
        Some("TENANT_REQUIRED")
    );
    service.stop().await;
}

#[tokio::test]
async fn accounts_are_checked_and_created_once() {
    let world = World::new().await;
    let service = world.start().await;
    let mut client = service.api.accounts(administrator());
    let mut request = CreateChannelAccountRequest {
        account: Some(account("http://127.0.0.1:9/hook")),
        request_id: "0190a5c0-0000-7000-8000-00000000000a".to_owned(),
    };
    let first = client
        .create_channel_account(request.clone())
        .await
        .expect("good")
        .into_inner();
    // Another spelling of the same id.
    request.request_id = "{0190A5C0-0000-7000-8000-00000000000A}".to_owned();
    let again = client
        .create_channel_account(request.clone())
        .await
        .expect("good")
        .into_inner();
    assert_eq!(first, again);
    assert!(first.signing_secret.starts_with("whsec_") && first.account.expect("set").enabled);
    request.account.get_or_insert_default().name = "another".to_owned();
    let error = client
        .create_channel_account(request)
        .await
        .expect_err("another body");
    assert_eq!(
        status::reason_of(&error).as_deref(),
        Some("REQUEST_ID_REUSED")
    );
    assert_eq!(fields(&error), ["request_id"]);

    let error = client.create_channel_account(CreateChannelAccountRequest {
        account: None,
        request_id: "x".to_owned(),
    });
    let all = ["request_id", "account.name", "account.channel"];
    assert_eq!(fields(&error.await.expect_err("nothing is right")), all);
    let mut wrong = account("http://127.0.0.1:9/hook");
    wrong.channel_account_id = 5;
    wrong.name = "a\nb".to_owned();
    wrong.channel = 3;
    let error = client.create_channel_account(CreateChannelAccountRequest {
        account: Some(wrong),
        request_id: String::new(),
    });
    let all = [
        "account.channel_account_id",
        "account.name",
        "account.credential_name",
        "account.whatsapp",
    ];
    assert_eq!(fields(&error.await.expect_err("much is wrong")), all);
    assert_eq!(
        world.count("SELECT count(*) FROM channel_accounts").await,
        1
    );
    service.stop().await;
}

#[tokio::test]
async fn ids_must_be_ids_and_resolutions_known() {
    let world = World::new().await;
    let service = world.start().await;
    let mut client = service.api.messages(administrator());
    for message_id in [0, -1] {
        let error = client
            .get_active_message(GetActiveMessageRequest { message_id })
            .await;
        assert_eq!(fields(&error.expect_err("no id")), ["message_id"]);
        let request = ResendActiveMessageRequest {
            message_id,
            request_id: String::new(),
        };
        let error = client.resend_active_message(request).await;
        assert_eq!(fields(&error.expect_err("no id")), ["message_id"]);
    }
    let request = ResendActiveMessageRequest {
        message_id: 1,
        request_id: "x".to_owned(),
    };
    let error = client.resend_active_message(request).await;
    assert_eq!(fields(&error.expect_err("no UUID")), ["request_id"]);
    for message_id in [0, -1] {
        let request = CancelActiveMessageRequest {
            message_id,
            request_id: String::new(),
        };
        let error = client.cancel_active_message(request).await;
        assert_eq!(fields(&error.expect_err("no id")), ["message_id"]);
        let request = ResolveActiveMessageRequest {
            message_id,
            ..ResolveActiveMessageRequest::default()
        };
        let error = client.resolve_active_message(request).await;
        assert_eq!(fields(&error.expect_err("no id")), ["message_id"]);
    }
    for resolution in [0, 9] {
        let request = ResolveActiveMessageRequest {
            message_id: 1,
            resolution,
            request_id: String::new(),
        };
        let error = client.resolve_active_message(request).await;
        assert_eq!(fields(&error.expect_err("unknown")), ["resolution"]);
    }
    service.stop().await;
}
