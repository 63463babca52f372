//! What values of the configuration must be.

use plazo_service::{ConfigError, TlsConfig};

use super::{BlipConfig, CallbacksConfig, Config, OutboxConfig, SubscriptionsConfig};

impl Config {
    /// The numbers of the providers' sections that must be above zero, and whether they are zero.
    fn zeros_of_channels(&self) -> [(&'static str, bool); 9] {
        let (whatsapp, blip, email) = (&self.whatsapp, &self.blip, &self.email);
        [
            (
                "whatsapp.connect_timeout_ms",
                whatsapp.connect_timeout_ms == 0,
            ),
            (
                "whatsapp.request_timeout_ms",
                whatsapp.request_timeout_ms == 0,
            ),
            (
                "whatsapp.messages_per_second",
                whatsapp.messages_per_second == 0,
            ),
            ("blip.connect_timeout_ms", blip.connect_timeout_ms == 0),
            ("blip.request_timeout_ms", blip.request_timeout_ms == 0),
            ("blip.messages_per_second", blip.messages_per_second == 0),
            ("email.connect_timeout_ms", email.connect_timeout_ms == 0),
            ("email.request_timeout_ms", email.request_timeout_ms == 0),
            ("email.messages_per_second", email.messages_per_second == 0),
        ]
    }

    /// Names the first value that can't be used.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.server.validate("server")?;
        self.access.validate("access", self.server.listen)?;
        TlsConfig::validate(self.tls.as_ref(), &self.server)?;
        self.ticketing.validate("ticketing")?;
        let sender = &self.sender;
        self.subscriptions.validate()?;
        for (key, is_zero) in [
            (
                "database.max_connections",
                self.database.max_connections == 0,
            ),
            (
                "database.acquire_timeout_ms",
                self.database.acquire_timeout_ms == 0,
            ),
            ("database.max_waiting", self.database.max_waiting == 0),
            (
                "database.statement_timeout_ms",
                self.database.statement_timeout_ms == 0,
            ),
            ("feed.first_backoff_ms", self.feed.first_backoff_ms == 0),
            ("feed.silence_timeout_ms", self.feed.silence_timeout_ms == 0),
            ("sender.max_in_flight", sender.max_in_flight == 0),
            (
                "sender.max_in_flight_per_account",
                sender.max_in_flight_per_account == 0,
            ),
            ("sender.poll_ms", sender.poll_ms == 0),
            ("sender.lease_margin_ms", sender.lease_margin_ms == 0),
            (
                "webhook.connect_timeout_ms",
                self.webhook.connect_timeout_ms == 0,
            ),
            (
                "webhook.request_timeout_ms",
                self.webhook.request_timeout_ms == 0,
            ),
            (
                "providers.retry_delays_ms",
                self.providers.retry_delays_ms.is_empty(),
            ),
            (
                "providers.give_up_after_s",
                self.providers.give_up_after_s == 0,
            ),
            (
                "providers.breaker_failures",
                self.providers.breaker_failures == 0,
            ),
            (
                "providers.breaker_first_ms",
                self.providers.breaker_first_ms == 0,
            ),
            ("purge.interval_s", self.purge.interval_s == 0),
            ("purge.batch", self.purge.batch == 0),
        ]
        .into_iter()
        .chain(self.zeros_of_channels())
        {
            refuse_if(is_zero, key, "must be above zero")?;
        }
        self.reporter.validate("reporter", 500)?;
        self.callbacks.validate()?;
        self.inbound.validate("inbound", 200)?;
        let is_part = (0.0..=1.0).contains(&sender.retry_jitter);
        refuse_if(!is_part, "sender.retry_jitter", "must be from 0 to 1")?;
        let is_part = (0.0..=1.0).contains(&self.providers.retry_jitter);
        refuse_if(!is_part, "providers.retry_jitter", "must be from 0 to 1")?;
        refuse_if(
            !is_http_url(&self.whatsapp.base_url),
            "whatsapp.base_url",
            "must be an absolute http or https URL",
        )?;
        let blip_url = &self.blip.base_url;
        let has_contract = blip_url.contains(BlipConfig::CONTRACT);
        refuse_if(
            !has_contract || !is_http_url(&blip_url.replace(BlipConfig::CONTRACT, "contract")),
            "blip.base_url",
            "must be an absolute http or https URL with {contract} in it",
        )?;
        refuse_if(
            sender.retry_delays_ms.len() > 100,
            "sender.retry_delays_ms",
            "has more than 100 waits",
        )?;
        let connections = self.database.background_connections;
        // The feed, the reporter, the settler and what hands over what customers write hold one each while calls need some
        // too.
        refuse_if(
            connections < 5,
            "database.background_connections",
            "must be 5 or more",
        )
    }
}

impl CallbacksConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, is_zero) in [
            ("callbacks.max_body_bytes", self.max_body_bytes == 0),
            ("callbacks.request_timeout_ms", self.request_timeout_ms == 0),
            ("callbacks.max_connections", self.max_connections == 0),
        ] {
            refuse_if(is_zero, key, "must be above zero")?;
        }
        Ok(())
    }
}

impl SubscriptionsConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, is_zero) in [
            ("subscriptions.max_in_flight", self.max_in_flight == 0),
            (
                "subscriptions.max_in_flight_per_subscription",
                self.max_in_flight_per_subscription == 0,
            ),
            ("subscriptions.poll_ms", self.poll_ms == 0),
            ("subscriptions.max_waiting", self.max_waiting == 0),
        ] {
            refuse_if(is_zero, key, "must be above zero")?;
        }
        Ok(())
    }
}

impl OutboxConfig {
    fn validate(&self, section: &str, batch_max: u32) -> Result<(), ConfigError> {
        for (key, is_zero) in [
            ("poll_ms", self.poll_ms == 0),
            ("first_backoff_ms", self.first_backoff_ms == 0),
        ] {
            refuse_if(is_zero, &format!("{section}.{key}"), "must be above zero")?;
        }
        refuse_if(
            !(1..=batch_max).contains(&self.batch),
            &format!("{section}.batch"),
            &format!("must be 1 to {batch_max}"),
        )
    }
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn refuse_if(wrong: bool, key: &str, problem: &str) -> Result<(), ConfigError> {
    if wrong {
        Err(ConfigError::value(key, problem))
    } else {
        Ok(())
    }
}
