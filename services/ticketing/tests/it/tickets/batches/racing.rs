//! Bulk closes race replies and each other: for each ticket the order of commits decides, and all are told the truth.

use std::collections::HashMap;
use std::sync::Arc;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{RecordMessagesRequest, Ticket, TicketState, message_result};
use tokio::task::JoinSet;

use super::super::calls::close_many;
use super::closing;
use crate::desk::{Desk, tell};

const TICKETS: i64 = 120;
const ROUNDS: usize = 4;

/// What callers were told about one ticket: the number of its last event, and the state then.
type Answers = HashMap<i64, Vec<(i64, TicketState)>>;

fn learn(answers: &mut Answers, ticket: &Ticket) {
    let seq = ticket.etag.parse().expect("a number");
    let told = answers.entry(ticket.ticket_id).or_default();
    told.push((seq, ticket.state()));
}

/// The state of a ticket after each of its events, by their words.
fn states(words: &[String]) -> Vec<TicketState> {
    let mut state = TicketState::Open;
    let after = words.iter().map(|word| {
        match word.as_str() {
            "closed by Api" => state = TicketState::Closed,
            "reopened Waiting" => state = TicketState::Waiting,
            "reopened Open" | "Agent wrote" => state = TicketState::Open,
            _ => {}
        }
        state
    });
    after.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_closes_race_replies_and_each_other() {
    let desk = Arc::new(Desk::with_policy().await);
    let tickets = desk.bulk(TICKETS, 1.0).await;
    let mut answers = Answers::new();
    let (mut closes, mut refused, mut replies) = (0, 0, 0);
    for round in 0..ROUNDS {
        let mut calling: JoinSet<(Vec<Ticket>, usize, bool)> = JoinSet::new();
        // Two who close all, in opposite orders.
        for caller in 0..2 {
            let mut order = tickets.clone();
            if caller == 1 {
                order.reverse();
            }
            let desk = Arc::clone(&desk);
            calling.spawn(async move {
                let items = close_many(&desk.people, closing(&order)).await;
                let items = items.expect("answered");
                let told: Vec<i64> = items.iter().map(|item| item.0).collect();
                assert_eq!(told, order, "in the order asked");
                let count = items.len();
                let won = items.into_iter().filter_map(|(_, outcome)| match outcome {
                    Ok(ticket) => Some(ticket),
                    Err((_, reason, _)) => {
                        assert_eq!(reason, "TICKET_CLOSED");
                        None
                    }
                });
                let won: Vec<Ticket> = won.collect();
                let refused = count - won.len();
                (won, refused, true)
            });
        }
        // Batches of replies, in other orders; and an agent here and there.
        for (place, chunk) in tickets.chunks(24).enumerate() {
            let mut order = chunk.to_vec();
            order.rotate_left((round * 7 + place) % 24);
            let desk = Arc::clone(&desk);
            calling.spawn(async move {
                let kind = if place == 0 {
                    AuthorKind::Agent
                } else {
                    AuthorKind::Customer
                };
                let messages = order.iter().map(|&id| desk.message(id, kind)).collect();
                let request = RecordMessagesRequest {
                    messages,
                    request_id: String::new(),
                };
                let answer = desk.people.tickets.clone().record_messages(request).await;
                let results = answer.expect("answered").into_inner().results;
                let recorded = results.into_iter().map(|result| match result.result {
                    Some(message_result::Result::Recorded(it)) => it.ticket.expect("it"),
                    other => panic!("{other:?}"),
                });
                (recorded.collect(), 0, false)
            });
        }
        while let Some(caller) = calling.join_next().await {
            let (told, not_closed, is_close) = caller.expect("it ends");
            refused += not_closed;
            *(if is_close { &mut closes } else { &mut replies }) += told.len();
            for ticket in &told {
                if is_close {
                    assert_eq!(ticket.state(), TicketState::Closed);
                }
                learn(&mut answers, ticket);
            }
        }
    }

    let (mut told_closes, mut told_replies) = (0, 0);
    for ticket_id in tickets {
        let events = desk.events(ticket_id).await;
        let words: Vec<String> = events.iter().map(tell).collect();
        told_closes += words.iter().filter(|it| it.starts_with("closed")).count();
        told_replies += words.iter().filter(|it| it.ends_with("wrote")).count();
        let states = states(&words);
        let mut open = true;
        for word in &words {
            // Nothing is closed twice, and only what is closed is opened again.
            match word.as_str() {
                "closed by Api" => assert!(std::mem::replace(&mut open, false), "{words:?}"),
                word if word.starts_with("reopened") => {
                    assert!(!std::mem::replace(&mut open, true), "{words:?}");
                }
                word if word.ends_with("wrote") => assert!(open, "{words:?}"),
                _ => {}
            }
        }
        for (seq, state) in &answers[&ticket_id] {
            let place = usize::try_from(*seq).expect("above zero") - 1;
            assert_eq!(states[place], *state, "{words:?} at {seq}");
        }
    }
    println!("{closes} closes, {refused} refused, {replies} replies");
    assert_eq!((told_closes, told_replies), (closes, replies));
    assert_eq!(replies, usize::try_from(TICKETS).expect("few") * ROUNDS);
    assert_eq!(closes + refused, 2 * replies);
    assert!(closes >= replies / ROUNDS, "each ticket once at least");
}
