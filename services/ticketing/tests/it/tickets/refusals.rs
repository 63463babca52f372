//! What is refused, and changes nothing.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, CloseSource, CloseTicketRequest, ClosingNote, GetTicketRequest,
    ListMessagesRequest, ListTicketEventsRequest, ListTicketsRequest, MessageKind,
    OpenTicketRequest, RecordMessageRequest, ReopenTicketRequest, TicketFilter,
    WatchTicketsRequest,
};
use prost_types::Timestamp;
use tonic::{Code, Status};

use super::{assign, assigning, close, closing, reopen, reopening};
use crate::desk::{Desk, create_agent};
use crate::support::{Clients, TENANT, refusal, wrong_fields};

/// What each RPC about one ticket answers.
/// `author`: whether the actor must say who wrote.
async fn all_rpcs(
    desk: &Desk,
    clients: &Clients,
    ticket_id: i64,
    author: bool,
) -> Vec<Result<(), Status>> {
    let mut tickets = clients.tickets.clone();
    let message = RecordMessageRequest {
        kind: MessageKind::Note.into(),
        // Agents write as themselves.
        author: author
            .then(|| desk.message(ticket_id, AuthorKind::Bot).author)
            .flatten(),
        ..desk.message(ticket_id, AuthorKind::Bot)
    };
    let events = ListTicketEventsRequest {
        ticket_id,
        ..Default::default()
    };
    let messages = ListMessagesRequest {
        ticket_id,
        ..Default::default()
    };
    vec![
        tickets
            .get_ticket(GetTicketRequest { ticket_id })
            .await
            .map(drop),
        assign(clients, assigning(ticket_id, desk.agent_id))
            .await
            .map(drop),
        tickets.record_message(message).await.map(drop),
        tickets.list_messages(messages).await.map(drop),
        close(clients, closing(ticket_id)).await.map(drop),
        reopen(clients, reopening(ticket_id)).await.map(drop),
        tickets.list_ticket_events(events).await.map(drop),
    ]
}

#[tokio::test]
async fn what_is_not_ones_own_does_not_exist() {
    let desk = Desk::start().await;
    let other_bot = desk.people.clone().create_bot("Compras").await.bot_id;
    let ticket = desk.open().await;
    let foreigner = desk.fixture.administrator_of(TENANT + 1);
    let restricted =
        desk.fixture
            .as_actor("administrator/2", "tickets:attend", &other_bot.to_string());
    let nothing = desk.fixture.as_actor("agent/1", "tickets:attend", "");
    let not_found = (Code::NotFound, "TICKET_NOT_FOUND".to_owned());
    for (clients, author) in [(&foreigner, true), (&restricted, true), (&nothing, false)] {
        let of_others = all_rpcs(&desk, clients, ticket.ticket_id, author).await;
        let of_nobody = all_rpcs(&desk, clients, ticket.ticket_id + 1_000, author).await;
        for (real, unreal) in of_others.into_iter().zip(of_nobody) {
            assert_eq!(refusal(real), not_found);
            assert_eq!(refusal(unreal), not_found);
        }
    }
    assert_eq!(desk.ticket(ticket.ticket_id).await, ticket);
    assert_eq!(desk.story(ticket.ticket_id).await, ["opened"]);
}

#[tokio::test]
async fn each_rpc_needs_its_permission() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let others = "helpdesk:view,helpdesk:edit,builder:edit,history:view,messages:send,reports:view";
    let clients = desk.fixture.as_actor("administrator/1", others, "*");
    for refused in all_rpcs(&desk, &clients, ticket_id, true).await {
        assert_eq!(refusal(refused).0, Code::PermissionDenied);
    }
    let mut tickets = clients.tickets.clone();
    let refused = tickets.open_ticket(desk.opening()).await;
    assert_eq!(refusal(refused).0, Code::PermissionDenied);
    let refused = tickets.list_tickets(ListTicketsRequest::default()).await;
    assert_eq!(refusal(refused).0, Code::PermissionDenied);
    let refused = tickets.watch_tickets(WatchTicketsRequest::default()).await;
    assert_eq!(refusal(refused).0, Code::PermissionDenied);
    // A service that belongs to no tenant has no tickets.
    let service = desk
        .fixture
        .as_actor_of(0, "service/test", "service,tickets:attend", "*");
    for refused in all_rpcs(&desk, &service, ticket_id, true).await {
        assert_eq!(
            refusal(refused),
            (Code::PermissionDenied, "TENANT_REQUIRED".to_owned())
        );
    }
}

#[tokio::test]
async fn wrong_openings_are_refused() {
    let desk = Desk::start().await;
    let mut people = desk.people.clone();
    let other_bot = people.create_bot("Compras").await.bot_id;
    let queue_id = desk.queue("Ventas").await;
    let foreigner = desk.fixture.administrator_of(TENANT + 1);
    let foreign_contact = foreigner
        .clone()
        .create_contact("Eva", "eva")
        .await
        .contact_id;
    let foreign_bot = foreigner.clone().create_bot("Otra").await.bot_id;
    let stranger = create_agent(&people, "Ivo", &[other_bot]).await.agent_id;
    let good = desk.opening();
    let with = |change: &dyn Fn(&mut OpenTicketRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let cases: [(OpenTicketRequest, &[&str]); 8] = [
        (
            OpenTicketRequest {
                bot_id: 0,
                queue_id: -1,
                contact_id: -1,
                agent_id: i64::MIN,
                request_id: "7".to_owned(),
            },
            &["bot_id", "queue_id", "contact_id", "agent_id", "request_id"],
        ),
        (with(&|request| request.bot_id = foreign_bot), &["bot_id"]),
        (with(&|request| request.bot_id = i64::MAX), &["bot_id"]),
        (
            with(&|request| request.queue_id = queue_id + 1),
            &["queue_id"],
        ),
        (
            with(&|request| {
                request.bot_id = other_bot;
                request.queue_id = queue_id;
            }),
            &["queue_id"],
        ),
        (
            with(&|request| request.contact_id = foreign_contact),
            &["contact_id"],
        ),
        (with(&|request| request.agent_id = stranger), &["agent_id"]),
        (with(&|request| request.agent_id = i64::MAX), &["agent_id"]),
    ];
    for (request, fields) in cases {
        let refused = people.tickets.open_ticket(request.clone()).await;
        assert_eq!(wrong_fields(refused), fields, "{request:?}");
    }
    let mut elsewhere = good.clone();
    elsewhere.bot_id = other_bot;
    let refused = desk.agent.tickets.clone().open_ticket(elsewhere).await;
    assert_eq!(
        refusal(refused),
        (Code::PermissionDenied, "BOT_NOT_PERMITTED".to_owned())
    );
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM tickets")
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("counted");
    assert_eq!(count, 0);
}

#[tokio::test]
async fn wrong_changes_are_refused() {
    let desk = Desk::start().await;
    let ticket = desk.open().await;
    let ticket_id = ticket.ticket_id;
    let bad_id = || "not-a-uuid".to_owned();
    let refused = assign(
        &desk.people,
        AssignTicketRequest {
            request_id: bad_id(),
            ..Default::default()
        },
    );
    assert_eq!(
        wrong_fields(refused.await),
        ["ticket_id", "agent_id", "request_id"]
    );
    let refused = assign(&desk.people, assigning(ticket_id, desk.agent_id + 9)).await;
    assert_eq!(wrong_fields(refused), ["agent_id"]);
    let refused = reopen(
        &desk.people,
        ReopenTicketRequest {
            ticket_id: -4,
            request_id: bad_id(),
            ..Default::default()
        },
    );
    assert_eq!(wrong_fields(refused.await), ["ticket_id", "request_id"]);
    let refused = close(
        &desk.people,
        CloseTicketRequest {
            request_id: bad_id(),
            ..Default::default()
        },
    );
    assert_eq!(wrong_fields(refused.await), ["ticket_id", "request_id"]);

    let bad_notes = [
        ("x".repeat(101), String::new(), vec!["note.category"]),
        (
            "a\nb".to_owned(),
            "y".repeat(4_001),
            vec!["note.category", "note.summary"],
        ),
        (String::new(), "a\0b".to_owned(), vec!["note.summary"]),
    ];
    for (category, summary, fields) in bad_notes {
        let mut request = closing(ticket_id);
        request.note = Some(ClosingNote { category, summary });
        assert_eq!(wrong_fields(close(&desk.people, request).await), fields);
    }
    for (clients, source) in [
        (&desk.people, CloseSource::CustomerInactivity as i32),
        (&desk.people, CloseSource::Agent as i32),
        (&desk.people, 99),
        (&desk.agent, CloseSource::Customer as i32),
        (&desk.agent, CloseSource::Api as i32),
    ] {
        let mut request = closing(ticket_id);
        request.source = source;
        assert_eq!(
            wrong_fields(close(clients, request).await),
            ["source"],
            "{source}"
        );
    }
    for id in [0, -1] {
        let request = GetTicketRequest { ticket_id: id };
        assert_eq!(
            wrong_fields(desk.people.tickets.clone().get_ticket(request).await),
            ["ticket_id"]
        );
    }
    let filter = TicketFilter {
        states: vec![1, 0, 7],
        bot_id: -1,
        queue_id: -1,
        agent_id: -1,
    };
    let request = ListTicketsRequest {
        filter: Some(filter),
        ..Default::default()
    };
    assert_eq!(
        wrong_fields(desk.people.tickets.clone().list_tickets(request).await),
        [
            "filter.states[1]",
            "filter.states[2]",
            "filter.bot_id",
            "filter.queue_id",
            "filter.agent_id"
        ]
    );
    assert_eq!(desk.ticket(ticket_id).await, ticket);
}

#[tokio::test]
async fn wrong_messages_are_refused() {
    let desk = Desk::start().await;
    let ticket = desk.open().await;
    let good = desk.message(ticket.ticket_id, AuthorKind::Customer);
    let with = |change: fn(&mut RecordMessageRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let url = |url: &str| {
        let mut request = good.clone();
        request.attachment_urls = vec!["https://example.com/".to_owned(), url.to_owned()];
        request
    };
    let at = |seconds, nanos| {
        let mut request = good.clone();
        request.author = desk.message(1, AuthorKind::Agent).author;
        request.channel_time = Some(Timestamp { seconds, nanos });
        request
    };
    let second_url: &[&str] = &["attachment_urls[1]"];
    let cases: Vec<(RecordMessageRequest, &[&str])> = vec![
        (with(|request| request.text.clear()), &["text"]),
        (with(|request| request.text = "é".repeat(16_385)), &["text"]),
        (with(|request| request.text = "a\0b".to_owned()), &["text"]),
        (
            with(|request| request.text = "\u{1b}[2J".to_owned()),
            &["text"],
        ),
        (
            with(|request| request.text = "\u{85}".to_owned()),
            &["text"],
        ),
        (with(|request| request.kind = 9), &["kind"]),
        (with(|request| request.kind = -1), &["kind"]),
        (with(|request| request.ticket_id = 0), &["ticket_id"]),
        (
            with(|request| request.request_id = "é".to_owned()),
            &["request_id"],
        ),
        (
            with(|request| request.attachment_urls = vec!["https://example.com/".to_owned(); 11]),
            &["attachment_urls"],
        ),
        (url(""), second_url),
        (url("ftp://example.com/"), second_url),
        (url("https://"), second_url),
        (url("https://example.com/a b"), second_url),
        (url("javascript:alert(1)"), second_url),
        (
            url(&format!("https://example.com/{}", "x".repeat(2_048))),
            second_url,
        ),
        (at(0, -1), &["channel_time"]),
        (at(0, 1_000_000_000), &["channel_time"]),
        (at(i64::MAX, 0), &["channel_time"]),
        // Before the year 1: earlier than what the database can store.
        (at(-300_000_000_000, 0), &["channel_time"]),
        (at(-62_135_596_801, 0), &["channel_time"]),
    ];
    for (request, fields) in cases {
        assert_eq!(
            wrong_fields(desk.record(request.clone()).await),
            fields,
            "{request:?}"
        );
    }
    assert_eq!(desk.ticket(ticket.ticket_id).await, ticket);
    // Beyond the limit of a message altogether.
    let huge = with(|request| request.text = "x".repeat(5_000_000));
    let too_large = (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned());
    assert_eq!(refusal(desk.record(huge).await), too_large);
}
