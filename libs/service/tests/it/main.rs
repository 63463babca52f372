//! The shared server and client, over real sockets.

mod access;
mod balance;
mod calls;
// The end-to-end tests need the same.
#[expect(unreachable_pub, reason = "it is public where it is from")]
#[path = "../../../../tests/src/certificates.rs"]
mod certificates;
mod client;
mod config;
mod echo;
mod health;
mod keys;
mod peers;
mod places;
mod shutdown;
mod signing;
mod supervisor;
mod tls;
mod tls_reload;
