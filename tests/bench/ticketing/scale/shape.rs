//! Which tickets there are: everything follows from a ticket's number, so that whoever loads them and whoever asks for
//! them need no list.

use rand::Rng as _;

/// Tenants; half of all tickets are of the first one.
pub(super) const TENANTS: i64 = 50;
/// Bots of each tenant.
pub(super) const BOTS: i64 = 4;
/// Queues of each bot.
pub(super) const QUEUES: i64 = 2;
/// Agents of the first tenant, and of each other one.
const AGENTS_OF_FIRST: i64 = 500;
const AGENTS_OF_OTHERS: i64 = 20;

/// The tenant that the calls are made for.
pub(super) const CALLED_TENANT: i64 = 1;

/// How many there are.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Tickets; their ids are 1 to this.
    pub(super) tickets: i64,
    /// From this id on four of five are open, so that these are `open`.
    first_new: i64,
    /// Contacts; their ids are 1 to this.
    pub(super) contacts: i64,
    /// Kept first answers.
    pub(super) answers: i64,
}

/// What follows from a ticket's number.
#[expect(clippy::struct_excessive_bools, reason = "each says another thing")]
#[derive(Debug, Clone, Copy)]
pub(super) struct TicketShape {
    pub(super) ticket_id: i64,
    pub(super) tenant_id: i64,
    pub(super) bot_id: i64,
    pub(super) queue_id: i64,
    pub(super) agent_id: i64,
    pub(super) contact_id: i64,
    pub(super) is_open: bool,
    /// Whether nobody has taken it yet.
    pub(super) is_waiting: bool,
    /// Whether a cycle runs.
    pub(super) is_ticking: bool,
    /// Whether its messages and events are there.
    pub(super) has_history: bool,
    /// Whether it was closed after a warning.
    pub(super) was_warned: bool,
}

impl Shape {
    /// A million open tickets and ten million closed ones, or a tenth.
    pub(super) fn new(quick: bool) -> Self {
        let open = if quick { 100_000 } else { 1_000_000 };
        let tickets = 11 * open;
        Self {
            tickets,
            first_new: tickets - open / 4 * 5 + 1,
            contacts: open,
            answers: open / 2,
        }
    }

    pub(super) fn open_count(&self) -> i64 {
        self.tickets / 11
    }

    pub(super) fn closed_count(&self) -> i64 {
        self.tickets - self.open_count()
    }

    /// The ticket with this id.
    pub(super) fn ticket(&self, ticket_id: i64) -> TicketShape {
        let random = mix(ticket_id);
        let tenant_id = if random & 1 == 0 {
            1
        } else {
            2 + pick(random, 1, TENANTS - 1)
        };
        let bot_id = (tenant_id - 1) * BOTS + 1 + pick(random, 2, BOTS);
        let (agent_min, agents) = agents_of(tenant_id);
        let (contact_min, contacts) = self.contacts_of(tenant_id);
        let is_open = ticket_id >= self.first_new && (ticket_id - self.first_new) % 5 != 4;
        let is_waiting = is_open && pick(random, 5, 4) == 0;
        TicketShape {
            ticket_id,
            tenant_id,
            bot_id,
            queue_id: (bot_id - 1) * QUEUES + 1 + pick(random, 3, QUEUES),
            agent_id: agent_min + pick(random, 4, agents),
            contact_id: contact_min + pick(random, 6, contacts),
            is_open,
            is_waiting,
            is_ticking: is_open && !is_waiting && pick(random, 7, 2) == 0,
            has_history: is_open || pick(random, 8, 20) == 0,
            was_warned: !is_open && pick(random, 9, 40) == 0,
        }
    }

    /// The lowest id and the number of a tenant's contacts: half of all are of the first tenant.
    fn contacts_of(&self, tenant_id: i64) -> (i64, i64) {
        let first = self.contacts / 2;
        let others = first / (TENANTS - 1);
        if tenant_id == 1 {
            (1, first)
        } else {
            (first + 1 + (tenant_id - 2) * others, others)
        }
    }

    /// The tenant of a contact; the last one also has what division left over.
    pub(super) fn tenant_of_contact(&self, contact_id: i64) -> i64 {
        let first = self.contacts / 2;
        if contact_id <= first {
            return 1;
        }
        let others = first / (TENANTS - 1);
        (2 + (contact_id - first - 1) / others).min(TENANTS)
    }

    /// The called tenant's tickets like this, the newest or the oldest first.
    pub(super) fn of_called_tenant(
        &self,
        newest_first: bool,
        fits: impl Fn(&TicketShape) -> bool + Send + 'static,
    ) -> impl Iterator<Item = TicketShape> + Send + 'static {
        let shape = self.clone();
        let numbers = 0..self.tickets;
        numbers
            .map(move |number| {
                let id = if newest_first {
                    shape.tickets - number
                } else {
                    number + 1
                };
                shape.ticket(id)
            })
            .filter(move |ticket| ticket.tenant_id == CALLED_TENANT && fits(ticket))
    }

    /// Some ticket of the called tenant, open or closed.
    pub(super) fn some(&self, is_open: bool) -> TicketShape {
        let range = if is_open {
            self.first_new..=self.tickets
        } else {
            1..=self.first_new - 1
        };
        loop {
            let ticket = self.ticket(rand::rng().random_range(range.clone()));
            if ticket.tenant_id == CALLED_TENANT && ticket.is_open == is_open {
                return ticket;
            }
        }
    }
}

/// The lowest id and the number of a tenant's agents.
pub(super) fn agents_of(tenant_id: i64) -> (i64, i64) {
    if tenant_id == 1 {
        (1, AGENTS_OF_FIRST)
    } else {
        (
            AGENTS_OF_FIRST + 1 + (tenant_id - 2) * AGENTS_OF_OTHERS,
            AGENTS_OF_OTHERS,
        )
    }
}

/// Numbers that look random (splitmix64).
#[expect(clippy::cast_sign_loss, reason = "bits, not a number")]
fn mix(number: i64) -> u64 {
    let mut bits = (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number below `below`; other `kind`s give other numbers.
#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small positive numbers"
)]
fn pick(random: u64, kind: u32, below: i64) -> i64 {
    ((random.rotate_right(kind * 6 + 1) >> 16) % below as u64) as i64
}
