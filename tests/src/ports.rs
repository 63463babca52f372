//! Loopback ports for servers that are started again and again on the same ones.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::Rng;

/// Ports of a block, the guarded one included.
const BLOCK: u16 = 10;

/// A block of free ports. Its first one stays bound, so that no other test takes the block. All are below the range
/// from which systems take ports for outgoing connections: one of those could take the port of a killed server.
#[derive(Debug)]
pub(crate) struct PortBlock {
    first: u16,
    _guard: TcpListener,
}

impl PortBlock {
    /// Finds a block.
    pub(crate) fn claim() -> Self {
        for _ in 0..1_000 {
            let first = rand::rng().random_range(1_000..3_200) * BLOCK;
            let Ok(guard) = TcpListener::bind((Ipv4Addr::LOCALHOST, first)) else {
                continue;
            };
            let is_free = |offset| TcpListener::bind((Ipv4Addr::LOCALHOST, first + offset)).is_ok();
            if (1..BLOCK).all(is_free) {
                return Self {
                    first,
                    _guard: guard,
                };
            }
        }
        panic!("found no block of free ports between 10000 and 32000");
    }

    /// One of the ports, from 0 to 8.
    pub(crate) fn address(&self, number: u16) -> SocketAddr {
        assert!(number + 1 < BLOCK, "the block has no port {number}");
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.first + 1 + number))
    }
}
