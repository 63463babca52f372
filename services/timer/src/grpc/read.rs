//! From requests to what the store works with. Everything that is wrong is named by its path.

use std::fmt;

use plazo_proto::timer::v1 as proto;
use plazo_service::status::{FieldViolations, invalid};
use prost_types::Timestamp;
use tonic::Status;

use super::wrong_tenant;
use crate::entry::{Entry, Member};
use crate::shard::{Layout, Shard};
use crate::store::{Arm, EntryList, EntryPosition};

/// Most tickets in one request, and most in one release.
pub(super) const TICKETS_MAX: usize = 1_000;
/// Most tickets in one request of a stream.
pub(super) const STREAM_ARMS_MAX: usize = 100;
const RELEASES_MAX: usize = 500;
/// Most older generations that one arm may remove.
const SUPERSEDED_MAX: i64 = 16;
/// The last instant of the year 9999.
const UNIX_MS_MAX: i64 = 253_402_300_799_999;

// Paths are made of their parts only where something is wrong: there are hundreds in each request.

/// What to arm, `most` tickets at most.
pub(super) fn arms(asked: &[proto::TicketArm], most: usize) -> Result<Vec<Arm>, Status> {
    let mut wrong = FieldViolations::new();
    check_count(&mut wrong, "arms", asked.len(), most);
    let mut arms = Vec::with_capacity(asked.len().min(most));
    for (index, arm) in asked.iter().enumerate().take(most) {
        let path = format_args!("arms[{index}].ticket");
        let member = member(&mut wrong, path, arm.ticket.as_ref());
        let due_ms = arm
            .due_time
            .as_ref()
            .and_then(|time| unix_ms(&mut wrong, format_args!("arms[{index}].due_time"), time));
        let Some(member) = member else { continue };
        let first = arm.first_superseded_generation;
        let is_range = first == 0
            || (1..=member.generation).contains(&first)
                && member.generation - first <= SUPERSEDED_MAX;
        if !is_range {
            wrong.add(
                format!("arms[{index}].first_superseded_generation"),
                "must be 0, or at most sixteen below ticket.generation and not above it",
            );
        }
        arms.push(Arm {
            member,
            due_ms,
            first_superseded: (first > 0).then_some(first),
        });
    }
    wrong.into_result()?;
    Ok(arms)
}

/// What to repair.
pub(super) fn pending_entries(request: &proto::RepairTicketsRequest) -> Result<Vec<Entry>, Status> {
    let mut wrong = FieldViolations::new();
    check_count(&mut wrong, "tickets", request.tickets.len(), TICKETS_MAX);
    let entries: Vec<_> = request
        .tickets
        .iter()
        .enumerate()
        .take(TICKETS_MAX)
        .filter_map(|(index, ticket)| entry(&mut wrong, format_args!("tickets[{index}]."), ticket))
        .collect();
    wrong.into_result()?;
    Ok(entries)
}

/// A ticket that the owner lists as pending.
pub(crate) fn pending_entry(ticket: &proto::PendingTicket) -> Result<Entry, Status> {
    let mut wrong = FieldViolations::new();
    let entry = entry(&mut wrong, format_args!(""), ticket);
    wrong.into_result()?;
    entry.ok_or_else(|| invalid("ticket", "is missing"))
}

fn entry(
    wrong: &mut FieldViolations,
    path: fmt::Arguments<'_>,
    ticket: &proto::PendingTicket,
) -> Option<Entry> {
    let member = member(wrong, format_args!("{path}ticket"), ticket.ticket.as_ref());
    let due_ms = if let Some(time) = &ticket.due_time {
        unix_ms(wrong, format_args!("{path}due_time"), time)
    } else {
        wrong.add(format!("{path}due_time"), "is missing");
        None
    };
    Some(Entry {
        member: member?,
        due_ms: due_ms?,
    })
}

/// What to release from quarantine.
pub(super) fn members(
    request: &proto::ReleaseQuarantinedEntriesRequest,
) -> Result<Vec<Member>, Status> {
    let mut wrong = FieldViolations::new();
    check_count(&mut wrong, "tickets", request.tickets.len(), RELEASES_MAX);
    let members: Vec<_> = request
        .tickets
        .iter()
        .enumerate()
        .take(RELEASES_MAX)
        .filter_map(|(index, ticket)| {
            member(&mut wrong, format_args!("tickets[{index}]"), Some(ticket))
        })
        .collect();
    wrong.into_result()?;
    Ok(members)
}

/// The tenant and ticket to tell about. Administrators see their own tenant only, and needn't name it.
pub(super) fn ticket(
    request: &proto::GetTicketEntriesRequest,
    own_tenant: Option<i64>,
) -> Result<(i64, i64), Status> {
    let tenant_id = match own_tenant {
        Some(own) if request.tenant_id == 0 || request.tenant_id == own => own,
        Some(_) => return Err(wrong_tenant("must be left out, or be the actor's own")),
        None if request.tenant_id > 0 => request.tenant_id,
        None => return Err(wrong_tenant("must be above zero")),
    };
    if request.ticket_id <= 0 {
        return Err(invalid("ticket_id", "must be above zero"));
    }
    Ok((tenant_id, request.ticket_id))
}

/// What a page token is bound to: one list, and what the actor may see of it.
pub(super) fn page_filter(list: EntryList, tenant_id: Option<i64>) -> Vec<u8> {
    format!("{list:?} {tenant_id:?}").into_bytes()
}

/// A position as the cursor of a page token.
pub(super) fn cursor(position: EntryPosition) -> [i64; 5] {
    let member = position.member;
    let shard = i64::from(position.shard.number());
    [
        shard,
        position.score,
        member.tenant_id,
        member.ticket_id,
        member.generation,
    ]
}

/// The position in a page token. The token's checksum tells mistakes; this tells that the layout has changed.
pub(super) fn position(cursor: [i64; 5], layout: Layout) -> Result<EntryPosition, Status> {
    let [shard, score, tenant_id, ticket_id, generation] = cursor;
    let shard = u16::try_from(shard)
        .ok()
        .filter(|shard| *shard < layout.shard_count());
    let shard = shard.ok_or_else(|| invalid("page_token", "is of another layout of shards"))?;
    let member = Member {
        tenant_id,
        ticket_id,
        generation,
    };
    Ok(EntryPosition {
        shard: Shard::new(shard),
        score,
        member,
    })
}

fn check_count(wrong: &mut FieldViolations, field: &str, length: usize, most: usize) {
    wrong.check(field, length > 0, "must not be empty");
    wrong.check(
        field,
        length <= most,
        &format!("must have at most {most} elements"),
    );
}

fn member(
    wrong: &mut FieldViolations,
    path: fmt::Arguments<'_>,
    ticket: Option<&proto::TicketGeneration>,
) -> Option<Member> {
    let Some(ticket) = ticket else {
        wrong.add(path.to_string(), "is missing");
        return None;
    };
    let mut is_valid = true;
    for (field, value) in [
        ("tenant_id", ticket.tenant_id),
        ("ticket_id", ticket.ticket_id),
        ("generation", ticket.generation),
    ] {
        if value <= 0 {
            wrong.add(format!("{path}.{field}"), "must be above zero");
            is_valid = false;
        }
    }
    is_valid.then_some(Member {
        tenant_id: ticket.tenant_id,
        ticket_id: ticket.ticket_id,
        generation: ticket.generation,
    })
}

/// An instant in Unix milliseconds, from 1970 to 9999.
fn unix_ms(
    wrong: &mut FieldViolations,
    field: fmt::Arguments<'_>,
    time: &Timestamp,
) -> Option<i64> {
    let is_whole = time.nanos % 1_000_000 == 0;
    let has_nanos = (0..1_000_000_000).contains(&time.nanos);
    let unix_ms = time
        .seconds
        .checked_mul(1_000)
        .and_then(|ms| ms.checked_add(i64::from(time.nanos) / 1_000_000))
        .filter(|ms| (0..=UNIX_MS_MAX).contains(ms) && has_nanos);
    if unix_ms.is_none() {
        wrong.add(field.to_string(), "must be an instant from 1970 to 9999");
        return None;
    }
    if !is_whole {
        wrong.add(field.to_string(), "must be in whole milliseconds");
        return None;
    }
    unix_ms
}
