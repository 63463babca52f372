//! A whole conversation through four processes.

use std::time::Duration;

use plazo_proto::history::v1::{
    ConversationEntryKind, GetTicketHistoryRequest, ListConversationRequest,
};
use plazo_proto::ticketing::v1::{CloseSource, Stage, TicketState};
use plazo_tests::cluster::{Cluster, Durability};
use plazo_tests::desk::{CLOSING_TEXT, Desk, EXIT_ROUTE, Stages};
use plazo_tests::ledger::Ledger;
use plazo_tests::truth::Databases;

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_customer_is_alerted_warned_and_closed_through_four_processes() {
    let cluster = Cluster::start(Durability::Fast).await;
    let databases = Databases::open(&cluster).await;
    let stages = Stages {
        first_alert_s: 1,
        second_alert_s: 2,
        warning_and_close_s: Some((3, 5)),
    };
    let desk = Desk::set_up(&cluster, 7, stages).await;

    let silent = desk.open_ticket().await.ticket_id;
    desk.agent_writes(silent, "Hello").await;
    let lively = desk.open_ticket().await.ticket_id;
    desk.agent_writes(lively, "Hello").await;
    desk.customer_writes(lively, "Hello to you").await;

    let account = Ledger::settle_and_check(&databases, &[&desk], Duration::from_secs(5)).await;
    let fired: Vec<_> = account
        .fired
        .iter()
        .map(|fired| (fired.ticket_id, fired.cycle, fired.stage))
        .collect();
    let expected = [
        Stage::FirstAlert,
        Stage::SecondAlert,
        Stage::Warning,
        Stage::Close,
    ];
    assert_eq!(fired, expected.map(|stage| (silent, 1, stage)));

    desk.show_history().await;
    assert_history(&desk, silent, lively).await;
    cluster.stop().await;
}

/// History shows the closed ticket with its whole conversation, and the open one as open.
async fn assert_history(desk: &Desk, silent: i64, lively: i64) {
    let ticket = async |ticket_id| {
        let request = GetTicketHistoryRequest { ticket_id };
        let answer = desk.history.clone().get_ticket_history(request).await;
        let ticket = answer.expect("history has the ticket").into_inner().ticket;
        ticket.expect("the ticket comes back")
    };
    assert_eq!(ticket(lively).await.state(), TicketState::Open);
    let closed = ticket(silent).await;
    assert_eq!(closed.state(), TicketState::Closed);
    assert_eq!(closed.tags, ["silent"]);
    let closure = closed.closure.expect("a closed ticket has a closure");
    assert_eq!(closure.source(), CloseSource::CustomerInactivity);
    assert_eq!(closure.exit_route, EXIT_ROUTE);

    let request = ListConversationRequest {
        ticket_id: silent,
        ..ListConversationRequest::default()
    };
    let answer = desk.history.clone().list_conversation(request).await;
    let entries = answer.expect("history has the conversation").into_inner();
    let said: Vec<_> = entries
        .entries
        .into_iter()
        .map(|entry| (entry.kind(), entry.message.unwrap_or_default().text))
        .collect();
    let expected = [
        (ConversationEntryKind::Chat, "Hello"),
        (ConversationEntryKind::Warning, "Rui, we close in 2 s."),
        (ConversationEntryKind::ClosingText, CLOSING_TEXT),
    ];
    assert_eq!(said, expected.map(|(kind, text)| (kind, text.to_owned())));
}
