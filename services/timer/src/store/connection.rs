//! The one place that knows how Redis is reached.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, Pipeline, RedisResult, Script, ServerErrorKind, Value};

use super::error::StoreError;
use crate::config::RedisConfig;
use crate::metrics::TimerMetrics;

/// So many time-outs in a row mean that the connection is dead, though nobody has closed it.
const TIMEOUTS_OF_DEAD_CONNECTION: u32 = 8;

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

    fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(self.code);
        cmd
    }
}

/// One command of a pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Command<'a> {
    cmd: Cmd,
    /// The script that the command runs, if it does, to load it when Redis doesn't know it.
    script: Option<&'a Lua>,
}

impl<'a> Command<'a> {
    /// A plain command.
    pub(crate) fn plain(cmd: Cmd) -> Self {
        Self { cmd, script: None }
    }

    /// A call of a script. Its arguments follow by [`Self::arg`].
    pub(crate) fn script(script: &'a Lua, keys: &[&str]) -> Self {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&script.hash).arg(keys.len());
        for key in keys {
            cmd.arg(key);
        }
        Self {
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

/// A connection to Redis that many tasks share: what they send at the same time travels together. It reconnects by
/// itself, and every answer has a bound. A time-out means that the commands may have run.
#[derive(Debug)]
pub(crate) struct Connection {
    client: redis::Client,
    manager_config: ConnectionManagerConfig,
    manager: Mutex<ConnectionManager>,
    timeouts_in_a_row: AtomicU32,
    metrics: TimerMetrics,
}

impl Connection {
    /// Connects, and fails when Redis can't be reached.
    pub(crate) async fn open(
        config: &RedisConfig,
        metrics: TimerMetrics,
    ) -> Result<Self, StoreError> {
        let client = redis::Client::open(config.url.as_str())?;
        // A command that meets a broken connection fails after one attempt to mend it: its caller has a retry of its own.
        let manager_config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_connection_timeout(Some(Duration::from_millis(config.connect_timeout_ms)))
            .set_response_timeout(Some(Duration::from_millis(config.response_timeout_ms)));
        let manager =
            ConnectionManager::new_with_config(client.clone(), manager_config.clone()).await?;
        Ok(Self {
            client,
            manager_config,
            manager: Mutex::new(manager),
            timeouts_in_a_row: AtomicU32::new(0),
            metrics,
        })
    }

    /// Sends the commands in one pipeline and answers each by itself. Scripts that Redis doesn't know are loaded and
    /// their commands sent again; the others have run already and are not repeated.
    pub(crate) async fn run(
        &self,
        commands: &[Command<'_>],
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let mut answers = self
            .send(commands.iter().map(|command| &command.cmd))
            .await?;
        let unknown: Vec<_> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.as_ref().is_err_and(is_unknown_script))
            .map(|(index, _)| index)
            .collect();
        if unknown.is_empty() {
            return Ok(answers);
        }

        let mut again = Vec::with_capacity(2 * unknown.len());
        for index in &unknown {
            let command = &commands[*index];
            if let Some(script) = command.script {
                again.push(script.load());
            }
            again.push(command.cmd.clone());
        }
        let mut answers_again = self.send(again.iter()).await?.into_iter();
        for index in unknown {
            if commands[index].script.is_some() {
                answers_again.next();
            }
            if let Some(answer) = answers_again.next() {
                answers[index] = answer;
            }
        }
        Ok(answers)
    }

    /// The same, for commands that must all succeed.
    pub(crate) async fn run_all(&self, commands: &[Command<'_>]) -> Result<Vec<Value>, StoreError> {
        let answers = self.run(commands).await?;
        let values: RedisResult<Vec<_>> = answers.into_iter().collect();
        values.map_err(|error| self.count(error))
    }

    /// One command.
    pub(crate) async fn run_one(&self, command: Command<'_>) -> Result<Value, StoreError> {
        let mut values = self.run_all(&[command]).await?;
        values
            .pop()
            .ok_or(StoreError::Answer("no answer to a command"))
    }

    async fn send<'c>(
        &self,
        commands: impl ExactSizeIterator<Item = &'c Cmd>,
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        pipeline.ignore_errors();
        let mut manager = self
            .manager
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let outcome = pipeline
            .query_async::<Vec<RedisResult<Value>>>(&mut manager)
            .await;
        match outcome {
            Ok(answers) => {
                self.timeouts_in_a_row.store(0, Ordering::Relaxed);
                Ok(answers)
            }
            Err(error) => {
                if error.is_timeout() {
                    self.replace_dead_connection();
                }
                Err(self.count(error))
            }
        }
    }

    /// A half-open connection gives no error, only time-outs; nothing but a new connection helps.
    fn replace_dead_connection(&self) {
        let timeouts = self.timeouts_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if timeouts < TIMEOUTS_OF_DEAD_CONNECTION {
            return;
        }
        let config = self.manager_config.clone();
        if let Ok(fresh) = ConnectionManager::new_lazy_with_config(self.client.clone(), config) {
            tracing::warn!(timeouts, "redis gives no answers: connecting anew");
            *self.manager.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        self.timeouts_in_a_row.store(0, Ordering::Relaxed);
    }

    fn count(&self, error: redis::RedisError) -> StoreError {
        let error = StoreError::from(error);
        self.metrics.redis_error(error.kind());
        error
    }
}

fn is_unknown_script(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}
