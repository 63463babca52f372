//! What must hold of every ticket that is made.

use std::collections::{HashMap, HashSet};

use plazo_proto::ticketing::v1::{CloseSource, MessageKind};

use super::{Facts, Step, Story, World, WorldOptions};

const DAY_US: i64 = 24 * 3_600 * 1_000_000;
/// 2026-01-01.
const UNTIL_US: i64 = 1_767_225_600 * 1_000_000;

fn options() -> WorldOptions {
    WorldOptions {
        seed: 5,
        tickets: 20_000,
        contacts: 2_000,
        agents: 40,
        bots: 5,
        first_ticket_id: 3_000_000,
        first_contact_id: 1,
        from_us: UNTIL_US - 90 * DAY_US,
        until_us: UNTIL_US,
    }
}

fn stories(options: WorldOptions) -> Vec<Story> {
    let world = World::new(options);
    (0..world.options().tickets)
        .map(|number| world.story(number))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_tickets() {
    let few = WorldOptions {
        tickets: 500,
        contacts: 50,
        ..options()
    };
    let first = stories(few.clone());
    assert!(first == stories(few.clone()));
    let other = stories(WorldOptions { seed: 6, ..few });
    assert!(first != other);
}

#[test]
fn events_are_in_order_and_within_the_span() {
    let options = options();
    let mut before_us = options.from_us;
    for (number, story) in (0..).zip(stories(options.clone())) {
        let place = story.place;
        assert_eq!(place.ticket_id, options.first_ticket_id + number);
        assert!(place.opened_us >= before_us, "ids rise with the opening");
        before_us = place.opened_us;
        let mut at_us = place.opened_us;
        for event in &story.events {
            assert!(event.at_us >= at_us, "{story:?}");
            assert_eq!(event.at_us % 1_000, 0, "{story:?}");
            at_us = event.at_us;
        }
        assert!(at_us <= options.until_us, "{story:?}");
        assert!(place.previous_ticket_id < place.ticket_id);
    }
}

#[test]
fn every_contact_has_a_ticket_and_continued_tickets_are_of_the_same_one() {
    let options = options();
    let stories = stories(options.clone());
    let contacts: HashSet<i64> = stories.iter().map(|story| story.contact_id).collect();
    assert_eq!(contacts.len() as u64, options.contacts);
    let by_ticket: HashMap<i64, i64> = stories
        .iter()
        .map(|story| (story.place.ticket_id, story.contact_id))
        .collect();
    let continued: Vec<&Story> = stories
        .iter()
        .filter(|story| story.place.previous_ticket_id != 0)
        .collect();
    assert!(continued.len() > 200, "{}", continued.len());
    for story in continued {
        assert_eq!(by_ticket[&story.place.previous_ticket_id], story.contact_id);
    }
}

#[test]
fn facts_hold_together() {
    for story in stories(options()) {
        let facts = Facts::of(&story);
        let opened_us = story.place.opened_us;
        let (closed_us, _, closing) = facts.closed.as_ref().expect("all are closed");
        let first_closed_us = facts.first_closed_us.expect("all are closed");
        assert!(first_closed_us <= *closed_us);
        assert_eq!(
            facts.reopen_count > 0,
            first_closed_us < *closed_us || facts.reopen_count > 0
        );
        let assigned_us = facts.first_assigned_us;
        let answered_us = facts.first_agent_message_us;
        assert!(assigned_us.is_none_or(|at_us| (opened_us..=*closed_us).contains(&at_us)));
        assert!(answered_us.is_none_or(|at_us| Some(at_us) >= assigned_us));
        assert_eq!(answered_us.is_none(), facts.agent_message_count == 0);
        let whole_ms = (closed_us - opened_us) / 1_000;
        for length in [facts.handling, facts.later_response] {
            assert!((0..=whole_ms).contains(&length.plain_ms), "{story:?}");
            assert!(
                (0..=length.plain_ms).contains(&length.business_ms),
                "{story:?}"
            );
        }
        assert!(facts.later_response_count < facts.agent_message_count.max(1));
        assert_eq!(facts.dealings.is_empty(), assigned_us.is_none());
        for (_, last_us) in &facts.dealings {
            assert!(
                (opened_us..=*closed_us).contains(last_us) || facts.is_unlinked,
                "{story:?}"
            );
        }
        let is_silent = closing.source == CloseSource::CustomerInactivity;
        assert_eq!(closing.exit_route.is_empty(), !is_silent);
        assert!(facts.tags.is_sorted());
        let chats = story.events.iter().filter(|event| {
            matches!(
                event.step,
                Step::Written {
                    kind: MessageKind::Chat,
                    ..
                }
            )
        });
        let messages = facts.customer_message_count + facts.agent_message_count;
        assert_eq!(
            chats.count(),
            usize::try_from(messages).expect("not negative")
        );
    }
}

#[test]
fn tickets_are_as_mixed_as_those_of_a_desk() {
    let stories = stories(options());
    let count = |fits: &dyn Fn(&Story, &Facts) -> bool| {
        let fitting = stories
            .iter()
            .filter(|story| fits(story, &Facts::of(story)));
        fitting.count() * 1_000 / stories.len()
    };
    let by_source = |source| {
        move |_: &Story, facts: &Facts| {
            facts
                .closed
                .as_ref()
                .is_some_and(|(_, _, closing)| closing.source == source)
        }
    };
    let has = |wanted: fn(&Step) -> bool| {
        move |story: &Story, _: &Facts| story.events.iter().any(|event| wanted(&event.step))
    };
    for (what, per_mille, range) in [
        (
            "by inactivity",
            count(&by_source(CloseSource::CustomerInactivity)),
            370..450,
        ),
        ("by agents", count(&by_source(CloseSource::Agent)), 400..560),
        (
            "by customers",
            count(&by_source(CloseSource::Customer)),
            10..80,
        ),
        (
            "by workflows",
            count(&by_source(CloseSource::Workflow)),
            10..80,
        ),
        ("by others", count(&by_source(CloseSource::Api)), 10..80),
        (
            "opened again",
            count(&|_, facts| facts.reopen_count > 0),
            20..80,
        ),
        (
            "held",
            count(&has(|step| matches!(step, Step::Held))),
            30..80,
        ),
        (
            "transferred",
            count(&has(|step| matches!(step, Step::Transferred { .. }))),
            40..90,
        ),
        ("hidden", count(&|_, facts| facts.is_unlinked), 2..10),
        (
            "without agent",
            count(&|_, facts| facts.dealings.is_empty()),
            10..40,
        ),
        (
            "of several agents",
            count(&|_, facts| facts.dealings.len() > 1),
            40..150,
        ),
    ] {
        assert!(range.contains(&per_mille), "{what}: {per_mille} per mille");
    }
    let entries = stories
        .iter()
        .flat_map(|story| &story.events)
        .filter(|event| matches!(event.step, Step::Written { .. } | Step::Requested { .. }));
    let entries = entries.count();
    assert!(
        (2 * stories.len()..5 * stories.len()).contains(&entries),
        "{entries}"
    );
}

#[test]
fn some_agents_have_much_more_than_others() {
    let mut tickets: HashMap<i64, u32> = HashMap::new();
    for story in stories(options()) {
        for (agent_id, _) in Facts::of(&story).dealings {
            *tickets.entry(agent_id).or_default() += 1;
        }
    }
    assert_eq!(tickets.len(), 40);
    let (least, most) = (tickets.values().min(), tickets.values().max());
    let (least, most) = (least.expect("agents"), most.expect("agents"));
    assert!(*most > 10 * least, "{least} to {most}");
}
