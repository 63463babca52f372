//! The calendars that events need: kept in the database, and at hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use plazo_domain::Calendar;
use plazo_proto::ticketing::v1 as proto;
use plazo_proto::ticketing::v1::TicketEvent;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use prost::Message as _;
use sqlx::PgConnection;

use super::ProjectionStore;
use crate::model::{CalendarKey, Calendars, Record, TicketKey, calendar_from_proto};

/// More calendars than these are not kept at hand.
const MAX_AT_HAND: usize = 10_000;

/// Calendars at hand. Versions never change, so what is here is right for ever.
#[derive(Debug, Default)]
pub(super) struct CalendarShelf(Mutex<HashMap<CalendarKey, Arc<Calendar>>>);

impl ProjectionStore {
    /// The versions of calendars that these events name and nobody has told us of.
    pub(crate) async fn unknown_calendars<'a>(
        &self,
        events: impl Iterator<Item = &'a TicketEvent>,
    ) -> Result<Vec<CalendarKey>, sqlx::Error> {
        let named = events.filter_map(named_by).collect();
        let wanted = self.calendars.not_at_hand(named);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.pool.acquire().await?;
        let read = self.calendars.read(&mut connection, &wanted).await?;
        let read: BTreeSet<_> = read.into_iter().map(|(key, _)| key).collect();
        Ok(wanted
            .into_iter()
            .filter(|key| !read.contains(key))
            .collect())
    }

    /// Keeps what ticketing told of a version.
    pub(crate) async fn keep_calendar(
        &self,
        key: CalendarKey,
        calendar: &proto::Calendar,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "INSERT INTO calendar_versions (tenant_id, calendar_version, settings)
             VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
            key.tenant_id,
            key.calendar_version,
            calendar.encode_to_vec()
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

impl CalendarShelf {
    /// The calendars of these tickets, known ones and new ones.
    pub(super) async fn of<'a>(
        &self,
        connection: &mut PgConnection,
        known: &BTreeMap<TicketKey, Record>,
        events: impl Iterator<Item = &'a TicketEvent>,
    ) -> Result<Calendars, sqlx::Error> {
        let of_known = known.values().map(|record| CalendarKey {
            tenant_id: record.ticket.key.tenant_id,
            calendar_version: record.facts.calendar_version,
        });
        let of_known = of_known.filter(|key| key.calendar_version != 0);
        let keys: BTreeSet<_> = of_known.chain(events.filter_map(named_by)).collect();
        let mut calendars = Calendars::default();
        if keys.is_empty() {
            return Ok(calendars);
        }
        let mut missing = Vec::new();
        {
            let at_hand = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for key in keys {
                match at_hand.get(&key) {
                    Some(calendar) => calendars.insert(key, Arc::clone(calendar)),
                    None => missing.push(key),
                }
            }
        }
        if !missing.is_empty() {
            for (key, calendar) in self.read(connection, &missing).await? {
                calendars.insert(key, calendar);
            }
        }
        Ok(calendars)
    }

    fn not_at_hand(&self, mut keys: BTreeSet<CalendarKey>) -> Vec<CalendarKey> {
        let at_hand = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|key| !at_hand.contains_key(key));
        keys.into_iter().collect()
    }

    async fn read(
        &self,
        connection: &mut PgConnection,
        wanted: &[CalendarKey],
    ) -> Result<Vec<(CalendarKey, Arc<Calendar>)>, sqlx::Error> {
        let rows = sqlx::query!(
            r#"SELECT tenant_id, calendar_version, settings
               FROM calendar_versions
               JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, calendar_version)
                   USING (tenant_id, calendar_version)"#,
            &column!(wanted, key => key.tenant_id),
            &column!(wanted, key => key.calendar_version),
        )
        .fetch_all(connection)
        .await?;
        let read = rows.into_iter().filter_map(|row| {
            let key = CalendarKey {
                tenant_id: row.tenant_id,
                calendar_version: row.calendar_version,
            };
            let calendar = proto::Calendar::decode(row.settings.as_slice()).ok()?;
            Some((key, Arc::new(calendar_from_proto(&calendar)?)))
        });
        let read: Vec<_> = read.collect();
        let mut at_hand = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at_hand.len() + read.len() > MAX_AT_HAND {
            at_hand.clear();
        }
        at_hand.extend(read.iter().cloned());
        Ok(read)
    }
}

/// The version that an opening names.
fn named_by(event: &TicketEvent) -> Option<CalendarKey> {
    match &event.payload {
        Some(Payload::Opened(opened)) if opened.calendar_version != 0 => Some(CalendarKey {
            tenant_id: event.tenant_id,
            calendar_version: opened.calendar_version,
        }),
        _ => None,
    }
}
