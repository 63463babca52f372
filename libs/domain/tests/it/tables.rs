//! Stories in one line, as the product's description writes them, with what must follow in one line too.
//!
//! A story is a list of events, each with its second: `agent 0, customer 12, hold 15`. More words follow the
//! second where an event needs them. Of what follows the clocks are told, `yellow 10, cleared 12`; a
//! `warning` is told when notification accepts it.

use plazo_model::{
    Alert, Close, Effect, Event, Input, Kind, Pause, Policy, Report, Scope, Script, Settings,
    Stage, State, Story, TICKS_IN_SECOND, Ticks, play,
};

use crate::support::Desk;

/// A desk, and the policies that its stories may save, by number.
pub(crate) struct TestDesk {
    pub(crate) settings: Settings,
    pub(crate) others: Vec<Policy>,
    pub(crate) report: Report,
}

/// Alerts 10/20, warning 25, close 30, all options as they are by default.
pub(crate) fn example_policy() -> Policy {
    Policy {
        anchor: plazo_model::Anchor::Last,
        alerts: Some((10, 20)),
        close: Some(Close {
            after_s: 30,
            warn_after_s: Some(25),
            max_delivery_wait_s: None,
            only_after_first_agent_message: true,
            while_customer_waits: false,
            exclude_tags: Vec::new(),
        }),
        agent_alerts: None,
        in_business_time: false,
    }
}

/// Without any stage.
pub(crate) fn empty_policy() -> Policy {
    Policy {
        alerts: None,
        close: None,
        ..example_policy()
    }
}

/// A policy like the example.
pub(crate) fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = example_policy();
    change(&mut policy);
    policy
}

/// The close of a policy that has one.
pub(crate) fn close(policy: &mut Policy) -> &mut Close {
    policy.close.as_mut().expect("the example closes")
}

/// A desk with this policy for the bot, and two queues without their own.
pub(crate) fn desk(bot: Policy) -> TestDesk {
    TestDesk {
        settings: Settings {
            bot,
            queues: vec![None, None],
            automation_pause: Pause::ForSeconds(3_600),
            max_hold_s: 3_600,
            late_reply_grace_s: 60,
            week: Vec::new(),
            opens_with_agent: true,
        },
        others: Vec::new(),
        report: Report::PROMPT,
    }
}

/// The desk of the examples.
pub(crate) fn example() -> TestDesk {
    desk(example_policy())
}

impl TestDesk {
    pub(crate) fn with(mut self, others: impl IntoIterator<Item = Policy>) -> Self {
        self.others.extend(others);
        self
    }

    pub(crate) fn settled_after(mut self, seconds: i64) -> Self {
        self.report.settled_after = Some(seconds * TICKS_IN_SECOND);
        self
    }

    /// Checks what follows from a story in the model and in the domain. `why` says what it shows.
    pub(crate) fn shows(&self, why: &str, story: &str, follows: &str) {
        let script = self.play(why, story);
        assert_eq!(told(&script, in_short), follows, "{why}: {story}");
    }

    /// The same for the automation alone.
    pub(crate) fn shows_automation(&self, why: &str, story: &str, follows: &str) {
        let script = self.play(why, story);
        let pauses = |_: &Script, effect: Effect, at: &str| match effect {
            Effect::AutomationPaused { until } => Some(match until {
                Some(until) => format!("paused {at} to {}", in_seconds(until)),
                None => format!("paused {at}"),
            }),
            Effect::AutomationResumed => Some(format!("resumed {at}")),
            _ => None,
        };
        assert_eq!(told(&script, pauses), follows, "{why}: {story}");
    }

    /// The same for the cycles that begin: number, kind, anchor and the policy's version.
    pub(crate) fn shows_cycles(&self, why: &str, story: &str, follows: &str) {
        let script = self.play(why, story);
        let starts = |_: &Script, effect: Effect, _: &str| {
            let Effect::Started {
                cycle,
                kind,
                anchor,
                policy_version,
            } = effect
            else {
                return None;
            };
            let kind = match kind {
                Kind::CustomerSilent => "silent",
                Kind::CustomerWaits => "waits",
                Kind::AgentSilent => "agent",
            };
            let anchor = in_seconds(anchor);
            Some(format!("{cycle} {kind} {anchor} v{policy_version}"))
        };
        assert_eq!(told(&script, starts), follows, "{why}: {story}");
    }

    /// The same for what fired: stage, cycle, the policy's version, when it was due, and when it fired.
    pub(crate) fn shows_firings(&self, why: &str, story: &str, follows: &str) {
        let script = self.play(why, story);
        let firings = |_: &Script, effect: Effect, at: &str| {
            let Effect::Fired {
                cycle,
                policy_version,
                stage,
                due,
                could_act,
                ..
            } = effect
            else {
                return None;
            };
            let since = if could_act > due {
                format!(" since {}", in_seconds(could_act))
            } else {
                String::new()
            };
            let due = in_seconds(due);
            Some(format!(
                "{stage:?} of {cycle} v{policy_version} due {due}{since} at {at}"
            ))
        };
        assert_eq!(told(&script, firings), follows, "{why}: {story}");
    }

    /// Checks in which state a story ends.
    pub(crate) fn ends(&self, why: &str, story: &str, state: State) {
        let script = self.play(why, story);
        let last = script.moments.last().map(|moment| moment.view.state);
        assert_eq!(last, Some(state), "{why}: {story}");
    }

    /// Plays a story on the domain, which must do as the model does.
    pub(crate) fn play(&self, why: &str, story: &str) -> Script {
        let story = self.read(story);
        let events = story.events.len();
        let script = Script::new(story);
        let inputs = script.moments.iter().flat_map(|moment| &moment.inputs);
        let played = inputs.filter(|(input, _)| matches!(input, Input::Event(_)));
        assert_eq!(played.count(), events, "{why}: an event is not possible");
        let mut desk = Desk::new(&self.settings);
        assert_eq!(play(&script, &mut desk), Ok(()), "{why}");
        script
    }

    fn read(&self, text: &str) -> Story {
        let mut story = Story {
            settings: self.settings.clone(),
            events: Vec::new(),
            nobody_looks: Vec::new(),
            notification_down: Vec::new(),
            reports: vec![self.report],
            ticks_after: 400,
        };
        for part in text.split(", ").filter(|part| !part.is_empty()) {
            let words: Vec<&str> = part.split(' ').collect();
            let tick = ticks(words[1]);
            match words[0] {
                "down" => story.nobody_looks.push((tick, ticks(words[2]))),
                "notification-down" => story.notification_down.push((tick, ticks(words[2]))),
                _ => story.events.push((tick, self.event(&words, tick))),
            }
        }
        story
    }

    fn event(&self, words: &[&str], tick: Ticks) -> Event {
        let number = |index: usize| words[index].parse::<i64>().expect("a number");
        let index = |index: usize| usize::try_from(number(index)).expect("a small number");
        match words[0] {
            "agent" => Event::Agent,
            "customer" => Event::Customer {
                written_ago: words.get(3).map(|written| tick - ticks(written)),
            },
            "system" => Event::System,
            "note" => Event::Note,
            "hold" => Event::Hold {
                max_s: if words.len() > 2 { number(2) } else { 3_600 },
            },
            "resume" => Event::Resume,
            "transfer" => Event::Transfer(if words.len() > 2 { index(2) } else { 0 }),
            "assign" => Event::Assign,
            "set-open" => Event::SetOpen,
            "close" => Event::Close,
            "reopen" => Event::Reopen,
            "unlink" => Event::Unlink,
            "tag" => Event::TagAdded(1),
            "untag" => Event::TagRemoved(1),
            "other-tag" => Event::TagAdded(2),
            "away" => Event::Away(true),
            "pause" => Event::PauseAutomation(Pause::ForSeconds(number(2))),
            "pause-until-completed" => Event::PauseAutomation(Pause::UntilCompleted),
            "resume-automation" => Event::ResumeAutomation,
            "settings" | "queue-settings" => Event::Settings {
                scope: if words[0] == "settings" {
                    Scope::Bot
                } else {
                    Scope::Queue(0)
                },
                policy: (words[2] != "none").then(|| self.others[index(2)].clone()),
                applies: words.get(3) == Some(&"applied"),
            },
            other => panic!("{other} is no event"),
        }
    }
}

fn ticks(seconds: &str) -> Ticks {
    let whole = seconds.strip_suffix(".5").unwrap_or(seconds);
    let ticks = whole.parse::<i64>().expect("seconds") * TICKS_IN_SECOND;
    ticks + i64::from(whole != seconds)
}

fn in_seconds(tick: Ticks) -> String {
    let half = if tick % TICKS_IN_SECOND == 0 {
        ""
    } else {
        ".5"
    };
    format!("{}{half}", tick / TICKS_IN_SECOND)
}

/// Effects in one line, in the order in which they followed.
fn told(script: &Script, tell: impl Fn(&Script, Effect, &str) -> Option<String>) -> String {
    let effects = script.effects();
    let parts = effects.filter_map(|(tick, effect)| tell(script, effect, &in_seconds(tick)));
    parts.collect::<Vec<_>>().join(", ")
}

/// The clocks. What goes with a close is not told apart from it.
fn in_short(script: &Script, effect: Effect, at: &str) -> Option<String> {
    let closes =
        |other: &(Ticks, Effect)| in_seconds(other.0) == at && matches!(other.1, Effect::Closed(_));
    let side = |kind| {
        if kind == Kind::AgentSilent {
            "agent "
        } else {
            ""
        }
    };
    match effect {
        Effect::Fired {
            cycle,
            kind,
            stage,
            alert,
            ..
        } => match (stage, alert) {
            (Stage::First, Alert::Red) => Some(format!("first {at}")),
            (Stage::First, _) => Some(format!("{}yellow {at}", side(kind))),
            (Stage::Second, _) => Some(format!("{}red {at}", side(kind))),
            (Stage::Warning, _) => Some(format!("warning {}", accepted(script, cycle)?)),
            (Stage::Close, _) => Some(format!("closed {at}")),
        },
        Effect::Cleared(_) if !script.effects().any(|it| closes(&it)) => {
            Some(format!("cleared {at}"))
        }
        Effect::AgentAlertCleared(_) if !script.effects().any(|it| closes(&it)) => {
            Some(format!("agent cleared {at}"))
        }
        Effect::HoldEnded {
            expired: Some(until),
        } => Some(format!("hold over {}", in_seconds(until))),
        Effect::Superseded => Some(format!("superseded {at}")),
        _ => None,
    }
}

/// When notification accepted the warning of a cycle, if its report came.
fn accepted(script: &Script, of: i32) -> Option<String> {
    let mut inputs = script.moments.iter().flat_map(|moment| &moment.inputs);
    inputs.find_map(|(input, _)| match input {
        Input::Accepted { cycle, at } if *cycle == of => Some(in_seconds(*at)),
        _ => None,
    })
}
