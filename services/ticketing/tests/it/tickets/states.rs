//! Every change in every state: what the ticket is then, what is refused, and which events tell of it.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{AutomationState, MessageKind, Ticket, TicketState};
use tonic::Status;

use super::calls::{Change, precondition};
use crate::desk::{Desk, create_agent};
use crate::support::refusal;

/// Where a ticket stands before the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Waiting,
    Open,
    Held,
    Closed,
    Unlinked,
}

const STARTS: [Start; 5] = [
    Start::Waiting,
    Start::Open,
    Start::Held,
    Start::Closed,
    Start::Unlinked,
];

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Change(Change),
    /// Somebody writes.
    Message(AuthorKind),
    /// The agent writes a note or a comment.
    Aside(MessageKind),
}

/// The agent of a ticket afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Nobody,
    TheAgent,
    TheOther,
}

/// State, agent, and events.
type Effect = (TicketState, Has, &'static [&'static str]);

/// What follows, or the reason of the refusal.
type Expected = Result<Effect, &'static str>;

/// The table of states, worked out.
fn expected(start: Start, deed: Deed) -> Expected {
    match (deed, start) {
        (Deed::Message(kind), _) => Ok(after_message(start, kind)),
        (Deed::Aside(MessageKind::Note), _) => Ok((start.state(), start.has(), &["Agent noted"])),
        (Deed::Aside(_), _) => Ok((start.state(), start.has(), &["Agent commented"])),
        (Deed::Change(change), Start::Closed | Start::Unlinked) => of_closed(start, change),
        (Deed::Change(change), _) => of_open(start, change),
    }
}

impl Start {
    fn has(self) -> Has {
        match self {
            Self::Waiting => Has::Nobody,
            _ => Has::TheAgent,
        }
    }

    fn state(self) -> TicketState {
        match self {
            Self::Waiting => TicketState::Waiting,
            Self::Open | Self::Held => TicketState::Open,
            Self::Closed | Self::Unlinked => TicketState::Closed,
        }
    }
}

fn of_open(start: Start, change: Change) -> Expected {
    use TicketState::{Closed, Open, Waiting};
    let (was, had) = (start.state(), start.has());
    match (change, start) {
        (Change::Assign(_), _) => Ok((Open, Has::TheOther, &["assigned"])),
        (Change::SetOpen, _) => Ok((Open, had, &["set open"])),
        (Change::Reopen, _) => Err("TICKET_NOT_CLOSED"),
        (Change::Close, Start::Held) => Ok((
            Closed,
            had,
            &[
                "closed by Api",
                "hold ended: Closed",
                "automation resumed: Completed",
            ],
        )),
        (Change::Close, _) => Ok((
            Closed,
            had,
            &["closed by Api", "automation resumed: Completed"],
        )),
        (Change::Unlink, Start::Held) => Ok((
            Closed,
            had,
            &[
                "closed by Api",
                "hold ended: Closed",
                "automation resumed: Completed",
                "unlinked",
            ],
        )),
        (Change::Unlink, _) => Ok((
            Closed,
            had,
            &["closed by Api", "automation resumed: Completed", "unlinked"],
        )),
        (Change::Transfer(_), Start::Held) => Ok((
            Waiting,
            Has::Nobody,
            &["transferred", "hold ended: Transferred"],
        )),
        (Change::Transfer(_), _) => Ok((Waiting, Has::Nobody, &["transferred"])),
        (Change::Hold, _) => Ok((was, had, &["held"])),
        (Change::Resume, Start::Held) => Ok((Open, had, &["hold ended: Resumed"])),
        (Change::Resume, _) => Err("TICKET_NOT_ON_HOLD"),
        // It is paused until it is completed, which is longer.
        (Change::Pause, _) => Ok((was, had, &[])),
        (Change::ResumeAutomation, _) => Ok((was, had, &["automation resumed: Requested"])),
    }
}

fn of_closed(start: Start, change: Change) -> Expected {
    use TicketState::{Closed, Open};
    let had = start.has();
    match (change, start) {
        (Change::Assign(_), _) => Ok((
            Open,
            Has::TheOther,
            &["reopened Open", "assigned", "automation paused"],
        )),
        (Change::SetOpen, _) => Ok((
            Open,
            had,
            &["reopened Open", "set open", "automation paused"],
        )),
        (Change::Reopen, _) => Ok((Open, had, &["reopened Open", "automation paused"])),
        (Change::Unlink, Start::Closed) => Ok((Closed, had, &["unlinked"])),
        (Change::Unlink, _) => Err("TICKET_UNLINKED"),
        (Change::Resume, _) => Err("TICKET_NOT_ON_HOLD"),
        (Change::ResumeAutomation, _) => Ok((Closed, had, &[])),
        (Change::Close | Change::Transfer(_) | Change::Hold | Change::Pause, _) => {
            Err("TICKET_CLOSED")
        }
    }
}

fn after_message(start: Start, kind: AuthorKind) -> Effect {
    use TicketState::Open;
    let (was, had) = (start.state(), start.has());
    match (kind, start) {
        (AuthorKind::Agent, Start::Closed | Start::Unlinked) => (
            Open,
            had,
            &["reopened Open", "Agent wrote", "automation paused"],
        ),
        (AuthorKind::Agent, _) => (Open, had, &["Agent wrote"]),
        (AuthorKind::Customer, Start::Waiting | Start::Open) => (was, had, &["Customer wrote"]),
        (AuthorKind::Customer, Start::Held) => {
            (was, had, &["hold ended: CustomerWrote", "Customer wrote"])
        }
        (AuthorKind::Customer, Start::Closed) => (
            Open,
            had,
            &["reopened Open", "automation paused", "Customer wrote"],
        ),
        // Heard in another ticket.
        (AuthorKind::Customer, Start::Unlinked) => (was, had, &[]),
        (AuthorKind::Bot, _) => (was, had, &["Bot wrote"]),
        (_, _) => (was, had, &["System wrote"]),
    }
}

async fn begin(desk: &Desk, start: Start) -> Ticket {
    let mut opening = desk.opening();
    if start != Start::Waiting {
        opening.agent_id = desk.agent_id;
    }
    let ticket = desk.open_as(opening).await;
    let change = match start {
        Start::Waiting | Start::Open => return ticket,
        Start::Held => Change::Hold,
        Start::Closed => Change::Close,
        Start::Unlinked => Change::Unlink,
    };
    let changed = change.make(&desk.people, ticket.ticket_id).await;
    changed.expect("prepared")
}

async fn act(desk: &Desk, ticket_id: i64, deed: Deed) -> Result<Ticket, Status> {
    let message = match deed {
        Deed::Change(change) => return change.make(&desk.people, ticket_id).await,
        Deed::Message(kind) => desk.message(ticket_id, kind),
        Deed::Aside(kind) => {
            let mut message = desk.message(ticket_id, AuthorKind::Agent);
            message.kind = kind.into();
            message
        }
    };
    let answer = desk.record(message).await?;
    Ok(answer.ticket.expect("the ticket"))
}

async fn check(desk: &Desk, other: i64, start: Start, deed: Deed) {
    let what = format!("{deed:?} of a ticket that is {start:?}");
    let before = begin(desk, start).await;
    let ticket_id = before.ticket_id;
    let story = desk.whole_story(ticket_id).await;
    let answer = act(desk, ticket_id, deed).await;
    let after = desk.ticket(ticket_id).await;
    let added = desk.whole_story(ticket_id).await.split_off(story.len());
    let (state, agent, events) = match expected(start, deed) {
        Ok(expected) => expected,
        Err(reason) => {
            assert_eq!(refusal(answer), precondition(reason), "{what}");
            assert_eq!((after, added), (before, Vec::new()), "{what}");
            return;
        }
    };
    let answer = answer.unwrap_or_else(|status| panic!("{what}: {status:?}"));
    let goes_elsewhere = start == Start::Unlinked && deed == Deed::Message(AuthorKind::Customer);
    if goes_elsewhere {
        assert_eq!(
            (answer.previous_ticket_id, answer.state()),
            (ticket_id, TicketState::Waiting)
        );
        assert_eq!(after, before, "{what}");
    } else {
        assert_eq!(answer, after, "{what}");
    }
    assert_eq!(
        (after.state(), added),
        (state, events.iter().map(|&it| it.to_owned()).collect()),
        "{what}"
    );
    let agent_id = match agent {
        Has::Nobody => 0,
        Has::TheAgent => desk.agent_id,
        Has::TheOther => other,
    };
    assert_eq!(after.agent_id, agent_id, "{what}");

    let is_closed = state == TicketState::Closed;
    assert_eq!(after.closure.is_some(), is_closed, "{what}");
    let is_unlinked =
        is_closed && (start == Start::Unlinked || deed == Deed::Change(Change::Unlink));
    assert_eq!(after.unlinked, is_unlinked, "{what}");
    let runs = is_closed || deed == Deed::Change(Change::ResumeAutomation);
    let automation = after.automation.expect("always there").state();
    assert_eq!(automation == AutomationState::Running, runs, "{what}");
    let ends_hold = events.iter().any(|event| event.starts_with("hold ended"));
    let is_held = deed == Deed::Change(Change::Hold) || (start == Start::Held && !ends_hold);
    assert_eq!(after.hold.is_some(), is_held, "{what}");
    // Without a policy nothing is waited for but the end of a hold.
    let end_time = after.hold.and_then(|hold| hold.end_time);
    assert_eq!(after.next_due_time, end_time, "{what}");
    assert!(after.inactivity_cycle.is_none() && after.agent_cycle.is_none());
}

#[tokio::test]
async fn every_change_in_every_state() {
    let desk = Desk::start().await;
    let queue_id = desk.queue("Ventas").await;
    let other = create_agent(&desk.people, "Ivo", &[desk.bot_id]).await;
    let changes = Change::all(other.agent_id, queue_id).map(Deed::Change);
    let kinds = [
        AuthorKind::Agent,
        AuthorKind::Customer,
        AuthorKind::Bot,
        AuthorKind::System,
    ];
    let messages = kinds.map(Deed::Message);
    let asides = [MessageKind::Note, MessageKind::Comment].map(Deed::Aside);
    for start in STARTS {
        for deed in changes.into_iter().chain(messages).chain(asides) {
            check(&desk, other.agent_id, start, deed).await;
        }
    }
}
