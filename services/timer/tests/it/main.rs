//! The timer against a real Redis, with a handler and notification served over real sockets.

mod bed;
mod desk;
mod drain;
mod failures;
mod firing;
mod process;
mod recovery;
mod requests;
