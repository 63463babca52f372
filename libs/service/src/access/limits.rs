//! How often tenants and actors may call.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::config::LimitsConfig;
use super::refusal::Refusal;
use crate::actor::{Actor, ActorKind};

type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, NoOpMiddleware>;

/// The limits of this replica.
#[derive(Debug)]
pub(super) struct Limits {
    actors: Option<Remembered<(i64, ActorKind)>>,
    tenants: Option<Remembered<i64>>,
}

impl Limits {
    pub(super) fn new(config: &LimitsConfig) -> Self {
        let max = config.max_remembered;
        let quota = |per_s: u32, burst: u32| {
            let per_s = NonZeroU32::new(per_s)?;
            let burst = NonZeroU32::new(burst).unwrap_or(per_s);
            Some(Quota::per_second(per_s).allow_burst(burst))
        };
        Self {
            actors: quota(config.actor_calls_per_s, config.actor_burst)
                .map(|quota| Remembered::new(quota, max)),
            tenants: quota(config.tenant_calls_per_s, config.tenant_burst)
                .map(|quota| Remembered::new(quota, max)),
        }
    }

    /// Counts a call. The actor's own limit comes first, so that one who calls too often does not use up what the
    /// others of its tenant have.
    pub(super) fn check(&self, actor: &Actor) -> Result<(), Refusal> {
        if matches!(actor.kind, ActorKind::Service(_)) {
            return Ok(());
        }
        if let Some(actors) = &self.actors {
            let key = (actor.tenant_id, actor.kind.clone());
            actors.check(&key).map_err(Refusal::ActorLimited)?;
        }
        if let Some(tenants) = &self.tenants {
            tenants
                .check(&actor.tenant_id)
                .map_err(Refusal::TenantLimited)?;
        }
        Ok(())
    }

    /// Forgets those who have rested, and all when there are too many. To be called now and then.
    pub(super) fn tidy(&self) {
        if let Some(actors) = &self.actors {
            actors.tidy();
        }
        if let Some(tenants) = &self.tenants {
            tenants.tidy();
        }
    }
}

#[derive(Debug)]
struct Remembered<K: Hash + Eq + Clone> {
    limiter: RwLock<Keyed<K>>,
    quota: Quota,
    max: usize,
}

impl<K: Hash + Eq + Clone> Remembered<K> {
    fn new(quota: Quota, max: usize) -> Self {
        Self {
            limiter: RwLock::new(RateLimiter::dashmap(quota)),
            quota,
            max,
        }
    }

    /// Fails with the time until there is room again.
    fn check(&self, key: &K) -> Result<(), Duration> {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        limiter
            .check_key(key)
            .map_err(|until| until.wait_time_from(limiter.clock().now()))
    }

    fn tidy(&self) {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        limiter.retain_recent();
        let is_full = limiter.len() > self.max;
        drop(limiter);
        if is_full {
            let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
            *limiter = RateLimiter::dashmap(self.quota);
            tracing::warn!(
                max = self.max,
                "too many callers to remember: all begin anew"
            );
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        limiter.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::{BotScope, Permissions};

    fn agent(tenant_id: i64, id: i64) -> Actor {
        Actor {
            tenant_id,
            kind: ActorKind::Agent(id),
            permissions: Permissions::NONE,
            bots: BotScope::All,
        }
    }

    #[test]
    fn each_actor_has_its_own_limit_and_its_tenant_another() {
        let limits = Limits::new(&LimitsConfig {
            tenant_calls_per_s: 1,
            tenant_burst: 4,
            actor_calls_per_s: 1,
            actor_burst: 2,
            ..LimitsConfig::default()
        });
        for _ in 0..2 {
            limits.check(&agent(1, 1)).expect("within the burst");
        }
        for _ in 0..10 {
            let refusal = limits.check(&agent(1, 1)).expect_err("too often");
            let Refusal::ActorLimited(wait) = refusal else {
                panic!("{refusal:?}");
            };
            assert!(
                !wait.is_zero() && wait <= Duration::from_secs(1),
                "{wait:?}"
            );
        }
        // What was refused has not used up the tenant's.
        limits.check(&agent(1, 2)).expect("another actor");
        limits.check(&agent(1, 3)).expect("another actor");
        let refusal = limits
            .check(&agent(1, 4))
            .expect_err("the tenant's is used up");
        assert!(matches!(refusal, Refusal::TenantLimited(_)), "{refusal:?}");
        limits.check(&agent(2, 1)).expect("another tenant");
        for _ in 0..100 {
            limits.check(&Actor::service("timer")).expect("no limit");
        }
    }

    #[test]
    fn no_more_are_remembered_than_the_limit_says() {
        let limits = Limits::new(&LimitsConfig {
            actor_calls_per_s: 1,
            max_remembered: 10,
            ..LimitsConfig::default()
        });
        let actors = limits.actors.as_ref().expect("it is limited");
        for id in 1..=10 {
            limits.check(&agent(1, id)).expect("its first call");
        }
        limits.tidy();
        assert_eq!(actors.len(), 10);
        limits.check(&agent(1, 1)).expect_err("it is remembered");
        limits.check(&agent(1, 11)).expect("its first call");
        limits.tidy();
        assert_eq!(actors.len(), 0);
    }
}
