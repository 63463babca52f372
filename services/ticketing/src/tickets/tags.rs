//! Tags of many tickets at once.

use plazo_domain::{MAX_TAGS, may_carry};
use plazo_proto::ticketing::v1::TagsChanged;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::settings::PolicyCache;
use crate::tickets::author_of;
use crate::tickets::bulk::{Outcomes, change_all};
use crate::tickets::change::TicketChange;

/// Which tags to add and to remove; no tag is in both.
#[derive(Debug, Clone)]
pub struct TagOrder {
    /// To add.
    pub add: Vec<String>,
    /// To remove.
    pub remove: Vec<String>,
}

/// Adds and removes tags of tickets. Adding what is there and removing what is not changes nothing. A tag that excludes
/// a ticket from being warned and closed counts at once.
pub async fn tag_tickets(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    actor: &Actor,
    ticket_ids: &[i64],
    order: &TagOrder,
) -> Result<Outcomes, Error> {
    let mut changes = TicketChange::lock_all(&mut *connection, actor, ticket_ids).await?;
    let policy_keys: Vec<(i64, i64)> = changes
        .values()
        .filter_map(|change| {
            let cycle = change.locked.clock.cycle()?;
            Some((actor.tenant_id, cycle.policy_version))
        })
        .collect();
    let policies = policies.policies(&mut *connection, &policy_keys).await?;
    let author = author_of(actor);
    change_all(connection, &mut changes, ticket_ids, |change| {
        let Some(payload) = change_tags(&mut change.facts.tags, order)? else {
            return Ok(());
        };
        let now = change.now();
        let version = change
            .locked
            .clock
            .cycle()
            .map(|cycle| cycle.policy_version);
        let policy = version.and_then(|version| policies.get(&(actor.tenant_id, version)));
        if let Some(policy) = policy {
            let is_excluded = policy.excludes(&payload.tags);
            change.clock().set_excluded(is_excluded, now, policy);
        }
        change.record(author, Payload::TagsChanged(payload));
        Ok(())
    })
    .await
}

/// Changes tags; none when nothing changes. On an error nothing was changed.
fn change_tags(tags: &mut Vec<String>, order: &TagOrder) -> Result<Option<TagsChanged>, Error> {
    let is_there = |tag: &&String| tags.contains(tag);
    let removed: Vec<String> = order.remove.iter().filter(is_there).cloned().collect();
    let added: Vec<String> = order
        .add
        .iter()
        .filter(|tag| !is_there(tag))
        .cloned()
        .collect();
    if removed.is_empty() && added.is_empty() {
        return Ok(None);
    }
    let mut all: Vec<String> = tags
        .iter()
        .filter(|tag| !removed.contains(tag))
        .cloned()
        .collect();
    all.extend(added.iter().cloned());
    all.sort_unstable();
    // A close may have left more than people may set.
    if !may_carry(tags.len(), all.len()) {
        let reason = format!(
            "must leave the ticket at most {} tags, would leave {}",
            tags.len().max(MAX_TAGS),
            all.len()
        );
        return Err(Error::invalid("add_tags", reason));
    }
    tags.clone_from(&all);
    Ok(Some(TagsChanged {
        added,
        removed,
        tags: all,
    }))
}
