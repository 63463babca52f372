//! The plazo command.

fn main() {}
