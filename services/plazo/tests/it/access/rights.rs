//! Which right opens which call: written down once more, so that a change is made twice or noticed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use plazo::issuer::TokenRequest;
use plazo_service::{ActorKind, BotScope};

use super::{Desk, outside_rights};

/// A line for each RPC: its path and the permissions of which any one will do. None: only services.
const TABLE: &str = include_str!("rights.txt");
/// Nothing is there.
const EMPTY_TENANT: i64 = 999;

/// Each permission alone opens what the table says, and nothing else.
pub(super) async fn are_as_the_table_says(desk: &Desk) {
    let mut opened: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for permission in outside_rights() {
        let token = desk.token(&TokenRequest {
            tenant_id: EMPTY_TENANT,
            kind: ActorKind::Administrator(1),
            permissions: vec![permission],
            bots: Some(BotScope::All),
            ttl: Duration::from_hours(1),
        });
        for rpc in &desk.api.rpcs {
            // An empty request: few of them do anything.
            let answer = desk.call(rpc, Vec::new(), Some(&token)).await;
            let rights = opened.entry(&rpc.path).or_default();
            if !answer.is_denied() {
                rights.push(permission.name());
            }
        }
    }
    let mut found = String::new();
    for (path, rights) in opened {
        let _ = writeln!(found, "{path} {}", rights.join(" "));
    }
    let lines =
        |text: &str| -> Vec<String> { text.lines().map(|it| it.trim().to_owned()).collect() };
    assert_eq!(lines(&found), lines(TABLE), "the table would be\n{found}");
}
