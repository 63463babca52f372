//! Finding the server programs on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{LocalError, Result};

/// Names the folder with `postgres`, `initdb` and `psql`.
const POSTGRES_VARIABLE: &str = "PLAZO_PG_BIN";

/// Names the Redis server's program, or the folder that it is in.
const REDIS_VARIABLE: &str = "PLAZO_REDIS_BIN";

/// The oldest PostgreSQL with 64-bit transaction ids in SQL (`pg_current_snapshot`).
const POSTGRES_MAJOR_MIN: u32 = 13;

/// Names of the Redis server's program, the preferred first.
const REDIS_NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// The PostgreSQL programs of one version.
#[derive(Debug, Clone)]
pub(crate) struct PostgresPrograms {
    pub(crate) major: u32,
    pub(crate) postgres: PathBuf,
    pub(crate) initdb: PathBuf,
    pub(crate) psql: PathBuf,
}

/// Finds PostgreSQL: in `PLAZO_PG_BIN` alone if that is set, else on the PATH, else the newest where packages put it.
/// For data that exist, `data_major` is the version that wrote them, and no other will do.
pub(crate) fn find_postgres(data: &Path, data_major: Option<u32>) -> Result<PostgresPrograms> {
    let found = match env::var_os(POSTGRES_VARIABLE) {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            let programs = postgres_in(&folder).ok_or(LocalError::BadOverride {
                variable: POSTGRES_VARIABLE,
                path: folder,
                expected: "`postgres`, `initdb` and `psql` of version 13 or newer",
            })?;
            vec![programs]
        }
        None => postgres_folders()
            .iter()
            .filter_map(|folder| postgres_in(folder))
            .collect(),
    };
    choose_postgres(found, data, data_major)
}

fn choose_postgres(
    found: Vec<PostgresPrograms>,
    data: &Path,
    data_major: Option<u32>,
) -> Result<PostgresPrograms> {
    let Some(best_major) = found.first().map(|programs| programs.major) else {
        return Err(LocalError::Missing {
            server: "PostgreSQL (13 or newer)",
            install: install_command(
                "install it with `apt-get install postgresql`",
                "install it with `dnf install postgresql-server`",
                "install it with `brew install postgresql@17`",
                "install PostgreSQL's server package",
            ),
            variable: POSTGRES_VARIABLE,
        });
    };
    let wanted = data_major.unwrap_or(best_major);
    found
        .into_iter()
        .find(|programs| programs.major == wanted)
        .ok_or(LocalError::DataVersion {
            folder: data.to_owned(),
            wanted,
            found: best_major,
        })
}

/// Finds the Redis server's program: what `PLAZO_REDIS_BIN` names if that is set, else on the PATH and where packages
/// put it.
pub(crate) fn find_redis() -> Result<PathBuf> {
    if let Some(place) = env::var_os(REDIS_VARIABLE) {
        let place = PathBuf::from(place);
        let found = if place.is_dir() {
            redis_in(&place)
        } else {
            Some(place.clone()).filter(|path| is_program(path))
        };
        return found.ok_or(LocalError::BadOverride {
            variable: REDIS_VARIABLE,
            path: place,
            expected: "`redis-server` or `valkey-server`",
        });
    }
    let others = [
        "/usr/bin",
        "/usr/sbin",
        "/usr/local/bin",
        "/opt/homebrew/bin",
    ]
    .map(PathBuf::from);
    path_folders()
        .chain(others)
        .find_map(|folder| redis_in(&folder))
        .ok_or(LocalError::Missing {
            server: "Redis (or Valkey)",
            install: install_command(
                "install it with `apt-get install redis-server`",
                "install it with `dnf install redis` or `dnf install valkey`",
                "install it with `brew install redis`",
                "install the package of the Redis server",
            ),
            variable: REDIS_VARIABLE,
        })
}

fn redis_in(folder: &Path) -> Option<PathBuf> {
    REDIS_NAMES
        .iter()
        .map(|name| folder.join(name))
        .find(|path| is_program(path))
}

fn postgres_in(folder: &Path) -> Option<PostgresPrograms> {
    // A link on the PATH leads to the folder where the version's programs are together.
    let real = fs::canonicalize(folder.join("postgres")).ok()?;
    let folder = real
        .parent()
        .filter(|real| is_program(&real.join("initdb")))
        .unwrap_or(folder);
    let [postgres, initdb, psql] = ["postgres", "initdb", "psql"].map(|name| folder.join(name));
    if !is_program(&postgres) || !is_program(&initdb) {
        return None;
    }
    // Some distributions put the client elsewhere; any version of it will do.
    let psql = if is_program(&psql) {
        psql
    } else {
        path_folders()
            .map(|folder| folder.join("psql"))
            .find(|path| is_program(path))?
    };
    let output = Command::new(&postgres)
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let major = major_version(&String::from_utf8_lossy(&output.stdout))?;
    (major >= POSTGRES_MAJOR_MIN).then_some(PostgresPrograms {
        major,
        postgres,
        initdb,
        psql,
    })
}

/// Folders that may hold PostgreSQL, the preferred first.
fn postgres_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = path_folders().collect();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
        ("/usr", "pgsql-"),
    ] {
        let names = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix))
            .collect();
        folders.extend(
            newest_first(names)
                .iter()
                .map(|name| Path::new(parent).join(name).join("bin")),
        );
    }
    folders.push("/usr/local/pgsql/bin".into());
    folders
}

/// Sorts names by the number that they end with, the greatest first; names without one come last.
fn newest_first(mut names: Vec<String>) -> Vec<String> {
    let number = |name: &String| {
        let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        name[digits..].parse::<u32>().unwrap_or(0)
    };
    names.sort_by_key(|name| std::cmp::Reverse(number(name)));
    names
}

/// The major version in what `postgres --version` prints: `postgres (PostgreSQL) 15.4 (Debian 15.4-1)`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn install_command(
    apt: &'static str,
    dnf: &'static str,
    brew: &'static str,
    other: &'static str,
) -> &'static str {
    [("apt-get", apt), ("dnf", dnf), ("brew", brew)]
        .into_iter()
        .find(|(tool, _)| path_folders().any(|folder| is_program(&folder.join(tool))))
        .map_or(other, |(_, text)| text)
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path)
        .filter(|folder| folder.as_os_str() != OsStr::new(""))
        .collect();
    folders.into_iter()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(major: u32) -> PostgresPrograms {
        PostgresPrograms {
            major,
            postgres: "postgres".into(),
            initdb: "initdb".into(),
            psql: "psql".into(),
        }
    }

    #[test]
    fn major_version_is_read_from_every_style() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.4 (Debian 15.4-1.pgdg120+1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 9.6.24\n", Some(9)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("something else", None),
        ] {
            assert_eq!(major_version(text), major, "{text}");
        }
    }

    #[test]
    fn newest_folder_comes_first() {
        let names = [
            "postgresql",
            "postgresql@9",
            "postgresql@17",
            "postgresql@16",
        ];
        assert_eq!(
            newest_first(names.map(str::to_owned).to_vec()),
            [
                "postgresql@17",
                "postgresql@16",
                "postgresql@9",
                "postgresql"
            ]
        );
    }

    #[test]
    fn data_that_exist_get_their_own_version() {
        let data = Path::new("/data");
        let both = || vec![programs(17), programs(15)];
        let major = |wanted| choose_postgres(both(), data, wanted).map(|programs| programs.major);
        assert_eq!(major(None).expect("found"), 17);
        assert_eq!(major(Some(15)).expect("found"), 15);
        assert!(matches!(
            major(Some(14)),
            Err(LocalError::DataVersion {
                wanted: 14,
                found: 17,
                ..
            })
        ));
    }

    #[test]
    fn missing_server_is_reported_in_one_line() {
        let error =
            choose_postgres(Vec::new(), Path::new("/data"), None).expect_err("nothing was found");
        let text = error.to_string();
        assert!(
            text.contains("install") && text.contains(POSTGRES_VARIABLE),
            "{text}"
        );
        assert!(!text.contains('\n'), "{text}");
    }
}
