//! The history service on a real PostgreSQL, following a scripted feed over a real socket.

mod access;
mod events;
mod feed;
mod life;
mod outreach;
mod paging;
mod plans;
mod projection;
mod running;
mod schema;
