//! The gRPC services: from requests to use cases, and from their answers to responses.

mod caller;
pub mod contact_service;
pub mod erasure_service;
pub mod feed_service;
pub mod handler_service;
pub mod inbound_service;
pub mod message_state_service;
pub mod outreach_service;
mod pages;
pub mod permissions;
pub mod settings_service;
pub mod snapshot_service;
pub mod ticket_service;

pub use contact_service::ContactService;
pub use erasure_service::ErasureService;
pub use feed_service::FeedService;
pub use handler_service::HandlerService;
pub use inbound_service::InboundService;
pub use message_state_service::MessageStateService;
pub use outreach_service::OutreachService;
pub use settings_service::SettingsService;
pub use snapshot_service::SnapshotService;
pub use ticket_service::TicketService;
