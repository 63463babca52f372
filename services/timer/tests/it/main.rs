//! The timer against a real Redis, with a handler and notification served over real sockets.

mod bed;
mod cluster;
mod desk;
mod drain;
mod failures;
mod firing;
mod limits;
mod namespaces;
mod process;
mod recovery;
mod replicas;
mod requests;
mod streams;
mod suspicion;
mod switch;
