//! The conversation as plain text.

use plazo_proto::ticketing::v1::{GetTranscriptRequest, GetTranscriptResponse};
use plazo_service::Actor;
use tonic::{Response, Status};

use super::super::pages::Page;
use super::{TicketService, requests};
use crate::store::messages;
use crate::tickets::{read, transcript};

const DEFAULT_PAGE_SIZE: i32 = 500;

impl TicketService {
    pub(super) async fn page_of_transcript(
        &self,
        actor: &Actor,
        request: &GetTranscriptRequest,
    ) -> Result<Response<GetTranscriptResponse>, Status> {
        requests::check_ticket_id(request.ticket_id)?;
        let zone = transcript::zone(&request.time_zone)?;
        let size = match request.page_size {
            0 => DEFAULT_PAGE_SIZE,
            size => size,
        };
        let filter = format!(
            "transcript {} {} {}",
            request.ticket_id, request.include_internal, request.time_zone
        );
        let page = Page::read(filter, size, &request.page_token)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let facts = read::ticket(&mut connection, actor, request.ticket_id)
            .await?
            .facts;
        let rows = messages::list(&mut connection, facts.key, page.after, page.limit()).await?;
        let (mut messages, next_page_token) = page.finish_by_size(
            rows,
            |message| message.ticket_seq,
            prost::Message::encoded_len,
        );
        messages.retain(|message| request.include_internal || !transcript::is_internal(message));
        let text = transcript::write(&mut connection, &facts, &messages, &zone).await?;
        Ok(Response::new(GetTranscriptResponse {
            text,
            next_page_token,
        }))
    }
}
