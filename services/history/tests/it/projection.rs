//! Each event is applied once, whatever happens to the stream, the consumer and its neighbours.

use plazo_proto::ticketing::v1::{MessageKind, TicketEvent};
use plazo_service::status::{
    REASON_CERTIFICATE_EXPIRED, REASON_RENEWAL_DUE, unavailable, with_reason,
};
use tonic::Code;

use crate::events::{AGENT, CUSTOMER, Writer};
use crate::feed::{Feed, Manners};
use crate::running::{Running, eventually, fresh_config, viewer};

const HEALTH_NAME: &str = "plazo.history.v1.Projection";

/// A conversation of some tickets, in batches whose events of one ticket are spread over many.
struct Talk {
    tickets: Vec<Writer>,
    messages_each: i64,
}

impl Talk {
    fn of(ticket_count: i64) -> Self {
        let tickets = (1..=ticket_count).map(|id| Writer::new(1, 3, id)).collect();
        Self {
            tickets,
            messages_each: 0,
        }
    }

    fn send_openings(&mut self, feed: &Feed) {
        feed.send(
            self.tickets
                .iter_mut()
                .map(|ticket| ticket.opened(12))
                .collect(),
        );
    }

    /// One customer's message in each ticket for each batch.
    fn send_batches(&mut self, feed: &Feed, batches: i64) {
        for _ in 0..batches {
            let write = |ticket: &mut Writer| ticket.written(CUSTOMER, MessageKind::Chat, "again");
            feed.send(self.tickets.iter_mut().map(write).collect());
        }
        self.messages_each += batches;
    }

    /// Waits until all is projected, and compares it with what was sent.
    async fn check(&self, history: &Running) {
        for ticket in &self.tickets {
            let known = history
                .ticket_at(&viewer(1), ticket.ticket_id, ticket.next_seq - 1)
                .await;
            assert_eq!(known.ticket_seq, ticket.next_seq - 1);
            assert_eq!(i64::from(known.customer_message_count), self.messages_each);
            let entries = history.conversation(&viewer(1), ticket.ticket_id).await;
            let seqs: Vec<_> = entries
                .iter()
                .filter_map(|e| e.message.as_ref())
                .map(|m| m.ticket_seq)
                .collect();
            assert_eq!(seqs, (2..ticket.next_seq).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_where_it_was_applied() {
    let feed = Feed::start().await;
    feed.behave(Manners {
        break_after: Some(3),
        ..Manners::default()
    });
    let history = Running::fresh(&feed).await;
    let mut talk = Talk::of(5);
    talk.send_openings(&feed);
    talk.send_batches(&feed, 10);
    talk.check(&history).await;
    assert_eq!(feed.asked_positions()[..4], ["", "3", "6", "9"]);
    let applied = history.metric("plazo_history_feed_events_total").await;
    assert_eq!(applied, Some(55.0));
}

#[tokio::test]
async fn a_stream_that_is_due_is_opened_again_as_if_nothing_had_been() {
    for reason in [REASON_RENEWAL_DUE, REASON_CERTIFICATE_EXPIRED] {
        let feed = Feed::start().await;
        let wait = std::time::Duration::from_millis(1);
        feed.behave(Manners {
            break_after: Some(1),
            broken_by: Some(unavailable(reason, "open it again", wait)),
            ..Manners::default()
        });
        let mut config = fresh_config(&feed).await;
        // Whoever takes it for a failure waits for longer than the test.
        config.feed.first_backoff_ms = 600_000;
        config.feed.max_backoff_ms = 600_000;
        let history = Running::start(config).await;
        let mut talk = Talk::of(5);
        talk.send_openings(&feed);
        talk.send_batches(&feed, 10);
        talk.check(&history).await;
        assert_eq!(feed.asked_positions()[..4], ["", "1", "2", "3"]);
        let applied = history.metric("plazo_history_feed_events_total").await;
        assert_eq!(applied, Some(55.0));
        let broke = history.metric("plazo_history_feed_reconnects_total").await;
        assert_eq!(broke, Some(0.0));
    }
}

#[tokio::test]
async fn a_killed_consumer_goes_on_from_the_database() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let mut talk = Talk::of(20);
    talk.send_openings(&feed);
    for round in 0..8 {
        let history = Running::start(config.clone()).await;
        talk.send_batches(&feed, 20);
        // Killed at another point each time, while batches are being applied.
        let wanted = 2 + round * 20 + round;
        history.ticket_at(&viewer(1), 1, wanted).await;
        history.kill().await;
    }
    let history = Running::start(config).await;
    talk.check(&history).await;
    let restarts = feed.asked_positions();
    assert_eq!(
        restarts.len(),
        9,
        "each consumer opened one stream: {restarts:?}"
    );
    history.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_sent_twice_is_applied_once() {
    let feed = Feed::start().await;
    feed.behave(Manners {
        repeat: true,
        ..Manners::default()
    });
    let history = Running::fresh(&feed).await;
    let mut talk = Talk::of(3);
    talk.send_openings(&feed);
    talk.send_batches(&feed, 4);
    talk.check(&history).await;
    let name = "plazo_history_feed_batches_total{outcome=\"repeated\"}";
    eventually("the repetitions are counted", async || {
        history.metric(name).await.filter(|count| *count >= 4.0)
    })
    .await;
    assert!(history.is_serving(HEALTH_NAME).await);
}

/// Sends a batch that must stop the projection, and checks that it is seen and that nothing of it is applied.
async fn stops_at(events: impl FnOnce(&mut Writer) -> Vec<TicketEvent>) {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let history = Running::start(config.clone()).await;
    let mut ticket = Writer::new(1, 3, 7);
    feed.send(vec![
        ticket.opened(12),
        ticket.written(CUSTOMER, MessageKind::Chat, "hello?"),
    ]);
    history.ticket_at(&viewer(1), 7, 2).await;
    assert!(history.is_serving(HEALTH_NAME).await);

    let mut neighbour = Writer::new(1, 3, 8);
    let mut batch = vec![neighbour.opened(12)];
    batch.extend(events(&mut ticket));
    feed.send(batch);
    expect_stopped(&history).await;
    // What is known is still shown, and nothing of the batch is, not even what stood before the bad event.
    assert_eq!(
        history
            .ticket(&viewer(1), 7)
            .await
            .expect("it is shown")
            .ticket_seq,
        2
    );
    let status = history
        .ticket(&viewer(1), 8)
        .await
        .expect_err("its batch was not applied");
    assert_eq!(status.code(), Code::NotFound);
    history.stop().await;

    let history = Running::start(config).await;
    expect_stopped(&history).await;
    history.stop().await;
}

async fn expect_stopped(history: &Running) {
    eventually("the projection stops", async || {
        (!history.is_serving(HEALTH_NAME).await).then_some(())
    })
    .await;
    let state = history
        .metric("plazo_history_projection_state{state=\"stopped\"}")
        .await;
    assert_eq!(state, Some(1.0));
    assert!(history.is_serving("").await, "requests are still served");
}

#[tokio::test]
async fn a_gap_in_a_ticket_stops_the_projection() {
    stops_at(|ticket| {
        ticket.next_seq += 1;
        vec![ticket.written(AGENT, MessageKind::Chat, "one is missing before this")]
    })
    .await;
}

#[tokio::test]
async fn an_event_from_before_stops_the_projection() {
    stops_at(|ticket| {
        ticket.next_seq -= 1;
        vec![ticket.written(AGENT, MessageKind::Chat, "this place is taken")]
    })
    .await;
}

#[tokio::test]
async fn a_refused_position_waits_for_a_rebuild() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let history = Running::start(config.clone()).await;
    let mut ticket = Writer::new(1, 3, 7);
    feed.send(vec![ticket.opened(12)]);
    history.ticket_at(&viewer(1), 7, 1).await;
    let refusal = with_reason(
        Code::FailedPrecondition,
        "FEED_REPLACED",
        "another database",
    );
    feed.behave(Manners {
        refusal: Some(refusal),
        ..Manners::default()
    });
    history.stop().await;

    let history = Running::start(config).await;
    let state = "plazo_history_projection_state{state=\"rebuilding\"}";
    eventually("the projection waits", async || {
        history.metric(state).await.filter(|it| *it > 0.5)
    })
    .await;
    // What is known is shown meanwhile.
    assert_eq!(history.ticket_at(&viewer(1), 7, 1).await.ticket_seq, 1);
}

#[tokio::test]
async fn a_feed_that_is_away_is_tried_again() {
    let feed = Feed::start().await;
    let refusal = with_reason(Code::Unavailable, "SHUTTING_DOWN", "later");
    feed.behave(Manners {
        refusal: Some(refusal),
        ..Manners::default()
    });
    let history = Running::fresh(&feed).await;
    let mut ticket = Writer::new(1, 3, 7);
    feed.send(vec![ticket.opened(12)]);
    eventually("the stream is asked for again", async || {
        (feed.asked_positions().len() >= 3).then_some(())
    })
    .await;
    feed.behave(Manners::default());
    history.ticket_at(&viewer(1), 7, 1).await;
    eventually("the lag falls to zero while nothing comes", async || {
        history
            .metric("plazo_history_feed_lag_seconds")
            .await
            .filter(|lag| *lag == 0.0)
    })
    .await;
}

#[tokio::test]
async fn two_consumers_apply_each_event_once() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let (one, other) = (
        Running::start(config.clone()).await,
        Running::start(config).await,
    );
    eventually("both read the feed", async || {
        (feed.asked_positions().len() >= 2).then_some(())
    })
    .await;
    let mut talk = Talk::of(10);
    talk.send_openings(&feed);
    talk.send_batches(&feed, 40);
    talk.check(&one).await;
    let events = "plazo_history_feed_events_total";
    let superseded = "plazo_history_feed_batches_total{outcome=\"superseded\"}";
    let count = async |name: &str| {
        one.metric(name).await.unwrap_or(0.0) + other.metric(name).await.unwrap_or(0.0)
    };
    eventually("the counters of both tell all events", async || {
        (count(events).await >= 410.0).then_some(())
    })
    .await;
    assert!(
        (count(events).await - 410.0).abs() < 0.5,
        "none was applied twice"
    );
    assert!(count(superseded).await >= 1.0, "they met");

    // Whoever is left goes on.
    one.kill().await;
    talk.send_batches(&feed, 5);
    talk.check(&other).await;
    assert!(other.is_serving(HEALTH_NAME).await);
}
