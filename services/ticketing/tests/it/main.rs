//! The ticketing service as its callers see it: over sockets, on a database of its own for each test.

mod busy;
mod contacts;
mod desk;
mod erasing;
mod explain;
mod feed;
mod fields;
mod firing;
mod histories;
mod inbound;
mod outreach;
mod permissions;
mod race;
mod relay;
mod settings;
mod snapshots;
mod support;
mod tickets;
mod transcript;
mod walls;
mod watch;
