//! The notification service over real sockets: a scripted ticketing, a webhook endpoint, and PostgreSQL.

mod accepting;
mod accounts;
mod blip;
mod callbacks;
mod calling_off;
mod email;
mod erasing;
mod faults;
mod feed;
mod input;
mod late_refusals;
mod logs;
mod plans;
mod queue_plans;
mod reports;
mod subscription_calls;
mod subscription_kills;
mod subscription_order;
mod subscription_replays;
mod subscriptions;
mod support;
mod uncertain;
mod walls;
mod webhooks;
mod whatsapp;
