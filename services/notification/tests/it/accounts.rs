//! Changing channel accounts.

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::{
    ActiveMessageState as State, BlipSettings, ChannelAccount, CreateChannelAccountRequest,
    ListChannelAccountsRequest, UpdateChannelAccountRequest, WhatsAppSettings, WhatsAppTemplate,
};
use plazo_service::{Actor, Permissions, status};
use tonic::{Code, Status};

use crate::support::endpoint::{Endpoint, is_signed};
use crate::support::whatsapp::{NUMBER, create_whatsapp, whatsapp_account};
use crate::support::{Api, TENANT, World, account, administrator, by_webhook, warning};

async fn update(
    api: Api,
    actor: Actor,
    account: ChannelAccount,
    paths: &[&str],
    request_id: &str,
) -> Result<ChannelAccount, Status> {
    let request = UpdateChannelAccountRequest {
        account: Some(account),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        request_id: request_id.to_owned(),
    };
    let answer = api.accounts(actor).update_channel_account(request).await?;
    Ok(answer.into_inner().account.expect("it is set"))
}

async fn read(api: Api, channel_account_id: i64) -> ChannelAccount {
    let answer = api
        .accounts(administrator())
        .list_channel_accounts(ListChannelAccountsRequest::default())
        .await;
    let mut accounts = answer.expect("a page").into_inner().accounts.into_iter();
    let is_it = |one: &ChannelAccount| one.channel_account_id == channel_account_id;
    accounts.find(is_it).expect("it is there")
}

fn fields(error: &Status) -> Vec<String> {
    let violations = status::violations_of(error).into_iter();
    violations.map(|(field, _)| field).collect()
}

#[tokio::test]
async fn what_is_sent_next_goes_by_the_new_settings() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (id, secret) = service.api.create_account(&endpoint.url("/old")).await;
    let before = read(service.api, id).await;
    assert_eq!(before.etag, "1");

    let wanted = ChannelAccount {
        channel_account_id: id,
        etag: before.etag.clone(),
        ..account(&endpoint.url("/new"))
    };
    let after = update(
        service.api,
        administrator(),
        wanted.clone(),
        &["webhook"],
        "",
    )
    .await;
    let after = after.expect("it is good");
    assert_eq!(
        (after.name.as_str(), after.etag.as_str()),
        ("endpoint", "2")
    );
    assert_eq!(read(service.api, id).await, after);
    let sent = service.api.send_one(by_webhook(warning(1, 1), id)).await;
    service.api.until(sent.message_id, State::Delivered).await;
    assert!(endpoint.calls("/old").is_empty());
    assert!(
        is_signed(&endpoint.calls("/new")[0], &secret),
        "the secret stays"
    );

    let error = update(service.api, administrator(), wanted, &["webhook"], "").await;
    let error = error.expect_err("it has changed since");
    assert_eq!(
        (error.code(), status::reason_of(&error).as_deref()),
        (Code::Aborted, Some("ETAG_MISMATCH"))
    );
    service.stop().await;
}

#[tokio::test]
async fn only_what_the_mask_names_is_changed() {
    let world = World::new().await;
    let service = world.start().await;
    let id = create_whatsapp(service.api, vec![]).await;
    let template = WhatsAppTemplate {
        name: "still_there".to_owned(),
        language_code: "pt_BR".to_owned(),
        ..WhatsAppTemplate::default()
    };
    let wanted = ChannelAccount {
        channel_account_id: id,
        name: "new name".to_owned(),
        credential_name: "number-2".to_owned(),
        enabled: false,
        ..whatsapp_account(vec![template.clone()])
    };
    let settings = |templates| {
        Some(Settings::Whatsapp(WhatsAppSettings {
            phone_number_id: NUMBER.to_owned(),
            templates,
        }))
    };
    let of = async |paths: &[&str]| {
        update(service.api, administrator(), wanted.clone(), paths, "")
            .await
            .expect("it is good")
    };
    let named = of(&["name"]).await;
    assert_eq!(
        (named.name.as_str(), named.credential_name.as_str()),
        ("new name", "number-1")
    );
    assert_eq!(named.settings, settings(vec![]));
    let renamed = of(&["credential_name"]).await;
    assert_eq!(renamed.credential_name, "number-2");
    assert_eq!(renamed.settings, settings(vec![]));
    let whole = of(&[]).await;
    assert_eq!(whole.settings, settings(vec![template]));
    assert!(whole.enabled, "that is another call's");
    assert_eq!(whole.etag, "4");
    service.stop().await;
}

/// What is done to a good request, what its mask names, and the field that is named for it.
type Wrong = (
    fn(&mut ChannelAccount),
    &'static [&'static str],
    &'static str,
);

const PARAMETER: &str = "account.whatsapp.templates[0].body_parameters[0]";

const WRONG: [Wrong; 14] = [
    (
        |it| it.channel_account_id = 0,
        &[],
        "account.channel_account_id",
    ),
    (
        |it| it.channel_account_id = -1,
        &[],
        "account.channel_account_id",
    ),
    (|it| "x".clone_into(&mut it.etag), &[], "account.etag"),
    (
        |it| it.channel = Channel::Blip.into(),
        &[],
        "account.channel",
    ),
    (|it| it.channel = 77, &[], "account.channel"),
    (|it| " ".clone_into(&mut it.name), &["name"], "account.name"),
    (
        |it| "../x".clone_into(&mut it.credential_name),
        &["credential_name"],
        "account.credential_name",
    ),
    (|it| it.settings = None, &[], "account.whatsapp"),
    (
        |it| it.settings = Some(blip()),
        &["whatsapp"],
        "account.whatsapp",
    ),
    (|it| it.settings = Some(blip()), &["blip"], "update_mask"),
    (|_| {}, &["enabled"], "update_mask"),
    (|_| {}, &["whatsapp.templates"], "update_mask"),
    (
        |it| it.settings = with_parameter("{{name}}"),
        &["whatsapp"],
        PARAMETER,
    ),
    (
        |it| it.settings = with_parameter("too     wide"),
        &["whatsapp"],
        PARAMETER,
    ),
];

fn blip() -> Settings {
    Settings::Blip(BlipSettings {
        contract_id: "desk".to_owned(),
    })
}

fn with_parameter(parameter: &str) -> Option<Settings> {
    let template = WhatsAppTemplate {
        name: "still_there".to_owned(),
        language_code: "pt_BR".to_owned(),
        body_parameters: vec![parameter.to_owned()],
        ..WhatsAppTemplate::default()
    };
    whatsapp_account(vec![template]).settings
}

#[tokio::test]
async fn what_can_not_be_is_refused_with_its_field_and_changes_nothing() {
    let world = World::new().await;
    let service = world.start().await;
    let id = create_whatsapp(service.api, vec![]).await;
    let before = read(service.api, id).await;
    let good = ChannelAccount {
        channel_account_id: id,
        ..whatsapp_account(vec![])
    };
    for (change, paths, field) in WRONG {
        let mut wanted = good.clone();
        change(&mut wanted);
        let error = update(service.api, administrator(), wanted, paths, "").await;
        let error = error.expect_err(field);
        assert_eq!(error.code(), Code::InvalidArgument, "{field}");
        assert_eq!(fields(&error), [field]);
    }
    let error = update(service.api, administrator(), good.clone(), &[], "x").await;
    assert_eq!(fields(&error.expect_err("no UUID")), ["request_id"]);

    let stranger = Actor {
        tenant_id: TENANT + 1,
        ..administrator()
    };
    let nobody = Actor {
        permissions: Permissions::NONE,
        ..administrator()
    };
    for (actor, code) in [(stranger, Code::NotFound), (nobody, Code::PermissionDenied)] {
        let error = update(service.api, actor, good.clone(), &[], "").await;
        assert_eq!(error.expect_err("out of reach").code(), code);
    }
    assert_eq!(read(service.api, id).await, before);
    service.stop().await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_at_first_and_no_answer_holds_a_secret() {
    const REQUEST: &str = "0190a5c0-0000-7000-8000-0000000000aa";
    let world = World::new().await;
    let service = world.start().await;
    let mut accounts = service.api.accounts(administrator());
    let create = CreateChannelAccountRequest {
        account: Some(account("http://127.0.0.1:9/hook")),
        request_id: "0190a5c0-0000-7000-8000-0000000000ab".to_owned(),
    };
    let mut answers = Vec::new();
    for _ in 0..2 {
        let answer = accounts.create_channel_account(create.clone()).await;
        answers.push(answer.expect("it is good").into_inner());
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].signing_secret.starts_with("whsec_"));
    let kept = "SELECT count(*) FROM answered_requests
         WHERE position(convert_to('whsec_', 'UTF8') IN answer) > 0";
    assert_eq!(world.count(kept).await, 0);

    let id = answers[0]
        .account
        .as_ref()
        .expect("it is set")
        .channel_account_id;
    let wanted = ChannelAccount {
        channel_account_id: id,
        name: "renamed".to_owned(),
        ..ChannelAccount::default()
    };
    let rename = async |name: &str| {
        let wanted = ChannelAccount {
            name: name.to_owned(),
            ..wanted.clone()
        };
        update(service.api, administrator(), wanted, &["name"], REQUEST).await
    };
    let first = rename("renamed").await.expect("it is good");
    assert_eq!(rename("renamed").await.expect("it was good"), first);
    assert_eq!(read(service.api, id).await.etag, "2", "once");
    let error = rename("otherwise").await.expect_err("another request");
    assert_eq!(
        status::reason_of(&error).as_deref(),
        Some("REQUEST_ID_REUSED")
    );
    service.stop().await;
}
