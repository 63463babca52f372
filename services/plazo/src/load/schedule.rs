//! What is done when: fixed before the load begins, from its shape, rate and seed alone.

use super::options::{LoadOptions, Shape};

/// The tenant that holds most, in a skewed load.
pub(super) const LARGE_TENANT: u16 = 0;
/// Its share, in hundredths.
const LARGE_SHARE: u64 = 90;
/// Most changes of one ticket after it was armed.
const CHANGES_MAX: u64 = 3;
const CHANGE_BITS: u32 = 2;

/// What is done to a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// An agent writes for the first time: the ticket is armed.
    Arm,
    /// The customer answers, and nothing is due any more. The timer is not told.
    Answer,
    /// The customer answers and an agent writes again: a new generation is armed, the old one removed.
    Rearm,
    /// An agent writes again while the customer is silent: the ticket is due later. The timer is not told.
    Postpone,
}

/// One step. Times are in milliseconds from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// When it is done.
    pub(super) at_ms: u32,
    /// When the ticket is due from then on; without meaning for an answer.
    pub(super) due_ms: u32,
    /// The number of the ticket, and what is done: packed, because there are many.
    packed: u32,
}

impl Step {
    fn new(at_ms: u32, due_ms: u32, ticket: u32, change: Change) -> Self {
        Self {
            at_ms,
            due_ms,
            packed: ticket << CHANGE_BITS | change as u32,
        }
    }

    /// The number of the ticket, from 0.
    pub(super) const fn ticket(self) -> u32 {
        self.packed >> CHANGE_BITS
    }

    pub(super) const fn change(self) -> Change {
        match self.packed & ((1 << CHANGE_BITS) - 1) {
            0 => Change::Arm,
            1 => Change::Answer,
            2 => Change::Rearm,
            _ => Change::Postpone,
        }
    }
}

/// All steps of a load.
#[derive(Debug)]
pub(super) struct Schedule {
    /// In the order in which they are done.
    pub(super) steps: Vec<Step>,
    /// The tenant of each ticket, from 0.
    pub(super) tenants: Vec<u16>,
    /// When the last ticket is due.
    pub(super) last_due_ms: u32,
}

impl Schedule {
    /// The steps that the options ask for.
    pub(super) fn new(options: &LoadOptions) -> Self {
        let maker = Maker {
            options,
            length_ms: options.length_s() * 1_000.0,
            ahead_ms: to_ms(options.ahead.as_secs_f64() * 1_000.0),
        };
        let tenants: Vec<u16> = (0..options.tickets).map(|t| maker.tenant_of(t)).collect();
        let mut steps = Vec::with_capacity(options.tickets as usize);
        for (ticket, tenant) in (0..options.tickets).zip(&tenants) {
            maker.push_steps(&mut steps, ticket, *tenant);
        }
        // Most shapes make them in order already.
        steps.sort_by_key(|step| step.at_ms);
        let last_due_ms = steps.iter().map(|step| step.due_ms).max().unwrap_or(0);
        Self {
            steps,
            tenants,
            last_due_ms,
        }
    }
}

struct Maker<'a> {
    options: &'a LoadOptions,
    length_ms: f64,
    ahead_ms: u32,
}

impl Maker<'_> {
    /// A number that depends on nothing but the seed, the ticket, and what it is for.
    fn random(&self, ticket: u32, purpose: u64) -> u64 {
        mix(mix(self.options.seed ^ purpose.rotate_left(48)).wrapping_add(u64::from(ticket)))
    }

    fn tenant_of(&self, ticket: u32) -> u16 {
        let random = self.random(ticket, 1);
        let tenants = u64::from(self.options.tenants);
        let tenant = if self.options.shape != Shape::Skewed {
            random % tenants
        } else if random % 100 < LARGE_SHARE {
            u64::from(LARGE_TENANT)
        } else {
            1 + (random >> 32) % (tenants - 1)
        };
        u16::try_from(tenant).unwrap_or(0)
    }

    fn push_steps(&self, steps: &mut Vec<Step>, ticket: u32, tenant: u16) {
        // Somewhere in its own slot, so that tickets are even over the whole but don't come in lockstep.
        let place = f64::from(ticket) + unit(self.random(ticket, 2));
        let count = f64::from(self.options.tickets);
        let even_ms = place / count * self.length_ms;
        let (at_ms, due_ms) = match self.options.shape {
            Shape::Skewed if tenant == LARGE_TENANT => {
                let middle_ms = self.length_ms / 2.0;
                (to_ms(even_ms / 2.0), to_ms(middle_ms) + self.ahead_ms)
            }
            Shape::Steady | Shape::Churn | Shape::Skewed => {
                (to_ms(even_ms), to_ms(even_ms) + self.ahead_ms)
            }
            Shape::Ramp => {
                let at_ms = to_ms(self.ramp_ms(place));
                (at_ms, at_ms + self.ahead_ms)
            }
            Shape::Burst => (to_ms(even_ms), to_ms(self.length_ms) + self.ahead_ms),
        };
        steps.push(Step::new(at_ms, due_ms, ticket, Change::Arm));
        if self.options.shape == Shape::Churn {
            self.push_changes(steps, ticket, at_ms);
        }
    }

    /// When the rate has brought so many tickets: its integral, solved for the time.
    fn ramp_ms(&self, place: f64) -> f64 {
        let (from, to) = (self.options.rate, self.options.rate_to);
        let slope = (to - from) / (self.length_ms / 1_000.0);
        if slope.abs() < 1e-9 {
            return place / from * 1_000.0;
        }
        let root = (from * from + 2.0 * slope * place).max(0.0).sqrt();
        ((root - from) / slope * 1_000.0).clamp(0.0, self.length_ms)
    }

    /// Of a hundred tickets, forty become due as they are armed, twenty are answered, the others are armed anew or
    /// postponed, and then it is up to chance again.
    fn push_changes(&self, steps: &mut Vec<Step>, ticket: u32, armed_at_ms: u32) {
        let mut at_ms = armed_at_ms;
        for number in 0..CHANGES_MAX {
            let random = self.random(ticket, 3 + number);
            let part = 0.1 + 0.8 * unit(self.random(ticket, 100 + number));
            at_ms += to_ms(f64::from(self.ahead_ms) * part);
            let change = match random % 100 {
                0..40 => return,
                40..60 => Change::Answer,
                60..85 => Change::Rearm,
                _ => Change::Postpone,
            };
            steps.push(Step::new(at_ms, at_ms + self.ahead_ms, ticket, change));
            if change == Change::Answer {
                return;
            }
        }
    }
}

/// A number from 0 to below 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "options keep it within 40 days, and above zero"
)]
fn to_ms(ms: f64) -> u32 {
    ms as u32
}

/// The output function of splitmix64 (Steele, Lea and Flood, 2014).
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
pub(super) mod tests;
