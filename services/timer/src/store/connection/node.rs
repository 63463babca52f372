//! One Redis server, and the connection to it that many tasks share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, RedisResult, Value,
};
use tokio::time::Instant;

/// So many time-outs in a row mean that the connection is dead, though nobody has closed it.
const TIMEOUTS_OF_DEAD_CONNECTION: u32 = 2;

/// Bounds of what a server may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeTimeouts {
    /// For a connection to come about.
    pub(super) connect: Duration,
    /// For the answers of a pipeline.
    pub(super) response: Duration,
}

/// One server. It is connected to when it is first needed, and anew after the connection broke. What is sent at the same
/// time travels together, and every answer has a bound.
#[derive(Debug)]
pub(super) struct Node {
    client: Client,
    timeouts: NodeTimeouts,
    state: Mutex<State>,
    /// One attempt at a time.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Numbered>,
    connections: u64,
    failed: Option<(Instant, RedisError)>,
    timeouts_in_a_row: u32,
}

#[derive(Debug, Clone)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

impl Node {
    pub(super) fn new(info: ConnectionInfo, timeouts: NodeTimeouts) -> RedisResult<Self> {
        Ok(Self {
            client: Client::open(info)?,
            timeouts,
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    /// `host:port`, or the path of a socket.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Sends the commands in one pipeline, and answers each by itself. An error means that they may have run.
    pub(super) async fn send(
        &self,
        commands: impl ExactSizeIterator<Item = Cmd>,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command);
        }
        pipeline.ignore_errors();
        let mut current = self.connection().await?;
        let outcome = pipeline
            .query_async::<Vec<RedisResult<Value>>>(&mut current.connection)
            .await;
        let mut state = self.lock();
        match &outcome {
            Ok(_) => state.timeouts_in_a_row = 0,
            Err(error) => {
                if error.is_timeout() {
                    state.timeouts_in_a_row += 1;
                }
                // A half-open connection gives no error, only time-outs; nothing but a new connection helps. Whoever
                // still waits on the old one keeps it.
                let is_dead =
                    !error.is_timeout() || state.timeouts_in_a_row >= TIMEOUTS_OF_DEAD_CONNECTION;
                let is_current = state
                    .connection
                    .as_ref()
                    .is_some_and(|now| now.number == current.number);
                if is_dead && is_current {
                    state.connection = None;
                    state.timeouts_in_a_row = 0;
                }
            }
        }
        outcome
    }

    /// One command.
    pub(super) async fn ask(&self, command: Cmd) -> RedisResult<Value> {
        let mut answers = self.send(std::iter::once(command)).await?;
        answers.pop().unwrap_or(Ok(Value::Nil))
    }

    async fn connection(&self) -> RedisResult<Numbered> {
        let asked_at = Instant::now();
        if let Some(current) = &self.lock().connection {
            return Ok(current.clone());
        }
        let _attempt = self.connecting.lock().await;
        {
            let state = self.lock();
            if let Some(current) = &state.connection {
                return Ok(current.clone());
            }
            // Whoever waited for an attempt that failed needn't make another one.
            if let Some((at, error)) = &state.failed
                && *at >= asked_at
            {
                return Err(error.clone());
            }
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.connect))
            .set_response_timeout(Some(self.timeouts.response));
        let outcome = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        let mut state = self.lock();
        match outcome {
            Ok(connection) => {
                state.connections += 1;
                let number = state.connections;
                let current = Numbered { number, connection };
                state.connection = Some(current.clone());
                state.failed = None;
                Ok(current)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
