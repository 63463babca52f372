//! Many tickets or messages in one call: an answer for each, in the order asked.

mod racing;

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::{
    CloseTicketsRequest, ClosingNote, ListMessagesRequest, MessageKind, RecordMessageRequest,
    RecordMessagesRequest, RecordMessagesResponse, TicketState, message_result,
};
use tonic::{Code, Status};

use super::calls::{Change, close_many, tag, tag_many, tagging, told_error};
use crate::desk::{Desk, ids};
use crate::support::{TENANT, refusal, request_id, wrong_fields};

fn owned(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|&tag| tag.to_owned()).collect()
}

fn not_found() -> (Code, String, String) {
    (Code::NotFound, "TICKET_NOT_FOUND".to_owned(), String::new())
}

fn closing(ticket_ids: &[i64]) -> CloseTicketsRequest {
    CloseTicketsRequest {
        ticket_ids: ticket_ids.to_vec(),
        ..Default::default()
    }
}

/// Opens tickets of the desk's bot.
async fn open_many(desk: &Desk, count: usize) -> Vec<i64> {
    let mut opened = Vec::with_capacity(count);
    for _ in 0..count {
        opened.push(desk.open().await.ticket_id);
    }
    opened
}

/// A ticket of another bot, and a caller who may not use that bot.
async fn of_another_bot(desk: &Desk) -> (i64, crate::support::Clients) {
    let bot_id = desk.people.clone().create_bot("Compras").await.bot_id;
    let mut opening = desk.opening();
    opening.bot_id = bot_id;
    let ticket_id = desk.open_as(opening).await.ticket_id;
    let scope = desk.bot_id.to_string();
    let clients = desk
        .fixture
        .as_actor("administrator/2", "tickets:attend", &scope);
    (ticket_id, clients)
}

#[tokio::test]
async fn tags_are_added_and_removed_ticket_by_ticket() {
    let desk = Desk::start().await;
    let [one, two, closed, full] = open_many(&desk, 4).await[..] else {
        panic!("four tickets")
    };
    let (foreign, restricted) = of_another_bot(&desk).await;
    let done = Change::Close.make(&desk.people, closed).await;
    done.expect("closed");
    let twenty: Vec<String> = (0..20).map(|place| format!("t{place:02}")).collect();
    let twenty: Vec<&str> = twenty.iter().map(String::as_str).collect();
    tag(&desk, full, &twenty, &[]).await;
    tag(&desk, two, &["b", "old"], &[]).await;
    let before_full = desk.ticket(full).await;

    let asked = [two, foreign, closed, 100_000, full, one];
    let request = tagging(&asked, &["b", "a"], &["old", "never"]);
    let items = tag_many(&restricted, request).await.expect("answered");
    assert_eq!(items.iter().map(|item| item.0).collect::<Vec<_>>(), asked);
    let too_many = (
        Code::InvalidArgument,
        "FIELD_INVALID".to_owned(),
        "add_tags".to_owned(),
    );
    let outcomes: Vec<_> = items
        .iter()
        .map(|(_, outcome)| outcome.clone().map(|ticket| ticket.tags))
        .collect();
    assert_eq!(
        outcomes,
        [
            Ok(owned(&["a", "b"])),
            Err(not_found()),
            Ok(owned(&["a", "b"])),
            Err(not_found()),
            Err(too_many),
            Ok(owned(&["a", "b"])),
        ]
    );
    for (ticket_id, outcome) in items {
        if let Ok(ticket) = outcome {
            assert_eq!(desk.ticket(ticket_id).await, ticket);
        }
    }
    assert_eq!(desk.ticket(full).await, before_full);
    let story = desk.story(two).await;
    assert_eq!(
        story.last().expect("an event"),
        r#"tags +["a"] -["old"]"#,
        "what was there already is no news"
    );
    // Again: nothing changes, and nothing is told.
    let before = desk.ticket(two).await;
    assert_eq!(tag(&desk, two, &["b", "a"], &["old"]).await, before);
    assert_eq!(desk.story(two).await, story);
}

#[tokio::test]
async fn taking_tags_away_is_never_refused() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let twenty: Vec<String> = (0..20).map(|place| format!("t{place:02}")).collect();
    let twenty: Vec<&str> = twenty.iter().map(String::as_str).collect();
    tag(&desk, ticket_id, &twenty, &[]).await;
    // As the tags of a close come on top.
    sqlx::query("UPDATE tickets SET tags = tags || ARRAY['u', 'v'] WHERE ticket_id = $1")
        .bind(ticket_id)
        .execute(&desk.fixture.pool)
        .await
        .expect("updated");
    assert_eq!(tag(&desk, ticket_id, &[], &["t00"]).await.tags.len(), 21);
    let request = tagging(&[ticket_id], &["w", "x"], &["t01"]);
    let (_, outcome) = tag_many(&desk.people, request)
        .await
        .expect("answered")
        .remove(0);
    assert_eq!(outcome.expect_err("22 tags").2, "add_tags");
    let swapped = tag(&desk, ticket_id, &["w"], &["t01"]).await;
    assert_eq!(swapped.tags.len(), 21);
}

#[tokio::test]
async fn ill_formed_batches_are_refused_whole() {
    let desk = Desk::start().await;
    let before = desk.open().await;
    let id = before.ticket_id;
    let too_many: Vec<i64> = (1..=501).collect();
    let long = "x".repeat(65);
    let many_tags: Vec<String> = (0..21).map(|place| place.to_string()).collect();
    let many_tags: Vec<&str> = many_tags.iter().map(String::as_str).collect();
    let cases: Vec<(_, &[&str])> = vec![
        (tagging(&[], &["a"], &[]), &["ticket_ids"]),
        (tagging(&too_many, &["a"], &[]), &["ticket_ids"]),
        (
            tagging(&[id, 0, id, -1], &["a"], &[]),
            &["ticket_ids[1]", "ticket_ids[2]", "ticket_ids[3]"],
        ),
        (tagging(&[id], &[], &[]), &["add_tags"]),
        (
            tagging(&[id], &["a", "", "a"], &[]),
            &["add_tags[1]", "add_tags[2]"],
        ),
        (
            tagging(&[id], &[&long], &["a\u{1f}"]),
            &["add_tags[0]", "remove_tags[0]"],
        ),
        (tagging(&[id], &["a"], &["b", "a"]), &["remove_tags[1]"]),
        (tagging(&[id], &many_tags, &[]), &["add_tags"]),
        (tagging(&[id], &[], &many_tags), &["remove_tags"]),
    ];
    for (request, fields) in cases {
        let what = format!("{request:?}");
        let refused = tag_many(&desk.people, request).await;
        assert_eq!(wrong_fields(refused), fields, "{what}");
    }
    let mut request = tagging(&[id], &["a"], &[]);
    request.request_id = "x".to_owned();
    assert_eq!(
        wrong_fields(tag_many(&desk.people, request).await),
        ["request_id"]
    );

    for (ticket_ids, fields) in [
        (vec![], vec!["ticket_ids"]),
        (too_many, vec!["ticket_ids"]),
        (vec![id, id], vec!["ticket_ids[1]"]),
        (vec![0], vec!["ticket_ids[0]"]),
    ] {
        let refused = close_many(&desk.people, closing(&ticket_ids)).await;
        assert_eq!(wrong_fields(refused), fields);
    }
    let mut request = closing(&[id]);
    request.source = 99;
    assert_eq!(
        wrong_fields(close_many(&desk.people, request).await),
        ["source"]
    );
    let mut request = closing(&[id]);
    request.note = Some(ClosingNote {
        category: "x".repeat(101),
        summary: String::new(),
    });
    let refused = close_many(&desk.people, request).await;
    assert_eq!(wrong_fields(refused), ["note.category"]);
    assert_eq!(desk.ticket(id).await, before);
}

#[tokio::test]
async fn five_hundred_tickets_are_closed_with_an_answer_for_each() {
    let desk = Desk::with_policy().await;
    let mut asked = desk.bulk(495, 5.0).await;
    let (foreign, restricted) = of_another_bot(&desk).await;
    let closed = desk.bulk(3, 5.0).await;
    for &ticket_id in &closed {
        let done = Change::Close.make(&desk.people, ticket_id).await;
        done.expect("closed");
    }
    asked.extend(closed.iter().copied());
    asked.extend([foreign, 1_000_000]);
    asked.reverse();
    let mut request = closing(&asked);
    request.request_id = request_id();
    request.note = Some(ClosingNote {
        category: "sale".to_owned(),
        summary: "bought two".to_owned(),
    });
    let first = close_many(&restricted, request.clone()).await;
    let first = first.expect("answered");
    assert_eq!(first.iter().map(|item| item.0).collect::<Vec<_>>(), asked);
    for (ticket_id, outcome) in &first {
        match outcome {
            Ok(ticket) => {
                assert_eq!(ticket.state(), TicketState::Closed);
                let closure = ticket.closure.as_ref().expect("a closure");
                assert_eq!(closure.note, request.note);
            }
            Err(error) if [foreign, 1_000_000].contains(ticket_id) => {
                assert_eq!(*error, not_found());
            }
            Err((code, reason, _)) => {
                assert!(closed.contains(ticket_id), "{ticket_id}: {reason}");
                assert_eq!(
                    (*code, &**reason),
                    (Code::FailedPrecondition, "TICKET_CLOSED")
                );
            }
        }
    }
    assert_eq!(first.iter().filter(|item| item.1.is_ok()).count(), 495);
    // The first answer again, although all are closed now.
    let again = close_many(&restricted, request).await.expect("answered");
    assert_eq!(again, first);
    let sample = asked[250];
    assert_eq!(desk.story(sample).await, ["closed by Api"]);
    // Those that were refused are as they were.
    assert_eq!(desk.ticket(foreign).await.state(), TicketState::Waiting);
}

#[tokio::test]
async fn an_answer_that_no_caller_could_take_changes_nothing() {
    let desk = Desk::with_policy().await;
    let tickets = desk.bulk(400, 5.0).await;
    let mut request = closing(&tickets);
    request.note = Some(ClosingNote {
        category: String::new(),
        summary: "\u{1f600}".repeat(4_000),
    });
    let refused = close_many(&desk.people, request.clone()).await;
    assert_eq!(wrong_fields(refused), ["ticket_ids"]);
    assert_eq!(desk.ticket(tickets[0]).await.state(), TicketState::Open);
    request.ticket_ids.truncate(200);
    let items = close_many(&desk.people, request).await.expect("answered");
    assert!(items.iter().all(|item| item.1.is_ok()));
}

async fn record_many(
    desk: &Desk,
    messages: Vec<RecordMessageRequest>,
    request_id: &str,
) -> Result<RecordMessagesResponse, Status> {
    let request = RecordMessagesRequest {
        messages,
        request_id: request_id.to_owned(),
    };
    let answer = desk.people.tickets.clone().record_messages(request).await?;
    Ok(answer.into_inner())
}

/// Code, reason and field of the items that failed, by place.
fn failures(answer: &RecordMessagesResponse) -> Vec<(usize, Code, String, String)> {
    let results = answer.results.iter().enumerate();
    let failed = results.filter_map(|(place, result)| match result.result.clone() {
        Some(message_result::Result::Error(error)) => {
            let (code, reason, field) = told_error(error);
            Some((place, code, reason, field))
        }
        _ => None,
    });
    failed.collect()
}

fn with(
    mut message: RecordMessageRequest,
    change: impl Fn(&mut RecordMessageRequest),
) -> RecordMessageRequest {
    change(&mut message);
    message
}

#[tokio::test]
async fn messages_are_recorded_in_their_order_and_wrong_ones_stop_no_others() {
    let desk = Desk::with_policy().await;
    let tickets = ids(&desk.answered(2).await);
    let (one, two) = (tickets[0], tickets[1]);
    let foreigner = desk.fixture.administrator_of(TENANT + 1);
    let foreign_contact = foreigner.clone().create_contact("Eva", "eva").await;
    let customer = |ticket_id, text: &str| {
        with(desk.message(ticket_id, AuthorKind::Customer), |message| {
            message.text = text.to_owned();
        })
    };
    let agent = |ticket_id, text: &str| {
        with(desk.message(ticket_id, AuthorKind::Agent), |message| {
            message.text = text.to_owned();
        })
    };
    let messages = vec![
        customer(one, "1"),
        customer(two, "a"),
        customer(one, ""),
        agent(one, "2"),
        customer(100_000, "lost"),
        with(agent(one, "x"), |it| {
            it.author = Some(Author {
                kind: AuthorKind::Agent.into(),
                id: 999,
            });
        }),
        with(customer(one, "x"), |it| it.kind = MessageKind::Note.into()),
        with(customer(two, "x"), |it| it.ticket_id = 0),
        with(customer(two, "x"), |it| it.request_id = request_id()),
        with(customer(two, "x"), |it| it.author = None),
        with(customer(two, "x"), |it| {
            it.author.as_mut().expect("one").id = foreign_contact.contact_id;
        }),
        with(customer(two, "x"), |it| {
            it.attachment_urls = vec!["ftp://a".to_owned()];
        }),
        customer(one, "3"),
        with(agent(two, "b"), |it| it.kind = MessageKind::Note.into()),
    ];
    let id = request_id();
    let first = record_many(&desk, messages.clone(), &id).await;
    let first = first.expect("answered");
    assert_eq!(first.results.len(), messages.len());
    let wrong = |place, field: &str| {
        let reason = "FIELD_INVALID".to_owned();
        (place, Code::InvalidArgument, reason, field.to_owned())
    };
    assert_eq!(
        failures(&first),
        [
            wrong(2, "text"),
            (
                4,
                Code::NotFound,
                "TICKET_NOT_FOUND".to_owned(),
                String::new()
            ),
            wrong(5, "author.id"),
            wrong(6, "kind"),
            wrong(7, "ticket_id"),
            wrong(8, "request_id"),
            wrong(9, "author"),
            wrong(10, "author.id"),
            wrong(11, "attachment_urls[0]"),
        ]
    );
    for (place, ticket_id, text) in [(0, one, "1"), (1, two, "a"), (3, one, "2"), (12, one, "3")] {
        let Some(message_result::Result::Recorded(recorded)) = &first.results[place].result else {
            panic!("{place}")
        };
        let message = recorded.message.as_ref().expect("a message");
        assert_eq!((message.ticket_id, &*message.text), (ticket_id, text));
        let ticket = recorded.ticket.as_ref().expect("the ticket");
        assert_eq!(*ticket, desk.ticket(ticket_id).await, "after the batch");
    }
    assert_eq!(
        desk.story(one).await[2..],
        ["Customer wrote", "Agent wrote", "Customer wrote"]
    );
    assert_eq!(
        desk.story(two).await[2..],
        ["Customer wrote", "Agent noted"]
    );
    let request = ListMessagesRequest {
        ticket_id: one,
        ..Default::default()
    };
    let listed = desk.people.tickets.clone().list_messages(request).await;
    let listed = listed.expect("listed").into_inner().messages;
    let texts: Vec<&str> = listed.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(texts, ["Hola", "1", "2", "3"]);

    let again = record_many(&desk, messages.clone(), &id).await;
    assert_eq!(again.expect("answered"), first);
    let reused = record_many(&desk, messages[..1].to_vec(), &id).await;
    assert_eq!(
        refusal(reused),
        (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned())
    );
    assert_eq!(desk.story(one).await.len(), 5);
}

#[tokio::test]
async fn batches_of_messages_have_bounds() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let message = desk.message(ticket_id, AuthorKind::Customer);
    let none = record_many(&desk, Vec::new(), "x").await;
    assert_eq!(wrong_fields(none), ["request_id", "messages"]);
    let many = record_many(&desk, vec![message.clone(); 201], "").await;
    assert_eq!(wrong_fields(many), ["messages"]);
    assert_eq!(desk.story(ticket_id).await, ["opened"]);
    let most = record_many(&desk, vec![message.clone(); 200], "").await;
    let most = most.expect("answered");
    assert!(failures(&most).is_empty());
    assert_eq!(desk.story(ticket_id).await.len(), 201);
    // As long as they may be, they fit.
    let long = with(message, |it| it.text = "x".repeat(16_384));
    let long = vec![long; 200];
    let answer = record_many(&desk, long.clone(), "").await;
    assert!(failures(&answer.expect("answered")).is_empty());
    // With a ticket full of tags in each answer they don't, and nothing is recorded.
    let tags: Vec<String> = ('a'..='t')
        .map(|it| it.to_string() + &"\u{1f600}".repeat(63))
        .collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let before = tag(&desk, ticket_id, &tags, &[]).await;
    let refused = record_many(&desk, long, "").await;
    assert_eq!(wrong_fields(refused), ["messages"]);
    assert_eq!(desk.ticket(ticket_id).await, before);
}

#[tokio::test]
async fn replies_to_a_ticket_that_was_closed_long_ago_share_a_new_one() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let unlinked = Change::Unlink.make(&desk.people, ticket_id).await;
    unlinked.expect("unlinked");
    let message = desk.message(ticket_id, AuthorKind::Customer);
    let answer = record_many(&desk, vec![message; 3], "").await;
    let mut heard_in = std::collections::HashSet::new();
    for result in answer.expect("answered").results {
        let Some(message_result::Result::Recorded(recorded)) = result.result else {
            panic!("refused")
        };
        heard_in.insert(recorded.ticket.expect("a ticket").ticket_id);
    }
    let heard_in: Vec<i64> = heard_in.into_iter().collect();
    let [linked] = heard_in[..] else {
        panic!("{heard_in:?}")
    };
    assert_ne!(linked, ticket_id);
    assert_eq!(
        desk.story(linked).await,
        [
            "opened",
            "Customer wrote",
            "Customer wrote",
            "Customer wrote"
        ]
    );
}
