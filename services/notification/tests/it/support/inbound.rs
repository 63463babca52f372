//! A ticketing that takes what customers write, as a test tells it to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plazo_proto::ticketing::v1::inbound_service_server::InboundService;
use plazo_proto::ticketing::v1::{
    InboundMessage, InboundOutcome, InboundResult, RecordInboundMessagesRequest,
    RecordInboundMessagesResponse,
};
use plazo_service::status;
use tonic::{Request, Response, Status};

use super::eventually;

/// Takes messages, each once.
#[derive(Clone, Default)]
pub(crate) struct ScriptedInbound {
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// In the order in which they were first taken.
    taken: Vec<InboundMessage>,
    calls: u32,
    /// What goes wrong with the next calls.
    faults: Vec<InboundFault>,
    /// Texts that are not taken now.
    not_now: Vec<&'static str>,
}

#[derive(Clone, Copy)]
pub(crate) enum InboundFault {
    Unavailable,
    /// It takes the messages and the answer is lost.
    AnswerLost,
    /// It refuses each call as a whole that has a message with this text.
    RefusesText(&'static str),
}

impl ScriptedInbound {
    fn script<T>(&self, act: impl FnOnce(&mut Script) -> T) -> T {
        act(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn fail(&self, faults: &[InboundFault]) {
        self.script(|script| script.faults.extend(faults));
    }

    pub(crate) fn not_now(&self, texts: &[&'static str]) {
        self.script(|script| script.not_now = texts.to_vec());
    }

    pub(crate) fn calls(&self) -> u32 {
        self.script(|script| script.calls)
    }

    pub(crate) fn taken(&self) -> Vec<InboundMessage> {
        self.script(|script| script.taken.clone())
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.taken().into_iter().map(|it| it.text).collect()
    }

    /// Waits until so many messages were taken.
    pub(crate) async fn until_taken(&self, count: usize) -> Vec<InboundMessage> {
        eventually(&format!("{count} messages are taken"), || async {
            let taken = self.taken();
            (taken.len() >= count).then_some(taken)
        })
        .await
    }
}

#[tonic::async_trait]
impl InboundService for ScriptedInbound {
    async fn record_inbound_messages(
        &self,
        request: Request<RecordInboundMessagesRequest>,
    ) -> Result<Response<RecordInboundMessagesResponse>, Status> {
        let messages = request.into_inner().messages;
        let (fault, not_now) = self.script(|script| {
            script.calls += 1;
            let fault = match script.faults.first().copied() {
                lasting @ Some(InboundFault::RefusesText(_)) => lasting,
                Some(fault) => {
                    script.faults.remove(0);
                    Some(fault)
                }
                None => None,
            };
            (fault, script.not_now.clone())
        });
        let unavailable =
            || status::unavailable("TEST", "as the test wants", Duration::from_millis(1));
        match fault {
            Some(InboundFault::Unavailable) => return Err(unavailable()),
            Some(InboundFault::RefusesText(text)) if messages.iter().any(|it| it.text == text) => {
                return Err(status::invalid("messages", "as the test wants"));
            }
            _ => {}
        }
        let results = messages.into_iter().map(|message| {
            let outcome = self.script(|script| {
                let is_known = script.taken.iter().any(|known| {
                    known.provider_message_id == message.provider_message_id
                        && known.channel_account_id == message.channel_account_id
                });
                if not_now.contains(&message.text.as_str()) {
                    InboundOutcome::NotNow
                } else if is_known {
                    InboundOutcome::Duplicate
                } else {
                    script.taken.push(message);
                    InboundOutcome::Recorded
                }
            });
            InboundResult {
                outcome: outcome.into(),
                ..InboundResult::default()
            }
        });
        let results = results.collect();
        if matches!(fault, Some(InboundFault::AnswerLost)) {
            return Err(unavailable());
        }
        Ok(Response::new(RecordInboundMessagesResponse { results }))
    }
}
