//! `plazo token`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use plazo::issuer::{DevelopmentIssuer, TokenRequest};
use plazo_service::{ActorKind, BotScope, Permission};

use super::UsageError;

pub(super) const TOKEN_ABOUT: &str = "\
Make a token for calls of a cluster that 'plazo up' started.

It is signed with the key in the cluster's data folder, and of no use elsewhere. Give it in the header \
'authorization: Bearer TOKEN'.";

/// Longer ones are mistakes.
const MAX_TTL: Duration = Duration::from_hours(24 * 366);

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("actor").required(true))]
pub(crate) struct TokenArguments {
    /// The tenant
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    tenant: i64,
    /// The caller is this agent
    #[arg(long, value_name = "ID", group = "actor", value_parser = clap::value_parser!(i64).range(1..))]
    agent: Option<i64>,
    /// The caller is this bot
    #[arg(long, value_name = "ID", group = "actor", value_parser = clap::value_parser!(i64).range(1..))]
    bot: Option<i64>,
    /// The caller is this administrator
    #[arg(long, value_name = "ID", group = "actor", value_parser = clap::value_parser!(i64).range(1..))]
    administrator: Option<i64>,
    /// What the caller may do, as in `tickets:attend,history:view`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = permission)]
    permissions: Vec<Permission>,
    /// For which bots, as in 1,2 or '*' [default: none; for administrators all]
    #[arg(long, value_name = "IDS", value_parser = bots)]
    bots: Option<BotScope>,
    /// How long it is valid, as in 90s, 15m, 1h or 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    /// The cluster's data folder [default: that of `plazo up`]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl TokenArguments {
    /// The token.
    pub(crate) fn make(self) -> anyhow::Result<String> {
        let data = self.data.or_else(plazo_local::default_data_folder);
        let data = data.ok_or(UsageError::NoDataFolder)?;
        let kind = match (self.agent, self.bot, self.administrator) {
            (Some(id), _, _) => ActorKind::Agent(id),
            (_, Some(id), _) => ActorKind::Bot(id),
            (_, _, Some(id)) => ActorKind::Administrator(id),
            (None, None, None) => anyhow::bail!("one of --agent, --bot and --administrator"),
        };
        let request = TokenRequest {
            tenant_id: self.tenant,
            kind,
            permissions: self.permissions,
            bots: self.bots,
            ttl: self.ttl,
        };
        let issuer = DevelopmentIssuer::open(&data)?;
        Ok(issuer.token(&request, Timestamp::now())?)
    }
}

fn permission(name: &str) -> Result<Permission, String> {
    match Permission::from_name(name) {
        Some(Permission::Service) => {
            Err("only services have it, and no token makes a service".to_owned())
        }
        Some(permission) => Ok(permission),
        None => {
            let known: Vec<_> = Permission::ALL
                .into_iter()
                .filter(|permission| *permission != Permission::Service)
                .map(Permission::name)
                .collect();
            Err(format!("it is one of {}", known.join(", ")))
        }
    }
}

fn bots(text: &str) -> Result<BotScope, String> {
    if text == "*" {
        return Ok(BotScope::All);
    }
    text.split(',')
        .map(|id| id.trim().parse().ok().filter(|id: &i64| *id > 0))
        .collect::<Option<Vec<_>>>()
        .map(BotScope::only)
        .ok_or_else(|| "it is '*', or ids like 1,2".to_owned())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let must = || "it is a time like 90s, 15m, 1h or 7d, of a year at most".to_owned();
    let split = text.len().checked_sub(1).ok_or_else(must)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(must)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(must()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .filter(|ttl| !ttl.is_zero() && *ttl <= MAX_TTL)
        .ok_or_else(must)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("1h", Some(3_600)),
            ("7d", Some(604_800)),
            ("", None),
            ("1", None),
            ("h", None),
            ("0s", None),
            ("-1h", None),
            ("1é", None),
            ("400d", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(
                ttl(text).ok(),
                expected.map(Duration::from_secs),
                "{text:?}"
            );
        }
    }

    #[test]
    fn bots_are_all_or_ids() {
        assert_eq!(bots("*"), Ok(BotScope::All));
        assert_eq!(bots("2, 1,2"), Ok(BotScope::Only(vec![1, 2])));
        for wrong in ["", "0", "a", "1,,2", "*,1"] {
            assert!(bots(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_token_has_the_right_of_services() {
        assert!(permission("service").is_err());
        let told = permission("all").expect_err("unknown");
        assert!(
            told.contains("tickets:attend") && !told.contains("service"),
            "{told}"
        );
    }
}
