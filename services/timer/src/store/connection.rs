//! The one place that knows how Redis is reached: a single server, a master behind sentinels, or a cluster.
//!
//! Each server gets its commands in one pipeline, all servers at the same time, and each command is answered by itself.
//! What belongs to a shard that is left alone ([`Breakers`]) is not sent. Redirections of a cluster are followed a few
//! times; whatever else fails is for the caller to repeat, which each does within bounds of its own.

mod cluster;
mod command;
mod keeper;
mod node;
mod sentinel;
mod target;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Notify;

use super::error::StoreError;
use crate::breaker::Breakers;
use crate::config::RedisConfig;
use crate::metrics::TimerMetrics;
use crate::shard::Shard;
use cluster::Cluster;
use node::{Node, NodeTimeouts};
use sentinel::Sentinel;

pub(crate) use cluster::slot_of;
pub(crate) use command::{Command, Lua, Route};
pub(crate) use target::Target;

/// How often the commands of a pipeline are sent again to where they were redirected, or after their scripts were
/// loaded.
const ROUNDS_MAX: usize = 4;

/// The answer to one command. After most errors it may have run.
pub(crate) type Answer = Result<Value, StoreError>;

/// Answers, and what each server that gave some of them said of itself in the same pipeline.
#[derive(Debug)]
pub(crate) struct Attested {
    /// What the servers said, in the order of their first commands.
    pub(crate) servers: Vec<Value>,
    /// For each command the server, as its place in `servers`, and the answer.
    pub(crate) answers: Vec<Result<(usize, Value), StoreError>>,
}

#[derive(Debug)]
enum Topology {
    Single(Arc<Node>),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

/// Redis, shared by many tasks.
#[derive(Debug)]
pub(crate) struct Connection {
    topology: Topology,
    breakers: Breakers,
    /// For each shard the route of its keys, and one of them.
    routes: Vec<Route>,
    probe_keys: Vec<String>,
    refresh_wanted: Notify,
    refresh_interval: Duration,
    metrics: TimerMetrics,
}

/// Commands for one server, by their places in the list of all.
struct Group {
    node: Arc<Node>,
    places: Vec<usize>,
}

/// How to send a command again.
enum Again {
    /// To where it was sent, once its script is loaded there.
    WithScript,
    /// To the slot's new master.
    Moved(Arc<Node>),
    /// To the node that the slot is moving to, for this once.
    Ask(Arc<Node>),
}

impl Connection {
    /// Connects, and fails when no master can be reached. `shards` has the route of each shard's keys, and one of them.
    pub(crate) async fn open(
        config: &RedisConfig,
        shards: Vec<(Route, String)>,
        metrics: TimerMetrics,
    ) -> Result<Self, StoreError> {
        let timeouts = NodeTimeouts {
            connect: Duration::from_millis(config.connect_timeout_ms),
            response: Duration::from_millis(config.response_timeout_ms),
        };
        let topology = match config.target() {
            Err(problem) => return Err(no_answer(problem).into()),
            Ok(Target::Single(info)) => Topology::Single(Arc::new(Node::new(*info, timeouts)?)),
            Ok(Target::Sentinel {
                sentinels,
                master_name,
                master,
            }) => Topology::Sentinel(Sentinel::new(sentinels, master_name, *master, timeouts)?),
            Ok(Target::Cluster { seeds }) => Topology::Cluster(Cluster::new(seeds, timeouts)?),
        };
        let (routes, probe_keys): (Vec<_>, Vec<_>) = shards.into_iter().unzip();
        let shard_count = u16::try_from(routes.len()).unwrap_or(u16::MAX);
        let breakers = Breakers::new(config.into(), shard_count, metrics.open_shards.clone());
        let connection = Self {
            topology,
            breakers,
            routes,
            probe_keys,
            refresh_wanted: Notify::new(),
            refresh_interval: Duration::from_millis(config.topology_interval_ms),
            metrics,
        };
        connection.topology.refresh().await?;
        // While one master of several is down, the timer starts for the shards of the others.
        let mut failure = None;
        for (_, answer) in connection.ask_masters(&redis::cmd("PING")).await {
            match answer {
                Ok(_) => return Ok(connection),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| no_answer("no master is known").into()))
    }

    /// Whether one server serves all shards.
    pub(crate) fn is_one_server(&self) -> bool {
        !matches!(self.topology, Topology::Cluster(_))
    }

    /// Puts together what belongs to slots of the same server, and what belongs to slots that nobody is known to serve.
    pub(crate) fn by_server<T>(&self, things: Vec<T>, slot_of: impl Fn(&T) -> u16) -> Vec<Vec<T>> {
        if self.is_one_server() {
            return vec![things];
        }
        let mut groups: Vec<(Option<Arc<Node>>, Vec<T>)> = Vec::new();
        for thing in things {
            let node = self.topology.node_of(slot_of(&thing));
            let is_same = |group: &&mut (Option<Arc<Node>>, Vec<T>)| match (&group.0, &node) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            match groups.iter_mut().find(is_same) {
                Some((_, group)) => group.push(thing),
                None => groups.push((node, vec![thing])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Which shards are left alone.
    pub(crate) fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Sends the commands, one pipeline to each server, and answers each by itself. Scripts that a server doesn't know
    /// are loaded and their commands sent again; the others have run already and are not repeated.
    pub(crate) async fn run(&self, commands: &[Command<'_>]) -> Vec<Answer> {
        self.run_passing(commands, |route| {
            route
                .shard
                .is_none_or(|shard| !self.breakers.is_open(shard))
        })
        .await
    }

    /// The same, for commands that must all succeed.
    pub(crate) async fn run_all(&self, commands: &[Command<'_>]) -> Result<Vec<Value>, StoreError> {
        self.run(commands).await.into_iter().collect()
    }

    /// One command.
    pub(crate) async fn run_one(&self, command: Command<'_>) -> Answer {
        let mut answers = self.run(&[command]).await;
        answers
            .pop()
            .unwrap_or(Err(StoreError::Answer("no answer to a command")))
    }

    /// Sends plain commands, and ahead of those for each server one more, whose answer tells about that server.
    /// Redirections aren't followed: such an answer would be another server's.
    pub(crate) async fn run_attested(&self, ask: &Cmd, commands: &[Command<'_>]) -> Attested {
        let mut answers = blank(commands);
        let groups = self.group(commands, &mut answers, |route| {
            route
                .shard
                .is_none_or(|shard| !self.breakers.is_open(shard))
        });
        let sent = join_all(groups.iter().map(|group| async {
            let cmds = group
                .places
                .iter()
                .map(|place| commands[*place].cmd.clone());
            let all: Vec<_> = std::iter::once(ask.clone()).chain(cmds).collect();
            group.node.send(all.into_iter()).await
        }))
        .await;
        let mut servers = Vec::with_capacity(groups.len());
        let mut of_server = vec![0; commands.len()];
        for (group, sent) in groups.iter().zip(sent) {
            let sent = sent.and_then(|mut sent| {
                let told = if sent.is_empty() {
                    Ok(Value::Nil)
                } else {
                    sent.remove(0)
                };
                told.map(|told| (told, sent))
            });
            match sent {
                Ok((told, sent)) => {
                    for (place, answer) in group.places.iter().zip(sent) {
                        if let Err(error) = &answer {
                            self.redirection(&group.node, &commands[*place], error);
                        }
                        of_server[*place] = servers.len();
                        answers[*place] = self.settle(&commands[*place], answer);
                    }
                    servers.push(told);
                }
                Err(error) => self.fail(group, &error, &mut answers),
            }
        }
        let answers = answers.into_iter().zip(of_server);
        Attested {
            servers,
            answers: answers
                .map(|(answer, server)| Ok((server, answer?)))
                .collect(),
        }
    }

    /// Asks every master the same. Returns its address with the answer.
    pub(crate) async fn ask_masters(&self, cmd: &Cmd) -> Vec<(String, Answer)> {
        let masters = self.topology.masters();
        join_all(masters.iter().map(|node| async {
            let answer = node.ask(cmd.clone()).await;
            (node.address(), answer.map_err(|error| self.count(error)))
        }))
        .await
    }

    async fn run_passing(
        &self,
        commands: &[Command<'_>],
        passes: impl Fn(Route) -> bool,
    ) -> Vec<Answer> {
        let mut answers = blank(commands);
        let groups = self.group(commands, &mut answers, passes);
        if let [group] = groups.as_slice() {
            self.send(group, commands, |place, answer| answers[place] = answer)
                .await;
            return answers;
        }
        let sent = join_all(groups.iter().map(|group| async {
            let mut answers = Vec::with_capacity(group.places.len());
            self.send(group, commands, |place, answer| {
                answers.push((place, answer));
            })
            .await;
            answers
        }));
        for (place, answer) in sent.await.into_iter().flatten() {
            answers[place] = answer;
        }
        answers
    }

    /// Puts together what goes to the same server. What may not pass, or goes nowhere, is answered here.
    fn group(
        &self,
        commands: &[Command<'_>],
        answers: &mut [Answer],
        passes: impl Fn(Route) -> bool,
    ) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::with_capacity(1);
        for (place, command) in commands.iter().enumerate() {
            if !passes(command.route) {
                answers[place] = Err(StoreError::LeftAlone);
                continue;
            }
            let Some(node) = self.topology.node_of(command.route.slot) else {
                let nobody = no_answer("no server is known for a shard");
                answers[place] = self.settle(command, Err(nobody));
                self.refresh_wanted.notify_one();
                continue;
            };
            match groups
                .iter_mut()
                .find(|group| Arc::ptr_eq(&group.node, &node))
            {
                Some(group) => group.places.push(place),
                None => groups.push(Group {
                    node,
                    places: vec![place],
                }),
            }
        }
        groups
    }

    /// Sends what goes to one server, and follows where it is redirected.
    async fn send(
        &self,
        group: &Group,
        commands: &[Command<'_>],
        mut answer: impl FnMut(usize, Answer),
    ) {
        let cmds = group
            .places
            .iter()
            .map(|place| commands[*place].cmd.clone());
        let mut outcomes = match group.node.send(cmds).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                self.node_failed(&group.node, &error);
                for place in &group.places {
                    answer(*place, Err(error.clone().into()));
                }
                self.count(error);
                return;
            }
        };
        if outcomes.iter().any(Result::is_err) {
            self.repeat(group, commands, &mut outcomes).await;
        }
        for (place, outcome) in group.places.iter().zip(outcomes) {
            answer(*place, self.settle(&commands[*place], outcome));
        }
    }

    /// Sends again what was redirected, or lacked its script.
    async fn repeat(
        &self,
        group: &Group,
        commands: &[Command<'_>],
        outcomes: &mut [RedisResult<Value>],
    ) {
        let mut nodes: Vec<_> = group
            .places
            .iter()
            .map(|_| Arc::clone(&group.node))
            .collect();
        for _ in 0..ROUNDS_MAX {
            // Few are sent again, and seldom: one after the other will do.
            let mut is_done = true;
            for (index, place) in group.places.iter().enumerate() {
                let command = &commands[*place];
                let Some(again) = outcomes[index]
                    .as_ref()
                    .err()
                    .and_then(|error| self.again(&nodes[index], command, error))
                else {
                    continue;
                };
                is_done = false;
                let mut cmds = Vec::with_capacity(3);
                cmds.extend(command.script.map(Lua::load));
                let node = match again {
                    Again::WithScript => Arc::clone(&nodes[index]),
                    Again::Moved(node) => node,
                    Again::Ask(node) => {
                        cmds.push(redis::cmd("ASKING"));
                        node
                    }
                };
                cmds.push(command.cmd.clone());
                let sent = node.send(cmds.into_iter()).await;
                if let Err(error) = &sent {
                    self.node_failed(&node, error);
                }
                outcomes[index] = sent.and_then(|mut sent| sent.pop().unwrap_or(Ok(Value::Nil)));
                nodes[index] = node;
            }
            if is_done {
                return;
            }
        }
    }

    fn again(&self, from: &Node, command: &Command<'_>, error: &RedisError) -> Option<Again> {
        if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
            return command.script.map(|_| Again::WithScript);
        }
        self.redirection(from, command, error)
    }

    /// Where an error sends the command. A slot that has moved is noted.
    fn redirection(&self, from: &Node, command: &Command<'_>, error: &RedisError) -> Option<Again> {
        let Topology::Cluster(cluster) = &self.topology else {
            return None;
        };
        let (address, _) = error.redirect_node()?;
        let node = cluster.node_at(address, from).ok()?;
        if error.kind() == ErrorKind::Server(ServerErrorKind::Ask) {
            return Some(Again::Ask(node));
        }
        cluster.moved(command.route.slot, &node);
        self.refresh_wanted.notify_one();
        Some(Again::Moved(node))
    }

    /// What the answer of a server means for its shard.
    fn settle(&self, command: &Command<'_>, answer: RedisResult<Value>) -> Answer {
        let error = match answer {
            Ok(value) => {
                if self.breakers.has_trouble()
                    && let Some(shard) = command.route.shard
                {
                    self.breakers.succeeded(shard);
                }
                return Ok(value);
            }
            Err(error) => error,
        };
        if matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::ClusterDown)
        ) {
            self.refresh_wanted.notify_one();
        }
        // A full Redis goes on serving what frees memory, and a slot that is moving what needs a single key.
        let is_moving = error.is_cluster_error()
            && error.kind() != ErrorKind::Server(ServerErrorKind::ClusterDown);
        let is_timeout = error.is_timeout();
        let error = self.count(error);
        if let Some(shard) = command.route.shard
            && matches!(error, StoreError::Unavailable(_))
            && !is_moving
        {
            self.breakers.failed(shard, is_timeout);
        }
        Err(error)
    }

    fn fail(&self, group: &Group, error: &RedisError, answers: &mut [Answer]) {
        self.node_failed(&group.node, error);
        for place in &group.places {
            answers[*place] = Err(error.clone().into());
        }
        self.count(error.clone());
    }

    /// The shards of a server fail together.
    fn node_failed(&self, node: &Arc<Node>, error: &RedisError) {
        for (shard, route) in (0_u16..).map(Shard::new).zip(&self.routes) {
            let serving = self.topology.node_of(route.slot);
            if serving.is_some_and(|serving| Arc::ptr_eq(&serving, node)) {
                self.breakers.failed(shard, error.is_timeout());
            }
        }
        self.refresh_wanted.notify_one();
    }

    fn count(&self, error: RedisError) -> StoreError {
        let error = StoreError::from(error);
        self.metrics.redis_error(error.kind());
        error
    }
}

impl Topology {
    fn node_of(&self, slot: u16) -> Option<Arc<Node>> {
        match self {
            Self::Single(node) => Some(Arc::clone(node)),
            Self::Sentinel(sentinel) => sentinel.master(),
            Self::Cluster(cluster) => cluster.node_of(slot),
        }
    }

    fn masters(&self) -> Vec<Arc<Node>> {
        match self {
            Self::Single(node) => vec![Arc::clone(node)],
            Self::Sentinel(sentinel) => sentinel.master().into_iter().collect(),
            Self::Cluster(cluster) => cluster.masters(),
        }
    }

    /// Finds out who serves what now.
    async fn refresh(&self) -> RedisResult<()> {
        match self {
            Self::Single(_) => Ok(()),
            Self::Sentinel(sentinel) => sentinel.refresh().await,
            Self::Cluster(cluster) => cluster.refresh().await,
        }
    }
}

/// For each command that there is no answer yet.
fn blank(commands: &[Command<'_>]) -> Vec<Answer> {
    let unanswered = || Err(StoreError::Answer("no answer to a command"));
    commands.iter().map(|_| unanswered()).collect()
}

/// Redis gives no answer that helps.
fn no_answer(problem: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, problem))
}
