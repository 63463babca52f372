//! What people and systems write.

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    ListMessagesRequest, Message, MessageKind, RecordMessageRequest, TicketState,
};
use prost_types::Timestamp;
use tonic::Code;

use super::{close, closing};
use crate::desk::Desk;
use crate::support::{refusal, wrong_fields};

async fn messages(desk: &Desk, ticket_id: i64) -> Vec<Message> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListMessagesRequest {
            ticket_id,
            page_size: 2,
            page_token,
        };
        let page = desk.people.tickets.clone().list_messages(request).await;
        let page = page.expect("a page").into_inner();
        assert!(page.messages.len() <= 2);
        all.extend(page.messages);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

#[tokio::test]
async fn each_author_moves_the_ticket_as_he_should() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.open().await.ticket_id;
    let mut recorded = Vec::new();
    // Who writes, the state and the number of the running cycle after it.
    let steps = [
        (AuthorKind::Bot, TicketState::Waiting, None),
        (AuthorKind::Customer, TicketState::Waiting, None),
        (AuthorKind::Agent, TicketState::Open, Some(1)),
        (AuthorKind::System, TicketState::Open, Some(1)),
        (AuthorKind::Bot, TicketState::Open, Some(1)),
        (AuthorKind::Agent, TicketState::Open, Some(2)),
        (AuthorKind::Customer, TicketState::Open, None),
    ];
    for (author, state, cycle) in steps {
        let answer = desk
            .record(desk.message(ticket_id, author))
            .await
            .expect("recorded");
        let ticket = answer.ticket.expect("the ticket");
        assert_eq!(ticket.state(), state, "{author:?}");
        assert_eq!(
            ticket.inactivity_cycle.map(|cycle| cycle.cycle),
            cycle,
            "{author:?}"
        );
        recorded.push(answer.message.expect("the message"));
    }
    assert_eq!(messages(&desk, ticket_id).await, recorded);
    let ids: Vec<_> = recorded
        .iter()
        .map(|message| message.author.expect("an author").id)
        .collect();
    let (bot, contact, agent) = (desk.bot_id, desk.contact_id, desk.agent_id);
    assert_eq!(ids, [bot, contact, agent, 0, bot, agent, contact]);
    let events = desk.events(ticket_id).await;
    for (event, message) in events[2..].iter().zip(&recorded) {
        let Some(Payload::MessageRecorded(payload)) = &event.payload else {
            panic!("{event:?}")
        };
        assert_eq!(payload.message.as_ref(), Some(message));
        assert_eq!(
            (event.ticket_seq, event.author),
            (message.ticket_seq, message.author)
        );
    }
}

#[tokio::test]
async fn notes_change_nothing_about_who_waits() {
    let desk = Desk::with_policy().await;
    let before = desk.answered(1).await.remove(0);
    let note = RecordMessageRequest {
        ticket_id: before.ticket_id,
        kind: MessageKind::Note.into(),
        text: "calls back".to_owned(),
        ..Default::default()
    };
    let answer = desk
        .agent
        .tickets
        .clone()
        .record_message(note.clone())
        .await;
    let answer = answer.expect("recorded").into_inner();
    let after = answer.ticket.expect("the ticket");
    assert_eq!(after.inactivity_cycle, before.inactivity_cycle);
    assert_eq!(after.next_due_time, before.next_due_time);
    assert_eq!(
        answer.message.expect("the message").kind(),
        MessageKind::Note
    );
    assert_eq!(desk.story(before.ticket_id).await[2..], ["Agent noted"]);

    // Nor do they open a closed ticket, or the words of bots and systems.
    close(&desk.agent, closing(before.ticket_id))
        .await
        .expect("closed");
    desk.agent
        .tickets
        .clone()
        .record_message(note)
        .await
        .expect("recorded");
    for author in [AuthorKind::Bot, AuthorKind::System] {
        let ticket = desk.writes(before.ticket_id, author).await;
        assert_eq!(ticket.state(), TicketState::Closed);
        assert!(ticket.inactivity_cycle.is_none());
    }
    // The agent's do.
    let opened = desk.writes(before.ticket_id, AuthorKind::Agent).await;
    assert_eq!((opened.state(), opened.closure), (TicketState::Open, None));
    let story = desk.story(before.ticket_id).await;
    assert_eq!(story[story.len() - 2..], ["reopened Open", "Agent wrote"]);

    let mut of_customer = desk.message(before.ticket_id, AuthorKind::Customer);
    of_customer.kind = MessageKind::Note.into();
    assert_eq!(wrong_fields(desk.record(of_customer).await), ["kind"]);
}

#[tokio::test]
async fn an_attachment_is_an_answer_and_texts_come_back_as_they_were() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let mut attachment = desk.message(ticket_id, AuthorKind::Customer);
    attachment.text = String::new();
    attachment.attachment_urls = vec!["HTTPS://example.com/é?x=1".to_owned(); 10];
    attachment.channel_time = Some(Timestamp {
        seconds: 4_000_000_000,
        nanos: 0,
    });
    let answer = desk.record(attachment.clone()).await.expect("recorded");
    assert!(
        answer
            .ticket
            .expect("the ticket")
            .inactivity_cycle
            .is_none()
    );
    let message = answer.message.expect("the message");
    assert_eq!(message.attachment_urls, attachment.attachment_urls);
    assert_eq!(
        message.channel_time, message.record_time,
        "the future is replaced by the arrival"
    );

    let mut long = desk.message(ticket_id, AuthorKind::Agent);
    long.text = "👩‍👩‍👧 \u{202e}x\r\n\t".to_owned() + &"é".repeat(16_370);
    long.channel_time = Some(Timestamp {
        seconds: -62_135_596_800,
        nanos: 0,
    });
    let message = desk.record(long.clone()).await.expect("recorded").message;
    let message = message.expect("the message");
    assert_eq!(
        (&message.text, message.channel_time),
        (&long.text, long.channel_time)
    );
    assert_eq!(messages(&desk, ticket_id).await.last(), Some(&message));
}

#[tokio::test]
async fn nobody_writes_as_somebody_else() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let author = |kind: AuthorKind, id| {
        Some(Author {
            kind: kind.into(),
            id,
        })
    };
    let own = author(AuthorKind::Agent, desk.agent_id);
    let request = |author| RecordMessageRequest {
        ticket_id,
        author,
        text: "Hola".to_owned(),
        ..Default::default()
    };
    let as_agent = async |author| {
        desk.agent
            .tickets
            .clone()
            .record_message(request(author))
            .await
    };
    for unsaid in [None, author(AuthorKind::Unspecified, 0), own] {
        let message = as_agent(unsaid)
            .await
            .expect("recorded")
            .into_inner()
            .message;
        assert_eq!(message.expect("the message").author, own);
    }
    for other in [
        author(AuthorKind::Agent, desk.agent_id + 1),
        author(AuthorKind::Customer, 0),
        author(AuthorKind::System, 0),
    ] {
        assert_eq!(wrong_fields(as_agent(other).await), ["author"]);
    }
    // Agents who are not known at all write nothing.
    let stranger = desk.fixture.as_actor("agent/999999", "tickets:attend", "*");
    let refused = stranger.tickets.clone().record_message(request(None)).await;
    assert_eq!(
        refusal(refused),
        (Code::PermissionDenied, "AGENT_UNKNOWN".to_owned())
    );

    for (said, field) in [
        (None, "author"),
        (author(AuthorKind::Administrator, 1), "author.kind"),
        (author(AuthorKind::Service, 0), "author.kind"),
        (Some(Author { kind: 99, id: 0 }), "author.kind"),
        (
            author(AuthorKind::Customer, desk.contact_id + 1),
            "author.id",
        ),
        (author(AuthorKind::Bot, desk.bot_id + 1), "author.id"),
        (author(AuthorKind::System, 1), "author.id"),
        (author(AuthorKind::Agent, desk.agent_id + 1), "author.id"),
        (author(AuthorKind::Agent, 0), "author.id"),
        (author(AuthorKind::Agent, -1), "author.id"),
    ] {
        assert_eq!(
            wrong_fields(desk.record(request(said)).await),
            [field],
            "{said:?}"
        );
    }
    assert_eq!(desk.story(ticket_id).await.len(), 4);
}
