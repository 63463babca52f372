//! The shared server and client, over real sockets.

mod calls;
mod client;
mod config;
mod echo;
mod shutdown;
mod supervisor;
