//! The timer service.

fn main() {}
