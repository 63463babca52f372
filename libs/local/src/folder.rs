//! The folder of one server: its data, socket, log and lock.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::{LocalError, Result, file_error};

/// The longest path of a socket, in bytes; the system's structure holds it with a zero at the end.
pub const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A log that is larger when the server starts is moved aside.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How much of a log an error repeats.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 8 << 10;

const LOCK_FILE: &str = "owner.lock";

/// Where a server keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataFolder {
    /// A new folder under the system's folder for temporary files. It is removed when the server's handle is dropped,
    /// and when the owner's process ends in whatever way.
    Temporary,
    /// This folder, which stays. It is made when it is missing; one that holds other things is refused. It is the
    /// server's alone: PostgreSQL and Redis need one each.
    Persistent(PathBuf),
}

/// The folder of one server, locked for this owner.
#[derive(Debug)]
pub(crate) struct ServerFolder {
    path: PathBuf,
    socket_folder: PathBuf,
    account: Option<Account>,
    /// Folders that go when this owner no longer uses them; at most two.
    temporary: Vec<PathBuf>,
    /// Held as long as this value lives; the system frees it when the process ends.
    _lock: File,
}

impl ServerFolder {
    /// Makes or opens the folder, locks it, and sees to it that the servers' account can use it.
    ///
    /// `socket_name` is the name of the longest file that the server will put into the socket folder.
    pub(crate) fn prepare(wanted: &DataFolder, socket_name: &str) -> Result<Self> {
        let account = Account::to_change_to()?;
        let (path, temporary) = match wanted {
            DataFolder::Temporary => {
                let path = make_temporary_folder(&std::env::temp_dir())?;
                (path.clone(), vec![path])
            }
            DataFolder::Persistent(path) => (open_persistent(path, account.as_ref())?, Vec::new()),
        };
        let lock = match lock(&path) {
            Ok(lock) => lock,
            Err(error) => {
                remove_all(&temporary);
                return Err(error);
            }
        };
        let mut folder = Self {
            socket_folder: path.join("socket"),
            path,
            account,
            temporary,
            _lock: lock,
        };
        folder.choose_socket_folder(socket_name)?;
        folder.hand_over()?;
        Ok(folder)
    }

    /// The server's folder; absolute, without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the server stores.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Where the server puts its socket; only the servers' account can enter it.
    pub(crate) fn socket_folder(&self) -> &Path {
        &self.socket_folder
    }

    /// Holds the running server's process id.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path.join("server.pid")
    }

    /// The server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// The account that the servers run as, when it is not the owner's.
    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Folders to remove when the owner is gone.
    pub(crate) fn temporary(&self) -> &[PathBuf] {
        &self.temporary
    }

    /// Leaves the temporary folders to the supervisor, which removes them after the server has ended.
    pub(crate) fn leave_temporary(&mut self) {
        self.temporary.clear();
    }

    /// Opens the log to append to it, and says how long it is now.
    pub(crate) fn open_log(&self) -> Result<(File, u64)> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            fs::rename(&path, path.with_extension("log.old"))
                .map_err(file_error("rename", &path))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(file_error("open", &path))?;
        let length = file.metadata().map_err(file_error("look at", &path))?.len();
        Ok((file, length))
    }

    /// The last lines that were logged after the offset, in bytes.
    pub(crate) fn log_tail(&self, from: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.log())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&bytes))
    }

    /// A deep data folder makes a socket path that the system refuses, and clients of PostgreSQL take a comma for the
    /// end of the path; then a short folder takes the socket.
    fn choose_socket_folder(&mut self, socket_name: &str) -> Result<()> {
        let fits = |folder: &Path| {
            let path = folder.join(socket_name);
            let bytes = path.as_os_str().as_bytes();
            bytes.len() <= SOCKET_PATH_BYTES_MAX && !bytes.contains(&b',')
        };
        if fits(&self.socket_folder) {
            if !self.socket_folder.exists() {
                make_private_folder(&self.socket_folder)?;
            }
            return Ok(());
        }
        for parent in [std::env::temp_dir(), PathBuf::from("/tmp")] {
            let folder = make_temporary_folder(&parent)?;
            self.temporary.push(folder.clone());
            self.socket_folder = folder;
            if fits(&self.socket_folder) {
                return Ok(());
            }
            remove_all(&self.temporary.pop().into_iter().collect::<Vec<_>>());
        }
        Err(LocalError::SocketPath {
            path: self.socket_folder.join(socket_name),
            limit: SOCKET_PATH_BYTES_MAX,
        })
    }

    /// Gives what is there to the servers' account, and checks that it can get there.
    fn hand_over(&self) -> Result<()> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        for folder in [self.path.as_path(), self.socket_folder()] {
            account.own(folder)?;
            account.check_reach(folder)?;
        }
        if self.data().exists() {
            account.own_tree(&self.data())?;
        }
        Ok(())
    }
}

impl Drop for ServerFolder {
    fn drop(&mut self) {
        remove_all(&self.temporary);
    }
}

/// Makes a folder that only its owner can enter.
pub(crate) fn make_private_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(file_error("make the folder", path))
}

/// The last lines of a text.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Makes a private folder with a new name. Its real path is returned: servers report the path without links.
fn make_temporary_folder(parent: &Path) -> Result<PathBuf> {
    let folder = tempfile::Builder::new()
        .prefix("plazo-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(file_error("make a folder in", parent))?
        .keep();
    fs::canonicalize(&folder).map_err(file_error("look at", &folder))
}

/// Makes the folder, or checks that it is one of ours.
fn open_persistent(path: &Path, account: Option<&Account>) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(file_error("look at", path))?;
    if path.exists() {
        let mut entries = fs::read_dir(&path).map_err(file_error("list", &path))?;
        // Its owner will be changed: that must not happen to somebody's home.
        if entries.next().is_some() && !path.join(LOCK_FILE).exists() {
            return Err(LocalError::NotOurs { folder: path });
        }
    } else {
        make_parents(&path, account)?;
        make_private_folder(&path)?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
        .map_err(file_error("change the mode of", &path))?;
    fs::canonicalize(&path).map_err(file_error("look at", &path))
}

/// Makes the folders above `path`. When the servers run as another account it must be able to pass through them,
/// whatever root's umask.
fn make_parents(path: &Path, account: Option<&Account>) -> Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|folder| !folder.exists())
        .collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder)
            .or_else(|error| if folder.is_dir() { Ok(()) } else { Err(error) })
            .map_err(file_error("make the folder", folder))?;
        if account.is_some() {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
                .map_err(file_error("change the mode of", folder))?;
        }
    }
    Ok(())
}

/// Locks the folder for this owner and leaves the owner's process id in the lock file.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(file_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Only for the message; an unreadable file is no reason to hide what is wrong.
            let _ = file.read_to_string(&mut owner);
            let owner = owner.trim();
            return Err(LocalError::InUse {
                folder: folder.to_owned(),
                owner: if owner.is_empty() {
                    "unknown".to_owned()
                } else {
                    format!("process {owner}")
                },
            });
        }
        Err(TryLockError::Error(source)) => return Err(file_error("lock", &path)(source)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(file_error("write", &path))?;
    Ok(file)
}

fn remove_all(folders: &[PathBuf]) {
    for folder in folders {
        if let Err(error) = fs::remove_dir_all(folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %folder.display(), %error, "can't remove a temporary folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_keeps_the_end() {
        let lines: Vec<String> = (1..=20).map(|n| format!("line {n}")).collect();
        let tail = last_lines(&lines.join("\n"));
        assert!(
            tail.starts_with("line 9\n") && tail.ends_with("line 20"),
            "{tail}"
        );
        assert_eq!(last_lines(""), "");
    }
}
