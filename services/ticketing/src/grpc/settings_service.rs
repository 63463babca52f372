//! `plazo.ticketing.v1.SettingsService`.

mod answers;
mod calendars;
mod policies;
mod requests;

use futures::FutureExt as _;
use plazo_database::TenantReader;
use plazo_proto::ticketing::v1::settings_service_server::SettingsService as Api;
use plazo_proto::ticketing::v1::{
    CreateAgentRequest, CreateAgentResponse, CreateBotRequest, CreateBotResponse,
    CreateCalendarRequest, CreateCalendarResponse, CreateQueueRequest, CreateQueueResponse,
    GetAgentRequest, GetAgentResponse, GetBotRequest, GetBotResponse, GetCalendarRequest,
    GetCalendarResponse, GetInactivityPolicyRequest, GetInactivityPolicyResponse,
    ListAgentsRequest, ListAgentsResponse, ListBotsRequest, ListBotsResponse, ListCalendarsRequest,
    ListCalendarsResponse, ListQueuesRequest, ListQueuesResponse, PreviewSettingsRequest,
    PreviewSettingsResponse, RemoveQueuePolicyRequest, RemoveQueuePolicyResponse,
    SetExitRouteRequest, SetExitRouteResponse, SetInactivityPolicyRequest,
    SetInactivityPolicyResponse, UpdateAgentRequest, UpdateAgentResponse, UpdateBotRequest,
    UpdateBotResponse, UpdateCalendarRequest, UpdateCalendarResponse,
};
use plazo_service::RequestKey;
use tonic::{Request, Response, Status};

use super::caller::actor_of_tenant;
use super::pages::Page;
use crate::applying::Applying;
use crate::changes::Changes;
use crate::error::Error;
use crate::settings::{agents, bots, check_reach, queues};

/// Bots, their policies, calendars, queues and agents.
#[derive(Debug, Clone)]
pub struct SettingsService {
    changes: Changes,
    applying: Applying,
}

impl SettingsService {
    /// Settings in the database of `changes`, applied to open tickets by `applying`.
    pub fn new(changes: Changes, applying: Applying) -> Self {
        Self { changes, applying }
    }

    async fn connection(&self, tenant_id: i64) -> Result<TenantReader, Error> {
        self.changes.connection(tenant_id).await
    }
}

#[tonic::async_trait]
impl Api for SettingsService {
    async fn create_bot(
        &self,
        request: Request<CreateBotRequest>,
    ) -> Result<Response<CreateBotResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        bots::check_may_create(&actor)?;
        let request = request.into_inner();
        let new = requests::new_bot(&request)?;
        let key = RequestKey::new(&actor, "CreateBot", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, new) = (actor.clone(), new.clone());
            async move {
                let bot = bots::create(connection, &actor, &new).await?;
                Ok(CreateBotResponse {
                    bot: Some(answers::bot(bot)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn get_bot(
        &self,
        request: Request<GetBotRequest>,
    ) -> Result<Response<GetBotResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let bot_id = requests::bot_id(request.get_ref().bot_id)?;
        let bot = bots::get(
            &mut *self.connection(actor.tenant_id).await?,
            &actor,
            bot_id,
        )
        .await?;
        Ok(Response::new(GetBotResponse {
            bot: Some(answers::bot(bot)),
        }))
    }

    async fn list_bots(
        &self,
        request: Request<ListBotsRequest>,
    ) -> Result<Response<ListBotsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let filter = format!("bots of tenant {}", actor.tenant_id);
        let page = Page::read(filter, request.page_size, &request.page_token)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let found = bots::list(&mut connection, &actor, page.after, page.limit()).await?;
        let (found, next_page_token) = page.finish(found, |bot| bot.bot_id);
        let bots = found.into_iter().map(answers::bot).collect();
        Ok(Response::new(ListBotsResponse {
            bots,
            next_page_token,
        }))
    }

    async fn update_bot(
        &self,
        request: Request<UpdateBotRequest>,
    ) -> Result<Response<UpdateBotResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let update = requests::bot_update(&request)?;
        check_reach(&actor, update.id)?;
        let key = RequestKey::new(&actor, "UpdateBot", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, update) = (actor.clone(), update.clone());
            async move {
                let requests::Update { id, etag, change } = &update;
                let bot = bots::update(connection, &actor, *id, etag, change).await?;
                Ok(UpdateBotResponse {
                    bot: Some(answers::bot(bot)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn set_exit_route(
        &self,
        request: Request<SetExitRouteRequest>,
    ) -> Result<Response<SetExitRouteResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        requests::check_exit_route(&request)?;
        check_reach(&actor, request.bot_id)?;
        let key = RequestKey::new(&actor, "SetExitRoute", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, request) = (actor.clone(), request.clone());
            async move {
                let SetExitRouteRequest {
                    bot_id,
                    etag,
                    exit_route,
                    ..
                } = &request;
                let set = bots::set_exit_route(connection, &actor, *bot_id, etag, exit_route);
                Ok(SetExitRouteResponse {
                    bot: Some(answers::bot(set.await?)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn get_inactivity_policy(
        &self,
        request: Request<GetInactivityPolicyRequest>,
    ) -> Result<Response<GetInactivityPolicyResponse>, Status> {
        self.policy(request).await.map(Response::new)
    }

    async fn set_inactivity_policy(
        &self,
        request: Request<SetInactivityPolicyRequest>,
    ) -> Result<Response<SetInactivityPolicyResponse>, Status> {
        self.replace_policy(request).await.map(Response::new)
    }

    async fn remove_queue_policy(
        &self,
        request: Request<RemoveQueuePolicyRequest>,
    ) -> Result<Response<RemoveQueuePolicyResponse>, Status> {
        self.remove_policy(request).await.map(Response::new)
    }

    async fn preview_settings(
        &self,
        request: Request<PreviewSettingsRequest>,
    ) -> Result<Response<PreviewSettingsResponse>, Status> {
        self.preview(request).await.map(Response::new)
    }

    async fn create_calendar(
        &self,
        request: Request<CreateCalendarRequest>,
    ) -> Result<Response<CreateCalendarResponse>, Status> {
        self.new_calendar(request).await.map(Response::new)
    }

    async fn get_calendar(
        &self,
        request: Request<GetCalendarRequest>,
    ) -> Result<Response<GetCalendarResponse>, Status> {
        self.calendar(request).await.map(Response::new)
    }

    async fn list_calendars(
        &self,
        request: Request<ListCalendarsRequest>,
    ) -> Result<Response<ListCalendarsResponse>, Status> {
        self.calendars(request).await.map(Response::new)
    }

    async fn update_calendar(
        &self,
        request: Request<UpdateCalendarRequest>,
    ) -> Result<Response<UpdateCalendarResponse>, Status> {
        self.change_calendar(request).await.map(Response::new)
    }

    async fn create_queue(
        &self,
        request: Request<CreateQueueRequest>,
    ) -> Result<Response<CreateQueueResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let (bot_id, name) = requests::new_queue(&request)?;
        check_reach(&actor, bot_id)?;
        let key = RequestKey::new(&actor, "CreateQueue", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, name) = (actor.clone(), name.clone());
            async move {
                let queue = queues::create(connection, &actor, bot_id, &name).await?;
                Ok(CreateQueueResponse {
                    queue: Some(answers::queue(queue)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn list_queues(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let bot_id = requests::bot_id(request.bot_id)?;
        let filter = format!("queues of bot {bot_id} of tenant {}", actor.tenant_id);
        let page = Page::read(filter, request.page_size, &request.page_token)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let found = queues::list(&mut connection, &actor, bot_id, page.after, page.limit()).await?;
        let (found, next_page_token) = page.finish(found, |queue| queue.queue_id);
        let queues = found.into_iter().map(answers::queue).collect();
        Ok(Response::new(ListQueuesResponse {
            queues,
            next_page_token,
        }))
    }

    async fn create_agent(
        &self,
        request: Request<CreateAgentRequest>,
    ) -> Result<Response<CreateAgentResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let new = requests::new_agent(&request)?;
        let key = RequestKey::new(&actor, "CreateAgent", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, new) = (actor.clone(), new.clone());
            async move {
                let agent = agents::create(connection, &actor, &new).await?;
                Ok(CreateAgentResponse {
                    agent: Some(answers::agent(agent)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn get_agent(
        &self,
        request: Request<GetAgentRequest>,
    ) -> Result<Response<GetAgentResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let agent_id = requests::agent_id(request.get_ref().agent_id)?;
        let agent = agents::get(
            &mut *self.connection(actor.tenant_id).await?,
            &actor,
            agent_id,
        )
        .await?;
        Ok(Response::new(GetAgentResponse {
            agent: Some(answers::agent(agent)),
        }))
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let filter = format!("agents of tenant {}", actor.tenant_id);
        let page = Page::read(filter, request.page_size, &request.page_token)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let found = agents::list(&mut connection, &actor, page.after, page.limit()).await?;
        let (found, next_page_token) = page.finish(found, |agent| agent.agent_id);
        let agents = found.into_iter().map(answers::agent).collect();
        Ok(Response::new(ListAgentsResponse {
            agents,
            next_page_token,
        }))
    }

    async fn update_agent(
        &self,
        request: Request<UpdateAgentRequest>,
    ) -> Result<Response<UpdateAgentResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let update = requests::agent_update(&request)?;
        let key = RequestKey::new(&actor, "UpdateAgent", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, update) = (actor.clone(), update.clone());
            async move {
                let requests::Update { id, etag, change } = &update;
                let agent = agents::update(connection, &actor, *id, etag, change).await?;
                Ok(UpdateAgentResponse {
                    agent: Some(answers::agent(agent)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }
}
