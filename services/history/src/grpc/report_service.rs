//! `plazo.history.v1.ReportService`: figures and lists of closed conversations.

mod convert;
mod request;

use async_stream::try_stream;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::tz::TimeZone;
use plazo_proto::history::v1::report_service_server::ReportService;
use plazo_proto::history::v1::{
    ExportConversationsRequest, ExportConversationsResponse, ExportReportRequest,
    ExportReportResponse, GetLatenessReportRequest, GetLatenessReportResponse, GetReportRequest,
    GetReportResponse, ListConversationsRequest, ListConversationsResponse,
};
use plazo_service::Actor;
use plazo_service::paging::{decode_page_token, encode_page_token, page_size};
use plazo_service::status::{self, FieldViolations, invalid_with};
use tonic::{Request, Response, Status};

use crate::reports::{
    BudgetError, ClosedPlace, ConversationFilter, ConversationLines, Facts, Lateness, Report,
    ReportBudget, ReportPlan, report_lines, zone,
};
use crate::store::{FactError, ReportStore};

const DEFAULT_CONVERSATIONS: i32 = 50;
/// Conversations that an export reads at once.
const EXPORT_PAGE: i64 = 1_000;
/// A chunk of an export is sent when it has reached this size.
const CHUNK_BYTES: usize = 128 << 10;
/// How long a caller is asked to wait when other reports have the room.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// The handlers.
#[derive(Debug)]
pub(crate) struct Reports {
    store: ReportStore,
    budget: ReportBudget,
}

impl Reports {
    pub(crate) fn new(store: ReportStore, budget: ReportBudget) -> Self {
        Self { store, budget }
    }

    /// The zone that a request names, or else the tenant's, with its name.
    async fn zone(&self, actor: &Actor, name: &str) -> Result<(TimeZone, String), Status> {
        if !name.is_empty() {
            let found = zone(name).ok_or_else(|| {
                status::invalid("time_zone", "must be the name of an IANA time zone")
            })?;
            return Ok((found, name.to_owned()));
        }
        let found = self.store.find_time_zone(actor.tenant_id).await;
        let name = found.map_err(|error| plazo_database::to_status(&error))?;
        let name = name.unwrap_or_else(|| "UTC".to_owned());
        let found = zone(&name).ok_or_else(|| {
            status::failed_precondition(
                "TIME_ZONE_UNKNOWN",
                "settings",
                "the time zone of the settings is not known: name one in the request",
            )
        })?;
        Ok((found, name))
    }

    async fn report(
        &self,
        actor: &Actor,
        message: &GetReportRequest,
    ) -> Result<(Report, ReportPlan, String), Status> {
        let filter = request::filter(actor, message.filter.as_ref())?;
        let (zone, zone_name) = self.zone(actor, &message.time_zone).await?;
        let plan = request::plan(message, &filter, &zone)?;
        let facts = self.facts(filter, &plan).await?;
        let making = plan.clone();
        // Millions of numbers are sorted into ranks: that would hold up the other calls of this thread.
        let report = tokio::task::spawn_blocking(move || Report::make(facts, &making)).await;
        let report = report.map_err(|error| status::internal(&error))?;
        Ok((report, plan, zone_name))
    }

    async fn facts(&self, filter: ConversationFilter, plan: &ReportPlan) -> Result<Facts, Status> {
        let mut facts = Facts::new(&self.budget, plan.grouping);
        let reader = self.store.read_facts(filter, plan.grouping).await;
        let mut reader = reader.map_err(|error| plazo_database::to_status(&error))?;
        while let Some(chunk) = reader.next().await.map_err(unreadable)? {
            facts.push(chunk).map_err(no_room)?;
        }
        Ok(facts)
    }
}

#[tonic::async_trait]
impl ReportService for Reports {
    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let actor = Actor::of(&request)?.clone();
        let message = request.into_inner();
        let filter = request::filter(&actor, message.filter.as_ref())?;
        let page_size = page_size(message.page_size, DEFAULT_CONVERSATIONS)?;
        let bound_to = ListConversationsRequest {
            page_size: 0,
            page_token: String::new(),
            ..message
        };
        let bound_to = request::token_filter(&actor, &bound_to);
        let after = decode_page_token::<2>(&bound_to, &message.page_token)?;
        let after = after.map(read_place).transpose()?;

        let page = self
            .store
            .list_conversations(&filter, after, page_size)
            .await;
        let page = page.map_err(|error| plazo_database::to_status(&error))?;
        let next_page_token = page.next_after.map(|place| {
            let cursor = [place.closed_at.as_microsecond(), place.ticket_id];
            encode_page_token(&bound_to, cursor)
        });
        Ok(Response::new(ListConversationsResponse {
            conversations: page
                .conversations
                .into_iter()
                .map(convert::conversation)
                .collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_report(
        &self,
        request: Request<GetReportRequest>,
    ) -> Result<Response<GetReportResponse>, Status> {
        let actor = Actor::of(&request)?.clone();
        let (report, plan, zone) = self.report(&actor, request.get_ref()).await?;
        Ok(Response::new(convert::report(report, &plan, zone)))
    }

    async fn get_lateness_report(
        &self,
        request: Request<GetLatenessReportRequest>,
    ) -> Result<Response<GetLatenessReportResponse>, Status> {
        let actor = Actor::of(&request)?;
        let filter = request::lateness_filter(actor, request.get_ref())?;
        let rows = self.store.list_lateness(&filter).await;
        let rows = rows.map_err(|error| plazo_database::to_status(&error))?;
        Ok(Response::new(convert::lateness(Lateness::of(rows))))
    }

    type ExportConversationsStream =
        BoxStream<'static, Result<ExportConversationsResponse, Status>>;

    async fn export_conversations(
        &self,
        request: Request<ExportConversationsRequest>,
    ) -> Result<Response<Self::ExportConversationsStream>, Status> {
        let actor = Actor::of(&request)?.clone();
        let message = request.into_inner();
        let filter = request::filter(&actor, message.filter.as_ref())?;
        let (zone, _) = self.zone(&actor, &message.time_zone).await?;
        let store = self.store.clone();
        let stream = try_stream! {
            let mut lines = ConversationLines::new(zone, message.byte_order_mark);
            let mut conversation_count = 0;
            let mut after = None;
            loop {
                // A page at a time, each a statement of its own: while somebody reads slowly, nothing is held in the
                // database, and one page is all that is held here.
                let page = store.list_conversations(&filter, after, EXPORT_PAGE).await;
                let page = page.map_err(|error| plazo_database::to_status(&error))?;
                after = page.next_after;
                for conversation in page.conversations {
                    lines.push(&conversation);
                    conversation_count += 1;
                    if lines.len() >= CHUNK_BYTES {
                        yield ExportConversationsResponse { csv: lines.take(), conversation_count };
                    }
                }
                if after.is_none() {
                    break;
                }
            }
            if lines.len() > 0 {
                yield ExportConversationsResponse { csv: lines.take(), conversation_count };
            }
        };
        Ok(Response::new(stream.boxed()))
    }

    type ExportReportStream = BoxStream<'static, Result<ExportReportResponse, Status>>;

    async fn export_report(
        &self,
        request: Request<ExportReportRequest>,
    ) -> Result<Response<Self::ExportReportStream>, Status> {
        let actor = Actor::of(&request)?.clone();
        let message = request.into_inner();
        let of = message.report.unwrap_or_default();
        let (report, plan, _) = self.report(&actor, &of).await?;
        let csv = report_lines(&report, &plan, message.byte_order_mark);
        let chunks = lines_in_chunks(&csv).map(|csv| Ok(ExportReportResponse { csv }));
        Ok(Response::new(
            futures::stream::iter(chunks.collect::<Vec<_>>()).boxed(),
        ))
    }
}

/// Cuts a text of lines into chunks of whole lines.
fn lines_in_chunks(csv: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = csv;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let from = CHUNK_BYTES.min(rest.len());
        let end = rest[from..].windows(2).position(|pair| pair == b"\r\n");
        let (chunk, after) = rest.split_at(end.map_or(rest.len(), |end| from + end + 2));
        rest = after;
        Some(chunk.to_vec())
    })
}

fn read_place([closed_at_us, ticket_id]: [i64; 2]) -> Result<ClosedPlace, Status> {
    let closed_at = jiff::Timestamp::from_microsecond(closed_at_us).map_err(|_| {
        let mut violations = FieldViolations::new();
        violations.add(
            "page_token",
            "is not the next_page_token of a page with the same filter",
        );
        invalid_with("PAGE_TOKEN_INVALID", violations)
    })?;
    Ok(ClosedPlace {
        closed_at,
        ticket_id,
    })
}

fn unreadable(error: FactError) -> Status {
    match error {
        FactError::Database(error) => plazo_database::to_status(&error),
        FactError::Replaced => status::unavailable(
            "PROJECTION_REPLACED",
            "the tables were built anew while the report was made",
            RETRY_AFTER,
        ),
    }
}

fn no_room(error: BudgetError) -> Status {
    match error {
        BudgetError::TooLarge { max_conversations } => status::failed_precondition(
            "REPORT_TOO_LARGE",
            "report",
            &format!(
                "the report has more than {max_conversations} conversations: ask for a shorter period, or for fewer bots"
            ),
        ),
        BudgetError::Busy => status::resource_exhausted(
            "REPORTS_BUSY",
            "other reports need the room at the moment",
            RETRY_AFTER,
        ),
    }
}
