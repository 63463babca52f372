//! Reading the files of `[tls]`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::config::{ConfigError, TlsConfig};

/// A bundle of all public roots is a quarter of it.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Several files can't be read in one instant, and they may be replaced in between.
const MAX_READS: u32 = 5;

/// What the three files held at one time.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) roots: Vec<u8>,
}

impl Files {
    /// Reads until two reads in a row are the same: where a symbolic link to the folder is swapped, as Kubernetes does,
    /// that can't be half of the old and half of the new. Other ways to replace files may still leave a key that does not
    /// fit for a moment.
    pub(super) fn read(config: &TlsConfig) -> Result<Self, ConfigError> {
        let mut before = Self::read_once(config)?;
        for _ in 1..MAX_READS {
            let again = Self::read_once(config)?;
            if again == before {
                return Ok(again);
            }
            before = again;
        }
        Err(ConfigError::value("tls", "the files change all the time"))
    }

    fn read_once(config: &TlsConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            certificate: read_file("tls.certificate_file", &config.certificate_file)?,
            key: read_file("tls.key_file", &config.key_file)?,
            roots: read_file("tls.roots_file", &config.roots_file)?,
        })
    }

    /// Tells contents apart without keeping the key.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for content in [&self.certificate, &self.key, &self.roots] {
            digest.update((content.len() as u64).to_be_bytes());
            digest.update(content);
        }
        digest.finalize().into()
    }
}

fn read_file(key: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut content = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content));
    let problem = match read {
        Ok(_) if content.len() as u64 > MAX_FILE_BYTES => format!("above {MAX_FILE_BYTES} bytes"),
        Ok(_) => return Ok(content),
        Err(error) => error.to_string(),
    };
    Err(ConfigError::value(
        key,
        format!("{}: {problem}", path.display()),
    ))
}
