//! Certificates that are trusted besides those of the system: of a company's own authority, for instance.

use std::fmt;

use lettre::transport::smtp::client::Certificate as SmtpCertificate;
use plazo_service::ConfigError;
use reqwest::Certificate;

use crate::config::TrustConfig;

const KEY: &str = "trust.certificates_file";

/// The same certificates for HTTP and for SMTP. None by default.
#[derive(Clone, Default)]
pub(crate) struct Roots {
    http: Vec<Certificate>,
    smtp: Vec<SmtpCertificate>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots")
            .field("certificates", &self.http.len())
            .finish_non_exhaustive()
    }
}

impl Roots {
    /// Reads the file that the settings name, if they name one.
    pub(crate) fn read(config: &TrustConfig) -> Result<Self, ConfigError> {
        let Some(file) = &config.certificates_file else {
            return Ok(Self::default());
        };
        let pem = std::fs::read(file)
            .map_err(|error| ConfigError::value(KEY, format!("can't be read: {error}")))?;
        Self::of_pem(&pem).ok_or_else(|| ConfigError::value(KEY, "holds no certificates in PEM"))
    }

    fn of_pem(pem: &[u8]) -> Option<Self> {
        let http = Certificate::from_pem_bundle(pem).ok()?;
        let smtp = SmtpCertificate::from_pem(pem).ok()?;
        (!http.is_empty()).then_some(Self {
            http,
            smtp: vec![smtp],
        })
    }

    pub(crate) fn http(&self) -> Vec<Certificate> {
        self.http.clone()
    }

    pub(crate) fn smtp(&self) -> Vec<SmtpCertificate> {
        self.smtp.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        assert!(Roots::of_pem(b"").is_none());
        assert!(Roots::of_pem(b"no certificate").is_none());
        let config = |file: &str| TrustConfig {
            certificates_file: Some(file.into()),
        };
        for file in ["/nowhere/at-all.pem", "/dev/null"] {
            let error = Roots::read(&config(file)).expect_err("no certificates");
            assert!(error.to_string().starts_with(KEY), "{error}");
        }
        let none = TrustConfig {
            certificates_file: None,
        };
        assert!(
            Roots::read(&none)
                .expect("nothing to read")
                .http()
                .is_empty()
        );
    }
}
