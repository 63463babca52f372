//! The ticketing service as its callers see it: over sockets, on a database of its own for each test.

mod busy;
mod contacts;
mod desk;
mod explain;
mod feed;
mod fields;
mod firing;
mod histories;
mod inbound;
mod permissions;
mod race;
mod relay;
mod settings;
mod support;
mod tickets;
mod transcript;
mod watch;
