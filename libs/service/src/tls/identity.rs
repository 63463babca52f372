//! The URIs of a certificate, by which services know each other.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor,
};
use tokio_rustls::rustls::crypto::WebPkiSupportedAlgorithms;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::peer::PeerIdentity;

/// Who shows this certificate. Says nothing of whether it is to be believed.
pub(crate) fn peer_of(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, Unreadable> {
    let uris = uris_of(certificate)?;
    let parsed = Certificate::from_der(certificate)?;
    let not_after = parsed.tbs_certificate.validity.not_after.to_unix_duration();
    let not_after = i64::try_from(not_after.as_secs()).ok();
    // A certificate may end after all instants that there are.
    let not_after = not_after.and_then(|seconds| Timestamp::from_second(seconds).ok());
    Ok(PeerIdentity {
        uris,
        not_after: Some(not_after.unwrap_or(Timestamp::MAX)),
    })
}

/// Why nobody can be told from a certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("its names can't be read: {0}")]
    Names(#[from] webpki::Error),
    #[error("it can't be read: {0}")]
    Encoding(#[from] x509_cert::der::Error),
}

/// The URIs among the alternative names of a certificate, in ASCII as URIs are: other letters may look like them. Says nothing of whether it is to be believed.
fn uris_of(certificate: &CertificateDer<'_>) -> Result<Arc<[String]>, webpki::Error> {
    let certificate = EndEntityCert::try_from(certificate)?;
    let uris = certificate.valid_uri_names();
    Ok(uris
        .filter(|uri| uri.is_ascii())
        .map(str::to_owned)
        .collect())
}

/// Why a server is not believed although its certificate is good.
#[derive(Debug, thiserror::Error)]
#[error("the server is not {expected}, but {}", .found.join(", "))]
struct NotThatServer {
    expected: Arc<str>,
    found: Arc<[String]>,
}

/// Believes a server whose certificate is good, and has the URI that is expected. The name that it is called by does not
/// matter.
#[derive(Debug)]
pub(super) struct IdentityVerifier {
    expected: Arc<str>,
    roots: Arc<RootCertStore>,
    /// For what has nothing to do with names.
    signatures: Arc<WebPkiServerVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl IdentityVerifier {
    pub(super) fn new(
        expected: Arc<str>,
        roots: Arc<RootCertStore>,
        signatures: Arc<WebPkiServerVerifier>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            expected,
            roots,
            signatures,
            algorithms,
        }
    }
}

impl ServerCertVerifier for IdentityVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let found = uris_of(end_entity).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        if found.iter().any(|uri| **uri == *self.expected) {
            return Ok(ServerCertVerified::assertion());
        }
        let error = NotThatServer {
            expected: Arc::clone(&self.expected),
            found,
        };
        Err(CertificateError::Other(OtherError(Arc::new(error))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}
