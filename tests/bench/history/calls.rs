//! Searches, views and lists of the contact history.

use std::future::Future;

use plazo_proto::history::v1::{
    ContactOrder, GetContactHistoryRequest, GetTicketHistoryRequest, ListClosedTicketsRequest,
    ListContactTicketsRequest, ListConversationRequest, SearchContactsRequest,
};
use tokio::time::Instant;
use tonic::{Code, Response, Status};

use crate::history::goals::Goals;
use crate::history::world::{Asker, Seen, World};

/// The p99 of searches, lists and views is to be below.
const GOAL_MS: f64 = 50.0;
/// After one call that took longer, no more of its kind are made.
const HOPELESS_MS: f64 = 5_000.0;
/// Pages that are read of a list one after the other.
const PAGES: usize = 10;

/// How often each call is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    calls: usize,
    /// Not measured, before.
    warm_up: usize,
}

impl Effort {
    pub(super) fn measured(calls: usize) -> Self {
        Self {
            calls,
            warm_up: calls / 10 + 5,
        }
    }

    pub(super) fn for_plans(calls: usize) -> Self {
        Self { calls, warm_up: 0 }
    }
}

/// What is searched for.
#[derive(Debug, Clone, Copy)]
enum Part {
    Name,
    Email,
    Phone,
    /// Nothing: all contacts.
    Nothing,
}

/// A kind of call.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Search {
        part: Part,
        order: ContactOrder,
        pages: usize,
    },
    ContactTickets,
    Contact,
    Ticket,
    Conversation,
    Closed {
        pages: usize,
    },
}

/// Makes all calls, for everybody who asks.
pub(super) async fn run(world: &World, effort: Effort, goals: &mut Goals) {
    for asker in &world.askers {
        for kind in kinds() {
            let pages = kind.pages();
            let calls = (effort.calls / pages).max(5);
            let mut times_ms = Vec::with_capacity(calls * pages);
            for place in 0..effort.warm_up / pages + calls {
                let seen = &asker.seen[place * 31 % asker.seen.len()];
                let took = kind.make(asker, seen, place).await;
                let is_hopeless = took.iter().any(|ms| *ms > HOPELESS_MS);
                if place >= effort.warm_up / pages || is_hopeless {
                    times_ms.extend(took);
                }
                // It says enough, and many of them would take hours.
                if is_hopeless {
                    break;
                }
            }
            goals.add_times(
                &format!("{}, {}", kind.name(), asker.name),
                times_ms,
                GOAL_MS,
            );
        }
    }
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for order in [ContactOrder::Name, ContactOrder::LastInteraction] {
        for (part, pages) in [
            (Part::Name, 1),
            (Part::Email, 1),
            (Part::Phone, 1),
            (Part::Name, PAGES),
            (Part::Nothing, PAGES),
        ] {
            kinds.push(Kind::Search { part, order, pages });
        }
    }
    kinds.extend([
        Kind::ContactTickets,
        Kind::Contact,
        Kind::Ticket,
        Kind::Conversation,
        Kind::Closed { pages: 1 },
        Kind::Closed { pages: PAGES },
    ]);
    kinds
}

impl Kind {
    fn pages(self) -> usize {
        match self {
            Self::Search { pages, .. } | Self::Closed { pages } => pages,
            _ => 1,
        }
    }

    fn name(self) -> String {
        let of_pages = |pages| match pages {
            1 => String::new(),
            pages => format!(", {pages} pages"),
        };
        match self {
            Self::Search { part, order, pages } => {
                let part = match part {
                    Part::Name => "part of a name",
                    Part::Email => "part of an e-mail address",
                    Part::Phone => "part of a phone number",
                    Part::Nothing => "all",
                };
                let order = match order {
                    ContactOrder::LastInteraction => "by last interaction",
                    _ => "by name",
                };
                format!("SearchContacts, {part}, {order}{}", of_pages(pages))
            }
            Self::ContactTickets => "ListContactTickets".to_owned(),
            Self::Contact => "GetContactHistory".to_owned(),
            Self::Ticket => "GetTicketHistory".to_owned(),
            Self::Conversation => "ListConversation".to_owned(),
            Self::Closed { pages } => format!("ListClosedTickets{}", of_pages(pages)),
        }
    }

    /// Makes it, and says how many milliseconds each page took.
    async fn make(self, asker: &Asker, seen: &Seen, place: usize) -> Vec<f64> {
        let mut client = asker.history();
        let mut times_ms = Vec::new();
        match self {
            Self::Search { part, order, pages } => {
                let mut request = SearchContactsRequest {
                    query: part.of(seen, place),
                    order_by: order.into(),
                    ..SearchContactsRequest::default()
                };
                for _ in 0..pages {
                    let page = client.search_contacts(request.clone());
                    let Some(page) = timed(&mut times_ms, page).await else {
                        break;
                    };
                    assert!(!page.contacts.is_empty(), "{request:?} finds somebody");
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
            }
            Self::ContactTickets => {
                let request = ListContactTicketsRequest {
                    contact_id: seen.contact_id,
                    ..ListContactTicketsRequest::default()
                };
                let page = timed(&mut times_ms, client.list_contact_tickets(request)).await;
                let is_empty = page.is_some_and(|page| page.tickets.is_empty());
                assert!(!is_empty, "the contact has tickets");
            }
            Self::Contact => {
                let request = GetContactHistoryRequest {
                    contact_id: seen.contact_id,
                    ..GetContactHistoryRequest::default()
                };
                timed(&mut times_ms, client.get_contact_history(request)).await;
            }
            Self::Ticket => {
                let request = GetTicketHistoryRequest {
                    ticket_id: seen.ticket_id,
                };
                timed(&mut times_ms, client.get_ticket_history(request)).await;
            }
            Self::Conversation => {
                let request = ListConversationRequest {
                    ticket_id: seen.ticket_id,
                    ..ListConversationRequest::default()
                };
                timed(&mut times_ms, client.list_conversation(request)).await;
            }
            Self::Closed { pages } => {
                let mut request = ListClosedTicketsRequest::default();
                for _ in 0..pages {
                    let page = client.list_closed_tickets(request.clone());
                    let Some(page) = timed(&mut times_ms, page).await else {
                        break;
                    };
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
            }
        }
        times_ms
    }
}

impl Part {
    /// A part of what is known of a contact: three to six letters from the middle of a word, or a few digits.
    fn of(self, seen: &Seen, place: usize) -> String {
        let middle = |word: &str, length: usize| -> String {
            let letters: Vec<char> = word.chars().collect();
            let first = (letters.len().saturating_sub(length)) / 2;
            letters[first..].iter().take(length).collect()
        };
        let of_name = || {
            let words: Vec<&str> = seen.name.split(' ').collect();
            middle(words[place % words.len()], 3 + place % 4)
        };
        match self {
            Self::Name => of_name(),
            Self::Email if seen.email.is_empty() => of_name(),
            Self::Email => {
                let local = seen.email.split('@').next().unwrap_or_default();
                middle(local, 7 + place % 5)
            }
            Self::Phone if seen.phone.is_empty() => of_name(),
            Self::Phone => {
                let digits: Vec<char> = seen.phone.chars().skip(1).collect();
                let from = digits.len() - 8;
                let last: String = digits[from..].iter().collect();
                format!("{}-{}", &last[..4], &last[4..])
            }
            Self::Nothing => String::new(),
        }
    }
}

/// Waits for an answer, and notes how many milliseconds it took. A call that has no time left is noted with the time it
/// took until then, and has no answer.
pub(super) async fn timed<T>(
    times_ms: &mut Vec<f64>,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Option<T> {
    let began = Instant::now();
    let answer = call.await;
    times_ms.push(began.elapsed().as_secs_f64() * 1e3);
    match answer {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) if status.code() == Code::DeadlineExceeded => None,
        Err(status) => panic!("the call is answered: {status}"),
    }
}
