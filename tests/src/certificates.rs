//! Certificates for tests: an authority, what it issues, and a folder from which a process reads them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use tempfile::TempDir;

/// Who may sign certificates.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one, with a key of its own.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("it signs itself");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate with this URI, for servers at 127.0.0.x and `localhost` and for clients.
    pub fn issue(&self, uri: &str) -> Issued {
        self.issue_until(uri, None)
    }

    /// The same, valid until so many seconds after 1970.
    pub fn issue_until(&self, uri: &str, unix_s: Option<u64>) -> Issued {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params
            .subject_alt_names
            .extend((1..=9).map(|last| SanType::IpAddress(IpAddr::from([127, 0, 0, last]))));
        params
            .subject_alt_names
            .push(SanType::URI(uri.try_into().expect("an ASCII URI")));
        params
            .distinguished_name
            .push(DnType::CommonName, "process");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if let Some(unix_s) = unix_s {
            params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// Where a process has its certificate, its key and its roots, laid out as Kubernetes mounts a secret.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    versions: std::cell::Cell<u32>,
}

impl Folder {
    /// A folder with these.
    pub fn new(issued: &Issued, roots: &[&str]) -> Self {
        let folder = Self {
            folder: TempDir::new().expect("a folder"),
            versions: std::cell::Cell::new(0),
        };
        folder.replace(issued, roots);
        folder
    }

    /// Replaces all three files at once: `tls.crt` and the others are links into `..data`, which is a link to a folder of
    /// this version.
    pub fn replace(&self, issued: &Issued, roots: &[&str]) {
        let path = self.folder.path();
        let number = self.versions.replace(self.versions.get() + 1);
        let version = path.join(format!("..version-{number}"));
        std::fs::create_dir(&version).expect("a folder for the version");
        let write = |name: &str, content: &str| {
            std::fs::write(version.join(name), content).expect("a file can be written");
            let link = path.join(name);
            if !link.is_symlink() {
                symlink(&Path::new("..data").join(name), &link);
            }
        };
        write("tls.crt", &issued.certificate);
        write("tls.key", &issued.key);
        write("ca.crt", &roots.concat());
        let next = path.join("..data_next");
        symlink(&version, &next);
        std::fs::rename(&next, path.join("..data")).expect("the link is swapped");
    }

    /// The certificate's file.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// The key's file.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// The file of the roots.
    pub fn roots(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }
}

fn symlink(to: &Path, at: &Path) {
    std::os::unix::fs::symlink(to, at).expect("a link can be made");
}
