//! `plazo.ticketing.v1.ErasureService`.

use futures::FutureExt as _;
use plazo_proto::ticketing::v1 as proto;
use plazo_proto::ticketing::v1::erasure_service_server::ErasureService as Api;
use plazo_proto::ticketing::v1::{
    EraseContactRequest, EraseContactResponse, GetErasureRequest, GetErasureResponse,
    ListErasuresRequest, ListErasuresResponse, ReportErasureRequest, ReportErasureResponse,
    ServiceErasure,
};
use plazo_service::{RequestKey, commit_in_background};
use tonic::{Request, Response, Status};

use super::caller::actor_of_tenant;
use super::pages::Page;
use crate::changes::Changes;
use crate::erasing::worker::Eraser;
use crate::erasing::{self, Known, OTHERS, TICKETING, Told};
use crate::error::Error;
use crate::instants::{from_proto, to_proto};
use crate::tickets::author_of;
use crate::validate::Checks;

/// Erases personal data, and shows the proof.
#[derive(Debug, Clone)]
pub struct ErasureService {
    changes: Changes,
    eraser: Eraser,
}

impl ErasureService {
    /// Wiring.
    pub fn new(changes: Changes, eraser: Eraser) -> Self {
        Self { changes, eraser }
    }
}

#[tonic::async_trait]
impl Api for ErasureService {
    async fn erase_contact(
        &self,
        request: Request<EraseContactRequest>,
    ) -> Result<Response<EraseContactResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        erasing::check_may_erase(&actor)?;
        let (tenant_id, author) = (actor.tenant_id, author_of(&actor));
        let request = request.into_inner();
        let contact_id = request.contact_id;
        let mut checks = Checks::new();
        checks.id("contact_id", contact_id);
        checks.request_id(&request.request_id);
        checks.finish()?;
        let key = RequestKey::new(&actor, "EraseContact", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            async move {
                let known = erasing::erase(connection, tenant_id, author, contact_id).await?;
                Ok(EraseContactResponse {
                    erasure: Some(answer(&known)),
                })
            }
            .boxed()
        });
        let answer = answer.await?;
        self.eraser.wake();
        Ok(Response::new(answer))
    }

    async fn get_erasure(
        &self,
        request: Request<GetErasureRequest>,
    ) -> Result<Response<GetErasureResponse>, Status> {
        let tenant_id = actor_of_tenant(&request)?.tenant_id;
        let erasure_id = request.into_inner().erasure_id;
        let mut checks = Checks::new();
        checks.id("erasure_id", erasure_id);
        checks.finish()?;
        let mut connection = self.changes.connection(tenant_id).await?;
        let known = erasing::get(&mut connection, tenant_id, erasure_id).await?;
        Ok(Response::new(GetErasureResponse {
            erasure: Some(answer(&known)),
        }))
    }

    async fn list_erasures(
        &self,
        request: Request<ListErasuresRequest>,
    ) -> Result<Response<ListErasuresResponse>, Status> {
        let tenant_id = actor_of_tenant(&request)?.tenant_id;
        let request = request.into_inner();
        let filter = format!("erasures/{tenant_id}");
        let page = Page::read(filter, request.page_size, &request.page_token)?;
        let before = if page.after == 0 {
            i64::MAX
        } else {
            page.after
        };
        let mut connection = self.changes.connection(tenant_id).await?;
        let known = erasing::list(&mut connection, tenant_id, before, page.limit()).await?;
        let (known, next_page_token) = page.finish(known, |known| known.erasure.erasure_id);
        Ok(Response::new(ListErasuresResponse {
            erasures: known.iter().map(answer).collect(),
            next_page_token,
        }))
    }

    async fn report_erasure(
        &self,
        request: Request<ReportErasureRequest>,
    ) -> Result<Response<ReportErasureResponse>, Status> {
        let told = told(request.into_inner())?;
        let changes = self.changes.clone();
        let complete = commit_in_background(async move {
            let mut transaction = changes.pool().begin().await?;
            let complete = erasing::take_report(&mut transaction, &told).await?;
            transaction.commit().await?;
            Ok::<_, Error>(complete)
        })
        .await?;
        Ok(Response::new(ReportErasureResponse { complete }))
    }
}

fn told(request: ReportErasureRequest) -> Result<Told, Error> {
    let mut checks = Checks::new();
    checks.id("tenant_id", request.tenant_id);
    checks.id("erasure_id", request.erasure_id);
    let Some(done) = request.done else {
        return Err(checks.finish_without("done"));
    };
    checks.check(
        "done.service",
        OTHERS.contains(&done.service.as_str()),
        "must be notification or history",
    );
    let erased_at = done.erase_time.map(|time| from_proto(&time));
    checks.check(
        "done.erase_time",
        erased_at != Some(None),
        "must be an instant",
    );
    checks.check(
        "done.row_count",
        done.row_count >= 0,
        "must not be negative",
    );
    checks.finish()?;
    Ok(Told {
        tenant_id: request.tenant_id,
        erasure_id: request.erasure_id,
        service: done.service,
        erased_at: erased_at.flatten(),
        row_count: done.row_count,
    })
}

fn answer(known: &Known) -> proto::Erasure {
    let erasure = &known.erasure;
    let services = [TICKETING].into_iter().chain(OTHERS);
    let services = services.map(|service| {
        let report = known.report(service);
        let so_far = if service == TICKETING {
            erasure.row_count
        } else {
            0
        };
        ServiceErasure {
            service: service.to_owned(),
            erase_time: report.map(|report| to_proto(report.erased_at)),
            row_count: report.map_or(so_far, |report| report.row_count),
        }
    });
    proto::Erasure {
        erasure_id: erasure.erasure_id,
        contact_id: erasure.contact_id,
        request_time: Some(to_proto(erasure.requested_at)),
        ticket_count: erasure.ticket_count,
        services: services.collect(),
        complete: known.is_complete(),
    }
}
