//! E-mail by the SMTP servers of accounts.
//!
//! Until the final dot of a message is written, the server has nothing that it could deliver, so whatever goes wrong
//! before is tried again. From then on the server's answer alone tells: without one the message is uncertain.

mod connections;
mod mail;
mod verdict;

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use lettre::transport::smtp;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::response::Response;
use plazo_proto::notification::v1::SmtpTls;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_service::Redacted;

use super::address::{AddressPolicy, UrlError};
use super::channel::{ChannelSender, Outcome};
use super::provider::{credential_missing, secrets_of, uncertain};
use super::roots::Roots;
use crate::account::decode_settings;
use crate::config::EmailConfig;
use crate::credentials::Credentials;
use crate::store::queue::Claimed;
use connections::{Connections, Server};
use mail::Mail;
use verdict::{Failure, Step};

/// Whether mails can go from or to an address.
pub(crate) fn is_mail_address(text: &str) -> bool {
    mail::address(text).is_some()
}

/// Sends by the mail servers of accounts.
#[derive(Debug)]
pub(crate) struct EmailSender {
    credentials: Credentials,
    policy: AddressPolicy,
    connections: Connections,
    allow_without_tls: bool,
    request_timeout: Duration,
}

impl EmailSender {
    pub(crate) fn new(
        config: &EmailConfig,
        policy: AddressPolicy,
        credentials: Credentials,
        roots: &Roots,
    ) -> Self {
        Self {
            credentials,
            policy,
            connections: Connections::new(config, roots),
            allow_without_tls: config.allow_without_tls,
            request_timeout: Duration::from_millis(config.request_timeout_ms),
        }
    }

    async fn call(&self, message: &Claimed, attempt_at: Timestamp) -> Outcome {
        let stored = message.account_settings.as_deref();
        let Some(Settings::Email(settings)) = stored.and_then(decode_settings) else {
            return Outcome::failed("CHANNEL_ACCOUNT_UNKNOWN");
        };
        let mail = match Mail::new(message, &settings, attempt_at) {
            Ok(mail) => mail,
            Err(reason) => return Outcome::failed(reason),
        };
        let tls = settings.smtp_tls();
        // The service's settings may have become stricter since the account was made.
        let is_safe = match tls {
            SmtpTls::Implicit | SmtpTls::Starttls => true,
            SmtpTls::None => self.allow_without_tls,
            SmtpTls::Unspecified => false,
        };
        if !is_safe {
            return Outcome::failed("TLS_REQUIRED");
        }
        let credential = match secrets_of(&self.credentials, message).await {
            Ok(credential) => credential,
            Err(outcome) => return outcome,
        };
        let Some(password) = credential.get_or_alone("password") else {
            return credential_missing();
        };
        let server = Server {
            account_id: message.channel_account_id,
            host: settings.smtp_host.clone(),
            port: u16::try_from(settings.smtp_port).unwrap_or_default(),
            tls,
            user: credential
                .get("username")
                .unwrap_or(&settings.from_address)
                .to_owned(),
            password: Redacted(password.to_owned()),
            hello_name: mail.from.domain().to_owned(),
        };
        // Whether the final dot may have gone out.
        let may_be_taken = AtomicBool::new(false);
        let delivering = self.deliver(&server, &mail, &may_be_taken);
        let delivered = tokio::time::timeout(self.request_timeout, delivering).await;
        match delivered {
            Ok(Ok(())) => Outcome::Sent {
                provider_message_id: mail.id,
            },
            Ok(Err(Refusal::Address(UrlError::Private))) => Outcome::failed("ADDRESS_NOT_ALLOWED"),
            Ok(Err(Refusal::Address(_))) => Outcome::retry("CONNECTION_FAILED"),
            Ok(Err(Refusal::Smtp(failure))) => {
                verdict::of_failure(failure, may_be_taken.load(Ordering::Relaxed))
            }
            Err(_) if may_be_taken.load(Ordering::Relaxed) => uncertain("TIMEOUT"),
            Err(_) => Outcome::retry("TIMEOUT"),
        }
    }

    async fn deliver(
        &self,
        server: &Server,
        mail: &Mail,
        may_be_taken: &AtomicBool,
    ) -> Result<(), Refusal> {
        let mut begun = None;
        if let Some(mut connection) = self.connections.take(server) {
            // The server may have closed it meanwhile. Nothing is lost by another one.
            if name_sender(&mut connection.smtp, mail).await.is_ok() {
                begun = Some(connection);
            }
        }
        let mut connection = if let Some(connection) = begun {
            connection
        } else {
            let addresses = self.policy.addresses_of(&server.host, server.port).await;
            let addresses = addresses.map_err(Refusal::Address)?;
            let mut connection = self
                .connections
                .open(server, &addresses)
                .await
                .map_err(Refusal::Smtp)?;
            name_sender(&mut connection.smtp, mail)
                .await
                .map_err(Refusal::Smtp)?;
            connection
        };
        transfer(&mut connection.smtp, mail, may_be_taken)
            .await
            .map_err(Refusal::Smtp)?;
        self.connections.put_back(connection);
        Ok(())
    }
}

/// Why a mail did not go out.
enum Refusal {
    /// The server's host can't be called.
    Address(UrlError),
    Smtp(Failure),
}

async fn name_sender(smtp: &mut AsyncSmtpConnection, mail: &Mail) -> Result<(), Failure> {
    let from = MailFrom::new(Some(mail.from.clone()), Vec::new());
    expect(Step::Sender, smtp.command(from).await, &[250])
}

async fn transfer(
    smtp: &mut AsyncSmtpConnection,
    mail: &Mail,
    may_be_taken: &AtomicBool,
) -> Result<(), Failure> {
    let to = Rcpt::new(mail.to.clone(), Vec::new());
    expect(Step::Recipient, smtp.command(to).await, &[250, 251])?;
    expect(Step::Data, smtp.command(Data).await, &[354])?;
    // The dot follows when there are no more parts.
    let end = iter::from_fn(|| {
        may_be_taken.store(true, Ordering::Relaxed);
        None
    });
    let parts = iter::once(mail.content.as_slice()).chain(end);
    expect(Step::Content, smtp.message_iter(parts).await, &[250])
}

/// Only the codes that belong to a step count: another one is the answer to something else.
fn expect(step: Step, answer: Result<Response, smtp::Error>, codes: &[u16]) -> Result<(), Failure> {
    match answer {
        Ok(response) if codes.contains(&response.code().into()) => Ok(()),
        Ok(response) => Err(Failure {
            step,
            code: Some(response.code().into()),
        }),
        Err(error) => Err(Failure {
            step,
            code: error.status().map(u16::from),
        }),
    }
}

impl ChannelSender for EmailSender {
    fn send<'a>(&'a self, message: &'a Claimed, attempt_at: Timestamp) -> BoxFuture<'a, Outcome> {
        Box::pin(self.call(message, attempt_at))
    }

    fn forget_idle(&self) {
        self.connections.forget_idle();
    }
}
