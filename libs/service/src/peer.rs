//! Who is at the other end of a connection.

use std::sync::Arc;

use jiff::Timestamp;

/// Who is at the other end of a TLS connection, as its verified certificate says. In the extensions of each request that
/// came over TLS; a request over plain text has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The URIs among the alternative names of the client's certificate, as in `spiffe://plazo/ns/plazo/sa/timer`. Empty
    /// if it gave none, or its certificate has none.
    pub uris: Arc<[String]>,
    /// The last instant at which the client's certificate is valid. None if it gave none.
    pub not_after: Option<Timestamp>,
}

impl PeerIdentity {
    /// Whether its certificate has ended since the connection was made.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|not_after| now > not_after)
    }
}
