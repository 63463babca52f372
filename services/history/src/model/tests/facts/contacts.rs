//! Who dealt with whom, and what tells of a contact.

use plazo_proto::ticketing::v1::ContactChanged;

use super::*;

#[test]
fn dealings_are_what_agents_did_and_had() {
    let story = [
        (0, Did::OpenedFor(12)),
        (10, Did::Note(OTHER_AGENT)),
        (20, Did::Assigned(13)),
        (30, Did::Agent(OTHER_AGENT)),
        (40, Did::Transferred),
        (50, Did::Assigned(14)),
        (55, Did::Customer),
        (60, Did::ClosedUnassigning(14)),
        (90, Did::Reopened(0)),
        (95, Did::Closed),
    ];
    let (record, changes) = after(&story, None);
    let dealt: Vec<_> = changes
        .dealings
        .iter()
        .map(|((_, agent_id), last_dealt_at)| (*agent_id, *last_dealt_at))
        .collect();
    // Until somebody else was assigned; until the transfer; until the close; when he last wrote.
    let expected = [
        (12, at(20)),
        (13, at(40)),
        (14, at(60)),
        (OTHER_AGENT, at(30)),
    ];
    assert_eq!(dealt, expected);
    assert_eq!(record.ticket.agent_id, 14);
    assert_eq!(record.facts.assigned_agent_id, 0);
    assert_eq!(record.facts.last_interaction_at, at(95));
}

#[test]
fn a_merge_takes_the_contact_away_and_tells_of_the_other() {
    let renaming = Payload::ContactChanged(ContactChanged {
        contact: Some(contact(8, "Ana Maria")),
        previous_contact_id: 5,
    });
    let mut merge = event(3, renaming);
    merge.event_time = Some(second(70));
    let opened = event(1, payload(&Did::OpenedFor(12), 0, 0));
    let mut written = event(2, payload(&Did::Customer, 60, 0));
    written.event_time = Some(second(60));
    let (record, changes) = play_events([opened, written, merge], &Calendars::default());
    assert_eq!(record.ticket.contact, contact(8, "Ana Maria"));
    assert_eq!(changes.moved, [record.ticket.key]);
    let before = &changes.contacts[&(1, 5)];
    assert!(before.is_merged_away && before.told.is_none());
    let survivor = &changes.contacts[&(1, 8)];
    let told = survivor.told.as_ref().expect("it was told of");
    assert_eq!(told.told_at, at(70));
    assert_eq!(
        survivor.last_interaction_at,
        Some(at(60)),
        "a merge is no interaction, but the ticket's own go over"
    );
}

#[test]
fn a_change_and_a_reopening_tell_of_the_contact() {
    let renaming = Payload::ContactChanged(ContactChanged {
        contact: Some(contact(5, "Ana Lima")),
        previous_contact_id: 0,
    });
    let reopened = Payload::Reopened(TicketReopened {
        state: TicketState::Open.into(),
        contact: Some(contact(5, "Ana Souza")),
        ..TicketReopened::default()
    });
    let mut names = Vec::new();
    let payloads = [
        payload(&Did::Opened, 0, 0),
        renaming,
        closed_by(0, 3),
        reopened,
    ];
    for count in 1..=payloads.len() {
        let events = payloads[..count].iter().zip(1..);
        let events = events.map(|(payload, seq)| event(seq, payload.clone()));
        let (record, changes) = play_events(events, &Calendars::default());
        let told = changes.contacts[&(1, 5)]
            .told
            .clone()
            .expect("it was told of");
        assert_eq!(told.contact.name, record.ticket.contact.name);
        names.push(record.ticket.contact.name);
        assert!(changes.moved.is_empty());
    }
    assert_eq!(names, ["Ana", "Ana Lima", "Ana Lima", "Ana Souza"]);
}
