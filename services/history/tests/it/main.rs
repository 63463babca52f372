//! The history service on a real PostgreSQL, following a scripted feed over a real socket.

mod access;
mod events;
mod feed;
mod forgetting;
mod life;
mod outreach;
mod paging;
mod plans;
mod projection;
mod rebuild;
mod report_csv;
mod report_figures;
mod report_filters;
mod report_plans;
mod report_rows;
mod rows;
mod running;
mod schema;
mod search;
mod settings;
mod views;
mod visibility;
mod walls;
mod ways;
