//! What fired in a ticket, when and why.

use plazo_proto::ticketing::v1::{ExplainTicketRequest, ExplainTicketResponse};
use plazo_service::Actor;
use tonic::{Response, Status};

use super::{TicketService, requests};
use crate::tickets::explain;

impl TicketService {
    pub(super) async fn explain(
        &self,
        actor: &Actor,
        request: &ExplainTicketRequest,
    ) -> Result<Response<ExplainTicketResponse>, Status> {
        requests::check_ticket_id(request.ticket_id)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let explained =
            explain::explain_ticket(&mut connection, &self.policies, actor, request.ticket_id)
                .await?;
        Ok(Response::new(explained))
    }
}
