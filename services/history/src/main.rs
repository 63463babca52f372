//! The history service.

fn main() {}
