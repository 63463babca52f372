//! Writing tickets, many at once.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use plazo_domain::ClosingNote;
use sqlx::PgConnection;

use super::{BeforeClose, Closure, HoldFacts, TicketFacts};
use crate::error::Error;
use crate::store::clocks::{TicketKey, columns_of};
use crate::store::events::author_code;

/// Stands between the tags of a ticket on their way to the database.
const TAG_SEPARATOR: &str = "\u{1f}";

/// Writes tickets as they now are. Their rows in `ticket_clocks` are locked.
pub async fn save(connection: &mut PgConnection, tickets: &[&TicketFacts]) -> Result<(), Error> {
    if tickets.is_empty() {
        return Ok(());
    }
    let keys: Vec<TicketKey> = tickets.iter().map(|ticket| ticket.key).collect();
    let (tenant_ids, ticket_ids) = columns_of(&keys);
    let column = |of: fn(&TicketFacts) -> Option<i64>| -> Vec<Option<i64>> {
        tickets.iter().map(|ticket| of(ticket)).collect()
    };
    let instants = |of: fn(&TicketFacts) -> Option<Timestamp>| -> Vec<Option<SqlTimestamp>> {
        let instants = tickets.iter().map(|ticket| of(ticket));
        instants
            .map(|at| at.map(jiff_sqlx::ToSqlx::to_sqlx))
            .collect()
    };
    let states: Vec<i16> = tickets.iter().map(|ticket| ticket.state.code()).collect();
    let unlinked: Vec<bool> = tickets.iter().map(|ticket| ticket.is_unlinked).collect();
    let tags: Vec<String> = tickets
        .iter()
        .map(|ticket| ticket.tags.join(TAG_SEPARATOR))
        .collect();
    let closed: Vec<_> = closure_column(tickets, |closure| closure.closed_at.to_sqlx());
    let sources: Vec<_> = closure_column(tickets, |closure| closure.source.code());
    let author_kinds: Vec<_> = closure_column(tickets, |closure| author_code(&closure.author));
    let author_ids: Vec<_> = closure_column(tickets, |closure| closure.author.id);
    let categories: Vec<_> = note_column(tickets, |note| note.category.clone());
    let summaries: Vec<_> = note_column(tickets, |note| note.summary.clone());
    let routes: Vec<_> = closure_column(tickets, |closure| closure.exit_route.clone());
    let states_before: Vec<_> = before_column(tickets, |before| before.state.code());
    let tags_of_close: Vec<_> = before_column(tickets, |it| it.added_tags.join(TAG_SEPARATOR));
    let pauses: Vec<_> = before_column(tickets, |before| before.ended_pause.code());
    let pause_ends: Vec<Option<SqlTimestamp>> = tickets
        .iter()
        .map(|ticket| ticket.before_close.as_ref()?.ended_pause.resumes_at())
        .map(|at| at.map(jiff_sqlx::ToSqlx::to_sqlx))
        .collect();
    let reasons: Vec<_> = hold_column(tickets, |hold| hold.reason.clone());
    let hold_kinds: Vec<_> = hold_column(tickets, |hold| author_code(&hold.author));
    let hold_ids: Vec<_> = hold_column(tickets, |hold| hold.author.id);
    sqlx::query_file!(
        "queries/save_facts.sql",
        &tenant_ids,
        &ticket_ids,
        &column(|ticket| ticket.queue_id) as &[Option<i64>],
        &column(|ticket| ticket.agent_id) as &[Option<i64>],
        &states,
        &unlinked,
        &instants(|ticket| ticket.first_assigned_at) as &[Option<SqlTimestamp>],
        &instants(|ticket| ticket.first_agent_message_at) as &[Option<SqlTimestamp>],
        &tags,
        &closed as &[Option<SqlTimestamp>],
        &sources as &[Option<i16>],
        &author_kinds as &[Option<i16>],
        &author_ids as &[Option<i64>],
        &categories as &[Option<String>],
        &summaries as &[Option<String>],
        &routes as &[Option<String>],
        &states_before as &[Option<i16>],
        &column(|ticket| ticket.before_close.as_ref()?.agent_id) as &[Option<i64>],
        &tags_of_close as &[Option<String>],
        &reasons as &[Option<String>],
        &instants(|ticket| Some(ticket.hold.as_ref()?.started_at)) as &[Option<SqlTimestamp>],
        &hold_kinds as &[Option<i16>],
        &hold_ids as &[Option<i64>],
        &pauses as &[Option<i16>],
        &pause_ends as &[Option<SqlTimestamp>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn before_column<T>(
    tickets: &[&TicketFacts],
    column: impl Fn(&BeforeClose) -> T,
) -> Vec<Option<T>> {
    tickets
        .iter()
        .map(|ticket| ticket.before_close.as_ref().map(&column))
        .collect()
}

fn hold_column<T>(tickets: &[&TicketFacts], column: impl Fn(&HoldFacts) -> T) -> Vec<Option<T>> {
    tickets
        .iter()
        .map(|ticket| ticket.hold.as_ref().map(&column))
        .collect()
}

fn closure_column<T>(tickets: &[&TicketFacts], column: impl Fn(&Closure) -> T) -> Vec<Option<T>> {
    tickets
        .iter()
        .map(|ticket| ticket.closure.as_ref().map(&column))
        .collect()
}

fn note_column(
    tickets: &[&TicketFacts],
    column: impl Fn(&ClosingNote) -> String,
) -> Vec<Option<String>> {
    tickets
        .iter()
        .map(|ticket| ticket.closure.as_ref()?.note.as_ref().map(&column))
        .collect()
}
