//! What needs all four services: each test has a cluster of four processes of its own.

mod erasure;
mod four_processes;
mod kills;
mod reports;
mod restart;
mod secure;
mod verify;
mod volume;
