//! What the command `plazo` is made of: a cluster in one process, and what is played against a cluster.

pub mod cluster;
pub mod demo;
pub mod issuer;
pub mod load;
pub mod seed;
pub mod sight;
mod style;
pub mod up;
pub mod verify;
