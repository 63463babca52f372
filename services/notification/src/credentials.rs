//! Secrets of channel accounts, which are not in the database.
//!
//! An account names a credential. Its value is the file `<folder>/<tenant_id>/<name>`, read again when it has
//! changed, so that a rotated secret needs no restart; or, without such a file, an environment variable. It is one
//! value, or a JSON object of strings. Nothing here is ever logged or returned.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use plazo_service::Redacted;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use crate::config::CredentialsConfig;

/// What environment variables begin with; then tenant, two underscores, and the name in capitals.
const VARIABLE_PREFIX: &str = "PLAZO_NOTIFICATION_CREDENTIAL__";
const FILE_BYTES_MAX: u64 = 65_536;
/// More credentials than these are read from their files each time.
const CACHED_MAX: usize = 10_000;

/// A secret, or several under names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    values: BTreeMap<String, Redacted<String>>,
}

/// Why a credential can't be had. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// Neither a file nor a variable.
    #[error("there is no such credential")]
    Missing,
    /// Empty, too long, or a JSON object of something else than strings.
    #[error("the credential is neither one value nor a JSON object of strings")]
    IllFormed,
    /// The file is there and can't be read.
    #[error("the credential's file can't be read")]
    Unreadable(#[source] io::Error),
}

/// Where secrets are found.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    folder: Option<PathBuf>,
    recheck: Duration,
    variables: Arc<HashMap<String, Redacted<String>>>,
    cache: Arc<Mutex<HashMap<PathBuf, Cached>>>,
}

#[derive(Debug, Clone)]
struct Cached {
    checked_at: Instant,
    version: FileVersion,
    credential: Arc<Credential>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    modified_at: Option<SystemTime>,
    length: u64,
}

/// Whether a name can be looked for. It becomes part of a path.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl Credential {
    /// The name of a value that stands alone.
    pub(crate) const ALONE: &'static str = "";

    /// The value under a name; none when it is missing or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name)?;
        (!value.0.is_empty()).then_some(value.0.as_str())
    }

    /// The value under a name, or the one that stands alone.
    pub(crate) fn get_or_alone(&self, name: &str) -> Option<&str> {
        self.get(name).or_else(|| self.get(Self::ALONE))
    }

    fn read(text: &str) -> Result<Self, CredentialError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(CredentialError::IllFormed);
        }
        let values: BTreeMap<String, String> = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|_| CredentialError::IllFormed)?
        } else if text.contains(char::is_control) {
            return Err(CredentialError::IllFormed);
        } else {
            BTreeMap::from([(Self::ALONE.to_owned(), text.to_owned())])
        };
        let values = values
            .into_iter()
            .map(|(name, value)| (name, Redacted(value)))
            .collect();
        Ok(Self { values })
    }
}

impl Credentials {
    /// With the variables of the environment that are credentials.
    pub(crate) fn new(
        config: &CredentialsConfig,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let variables = environment
            .into_iter()
            .filter(|(variable, _)| variable.starts_with(VARIABLE_PREFIX))
            .map(|(variable, value)| (variable, Redacted(value)))
            .collect();
        Self {
            folder: config.folder.clone(),
            recheck: Duration::from_millis(config.recheck_ms),
            variables: Arc::new(variables),
            cache: Arc::default(),
        }
    }

    /// A tenant's credential. The file is looked at again when the last look is older than the configured time.
    pub(crate) async fn get(
        &self,
        tenant_id: i64,
        name: &str,
    ) -> Result<Arc<Credential>, CredentialError> {
        if !is_name(name) {
            return Err(CredentialError::Missing);
        }
        if let Some(folder) = &self.folder {
            let path = folder.join(tenant_id.to_string()).join(name);
            match self.of_file(path).await {
                Err(CredentialError::Missing) => {}
                found => return found,
            }
        }
        let variable = format!(
            "{VARIABLE_PREFIX}{tenant_id}__{}",
            name.to_uppercase().replace('-', "_")
        );
        let value = self
            .variables
            .get(&variable)
            .ok_or(CredentialError::Missing)?;
        Credential::read(&value.0).map(Arc::new)
    }

    async fn of_file(&self, path: PathBuf) -> Result<Arc<Credential>, CredentialError> {
        let known = self.cached(&path);
        if let Some(cached) = &known
            && cached.checked_at.elapsed() < self.recheck
        {
            return Ok(Arc::clone(&cached.credential));
        }
        let checked_at = Instant::now();
        let read = read_file(&path, known.as_ref()).await;
        let (version, credential) = match read {
            Ok(found) => found,
            Err(error) => {
                self.forget(&path);
                return Err(error);
            }
        };
        let cached = Cached {
            checked_at,
            version,
            credential: Arc::clone(&credential),
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() < CACHED_MAX || cache.contains_key(&path) {
            cache.insert(path, cached);
        }
        Ok(credential)
    }

    fn cached(&self, path: &PathBuf) -> Option<Cached> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(path).cloned()
    }

    fn forget(&self, path: &PathBuf) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.remove(path);
    }
}

/// The file's content, or what is known of it when it has not changed.
async fn read_file(
    path: &PathBuf,
    known: Option<&Cached>,
) -> Result<(FileVersion, Arc<Credential>), CredentialError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CredentialError::Missing,
        _ => CredentialError::Unreadable(error),
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    // Of the open file, so that the version belongs to what is read.
    let metadata = file.metadata().await.map_err(failed)?;
    let version = FileVersion {
        modified_at: metadata.modified().ok(),
        length: metadata.len(),
    };
    if let Some(known) = known
        && known.version == version
        && version.modified_at.is_some()
    {
        return Ok((version, Arc::clone(&known.credential)));
    }
    if !metadata.is_file() || version.length > FILE_BYTES_MAX {
        return Err(CredentialError::IllFormed);
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .await
        .map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| CredentialError::IllFormed)?;
    Ok((version, Arc::new(Credential::read(&text)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_folder(folder: &std::path::Path, environment: &[(&str, &str)]) -> Credentials {
        let config = CredentialsConfig {
            folder: Some(folder.to_owned()),
            recheck_ms: 0,
        };
        let environment = environment
            .iter()
            .map(|(variable, value)| ((*variable).to_owned(), (*value).to_owned()));
        Credentials::new(&config, environment)
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let tenant = folder.path().join("7");
        std::fs::create_dir(&tenant).expect("it is ours");
        let credentials = in_folder(folder.path(), &[]);
        let missing = credentials.get(7, "number-1").await;
        assert!(matches!(missing, Err(CredentialError::Missing)));

        let file = tenant.join("number-1");
        std::fs::write(&file, "first\n").expect("it is ours");
        let found = credentials.get(7, "number-1").await.expect("it is there");
        assert_eq!(found.get_or_alone("access_token"), Some("first"));

        std::fs::write(
            &file,
            r#"{"access_token": "other", "app_secret": "hidden"}"#,
        )
        .expect("it is ours");
        let found = credentials.get(7, "number-1").await.expect("it is there");
        assert_eq!(found.get_or_alone("access_token"), Some("other"));
        assert_eq!(found.get("app_secret"), Some("hidden"));
        assert_eq!(found.get("verify_token"), None);
        let shown = format!("{found:?} {credentials:?}");
        assert!(
            !shown.contains("hidden") && !shown.contains("other"),
            "{shown}"
        );

        let other_tenant = credentials.get(8, "number-1").await;
        assert!(matches!(other_tenant, Err(CredentialError::Missing)));
        std::fs::remove_file(&file).expect("it is there");
        let gone = credentials.get(7, "number-1").await;
        assert!(matches!(gone, Err(CredentialError::Missing)));
    }

    #[tokio::test]
    async fn the_environment_serves_where_no_file_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let variable = "PLAZO_NOTIFICATION_CREDENTIAL__7__NUMBER_1";
        let credentials = in_folder(folder.path(), &[(variable, "token"), ("PATH", "/bin")]);
        let found = credentials.get(7, "number-1").await.expect("it is there");
        assert_eq!(found.get_or_alone("access_token"), Some("token"));
        assert!(!format!("{credentials:?}").contains("token"));
    }

    #[tokio::test]
    async fn names_lead_nowhere_else_and_ill_formed_content_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let tenant = folder.path().join("7");
        std::fs::create_dir(&tenant).expect("it is ours");
        std::fs::write(folder.path().join("secret"), "x").expect("it is ours");
        let credentials = in_folder(folder.path(), &[]);
        for name in [
            "../secret",
            "",
            "..",
            "/etc/passwd",
            "A",
            "a_b",
            &"a".repeat(65),
        ] {
            let found = credentials.get(7, name).await;
            assert!(matches!(found, Err(CredentialError::Missing)), "{name}");
        }
        for content in ["", " \n", "{", r#"{"a": 1}"#, "two\nlines"] {
            std::fs::write(tenant.join("bad"), content).expect("it is ours");
            let found = credentials.get(7, "bad").await;
            assert!(
                matches!(found, Err(CredentialError::IllFormed)),
                "{content}"
            );
        }
    }
}
