//! Which addresses webhooks and mails may be sent to.
//!
//! A tenant chooses the URL or the mail server, and this service calls it from within our network. So unless the configuration
//! says otherwise, only addresses that are reachable from everywhere are called. It is checked where the
//! connection is made: the resolver hands out nothing but checked addresses, and the connection goes to these,
//! so a name that changes its address between check and connection gains nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config::WebhookConfig;

const URL_BYTES_MAX: usize = 2_048;
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// What URLs and addresses are permitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressPolicy {
    allow_private_networks: bool,
    allow_http: bool,
}

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("must have at most 2048 bytes")]
    TooLong,
    #[error("must be an absolute URL")]
    IllFormed,
    #[error("must begin with https://")]
    Scheme,
    #[error("must hold neither user nor password nor fragment")]
    Superfluous,
    #[error("must not lead into a private network")]
    Private,
    #[error("must name a host that can be resolved")]
    Unresolvable,
}

/// A name that leads to an address that is not permitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressRefused;

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads into a private network")
    }
}

impl std::error::Error for AddressRefused {}

impl AddressPolicy {
    pub(crate) fn new(config: &WebhookConfig) -> Self {
        Self {
            allow_private_networks: config.allow_private_networks,
            allow_http: config.allow_http,
        }
    }

    /// The URL, if its form, and its host where that is an address, are permitted.
    pub(crate) fn check_form(self, text: &str) -> Result<Url, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        // The parser would silently drop tabs, line ends and surrounding spaces.
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::IllFormed);
        }
        let url = Url::parse(text).map_err(|_| UrlError::IllFormed)?;
        // It is longer where letters had to be percent-encoded.
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(UrlError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(UrlError::Superfluous);
        }
        let is_permitted = match url.host() {
            None => return Err(UrlError::IllFormed),
            Some(Host::Domain(_)) => true,
            Some(Host::Ipv4(ip)) => self.permits(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => self.permits(IpAddr::V6(ip)),
        };
        if is_permitted {
            Ok(url)
        } else {
            Err(UrlError::Private)
        }
    }

    /// The same, and all addresses that the host's name has now are permitted.
    pub(crate) async fn check(self, text: &str) -> Result<Url, UrlError> {
        let url = self.check_form(text)?;
        if let Some(Host::Domain(name)) = url.host()
            && !self.allow_private_networks
        {
            match self.look_up(name.to_owned()).await {
                Ok(_) => {}
                Err(error) if error.is::<AddressRefused>() => return Err(UrlError::Private),
                Err(_) => return Err(UrlError::Unresolvable),
            }
        }
        Ok(url)
    }

    /// The addresses of a host at a port; all of them are permitted. Whoever connects must connect to these.
    pub(crate) async fn addresses_of(
        self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, UrlError> {
        let addresses = match Host::parse(host).map_err(|_| UrlError::IllFormed)? {
            Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(ip), port)],
            Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(ip), port)],
            Host::Domain(name) => {
                let found = self.look_up(name).await;
                let mut addresses = found.map_err(|error| {
                    if error.is::<AddressRefused>() {
                        UrlError::Private
                    } else {
                        UrlError::Unresolvable
                    }
                })?;
                for address in &mut addresses {
                    address.set_port(port);
                }
                addresses
            }
        };
        if !addresses.iter().all(|address| self.permits(address.ip())) {
            Err(UrlError::Private)
        } else if addresses.is_empty() {
            Err(UrlError::Unresolvable)
        } else {
            Ok(addresses)
        }
    }

    fn permits(self, ip: IpAddr) -> bool {
        self.allow_private_networks || is_public(ip)
    }

    async fn look_up(
        self,
        name: String,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, 0)))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let addresses: Vec<_> = found.collect();
        // One that is not permitted spoils all: no honest endpoint has both.
        if addresses.iter().all(|address| self.permits(address.ip())) {
            Ok(addresses)
        } else {
            Err(Box::new(AddressRefused))
        }
    }
}

impl Resolve for AddressPolicy {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, name) = (*self, name.as_str().to_owned());
        Box::pin(async move {
            let addresses = policy.look_up(name).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// Not in IANA's registry of special-purpose addresses, nor multicast or reserved.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Global unicast, without the parts of it that are set aside or that carry an IPv4 address.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let is_global_unicast = segments[0] & 0xe000 == 0x2000;
    let is_set_aside = match segments[0] {
        // 2001::/23 (Teredo, benchmarks, ORCHID, …) and 2001:db8::/32.
        0x2001 => segments[1] < 0x0200 || segments[1] == 0x0db8,
        // 6to4 carries an IPv4 address.
        0x2002 => true,
        // 3fff::/20, for documentation.
        0x3fff => segments[1] < 0x1000,
        _ => false,
    };
    is_global_unicast && !is_set_aside
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRICT: AddressPolicy = AddressPolicy {
        allow_private_networks: false,
        allow_http: false,
    };

    #[test]
    fn private_and_special_addresses_are_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "203.0.113.9",
            "[::1]",
            "[::]",
            "[::ffff:10.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:8.8.8.8]",
            "[::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[2001::1]",
            "[2002:7f00:1::]",
            "[3fff::1]",
            "[5f00::1]",
        ] {
            let url = format!("https://{host}/hook");
            assert_eq!(STRICT.check_form(&url), Err(UrlError::Private), "{url}");
        }
    }

    #[test]
    fn public_addresses_and_names_are_taken() {
        for host in [
            "8.8.8.8",
            "172.32.0.1",
            "example.com",
            "[2606:4700::1111]",
            "example.com:8443",
        ] {
            let url = format!("https://{host}/hook?a=b");
            assert!(STRICT.check_form(&url).is_ok(), "{url}");
        }
    }

    #[test]
    fn ill_formed_urls_are_refused() {
        for (url, error) in [
            ("", UrlError::IllFormed),
            ("hook", UrlError::IllFormed),
            ("//example.com", UrlError::IllFormed),
            ("https://", UrlError::IllFormed),
            (" https://example.com", UrlError::IllFormed),
            ("https://exam\tple.com", UrlError::IllFormed),
            ("http://example.com", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            ("gopher://example.com", UrlError::Scheme),
            ("https://user@example.com", UrlError::Superfluous),
            ("https://:pass@example.com", UrlError::Superfluous),
            ("https://example.com/#part", UrlError::Superfluous),
        ] {
            assert_eq!(STRICT.check_form(url), Err(error), "{url}");
        }
        let long = format!("https://example.com/{}", "x".repeat(2_048));
        assert_eq!(STRICT.check_form(&long), Err(UrlError::TooLong));
        let long_when_encoded = format!("https://example.com/{}", "ü".repeat(700));
        assert_eq!(
            STRICT.check_form(&long_when_encoded),
            Err(UrlError::TooLong)
        );
    }

    #[tokio::test]
    async fn a_name_of_this_host_is_refused() {
        assert_eq!(
            STRICT.check("https://localhost/hook").await,
            Err(UrlError::Private)
        );
        let permissive = AddressPolicy {
            allow_private_networks: true,
            allow_http: true,
        };
        assert!(permissive.check("http://localhost/hook").await.is_ok());
    }

    #[tokio::test]
    async fn a_server_in_a_private_network_is_refused() {
        for host in ["localhost", "127.0.0.1", "2130706433", "10.0.0.1", "[::1]"] {
            let found = STRICT.addresses_of(host, 25).await;
            assert_eq!(found, Err(UrlError::Private), "{host}");
        }
        let public = STRICT.addresses_of("8.8.8.8", 587).await;
        assert_eq!(public, Ok(vec![SocketAddr::from(([8, 8, 8, 8], 587))]));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic_or_let_a_private_address_in(text in "\\PC*", host in any::<u32>()) {
            let _ = STRICT.check_form(&text);
            let _ = STRICT.check_form(&format!("https://{text}/"));
            // However an IPv4 address is written.
            let dotted = Ipv4Addr::from(host);
            let mapped = format!("https://[::ffff:{dotted}]/");
            prop_assert_eq!(STRICT.check_form(&mapped), Err(UrlError::Private));
            let by_number = STRICT.check_form(&format!("https://{host}/")).is_ok();
            let by_dots = STRICT.check_form(&format!("https://{dotted}/")).is_ok();
            prop_assert_eq!(by_number, by_dots);
        }
    }
}
