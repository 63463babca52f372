//! Services of Plazo, known by their certificates.

use super::config::PeerConfig;
use super::refusal::Refusal;
use crate::actor::{Actor, MethodPermissions};
use crate::config::ConfigError;
use crate::peer::PeerIdentity;

/// The services that may call this one.
#[derive(Debug)]
pub(super) struct Peers(Vec<Peer>);

/// A service that may call.
#[derive(Debug)]
pub(super) struct Peer {
    identity: String,
    actor: Actor,
    methods: Vec<Pattern>,
}

#[derive(Debug)]
enum Pattern {
    /// `/package.Service/`
    Service(String),
    /// `/package.Service/Method`
    Method(String),
}

impl Peers {
    /// Refuses a pattern that no method of this server has: it would be noticed only by a call that is refused.
    pub(super) fn new(
        config: &[PeerConfig],
        served: MethodPermissions,
        section: &str,
    ) -> Result<Self, ConfigError> {
        let mut peers = Vec::with_capacity(config.len());
        for (index, peer) in config.iter().enumerate() {
            let methods: Vec<_> = peer.methods.iter().map(|text| Pattern::of(text)).collect();
            for (at, pattern) in methods.iter().enumerate() {
                if !served.iter().any(|(path, _)| pattern.fits(path)) {
                    let key = format!("{section}.peers[{index}].methods[{at}]");
                    return Err(ConfigError::value(key, "is nothing that is served here"));
                }
            }
            peers.push(Peer {
                identity: peer.identity.clone(),
                actor: Actor::service(&peer.service),
                methods,
            });
        }
        Ok(Self(peers))
    }

    pub(super) fn find(&self, identity: &PeerIdentity) -> Option<&Peer> {
        self.0
            .iter()
            .find(|peer| identity.uris.contains(&peer.identity))
    }
}

impl Peer {
    /// The service as the maker of a call, if the call is one of those that it may make.
    pub(super) fn actor(&self, path: &str) -> Result<Actor, Refusal> {
        if self.methods.iter().any(|pattern| pattern.fits(path)) {
            Ok(self.actor.clone())
        } else {
            Err(Refusal::PermissionDenied)
        }
    }
}

impl Pattern {
    fn of(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(service) => Self::Service(service.to_owned()),
            None => Self::Method(text.to_owned()),
        }
    }

    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Service(service) => path.starts_with(service),
            Self::Method(method) => path == method,
        }
    }
}
