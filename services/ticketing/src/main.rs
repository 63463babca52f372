//! The ticketing service.

fn main() {}
