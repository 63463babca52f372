//! Who is at the other end of a connection.

use std::sync::Arc;

/// Who is at the other end of a TLS connection, as its verified certificate says. In the extensions of each request that
/// came over TLS; a request over plain text has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The URIs among the alternative names of the client's certificate, as in `spiffe://plazo/ns/plazo/sa/timer`. Empty
    /// if it gave none, or its certificate has none.
    pub uris: Arc<[String]>,
}
