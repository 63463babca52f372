use super::*;

fn issuer() -> IssuerConfig {
    IssuerConfig {
        issuer: "https://id.example".to_owned(),
        audience: "plazo".to_owned(),
        algorithms: vec![TokenAlgorithm::Es256],
        keys: "https://id.example/keys".to_owned(),
        leeway_s: 30,
    }
}

fn peer() -> PeerConfig {
    PeerConfig {
        identity: "spiffe://plazo/ns/plazo/sa/timer".to_owned(),
        service: "timer".to_owned(),
        methods: vec![
            "/plazo.timer.v1.TicketHandlerService/*".to_owned(),
            "/plazo.ticketing.v1.FeedService/StreamEvents".to_owned(),
        ],
    }
}

fn good() -> AccessConfig {
    AccessConfig {
        issuers: vec![issuer()],
        peers: vec![peer()],
        ..AccessConfig::default()
    }
}

fn refused(config: &AccessConfig, listen: &str) -> Option<String> {
    let listen = listen.parse().expect("an address");
    let refused = config.validate("access", listen).err()?;
    let text = refused.to_string();
    Some(text.split(": ").next().unwrap_or_default().to_owned())
}

#[test]
fn another_address_than_loopback_needs_an_issuer_and_believes_nobody() {
    let mut open = AccessConfig::default();
    for loopback in [
        "127.0.0.1:0",
        "127.8.8.8:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert_eq!(refused(&open, loopback), None, "{loopback}");
    }
    for public in ["0.0.0.0:0", "10.0.0.1:1", "[::]:1"] {
        assert_eq!(
            refused(&open, public).as_deref(),
            Some("access.issuers"),
            "{public}"
        );
        assert_eq!(refused(&good(), public), None, "{public}");
    }
    open = good();
    open.believe_metadata = Some(true);
    let key = refused(&open, "0.0.0.0:1");
    assert_eq!(key.as_deref(), Some("access.believe_metadata"));
    assert_eq!(refused(&open, "127.0.0.1:1"), None);
}

#[test]
fn each_wrong_value_is_refused_by_its_key() {
    type Change = fn(&mut AccessConfig);
    let table: &[(&str, Change)] = &[
        ("access.max_token_bytes", |c| c.max_token_bytes = 0),
        ("access.issuers[0].issuer", |c| c.issuers[0].issuer.clear()),
        ("access.issuers[1].issuer", |c| c.issuers.push(issuer())),
        ("access.issuers[0].audience", |c| {
            c.issuers[0].audience.clear();
        }),
        ("access.issuers[0].algorithms", |c| {
            c.issuers[0].algorithms.clear();
        }),
        ("access.issuers[0].leeway_s", |c| {
            c.issuers[0].leeway_s = 301;
        }),
        ("access.issuers[0].keys", |c| {
            c.issuers[0].keys = "http://id.example/".to_owned();
        }),
        ("access.peers[0].identity", |c| {
            c.peers[0].identity = "timer".to_owned();
        }),
        ("access.peers[1].identity", |c| c.peers.push(peer())),
        ("access.peers[0].service", |c| {
            c.peers[0].service = "Timer!".to_owned();
        }),
        ("access.peers[0].methods[0]", |c| {
            c.peers[0].methods = vec!["*".to_owned()];
        }),
        ("access.peers[0].methods[0]", |c| {
            c.peers[0].methods = vec!["/*".to_owned()];
        }),
        ("access.peers[0].methods[0]", |c| {
            c.peers[0].methods = vec!["/*/*".to_owned()];
        }),
        ("access.peers[0].methods[0]", |c| {
            c.peers[0].methods = vec!["/a.B/".to_owned()];
        }),
        ("access.peers[0].methods[0]", |c| {
            c.peers[0].methods = vec!["/a.B/C*".to_owned()];
        }),
        ("access.keys.refresh_interval_ms", |c| {
            c.keys.refresh_interval_ms = 0;
        }),
        ("access.keys.look_interval_ms", |c| {
            c.keys.look_interval_ms = 0;
        }),
        ("access.keys.fetch_timeout_ms", |c| {
            c.keys.fetch_timeout_ms = 0;
        }),
        ("access.keys.max_bytes", |c| c.keys.max_bytes = 0),
        ("access.keys.max_age_ms", |c| {
            c.keys.max_age_ms = c.keys.refresh_interval_ms;
        }),
        ("access.limits.max_remembered", |c| {
            c.limits.max_remembered = 0;
        }),
    ];
    assert_eq!(refused(&good(), "0.0.0.0:1"), None);
    for (key, change) in table {
        let mut config = good();
        change(&mut config);
        assert_eq!(refused(&config, "0.0.0.0:1").as_deref(), Some(*key));
    }
}
