//! A story with what must follow from it.

use crate::model::Model;
use crate::story::{Event, Report, Story, Ticks, is_down};
use crate::view::{Effect, Stage, View};

/// What is fed to the code under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The ticket is opened: the first input of tick 0.
    Opened,
    /// Something happens.
    Event(Event),
    /// Notification reports that it accepted the warning of a cycle.
    Accepted {
        /// The number of the cycle, which may be over.
        cycle: i32,
        /// When that was, as notification says; may lie ahead.
        at: Ticks,
    },
    /// Notification reports that the warning of a cycle was delivered, or failed for good.
    Settled {
        /// The number of the cycle, which may be over.
        cycle: i32,
        /// When that was.
        at: Ticks,
    },
}

/// One tick. First the reports and events, one after another, then a look at what is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Which.
    pub tick: Ticks,
    /// What is fed, with what follows at once, sorted.
    pub inputs: Vec<(Input, Vec<Effect>)>,
    /// Whether anybody looks; if not, nothing becomes due in this tick.
    pub is_looked_at: bool,
    /// What became due, sorted.
    pub effects: Vec<Effect>,
    /// What shows at the end.
    pub view: View,
}

impl Moment {
    /// Whether nothing happens.
    pub fn is_quiet(&self) -> bool {
        self.inputs.is_empty() && self.effects.is_empty()
    }
}

/// A story with its moments, one for each tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What it was made from.
    pub story: Story,
    /// By tick, from 0.
    pub moments: Vec<Moment>,
}

impl Script {
    /// Works out what must follow from a story.
    pub fn new(story: Story) -> Self {
        let mut model = Model::new(&story.settings);
        let mut coming: Vec<(Ticks, Input)> = vec![(0, Input::Opened)];
        let mut reports = story.reports.iter().cycle();
        let mut moments = Vec::new();
        for tick in 0..story.end() {
            let reported = coming.iter().filter(|(at, _)| *at == tick);
            let mut inputs_now: Vec<Input> = reported.map(|(_, input)| input.clone()).collect();
            let events = story.events.iter().filter(|(at, _)| *at == tick);
            inputs_now.extend(events.map(|(_, event)| Input::Event(event.clone())));

            let mut inputs = Vec::new();
            for input in inputs_now {
                if let Some(mut effects) = model.apply(&input, tick) {
                    effects.sort_unstable();
                    inputs.push((input, effects));
                }
            }
            let is_looked_at = !is_down(&story.nobody_looks, tick);
            let mut effects = if is_looked_at {
                model.look(tick)
            } else {
                Vec::new()
            };
            effects.sort_unstable();
            for effect in &effects {
                if let Effect::Fired {
                    stage: Stage::Warning,
                    cycle,
                    ..
                } = effect
                {
                    let report = reports.next().expect("a story has reports");
                    coming.extend(reports_of(&story, *report, *cycle, tick));
                }
            }
            moments.push(Moment {
                tick,
                inputs,
                is_looked_at,
                effects,
                view: model.view(),
            });
        }
        Self { story, moments }
    }

    /// All effects with their ticks, those of inputs and looks alike.
    pub fn effects(&self) -> impl Iterator<Item = (Ticks, Effect)> {
        self.moments.iter().flat_map(|moment| {
            let at_once = moment.inputs.iter().flat_map(|(_, effects)| effects);
            let all = at_once.chain(&moment.effects);
            all.map(|effect| (moment.tick, *effect))
        })
    }
}

/// The reports about the warning of a cycle that went out at `tick`.
fn reports_of(story: &Story, report: Report, cycle: i32, tick: Ticks) -> Vec<(Ticks, Input)> {
    let mut accepted = tick;
    while is_down(&story.notification_down, accepted) {
        accepted += 1;
    }
    let first = accepted + report.delay.max(1);
    let at = accepted + report.ahead;
    let mut reports = vec![(first, Input::Accepted { cycle, at })];
    if let Some(after) = report.repeated_after {
        let at = accepted + after;
        reports.push((first + after, Input::Accepted { cycle, at }));
    }
    if let Some(after) = report.settled_after {
        let at = accepted + after;
        let told = at + report.settled_delay.max(1);
        reports.push((told, Input::Settled { cycle, at }));
    }
    reports
}

/// Code under test that plays one story. It is made with the story's settings.
pub trait Side {
    /// Feeds something in and returns what follows at once, in any order.
    fn apply(&mut self, input: &Input, tick: Ticks) -> Vec<Effect>;
    /// Lets act what is due, and returns what did, in any order.
    fn look(&mut self, tick: Ticks) -> Vec<Effect>;
    /// What shows now.
    fn view(&self) -> View;
}

/// Where the code under test and the model part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// When.
    pub tick: Ticks,
    /// At which input; none for a look, and for what shows at the end of the tick.
    pub input: Option<Input>,
    /// What follows by the model.
    pub expected: String,
    /// What followed.
    pub actual: String,
}

/// Plays a script and stops at the first difference.
pub fn play(script: &Script, side: &mut dyn Side) -> Result<(), Box<Mismatch>> {
    for moment in &script.moments {
        let tick = moment.tick;
        for (input, expected) in &moment.inputs {
            let mut actual = side.apply(input, tick);
            actual.sort_unstable();
            compare(tick, Some(input), expected, &actual)?;
        }
        if moment.is_looked_at {
            let mut actual = side.look(tick);
            actual.sort_unstable();
            compare(tick, None, &moment.effects, &actual)?;
        }
        compare(tick, None, &moment.view, &side.view())?;
    }
    Ok(())
}

fn compare<T: std::fmt::Debug + PartialEq + ?Sized>(
    tick: Ticks,
    input: Option<&Input>,
    expected: &T,
    actual: &T,
) -> Result<(), Box<Mismatch>> {
    if expected == actual {
        return Ok(());
    }
    Err(Box::new(Mismatch {
        tick,
        input: input.cloned(),
        expected: format!("{expected:?}"),
        actual: format!("{actual:?}"),
    }))
}
