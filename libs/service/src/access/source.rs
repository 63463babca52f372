//! Where the keys of an issuer are, and how they are fetched.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, redirect};
use tokio::io::AsyncReadExt as _;
use url::{Host, Url};

use super::config::KeysConfig;

/// Where a JWK set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyLocation {
    /// A file.
    File(PathBuf),
    /// An address.
    Http(Url),
}

impl KeyLocation {
    /// Reads a location, or says what it must be.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const MUST: &str = "must be file:///…, https://…, or http://… on a loopback address";
        let url = Url::parse(text).map_err(|_| MUST)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a password");
        }
        match url.scheme() {
            "file" => url.to_file_path().map(Self::File).map_err(|()| MUST),
            "https" if url.has_host() => Ok(Self::Http(url)),
            "http" if is_loopback(&url) => Ok(Self::Http(url)),
            _ => Err(MUST),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the file can't be read")]
    File(#[source] std::io::Error),
    #[error("the address does not answer")]
    Http(#[source] reqwest::Error),
    #[error("the address answers {0}")]
    Status(reqwest::StatusCode),
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    #[error("it takes longer than {0:?}")]
    TooSlow(Duration),
    #[error(transparent)]
    Keys(#[from] super::keys::KeySetError),
}

/// Fetches the bytes of a JWK set.
#[derive(Debug)]
pub(super) struct Source {
    location: Location,
    max_bytes: usize,
    timeout: Duration,
}

#[derive(Debug)]
enum Location {
    File(PathBuf),
    Http(Box<(Client, Url)>),
}

impl Source {
    pub(super) fn new(location: KeyLocation, config: &KeysConfig) -> Result<Self, FetchError> {
        let timeout = Duration::from_millis(config.fetch_timeout_ms);
        let location = match location {
            KeyLocation::File(path) => Location::File(path),
            KeyLocation::Http(url) => {
                let mut client = Client::builder()
                    .user_agent(concat!("plazo/", env!("CARGO_PKG_VERSION")))
                    // It could lead from https to http, or to another host.
                    .redirect(redirect::Policy::none())
                    .pool_max_idle_per_host(1)
                    .timeout(timeout);
                if is_loopback(&url) {
                    client = client.no_proxy();
                }
                let client = client.build().map_err(FetchError::Http)?;
                Location::Http(Box::new((client, url)))
            }
        };
        Ok(Self {
            location,
            max_bytes: config.max_bytes,
            timeout,
        })
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.location, Location::File(_))
    }

    /// The whole set, within the time and the size of the configuration.
    pub(super) async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let fetched = async {
            match &self.location {
                Location::File(path) => self.read(path).await,
                Location::Http(http) => self.get(&http.0, &http.1).await,
            }
        };
        tokio::time::timeout(self.timeout, fetched)
            .await
            .unwrap_or(Err(FetchError::TooSlow(self.timeout)))
    }

    async fn read(&self, path: &PathBuf) -> Result<Vec<u8>, FetchError> {
        let file = tokio::fs::File::open(path)
            .await
            .map_err(FetchError::File)?;
        let mut bytes = Vec::new();
        file.take(self.max_bytes as u64 + 1)
            .read_to_end(&mut bytes)
            .await
            .map_err(FetchError::File)?;
        if bytes.len() > self.max_bytes {
            return Err(FetchError::TooLarge(self.max_bytes));
        }
        Ok(bytes)
    }

    async fn get(&self, client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
        let request = client.get(url.clone()).header("accept", "application/json");
        let mut response = request.send().await.map_err(FetchError::Http)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(FetchError::Http)? {
            if bytes.len() + chunk.len() > self.max_bytes {
                return Err(FetchError::TooLarge(self.max_bytes));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_files_and_from_where_nobody_else_can_answer() {
        for good in [
            "file:///etc/plazo/keys.json",
            "https://id.example/keys",
            "http://127.0.0.1:8080/keys",
            "http://[::1]/keys",
            "http://localhost:1/",
        ] {
            assert!(KeyLocation::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/etc/plazo/keys.json",
            "file://elsewhere/keys.json",
            "http://id.example/keys",
            "http://10.0.0.1/keys",
            "http://127.0.0.1.example/keys",
            "https://user:secret@id.example/keys",
            "ftp://id.example/keys",
        ] {
            assert!(KeyLocation::parse(bad).is_err(), "{bad}");
        }
    }
}
