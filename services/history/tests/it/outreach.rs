//! Active messages out of the history, with a ticketing that answers as a test has written.

use std::sync::{Arc, Mutex};

use plazo_proto::history::v1::{SendActiveMessageRequest, SendActiveMessageResponse};
use plazo_proto::ticketing::v1::outreach_service_server::{OutreachService, OutreachServiceServer};
use plazo_proto::ticketing::v1::{StartOutreachRequest, StartOutreachResponse, Ticket};
use plazo_service::status::{self, reason_of, violations_of};
use plazo_service::{Actor, ActorKind, Permission, Permissions};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::events::{closed_ticket, second};
use crate::feed::Feed;
use crate::rows::run;
use crate::running::{Running, agent, viewer};

const REQUEST_ID: &str = "0190a5c0-aaaa-7000-8000-00000000000f";

/// What ticketing answers next, and what it was asked for.
#[derive(Clone, Default)]
struct Script {
    refusals: Arc<Mutex<Vec<Status>>>,
    asked: Arc<Mutex<Vec<StartOutreachRequest>>>,
}

#[tonic::async_trait]
impl OutreachService for Script {
    async fn start_outreach(
        &self,
        request: Request<StartOutreachRequest>,
    ) -> Result<Response<StartOutreachResponse>, Status> {
        for (key, value) in [
            ("plazo-actor", "service/history"),
            ("plazo-permissions", "service"),
        ] {
            let told = request
                .metadata()
                .get(key)
                .expect("services say who they are");
            assert_eq!(told, value);
        }
        assert!(
            request.metadata().contains_key("grpc-timeout"),
            "it has an end"
        );
        let mut asked = self.asked.lock().expect("no test panicked");
        asked.push(request.into_inner());
        let refusal = self.refusals.lock().expect("no test panicked").pop();
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(Response::new(StartOutreachResponse {
                ticket: Some(Ticket {
                    ticket_id: 70,
                    ..Ticket::default()
                }),
                opened: true,
                idempotency_key: "ticket/70/outreach/x".to_owned(),
            })),
        }
    }
}

impl Script {
    fn refuse(&self, refusal: Status) {
        let mut refusals = self.refusals.lock().expect("no test panicked");
        refusals.push(refusal);
    }

    fn take_asked(&self) -> Vec<StartOutreachRequest> {
        std::mem::take(&mut self.asked.lock().expect("no test panicked"))
    }
}

/// A history that knows a closed ticket 7 of contact 5 with bot 3, and its ticketing.
async fn start() -> (Running, Script, Feed) {
    let script = Script::default();
    let others = Routes::new(OutreachServiceServer::new(script.clone()));
    let feed = Feed::start_with(others).await;
    let history = Running::fresh(&feed).await;
    // The agent of these tests may look up what was long ago.
    run(
        &history.database,
        "INSERT INTO history_agents (tenant_id, agent_id) VALUES (1, 12);
        INSERT INTO tenant_settings (tenant_id, lookback_seconds) VALUES (1, 3000000000);",
    )
    .await;
    feed.send(closed_ticket(1, 3, 7, 12, second(10)));
    history.ticket_at(&viewer(1), 7, 2).await;
    (history, script, feed)
}

/// An agent who may see and send.
fn sender(actor: Actor) -> Actor {
    let permissions = actor.permissions.with(Permission::MessagesSend);
    Actor {
        permissions,
        ..actor
    }
}

fn message() -> SendActiveMessageRequest {
    SendActiveMessageRequest {
        contact_id: 5,
        ticket_id: 7,
        text: "Your bike is ready".to_owned(),
        image_url: "https://example.com/bike.png".to_owned(),
        request_id: REQUEST_ID.to_owned(),
    }
}

async fn send(
    history: &Running,
    actor: &Actor,
    message: SendActiveMessageRequest,
) -> Result<SendActiveMessageResponse, Status> {
    let request = actor.sign(Request::new(message));
    let answer = history.outreach.clone().send_active_message(request).await;
    answer.map(Response::into_inner)
}

#[tokio::test]
async fn ticketing_sends_what_an_agent_may_send() {
    let (history, ticketing, _feed) = start().await;
    let agent = sender(agent(12, &[3]));
    let answer = send(&history, &agent, message()).await.expect("sent");
    assert_eq!(
        answer,
        SendActiveMessageResponse {
            ticket_id: 70,
            opened: true,
            idempotency_key: "ticket/70/outreach/x".to_owned(),
        }
    );
    let expected = StartOutreachRequest {
        tenant_id: 1,
        agent_id: 12,
        ticket_id: 7,
        text: "Your bike is ready".to_owned(),
        image_url: "https://example.com/bike.png".to_owned(),
        request_id: REQUEST_ID.to_owned(),
    };
    assert_eq!(ticketing.take_asked(), std::slice::from_ref(&expected));

    // While ticketing is away it is asked again, by the same request id.
    for _ in 0..2 {
        let wait = std::time::Duration::from_millis(1);
        ticketing.refuse(status::unavailable("SHUTTING_DOWN", "it stops", wait));
    }
    send(&history, &agent, message()).await.expect("sent");
    assert_eq!(ticketing.take_asked(), vec![expected; 3]);
}

#[tokio::test]
async fn what_an_agent_does_not_see_he_can_not_write_to() {
    let (history, ticketing, feed) = start().await;
    feed.send(closed_ticket(2, 4, 9, 12, second(20)));
    history.ticket_at(&viewer(2), 9, 2).await;
    let mut answers = Vec::new();
    for (actor, ticket_id, contact_id) in [
        // Of another tenant, of a bot that is not permitted, of another contact, and none.
        (agent(12, &[3, 4]), 9, 5),
        (agent(12, &[4]), 7, 5),
        (agent(12, &[3]), 7, 6),
        (agent(12, &[3]), 99, 5),
    ] {
        let message = SendActiveMessageRequest {
            contact_id,
            ticket_id,
            ..message()
        };
        let refusal = send(&history, &sender(actor), message).await;
        let status = refusal.expect_err("it is not seen");
        assert_eq!(status.code(), Code::NotFound);
        let number = ticket_id.to_string();
        answers.push((reason_of(&status), status.message().replace(&number, "N")));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(ticketing.take_asked(), []);
}

#[tokio::test]
async fn only_agents_with_both_permissions_send() {
    let (history, ticketing, _feed) = start().await;
    let agent = agent(12, &[3]);
    let send_only = Permissions::NONE.with(Permission::MessagesSend);
    for (actor, reason) in [
        (agent.clone(), None),
        (
            Actor {
                permissions: send_only,
                ..agent.clone()
            },
            None,
        ),
        (
            Actor {
                kind: ActorKind::Administrator(1),
                ..sender(agent.clone())
            },
            Some("AGENT_REQUIRED"),
        ),
    ] {
        let status = send(&history, &actor, message()).await;
        let status = status.expect_err("it is not permitted");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        if reason.is_some() {
            assert_eq!(reason_of(&status).as_deref(), reason);
        }
    }
    let nothing = SendActiveMessageRequest::default();
    let status = send(&history, &sender(agent), nothing).await;
    let fields = violations_of(&status.expect_err("it is nothing"));
    let fields: Vec<&str> = fields.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["contact_id", "ticket_id", "request_id"]);
    assert_eq!(ticketing.take_asked(), []);
}

#[tokio::test]
async fn the_agent_is_told_of_what_concerns_him() {
    let (history, ticketing, _feed) = start().await;
    let agent = sender(agent(12, &[3]));
    for (refusal, code, reason) in [
        (
            status::invalid("text", "must not be blank"),
            Code::InvalidArgument,
            status::REASON_FIELD_INVALID,
        ),
        (
            status::permission_denied("AGENT_NOT_OF_BOT", "he is not"),
            Code::PermissionDenied,
            "AGENT_NOT_OF_BOT",
        ),
        (
            status::failed_precondition("CONTACT_ERASED", "contact/5", "it is erased"),
            Code::FailedPrecondition,
            "CONTACT_ERASED",
        ),
        (
            status::not_found("TICKET_NOT_FOUND", "ticket", &7),
            Code::NotFound,
            "TICKET_NOT_FOUND",
        ),
        (
            status::permission_denied("PERMISSION_MISSING", "history may not"),
            Code::Internal,
            "INTERNAL",
        ),
    ] {
        ticketing.refuse(refusal);
        let status = send(&history, &agent, message()).await;
        let status = status.expect_err("ticketing refused");
        assert_eq!(
            (status.code(), reason_of(&status).as_deref()),
            (code, Some(reason))
        );
    }
}
