//! The gRPC services: from requests to use cases, and from their answers to responses.

mod caller;
pub mod contact_service;
pub mod feed_service;
pub mod handler_service;
pub mod inbound_service;
pub mod message_state_service;
mod pages;
pub mod permissions;
pub mod settings_service;
pub mod ticket_service;

pub use contact_service::ContactService;
pub use feed_service::FeedService;
pub use handler_service::HandlerService;
pub use inbound_service::InboundService;
pub use message_state_service::MessageStateService;
pub use settings_service::SettingsService;
pub use ticket_service::TicketService;
