//! Calls about calendars.

use futures::FutureExt as _;
use plazo_proto::ticketing::v1 as proto;
use plazo_service::RequestKey;
use prost::Message as _;
use tonic::{Request, Status};

use super::{SettingsService, requests};
use crate::grpc::caller::actor_of_tenant;
use crate::grpc::pages::Page;
use crate::settings::calendars;

/// Calendars are large.
const DEFAULT_PAGE_SIZE: i32 = 20;
const MAX_PAGE_SIZE: i32 = 50;

impl SettingsService {
    pub(super) async fn new_calendar(
        &self,
        request: Request<proto::CreateCalendarRequest>,
    ) -> Result<proto::CreateCalendarResponse, Status> {
        let actor = actor_of_tenant(&request)?;
        calendars::check_may_change(&actor)?;
        let request = request.into_inner();
        let new = requests::new_calendar(&request)?;
        let key = RequestKey::new(&actor, "CreateCalendar", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, new) = (actor.clone(), new.clone());
            async move {
                let stored = calendars::create(connection, &actor, &new).await?;
                Ok(proto::CreateCalendarResponse {
                    calendar: Some(calendars::to_proto(stored)),
                })
            }
            .boxed()
        });
        Ok(answer.await?)
    }

    pub(super) async fn calendar(
        &self,
        request: Request<proto::GetCalendarRequest>,
    ) -> Result<proto::GetCalendarResponse, Status> {
        let actor = actor_of_tenant(&request)?;
        let calendar_id = requests::calendar_id(request.get_ref().calendar_id)?;
        let stored = calendars::get(
            &mut *self.connection(actor.tenant_id).await?,
            &actor,
            calendar_id,
        )
        .await?;
        Ok(proto::GetCalendarResponse {
            calendar: Some(calendars::to_proto(stored)),
        })
    }

    pub(super) async fn calendars(
        &self,
        request: Request<proto::ListCalendarsRequest>,
    ) -> Result<proto::ListCalendarsResponse, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let filter = format!("calendars of tenant {}", actor.tenant_id);
        let size = match request.page_size {
            0 => DEFAULT_PAGE_SIZE,
            size => size.min(MAX_PAGE_SIZE),
        };
        let page = Page::read(filter, size, &request.page_token)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let found = calendars::list(&mut connection, &actor, page.after, page.limit()).await?;
        let (found, next_page_token) = page.finish_by_size(
            found,
            |stored| stored.calendar_id,
            |stored| stored.settings.encoded_len(),
        );
        Ok(proto::ListCalendarsResponse {
            calendars: found.into_iter().map(calendars::to_proto).collect(),
            next_page_token,
        })
    }

    pub(super) async fn change_calendar(
        &self,
        request: Request<proto::UpdateCalendarRequest>,
    ) -> Result<proto::UpdateCalendarResponse, Status> {
        let actor = actor_of_tenant(&request)?;
        calendars::check_may_change(&actor)?;
        let request = request.into_inner();
        let new = requests::calendar_change(&request)?;
        let key = RequestKey::new(&actor, "UpdateCalendar", &request, |it| &mut it.request_id)?;
        let calendar = request.calendar.unwrap_or_default();
        let (calendar_id, etag) = (calendar.calendar_id, calendar.etag);
        let apply = request.apply_to_open_tickets;
        let answer = self.changes.run(key, move |connection| {
            let (actor, etag, new) = (actor.clone(), etag.clone(), new.clone());
            async move {
                let change = calendars::update(connection, &actor, calendar_id, &etag, &new, apply);
                Ok(proto::UpdateCalendarResponse {
                    calendar: Some(calendars::to_proto(change.await?)),
                })
            }
            .boxed()
        });
        let answer = answer.await?;
        self.applying.wake();
        Ok(answer)
    }
}
