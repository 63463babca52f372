use plazo_domain::TicketState;

use super::*;
use crate::feed::hub::inbox::Told;
use crate::store::clocks::TicketKey;

const LIMITS: Limits = Limits {
    backlog: 4,
    tickets_each: 10,
    tickets_in_all: 15,
};

fn query() -> TicketQuery {
    TicketQuery {
        tenant_id: 1,
        states: vec![TicketState::Waiting, TicketState::Open],
        bot_id: None,
        queue_id: None,
        agent_id: None,
        permitted_bots: None,
    }
}

fn of_agent(agent_id: i64) -> TicketQuery {
    TicketQuery {
        agent_id: Some(agent_id),
        ..query()
    }
}

/// A ticket of tenant 1, bot 1, queue 1, after its event `seq`.
fn ticket(ticket_id: i64, seq: i64, agent_id: i64) -> ChangedTicket {
    let facts = TicketFacts {
        key: TicketKey {
            tenant_id: 1,
            ticket_id,
        },
        bot_id: 1,
        queue_id: Some(1),
        contact_id: 1,
        agent_id: Some(agent_id),
        state: TicketState::Open,
        previous_ticket_id: None,
        tags: Vec::new(),
        opened_at: jiff::Timestamp::UNIX_EPOCH,
        first_assigned_at: None,
        first_agent_message_at: None,
        closure: None,
        is_unlinked: false,
        before_close: None,
        hold: None,
        reached_contact_id: None,
        is_erased: false,
    };
    let ticket = Ticket {
        ticket_id,
        agent_id,
        etag: seq.to_string(),
        ..Ticket::default()
    };
    ChangedTicket {
        facts,
        ticket_seq: seq,
        ticket: Arc::new(ticket),
    }
}

fn told(ticket: &ChangedTicket) -> Told {
    Told::Ticket(Arc::clone(&ticket.ticket))
}

fn route(registry: &mut Registry, change: &ChangedTicket) -> usize {
    let mut touched = Vec::new();
    registry.route(change, &mut touched);
    for inbox in &touched {
        inbox.wake();
    }
    touched.len()
}

#[test]
fn a_change_touches_only_those_whom_it_concerns() {
    let mut registry = Registry::new(LIMITS);
    let mut agents = Vec::new();
    for agent_id in 0..5_000 {
        agents.push(registry.add(of_agent(agent_id), false).expect("room").1);
    }
    let narrow = |bot_id, queue_id, bots: Option<&[i64]>| TicketQuery {
        bot_id,
        queue_id,
        permitted_bots: bots.map(<[i64]>::to_vec),
        ..query()
    };
    for query in [
        query(),
        narrow(Some(1), None, None),
        narrow(None, Some(1), None),
        narrow(None, None, Some(&[1, 2])),
    ] {
        registry.add(query, false).expect("room");
    }
    let closed = TicketQuery {
        states: vec![TicketState::Closed],
        ..query()
    };
    let foreign = TicketQuery {
        tenant_id: 2,
        ..query()
    };
    for query in [
        closed,
        foreign,
        narrow(Some(2), None, None),
        narrow(None, Some(2), None),
        narrow(None, Some(1), Some(&[2])),
        narrow(None, None, Some(&[2])),
        narrow(None, None, Some(&[])),
    ] {
        registry.add(query, false).expect("room");
    }
    assert_eq!(route(&mut registry, &ticket(7, 1, 3)), 5);
    // Assigned to another: both agents are concerned.
    assert_eq!(route(&mut registry, &ticket(7, 2, 4)), 6);
    assert_eq!(route(&mut registry, &ticket(7, 3, 4)), 5);
    // The first one was not told in between.
    assert_eq!(agents[3].take(), Ok(Vec::new()));
    assert_eq!(agents[4].take(), Ok(vec![told(&ticket(7, 3, 4))]));
    route(&mut registry, &ticket(7, 4, 3));
    assert_eq!(agents[3].take(), Ok(vec![told(&ticket(7, 4, 3))]));
    assert_eq!(agents[4].take(), Ok(vec![Told::Left(7)]));
    assert_eq!(registry.held(), 5);
}

#[test]
fn a_read_and_what_passes_meanwhile_fit_together() {
    let mut registry = Registry::new(LIMITS);
    let (id, inbox) = registry.add(of_agent(3), false).expect("room");
    registry.begin_read(id);
    // Left, changed and unchanged since the read was made; one was told of an older state than what was read.
    route(&mut registry, &ticket(1, 2, 4));
    route(&mut registry, &ticket(2, 2, 3));
    route(&mut registry, &ticket(4, 1, 3));
    let read = [(1, 1), (2, 1), (3, 1), (4, 2)].map(|(id, seq)| ticket(id, seq, 3));
    let taken = registry.take_read(id, read.to_vec()).expect("it goes on");
    let expected = read[1..].iter().map(|read| Arc::clone(&read.ticket));
    assert_eq!(taken, expected.collect::<Vec<_>>());
    assert_eq!(inbox.take(), Ok(vec![told(&ticket(2, 2, 3))]));
    // The hub comes later to what the read already had.
    registry.begin_read(id);
    let taken = registry.take_read(id, vec![ticket(5, 5, 3)]);
    assert_eq!(taken.expect("it goes on").len(), 1);
    assert_eq!(route(&mut registry, &ticket(5, 4, 4)), 0);
    assert_eq!(route(&mut registry, &ticket(5, 5, 3)), 0);
    assert_eq!(route(&mut registry, &ticket(5, 6, 4)), 1);
}

#[test]
fn who_goes_on_is_told_what_left_whenever_it_left() {
    let mut registry = Registry::new(LIMITS);
    let (id, inbox) = registry.add(of_agent(3), true).expect("room");
    registry.begin_read(id);
    // 1 left before, 2 leaves during the read, 3 changes and then leaves after it.
    route(&mut registry, &ticket(2, 2, 4));
    route(&mut registry, &ticket(3, 2, 3));
    let gone = registry.take_resumed(id, &[2, 3, 4], &[1]);
    assert_eq!(gone, Ok(vec![1, 2]));
    route(&mut registry, &ticket(3, 3, 4));
    assert_eq!(inbox.take(), Ok(vec![Told::Left(3)]));
    // What did not change since is held, too.
    route(&mut registry, &ticket(4, 2, 4));
    assert_eq!(inbox.take(), Ok(vec![Told::Left(4)]));
    assert_eq!(registry.held(), 0);
}

#[test]
fn bounds_are_kept_and_everything_is_given_back() {
    let mut registry = Registry::new(LIMITS);
    let (slow, inbox) = registry.add(query(), false).expect("room");
    for ticket_id in 1..=4 {
        assert!(
            registry
                .route(&ticket(ticket_id, 1, 1), &mut Vec::new())
                .is_empty()
        );
    }
    let ended = registry.route(&ticket(5, 1, 1), &mut Vec::new());
    assert_eq!(ended, [(slow, Ending::TooSlow)]);
    assert_eq!(inbox.take(), Err(Ending::TooSlow));
    assert_eq!((registry.watchers.len(), registry.held()), (0, 0));

    let (large, inbox) = registry.add(of_agent(1), false).expect("room");
    registry.begin_read(large);
    let read = |count| (1..=count).map(|id| ticket(id, 1, 1)).collect::<Vec<_>>();
    assert_eq!(registry.take_read(large, read(11)), Err(Ending::TooLarge));
    assert_eq!(inbox.take(), Err(Ending::TooLarge));
    let (one, _) = registry.add(of_agent(1), false).expect("room");
    registry.begin_read(one);
    assert_eq!(
        registry.take_read(one, read(10)).map(|told| told.len()),
        Ok(10)
    );
    let (other, _) = registry.add(of_agent(1), false).expect("room");
    registry.begin_read(other);
    assert_eq!(registry.take_read(other, read(10)), Err(Ending::Full));
    registry.remove(one);
    assert_eq!((registry.watchers.len(), registry.held()), (0, 0));
    assert!(registry.tenants.is_empty());
}
