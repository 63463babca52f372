//! Faults of those whom notification sends to, under a load of active messages besides that of the deadlines.

mod bed;
mod dead_provider;
mod lost_answers;
mod shuffled_callbacks;

use futures::FutureExt as _;

use crate::Fault;

/// Those of this kind.
pub(crate) const FAULTS: [Fault; 3] = [
    Fault {
        number: 22,
        name: "one channel's provider dead, and one endpoint",
        run: |size| dead_provider::run(size).boxed_local(),
    },
    Fault {
        number: 29,
        name: "provider takes the message, answer lost; sender killed at each step",
        run: |size| lost_answers::run(size).boxed_local(),
    },
    Fault {
        number: 30,
        name: "callbacks twice and out of order",
        run: |size| shuffled_callbacks::run(size).boxed_local(),
    },
];
