//! What a failed story tells.

use std::fmt::Write as _;

use plazo_model::{START_MS, TICK_MS};
use plazo_proto::ticketing::v1::ExplainTicketRequest;

use super::player::Player;

/// More would be read by nobody.
const TOLD_IN_FULL: usize = 3;

/// How many effects the model and the service agree on.
pub(super) fn agreed_effects(player: &Player) -> u64 {
    if player.failure.is_some() {
        return 0;
    }
    player.script.effects().map(|_| 1).sum()
}

/// All that is known of a story that failed.
pub(super) async fn failure(player: &Player) -> String {
    let mut text = format!(
        "seed {}, {}\n\nthe story: {:?}\n",
        player.seed,
        player.failure.as_deref().unwrap_or_default(),
        player.script.story
    );
    text.push_str("\nby the model:\n");
    for moment in &player.script.moments {
        for (input, effects) in &moment.inputs {
            let _ = writeln!(text, "{:>5} {input:?} -> {effects:?}", moment.tick);
        }
        if !moment.effects.is_empty() {
            let _ = writeln!(text, "{:>5} -> {:?}", moment.tick, moment.effects);
        }
    }
    text.push_str("\nas told by the service:\n");
    for event in &player.events {
        let tick = (event.at_ms - player.origin_ms) / TICK_MS;
        let _ = writeln!(text, "{tick:>5} {:?}", event.payload);
    }
    let request = ExplainTicketRequest {
        ticket_id: player.ticket_id,
    };
    let explained = player
        .desk
        .people
        .tickets
        .clone()
        .explain_ticket(request)
        .await;
    if let Ok(explained) = explained {
        let _ = writeln!(text, "\nas explained:\n{}", explained.into_inner().text);
    }
    let weeks = (player.origin_ms - START_MS) / super::WEEK_MS;
    let _ = writeln!(text, "(versions {:?}, week {weeks})", player.desk.versions);
    text
}

/// The failures, the first ones in full.
pub(super) fn summary(failures: &[String]) -> String {
    let mut text = format!("{} stories failed\n", failures.len());
    for failure in failures.iter().take(TOLD_IN_FULL) {
        let _ = writeln!(text, "\n{failure}");
    }
    for failure in failures.iter().skip(TOLD_IN_FULL) {
        let first = failure.lines().next().unwrap_or_default();
        let _ = writeln!(text, "also {first}");
    }
    text
}
