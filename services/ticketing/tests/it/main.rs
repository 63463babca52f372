//! The ticketing service as its callers see it: over sockets, on a database of its own for each test.

mod contacts;
mod settings;
mod support;
