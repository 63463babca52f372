//! Nothing of a customer reaches the log.

use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

use plazo_proto::notification::v1::ActiveMessageState;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::endpoint::Endpoint;
use crate::support::ticketing::requested;
use crate::support::{World, by_webhook, eventually, warning};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Keeps all that the tests of this binary log.
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("info,plazo=trace,sqlx=debug,reqwest=trace")
            .with_ansi(false)
            .with_writer(Captured)
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("nobody else sets one");
    });
}

#[derive(Clone)]
struct Captured;

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn logged() -> String {
    String::from_utf8_lossy(&LINES.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

#[tokio::test]
async fn neither_text_nor_address_nor_secret_is_logged() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, secret) = service.api.create_account(&endpoint.url("/fails")).await;
    endpoint.answer("/fails", &[(500, None)]);
    let private = |mut message: plazo_proto::notification::v1::ActiveMessage| {
        message.text = "zebra-crossing".to_owned();
        message.recipient.get_or_insert_default().address = "quiet-lagoon".to_owned();
        message
    };

    let by_log = service
        .api
        .send_one(private(warning(1, 1)))
        .await
        .message_id;
    let webhook = service
        .api
        .send_one(private(by_webhook(warning(2, 1), account)))
        .await
        .message_id;
    let mut invalid = private(warning(3, 1));
    invalid.text.push('\u{7}');
    service.api.send_one(invalid.clone()).await;
    world.ticketing.publish(vec![requested(1, &invalid)]);

    service
        .api
        .until(by_log, ActiveMessageState::Delivered)
        .await;
    service
        .api
        .until(webhook, ActiveMessageState::Delivered)
        .await;
    let lines = eventually("the lines are there", || async {
        let lines = logged();
        let by_channel =
            lines.contains(&format!("message_id={by_log}")) && lines.contains("[redacted]");
        (by_channel && lines.contains("can't be stored")).then_some(lines)
    })
    .await;
    for word in ["zebra-crossing", "quiet-lagoon", &secret] {
        let line = lines.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "{word} is in the log");
    }
    service.stop().await;
}
