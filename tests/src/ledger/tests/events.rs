//! Events as tests write them. Instants in milliseconds.

use plazo_proto::ticketing::v1::{Hold, HoldEnd, HoldEnded, TicketHeld};

use super::*;

/// An event and its instant in milliseconds.
pub(super) type At = (i64, Payload);

pub(super) fn instant(ms: i64) -> prost_types::Timestamp {
    proto_timestamp(ms * MILLI_US)
}

pub(super) fn written(ms: i64, kind: AuthorKind, cycles: Vec<CycleStart>) -> At {
    let message = Message {
        author: Some(Author {
            kind: kind.into(),
            id: 1,
        }),
        kind: MessageKind::Chat.into(),
        ..Message::default()
    };
    let about_customer = |start: &&CycleStart| start.kind() != CycleKind::AgentSilent;
    let recorded = MessageRecorded {
        message: Some(message),
        started_cycle: cycles.iter().find(about_customer).map_or(0, |it| it.cycle),
        cycles,
        ..MessageRecorded::default()
    };
    (ms, Payload::MessageRecorded(recorded))
}

/// The agent writes, and cycle `cycle` begins.
pub(super) fn agent(ms: i64, cycle: i32) -> At {
    let start = start(cycle, CycleKind::CustomerSilent, ms);
    written(ms, AuthorKind::Agent, vec![start])
}

pub(super) fn customer(ms: i64) -> At {
    written(ms, AuthorKind::Customer, Vec::new())
}

pub(super) fn opened() -> At {
    (0, Payload::Opened(TicketOpened::default()))
}

pub(super) fn stage(ms: i64, cycle: i32, stage: Stage, due_ms: i64, alert: i32) -> At {
    let fired = StageFired {
        cycle,
        stage: stage.into(),
        due_time: Some(instant(due_ms)),
        could_act_time: Some(instant(due_ms)),
        alert,
        kind: CycleKind::CustomerSilent.into(),
        policy_version: VERSION,
    };
    (ms, Payload::StageFired(fired))
}

/// A stage that something made due later than its instant.
pub(super) fn could_act(mut at: At, ms: i64) -> At {
    if let Payload::StageFired(fired) = &mut at.1 {
        fired.could_act_time = Some(instant(ms));
    }
    at
}

pub(super) fn yellow(ms: i64, cycle: i32, due_ms: i64) -> At {
    stage(ms, cycle, Stage::FirstAlert, due_ms, 1)
}

pub(super) fn cleared(ms: i64, previous_alert: i32, previous_agent_alert: i32) -> At {
    let cleared = AlertCleared {
        previous_alert,
        previous_agent_alert,
    };
    (ms, Payload::AlertCleared(cleared))
}

pub(super) fn held(ms: i64, until_ms: i64) -> At {
    let hold = Hold {
        start_time: Some(instant(ms)),
        end_time: Some(instant(until_ms)),
        ..Hold::default()
    };
    (ms, Payload::Held(TicketHeld { hold: Some(hold) }))
}

pub(super) fn hold_ended(ms: i64, cause: HoldEnd, due_ms: i64, cycles: Vec<CycleStart>) -> At {
    let ended = HoldEnded {
        cause: cause.into(),
        due_time: Some(instant(due_ms)),
        cycles,
    };
    (ms, Payload::HoldEnded(ended))
}

pub(super) fn silent_from(cycle: i32, anchor_ms: i64) -> Vec<CycleStart> {
    vec![start(cycle, CycleKind::CustomerSilent, anchor_ms)]
}

pub(super) fn kind_of(mut at: At, kind: CycleKind) -> At {
    if let Payload::StageFired(fired) = &mut at.1 {
        fired.kind = kind.into();
    }
    at
}

pub(super) fn closed(ms: i64) -> At {
    (ms, Payload::Closed(TicketClosed::default()))
}
