//! Breadth first through all states that can be reached, so that the first broken one has the shortest trace.

use std::collections::HashSet;
use std::hash::Hash;
use std::rc::Rc;

/// What was found.
pub(crate) enum Outcome<State> {
    /// Nothing is broken in any state.
    Exhausted { states: usize },
    /// The steps that lead to a broken state, and the state.
    Broken {
        trace: Vec<&'static str>,
        world: State,
    },
    /// There are more states than were asked for.
    TooMany,
}

/// A state that was reached: by which step from which.
struct Reached<State> {
    state: Rc<State>,
    from: usize,
    step: &'static str,
}

/// Looks at each state once, at most `states_max` of them.
pub(crate) fn explore<State, Next, Holds>(
    first: State,
    states_max: usize,
    next: Next,
    holds: Holds,
) -> Outcome<State>
where
    State: Clone + Eq + Hash,
    Next: Fn(&State) -> Vec<(&'static str, State)>,
    Holds: Fn(&State) -> bool,
{
    let first = Rc::new(first);
    let mut known = HashSet::from([Rc::clone(&first)]);
    let mut reached = vec![Reached {
        state: first,
        from: 0,
        step: "",
    }];
    let mut at = 0;
    while at < reached.len() {
        if !holds(&reached[at].state) {
            return Outcome::Broken {
                trace: trace(&reached, at),
                world: State::clone(&reached[at].state),
            };
        }
        for (step, state) in next(&reached[at].state) {
            let state = Rc::new(state);
            if known.insert(Rc::clone(&state)) {
                reached.push(Reached {
                    state,
                    from: at,
                    step,
                });
            }
        }
        if reached.len() > states_max {
            return Outcome::TooMany;
        }
        at += 1;
    }
    Outcome::Exhausted {
        states: reached.len(),
    }
}

fn trace<State>(reached: &[Reached<State>], mut at: usize) -> Vec<&'static str> {
    let mut steps = Vec::new();
    while at != 0 {
        steps.push(reached[at].step);
        at = reached[at].from;
    }
    steps.reverse();
    steps
}
