//! The issuer of tokens for a cluster on one machine: a key pair in the data folder, which the services of that cluster
//! trust and nobody else does.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use plazo_service::access::{IssuerConfig, TokenAlgorithm};
use plazo_service::{ActorKind, BotScope, Permission};
use serde_json::json;
use url::Url;

/// The claim `iss` of its tokens.
pub const ISSUER: &str = "https://plazo.localhost/dev";
/// The claim `aud` of its tokens.
pub const AUDIENCE: &str = "plazo";

const FOLDER: &str = "issuer";
const KEY_FILE: &str = "key.der";
const KEY_SET_FILE: &str = "keys.json";
/// The machine's own clock makes the tokens and checks them.
const LEEWAY_S: u64 = 5;

/// Makes tokens for the cluster whose data are in one folder.
#[derive(Debug)]
pub struct DevelopmentIssuer {
    folder: PathBuf,
    key: EncodingKey,
    key_id: String,
}

/// What a token says.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The tenant, above zero.
    pub tenant_id: i64,
    /// Not a service: a token never makes one.
    pub kind: ActorKind,
    /// What the actor may do.
    pub permissions: Vec<Permission>,
    /// For which bots; none leaves it to the services: no bot, and all for administrators.
    pub bots: Option<BotScope>,
    /// How long it is valid.
    pub ttl: Duration,
}

/// Why there is no issuer, or no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// No cluster has been started with this folder.
    #[error(
        "there is no issuer of tokens in {folder}: start a cluster once with 'plazo up --data {folder}', or name its folder with --data"
    )]
    NotMade {
        /// The data folder.
        folder: String,
    },
    /// A file can't be read or written.
    #[error("can't {action} {path}")]
    File {
        /// As in `read`.
        action: &'static str,
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The key is none.
    #[error("{path} is damaged: remove it, and start the cluster again to make another")]
    Key {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
    /// No key could be made.
    #[error("can't make a key")]
    Generate,
    /// The token could not be signed.
    #[error("can't sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

impl DevelopmentIssuer {
    /// Opens the issuer of a data folder, and makes one first where there is none.
    pub fn open_or_make(data: &Path) -> Result<Self, IssuerError> {
        // Where both servers are given, nothing else makes it.
        fs::create_dir_all(data).map_err(file_error("make", data))?;
        let folder = data.join(FOLDER);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(file_error("make", &folder)(error));
            }
            _ => {}
        }
        let path = folder.join(KEY_FILE);
        if !path.exists() {
            let pair = EcdsaKeyPair::generate_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &SystemRandom::new(),
            );
            let pair = pair.map_err(|_| IssuerError::Generate)?;
            write(&path, pair.as_ref())?;
        }
        let issuer = Self::open(data)?;
        // Made from the key each time, so that the two never differ.
        let set = issuer.key_set()?;
        write(&folder.join(KEY_SET_FILE), &set)?;
        Ok(issuer)
    }

    /// Opens the issuer of a data folder.
    pub fn open(data: &Path) -> Result<Self, IssuerError> {
        let folder = data.canonicalize().unwrap_or_else(|_| data.to_owned());
        let folder = folder.join(FOLDER);
        let path = folder.join(KEY_FILE);
        let bytes = fs::read(&path).map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                let folder = data.display().to_string();
                IssuerError::NotMade { folder }
            } else {
                file_error("read", &path)(error)
            }
        })?;
        let key = EncodingKey::from_ec_der(&bytes);
        let key_id = Jwk::from_encoding_key(&key, Algorithm::ES256)
            .and_then(|jwk| jwk.thumbprint(ThumbprintHash::SHA256))
            .map_err(damaged(&path))?;
        Ok(Self {
            folder,
            key,
            key_id,
        })
    }

    /// What makes a service trust it.
    pub fn config(&self) -> IssuerConfig {
        let path = self.folder.join(KEY_SET_FILE);
        // Only a relative path is no URL; it is then refused by its key.
        let keys = Url::from_file_path(&path)
            .map_or_else(|()| path.display().to_string(), |url| url.to_string());
        IssuerConfig {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithms: vec![TokenAlgorithm::Es256],
            keys,
            leeway_s: LEEWAY_S,
        }
    }

    /// A token that is valid from now on.
    pub fn token(&self, request: &TokenRequest, now: Timestamp) -> Result<String, IssuerError> {
        let now = now.as_second();
        let ttl = i64::try_from(request.ttl.as_secs()).unwrap_or(i64::MAX);
        let permissions: Vec<_> = request.permissions.iter().map(|it| it.name()).collect();
        let mut claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": request.kind.to_string(),
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(ttl),
            "plazo_tenant": request.tenant_id,
            "plazo_actor": request.kind.to_string(),
            "plazo_permissions": permissions,
        });
        match &request.bots {
            Some(BotScope::All) => claims["plazo_bots"] = "*".into(),
            Some(BotScope::Only(ids)) => claims["plazo_bots"] = ids.clone().into(),
            None => {}
        }
        let header = Header {
            kid: Some(self.key_id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(IssuerError::Sign)
    }

    fn key_set(&self) -> Result<Vec<u8>, IssuerError> {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256)
            .map_err(damaged(&self.folder.join(KEY_FILE)))?;
        jwk.common.key_id = Some(self.key_id.clone());
        let set = JwkSet { keys: vec![jwk] };
        serde_json::to_vec_pretty(&set).map_err(|error| IssuerError::Sign(error.into()))
    }
}

/// Writes a file that nobody else may read, all of it or nothing.
fn write(path: &Path, bytes: &[u8]) -> Result<(), IssuerError> {
    let whole = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&whole)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&whole, path));
    written.map_err(file_error("write", path))
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> IssuerError {
    let path = path.display().to_string();
    move |source| IssuerError::File {
        action,
        path,
        source,
    }
}

fn damaged(path: &Path) -> impl FnOnce(jsonwebtoken::errors::Error) -> IssuerError {
    let path = path.display().to_string();
    move |source| IssuerError::Key { path, source }
}
