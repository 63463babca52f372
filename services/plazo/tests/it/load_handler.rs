//! The handler that `plazo load handler` serves.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plazo_proto::timer::v1::ticket_handler_service_client::TicketHandlerServiceClient;
use plazo_proto::timer::v1::{
    HandleDueTicketsRequest, HandleOutcome, HandledTicket, ListPendingTicketsRequest,
    TicketGeneration,
};
use plazo_service::{Actor, ClientConfig, connect_lazy};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;

use crate::plazo::command;

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = lines.next_line().await.expect("it can be read");
    serde_json::from_str(&line.expect("one more line")).expect("JSON")
}

#[tokio::test]
async fn the_handler_answers_and_counts() {
    let mut child = command(&[
        "load",
        "handler",
        "--listen",
        "127.0.0.1:0",
        "--every",
        "0s",
        "--generation-is-due",
    ])
    .spawn()
    .expect("the command runs");
    let pid = child.id().expect("it runs");
    let pid = Pid::from_raw(pid.try_into().expect("a process id"));
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let listening = next(&mut lines).await;
    let address = listening["address"].as_str().expect("an address");

    let config = ClientConfig::new(format!("http://{address}"));
    let channel = connect_lazy(&config, Actor::service("timer")).expect("an address");
    let mut client = TicketHandlerServiceClient::new(channel);
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let ticket = |ticket_id, generation| TicketGeneration {
        tenant_id: 1,
        ticket_id,
        generation,
    };
    let request = HandleDueTicketsRequest {
        tickets: vec![
            ticket(1, now_ms - 2_000),
            ticket(2, now_ms),
            ticket(3, now_ms + 60_000),
        ],
    };
    let answer = client.handle_due_tickets(request).await.expect("an answer");
    let answer = answer.into_inner();
    let outcomes: Vec<_> = answer.results.iter().map(HandledTicket::outcome).collect();
    assert_eq!(outcomes, [HandleOutcome::Fired; 3]);
    assert!(answer.handler_time.is_some());
    let pending = client
        .list_pending_tickets(ListPendingTicketsRequest::default())
        .await
        .expect("an answer");
    assert!(pending.into_inner().tickets.is_empty());

    kill(pid, Signal::SIGUSR1).expect("it runs");
    let counted = next(&mut lines).await;
    assert_eq!(
        (&counted["calls"], &counted["tickets"], &counted["early"]),
        (&1.into(), &3.into(), &1.into()),
        "{counted}"
    );
    let max_ms = counted["lateness_ms"]["max"].as_f64().expect("a number");
    assert!((2_000.0..60_000.0).contains(&max_ms), "{counted}");
    assert!(
        counted["first_us"].as_i64() >= Some(now_ms * 1_000),
        "{counted}"
    );

    kill(pid, Signal::SIGTERM).expect("it runs");
    let last = next(&mut lines).await;
    assert_eq!(
        (&last["calls"], &last["first_us"]),
        (&0.into(), &Value::Null)
    );
    let status = child.wait().await.expect("it ends");
    assert!(status.success(), "{status}");
}
