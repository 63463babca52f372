//! Which tickets there are: who, where and when. Everything follows from the options and a ticket's number, so that
//! tickets can be made in any order, and again.

use super::contact::{self, Person};
use super::random::{Kind, Random};

pub(super) const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;

/// Queues of each bot.
pub const QUEUES: i64 = 3;
/// So many of a thousand tickets of a contact are of the bot that he writes to most.
const HOME_PER_MILLE: u64 = 750;
/// So many of a thousand tickets continue an earlier one.
const CONTINUED_PER_MILLE: u64 = 30;
/// An earlier ticket is at most so many before.
const CONTINUED_WITHIN: u64 = 20_000;
/// Of ten agents of a bot one works seldom, and so does its last one: so many of a thousand of the tickets that would be
/// theirs go to their neighbour.
const SELDOM_PER_MILLE: u64 = 970;

/// What all tickets follow from.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// What all random choices are made from.
    pub seed: u64,
    /// Tickets, above zero.
    pub tickets: u64,
    /// Contacts, from 1 to the number of tickets; each has a ticket.
    pub contacts: u64,
    /// Agents, whose ids are 1 to this; at least as many as bots.
    pub agents: u64,
    /// Bots, whose ids are 1 to this.
    pub bots: u64,
    /// Tickets have this id and those after it, in the order of their opening.
    pub first_ticket_id: i64,
    /// Contacts have this id and those after it.
    pub first_contact_id: i64,
    /// The first opening is not before, in microseconds since 1970.
    pub from_us: i64,
    /// All tickets are closed by then; at least a day after `from_us`.
    pub until_us: i64,
}

/// All tickets.
#[derive(Debug)]
pub struct World {
    options: WorldOptions,
    /// For each hour, which share of the tickets was opened before its end.
    opened_by: Vec<f64>,
}

/// A ticket's place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The ticket.
    pub ticket_id: i64,
    /// Its bot.
    pub bot_id: i64,
    /// The queue it was opened in.
    pub queue_id: i64,
    /// The number of its contact, from 0.
    pub contact: u64,
    /// When it was opened, in microseconds since 1970; whole milliseconds.
    pub opened_us: i64,
    /// The ticket of the same contact that it continues; 0 for none.
    pub previous_ticket_id: i64,
}

impl World {
    /// The world of some options.
    pub fn new(options: WorldOptions) -> Self {
        let opened_by = busy_hours(options.from_us, options.until_us - HOUR_US);
        Self { options, opened_by }
    }

    /// What it follows from.
    pub fn options(&self) -> &WorldOptions {
        &self.options
    }

    /// Where the ticket with this number stands, counted from 0.
    pub fn place(&self, number: u64) -> Place {
        let mut random = Random::of(self.options.seed, Kind::Place, number);
        let opened_us = self.opened_us(number, random.share());
        let contact = self.contact_of(number, &mut random);
        let home =
            Random::of(self.options.seed, Kind::Contact, contact).skewed(self.options.bots, 1.3);
        let bot = if random.chance(HOME_PER_MILLE) {
            home
        } else {
            random.below(self.options.bots)
        };
        let bot_id = id(bot) + 1;
        let previous_ticket_id = match self.continued(number) {
            Some(previous) => self.ticket_id(previous),
            None => 0,
        };
        Place {
            ticket_id: self.ticket_id(number),
            bot_id,
            queue_id: queue_of(bot_id, &mut random),
            contact,
            opened_us,
            previous_ticket_id,
        }
    }

    /// The contact with this number.
    pub(super) fn person(&self, contact: u64) -> Person {
        contact::person(self.options.seed, contact)
    }

    /// The id of the contact with this number.
    pub fn contact_id(&self, contact: u64) -> i64 {
        self.options.first_contact_id + id(contact)
    }

    /// The id of the ticket with this number.
    pub fn ticket_id(&self, number: u64) -> i64 {
        self.options.first_ticket_id + id(number)
    }

    /// An agent of a bot. Some have many more tickets than others.
    pub(super) fn some_agent(&self, bot_id: i64, random: &mut Random) -> i64 {
        let (agents, bots) = (self.options.agents, self.options.bots);
        let bot = u64::try_from(bot_id - 1).expect("ids begin at 1");
        let of_bot = (agents - 1 - bot) / bots + 1;
        let mut place = random.skewed(of_bot, 1.7);
        let is_seldom = place % 10 == 9 || place > 0 && place + 1 == of_bot;
        if is_seldom && random.chance(SELDOM_PER_MILLE) {
            place -= 1;
        }
        id(place * bots + bot) + 1
    }

    /// Whether the bot counts business time as well: every second one.
    pub fn has_calendar(bot_id: i64) -> bool {
        bot_id % 2 == 1
    }

    /// The version of a bot's calendar; 0 for none.
    pub fn calendar_version(bot_id: i64) -> i64 {
        if Self::has_calendar(bot_id) {
            bot_id
        } else {
            0
        }
    }

    fn contact_of(&self, number: u64, random: &mut Random) -> u64 {
        let (tickets, contacts) = (
            u128::from(self.options.tickets),
            u128::from(self.options.contacts),
        );
        // The tickets at which a fair share of the contacts goes up by one are first meetings: so everybody has one.
        let before = u128::from(number) * contacts / tickets;
        let after = (u128::from(number) + 1) * contacts / tickets;
        let drawn = random.skewed(self.options.contacts, 1.4);
        if let Some(previous) = self.continued(number) {
            let mut random = Random::of(self.options.seed, Kind::Place, previous);
            random.share();
            return self.contact_of(previous, &mut random);
        }
        if after > before {
            return u64::try_from(before).expect("below the number of contacts");
        }
        // Those with many tickets are not the first ones.
        u64::try_from(u128::from(drawn) * 7_919 % contacts).expect("below the number of contacts")
    }

    /// The number of the ticket that this one continues. None that continues another one itself: chains end.
    fn continued(&self, number: u64) -> Option<u64> {
        let earlier = |number: u64| {
            let contacts = u128::from(self.options.contacts);
            let tickets = u128::from(self.options.tickets);
            let is_first = (u128::from(number) + 1) * contacts / tickets
                > u128::from(number) * contacts / tickets;
            let mut random = Random::of(self.options.seed, Kind::Place, !number);
            let is_continued = !is_first && random.chance(CONTINUED_PER_MILLE);
            is_continued.then(|| 1 + random.below(CONTINUED_WITHIN))
        };
        let previous = number.checked_sub(earlier(number)?)?;
        earlier(previous).is_none().then_some(previous)
    }

    /// Tickets are opened in the order of their numbers, more of them in busy hours.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "microseconds of years have 52 bits"
    )]
    fn opened_us(&self, number: u64, within: f64) -> i64 {
        let share = ((number as f64 + within) / self.options.tickets as f64).min(1.0);
        let hour = self.opened_by.partition_point(|by| *by < share);
        let hour = hour.min(self.opened_by.len() - 1);
        let before = if hour == 0 {
            0.0
        } else {
            self.opened_by[hour - 1]
        };
        let part = (share - before) / (self.opened_by[hour] - before);
        let hours = hour as f64 + part.clamp(0.0, 1.0);
        let opened_us = self.options.from_us + (hours * HOUR_US as f64) as i64;
        let latest_us = self.options.until_us - HOUR_US;
        whole_ms(opened_us.min(latest_us).max(self.options.from_us))
    }
}

/// A queue of a bot.
pub(super) fn queue_of(bot_id: i64, random: &mut Random) -> i64 {
    (bot_id - 1) * QUEUES + 1 + id(random.skewed(QUEUES.unsigned_abs(), 1.5))
}

/// Down to whole milliseconds.
pub(super) fn whole_ms(us: i64) -> i64 {
    us.div_euclid(1_000) * 1_000
}

fn id(number: u64) -> i64 {
    i64::try_from(number).expect("counts are small")
}

/// For each hour of a span, which share of all is opened before its end: few at night and on Sundays, and a third more at
/// the end of the span than at its beginning.
#[expect(clippy::cast_precision_loss, reason = "a few thousand hours")]
fn busy_hours(from_us: i64, until_us: i64) -> Vec<f64> {
    const BY_HOUR: [f64; 24] = [
        2.0, 1.0, 1.0, 1.0, 1.0, 2.0, 6.0, 15.0, 40.0, 70.0, 85.0, 80.0, 60.0, 65.0, 80.0, 85.0,
        80.0, 65.0, 45.0, 30.0, 22.0, 15.0, 9.0, 4.0,
    ];
    // From Thursday, on which 1970 began.
    const BY_DAY: [f64; 7] = [1.0, 0.95, 0.4, 0.2, 1.15, 1.05, 1.0];
    let hours = usize::try_from((until_us - from_us) / HOUR_US + 1).expect("a span of some years");
    let mut sum = 0.0;
    let mut by: Vec<f64> = (0..hours)
        .map(|hour| {
            let at_us = from_us + i64::try_from(hour).expect("a small number") * HOUR_US;
            let local_hour = (at_us / HOUR_US - 3).rem_euclid(24 * 7);
            let of_day = usize::try_from(local_hour % 24).expect("not negative");
            let of_week = usize::try_from(local_hour / 24).expect("not negative");
            let growth = 1.0 + hour as f64 / hours as f64 / 3.0;
            sum += BY_HOUR[of_day] * BY_DAY[of_week] * growth;
            sum
        })
        .collect();
    for share in &mut by {
        *share /= sum;
    }
    by
}
