//! What happens to tickets: each use case locks the ticket's row, decides with the pure rules of
//! `plazo_domain`, and writes row and events together.

pub mod assign;
pub mod automation;
pub mod bulk;
pub mod change;
pub mod close;
pub mod explain;
pub mod hold;
pub mod open;
pub mod outreach;
pub mod read;
pub mod record;
pub mod tags;
pub mod told;
pub mod transcript;
pub mod transfer;
pub mod view;

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_service::{Actor, ActorKind};

/// Plazo itself as an author.
pub const SYSTEM: Author = Author {
    kind: AuthorKind::System as i32,
    id: 0,
};

/// The author that an actor is.
pub fn author_of(actor: &Actor) -> Author {
    let (kind, id) = match &actor.kind {
        ActorKind::Agent(id) => (AuthorKind::Agent, *id),
        ActorKind::Bot(id) => (AuthorKind::Bot, *id),
        ActorKind::Administrator(id) => (AuthorKind::Administrator, *id),
        ActorKind::Service(_) => (AuthorKind::Service, 0),
    };
    Author {
        kind: kind.into(),
        id,
    }
}
