//! Every example of the rules, told.

mod desk;
mod examples;
mod more;
mod short;
