//! Events and tickets of the service in the words of the model. Errors are sentences: what the model has no word for is
//! a failure of the story.

use plazo_model::{
    Alert, Automation, Closer, Cycle, Effect, Kind, Stage, State, TICK_MS, Ticks, View,
};
use plazo_proto::notification::v1::ActiveMessageKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert as ProtoAlert, AutomationState, CloseSource, CycleKind, CycleStart, HoldEnd,
    InactivityCycle, Stage as ProtoStage, StageFired, Ticket, TicketState,
};
use prost_types::Timestamp;

use super::story_desk::Versions;

/// In microseconds since 1970.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.seconds * 1_000_000 + i64::from(at.nanos / 1_000)
}

/// How to read one story's events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    /// The instant of tick 0, in milliseconds since 1970.
    pub(super) origin_ms: i64,
    pub(super) versions: &'a Versions,
}

impl Words<'_> {
    fn tick(self, at: Option<Timestamp>) -> Result<Ticks, String> {
        let at = at.ok_or("an instant is missing")?;
        let tick_micros = TICK_MS * 1_000;
        let since = micros(at) - self.origin_ms * 1_000;
        if since % tick_micros != 0 {
            return Err(format!(
                "{since} µs after the opening lies between two ticks"
            ));
        }
        Ok(since / tick_micros)
    }

    fn version(self, version: i64) -> Result<i64, String> {
        let known = self.versions.of_model(version);
        known.ok_or_else(|| format!("{version} is no version of this story"))
    }

    /// What a stretch of a ticket's events comes to, sorted: all that one call did.
    pub(super) fn effects(self, events: &[Payload]) -> Result<Vec<Effect>, String> {
        let is_unlinking = events
            .iter()
            .any(|event| matches!(event, Payload::Unlinked(_)));
        let mut effects = Vec::new();
        let mut warned = Vec::new();
        for event in events {
            self.tell(event, is_unlinking, &mut effects)?;
            warned.extend(warned_cycle(event));
        }
        effects.sort_unstable();
        let is_warning = |effect: &Effect| match effect {
            Effect::Fired {
                cycle,
                stage: Stage::Warning,
                ..
            } => Some(*cycle),
            _ => None,
        };
        let fired: Vec<i32> = effects.iter().filter_map(is_warning).collect();
        if fired != warned {
            return Err(format!(
                "warnings of {fired:?} fired, and {warned:?} were asked for"
            ));
        }
        Ok(effects)
    }

    fn tell(
        self,
        event: &Payload,
        is_unlinking: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        match event {
            Payload::Opened(opened) => self.tell_started(&opened.cycles, effects)?,
            Payload::MessageRecorded(recorded) => self.tell_started(&recorded.cycles, effects)?,
            Payload::PolicyApplied(applied) => self.tell_started(&applied.cycles, effects)?,
            Payload::HoldEnded(ended) => {
                let expired = match ended.cause() {
                    HoldEnd::Expired => Some(self.tick(ended.due_time)?),
                    _ => None,
                };
                effects.push(Effect::HoldEnded { expired });
                self.tell_started(&ended.cycles, effects)?;
            }
            Payload::StageFired(fired) => effects.push(self.fired(fired)?),
            Payload::AlertCleared(cleared) => {
                let clear = |alert, effect: fn(Alert) -> Effect| {
                    (alert != Alert::No).then(|| effect(alert))
                };
                effects.extend(clear(alert(cleared.previous_alert()), Effect::Cleared));
                let agents = alert(cleared.previous_agent_alert());
                effects.extend(clear(agents, Effect::AgentAlertCleared));
            }
            Payload::Closed(closed) => {
                let source = closed.closure.as_ref().ok_or("no closure")?.source();
                effects.push(Effect::Closed(match source {
                    CloseSource::CustomerInactivity => Closer::Inactivity,
                    CloseSource::Agent if is_unlinking => Closer::Unlinking,
                    CloseSource::Agent => Closer::Agent,
                    other => return Err(format!("closed by {other:?}")),
                }));
            }
            Payload::Reopened(reopened) if reopened.supersedes_close => {
                effects.push(Effect::Superseded);
            }
            Payload::AutomationPaused(paused) => {
                let until = paused.automation.ok_or("no automation")?.resume_time;
                let until = until.map(|at| self.tick(Some(at))).transpose()?;
                effects.push(Effect::AutomationPaused { until });
            }
            Payload::AutomationResumed(_) => effects.push(Effect::AutomationResumed),
            Payload::Assigned(_)
            | Payload::Reopened(_)
            | Payload::Held(_)
            | Payload::Transferred(_)
            | Payload::Unlinked(_)
            | Payload::SetOpen(_)
            | Payload::TagsChanged(_)
            | Payload::ActiveMessageRequested(_)
            | Payload::ActiveMessageReported(_)
            | Payload::ContactChanged(_)
            | Payload::PersonalDataErased(_) => {}
        }
        Ok(())
    }

    fn tell_started(self, starts: &[CycleStart], effects: &mut Vec<Effect>) -> Result<(), String> {
        for start in starts {
            effects.push(Effect::Started {
                cycle: start.cycle,
                kind: kind(start.kind())?,
                anchor: self.tick(start.anchor_time)?,
                policy_version: self.version(start.policy_version)?,
            });
        }
        Ok(())
    }

    fn fired(self, fired: &StageFired) -> Result<Effect, String> {
        Ok(Effect::Fired {
            cycle: fired.cycle,
            kind: kind(fired.kind())?,
            policy_version: self.version(fired.policy_version)?,
            stage: match fired.stage() {
                ProtoStage::FirstAlert => Stage::First,
                ProtoStage::SecondAlert => Stage::Second,
                ProtoStage::Warning => Stage::Warning,
                ProtoStage::Close => Stage::Close,
                ProtoStage::Unspecified => return Err("a stage without a name".to_owned()),
            },
            due: self.tick(fired.due_time)?,
            could_act: self.tick(fired.could_act_time)?,
            alert: alert(fired.alert()),
        })
    }

    /// What a ticket shows.
    pub(super) fn view(self, ticket: &Ticket) -> Result<View, String> {
        let automation = ticket.automation.ok_or("no automation")?;
        let hold = ticket.hold.as_ref();
        Ok(View {
            state: match ticket.state() {
                TicketState::Waiting => State::Waiting,
                TicketState::Open => State::Open,
                TicketState::Closed => State::Closed,
                TicketState::Unspecified => return Err("no state".to_owned()),
            },
            is_unlinked: ticket.unlinked,
            hold_since: hold.map(|hold| self.tick(hold.start_time)).transpose()?,
            hold_until: hold.map(|hold| self.tick(hold.end_time)).transpose()?,
            alert: alert(ticket.alert()),
            agent_alert: alert(ticket.agent_alert()),
            cycle: self.cycle(ticket.inactivity_cycle.as_ref())?,
            agent_cycle: self.cycle(ticket.agent_cycle.as_ref())?,
            automation: match automation.state() {
                AutomationState::Running => Automation::Running,
                AutomationState::Paused => Automation::Until(self.tick(automation.resume_time)?),
                AutomationState::PausedUntilCompleted => Automation::UntilCompleted,
                AutomationState::Unspecified => return Err("no automation".to_owned()),
            },
        })
    }

    fn cycle(self, cycle: Option<&InactivityCycle>) -> Result<Option<Cycle>, String> {
        let Some(cycle) = cycle else {
            return Ok(None);
        };
        Ok(Some(Cycle {
            number: cycle.cycle,
            kind: kind(cycle.kind())?,
            anchor: self.tick(cycle.anchor_time)?,
            policy_version: self.version(cycle.policy_version)?,
        }))
    }
}

fn alert(alert: ProtoAlert) -> Alert {
    match alert {
        ProtoAlert::Unspecified => Alert::No,
        ProtoAlert::Yellow => Alert::Yellow,
        ProtoAlert::Red => Alert::Red,
    }
}

fn kind(kind: CycleKind) -> Result<Kind, String> {
    match kind {
        CycleKind::CustomerSilent => Ok(Kind::CustomerSilent),
        CycleKind::CustomerWaits => Ok(Kind::CustomerWaits),
        CycleKind::AgentSilent => Ok(Kind::AgentSilent),
        CycleKind::Unspecified => Err("a cycle without a kind".to_owned()),
    }
}

/// The cycle for which an event asks for a warning.
fn warned_cycle(event: &Payload) -> Option<i32> {
    let Payload::ActiveMessageRequested(asked) = event else {
        return None;
    };
    let message = asked.message.as_ref()?;
    if message.kind() != ActiveMessageKind::Warning {
        return None;
    }
    let key = message.idempotency_key.strip_suffix("/warning")?;
    key.rsplit('/').next()?.parse().ok()
}
