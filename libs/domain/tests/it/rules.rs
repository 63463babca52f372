//! The rules of the product's description, one by one, as stories. Times are seconds from the opening; where
//! nothing else is said, alerts are at 10/20, the warning at 25 and the close at 30.

mod closing;
mod counting;
mod policies;
mod sides;
mod states;
mod ties;
