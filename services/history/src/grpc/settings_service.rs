//! `plazo.history.v1.HistorySettingsService`.

use futures::FutureExt as _;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use plazo_database::{TenantPool, TenantReader};
use plazo_proto::history::v1::history_settings_service_server::HistorySettingsService;
use plazo_proto::history::v1::{
    AgentAccess, GetHistorySettingsRequest, GetHistorySettingsResponse, HistoryAgent, HistoryBot,
    HistorySettings as Settings, ListHistoryAgentsRequest, ListHistoryAgentsResponse,
    ListHistoryBotsRequest, ListHistoryBotsResponse, SetAgentAccessRequest, SetAgentAccessResponse,
    SetBotHistoryRequest, SetBotHistoryResponse, UpdateHistorySettingsRequest,
    UpdateHistorySettingsResponse,
};
use plazo_service::paging::{decode_page_token, encode_page_token, page_size};
use plazo_service::status::{FieldViolations, permission_denied};
use plazo_service::{Actor, BotScope, RequestKey};
use prost_types::Duration;
use tonic::{Request, Response, Status};

use super::DEFAULT_ITEMS;
use super::requests::{actor_of_tenant, id};
use crate::changes::Changes;
use crate::config::SightConfig;
use crate::model::to_proto;
use crate::store::Viewer;
use crate::store::settings::{self as store, Switch, TenantChange, TenantSettings};

const MAX_AGENTS: usize = 1_000;
const FIELDS: [&str; 4] = ["time_zone", "lookback", "show_delay", "retention_days"];
const DAY_SECONDS: i64 = 86_400;
const MAX_LOOKBACK_SECONDS: i64 = 3_650 * DAY_SECONDS;
const MAX_SHOW_DELAY_SECONDS: i64 = 400 * DAY_SECONDS;
const MAX_RETENTION_DAYS: i32 = 36_500;

/// The handlers.
#[derive(Debug)]
pub(crate) struct HistorySettings {
    pool: TenantPool,
    changes: Changes,
    defaults: SightConfig,
}

impl HistorySettings {
    pub(crate) fn new(pool: TenantPool, defaults: SightConfig) -> Self {
        Self {
            changes: Changes::new(pool.clone()),
            pool,
            defaults,
        }
    }

    async fn reader(&self, tenant_id: i64) -> Result<TenantReader, Status> {
        let reader = self.pool.read(tenant_id).await;
        reader.map_err(|error| plazo_database::to_status(&error))
    }
}

#[tonic::async_trait]
impl HistorySettingsService for HistorySettings {
    async fn set_bot_history(
        &self,
        request: Request<SetBotHistoryRequest>,
    ) -> Result<Response<SetBotHistoryResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let bot_id = id("bot_id", request.bot_id)?;
        actor.require_bot(bot_id)?;
        let key = RequestKey::new(&actor, "SetBotHistory", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (tenant_id, enabled) = (actor.tenant_id, request.enabled);
            async move {
                let bot = store::set_bot(connection, tenant_id, bot_id, enabled).await?;
                Ok(SetBotHistoryResponse {
                    bot: Some(history_bot(bot)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn list_history_bots(
        &self,
        request: Request<ListHistoryBotsRequest>,
    ) -> Result<Response<ListHistoryBotsResponse>, Status> {
        let viewer = Viewer::from(&actor_of_tenant(&request)?);
        let request = request.into_inner();
        let page = SwitchPage::read(
            format!("history bots of tenant {}", viewer.tenant_id),
            request.page_size,
            &request.page_token,
        )?;
        let permitted = viewer.bot_ids.as_deref();
        let mut reader = self.reader(viewer.tenant_id).await?;
        let bots = store::list_bots(
            &mut reader,
            viewer.tenant_id,
            permitted,
            page.after,
            page.size + 1,
        );
        let bots = bots
            .await
            .map_err(|error| plazo_database::to_status(&error))?;
        let (bots, next_page_token) = page.finish(bots);
        Ok(Response::new(ListHistoryBotsResponse {
            bots: bots.into_iter().map(history_bot).collect(),
            next_page_token,
        }))
    }

    async fn set_agent_access(
        &self,
        request: Request<SetAgentAccessRequest>,
    ) -> Result<Response<SetAgentAccessResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        require_all_bots(&actor)?;
        let request = request.into_inner();
        let agent_ids = agent_ids(&request)?;
        let key = RequestKey::new(&actor, "SetAgentAccess", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (tenant_id, granted) = (actor.tenant_id, request.granted);
            let agent_ids = agent_ids.clone();
            async move {
                let agents = store::set_agents(connection, tenant_id, &agent_ids, granted).await?;
                let agents = agents.into_iter().map(|(agent, changed)| AgentAccess {
                    agent: Some(history_agent(agent)),
                    changed,
                });
                Ok(SetAgentAccessResponse {
                    agents: agents.collect(),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn list_history_agents(
        &self,
        request: Request<ListHistoryAgentsRequest>,
    ) -> Result<Response<ListHistoryAgentsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        require_all_bots(&actor)?;
        let request = request.into_inner();
        let page = SwitchPage::read(
            format!("history agents of tenant {}", actor.tenant_id),
            request.page_size,
            &request.page_token,
        )?;
        let mut reader = self.reader(actor.tenant_id).await?;
        let agents = store::list_agents(&mut reader, actor.tenant_id, page.after, page.size + 1);
        let agents = agents
            .await
            .map_err(|error| plazo_database::to_status(&error))?;
        let (agents, next_page_token) = page.finish(agents);
        Ok(Response::new(ListHistoryAgentsResponse {
            agents: agents.into_iter().map(history_agent).collect(),
            next_page_token,
        }))
    }

    async fn get_history_settings(
        &self,
        request: Request<GetHistorySettingsRequest>,
    ) -> Result<Response<GetHistorySettingsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let mut reader = self.reader(actor.tenant_id).await?;
        let settings = store::get(&mut reader, actor.tenant_id).await;
        let settings = settings.map_err(|error| plazo_database::to_status(&error))?;
        Ok(Response::new(GetHistorySettingsResponse {
            settings: Some(answer(settings)),
            defaults: Some(Settings {
                lookback: Some(seconds(self.defaults.lookback_seconds())),
                show_delay: Some(seconds(self.defaults.show_delay_seconds())),
                ..Settings::default()
            }),
        }))
    }

    async fn update_history_settings(
        &self,
        request: Request<UpdateHistorySettingsRequest>,
    ) -> Result<Response<UpdateHistorySettingsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        require_all_bots(&actor)?;
        let request = request.into_inner();
        let (etag, change) = tenant_change(&request)?;
        let key = RequestKey::new(&actor, "UpdateHistorySettings", &request, |it| {
            &mut it.request_id
        })?;
        let answered = self.changes.run(key, move |connection| {
            let (tenant_id, etag, change) = (actor.tenant_id, etag.clone(), change.clone());
            async move {
                let settings = store::update(connection, tenant_id, &etag, &change).await?;
                Ok(UpdateHistorySettingsResponse {
                    settings: Some(answer(settings)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answered.await?))
    }
}

/// What holds for the whole tenant is not changed by those who may use a part of it, and nobody knows here whose bots' agents
/// those are who have the permission.
fn require_all_bots(actor: &Actor) -> Result<(), Status> {
    match actor.bots {
        BotScope::All => Ok(()),
        BotScope::Only(_) => Err(permission_denied(
            "BOT_NOT_PERMITTED",
            "the actor may use some bots only, and this is about all",
        )),
    }
}

/// The agents of a request, sorted and each once.
fn agent_ids(request: &SetAgentAccessRequest) -> Result<Vec<i64>, Status> {
    let mut violations = FieldViolations::new();
    let count = request.agent_ids.len();
    violations.check(
        "agent_ids",
        (1..=MAX_AGENTS).contains(&count),
        "must be 1 to 1,000 agents",
    );
    for (index, agent_id) in request.agent_ids.iter().enumerate() {
        if *agent_id <= 0 {
            violations.add(format!("agent_ids[{index}]"), "must be above zero");
        }
    }
    violations.into_result()?;
    let mut agent_ids = request.agent_ids.clone();
    agent_ids.sort_unstable();
    agent_ids.dedup();
    Ok(agent_ids)
}

/// The etag and the new values of a request.
fn tenant_change(request: &UpdateHistorySettingsRequest) -> Result<(String, TenantChange), Status> {
    let mut violations = FieldViolations::new();
    let new = request.settings.clone().unwrap_or_default();
    let mask = request.update_mask.as_ref();
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    let is_known = paths.iter().all(|path| FIELDS.contains(&path.as_str()));
    violations.check(
        "update_mask",
        is_known,
        "must name time_zone, lookback, show_delay or retention_days",
    );
    let has = |field: &str| paths.is_empty() || paths.iter().any(|path| path == field);

    let mut change = TenantChange::default();
    if has("time_zone") {
        let time_zone = if new.time_zone.is_empty() {
            "UTC".to_owned()
        } else {
            new.time_zone
        };
        if let Err(problem) = check_zone(&time_zone) {
            violations.add("settings.time_zone", problem);
        }
        change.time_zone = Some(time_zone);
    }
    let mut length = |field: &str, value: Option<Duration>, least: i64, most: i64| {
        let valid =
            value.is_none_or(|value| value.nanos == 0 && (least..=most).contains(&value.seconds));
        let problem = format!("must be {least} to {most} whole seconds");
        violations.check(field, valid, &problem);
        value.map(|value| value.seconds)
    };
    if has("lookback") {
        let field = "settings.lookback";
        let lookback = length(field, new.lookback, 1, MAX_LOOKBACK_SECONDS);
        change.lookback_seconds = Some(lookback.into());
    }
    if has("show_delay") {
        let field = "settings.show_delay";
        let delay = length(field, new.show_delay, 0, MAX_SHOW_DELAY_SECONDS);
        change.show_delay_seconds = Some(delay.into());
    }
    if has("retention_days") {
        violations.check(
            "settings.retention_days",
            (0..=MAX_RETENTION_DAYS).contains(&new.retention_days),
            "must be 0 to 36,500 days",
        );
        let days = Some(new.retention_days).filter(|days| *days != 0);
        change.retention_days = Some(days.into());
    }
    violations.into_result()?;
    Ok((new.etag, change))
}

/// Whether a name is that of a time zone as the IANA database spells it; otherwise what is wrong with it. Names that mean
/// "not known" are refused too: their local time is a guess.
fn check_zone(name: &str) -> Result<(), String> {
    const NOT_SET: &str = "Factory";
    let zone = TimeZoneDatabase::bundled().get(name).ok();
    // `Etc/Unknown` is a zone without a name.
    let known = zone.as_ref().and_then(TimeZone::iana_name);
    match known.filter(|known| *known != NOT_SET) {
        Some(known) if known == name => Ok(()),
        Some(known) => Err(format!(
            "must be spelled as the IANA database does: {known}"
        )),
        None => Err(
            "must be the name of a time zone in the IANA database, as Europe/Berlin is".to_owned(),
        ),
    }
}

fn answer(settings: TenantSettings) -> Settings {
    Settings {
        etag: settings.etag(),
        time_zone: settings.time_zone,
        lookback: settings.lookback_seconds.map(seconds),
        show_delay: settings.show_delay_seconds.map(seconds),
        retention_days: settings.retention_days.unwrap_or_default(),
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

fn history_bot(bot: Switch) -> HistoryBot {
    HistoryBot {
        bot_id: bot.id,
        enable_time: bot.since.map(to_proto),
    }
}

fn history_agent(agent: Switch) -> HistoryAgent {
    HistoryAgent {
        agent_id: agent.id,
        grant_time: agent.since.map(to_proto),
    }
}

/// A page of a list that is ordered by id.
struct SwitchPage {
    filter: String,
    size: i64,
    /// The id after which it begins.
    after: i64,
}

impl SwitchPage {
    fn read(filter: String, size: i32, token: &str) -> Result<Self, Status> {
        let size = page_size(size, DEFAULT_ITEMS)?;
        let [after] = decode_page_token(filter.as_bytes(), token)?.unwrap_or([0]);
        Ok(Self {
            filter,
            size,
            after,
        })
    }

    /// The rows of this page, of one more than it holds, and the token of the next one.
    fn finish(&self, mut rows: Vec<Switch>) -> (Vec<Switch>, String) {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        if rows.len() <= size {
            return (rows, String::new());
        }
        rows.truncate(size);
        let token = rows
            .last()
            .map(|last| encode_page_token(self.filter.as_bytes(), [last.id]));
        (rows, token.unwrap_or_default())
    }
}
