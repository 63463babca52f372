//! What erasing leaves of the first answers of changes, which are kept for repeated requests. Pure.

use plazo_proto::ticketing::v1::{
    CreateContactResponse, MergeContactsResponse, OpenTicketResponse, RecordMessageResponse,
    RecordMessagesResponse, StartOutreachResponse, TagTicketsResponse, message_result,
    ticket_result,
};
use prost::Message;

use super::payload::{erase_contact, erase_message, erase_ticket};
use crate::error::Error;

/// Whose data are erased.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The contact and those that are part of it.
    pub contact_ids: &'a [i64],
    /// Its tickets, of those that an answer may name.
    pub ticket_ids: &'a [i64],
}

/// An answer that may have personal data.
#[derive(Debug)]
pub enum Answer {
    /// Of a ticket: the answers of all changes of one ticket are alike.
    Ticket(OpenTicketResponse),
    /// Of tickets: the same.
    Tickets(TagTicketsResponse),
    /// Of an active message that an agent started, and its ticket.
    Outreach(StartOutreachResponse),
    /// Of a message and its ticket.
    Message(RecordMessageResponse),
    /// Of messages and their tickets.
    Messages(RecordMessagesResponse),
    /// Of a contact that was created or changed: these are alike too.
    Contact(CreateContactResponse),
    /// Of a contact that another one was merged into.
    Merged(MergeContactsResponse),
}

impl Answer {
    /// The answer of a method; none when its answers have no personal data.
    pub fn read(method: &str, encoded: &[u8]) -> Result<Option<Self>, Error> {
        Ok(Some(match method {
            "OpenTicket" | "AssignTicket" | "CloseTicket" | "ReopenTicket" | "HoldTicket"
            | "ResumeTicket" | "TransferTicket" | "UnlinkTicket" | "SetTicketOpen"
            | "PauseAutomation" | "ResumeAutomation" => Self::Ticket(Message::decode(encoded)?),
            "TagTickets" | "CloseTickets" => Self::Tickets(Message::decode(encoded)?),
            "StartOutreach" => Self::Outreach(Message::decode(encoded)?),
            "RecordMessage" => Self::Message(Message::decode(encoded)?),
            "RecordMessages" => Self::Messages(Message::decode(encoded)?),
            "CreateContact" | "UpdateContact" => Self::Contact(Message::decode(encoded)?),
            "MergeContacts" => Self::Merged(Message::decode(encoded)?),
            _ => return Ok(None),
        }))
    }

    /// The tickets that it tells of.
    pub fn ticket_ids(&self) -> Vec<i64> {
        match self {
            Self::Ticket(answer) => answer.ticket.iter().map(|it| it.ticket_id).collect(),
            Self::Tickets(answer) => answer.results.iter().map(|it| it.ticket_id).collect(),
            Self::Outreach(answer) => answer.ticket.iter().map(|it| it.ticket_id).collect(),
            Self::Message(answer) => answer.message.iter().map(|it| it.ticket_id).collect(),
            Self::Messages(answer) => {
                let results = answer.results.iter();
                let recorded = results.filter_map(|it| recorded(it.result.as_ref()?));
                let messages = recorded.filter_map(|it| it.message.as_ref());
                messages.map(|it| it.ticket_id).collect()
            }
            Self::Contact(_) | Self::Merged(_) => Vec::new(),
        }
    }

    /// Takes the data of somebody out of it. Whether there were any.
    pub fn erase(&mut self, of: &Subject<'_>) -> bool {
        let is_his = |ticket_id: i64| of.ticket_ids.contains(&ticket_id);
        let of_contact = |contact: Option<&mut plazo_proto::ticketing::v1::Contact>| {
            let his = contact.filter(|contact| of.contact_ids.contains(&contact.contact_id));
            his.is_some_and(erase_contact)
        };
        let of_recorded = |answer: &mut RecordMessageResponse| {
            let message = answer.message.as_mut().filter(|it| is_his(it.ticket_id));
            let mut is_changed = message.is_some_and(erase_message);
            let ticket = answer.ticket.as_mut().filter(|it| is_his(it.ticket_id));
            is_changed |= ticket.is_some_and(erase_ticket);
            is_changed
        };
        match self {
            Self::Ticket(answer) => {
                let ticket = answer.ticket.as_mut().filter(|it| is_his(it.ticket_id));
                ticket.is_some_and(erase_ticket)
            }
            Self::Tickets(answer) => {
                let mut is_changed = false;
                for result in &mut answer.results {
                    if let Some(ticket_result::Result::Ticket(ticket)) = &mut result.result {
                        is_changed |= is_his(ticket.ticket_id) && erase_ticket(ticket);
                    }
                }
                is_changed
            }
            Self::Outreach(answer) => {
                let ticket = answer.ticket.as_mut().filter(|it| is_his(it.ticket_id));
                ticket.is_some_and(erase_ticket)
            }
            Self::Message(answer) => of_recorded(answer),
            Self::Messages(answer) => {
                let mut is_changed = false;
                for result in &mut answer.results {
                    if let Some(message_result::Result::Recorded(recorded)) = &mut result.result {
                        is_changed |= of_recorded(recorded);
                    }
                }
                is_changed
            }
            Self::Contact(answer) => of_contact(answer.contact.as_mut()),
            Self::Merged(answer) => of_contact(answer.contact.as_mut()),
        }
    }

    /// As it is kept.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ticket(answer) => answer.encode_to_vec(),
            Self::Tickets(answer) => answer.encode_to_vec(),
            Self::Outreach(answer) => answer.encode_to_vec(),
            Self::Message(answer) => answer.encode_to_vec(),
            Self::Messages(answer) => answer.encode_to_vec(),
            Self::Contact(answer) => answer.encode_to_vec(),
            Self::Merged(answer) => answer.encode_to_vec(),
        }
    }
}

fn recorded(result: &message_result::Result) -> Option<&RecordMessageResponse> {
    match result {
        message_result::Result::Recorded(recorded) => Some(recorded),
        message_result::Result::Error(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use plazo_proto::FILE_DESCRIPTOR_SET;
    use plazo_proto::ticketing::v1::{
        ClosingNote, Closure, Contact, Hold, MessageResult, Ticket, TicketResult,
    };
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Methods whose answers have no personal data.
    const WITHOUT: [&str; 11] = [
        "CreateAgent",
        "CreateBot",
        "CreateCalendar",
        "CreateQueue",
        "EraseContact",
        "RemoveQueuePolicy",
        "SetExitRoute",
        "SetInactivityPolicy",
        "UpdateAgent",
        "UpdateBot",
        "UpdateCalendar",
    ];

    /// The methods of ticketing that keep their first answers, with the fields of their answers.
    fn methods() -> Vec<(String, Vec<String>)> {
        let protos = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
        let ours = protos
            .file
            .iter()
            .filter(|file| file.package() == "plazo.ticketing.v1");
        let files: Vec<_> = ours.collect();
        let fields = |name: &str| -> Vec<String> {
            let name = name.rsplit('.').next().expect("a name");
            let messages = files.iter().flat_map(|file| &file.message_type);
            let message = messages.clone().find(|message| message.name() == name);
            let message = message.unwrap_or_else(|| panic!("no message {name}"));
            message
                .field
                .iter()
                .map(|field| field.name().to_owned())
                .collect()
        };
        let services = files.iter().flat_map(|file| &file.service);
        let methods = services.flat_map(|service| &service.method);
        methods
            .filter(|method| {
                fields(method.input_type())
                    .iter()
                    .any(|field| field == "request_id")
            })
            .map(|method| (method.name().to_owned(), fields(method.output_type())))
            .collect()
    }

    #[test]
    fn the_answers_of_all_methods_are_known() {
        let methods = methods();
        assert!(methods.len() > 20, "{methods:?}");
        for (method, fields) in methods {
            let alike: &[&str] = match Answer::read(&method, &[]).expect("an empty answer") {
                None => {
                    assert!(WITHOUT.contains(&method.as_str()), "{method} is new");
                    continue;
                }
                Some(Answer::Ticket(_)) => &["ticket"],
                Some(Answer::Tickets(_) | Answer::Messages(_)) => &["results"],
                Some(Answer::Outreach(_)) => &["ticket", "opened", "idempotency_key"],
                Some(Answer::Message(_)) => &["message", "ticket"],
                Some(Answer::Contact(_)) => &["contact"],
                Some(Answer::Merged(_)) => &["contact", "ticket_count"],
            };
            assert_eq!(fields, alike, "{method}");
        }
    }

    fn ticket(ticket_id: i64) -> Ticket {
        let note = ClosingNote {
            category: "c".to_owned(),
            summary: "secret".to_owned(),
        };
        Ticket {
            ticket_id,
            closure: Some(Closure {
                note: Some(note),
                ..Closure::default()
            }),
            hold: Some(Hold {
                reason: "secret".to_owned(),
                ..Hold::default()
            }),
            ..Ticket::default()
        }
    }

    fn recorded_in(ticket_id: i64) -> RecordMessageResponse {
        let message = plazo_proto::ticketing::v1::Message {
            ticket_id,
            text: "secret".to_owned(),
            attachment_urls: vec!["https://secret".to_owned()],
            ..Default::default()
        };
        RecordMessageResponse {
            message: Some(message),
            ticket: Some(ticket(ticket_id)),
        }
    }

    #[test]
    fn the_data_of_one_go_and_those_of_others_stay() {
        let contact = |contact_id| Contact {
            contact_id,
            name: "secret".to_owned(),
            ..Contact::default()
        };
        let answers = |id: i64| {
            let of_ticket = ticket_result::Result::Ticket(ticket(id));
            let of_message = message_result::Result::Recorded(recorded_in(id));
            [
                (
                    "OpenTicket",
                    OpenTicketResponse {
                        ticket: Some(ticket(id)),
                    }
                    .encode_to_vec(),
                ),
                (
                    "CloseTickets",
                    TagTicketsResponse {
                        results: vec![TicketResult {
                            ticket_id: id,
                            result: Some(of_ticket),
                        }],
                    }
                    .encode_to_vec(),
                ),
                ("RecordMessage", recorded_in(id).encode_to_vec()),
                (
                    "StartOutreach",
                    StartOutreachResponse {
                        ticket: Some(ticket(id)),
                        opened: true,
                        idempotency_key: "key".to_owned(),
                    }
                    .encode_to_vec(),
                ),
                (
                    "RecordMessages",
                    RecordMessagesResponse {
                        results: vec![MessageResult {
                            result: Some(of_message),
                        }],
                    }
                    .encode_to_vec(),
                ),
                (
                    "CreateContact",
                    CreateContactResponse {
                        contact: Some(contact(id)),
                    }
                    .encode_to_vec(),
                ),
                (
                    "MergeContacts",
                    MergeContactsResponse {
                        contact: Some(contact(id)),
                        ticket_count: 3,
                    }
                    .encode_to_vec(),
                ),
            ]
        };
        let subject = Subject {
            contact_ids: &[4, 7],
            ticket_ids: &[7],
        };
        let is_secret = |bytes: &[u8]| bytes.windows(6).any(|some| some == b"secret");
        for (method, encoded) in answers(7) {
            let mut answer = Answer::read(method, &encoded)
                .expect("an answer")
                .expect("with data");
            assert!(answer.erase(&subject), "{method}");
            assert!(!is_secret(&answer.encode()), "{method}");
            assert!(!answer.erase(&subject), "{method} once");
        }
        for (method, encoded) in answers(8) {
            let mut answer = Answer::read(method, &encoded)
                .expect("an answer")
                .expect("with data");
            assert!(!answer.erase(&subject), "{method}");
            assert_eq!(answer.encode(), encoded, "{method}");
        }
    }
}
