//! The e-mail channel against a mail server that keeps to RFC 5321.

use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::{
    AcceptedMessage, ActiveMessageState as State, ListChannelAccountsRequest,
    SetChannelAccountEnabledRequest, SmtpTls,
};
use plazo_service::status;

use crate::support::mail::{
    CREDENTIAL, Fault, MailServer, PASSWORD, Step, USER, by_mail, create_mailbox, mailbox,
};
use crate::support::{Api, Service, TENANT, World, administrator, eventually, warning};

struct Desk {
    folder: tempfile::TempDir,
    server: MailServer,
    world: World,
}

async fn desk() -> Desk {
    let folder = tempfile::tempdir().expect("a folder");
    let server = MailServer::start().await;
    let world = server.world(folder.path()).await;
    Desk {
        folder,
        server,
        world,
    }
}

impl Desk {
    /// A running service and the id of an account without TLS.
    async fn start(&self) -> (Service, i64) {
        let service = self.world.start().await;
        let account = mailbox(&self.server, SmtpTls::None);
        let account = create_mailbox(service.api, account).await;
        (service, account.expect("the account is good"))
    }
}

async fn send(api: Api, ticket: i64, account: i64, state: State) -> AcceptedMessage {
    let message = by_mail(warning(ticket, 1), account);
    let id = api.send_one(message).await.message_id;
    api.until(id, state).await
}

fn outcomes(message: &AcceptedMessage) -> Vec<&str> {
    let attempts = message.attempts.iter();
    attempts.map(|one| one.outcome.as_str()).collect()
}

#[tokio::test]
async fn text_and_image_link_go_out_over_a_connection_that_is_used_again() {
    let desk = desk().await;
    let (service, account) = desk.start().await;
    let mut message = by_mail(warning(1, 1), account);
    message.text = "¿Sigue ahí?\n.\r\nQUIT\rBcc: eva@example.com".to_owned();
    message.image_url = "https://example.com/clock.png".to_owned();
    let key = message.idempotency_key.clone();
    let id = service.api.send_one(message).await.message_id;
    let sent = service.api.until(id, State::Sent).await;
    assert_eq!(sent.provider_message_id, format!("<{id}@example.com>"));
    let mail = desk.server.taken(&sent.provider_message_id);
    let mail = mail.expect("it was taken");
    assert_eq!(
        (mail.from.as_str(), mail.to.as_str()),
        (USER, "ana@example.org")
    );
    assert!(mail.content.is_ascii(), "{}", mail.content);
    let (head, body) = mail.content.split_once("\n\n").expect("head and body");
    for header in [
        "To: ana@example.org",
        "Content-Type: text/plain; charset=utf-8",
        "MIME-Version: 1.0",
    ] {
        assert!(head.lines().any(|line| line == header), "{header}: {head}");
    }
    assert!(
        !head.contains("Bcc") && head.contains("Subject: =?utf-8?"),
        "{head}"
    );
    assert!(
        head.contains("From: =?utf-8?") && head.contains("\nDate: "),
        "{head}"
    );
    let is_quoted = head.contains("Content-Transfer-Encoding: quoted-printable");
    assert!(is_quoted, "{head}");
    let body = body.replace("=\n", "");
    let expected =
        "=C2=BFSigue ah=C3=AD?\n.\nQUIT\nBcc: eva@example.com\n\nhttps://example.com/clock.png\n";
    assert_eq!(body.trim_end(), expected.trim_end());
    desk.world.ticketing.until_reported(&key, State::Sent).await;

    for ticket in 2..5 {
        send(service.api, ticket, account, State::Sent).await;
    }
    assert_eq!(desk.server.visits(), (1, 1));
    // The server ends what is idle.
    desk.server.hang_up();
    let sent = send(service.api, 5, account, State::Sent).await;
    assert_eq!(outcomes(&sent), ["OK"]);
    assert_eq!(desk.server.visits(), (2, 2));
    assert_eq!(desk.server.copies(), (0, 5));
    service.stop().await;
}

#[tokio::test]
async fn what_the_server_did_not_take_is_tried_again_wherever_it_broke() {
    let desk = desk().await;
    let world = desk.world.with("providers.breaker_failures", "1000");
    let desk = Desk { world, ..desk };
    let (service, account) = desk.start().await;
    for (ticket, fault, outcome) in [
        (1, Fault::Cut(Step::Greeting), "CONNECTION_FAILED"),
        (2, Fault::Cut(Step::Ehlo), "CONNECTION_FAILED"),
        (3, Fault::Cut(Step::Auth), "AUTHENTICATION_FAILED"),
        (4, Fault::Cut(Step::Mail), "CONNECTION_FAILED"),
        (5, Fault::Cut(Step::Rcpt), "CONNECTION_FAILED"),
        (6, Fault::Cut(Step::Data), "CONNECTION_FAILED"),
        (7, Fault::Reply(Step::Greeting, 554), "SMTP_554"),
        (8, Fault::Reply(Step::Auth, 454), "SMTP_454"),
        (9, Fault::Reply(Step::Mail, 421), "SMTP_421"),
        (10, Fault::Reply(Step::Rcpt, 450), "SMTP_450"),
        (11, Fault::Reply(Step::Data, 451), "SMTP_451"),
        (12, Fault::Reply(Step::Dot, 452), "SMTP_452"),
        (13, Fault::Reply(Step::Data, 250), "ANSWER_UNREADABLE"),
    ] {
        // Each begins with a connection of its own.
        desk.server.hang_up();
        desk.server.meet(&[fault]);
        let sent = send(service.api, ticket, account, State::Sent).await;
        let tried = outcomes(&sent);
        // Where the connection was used before, one more is made in the same attempt.
        assert_eq!(tried, [outcome, "OK"], "{fault:?}");
    }
    assert_eq!(desk.server.copies(), (0, 13));
    service.stop().await;
}

#[tokio::test]
async fn what_the_server_refuses_has_failed() {
    let desk = desk().await;
    let (service, account) = desk.start().await;
    for (ticket, step) in [(1, Step::Rcpt), (2, Step::Data), (3, Step::Dot)] {
        desk.server.meet(&[Fault::Reply(step, 550)]);
        let failed = send(service.api, ticket, account, State::Failed).await;
        assert_eq!(failed.failure_reason, "SMTP_550", "{step:?}");
        assert_eq!(failed.attempts.len(), 1, "{step:?}");
    }
    let visits = desk.server.visits();
    for (ticket, address) in [(4, "ana"), (5, "ana@example.org>,<eva@example.org")] {
        let mut message = by_mail(warning(ticket, 1), account);
        message.recipient.get_or_insert_default().address = address.to_owned();
        let id = service.api.send_one(message).await.message_id;
        let failed = service.api.until(id, State::Failed).await;
        assert_eq!(failed.failure_reason, "RECIPIENT_INVALID");
    }
    assert_eq!(desk.server.visits(), visits);
    assert_eq!(desk.server.copies(), (0, 0));
    service.stop().await;
}

#[tokio::test]
async fn after_the_final_dot_only_an_answer_tells() {
    let desk = desk().await;
    let world = desk.world.with("email.request_timeout_ms", "1000");
    let desk = Desk { world, ..desk };
    let (service, account) = desk.start().await;
    for (ticket, fault, reason, is_taken) in [
        (1, Fault::CutAfterTaking, "ANSWER_LOST", true),
        (2, Fault::Cut(Step::Dot), "ANSWER_LOST", false),
        (3, Fault::Hold, "TIMEOUT", true),
        (4, Fault::Reply(Step::Dot, 354), "ANSWER_UNREADABLE", false),
    ] {
        desk.server.meet(&[fault]);
        let parked = send(service.api, ticket, account, State::Uncertain).await;
        assert_eq!(parked.failure_reason, reason, "{fault:?}");
        let id = parked.message_id;
        let taken = desk.server.taken(&format!("<{id}@example.com>"));
        assert_eq!(taken.is_some(), is_taken, "{fault:?}");
        // So that the breaker does not get in the way.
        send(service.api, 100 + ticket, account, State::Sent).await;
    }
    assert_eq!(desk.server.copies(), (0, 6));
    service.stop().await;
}

#[tokio::test]
async fn a_refused_password_stops_the_account_until_somebody_acts() {
    let desk = desk().await;
    let (service, account) = desk.start().await;
    let credential = desk.folder.path().join(TENANT.to_string());
    let credential = credential.join(CREDENTIAL);
    std::fs::write(&credential, "an old password").expect("the folder is ours");
    let message = by_mail(warning(1, 1), account);
    let id = service.api.send_one(message).await.message_id;
    let mut accounts = service.api.accounts(administrator());
    eventually("the account stops", || {
        let mut accounts = accounts.clone();
        async move {
            let list = accounts
                .list_channel_accounts(ListChannelAccountsRequest::default())
                .await;
            let account = list.expect("a list").into_inner().accounts.remove(0);
            (account.stopped_reason == "SMTP_535").then_some(())
        }
    })
    .await;
    assert_eq!(service.api.get(id).await.state(), State::Accepted);
    // One value alone is the password; the sender's address is the user.
    std::fs::write(&credential, PASSWORD).expect("the folder is ours");
    let on = SetChannelAccountEnabledRequest {
        channel_account_id: account,
        enabled: true,
    };
    let set = accounts.set_channel_account_enabled(on).await;
    set.expect("the account is there");
    service.api.until(id, State::Sent).await;
    assert_eq!(desk.server.visits(), (2, 2));
    service.stop().await;
}

#[tokio::test]
async fn nothing_goes_out_without_tls_where_tls_is_asked_for() {
    let desk = desk().await;
    let world = desk.world.with_provider_delays_ms("3600000");
    let desk = Desk { world, ..desk };
    let service = desk.world.start().await;
    // The server neither offers STARTTLS nor speaks TLS.
    for (ticket, tls, outcome) in [
        (1, SmtpTls::Starttls, "TLS_FAILED"),
        (2, SmtpTls::Implicit, "CONNECTION_FAILED"),
    ] {
        let account = create_mailbox(service.api, mailbox(&desk.server, tls)).await;
        let message = by_mail(warning(ticket, 1), account.expect("the account is good"));
        let id = service.api.send_one(message).await.message_id;
        eventually("it was tried", || async {
            let message = service.api.get(id).await;
            (outcomes(&message) == [outcome]).then_some(())
        })
        .await;
    }
    assert_eq!(desk.server.visits(), (2, 0), "no password was told");
    assert_eq!(desk.server.copies(), (0, 0));
    service.stop().await;
}

#[tokio::test]
async fn neither_private_servers_nor_those_without_tls_are_used_unless_permitted() {
    let mut desk = desk().await;
    let (service, account) = desk.start().await;
    service.stop().await;
    for (ticket, key, reason, field) in [
        (
            1,
            "webhook.allow_private_networks",
            "ADDRESS_NOT_ALLOWED",
            "account.email.smtp_host",
        ),
        (
            2,
            "email.allow_without_tls",
            "TLS_REQUIRED",
            "account.email.smtp_tls",
        ),
    ] {
        desk.world.set(key, "false");
        let service = desk.world.start().await;
        let failed = send(service.api, ticket, account, State::Failed).await;
        assert_eq!(failed.failure_reason, reason);
        let refused = create_mailbox(service.api, mailbox(&desk.server, SmtpTls::None)).await;
        let violations = status::violations_of(&refused.expect_err("not permitted"));
        let fields: Vec<_> = violations.into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, [field]);
        desk.world.set(key, "true");
        service.stop().await;
    }
    assert_eq!(desk.server.visits(), (0, 0));
}

#[tokio::test]
async fn a_sender_that_no_mail_can_have_is_refused_when_it_is_saved() {
    let desk = desk().await;
    let service = desk.world.start().await;
    for wrong in [
        "",
        "ana",
        "ana@",
        "a@b@example.com",
        "ána@example.com",
        "a<b>@example.com",
        "\"a b\"@example.com",
        "a@example.com\r\nBcc: eva@example.com",
    ] {
        let mut account = mailbox(&desk.server, SmtpTls::None);
        let Some(Settings::Email(email)) = &mut account.settings else {
            panic!("a mailbox has settings of e-mail");
        };
        wrong.clone_into(&mut email.from_address);
        let refused = create_mailbox(service.api, account).await;
        let violations = status::violations_of(&refused.expect_err(wrong));
        assert_eq!(violations[0].0, "account.email.from_address", "{wrong:?}");
    }
    service.stop().await;
}
