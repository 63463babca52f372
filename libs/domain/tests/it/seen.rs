//! The domain's results in the words of the model.

use jiff::Timestamp;
use plazo_domain::{
    Change, Cycle, CycleKind, Effect as Acted, Ended, PauseChange, Removed, Stage, StartedCycle,
};
use plazo_model as model;
use plazo_model::{Effect, TICK_MS, Ticks};

use crate::support::at_ms;

pub(crate) fn instant(tick: Ticks) -> Timestamp {
    at_ms(tick * TICK_MS)
}

pub(crate) fn tick_of(at: Timestamp) -> Ticks {
    let millis = at.as_millisecond() - model::START_MS;
    assert_eq!(millis % TICK_MS, 0, "{at} lies between two ticks");
    millis / TICK_MS
}

pub(crate) fn seen_alert(alert: plazo_domain::Alert) -> model::Alert {
    match alert {
        plazo_domain::Alert::None => model::Alert::No,
        plazo_domain::Alert::Yellow => model::Alert::Yellow,
        plazo_domain::Alert::Red => model::Alert::Red,
    }
}

pub(crate) fn seen_kind(kind: CycleKind) -> model::Kind {
    match kind {
        CycleKind::CustomerSilent => model::Kind::CustomerSilent,
        CycleKind::CustomerWaits => model::Kind::CustomerWaits,
        CycleKind::AgentSilent => model::Kind::AgentSilent,
    }
}

pub(crate) fn seen_cycle(cycle: &Cycle) -> model::Cycle {
    model::Cycle {
        number: cycle.number,
        kind: seen_kind(cycle.kind),
        anchor: tick_of(cycle.anchor_at),
        policy_version: cycle.policy_version,
    }
}

pub(crate) fn tell_started(started: &[StartedCycle], effects: &mut Vec<Effect>) {
    effects.extend(started.iter().map(|started| Effect::Started {
        cycle: started.number,
        kind: seen_kind(started.kind),
        anchor: tick_of(started.anchor_at),
        policy_version: started.policy_version,
    }));
}

pub(crate) fn tell_removed(removed: Removed, effects: &mut Vec<Effect>) {
    if removed.alert != plazo_domain::Alert::None {
        effects.push(Effect::Cleared(seen_alert(removed.alert)));
    }
    if removed.agent_alert != plazo_domain::Alert::None {
        effects.push(Effect::AgentAlertCleared(seen_alert(removed.agent_alert)));
    }
}

pub(crate) fn tell_change(change: &Change, now: Timestamp, effects: &mut Vec<Effect>) {
    if let Some(hold) = &change.hold_ended {
        let expired = (hold.due_at <= now).then(|| tick_of(hold.due_at));
        effects.push(Effect::HoldEnded { expired });
        tell_started(&hold.started, effects);
    }
    tell_started(&change.started, effects);
    tell_removed(change.removed, effects);
}

pub(crate) fn tell_ended(ended: Ended, effects: &mut Vec<Effect>) {
    tell_removed(ended.removed, effects);
    if ended.hold_ended.is_some() {
        effects.push(Effect::HoldEnded { expired: None });
    }
    if ended.is_automation_resumed() {
        effects.push(Effect::AutomationResumed);
    }
}

pub(crate) fn tell_paused(change: PauseChange, effects: &mut Vec<Effect>) {
    effects.push(Effect::AutomationPaused {
        until: change.after.resumes_at().map(tick_of),
    });
}

pub(crate) fn tell_acted(acted: &Acted, effects: &mut Vec<Effect>) {
    match acted {
        Acted::HoldEnded { due_at, started } => {
            let expired = Some(tick_of(*due_at));
            effects.push(Effect::HoldEnded { expired });
            tell_started(started, effects);
        }
        Acted::Stage(fired) => effects.push(Effect::Fired {
            cycle: fired.cycle,
            kind: seen_kind(fired.kind),
            policy_version: fired.policy_version,
            stage: match fired.stage {
                Stage::FirstAlert => model::Stage::First,
                Stage::SecondAlert => model::Stage::Second,
                Stage::Warning => model::Stage::Warning,
                Stage::Close => model::Stage::Close,
            },
            due: tick_of(fired.due_at),
            could_act: tick_of(fired.could_act_at),
            alert: seen_alert(fired.alert),
        }),
        Acted::AutomationResumed { .. } => effects.push(Effect::AutomationResumed),
    }
}
