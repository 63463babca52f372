//! How many connections there are at a time.

use plazo_service::Tls;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::certificates::Authority;
use crate::echo::{Running, call, text};
use crate::tls::{BOUND, SERVER, channel, expecting, load};
use crate::tls_reload::figure;

const OPEN: &str = "plazo_server_connections ";
const REFUSED: &str = "plazo_server_connections_refused_total ";

async fn connect(server: &Running) -> TcpStream {
    let connected = TcpStream::connect(server.address).await;
    connected.expect("it listens")
}

#[tokio::test]
async fn a_connection_above_the_most_is_closed_at_once_and_counted() {
    let ours = Authority::new("ours");
    for tls in [Tls::off(), load(&ours.issue(SERVER), &ours)] {
        let server = Running::start_over(&tls, |config| {
            config.max_connections = 2;
            config.handshake_timeout_ms = 600_000;
        })
        .await;
        let (first, _second) = (connect(&server).await, connect(&server).await);
        let mut third = connect(&server).await;
        let mut sent = Vec::new();
        let closed = timeout(BOUND, third.read_to_end(&mut sent)).await;
        let _ = closed.expect("it is closed");
        assert!(sent.is_empty(), "{sent:?}");
        assert_eq!(figure(&server, OPEN).await, 2);
        assert_eq!(figure(&server, REFUSED).await, 1);

        // The place of one that ends is free.
        drop(first);
        let config = if tls.is_on() {
            expecting(&server, SERVER)
        } else {
            server.config()
        };
        let bound = Instant::now() + BOUND;
        while let Err(status) = call(channel(&tls, &config), "WhoAmI", text("")).await {
            assert!(Instant::now() < bound, "{status:?}");
            sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(figure(&server, OPEN).await <= 2);
    }
}
