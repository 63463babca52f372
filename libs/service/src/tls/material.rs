//! What the files make: a certificate with its key, and roots.

use std::sync::{Arc, LazyLock};

use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::ALPN;
use super::files::Files;
use super::identity::IdentityVerifier;
use crate::config::ConfigError;

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// What the files make, checked.
#[derive(Debug)]
pub(super) struct Material {
    digest: [u8; 32],
    expires_at_s: u64,
    server: Arc<ServerConfig>,
    /// Without a check of the server's URI.
    client: ClientConfig,
    verifier: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
}

impl Material {
    /// Fails, with the key of the configuration, on files that can't be used now.
    pub(super) fn new(
        files: &Files,
        require_client_certificate: bool,
    ) -> Result<Self, ConfigError> {
        let roots = Arc::new(read_roots(&files.roots)?);
        let chain = read_certificates("tls.certificate_file", &files.certificate)?;
        let expires_at_s = check_validity(&chain, UnixTime::now().as_secs())?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| {
            ConfigError::value("tls.key_file", format!("no private key: {error}"))
        })?;
        let key = CertifiedKey::from_der(chain, key, &PROVIDER)
            .map_err(|error| ConfigError::value("tls.key_file", error.to_string()))?;
        let key = Arc::new(SingleCertAndKey::from(key));
        let about_roots =
            |error: &dyn std::error::Error| ConfigError::value("tls.roots_file", error.to_string());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&PROVIDER))
                .build()
                .map_err(|error| about_roots(&error))?;
        Ok(Self {
            digest: files.digest(),
            expires_at_s,
            server: Arc::new(
                server_config(&roots, Arc::clone(&key), require_client_certificate)
                    .map_err(|error| about_roots(&*error))?,
            ),
            client: client_config(Arc::clone(&verifier), key)
                .map_err(|error| about_roots(&error))?,
            verifier,
            roots,
        })
    }

    /// Tells the files apart from others.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// When the certificate ends, in Unix seconds.
    pub(super) fn expires_at_s(&self) -> u64 {
        self.expires_at_s
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For a server that must show this URI, or the name that it is called by.
    pub(super) fn client(&self, server_identity: Option<&Arc<str>>) -> ClientConfig {
        let mut config = self.client.clone();
        if let Some(identity) = server_identity {
            let verifier = IdentityVerifier::new(
                Arc::clone(identity),
                Arc::clone(&self.roots),
                Arc::clone(&self.verifier),
                PROVIDER.signature_verification_algorithms,
            );
            config
                .dangerous()
                .set_certificate_verifier(Arc::new(verifier));
        }
        config
    }
}

fn server_config(
    roots: &Arc<RootCertStore>,
    key: Arc<SingleCertAndKey>,
    require_client_certificate: bool,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let mut clients =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&PROVIDER));
    if !require_client_certificate {
        clients = clients.allow_unauthenticated();
    }
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients.build()?)
        .with_cert_resolver(key);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would go on with a certificate that has expired since, and connections are few and long.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn client_config(
    verifier: Arc<WebPkiServerVerifier>,
    key: Arc<SingleCertAndKey>,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(key);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn read_certificates(key: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| ConfigError::value(key, format!("no PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(ConfigError::value(key, "holds no certificates in PEM"));
    }
    Ok(certificates)
}

fn read_roots(pem: &[u8]) -> Result<RootCertStore, ConfigError> {
    const KEY: &str = "tls.roots_file";
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(KEY, pem)? {
        roots
            .add(certificate)
            .map_err(|error| ConfigError::value(KEY, error.to_string()))?;
    }
    Ok(roots)
}

/// When the first certificate of the chain ends that ends, in Unix seconds. Each must be valid now.
fn check_validity(chain: &[CertificateDer<'_>], now_s: u64) -> Result<u64, ConfigError> {
    const KEY: &str = "tls.certificate_file";
    let mut ends_at_s = u64::MAX;
    for certificate in chain {
        let certificate = Certificate::from_der(certificate)
            .map_err(|error| ConfigError::value(KEY, format!("no certificate: {error}")))?;
        let validity = certificate.tbs_certificate.validity;
        if now_s < validity.not_before.to_unix_duration().as_secs() {
            let problem = format!("is not valid before {}", validity.not_before);
            return Err(ConfigError::value(KEY, problem));
        }
        if now_s > validity.not_after.to_unix_duration().as_secs() {
            let problem = format!("has expired at {}", validity.not_after);
            return Err(ConfigError::value(KEY, problem));
        }
        ends_at_s = ends_at_s.min(validity.not_after.to_unix_duration().as_secs());
    }
    Ok(ends_at_s)
}
