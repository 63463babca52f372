//! The account that the servers run as.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use crate::error::{LocalError, Result, file_error};

/// Accounts to change to when the owner is root, the best first.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// Prints the first of its arguments that can't be entered.
const FIND_BLOCKED: &str =
    r#"for folder; do [ -x "$folder" ] || { printf %s "$folder"; exit 1; }; done"#;

/// An account other than the owner's. Exists only when the owner is root, as which PostgreSQL refuses to run.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account to change to; none when the owner is an ordinary user, who runs the servers as himself.
    pub(crate) fn to_change_to() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let known = CANDIDATES
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten());
        let user = known.ok_or(LocalError::NoAccount)?;
        Ok(Some(Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }))
    }

    /// Makes the command run as this account. The standard library also drops root's supplementary groups.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives the file or folder to this account.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        lchown(path, Some(self.uid), Some(self.gid))
            .map_err(file_error("change the owner of", path))
    }

    /// Gives the folder and all in it to this account, unless the folder is its already.
    pub(crate) fn own_tree(&self, path: &Path) -> Result<()> {
        let metadata = fs::symlink_metadata(path).map_err(file_error("look at", path))?;
        if metadata.uid() == self.uid {
            return Ok(());
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(path).map_err(file_error("list", path))? {
                self.own_tree(&entry.map_err(file_error("list", path))?.path())?;
            }
        }
        // Last, so that an interrupted change is taken up again.
        self.own(path)
    }

    /// Checks that this account can enter the folder and every folder above it.
    pub(crate) fn check_reach(&self, folder: &Path) -> Result<()> {
        let mut ancestors: Vec<&Path> = folder.ancestors().collect();
        ancestors.reverse();
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(FIND_BLOCKED)
            .arg("sh")
            .args(&ancestors);
        command.current_dir("/").stdin(Stdio::null());
        self.apply(&mut command);
        let output = command.output().map_err(|source| LocalError::Spawn {
            program: "/bin/sh".into(),
            source,
        })?;
        if output.status.success() {
            return Ok(());
        }
        Err(LocalError::Unreachable {
            folder: folder.to_owned(),
            blocked: String::from_utf8_lossy(&output.stdout).into_owned().into(),
            account: self.name.clone(),
        })
    }
}
