//! Commands, and where they belong.

use redis::{Cmd, Script};

use crate::shard::Shard;

/// A script that Redis runs, known to it by its hash.
#[derive(Debug)]
pub(crate) struct Lua {
    code: &'static str,
    hash: String,
}

impl Lua {
    pub(crate) fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: Script::new(code).get_hash().to_owned(),
        }
    }

    pub(super) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(self.code);
        cmd
    }
}

/// Where a command belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// The slot of its keys in a cluster.
    pub(crate) slot: u16,
    /// The shard whose breaker it obeys and feeds; none for keys of the namespace as a whole.
    pub(crate) shard: Option<Shard>,
}

/// One command of a pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Command<'a> {
    pub(super) route: Route,
    pub(super) cmd: Cmd,
    /// The script that the command runs, if it does, to load it when Redis doesn't know it.
    pub(super) script: Option<&'a Lua>,
}

impl<'a> Command<'a> {
    /// A plain command.
    pub(crate) fn plain(route: Route, cmd: Cmd) -> Self {
        Self {
            route,
            cmd,
            script: None,
        }
    }

    /// A call of a script. Its arguments follow by [`Self::arg`].
    pub(crate) fn script(route: Route, script: &'a Lua, keys: &[&str]) -> Self {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&script.hash).arg(keys.len());
        for key in keys {
            cmd.arg(key);
        }
        Self {
            route,
            cmd,
            script: Some(script),
        }
    }

    /// One more argument.
    pub(crate) fn arg(&mut self, value: impl redis::ToRedisArgs) -> &mut Self {
        self.cmd.arg(value);
        self
    }
}
