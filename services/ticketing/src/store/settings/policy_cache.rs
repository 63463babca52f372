//! Policies in memory. Versions never change, so what was read once stays right.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plazo_domain::InactivityPolicy;
use plazo_service::status::chain;
use sqlx::PgConnection;

use super::policies::load;
use crate::error::Error;

/// A tenant and one of its policies' versions.
pub type PolicyKey = (i64, i64);

/// A policy takes a few hundred bytes, or some tens of kilobytes with the longest texts.
const MAX_YOUNG: usize = 2_000;

/// The policies that were used last, at most 4,000.
#[derive(Debug, Default)]
pub struct PolicyCache {
    generations: Mutex<Generations>,
}

/// What is used moves to the young ones. When those are full they become the old ones, and what was old is
/// forgotten: it was not used for that long.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<PolicyKey, Arc<InactivityPolicy>>,
    old: HashMap<PolicyKey, Arc<InactivityPolicy>>,
}

impl Generations {
    fn get(&mut self, key: PolicyKey) -> Option<Arc<InactivityPolicy>> {
        if let Some(policy) = self.young.get(&key) {
            return Some(Arc::clone(policy));
        }
        let policy = self.old.remove(&key)?;
        self.put(key, Arc::clone(&policy));
        Some(policy)
    }

    fn put(&mut self, key: PolicyKey, policy: Arc<InactivityPolicy>) {
        if self.young.len() >= MAX_YOUNG {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, policy);
    }
}

impl PolicyCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// One policy. [`Error::OutOfRange`] when there is no such version: versions are kept for ever, and only those
    /// that exist are written down anywhere.
    pub async fn policy(
        &self,
        connection: &mut PgConnection,
        tenant_id: i64,
        policy_version: i64,
    ) -> Result<Arc<InactivityPolicy>, Error> {
        let key = (tenant_id, policy_version);
        let mut found = self.policies(connection, &[key]).await?;
        found
            .remove(&key)
            .ok_or(Error::OutOfRange("policy_version"))
    }

    /// Many policies; the database is asked at most once. Versions that don't exist or can't be read are
    /// absent from the answer, so that one bad row stops nobody else.
    pub async fn policies(
        &self,
        connection: &mut PgConnection,
        keys: &[PolicyKey],
    ) -> Result<HashMap<PolicyKey, Arc<InactivityPolicy>>, Error> {
        let mut found = HashMap::new();
        let mut missing = HashSet::new();
        {
            let mut generations = self.lock();
            for &key in keys {
                match generations.get(key) {
                    Some(policy) => drop(found.insert(key, policy)),
                    None => drop(missing.insert(key)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let (tenant_ids, versions): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
        for stored in load(connection, &tenant_ids, &versions).await? {
            let key = (stored.tenant_id, stored.policy_version);
            match stored.policy {
                Ok(policy) => drop(found.insert(key, Arc::new(policy))),
                Err(error) => tracing::error!(
                    tenant_id = stored.tenant_id,
                    policy_version = stored.policy_version,
                    error = chain(&error),
                    "stored policy can't be read"
                ),
            }
        }
        let mut generations = self.lock();
        for (tenant_id, version) in tenant_ids.into_iter().zip(versions) {
            if let Some(policy) = found.get(&(tenant_id, version)) {
                generations.put((tenant_id, version), Arc::clone(policy));
            }
        }
        Ok(found)
    }

    /// A panic while the lock is held leaves nothing half-changed that matters.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_memory_is_bounded() {
        let policy = Arc::new(InactivityPolicy::default());
        let mut generations = Generations::default();
        for version in 0..10 * i64::try_from(MAX_YOUNG).expect("a small number") {
            generations.put((1, version), Arc::clone(&policy));
            assert!(generations.get((1, 0)).is_some(), "used all the time");
        }
        assert!(generations.get((1, 1)).is_none(), "not used for long");
        assert!(generations.young.len() <= MAX_YOUNG && generations.old.len() <= MAX_YOUNG);
    }
}
