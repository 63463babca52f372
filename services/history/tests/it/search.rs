//! How contacts are found.

use plazo_proto::history::v1::{ContactHistory, ContactOrder, SearchContactsRequest};
use plazo_service::Actor;
use plazo_service::status::{reason_of, violations_of};
use tonic::{Code, Request, Status};

use crate::feed::Feed;
use crate::rows::{ContactRow, Rows, TicketRow, run};
use crate::running::{Running, agent, viewer, viewer_of};

/// Id, name, e-mail address and phone number.
const CONTACTS: [(i64, &str, &str, &str); 8] = [
    (
        1,
        "José María Núñez",
        "jose.nunez@exemplo.com.br",
        "+5511987654321",
    ),
    (
        2,
        "Conceição da Sá",
        "conceicao@exemplo.com.br",
        "+5521912345678",
    ),
    (3, "MARIA José Álvarez", "", "+525512345678"),
    (4, "Ángel Ibáñez", "angel_i@ejemplo.mx", ""),
    (5, "João 100% Ção", "", "+351912345678"),
    (6, "Zoë d'Ávila", "z@ejemplo.mx", "+34600111222"),
    (7, "José María Núñez", "", "+5511911112222"),
    (8, "", "sem.nome@exemplo.com.br", "+5585999990000"),
];
const BY_NAME: [i64; 8] = [8, 4, 2, 5, 1, 7, 3, 6];

/// Contacts of tenant 1 with a ticket each that agent 12 attended, the last interaction as many hours ago as the contact's id
/// and a day.
async fn set_up() -> (Feed, Running) {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    let mut rows = Rows::default();
    rows.grant(12);
    for (contact_id, name, email, phone) in CONTACTS {
        let last = format!("now() - interval '{} hours'", 24 + contact_id);
        rows.contact(&ContactRow {
            email: email.to_owned(),
            phone: phone.to_owned(),
            last_interaction_at: last.clone(),
            ..ContactRow::named(contact_id, name)
        });
        rows.attended(&TicketRow {
            contact_id,
            bot_id: 3 + contact_id % 2,
            ..TicketRow::closed(100 + contact_id, &last)
        });
    }
    rows.save(&history.database).await;
    (feed, history)
}

fn words(query: &str) -> SearchContactsRequest {
    SearchContactsRequest {
        query: query.to_owned(),
        ..SearchContactsRequest::default()
    }
}

async fn search(
    history: &Running,
    actor: &Actor,
    message: SearchContactsRequest,
) -> Result<(Vec<ContactHistory>, String), Status> {
    let request = actor.sign(Request::new(message));
    let answer = history.client.clone().search_contacts(request).await?;
    let answer = answer.into_inner();
    Ok((answer.contacts, answer.next_page_token))
}

fn ids(contacts: &[ContactHistory]) -> Vec<i64> {
    contacts
        .iter()
        .map(|contact| contact.contact.as_ref().expect("it is set").contact_id)
        .collect()
}

async fn found(history: &Running, actor: &Actor, message: SearchContactsRequest) -> Vec<i64> {
    let (contacts, token) = search(history, actor, message)
        .await
        .expect("it is answered");
    assert_eq!(token, "");
    ids(&contacts)
}

#[tokio::test]
async fn names_addresses_and_numbers_are_found_in_any_notation() {
    let (_feed, history) = set_up().await;
    for (query, expected) in [
        ("", &BY_NAME[..]),
        // Without regard to case, accents and order; each word is a part.
        ("jose", &[1, 7, 3]),
        ("JOSÉ", &[1, 7, 3]),
        ("nunez maria", &[1, 7]),
        ("maría jos", &[1, 7, 3]),
        ("ñez", &[4, 1, 7]),
        ("ceicao", &[2]),
        ("ÇÃO", &[2, 5]),
        ("d'ávila", &[6]),
        ("100%", &[5]),
        ("angel_i", &[4]),
        ("angelxi", &[]),
        // Addresses, and words in several fields.
        ("exemplo.com", &[8, 2, 1]),
        ("Jose@", &[]),
        ("jose.nunez@EXEMPLO", &[1]),
        ("álvarez 5512345678", &[3]),
        // One or two letters begin a word.
        ("z", &[6]),
        ("sá", &[2]),
        ("an", &[4]),
        ("ãe", &[]),
        ("m j", &[1, 7, 3]),
        // Phones: with and without country code, leading zeros and marks.
        ("+55 (11) 98765-4321", &[1]),
        ("0055 11 98765 4321", &[1]),
        ("011 98765-4321", &[1]),
        ("98765.4321", &[1]),
        ("12345678", &[2, 5, 3]),
        ("+55", &[8, 2, 1, 7]),
        ("maria 12345678", &[3]),
        ("600 111 222 333", &[]),
    ] {
        for actor in [agent(12, &[3, 4]), viewer(1), viewer_of(1, &[3, 4])] {
            let answer = found(&history, &actor, words(query)).await;
            assert_eq!(answer, expected, "{query:?} as {actor:?}");
            let by_interaction = SearchContactsRequest {
                order_by: ContactOrder::LastInteraction.into(),
                ..words(query)
            };
            let answer = search(&history, &actor, by_interaction).await;
            if query.is_empty() && actor == viewer_of(1, &[3, 4]) {
                let status = answer.expect_err("it is too broad");
                assert_eq!(status.code(), Code::FailedPrecondition);
                assert_eq!(reason_of(&status).as_deref(), Some("QUERY_TOO_BROAD"));
                continue;
            }
            let mut by_id = expected.to_vec();
            by_id.sort_unstable();
            let (answer, _) = answer.expect("it is answered");
            assert_eq!(ids(&answer), by_id, "{query:?} as {actor:?}");
        }
    }
    // An address in another tenant is none here.
    assert!(found(&history, &viewer(2), words("jose")).await.is_empty());
}

#[tokio::test]
async fn a_bot_narrows_the_search() {
    let (_feed, history) = set_up().await;
    // Another agent's ticket of contact 1 with bot 3, which makes it a contact of both bots.
    let other = TicketRow {
        contact_id: 1,
        agent_id: 13,
        ..TicketRow::closed(201, "now() - interval '5 days'")
    };
    Rows::default()
        .attended(&other)
        .save(&history.database)
        .await;
    for actor in [agent(12, &[3, 4]), viewer(1), viewer_of(1, &[3, 4])] {
        for order_by in [ContactOrder::Name, ContactOrder::LastInteraction] {
            for (bot_id, expected) in [(3, vec![1, 2, 8]), (4, vec![1])] {
                let message = SearchContactsRequest {
                    bot_id,
                    order_by: order_by.into(),
                    ..words("exemplo")
                };
                let mut answer = found(&history, &actor, message).await;
                answer.sort_unstable();
                assert_eq!(answer, expected, "{actor:?} {bot_id}");
            }
        }
        let all_of_bot = SearchContactsRequest {
            bot_id: 3,
            ..words("")
        };
        let answer = found(&history, &actor, all_of_bot).await;
        assert_eq!(answer, [8, 4, 2, 1, 6], "{actor:?}");
    }
}

#[tokio::test]
async fn what_cant_be_looked_for_is_refused() {
    let (_feed, history) = set_up().await;
    let negative = SearchContactsRequest {
        page_size: -1,
        ..words("ana")
    };
    let order = SearchContactsRequest {
        order_by: 9,
        ..words("ana")
    };
    let token = SearchContactsRequest {
        page_token: "x".to_owned(),
        ..words("ana")
    };
    for (message, field) in [
        (words("?!"), "query"),
        (words(&"a".repeat(201)), "query"),
        (words(&"a ".repeat(11)), "query"),
        (negative, "page_size"),
        (order, "order_by"),
        (token, "page_token"),
    ] {
        let status = search(&history, &viewer(1), message).await;
        let status = status.expect_err("it is refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(violations_of(&status)[0].0, field);
    }
    let of_bot = SearchContactsRequest {
        bot_id: 9,
        ..words("ana")
    };
    let status = search(&history, &agent(12, &[3]), of_bot).await;
    let status = status.expect_err("it is refused");
    assert_eq!(reason_of(&status).as_deref(), Some("BOT_NOT_PERMITTED"));
}

/// Reads all pages of two contacts, and changes the data with `between` after each.
async fn walk(
    history: &Running,
    actor: &Actor,
    mut message: SearchContactsRequest,
    between: &str,
) -> Vec<i64> {
    message.page_size = 2;
    let mut seen = Vec::new();
    loop {
        let page = search(history, actor, message.clone()).await;
        let (contacts, token) = page.expect("the page is shown");
        assert!(contacts.len() <= 2);
        seen.extend(ids(&contacts));
        if token.is_empty() {
            return seen;
        }
        message.page_token = token;
        run(&history.database, between).await;
    }
}

#[tokio::test]
async fn pages_stay_stable_while_contacts_change() {
    let (_feed, history) = set_up().await;
    // Contacts of the first page and of the last one are renamed or written to again and again.
    let changes = "
        UPDATE contacts SET name_key = 'a' || name_key WHERE contact_id = 8;
        UPDATE contacts SET last_interaction_at = last_interaction_at + interval '1 second' WHERE contact_id = 1;
        UPDATE tickets SET last_interaction_at = last_interaction_at + interval '1 second' WHERE contact_id = 1;";
    for actor in [agent(12, &[3, 4]), viewer(1), viewer_of(1, &[3, 4])] {
        for query in ["", "exemplo", "jose"] {
            let message = words(query);
            let all = found(&history, &actor, message.clone()).await;
            assert_eq!(
                walk(&history, &actor, message.clone(), changes).await,
                all,
                "{actor:?}"
            );
            let by_interaction = SearchContactsRequest {
                order_by: ContactOrder::LastInteraction.into(),
                ..message
            };
            if query.is_empty() && actor == viewer_of(1, &[3, 4]) {
                continue;
            }
            let all = found(&history, &actor, by_interaction.clone()).await;
            let walked = walk(&history, &actor, by_interaction, changes).await;
            assert_eq!(walked, all, "{actor:?}");
        }
    }
}

#[tokio::test]
async fn an_agent_is_told_the_last_interaction_that_he_sees() {
    let (_feed, history) = set_up().await;
    // Contact 1: a later ticket of another agent that he sees. Contact 2: later tickets that he does not see. Contact 3: he
    // dealt with it, but its ticket was closed too long ago.
    let of_other = |ticket_id, contact_id, bot_id, closed_at: &str| TicketRow {
        agent_id: 13,
        contact_id,
        bot_id,
        ..TicketRow::closed(ticket_id, closed_at)
    };
    Rows::default()
        .attended(&of_other(201, 1, 3, "now() - interval '20 hours'"))
        .attended(&of_other(202, 2, 9, "now() - interval '20 hours'"))
        .attended(&of_other(203, 2, 3, "now() - interval '1 hour'"))
        .add("UPDATE contacts SET last_interaction_at = now() - interval '20 hours' WHERE contact_id = 1;")
        .add("UPDATE contacts SET last_interaction_at = now() - interval '1 hour' WHERE contact_id = 2;")
        .add("UPDATE tickets SET closed_at = now() - interval '91 days' WHERE contact_id = 3;")
        .add("UPDATE dealings SET closed_at = now() - interval '91 days' WHERE contact_id = 3;")
        .save(&history.database)
        .await;
    let hours_ago = async |actor: &Actor, order_by: ContactOrder| {
        let message = SearchContactsRequest {
            order_by: order_by.into(),
            ..words("")
        };
        let (contacts, _) = search(&history, actor, message)
            .await
            .expect("it is answered");
        let now = jiff::Timestamp::now().as_second();
        let told: Vec<_> = contacts
            .iter()
            .map(|contact| {
                let id = contact.contact.as_ref().expect("it is set").contact_id;
                let last = contact.last_interaction_time;
                (id, last.map(|last| (now - last.seconds + 600) / 3_600))
            })
            .collect();
        told
    };
    let rest = [4, 5, 6, 7, 8].map(|id| (id, Some(24 + id)));
    let mut expected = vec![(1, Some(20)), (2, Some(26))];
    expected.extend(rest);
    expected.push((3, None));
    let him = agent(12, &[3, 4]);
    assert_eq!(
        hours_ago(&him, ContactOrder::LastInteraction).await,
        expected
    );
    let mut by_name = hours_ago(&him, ContactOrder::Name).await;
    assert_eq!(ids_of(&by_name), BY_NAME);
    by_name.sort_unstable();
    expected.sort_unstable();
    assert_eq!(by_name, expected);
    // Who may use all bots is told of all tickets.
    let all = hours_ago(&viewer(1), ContactOrder::LastInteraction).await;
    assert_eq!(ids_of(&all), [2, 1, 3, 4, 5, 6, 7, 8]);
    // Pages go on where some have no interaction that is seen.
    let message = SearchContactsRequest {
        order_by: ContactOrder::LastInteraction.into(),
        ..words("")
    };
    let walked = walk(&history, &him, message, "SELECT 1").await;
    assert_eq!(walked, [1, 2, 4, 5, 6, 7, 8, 3]);
}

fn ids_of(told: &[(i64, Option<i64>)]) -> Vec<i64> {
    told.iter().map(|(id, _)| *id).collect()
}
