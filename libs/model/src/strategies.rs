//! Stories made up at random: short lengths, so that ties are frequent, and all events.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::story::{
    Anchor, Close, Event, Outage, Pause, Policy, Report, Scope, Settings, Story, Tag, Ticks,
};
use crate::week::{OpenMinutes, START_MINUTE_OF_WEEK};

/// How many queues the desk of a story has.
const QUEUES: usize = 2;
const TAGS: Tag = 3;
const MOST_EVENTS: usize = 16;
/// No hold is asked for so long.
const MAX_HOLD_S: i64 = 25;
/// Longer than any policy here takes after the last event, outages and delays included.
const TICKS_AFTER: Ticks = 300;
/// The same where business time is open about half of the time, a minute or more at a time.
const BUSINESS_TICKS_AFTER: Ticks = 1_400;

/// Valid policies of up to about 20 seconds.
pub fn any_policy() -> impl Strategy<Value = Policy> {
    let alerts = || (1..8_i64, 1..8_i64).prop_map(|(first, more)| (first, first + more));
    let anchor = prop_oneof![2 => Just(Anchor::Last), 1 => Just(Anchor::First)];
    let close = (
        0..6_i64,
        weighted(0.75, 1..20_i64),
        weighted(0.3, 1..8_i64),
        any::<bool>(),
        any::<bool>(),
        subsequence((0..TAGS).collect::<Vec<Tag>>(), 0..3),
    );
    (
        anchor,
        weighted(0.8, alerts()),
        weighted(0.85, close),
        weighted(0.6, alerts()),
        proptest::bool::weighted(0.5),
    )
        .prop_map(|(anchor, alerts, close, agent_alerts, in_business_time)| {
            let at_least = alerts.map_or(2, |(_, second)| second);
            let close = close.map(
                |(more, warned_before, wait, only_after, waits, exclude_tags)| {
                    let after_s = (at_least + more).max(2);
                    let warn_after_s = warned_before.map(|before| (after_s - before).max(1));
                    Close {
                        after_s,
                        warn_after_s,
                        max_delivery_wait_s: wait.filter(|_| warn_after_s.is_some()),
                        only_after_first_agent_message: only_after,
                        while_customer_waits: waits,
                        exclude_tags,
                    }
                },
            );
            Policy {
                anchor,
                alerts,
                close,
                agent_alerts,
                in_business_time,
            }
        })
}

/// What notification reports: mostly at once, sometimes late, twice, or with a clock that is ahead.
pub fn any_report() -> impl Strategy<Value = Report> {
    let delay = || prop_oneof![3 => Just(1_i64), 1 => 1..30_i64];
    let ahead = prop_oneof![3 => Just(0_i64), 1 => 0..6_i64];
    (
        delay(),
        ahead,
        weighted(0.3, 0..10_i64),
        weighted(0.6, 0..24_i64),
        delay(),
    )
        .prop_map(
            |(delay, ahead, repeated_after, settled_after, settled_delay)| Report {
                delay,
                ahead,
                repeated_after,
                settled_after,
                settled_delay,
            },
        )
}

fn any_pause() -> impl Strategy<Value = Pause> {
    prop_oneof![
        4 => (1..40_i64).prop_map(Pause::ForSeconds),
        1 => Just(Pause::UntilCompleted),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let written_ago = weighted(
        0.7,
        prop_oneof![4 => 0..30_i64, 3 => 20..90_i64, 1 => -6..200_i64],
    );
    let scope = prop_oneof![
        2 => Just(Scope::Bot),
        1 => (0..QUEUES).prop_map(Scope::Queue),
    ];
    let settings = (
        scope,
        weighted(0.8, any_policy()),
        proptest::bool::weighted(0.7),
    );
    prop_oneof![
        24 => Just(Event::Agent),
        18 => written_ago.prop_map(|written_ago| Event::Customer { written_ago }),
        1 => Just(Event::System),
        1 => Just(Event::Note),
        9 => (1..MAX_HOLD_S).prop_map(|max_s| Event::Hold { max_s }),
        // What is left out where it makes no sense is made up the oftener.
        12 => Just(Event::Resume),
        3 => (0..QUEUES).prop_map(Event::Transfer),
        2 => Just(Event::Assign),
        1 => Just(Event::SetOpen),
        2 => Just(Event::Close),
        4 => Just(Event::Reopen),
        1 => Just(Event::Unlink),
        6 => (0..TAGS).prop_map(Event::TagAdded),
        6 => (0..TAGS).prop_map(Event::TagRemoved),
        9 => settings.prop_map(|(scope, policy, applies)| Event::Settings {
            // The bot always has a policy.
            scope: if let (Scope::Bot, None) = (scope, &policy) { Scope::Queue(0) } else { scope },
            policy,
            applies,
        }),
        6 => prop_oneof![any_pause(), (40..200_i64).prop_map(Pause::ForSeconds)].prop_map(Event::PauseAutomation),
        1 => Just(Event::ResumeAutomation),
        1 => any::<bool>().prop_map(Event::Away),
    ]
}

fn any_outages() -> impl Strategy<Value = Vec<Outage>> {
    let outage = (0..250_i64, 1..60_i64).prop_map(|(from, length)| (from, from + length));
    vec(outage, 0..4)
}

/// Open minutes from shortly before the story begins, a minute or two at a time.
fn any_week() -> impl Strategy<Value = Vec<OpenMinutes>> {
    vec((1..3_i64, 1..3_i64), 8..10).prop_map(|lengths| {
        let mut from = START_MINUTE_OF_WEEK - 1;
        let mut week = Vec::new();
        for (open, closed) in lengths {
            week.push(OpenMinutes {
                from,
                until: from + open,
            });
            from += open + closed;
        }
        week
    })
}

fn any_settings() -> impl Strategy<Value = (Settings, bool)> {
    let clocks = prop_oneof![3 => Just(false), 1 => Just(true)];
    (
        any_policy(),
        vec(weighted(0.5, any_policy()), QUEUES),
        any_pause(),
        (1..60_i64, MAX_HOLD_S - 1..MAX_HOLD_S + 15),
        any_week(),
        any::<bool>(),
        clocks,
    )
        .prop_map(
            |(
                bot,
                queues,
                automation_pause,
                (late_reply_grace_s, max_hold_s),
                week,
                opens_with_agent,
                business,
            )| {
                let settings = Settings {
                    bot,
                    queues,
                    automation_pause,
                    max_hold_s,
                    late_reply_grace_s,
                    week,
                    opens_with_agent,
                };
                (settings, business)
            },
        )
}

/// Kinds of events that a story may keep to, so that those which matter to each other come together often. None for what
/// every story may have.
fn group(event: &Event) -> Option<usize> {
    match event {
        Event::Agent | Event::PauseAutomation(_) => None,
        Event::Customer { .. } => Some(0),
        Event::Hold { .. } | Event::Resume => Some(1),
        Event::TagAdded(_) | Event::TagRemoved(_) => Some(2),
        Event::Settings { .. } => Some(3),
        Event::Transfer(_) => Some(4),
        Event::Close | Event::Reopen | Event::Unlink => Some(5),
        Event::Assign | Event::SetOpen | Event::Away(_) => Some(6),
        Event::System | Event::Note | Event::ResumeAutomation => Some(7),
    }
}

const GROUPS: usize = 8;

/// Which groups of events a story has: all, or some.
fn any_groups() -> impl Strategy<Value = Vec<bool>> {
    prop_oneof![
        1 => Just(vec![true; GROUPS]),
        2 => vec(proptest::bool::weighted(0.4), GROUPS),
    ]
}

/// Stories of up to some dozen events, most of them with a few kinds of events only. Three of four keep to wall-clock time;
/// the others are longer.
pub fn any_story() -> impl Strategy<Value = Story> {
    let pause = prop_oneof![3 => 0..6_i64, 4 => 0..40_i64, 1 => 0..100_i64];
    (
        any_settings(),
        (vec((pause, any_event()), 1..36), any_groups()),
        proptest::bool::weighted(0.8),
        any_outages(),
        any_outages(),
        vec(any_report(), 1..4),
    )
        .prop_map(
            |((mut settings, business), (events, groups), begins, nobody_looks, down, reports)| {
                let is_kept = |event: &Event| group(event).is_none_or(|group| groups[group]);
                let events = events.into_iter().filter(|(_, event)| is_kept(event));
                let mut tick = 0;
                let mut by_tick: Vec<_> = begins.then_some((0, Event::Agent)).into_iter().collect();
                for (pause, event) in events.take(MOST_EVENTS) {
                    tick += pause;
                    by_tick.push((tick, event));
                }
                if !business {
                    keep_to_wall_clock(&mut settings, &mut by_tick);
                }
                Story {
                    settings,
                    events: by_tick,
                    nobody_looks,
                    notification_down: down,
                    reports,
                    ticks_after: if business {
                        BUSINESS_TICKS_AFTER
                    } else {
                        TICKS_AFTER
                    },
                }
            },
        )
}

/// The story of a number: one of [`any_story`], the same at each call.
///
/// # Panics
///
/// Never: no story is rejected.
pub fn story_of_seed(seed: u64) -> Story {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), random);
    let tree = any_story().new_tree(&mut runner);
    tree.expect("no story is rejected").current()
}

fn keep_to_wall_clock(settings: &mut Settings, events: &mut [(Ticks, Event)]) {
    settings.week.clear();
    settings.bot.in_business_time = false;
    for policy in settings.queues.iter_mut().flatten() {
        policy.in_business_time = false;
    }
    for (_, event) in events {
        if let Event::Settings {
            policy: Some(policy),
            ..
        } = event
        {
            policy.in_business_time = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::story::TICKS_IN_SECOND;
    use crate::{Automation, Effect, Input, Moment, Script};

    /// The word that a value's debug form begins with.
    fn name(value: &impl std::fmt::Debug) -> String {
        let text = format!("{value:?}");
        let end = text.find(|c: char| !c.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    }

    /// Rules that show only where several things come together: what an input of the later of two moments shows.
    fn special(
        script: &Script,
        pair: &[Moment],
        input: &Input,
        effects: &[Effect],
    ) -> Option<&'static str> {
        let (before, tick) = (&pair.first()?.view, pair.last()?.tick);
        match input {
            Input::Event(Event::Hold { .. }) if before.hold_until.is_some() => Some("held again"),
            Input::Event(Event::PauseAutomation(_)) => match (before.automation, effects) {
                (Automation::Until(_), [Effect::AutomationPaused { until: Some(_) }]) => {
                    Some("pause extended")
                }
                _ => None,
            },
            Input::Event(Event::Customer { .. }) if effects.contains(&Effect::Superseded) => {
                let is_longer = effects.iter().any(|effect| {
                    match (effect, script.story.settings.automation_pause) {
                        (Effect::AutomationPaused { until: None }, pause) => {
                            pause != Pause::UntilCompleted
                        }
                        (
                            Effect::AutomationPaused { until: Some(until) },
                            Pause::ForSeconds(seconds),
                        ) => *until > tick + seconds * TICKS_IN_SECOND,
                        _ => false,
                    }
                });
                is_longer.then_some("superseded, with a longer pause")
            }
            _ => None,
        }
    }

    #[test]
    fn stories_show_all_that_can_happen() {
        let mut runner = TestRunner::deterministic();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..1_000 {
            let story = any_story().new_tree(&mut runner).expect("a story");
            let script = Script::new(story.current());
            let inputs = script.moments.iter().flat_map(|moment| &moment.inputs);
            for (input, _) in inputs {
                let what = match input {
                    Input::Event(event) => format!("event {}", name(event)),
                    other => name(other),
                };
                *seen.entry(what).or_default() += 1;
            }
            for pair in script.moments.windows(2) {
                for (input, effects) in &pair[1].inputs {
                    if let Some(what) = special(&script, pair, input, effects) {
                        *seen.entry(what.to_owned()).or_default() += 1;
                    }
                }
            }
            for (_, effect) in script.effects() {
                if let Effect::Fired { due, could_act, .. } = effect
                    && could_act > due
                {
                    *seen.entry("due by a change".to_owned()).or_default() += 1;
                }
                let what = match effect {
                    Effect::Fired { kind, stage, .. } => format!("{kind:?} {stage:?}"),
                    Effect::HoldEnded { expired } => format!("hold over {}", expired.is_some()),
                    Effect::Closed(closer) => format!("closed by {closer:?}"),
                    Effect::Started { kind, .. } => format!("started {kind:?}"),
                    other => name(&other),
                };
                *seen.entry(what).or_default() += 1;
            }
        }
        // 18 events and 3 other inputs; 8 stages, 2 ends of a hold, 3 closes, 3 kinds that start, 5 other
        // effects, and 4 special cases.
        assert_eq!(seen.len(), 18 + 3 + 8 + 2 + 3 + 3 + 5 + 4, "{seen:#?}");
        assert!(seen.values().all(|count| *count >= 5), "{seen:#?}");
    }
}
