//! Channel accounts as they are asked for, checked.

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::{
    ActiveMessageKind, BlipSettings, ChannelAccount, EmailSettings, SmtpTls, WhatsAppSettings,
    WhatsAppTemplate,
};
use plazo_service::status::FieldViolations;
use prost::Message as _;

use crate::credentials;
use crate::message::is_line;
use crate::sending::address::AddressPolicy;
use crate::sending::{is_mail_address, parameters};

const NAME_CHARS_MAX: usize = 200;
const TEMPLATES_MAX: usize = 10;
const PARAMETERS_MAX: usize = 10;
const KINDS_MAX: usize = 10;
const PARAMETER_CHARS_MAX: usize = 1_024;
const URL_BYTES_MAX: usize = 2_048;

/// What accounts may be made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccountRules {
    /// Where webhooks and mails may go.
    pub(crate) addresses: AddressPolicy,
    /// Whether mail servers without TLS will do.
    pub(crate) allow_smtp_without_tls: bool,
}

/// The settings as they are stored.
pub(crate) fn encode_settings(settings: Option<Settings>) -> Vec<u8> {
    ChannelAccount {
        settings,
        ..ChannelAccount::default()
    }
    .encode_to_vec()
}

/// The settings as they were stored; none when they can't be read.
pub(crate) fn decode_settings(stored: &[u8]) -> Option<Settings> {
    ChannelAccount::decode(stored).ok()?.settings
}

impl AccountRules {
    /// Checks all that a request says about an account; returns the settings in their stored form.
    pub(crate) async fn check(
        self,
        account: &ChannelAccount,
        violations: &mut FieldViolations,
    ) -> Option<Settings> {
        violations.check(
            "account.channel_account_id",
            account.channel_account_id == 0,
            "must be absent",
        );
        check_name(&account.name, violations);
        let channel = Channel::try_from(account.channel).unwrap_or_default();
        let has_accounts = !matches!(channel, Channel::Unspecified | Channel::Log);
        violations.check(
            "account.channel",
            has_accounts,
            "must be WEBHOOK, WHATSAPP, BLIP or EMAIL",
        );
        if !has_accounts {
            return None;
        }
        check_credential_name(channel, &account.credential_name, violations);
        self.check_settings(channel, account.settings.clone(), violations)
            .await
    }

    /// Checks the settings of an account of a channel that has accounts; returns them in their stored form.
    pub(crate) async fn check_settings(
        self,
        channel: Channel,
        settings: Option<Settings>,
        violations: &mut FieldViolations,
    ) -> Option<Settings> {
        match (channel, settings) {
            (Channel::Webhook, Some(Settings::Webhook(mut webhook))) => {
                match self.addresses.check(&webhook.url).await {
                    Ok(url) => webhook.url = url.into(),
                    Err(error) => violations.add("account.webhook.url", error.to_string()),
                }
                Some(Settings::Webhook(webhook))
            }
            (Channel::Whatsapp, Some(Settings::Whatsapp(whatsapp))) => {
                check_whatsapp(&whatsapp, violations);
                Some(Settings::Whatsapp(whatsapp))
            }
            (Channel::Blip, Some(Settings::Blip(blip))) => {
                check_blip(&blip, violations);
                Some(Settings::Blip(blip))
            }
            (Channel::Email, Some(Settings::Email(email))) => {
                self.check_email(&email, violations).await;
                Some(Settings::Email(email))
            }
            (channel, _) => {
                let field = format!("account.{}", settings_field(channel));
                violations.add(&field, "must be given".to_owned());
                None
            }
        }
    }

    async fn check_email(self, email: &EmailSettings, violations: &mut FieldViolations) {
        violations.check(
            "account.email.from_address",
            is_mail_address(&email.from_address),
            "must be a mail address in ASCII, without quotes and brackets",
        );
        violations.check(
            "account.email.from_name",
            is_line(&email.from_name, NAME_CHARS_MAX),
            "must have at most 200 characters, none of them a control character",
        );
        violations.check(
            "account.email.subject",
            !email.subject.trim().is_empty() && is_line(&email.subject, NAME_CHARS_MAX),
            "must have 1 to 200 characters, none of them a control character",
        );
        let port = u16::try_from(email.smtp_port).ok().filter(|port| *port > 0);
        violations.check(
            "account.email.smtp_port",
            port.is_some(),
            "must be 1 to 65535",
        );
        if !is_host(&email.smtp_host) {
            let problem = "must be a host's name or address";
            violations.add("account.email.smtp_host", problem.to_owned());
        } else if let Some(port) = port
            && let Err(error) = self.addresses.addresses_of(&email.smtp_host, port).await
        {
            violations.add("account.email.smtp_host", error.to_string());
        }
        let is_safe = match SmtpTls::try_from(email.smtp_tls).unwrap_or_default() {
            SmtpTls::Implicit | SmtpTls::Starttls => true,
            SmtpTls::None => self.allow_smtp_without_tls,
            SmtpTls::Unspecified => false,
        };
        violations.check(
            "account.email.smtp_tls",
            is_safe,
            "must be IMPLICIT or STARTTLS",
        );
    }
}

/// The field that holds the settings of a channel's accounts.
pub(crate) fn settings_field(channel: Channel) -> &'static str {
    match channel {
        Channel::Whatsapp => "whatsapp",
        Channel::Blip => "blip",
        Channel::Email => "email",
        Channel::Webhook | Channel::Log | Channel::Unspecified => "webhook",
    }
}

/// Refuses what is no name of an account.
pub(crate) fn check_name(name: &str, violations: &mut FieldViolations) {
    violations.check(
        "account.name",
        !name.trim().is_empty() && is_line(name, NAME_CHARS_MAX),
        "must have 1 to 200 characters, none of them a control character",
    );
}

/// Refuses what can't be the credential's name of a channel's account.
pub(crate) fn check_credential_name(
    channel: Channel,
    name: &str,
    violations: &mut FieldViolations,
) {
    let is_right = if channel == Channel::Webhook {
        name.is_empty()
    } else {
        credentials::is_name(name)
    };
    violations.check(
        "account.credential_name",
        is_right,
        "must have 1 to 64 lower-case letters, digits and hyphens; must be empty for WEBHOOK",
    );
}

fn check_whatsapp(whatsapp: &WhatsAppSettings, violations: &mut FieldViolations) {
    let id = &whatsapp.phone_number_id;
    violations.check(
        "account.whatsapp.phone_number_id",
        (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()),
        "must have 1 to 32 digits",
    );
    violations.check(
        "account.whatsapp.templates",
        whatsapp.templates.len() <= TEMPLATES_MAX,
        "must be at most 10",
    );
    for (index, template) in whatsapp.templates.iter().take(TEMPLATES_MAX).enumerate() {
        check_template(
            &format!("account.whatsapp.templates[{index}]"),
            template,
            violations,
        );
    }
}

fn check_template(path: &str, template: &WhatsAppTemplate, violations: &mut FieldViolations) {
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    violations.check(
        &format!("{path}.name"),
        (1..=512).contains(&template.name.len()) && template.name.bytes().all(is_name),
        "must have 1 to 512 lower-case letters, digits and underscores",
    );
    let code = &template.language_code;
    violations.check(
        &format!("{path}.language_code"),
        (2..=16).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'),
        "must have 2 to 16 letters and underscores",
    );
    violations.check(
        &format!("{path}.body_parameters"),
        template.body_parameters.len() <= PARAMETERS_MAX,
        "must be at most 10",
    );
    for (index, parameter) in template
        .body_parameters
        .iter()
        .take(PARAMETERS_MAX)
        .enumerate()
    {
        let field = format!("{path}.body_parameters[{index}]");
        let is_text = !parameter.is_empty() && is_line(parameter, PARAMETER_CHARS_MAX);
        violations.check(
            &field,
            is_text,
            "must have 1 to 1024 characters, none of them a control character",
        );
        if let Err(error) = parameters::check(parameter) {
            violations.add(&field, error.to_string());
        }
    }
    let url = &template.header_image_url;
    let is_url = url.len() <= URL_BYTES_MAX
        && url::Url::parse(url).is_ok_and(|url| url.scheme() == "https" && url.has_host());
    violations.check(
        &format!("{path}.header_image_url"),
        if template.has_image_header {
            is_url
        } else {
            url.is_empty()
        },
        "must be an absolute https URL with an image header, and empty without",
    );
    violations.check(
        &format!("{path}.kinds"),
        template.kinds.len() <= KINDS_MAX,
        "must be at most 10",
    );
    for (index, kind) in template.kinds.iter().take(KINDS_MAX).enumerate() {
        let is_known =
            ActiveMessageKind::try_from(*kind).is_ok_and(|k| k != ActiveMessageKind::Unspecified);
        violations.check(
            &format!("{path}.kinds[{index}]"),
            is_known && !template.kinds[..index].contains(kind),
            "must be a known kind, and stand there once",
        );
    }
}

fn check_blip(blip: &BlipSettings, violations: &mut FieldViolations) {
    violations.check(
        "account.blip.contract_id",
        is_label(&blip.contract_id),
        "must have 1 to 63 lower-case letters, digits and hyphens",
    );
}

/// One part of a host's name.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && url::Host::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(template: &WhatsAppTemplate) -> Vec<String> {
        let mut violations = FieldViolations::new();
        check_template("t", template, &mut violations);
        match violations.into_result() {
            Ok(()) => Vec::new(),
            Err(status) => plazo_service::status::violations_of(&status)
                .into_iter()
                .map(|(field, _)| field)
                .collect(),
        }
    }

    #[test]
    fn templates_are_checked_when_they_are_saved() {
        let good = WhatsAppTemplate {
            name: "still_there_2".to_owned(),
            language_code: "pt_BR".to_owned(),
            body_parameters: vec!["{{text}}".to_owned(), "Ana".to_owned()],
            ..WhatsAppTemplate::default()
        };
        assert_eq!(wrong(&good), Vec::<String>::new());
        let mut bad = good.clone();
        bad.body_parameters = vec!["{{name}}".to_owned(), String::new(), "{{text".to_owned()];
        bad.name = "Still there".to_owned();
        bad.language_code = "p".to_owned();
        bad.has_image_header = true;
        bad.kinds = vec![9, 1, 1];
        assert_eq!(
            wrong(&bad),
            [
                "t.name",
                "t.language_code",
                "t.body_parameters[0]",
                "t.body_parameters[1]",
                "t.body_parameters[2]",
                "t.header_image_url",
                "t.kinds[0]",
                "t.kinds[2]"
            ]
        );
        let image = WhatsAppTemplate {
            header_image_url: "https://example.com/a.png".to_owned(),
            ..good
        };
        assert_eq!(wrong(&image), ["t.header_image_url"]);
    }

    #[test]
    fn settings_survive_storing() {
        let settings = Settings::Blip(BlipSettings {
            contract_id: "desk".to_owned(),
        });
        let stored = encode_settings(Some(settings.clone()));
        assert_eq!(decode_settings(&stored), Some(settings));
        assert_eq!(decode_settings(&encode_settings(None)), None);
        assert_eq!(decode_settings(&[0xff]), None);
    }
}
