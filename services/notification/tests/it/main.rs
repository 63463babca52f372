//! The notification service over real sockets: a scripted ticketing, a webhook endpoint, and PostgreSQL.

mod accepting;
mod calling_off;
mod faults;
mod feed;
mod input;
mod logs;
mod plans;
mod reports;
mod support;
mod uncertain;
mod webhooks;
mod whatsapp;
