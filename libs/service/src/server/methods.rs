//! The methods that a server has, read from its descriptor set.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::ServerError;
use crate::actor::MethodPermissions;

/// All methods of a descriptor set, by path (`/package.Service/Method`).
#[derive(Debug)]
pub(super) struct Methods {
    by_path: HashMap<String, Method>,
    unknown: Arc<String>,
}

#[derive(Debug)]
struct Method {
    label: Arc<String>,
    is_streaming: bool,
}

impl Methods {
    pub(super) fn read(descriptor_sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut by_path = HashMap::new();
        for set in descriptor_sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    for method in &service.method {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        let method = Method {
                            label: Arc::new(path.clone()),
                            is_streaming: method.client_streaming() || method.server_streaming(),
                        };
                        by_path.insert(path, method);
                    }
                }
            }
        }
        Ok(Self {
            by_path,
            unknown: Arc::new("unknown".to_owned()),
        })
    }

    /// The path as a label: one of ours, or `unknown`, whatever callers may invent.
    pub(super) fn label(&self, path: &str) -> &Arc<String> {
        self.by_path
            .get(path)
            .map_or(&self.unknown, |method| &method.label)
    }

    pub(super) fn is_streaming(&self, path: &str) -> bool {
        self.by_path
            .get(path)
            .is_some_and(|method| method.is_streaming)
    }

    /// Each served method has its permissions, and no entry is for a method that is not served: else
    /// a method that somebody forgot would only be noticed by being refused.
    pub(super) fn check_permissions(
        &self,
        services: &[&'static str],
        permissions: MethodPermissions,
    ) -> Result<(), ServerError> {
        let is_served = |path: &str| {
            path.strip_prefix('/')
                .and_then(|path| path.split_once('/'))
                .is_some_and(|(service, _)| services.contains(&service))
        };
        for path in self.by_path.keys().filter(|path| is_served(path)) {
            if !permissions
                .iter()
                .any(|(permitted, _)| *permitted == path.as_str())
            {
                let path = path.clone();
                return Err(ServerError::Permissions {
                    path,
                    problem: "served without permissions",
                });
            }
        }
        for (path, _) in permissions {
            if !is_served(path) || !self.by_path.contains_key(*path) {
                let path = (*path).to_owned();
                return Err(ServerError::Permissions {
                    path,
                    problem: "permitted but not served",
                });
            }
        }
        Ok(())
    }
}
