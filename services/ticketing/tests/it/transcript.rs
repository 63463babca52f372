//! The conversation as plain text.

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::{
    GetTranscriptRequest, GetTranscriptResponse, MessageKind, RecordMessageRequest,
};
use tonic::{Code, Status};

use crate::desk::Desk;
use crate::support::{TENANT, refusal, wrong_fields};

async fn transcript(
    desk: &Desk,
    request: GetTranscriptRequest,
) -> Result<GetTranscriptResponse, Status> {
    let answer = desk.agent.tickets.clone().get_transcript(request).await;
    answer.map(tonic::Response::into_inner)
}

fn of(ticket_id: i64) -> GetTranscriptRequest {
    GetTranscriptRequest {
        ticket_id,
        ..Default::default()
    }
}

/// A conversation with a message of each author, a note and a comment.
async fn conversation(desk: &Desk) -> i64 {
    let ticket_id = desk.open().await.ticket_id;
    let bot = Author {
        kind: AuthorKind::Bot.into(),
        id: desk.bot_id,
    };
    let messages = [
        RecordMessageRequest {
            author: Some(bot),
            text: "Hello!\nHow can I help?".to_owned(),
            ..desk.message(ticket_id, AuthorKind::Bot)
        },
        RecordMessageRequest {
            text: String::new(),
            attachment_urls: vec!["https://example.com/bike.png".to_owned()],
            ..desk.message(ticket_id, AuthorKind::Customer)
        },
        RecordMessageRequest {
            kind: MessageKind::Note.into(),
            text: "looks broken".to_owned(),
            ..desk.message(ticket_id, AuthorKind::Agent)
        },
        desk.message(ticket_id, AuthorKind::Agent),
        RecordMessageRequest {
            kind: MessageKind::Comment.into(),
            text: "a regular".to_owned(),
            ..desk.message(ticket_id, AuthorKind::Agent)
        },
        desk.message(ticket_id, AuthorKind::System),
    ];
    for message in messages {
        desk.record(message).await.expect("recorded");
    }
    ticket_id
}

/// Without the times.
fn untimed(text: &str, offset: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("] ") {
        Some((time, rest)) if time.starts_with('[') => {
            assert!(time.len() == 27 && time.ends_with(offset), "{line}");
            rest
        }
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

const OUTSIDE: &str = "Bot Vendas: Hello!
    How can I help?

Customer Ana:
    Attachment: https://example.com/bike.png

Agent Rita: Hola

System: Hola
";

#[tokio::test]
async fn people_read_it_without_what_is_internal() {
    let desk = Desk::start().await;
    let ticket_id = conversation(&desk).await;
    let page = transcript(&desk, of(ticket_id)).await.expect("a page");
    assert_eq!(untimed(&page.text, " +00:00"), OUTSIDE);
    assert_eq!(page.next_page_token, "");

    let request = GetTranscriptRequest {
        include_internal: true,
        time_zone: "America/Sao_Paulo".to_owned(),
        ..of(ticket_id)
    };
    let page = transcript(&desk, request).await.expect("a page");
    let text = untimed(&page.text, " -03:00");
    assert!(
        text.contains("\nAgent Rita (internal note): looks broken\n"),
        "{text}"
    );
    assert!(
        text.contains("\nAgent Rita (internal comment): a regular\n"),
        "{text}"
    );
}

#[tokio::test]
async fn pages_put_together_are_the_whole() {
    let desk = Desk::start().await;
    let ticket_id = conversation(&desk).await;
    let whole = transcript(&desk, of(ticket_id)).await.expect("a page").text;
    let mut text = String::new();
    let mut page_token = String::new();
    for _ in 0..6 {
        let request = GetTranscriptRequest {
            page_size: 1,
            page_token,
            ..of(ticket_id)
        };
        let page = transcript(&desk, request).await.expect("a page");
        text.push_str(&page.text);
        page_token = page.next_page_token;
    }
    assert_eq!((text, page_token), (whole, String::new()));

    let request = GetTranscriptRequest {
        page_size: 1,
        ..of(ticket_id)
    };
    let first = transcript(&desk, request.clone()).await.expect("a page");
    let request = GetTranscriptRequest {
        page_token: first.next_page_token,
        include_internal: true,
        ..request
    };
    assert_eq!(
        wrong_fields(transcript(&desk, request).await),
        ["page_token"]
    );
}

#[tokio::test]
async fn long_messages_make_short_pages() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    for _ in 0..70 {
        let message = RecordMessageRequest {
            text: "x".repeat(16_000),
            ..desk.message(ticket_id, AuthorKind::Customer)
        };
        desk.record(message).await.expect("recorded");
    }
    let page = transcript(&desk, of(ticket_id)).await.expect("a page");
    assert!(page.text.len() < 1_200_000, "{}", page.text.len());
    assert!(!page.next_page_token.is_empty());
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let request = GetTranscriptRequest {
        time_zone: "Mars/Olympus".to_owned(),
        ..of(ticket_id)
    };
    assert_eq!(
        wrong_fields(transcript(&desk, request).await),
        ["time_zone"]
    );
    assert_eq!(wrong_fields(transcript(&desk, of(-1)).await), ["ticket_id"]);
    let request = GetTranscriptRequest {
        page_size: -1,
        ..of(ticket_id)
    };
    assert_eq!(
        wrong_fields(transcript(&desk, request).await),
        ["page_size"]
    );
    let elsewhere = (desk.bot_id + 1).to_string();
    for clients in [
        desk.fixture.administrator_of(TENANT + 1),
        desk.fixture
            .as_actor("agent/1", "tickets:attend", &elsewhere),
    ] {
        let answer = clients.tickets.clone().get_transcript(of(ticket_id)).await;
        assert_eq!(
            refusal(answer),
            (Code::NotFound, "TICKET_NOT_FOUND".to_owned())
        );
    }
}
