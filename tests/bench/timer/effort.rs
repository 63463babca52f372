//! How much is measured.

use std::time::Duration;

use crate::Options;

/// How much is measured, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Rounds in which all sides take turns.
    pub(super) rounds: usize,
    /// Tickets that are due at once.
    pub(super) due_at_once: usize,
    /// The same of the peers, which take longer.
    pub(super) bullmq_jobs: usize,
    pub(super) graphile_jobs: usize,
    /// Tickets that are armed anew, in batches and one by one.
    pub(super) rearmed: usize,
    pub(super) rearmed_singly: usize,
    /// Jobs of BullMQ whose delay is changed.
    pub(super) bullmq_changed: usize,
    /// How long tickets are due at a steady rate, in milliseconds.
    pub(super) steady_ms: i64,
    /// Tickets that wait while nothing is due.
    pub(super) pending: i64,
    /// Jobs of BullMQ whose memory is measured.
    pub(super) bullmq_pending: usize,
    /// How long nothing is due.
    pub(super) idle: Duration,
    /// Deaths of a replica.
    pub(super) deaths: usize,
    /// Tickets of ticketing that are due at once.
    pub(super) ticketing_due: usize,
    /// How long ticketing's tickets are due at a steady rate, in milliseconds.
    pub(super) ticketing_steady_ms: i64,
    /// How many wait while others are drained, one after the other.
    pub(super) pending_steps: &'static [usize],
    /// Tickets that are drained at each step.
    pub(super) drained_at_step: usize,
}

impl Effort {
    pub(super) fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                rounds: 2,
                due_at_once: 30_000,
                bullmq_jobs: 4_000,
                graphile_jobs: 10_000,
                rearmed: 20_000,
                rearmed_singly: 5_000,
                bullmq_changed: 3_000,
                steady_ms: 1_000,
                pending: 100_000,
                bullmq_pending: 10_000,
                idle: Duration::from_secs(6),
                deaths: 1,
                ticketing_due: 10_240,
                ticketing_steady_ms: 2_000,
                pending_steps: &[10_000, 100_000],
                drained_at_step: 20_000,
            }
        } else {
            Self {
                rounds: 3,
                due_at_once: 200_000,
                bullmq_jobs: 20_000,
                graphile_jobs: 40_000,
                rearmed: 200_000,
                rearmed_singly: 20_000,
                bullmq_changed: 20_000,
                steady_ms: 5_000,
                pending: 1_000_000,
                bullmq_pending: 50_000,
                idle: Duration::from_secs(30),
                deaths: 3,
                ticketing_due: 51_200,
                ticketing_steady_ms: 8_000,
                pending_steps: &[10_000, 100_000, 1_000_000, 5_000_000],
                drained_at_step: 100_000,
            }
        }
    }
}
