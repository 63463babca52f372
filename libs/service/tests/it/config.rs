//! Configuration: what wins, and what is refused in which words.

use std::io::Write as _;

use plazo_service::config::{ConfigSources, load};
use plazo_service::{
    AccessConfig, ConfigError, ServerConfig, ServiceConfig, TelemetryConfig, TlsConfig,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    server: ServerConfig,
    #[serde(default)]
    access: AccessConfig,
    telemetry: TelemetryConfig,
}

impl ServiceConfig for Config {
    const NAME: &'static str = "test";
    const DEFAULTS: &'static str = r#"
        [server]
        listen = "127.0.0.1:5001" # where gRPC is served
        [telemetry]
        log_format = "text"
    "#;

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate("server")?;
        self.access.validate("access", self.server.listen)
    }
}

fn load_with(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Config, String> {
    let mut on_disk = tempfile::NamedTempFile::new().expect("a temporary file");
    on_disk
        .write_all(file.unwrap_or_default().as_bytes())
        .expect("a writable file");
    let sources = ConfigSources {
        file: file.map(|_| on_disk.path().to_owned()),
        environment: environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    load(&sources).map_err(|error| error.to_string())
}

#[test]
fn environment_wins_over_file_and_file_over_defaults() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\nreflection = true\nmax_header_bytes = 5";
    let environment = [
        ("PLAZO_TEST__SERVER__LISTEN", "127.0.0.1:2"),
        ("PLAZO_TEST__SERVER__MAX_CONCURRENT_STREAMS", "9"),
        (
            "PLAZO_TEST__TELEMETRY__OTLP_ENDPOINT",
            "http://collector:4317",
        ),
        ("PLAZO_OTHER__SERVER__LISTEN", "not ours"),
    ];
    let config = load_with(Some(file), &environment).expect("a valid configuration");
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(
        (config.server.reflection, config.server.max_header_bytes),
        (true, 5)
    );
    assert_eq!(config.server.max_concurrent_streams, 9);
    assert_eq!(
        config.telemetry.otlp_endpoint.as_deref(),
        Some("http://collector:4317")
    );
}

#[test]
fn errors_are_one_line_with_the_key_and_the_problem() {
    let env = |key: &'static str, value: &'static str| load_with(None, &[(key, value)]);
    for (outcome, words) in [
        (
            load_with(Some("[server]\nlissten = 1"), &[]),
            ["unknown field", "lissten", "server"],
        ),
        (
            load_with(Some("[servr]\n"), &[]),
            ["unknown field", "servr", ""],
        ),
        (
            env("PLAZO_TEST__SERVER__LISTEN", "here"),
            ["server.listen", "socket address", ""],
        ),
        (
            env("PLAZO_TEST__SERVER__REFLECTION", "perhaps"),
            ["server.reflection", "perhaps", ""],
        ),
        (
            env("PLAZO_TEST__SERVER__LISSTEN", "x"),
            ["unknown field", "lissten", "server"],
        ),
        (
            env("PLAZO_TEST__SERVER__DEFAULT_DEADLINE_MS", "-5"),
            ["server.default_deadline_ms", "-5", ""],
        ),
        (
            env("PLAZO_TEST__SERVER__DEFAULT_DEADLINE_MS", "0"),
            ["server.default_deadline_ms", "above zero", ""],
        ),
        (
            env("PLAZO_TEST__TELEMETRY__LOG_FORMAT", "xml"),
            ["telemetry.log_format", "xml", ""],
        ),
        (
            load_with(Some("[server\nlisten"), &[]),
            ["line 1", "unclosed table", ""],
        ),
    ] {
        let error = outcome.expect_err("refused");
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{words:?} in: {error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn plain_text_that_others_can_reach_is_served_only_when_it_is_meant() {
    let server = |listen: &str, plain_text| ServerConfig {
        listen: listen.parse().expect("an address"),
        plain_text,
        ..ServerConfig::default()
    };
    let tls = TlsConfig::new("a", "b", "c");
    for (listen, plain_text, tls, refused_key) in [
        ("127.0.0.1:5001", false, None, None),
        ("[::1]:5001", false, None, None),
        ("0.0.0.0:5001", false, None, Some("server.listen")),
        ("[::]:5001", false, None, Some("server.listen")),
        ("192.0.2.7:5001", false, None, Some("server.listen")),
        ("0.0.0.0:5001", true, None, None),
        ("0.0.0.0:5001", false, Some(&tls), None),
        ("0.0.0.0:5001", true, Some(&tls), Some("server.plain_text")),
    ] {
        let outcome = TlsConfig::validate(tls, &server(listen, plain_text));
        let problem = outcome.err().map(|error| error.to_string());
        let key = problem.as_ref().and_then(|text| text.split(':').next());
        assert_eq!(key, refused_key, "{listen} {plain_text}: {problem:?}");
    }
}

#[test]
fn symmetric_and_missing_signatures_can_t_even_be_configured() {
    let issuer = |algorithm: &str| {
        let file = format!(
            "[[access.issuers]]\nissuer = \"i\"\naudience = \"a\"\nkeys = \"https://id.example/\"\n\
             algorithms = [\"{algorithm}\"]"
        );
        load_with(Some(&file), &[])
    };
    let config = issuer("ES256").expect("a valid configuration");
    assert_eq!(config.access.issuers[0].leeway_s, 30);
    for refused in ["none", "HS256", "HS512", "es256"] {
        let error = issuer(refused).expect_err("refused");
        let names_it = error.contains(refused) && error.contains("algorithms");
        assert!(names_it && error.contains("ES256"), "{error}");
    }
}

#[test]
fn another_address_than_loopback_is_refused_without_an_issuer() {
    let public = [("PLAZO_TEST__SERVER__LISTEN", "0.0.0.0:5001")];
    let error = load_with(None, &public).expect_err("anybody could call");
    assert!(
        error.starts_with("access.issuers: must name an issuer"),
        "{error}"
    );
}
