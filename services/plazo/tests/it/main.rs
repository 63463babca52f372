//! The command as a whole, on real servers.

mod access;
mod command;
mod demo;
mod load;
mod load_handler;
mod plazo;
mod seed;
mod seed_projection;
mod up;
mod verify;
