//! The events of stories as calls.

use plazo_model::{Event, Pause, Scope, TICK_MS, Ticks};
use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::pause_automation_request::Length;
use plazo_proto::ticketing::v1::ticket_result::Result as OneResult;
use plazo_proto::ticketing::v1::{
    Agent, AssignTicketRequest, CloseTicketRequest, HoldTicketRequest, MessageKind,
    PauseAutomationRequest, ReopenTicketRequest, ResumeAutomationRequest, ResumeTicketRequest,
    SetTicketOpenRequest, TagTicketsRequest, Ticket, TransferTicketRequest, UnlinkTicketRequest,
    UpdateAgentRequest,
};
use prost_types::FieldMask;
use tonic::Status;

use super::{Player, proto_instant};
use crate::histories::story_desk::length;

impl Player {
    /// Lets an event happen, and returns the ticket after it.
    pub(super) async fn tell_event(
        &mut self,
        event: &Event,
        tick: Ticks,
    ) -> Result<Ticket, Status> {
        match event {
            Event::Agent => {
                self.record(AuthorKind::Agent, MessageKind::Chat, None)
                    .await
            }
            Event::Customer { written_ago } => {
                let at = |ago: Ticks| proto_instant(self.origin_ms + (tick - ago) * TICK_MS);
                let channel_time = written_ago.map(at);
                let kind = MessageKind::Chat;
                self.record(AuthorKind::Customer, kind, channel_time).await
            }
            Event::System => {
                let authors = [AuthorKind::System, AuthorKind::Bot];
                let author = authors[usize::from(tick % 2 == 0)];
                self.record(author, MessageKind::Chat, None).await
            }
            Event::Note => {
                let kinds = [MessageKind::Note, MessageKind::Comment];
                let kind = kinds[usize::from(tick % 2 == 0)];
                self.record(AuthorKind::Agent, kind, None).await
            }
            Event::Hold { .. } | Event::Resume | Event::Transfer(_) | Event::Assign => {
                self.move_ticket(event).await
            }
            Event::SetOpen | Event::Close | Event::Reopen | Event::Unlink => {
                self.open_or_close(event).await
            }
            Event::TagAdded(tag) => self.tag(vec![tag.to_string()], Vec::new()).await,
            Event::TagRemoved(tag) => self.tag(Vec::new(), vec![tag.to_string()]).await,
            Event::Settings {
                scope,
                policy,
                applies,
            } => {
                let queue_id = match scope {
                    Scope::Bot => 0,
                    Scope::Queue(place) => self.desk.queue_ids[*place],
                };
                match policy {
                    Some(policy) => self.desk.set_policy(queue_id, policy, *applies).await?,
                    None => self.desk.remove_policy(queue_id, *applies).await?,
                }
                self.ticket().await
            }
            Event::PauseAutomation(pause) => self.pause_automation(*pause).await,
            Event::ResumeAutomation => {
                let request = ResumeAutomationRequest {
                    ticket_id: self.ticket_id,
                    ..Default::default()
                };
                let answer = self.desk.agent.tickets.resume_automation(request).await?;
                Ok(answer.into_inner().ticket.expect("the ticket"))
            }
            Event::Away(away) => self.set_away(*away).await,
        }
    }

    async fn move_ticket(&mut self, event: &Event) -> Result<Ticket, Status> {
        let (ticket_id, agent_id) = (self.ticket_id, self.desk.agent_id);
        let tickets = &mut self.desk.agent.tickets;
        let ticket = match event {
            Event::Hold { max_s } => {
                let request = HoldTicketRequest {
                    ticket_id,
                    reason: "Asks the workshop".to_owned(),
                    max_length: length(*max_s),
                    ..Default::default()
                };
                tickets.hold_ticket(request).await?.into_inner().ticket
            }
            Event::Resume => {
                let request = ResumeTicketRequest {
                    ticket_id,
                    ..Default::default()
                };
                tickets.resume_ticket(request).await?.into_inner().ticket
            }
            Event::Transfer(place) => {
                let request = TransferTicketRequest {
                    ticket_id,
                    queue_id: self.desk.queue_ids[*place],
                    ..Default::default()
                };
                tickets.transfer_ticket(request).await?.into_inner().ticket
            }
            _ => {
                let request = AssignTicketRequest {
                    ticket_id,
                    agent_id,
                    ..Default::default()
                };
                tickets.assign_ticket(request).await?.into_inner().ticket
            }
        };
        Ok(ticket.expect("the ticket"))
    }

    async fn open_or_close(&mut self, event: &Event) -> Result<Ticket, Status> {
        let ticket_id = self.ticket_id;
        let ticket = match event {
            Event::SetOpen => {
                let request = SetTicketOpenRequest {
                    ticket_id,
                    ..Default::default()
                };
                let answer = self.desk.people.tickets.set_ticket_open(request).await?;
                answer.into_inner().ticket
            }
            Event::Close => {
                let request = CloseTicketRequest {
                    ticket_id,
                    ..Default::default()
                };
                let answer = self.desk.agent.tickets.close_ticket(request).await?;
                answer.into_inner().ticket
            }
            Event::Reopen => {
                let request = ReopenTicketRequest {
                    ticket_id,
                    ..Default::default()
                };
                let answer = self.desk.agent.tickets.reopen_ticket(request).await?;
                answer.into_inner().ticket
            }
            _ => {
                let request = UnlinkTicketRequest {
                    ticket_id,
                    ..Default::default()
                };
                let answer = self.desk.agent.tickets.unlink_ticket(request).await?;
                answer.into_inner().ticket
            }
        };
        Ok(ticket.expect("the ticket"))
    }

    async fn tag(
        &mut self,
        add_tags: Vec<String>,
        remove_tags: Vec<String>,
    ) -> Result<Ticket, Status> {
        let request = TagTicketsRequest {
            ticket_ids: vec![self.ticket_id],
            add_tags,
            remove_tags,
            request_id: String::new(),
        };
        let answer = self.desk.agent.tickets.tag_tickets(request).await?;
        match answer.into_inner().results.pop().and_then(|one| one.result) {
            Some(OneResult::Ticket(ticket)) => Ok(ticket),
            other => Err(Status::unknown(format!("{other:?}"))),
        }
    }

    async fn pause_automation(&mut self, pause: Pause) -> Result<Ticket, Status> {
        let length = match pause {
            Pause::ForSeconds(count) => length(count).map(Length::PauseFor),
            Pause::UntilCompleted => Some(Length::UntilCompleted(true)),
        };
        let request = PauseAutomationRequest {
            ticket_id: self.ticket_id,
            length,
            ..Default::default()
        };
        let answer = self.desk.agent.tickets.pause_automation(request).await?;
        Ok(answer.into_inner().ticket.expect("the ticket"))
    }

    async fn set_away(&mut self, away: bool) -> Result<Ticket, Status> {
        let agent = Agent {
            agent_id: self.desk.agent_id,
            away,
            ..Agent::default()
        };
        let request = UpdateAgentRequest {
            agent: Some(agent),
            update_mask: Some(FieldMask {
                paths: vec!["away".to_owned()],
            }),
            request_id: String::new(),
        };
        self.desk.people.settings.update_agent(request).await?;
        self.ticket().await
    }
}
