//! What can go wrong with a private server.

use std::path::PathBuf;

/// Why a private server could not be found, started, used or ended. Each message is for the person at the
/// terminal: it says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// No usable server program on this machine.
    #[error("{server} was not found: {install}, or set {variable} to the place where it is")]
    Missing {
        /// Which server, with the oldest version that will do.
        server: &'static str,
        /// The command that installs it here.
        install: &'static str,
        /// The environment variable that names another place.
        variable: &'static str,
    },

    /// An environment variable names a place that doesn't hold the server program.
    #[error("{variable} is {path:?}, where {expected} was not found: correct it or remove it")]
    BadOverride {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },

    /// The process runs as root, and there is no account for the servers to change to.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither an account `postgres` nor `nobody` to run it: \
         add one with `useradd --system postgres`"
    )]
    NoAccount,

    /// The process runs as root, and the servers' account can't enter a folder above the data.
    #[error(
        "PostgreSQL runs as the account `{account}`, which can't enter {blocked:?} on the way to {folder:?}: choose \
         a folder that it can reach, or allow it with `chmod o+x {}`",
        blocked.display()
    )]
    Unreachable {
        /// The folder for the data or the socket.
        folder: PathBuf,
        /// The first folder on the way that can't be entered.
        blocked: PathBuf,
        /// The account that the servers run as.
        account: String,
    },

    /// Another live process owns the folder's server.
    #[error(
        "{folder:?} is in use by another running process ({owner}): stop it or choose another folder"
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The other owner's process id, or `unknown`.
        owner: String,
    },

    /// The folder holds other things.
    #[error("{folder:?} isn't empty and was not made by Plazo: choose an empty or a new folder")]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },

    /// The data were written by another major version of PostgreSQL.
    #[error(
        "the data in {folder:?} need PostgreSQL {wanted}, and only {found} was found: install version {wanted}, or \
         choose another folder"
    )]
    DataVersion {
        /// The folder with the data.
        folder: PathBuf,
        /// Major version that wrote the data.
        wanted: u32,
        /// Major version that is installed.
        found: u32,
    },

    /// No folder gives a socket path that is short enough for the system.
    #[error(
        "the socket path {path:?} is longer than the {limit} bytes that the system allows, or holds a comma: set \
         TMPDIR to a short, plain path"
    )]
    SocketPath {
        /// The shortest path that was tried.
        path: PathBuf,
        /// The system's limit, in bytes.
        limit: usize,
    },

    /// A file or folder could not be read, made or changed.
    #[error("can't {action} {path:?}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// A program could not be started.
    #[error("can't run {program:?}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// A program ran and failed.
    #[error("{program:?} failed: {output}")]
    Command {
        /// The program.
        program: PathBuf,
        /// The end of what it printed.
        output: String,
    },

    /// The server ended, or never answered, while it was being started.
    #[error("{server} did not start: {reason}; the end of its log {log:?}:\n{tail}")]
    Start {
        /// Which server.
        server: &'static str,
        /// What was seen.
        reason: String,
        /// The log file.
        log: PathBuf,
        /// Its last lines since this start.
        tail: String,
    },

    /// The server is still there after every signal.
    #[error("{server} (process {pid}) did not end after SIGKILL")]
    StillRunning {
        /// Which server.
        server: &'static str,
        /// Its process id.
        pid: i32,
    },

    /// The server must run for what was asked, and doesn't.
    #[error("{server} is not running")]
    NotRunning {
        /// Which server.
        server: &'static str,
    },

    /// A database's name that would need quoting.
    #[error(
        "{name:?} can't be a database's name: use 1 to 63 of a-z, 0-9 and _, not beginning with a digit"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
}

/// The result of what this crate does.
pub type Result<T, E = LocalError> = std::result::Result<T, E>;

/// Turns an I/O error into one that names the file, for use with `map_err`.
pub(crate) fn file_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> LocalError + use<> {
    let path = path.to_owned();
    move |source| LocalError::File {
        action,
        path,
        source,
    }
}
