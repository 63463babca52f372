//! Free text that WhatsApp takes, and refuses afterwards because the customer's last message is too old.

use plazo_proto::notification::v1::{ActiveMessageState as State, WhatsAppTemplate};
use plazo_proto::ticketing::v1::MessageStateReport;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::callers::{APP_SECRET, call};
use crate::support::ticketing::{closed, requested};
use crate::support::whatsapp::{
    CREDENTIAL, Fault, NUMBER, TOKEN, WhatsApp, by_whatsapp, create_whatsapp,
};
use crate::support::{Service, TENANT, World, eventually, warning};

const ANA: &str = "5511987654321";

struct Desk {
    _folder: tempfile::TempDir,
    provider: WhatsApp,
    world: World,
}

async fn desk() -> Desk {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = WhatsApp::start().await;
    let world = provider
        .world(folder.path())
        .await
        .with("callbacks.listen", "127.0.0.1:0")
        .with("whatsapp.recipient_interval_ms", "1");
    let secrets = json!({ "access_token": TOKEN, "app_secret": APP_SECRET });
    let file = folder.path().join(TENANT.to_string()).join(CREDENTIAL);
    std::fs::write(file, secrets.to_string()).expect("the folder is ours");
    provider.open_window(ANA);
    Desk {
        _folder: folder,
        provider,
        world,
    }
}

fn template() -> WhatsAppTemplate {
    WhatsAppTemplate {
        name: "still_there".to_owned(),
        language_code: "pt_BR".to_owned(),
        body_parameters: vec!["{{text}}".to_owned()],
        ..WhatsAppTemplate::default()
    }
}

/// Tells a status of a message; with a code it has failed.
async fn tell(service: &Service, account: i64, id: i64, wamid: &str, status: &str, code: i64) {
    let mut told: Value = json!({
        "id": wamid, "status": status, "biz_opaque_callback_data": format!("msg_{id}"),
    });
    if code > 0 {
        told["errors"] = json!([{ "code": code }]);
    }
    let value = json!({ "metadata": { "phone_number_id": NUMBER }, "statuses": [told] });
    assert_eq!(call(service, account, &[value]).await, StatusCode::OK);
}

impl Desk {
    fn told(&self, key: &str) -> Vec<State> {
        let reports = self.world.ticketing.reports_of(key);
        reports.iter().map(MessageStateReport::state).collect()
    }
}

#[tokio::test]
async fn the_template_goes_out_in_its_place_once() {
    let desk = desk().await;
    let service = desk.world.start().await;
    let account = create_whatsapp(service.api, vec![template()]).await;
    let message = by_whatsapp(warning(1, 1), account, ANA);
    let key = message.idempotency_key.clone();
    let id = service.api.send_one(message).await.message_id;
    service.api.until(id, State::Sent).await;
    assert_eq!(desk.provider.until_taken(id).await["type"], "text");

    desk.provider.refuse_afterwards(id);
    let text = format!("wamid.msg_{id}");
    // The provider calls twice, and its first status comes last.
    for _ in 0..2 {
        tell(&service, account, id, &text, "failed", 131_047).await;
    }
    let taken = desk.provider.until_taken(id).await;
    assert_eq!(taken["type"], "template");
    assert_eq!(taken["template"]["name"], "still_there");
    tell(&service, account, id, &text, "sent", 0).await;
    let sent = service.api.until(id, State::Sent).await;
    assert_eq!((sent.attempts.len(), sent.failure_reason.as_str()), (2, ""));

    // What becomes of the template counts as ever.
    let template = format!("{text}.again");
    tell(&service, account, id, &template, "delivered", 0).await;
    service.api.until(id, State::Delivered).await;
    desk.world
        .ticketing
        .until_reported(&key, State::Delivered)
        .await;
    assert!(!desk.told(&key).contains(&State::Failed));
    assert_eq!((desk.provider.requests(), desk.provider.copies()), (2, 0));
    service.stop().await;
}

#[tokio::test]
async fn without_a_template_and_at_the_second_time_the_message_fails() {
    let desk = desk().await;
    let service = desk.world.start().await;
    let bare = create_whatsapp(service.api, vec![]).await;
    let message = by_whatsapp(warning(1, 1), bare, ANA);
    let key = message.idempotency_key.clone();
    let id = service.api.send_one(message).await.message_id;
    service.api.until(id, State::Sent).await;
    tell(
        &service,
        bare,
        id,
        &format!("wamid.msg_{id}"),
        "failed",
        131_047,
    )
    .await;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(failed.failure_reason, "OUTSIDE_WINDOW");
    desk.world
        .ticketing
        .until_reported(&key, State::Failed)
        .await;
    assert_eq!(desk.provider.requests(), 1);

    // The same said of the template, by an id of its own.
    let account = create_whatsapp(service.api, vec![template()]).await;
    let message = by_whatsapp(warning(2, 1), account, ANA);
    let id = service.api.send_one(message).await.message_id;
    service.api.until(id, State::Sent).await;
    desk.provider.refuse_afterwards(id);
    tell(&service, account, id, "wamid.text", "failed", 131_047).await;
    assert_eq!(
        service.api.get(id).await.state(),
        State::Sent,
        "of another message"
    );
    tell(
        &service,
        account,
        id,
        &format!("wamid.msg_{id}"),
        "failed",
        131_047,
    )
    .await;
    desk.provider.until_taken(id).await;
    service.api.until(id, State::Sent).await;
    let template = format!("wamid.msg_{id}.again");
    tell(&service, account, id, &template, "failed", 131_047).await;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(failed.failure_reason, "OUTSIDE_WINDOW");
    assert_eq!((desk.provider.requests(), desk.provider.copies()), (3, 0));
    service.stop().await;
}

#[tokio::test]
async fn a_refusal_that_overtakes_the_answer_is_not_lost() {
    let desk = desk().await;
    let service = desk.world.start().await;
    let account = create_whatsapp(service.api, vec![template()]).await;
    desk.provider.meet(&[Fault::Hold]);
    let message = by_whatsapp(warning(1, 1), account, ANA);
    let id = service.api.send_one(message).await.message_id;
    desk.provider.until_taken(id).await;
    desk.provider.refuse_afterwards(id);
    tell(
        &service,
        account,
        id,
        &format!("wamid.msg_{id}"),
        "failed",
        131_047,
    )
    .await;
    let template = desk.provider.until_taken(id).await;
    assert_eq!(template["type"], "template");
    service.api.until(id, State::Sent).await;
    desk.provider.release.add_permits(1);
    let sent = service.api.until(id, State::Sent).await;
    assert_eq!(sent.failure_reason, "");
    assert_eq!((desk.provider.requests(), desk.provider.copies()), (2, 0));
    service.stop().await;
}

#[tokio::test]
async fn nothing_goes_out_in_place_of_a_warning_whose_ticket_is_closed() {
    let desk = desk().await;
    let service = desk.world.start().await;
    let account = create_whatsapp(service.api, vec![template()]).await;
    let message = by_whatsapp(warning(1, 1), account, ANA);
    let id = service.api.send_one(message.clone()).await.message_id;
    service.api.until(id, State::Sent).await;
    desk.world
        .ticketing
        .publish(vec![requested(1, &message), closed(1, 2)]);
    eventually("the close is applied", || async {
        let seen = "SELECT count(*) FROM active_messages WHERE cancel_reason IS NOT NULL";
        (desk.world.count(seen).await == 1).then_some(())
    })
    .await;
    assert_eq!(service.api.get(id).await.state(), State::Sent);
    tell(
        &service,
        account,
        id,
        &format!("wamid.msg_{id}"),
        "failed",
        131_047,
    )
    .await;
    let cancelled = service.api.until(id, State::Cancelled).await;
    assert_eq!(cancelled.failure_reason, "TICKET_CLOSED");
    let key = &message.idempotency_key;
    desk.world
        .ticketing
        .until_reported(key, State::Cancelled)
        .await;
    assert_eq!(desk.provider.requests(), 1);
    service.stop().await;
}
