//! How a load calls a cluster, and how the cluster calls its handler: over TLS or not, and with which tokens.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use plazo_service::access::PeerConfig;
use plazo_service::{AccessConfig, Actor, ClientConfig, ServiceChannel, Tls, TlsConfig};
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;

use super::LoadError;
use super::options::LoadOptions;
use crate::issuer::DevelopmentIssuer;

/// How often the file of tokens is read again.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// A file of tokens is no larger; each has a kilobyte or so.
const TOKENS_BYTES_MAX: u64 = 64 << 20;
/// What a timer may call of the load.
const HANDLER_METHODS: &str = "/plazo.timer.v1.TicketHandlerService/*";

/// What lets a load into a given cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The load's certificate and whom it believes; none for plain text.
    pub tls: Option<TlsConfig>,
    /// A URI that must be in the certificate of the service that is called, and of a timer that calls the handler. If
    /// absent, the host of its address must be.
    pub server_identity: Option<String>,
    /// A file with a token of an administrator in each line, the first one for the first tenant.
    pub token_file: Option<PathBuf>,
}

/// Why a file of tokens is of no use.
#[derive(Debug, thiserror::Error)]
#[error("--token-file {}: {problem}", .path.display())]
pub struct TokenFileError {
    path: PathBuf,
    problem: String,
}

/// Calls a cluster.
#[derive(Debug)]
pub(super) struct Caller {
    tls: Tls,
    server_identity: Option<String>,
    tokens: Option<Tokens>,
}

/// Who comes in at the load's own handler.
#[derive(Debug, Default)]
pub(super) struct Entrance {
    pub(super) tls: Tls,
    pub(super) access: AccessConfig,
    /// Lives as long as the server.
    _nobodys_key: Option<TempDir>,
}

impl Caller {
    /// Reads the files of a load.
    pub(super) fn load(options: &LoadOptions) -> Result<Self, LoadError> {
        let credentials = &options.credentials;
        let tokens = credentials.token_file.as_deref().map(Tokens::read);
        let tokens = tokens.transpose()?;
        if let Some(tokens) = &tokens
            && tokens.count() < usize::from(options.tenants)
        {
            let problem = format!(
                "there are {} tokens, too few for --tenants {}",
                tokens.count(),
                options.tenants
            );
            return Err(tokens.refuse(problem).into());
        }
        Ok(Self {
            tls: Tls::load(credentials.tls.as_ref()).map_err(LoadError::Certificate)?,
            server_identity: credentials.server_identity.clone(),
            tokens,
        })
    }

    /// A channel to the service at `config.endpoint`. Without a token, and without a certificate that the service knows, its
    /// calls are those of a service.
    pub(super) fn connect(&self, config: ClientConfig) -> Result<ServiceChannel, LoadError> {
        let config = ClientConfig {
            server_identity: self.server_identity.clone(),
            // Many replicas stand behind the name of a service with certificates.
            balance: self.tls.is_on(),
            ..config
        };
        config
            .validate("")
            .and_then(|()| self.tls.connect_lazy(&config, Actor::service("load")))
            .map_err(|_| LoadError::Endpoint(config.endpoint))
    }

    /// A call in the name of somebody of a tenant: of the tenant's token, or, without tokens, of `actor`.
    pub(super) fn sign<T>(&self, tenant: usize, actor: &Actor, message: T) -> Request<T> {
        let mut request = Request::new(message);
        match &self.tokens {
            None => actor.sign(request),
            Some(tokens) => {
                if let Some(token) = tokens.of(tenant) {
                    request.metadata_mut().insert("authorization", token);
                }
                request
            }
        }
    }

    /// Who may call the load's handler: whoever reaches it on this machine, or, over TLS, the timer alone.
    pub(super) fn entrance(&self) -> Result<Entrance, LoadError> {
        let (true, Some(timer)) = (self.tls.is_on(), &self.server_identity) else {
            return Ok(Entrance::default());
        };
        // A server that others can reach insists on an issuer of tokens, though none makes a service, and services alone may
        // call here. Of this one nobody has the key.
        let folder = TempDir::new().map_err(|error| LoadError::Entrance(error.into()))?;
        let nobody = DevelopmentIssuer::open_or_make(folder.path())
            .map_err(|error| LoadError::Entrance(error.into()))?;
        let peer = PeerConfig {
            identity: timer.clone(),
            service: "timer".to_owned(),
            methods: vec![HANDLER_METHODS.to_owned()],
        };
        Ok(Entrance {
            tls: self.tls.clone(),
            access: AccessConfig {
                believe_metadata: Some(false),
                issuers: vec![nobody.config()],
                peers: vec![peer],
                ..AccessConfig::default()
            },
            _nobodys_key: Some(folder),
        })
    }

    /// Reads certificates and tokens again, for ever: both end.
    pub(super) async fn keep(&self) {
        let tokens = async {
            loop {
                sleep(LOOK_PERIOD).await;
                if let Some(tokens) = &self.tokens {
                    tokens.read_again();
                }
            }
        };
        tokio::join!(self.tls.reload_until(CancellationToken::new()), tokens);
    }
}

/// How many tokens there are in a file.
pub fn count_tokens(path: &Path) -> Result<usize, TokenFileError> {
    Tokens::read(path).map(|tokens| tokens.count())
}

/// The tokens of a file.
#[derive(Debug)]
struct Tokens {
    path: PathBuf,
    /// The headers, which don't show themselves.
    headers: RwLock<Arc<[AsciiMetadataValue]>>,
}

impl Tokens {
    fn read(path: &Path) -> Result<Self, TokenFileError> {
        let headers = headers(path).map_err(|problem| TokenFileError {
            path: path.to_owned(),
            problem,
        })?;
        Ok(Self {
            path: path.to_owned(),
            headers: RwLock::new(headers),
        })
    }

    /// Takes what the file has by now. What is of no use, as half a file, is passed over.
    fn read_again(&self) {
        if let Ok(read) = headers(&self.path) {
            let mut headers = self.headers.write().unwrap_or_else(PoisonError::into_inner);
            if read.len() >= headers.len() {
                *headers = read;
            }
        }
    }

    fn count(&self) -> usize {
        self.current().len()
    }

    fn of(&self, tenant: usize) -> Option<AsciiMetadataValue> {
        self.current().get(tenant).cloned()
    }

    fn current(&self) -> Arc<[AsciiMetadataValue]> {
        Arc::clone(&self.headers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn refuse(&self, problem: String) -> TokenFileError {
        TokenFileError {
            path: self.path.clone(),
            problem,
        }
    }
}

/// The header of each line's token.
fn headers(path: &Path) -> Result<Arc<[AsciiMetadataValue]>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if length.len() > TOKENS_BYTES_MAX {
        return Err(format!("it is longer than {TOKENS_BYTES_MAX} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let headers: Arc<[AsciiMetadataValue]> = lines
        .map(|(number, line)| {
            let header = format!("Bearer {}", line.trim());
            let header: Result<AsciiMetadataValue, _> = header.parse();
            header
                .map(|mut header| {
                    header.set_sensitive(true);
                    header
                })
                .map_err(|_| format!("line {number} is no token"))
        })
        .collect::<Result<_, _>>()?;
    if headers.is_empty() {
        return Err("it has no token".to_owned());
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_lines_that_are_read_again_and_not_shown() {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("tokens");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        let of = |tokens: &Tokens, tenant| {
            let token = tokens.of(tenant);
            token.map(|token| token.to_str().expect("text").to_owned())
        };
        for (text, part) in [
            ("", "no token"),
            ("\n \n", "no token"),
            ("one\nt\u{7f}o", "line 2"),
        ] {
            write(text);
            let refused = Tokens::read(&path).expect_err("of no use").to_string();
            assert!(refused.contains(part), "{refused}");
        }
        write("secret-1\n\n  secret-2 \n");
        let tokens = Tokens::read(&path).expect("tokens");
        assert_eq!(count_tokens(&path).expect("tokens"), 2);
        assert_eq!(of(&tokens, 1), Some("Bearer secret-2".to_owned()));
        assert_eq!(of(&tokens, 2), None);
        assert!(!format!("{tokens:?}").contains("secret"), "{tokens:?}");
        for (text, expected) in [
            ("secret-3\nsecret-4\n", "Bearer secret-3"),
            // As while it is written.
            ("secret-5\n", "Bearer secret-3"),
            ("", "Bearer secret-3"),
        ] {
            write(text);
            tokens.read_again();
            assert_eq!(of(&tokens, 0).as_deref(), Some(expected));
        }
        std::fs::remove_file(&path).expect("removed");
        tokens.read_again();
        assert!(of(&tokens, 0).is_some());
        assert!(Tokens::read(&path).is_err());
    }
}
