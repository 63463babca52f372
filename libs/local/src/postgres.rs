//! A private PostgreSQL server.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;

use crate::binaries::{PostgresPrograms, find_postgres};
use crate::error::{LocalError, Result, file_error};
use crate::folder::{DataFolder, ServerFolder, last_lines};
use crate::process;
use crate::server::{Kind, LocalServer, read_pid, remove_file, settle};
use crate::url::percent_encode;

/// The superuser of every private server.
pub const POSTGRES_USER: &str = "plazo";

/// Part of the socket's file name; no TCP port is opened.
const PORT: u16 = 5432;

/// The longest file in the socket folder.
const SOCKET_NAME: &str = ".s.PGSQL.5432.lock";

/// Lines of `postmaster.pid`, from 0: the folder of the socket, and how far the server is.
const SOCKET_LINE: usize = 4;
const STATUS_LINE: usize = 7;

const KIND: Kind = Kind {
    name: "PostgreSQL",
    // Fast shutdown: ends the sessions and writes a checkpoint.
    first_signal: Signal::SIGINT,
    // Immediate shutdown: the next start recovers from the log.
    second_signal: Signal::SIGQUIT,
};

/// How to run a PostgreSQL server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// Where the data are.
    pub folder: DataFolder,
    /// Whether a commit survives a crash. False is several times as fast, and only for tests that kill no server.
    pub durable: bool,
    /// Connections at the same time, from 1; default 200.
    pub max_connections: u16,
    /// More settings as names and values, as in `postgresql.conf`; they win over the ones made here.
    pub settings: Vec<(String, String)>,
    /// How long a start may take, recovery from a crash included; default 60 s.
    pub start_timeout: Duration,
    /// How long an orderly end may take before the server is forced; default 20 s.
    pub stop_timeout: Duration,
}

impl PostgresOptions {
    /// A durable server on this folder.
    pub fn new(folder: DataFolder) -> Self {
        Self {
            folder,
            durable: true,
            max_connections: 200,
            settings: Vec::new(),
            start_timeout: Duration::from_mins(1),
            stop_timeout: Duration::from_secs(20),
        }
    }

    /// A durable server on a folder that stays.
    pub fn persistent(folder: impl Into<PathBuf>) -> Self {
        Self::new(DataFolder::Persistent(folder.into()))
    }

    /// A durable server on a temporary folder.
    pub fn temporary() -> Self {
        Self::new(DataFolder::Temporary)
    }

    /// The same, with another [`durable`](Self::durable).
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// The same, with another [`max_connections`](Self::max_connections).
    #[must_use]
    pub fn max_connections(mut self, max_connections: u16) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// The same, with one more of [`settings`](Self::settings).
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A PostgreSQL server that this process owns, reachable on a Unix socket that only its own account (and root) can
/// open. It ends when this handle is dropped or the owner's process ends; [`stop`](Self::stop) ends it in order and
/// waits for that.
#[derive(Debug)]
pub struct PostgresServer {
    server: LocalServer,
    options: PostgresOptions,
    programs: PostgresPrograms,
}

impl PostgresServer {
    /// Starts a server, with a new cluster of databases if the folder holds none, and waits until it takes
    /// connections.
    pub async fn start(options: PostgresOptions) -> Result<Self> {
        let folder = ServerFolder::prepare(&options.folder, SOCKET_NAME)?;
        let server = LocalServer::new(KIND, folder, options.stop_timeout).await?;
        let data = server.folder().data();
        let data_major = read_data_major(&data)?;
        let programs = find_postgres(&data, data_major)?;
        let mut postgres = Self {
            server,
            options,
            programs,
        };
        if data_major.is_none() {
            postgres.make_cluster().await?;
        }
        postgres.launch().await?;
        Ok(postgres)
    }

    /// The URL of a database, for sqlx and libpq. The database need not exist.
    pub fn database_url(&self, name: &str) -> String {
        database_url(self.socket_folder(), name)
    }

    /// The URL of a database on the server that runs on this folder, whoever owns it; none when no server runs there.
    pub fn running_url(folder: &Path, name: &str) -> Option<String> {
        let pid_path = folder.join("data").join("postmaster.pid");
        let pid = read_pid(&pid_path).filter(|pid| process::may_be_postgres(*pid))?;
        if !is_ready(&pid_path, pid) {
            return None;
        }
        let text = fs::read_to_string(&pid_path).ok()?;
        let socket = text.lines().nth(SOCKET_LINE)?.trim();
        Some(database_url(Path::new(socket), name))
    }

    /// Makes an empty database unless there is one with this name. A name is 1 to 63 of `a-z`, `0-9` and `_`, and
    /// doesn't begin with a digit.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.sql(
            "postgres",
            &format!(
                "SELECT 'CREATE DATABASE {name}' WHERE NOT EXISTS \
                 (SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n"
            ),
        )
        .await?;
        Ok(())
    }

    /// Makes a database as a copy of another one that has no connections: one with all migrations, say.
    pub async fn copy_database(&self, name: &str, template: &str) -> Result<()> {
        check_name(name)?;
        check_name(template)?;
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE {template};\n"),
        )
        .await?;
        Ok(())
    }

    /// Removes a database with all that is in it, and ends its connections. No error when there is none.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.sql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE);\n"),
        )
        .await?;
        Ok(())
    }

    /// Runs a script of psql in a database, stops at its first error, and returns the rows, unaligned with `|`
    /// between the columns. For setting up and looking on; programs connect to [`database_url`](Self::database_url).
    pub async fn sql(&self, database: &str, script: &str) -> Result<String> {
        self.server.pid()?;
        let mut command = Command::new(&self.programs.psql);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        command.arg("-d").arg(self.database_url(database));
        let output = self.run(command, script).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(LocalError::Command {
            program: self.programs.psql.clone(),
            output: last_lines(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// Ends the server in order; its clients are disconnected. The data stay for [`restart`](Self::restart).
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop().await
    }

    /// Ends the server as `pg_ctl stop -m immediate` does: its sessions break off where they are, and the next start
    /// recovers from the log. What was committed is there then if the server is durable.
    pub async fn stop_immediately(&mut self) -> Result<()> {
        self.server.stop_at_once().await
    }

    /// Ends the server and its sessions at once with SIGKILL. What was committed is there after a restart if the
    /// server is durable.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.kill().await
    }

    /// Starts the server again on the same data and the same socket; stops it first when it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.stop().await?;
        self.launch().await
    }

    /// Freezes the server and its sessions (SIGSTOP).
    pub fn pause(&self) -> Result<()> {
        self.server.pause()
    }

    /// Lets a frozen server go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.server.resume()
    }

    /// Waits until the server has ended by itself. Returns at once when it isn't running.
    pub async fn ended(&mut self) {
        self.server.ended().await;
    }

    /// The process id of the server; an error while it isn't running.
    pub fn pid(&self) -> Result<i32> {
        self.server.pid().map(Pid::as_raw)
    }

    /// The folder with the socket.
    pub fn socket_folder(&self) -> &Path {
        self.server.folder().socket_folder()
    }

    /// The cluster's data folder.
    pub fn data_folder(&self) -> PathBuf {
        self.server.folder().data()
    }

    /// The server's log.
    pub fn log_path(&self) -> PathBuf {
        self.server.folder().log()
    }

    /// Makes a cluster beside its final place, so that a half-made one is never taken for data.
    async fn make_cluster(&self) -> Result<()> {
        let data = self.data_folder();
        let new = data.with_extension("new");
        // C.UTF-8 sorts like C and knows the letters of all languages. Not every system has it.
        let mut output = self.initdb(&new, "C.UTF-8").await?;
        if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("locale") {
            output = self.initdb(&new, "C").await?;
        }
        if !output.status.success() {
            return Err(LocalError::Command {
                program: self.programs.initdb.clone(),
                output: last_lines(&String::from_utf8_lossy(&output.stderr)),
            });
        }
        fs::rename(&new, &data).map_err(file_error("rename", &new))
    }

    async fn initdb(&self, data: &Path, locale: &str) -> Result<Output> {
        if data.exists() {
            fs::remove_dir_all(data).map_err(file_error("remove", data))?;
        }
        let mut command = Command::new(&self.programs.initdb);
        command
            .arg("-D")
            .arg(data)
            .args(["-U", POSTGRES_USER, "-E", "UTF8"]);
        command.arg(format!("--locale={locale}"));
        // Whoever may enter the socket's folder is trusted; nobody comes in over TCP.
        command.args(["--auth-local=trust", "--auth-host=reject"]);
        if !self.options.durable {
            command.arg("--no-sync");
        }
        self.run(command, "").await
    }

    /// Runs a program to its end with this text as its input.
    async fn run(&self, mut command: Command, input: &str) -> Result<Output> {
        settle(&mut command, self.server.folder());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let program = PathBuf::from(command.get_program());
        let spawn_error = |source| LocalError::Spawn {
            program: program.clone(),
            source,
        };
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(spawn_error)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends before it has read everything says why in its output.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await.map_err(spawn_error)
    }

    async fn launch(&mut self) -> Result<()> {
        let pid_path = self.data_folder().join("postmaster.pid");
        // PostgreSQL ignores the file of a dead server, but not when another process has got the same id since: usual
        // in a container, where a restart deals out the same ids.
        if read_pid(&pid_path).is_some_and(|pid| !process::may_be_postgres(pid)) {
            remove_file(&pid_path)?;
        }
        let arguments = self.arguments();
        self.server
            .launch(&self.programs.postgres, &arguments)
            .await?;
        let ready = async |pid: Pid| is_ready(&pid_path, pid);
        self.server
            .wait_ready(self.options.start_timeout, ready)
            .await
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec!["-D".into(), self.data_folder().into_os_string()];
        let mut set = |name: &str, value: &str| {
            arguments.push("-c".into());
            arguments.push(format!("{name}={value}").into());
        };
        set("listen_addresses", "");
        set("port", &PORT.to_string());
        // The value is a list: quotes keep a comma in the path from ending it.
        let socket_folder = self.socket_folder().to_string_lossy().replace('"', "\"\"");
        set("unix_socket_directories", &format!("\"{socket_folder}\""));
        set("unix_socket_permissions", "0700");
        set("max_connections", &self.options.max_connections.to_string());
        set("timezone", "UTC");
        set("log_timezone", "UTC");
        set("logging_collector", "off");
        if !self.options.durable {
            for name in ["fsync", "synchronous_commit", "full_page_writes"] {
                set(name, "off");
            }
        }
        for (name, value) in &self.options.settings {
            set(name, value);
        }
        arguments
    }
}

/// The URL of a database on the server whose socket lies in this folder.
fn database_url(socket_folder: &Path, name: &str) -> String {
    let socket = percent_encode(socket_folder);
    // Without the port here sqlx takes it from PGPORT. Nothing is gained by TLS inside one machine.
    format!("postgres://{POSTGRES_USER}@localhost:{PORT}/{name}?host={socket}&sslmode=disable")
}

/// Whether the server with this process id says in its lock file that it takes connections.
fn is_ready(pid_path: &Path, pid: Pid) -> bool {
    let text = fs::read_to_string(pid_path).unwrap_or_default();
    let status = text.lines().nth(STATUS_LINE).map(str::trim);
    status == Some("ready") && read_pid(pid_path) == Some(pid)
}

/// The major version that wrote the data; none when there are no data.
fn read_data_major(data: &Path) -> Result<Option<u32>> {
    let path = data.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error("read", &path)(error)),
    }
}

/// Names that need no quotes in SQL, URLs and shells.
fn check_name(name: &str) -> Result<()> {
    let good = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !name.as_bytes()[0].is_ascii_digit();
    if good {
        return Ok(());
    }
    Err(LocalError::InvalidName {
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_quotes_are_refused() {
        let longest = "x".repeat(63);
        for name in ["ticketing", "_t1", &longest] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let too_long = "x".repeat(64);
        for name in ["", "1a", "a-b", "A", "a b", "a'; DROP", "ä", &too_long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
