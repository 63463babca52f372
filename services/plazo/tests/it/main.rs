//! The command as a whole, on real servers.

mod command;
mod demo;
mod plazo;
mod up;
