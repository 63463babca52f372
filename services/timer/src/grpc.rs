//! The gRPC API: reads requests, calls the store, writes answers.

mod read;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use plazo_proto::timer::v1 as proto;
use plazo_proto::timer::v1::timer_service_server::TimerService;
use plazo_service::paging::{decode_page_token, encode_page_token, page_size};
use plazo_service::status::{
    internal, invalid, permission_denied, resource_exhausted, unavailable,
};
use plazo_service::{Actor, ActorKind, BotScope, MethodPermissions, Permission};
use tonic::{Request, Response, Status, Streaming};

use crate::arming::{self, Armer};
use crate::core::Core;
use crate::metrics::RepairCause;
use crate::store::{EntryList, StoreError, count};
pub(crate) use read::pending_entry;

/// Reading is for administrators too.
const READERS: &[Permission] = &[Permission::Service, Permission::HelpdeskView];
const SERVICES: &[Permission] = &[Permission::Service];

/// Who may call what.
pub(crate) const PERMISSIONS: MethodPermissions = &[
    ("/plazo.timer.v1.TimerService/ArmTickets", SERVICES),
    ("/plazo.timer.v1.TimerService/StreamArms", SERVICES),
    ("/plazo.timer.v1.TimerService/RepairTickets", SERVICES),
    ("/plazo.timer.v1.TimerService/GetTicketEntries", READERS),
    ("/plazo.timer.v1.TimerService/ListDueEntries", READERS),
    (
        "/plazo.timer.v1.TimerService/ListQuarantinedEntries",
        READERS,
    ),
    (
        "/plazo.timer.v1.TimerService/ReleaseQuarantinedEntries",
        SERVICES,
    ),
    ("/plazo.timer.v1.TimerService/GetTimerStats", SERVICES),
];

const PAGE_SIZE_DEFAULT: i32 = 50;
const RETRY_UNAVAILABLE: Duration = Duration::from_millis(100);
const RETRY_OUT_OF_MEMORY: Duration = Duration::from_secs(1);
/// Requests of a stream that are under way at the same time. The others wait in the network.
const STREAM_REQUESTS_MAX: usize = 64;

/// Serves `plazo.timer.v1.TimerService`.
#[derive(Debug)]
pub(crate) struct TimerGrpc {
    core: Arc<Core>,
    armer: Armer,
}

impl TimerGrpc {
    pub(crate) fn new(core: Arc<Core>, armer: Armer) -> Self {
        Self { core, armer }
    }

    async fn page(
        &self,
        list: EntryList,
        actor: &Actor,
        requested_size: i32,
        page_token: &str,
    ) -> Result<(Vec<proto::TimerEntry>, String), Status> {
        let tenant_id = reader_tenant(actor)?;
        let size = page_size(requested_size, PAGE_SIZE_DEFAULT)?;
        let filter = read::page_filter(list, tenant_id);
        let after = decode_page_token(&filter, page_token)?
            .map(|cursor| read::position(cursor, self.core.store.layout()))
            .transpose()?;
        let limit = usize::try_from(size).unwrap_or(1);
        let (entries, next) = self
            .core
            .store
            .list(list, tenant_id, after, limit)
            .await
            .map_err(store_status)?;
        let token = next.map_or_else(String::new, |position| {
            encode_page_token(&filter, read::cursor(position))
        });
        Ok((entries.into_iter().map(write::entry).collect(), token))
    }
}

#[tonic::async_trait]
impl TimerService for TimerGrpc {
    async fn arm_tickets(
        &self,
        request: Request<proto::ArmTicketsRequest>,
    ) -> Result<Response<proto::ArmTicketsResponse>, Status> {
        let arms = read::arms(&request.into_inner().arms, read::TICKETS_MAX)?;
        let answer = arming::arm(&self.core, &arms).await;
        if let Some(error) = answer.failure {
            return Err(store_status(error));
        }
        Ok(Response::new(proto::ArmTicketsResponse {
            added_count: answer.counts.added,
            removed_count: answer.counts.removed,
            outcomes: answer.outcomes.into_iter().map(Into::into).collect(),
        }))
    }

    type StreamArmsStream = BoxStream<'static, Result<proto::StreamArmsResponse, Status>>;

    async fn stream_arms(
        &self,
        request: Request<Streaming<proto::StreamArmsRequest>>,
    ) -> Result<Response<Self::StreamArmsStream>, Status> {
        let armer = self.armer.clone();
        let answers = request.into_inner().map(move |request| {
            let arms = request.and_then(|request| read::arms(&request.arms, read::STREAM_ARMS_MAX));
            let armer = armer.clone();
            async move {
                let outcomes = armer.arm(arms?).await;
                let outcomes = outcomes.into_iter().map(Into::into).collect();
                Ok(proto::StreamArmsResponse { outcomes })
            }
        });
        let answers = answers.buffered(STREAM_REQUESTS_MAX);
        Ok(Response::new(answers.boxed()))
    }

    async fn repair_tickets(
        &self,
        request: Request<proto::RepairTicketsRequest>,
    ) -> Result<Response<proto::RepairTicketsResponse>, Status> {
        let entries = read::pending_entries(&request.into_inner())?;
        let core = &self.core;
        let layout = core.store.layout();
        let shards: BTreeSet<_> = entries
            .iter()
            .map(|entry| layout.shard_of_member(&entry.member))
            .collect();
        let shards: Vec<_> = shards.into_iter().collect();
        let grace_ms = i64::try_from(core.config.timer.repair_grace_ms).unwrap_or(i64::MAX);
        let backlogs = core.store.have_backlog(&shards, grace_ms).await;
        // What waits in a backlog isn't lost. What can't be asked now is asked for again by the next sweep.
        let mut resting = BTreeSet::new();
        let mut failures = Vec::new();
        for (shard, has_backlog) in shards.iter().zip(backlogs) {
            match has_backlog {
                Ok(false) => {}
                Ok(true) => {
                    resting.insert(*shard);
                }
                Err(error) => {
                    resting.insert(*shard);
                    failures.push(error);
                }
            }
        }
        if failures.len() == shards.len()
            && let Some(error) = failures.pop()
        {
            return Err(store_status(error));
        }
        let total = entries.len();
        let entries: Vec<_> = entries
            .into_iter()
            .filter(|entry| !resting.contains(&layout.shard_of_member(&entry.member)))
            .collect();
        let mut repaired_count = 0;
        for (shard, repaired) in arming::repair(core, &entries).await {
            let repaired = repaired.map_err(store_status)?;
            repaired_count += repaired.added;
            if let Some(due_ms) = repaired.first_due_ms {
                core.hint(shard, due_ms);
            }
        }
        if repaired_count > 0 {
            tracing::error!(
                entries = repaired_count,
                "entries were missing outside a rebuild"
            );
            core.metrics.repaired(RepairCause::Sweep, repaired_count);
        }
        Ok(Response::new(proto::RepairTicketsResponse {
            repaired_count,
            skipped_count: count(total - entries.len()),
        }))
    }

    async fn get_ticket_entries(
        &self,
        request: Request<proto::GetTicketEntriesRequest>,
    ) -> Result<Response<proto::GetTicketEntriesResponse>, Status> {
        let own_tenant = reader_tenant(Actor::of(&request)?)?;
        let (tenant_id, ticket_id) = read::ticket(request.get_ref(), own_tenant)?;
        let entries = self
            .core
            .store
            .entries_of(tenant_id, ticket_id)
            .await
            .map_err(store_status)?;
        let entries = entries.into_iter().map(write::entry).collect();
        Ok(Response::new(proto::GetTicketEntriesResponse { entries }))
    }

    async fn list_due_entries(
        &self,
        request: Request<proto::ListDueEntriesRequest>,
    ) -> Result<Response<proto::ListDueEntriesResponse>, Status> {
        let actor = Actor::of(&request)?;
        let message = request.get_ref();
        let (entries, next_page_token) = self
            .page(
                EntryList::Due,
                actor,
                message.page_size,
                &message.page_token,
            )
            .await?;
        Ok(Response::new(proto::ListDueEntriesResponse {
            entries,
            next_page_token,
        }))
    }

    async fn list_quarantined_entries(
        &self,
        request: Request<proto::ListQuarantinedEntriesRequest>,
    ) -> Result<Response<proto::ListQuarantinedEntriesResponse>, Status> {
        let actor = Actor::of(&request)?;
        let message = request.get_ref();
        let (entries, next_page_token) = self
            .page(
                EntryList::Quarantined,
                actor,
                message.page_size,
                &message.page_token,
            )
            .await?;
        Ok(Response::new(proto::ListQuarantinedEntriesResponse {
            entries,
            next_page_token,
        }))
    }

    async fn release_quarantined_entries(
        &self,
        request: Request<proto::ReleaseQuarantinedEntriesRequest>,
    ) -> Result<Response<proto::ReleaseQuarantinedEntriesResponse>, Status> {
        let members = read::members(&request.into_inner())?;
        let core = &self.core;
        let released_count = core.store.release(&members).await.map_err(store_status)?;
        let now_ms = core.clock.now_ms();
        for member in &members {
            core.hint(core.store.layout().shard_of_member(member), now_ms);
        }
        Ok(Response::new(proto::ReleaseQuarantinedEntriesResponse {
            released_count,
        }))
    }

    async fn get_timer_stats(
        &self,
        _: Request<proto::GetTimerStatsRequest>,
    ) -> Result<Response<proto::GetTimerStatsResponse>, Status> {
        let store = &self.core.store;
        let now_ms = self.core.clock.now_ms();
        let mut counts = store.counts(now_ms).await;
        if counts.iter().all(|(_, counts)| counts.is_err())
            && let Some((_, Err(error))) = counts.pop()
        {
            return Err(store_status(error));
        }
        let alive_ms = self.core.config.guard.replica_alive_ms;
        // The list may be in a Redis that is away while others are there.
        let replica_ids = store.replicas(alive_ms).await.unwrap_or_default();
        let layout = store.layout();
        Ok(Response::new(proto::GetTimerStatsResponse {
            shards: counts
                .iter()
                .map(|counts| write::shard_stats(counts, layout, &replica_ids))
                .collect(),
            redis_time: Some(write::timestamp(now_ms)),
            replica_ids,
        }))
    }
}

/// The tenant whose entries the actor may read; none for services, which may read all. An entry doesn't say whose bot's
/// ticket it is of, so those who may use some bots only read none.
fn reader_tenant(actor: &Actor) -> Result<Option<i64>, Status> {
    match (&actor.kind, &actor.bots) {
        (ActorKind::Service(_), _) => Ok(None),
        (ActorKind::Administrator(_), BotScope::All) => Ok(Some(actor.tenant_id)),
        (ActorKind::Administrator(_), BotScope::Only(_)) => Err(permission_denied(
            "BOT_NOT_PERMITTED",
            "the actor may use some bots only, and read none of the timer's entries",
        )),
        (ActorKind::Agent(_) | ActorKind::Bot(_), _) => Err(permission_denied(
            "ACTOR_NOT_PERMITTED",
            "only services and administrators may read the timer's entries",
        )),
    }
}

/// Errors of Redis as callers see them.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn store_status(error: StoreError) -> Status {
    match error {
        StoreError::Unavailable(_) | StoreError::LeftAlone => {
            tracing::warn!(
                error = plazo_service::status::chain(&error),
                "redis is unavailable"
            );
            unavailable(
                "REDIS_UNAVAILABLE",
                "redis can't be reached",
                RETRY_UNAVAILABLE,
            )
        }
        StoreError::OutOfMemory(_) => resource_exhausted(
            "REDIS_OUT_OF_MEMORY",
            "redis takes no more entries",
            RETRY_OUT_OF_MEMORY,
        ),
        StoreError::Refused(_) | StoreError::Answer(_) => internal(&error),
    }
}

/// INVALID_ARGUMENT for the tenant of a reader.
fn wrong_tenant(description: &str) -> Status {
    invalid("tenant_id", description)
}
