//! What an agent sees, and what nobody sees.

mod random;

use std::collections::BTreeSet;

use plazo_proto::history::v1::{
    ContactOrder, GetContactHistoryRequest, ListClosedTicketsRequest, ListContactTicketsRequest,
    ListConversationRequest, SearchContactsRequest,
};
use plazo_service::Actor;
use plazo_service::status::reason_of;
use tonic::{Code, Request, Status};

use crate::feed::Feed;
use crate::rows::{ContactRow, Rows, TicketRow, run};
use crate::running::{Running, agent, viewer, viewer_of};

/// What an actor is shown, by all calls alike.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    tickets: BTreeSet<i64>,
    contacts: BTreeSet<i64>,
}

/// Asks every call about every ticket and contact, and sees that they agree.
async fn shown(history: &Running, actor: &Actor, tickets: &[i64], contacts: &[i64]) -> Shown {
    let mut listed = BTreeSet::new();
    let mut found = BTreeSet::new();
    for &ticket_id in tickets {
        let by_id = existing(history.ticket(actor, ticket_id).await, "TICKET_NOT_FOUND");
        let request = actor.sign(Request::new(ListConversationRequest {
            ticket_id,
            ..ListConversationRequest::default()
        }));
        let conversation = history.client.clone().list_conversation(request).await;
        let conversation = existing(conversation, "TICKET_NOT_FOUND");
        assert_eq!(
            by_id.is_some(),
            conversation.is_some(),
            "{actor:?} and {ticket_id}"
        );
        if by_id.is_some() {
            listed.insert(ticket_id);
        }
    }
    let mut of_contacts = BTreeSet::new();
    for &contact_id in contacts {
        let request = actor.sign(Request::new(GetContactHistoryRequest {
            contact_id,
            ..GetContactHistoryRequest::default()
        }));
        let contact = history.client.clone().get_contact_history(request).await;
        let contact = existing(contact, "CONTACT_NOT_FOUND");
        let request = actor.sign(Request::new(ListContactTicketsRequest {
            contact_id,
            page_size: 500,
            ..ListContactTicketsRequest::default()
        }));
        let its_tickets = history.client.clone().list_contact_tickets(request).await;
        let its_tickets = existing(its_tickets, "CONTACT_NOT_FOUND");
        assert_eq!(
            contact.is_some(),
            its_tickets.is_some(),
            "{actor:?} and {contact_id}"
        );
        if let Some(its_tickets) = its_tickets {
            found.insert(contact_id);
            let ids = its_tickets.into_inner().tickets;
            of_contacts.extend(ids.iter().map(|ticket| ticket.ticket_id));
        }
    }
    assert_eq!(listed, of_contacts, "{actor:?}");
    for order_by in [ContactOrder::Name, ContactOrder::LastInteraction] {
        for query in ["", "contact"] {
            if query.is_empty()
                && order_by == ContactOrder::LastInteraction
                && actor.agent_id().is_none()
            {
                // May be refused; see the tests of the search.
                continue;
            }
            let request = actor.sign(Request::new(SearchContactsRequest {
                query: query.to_owned(),
                order_by: order_by.into(),
                page_size: 500,
                ..SearchContactsRequest::default()
            }));
            let searched = history.client.clone().search_contacts(request).await;
            let searched = searched
                .expect("the search is answered")
                .into_inner()
                .contacts;
            let ids: BTreeSet<i64> = searched
                .iter()
                .map(|contact| contact.contact.as_ref().expect("it is set").contact_id)
                .collect();
            assert_eq!(ids, found, "{actor:?} by {order_by:?} for {query:?}");
        }
    }
    let closed = closed_tickets(history, actor).await;
    let is_agent = actor.agent_id().is_some();
    assert!(
        closed.is_subset(&listed),
        "{actor:?}: {closed:?} of {listed:?}"
    );
    assert!(
        !is_agent || closed == listed,
        "{actor:?}: {closed:?} of {listed:?}"
    );
    Shown {
        tickets: listed,
        contacts: found,
    }
}

/// The answer, none when it does not exist for the actor.
fn existing<T>(answer: Result<T, Status>, reason: &str) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status}");
            assert_eq!(reason_of(&status).as_deref(), Some(reason));
            None
        }
    }
}

async fn closed_tickets(history: &Running, actor: &Actor) -> BTreeSet<i64> {
    let request = actor.sign(Request::new(ListClosedTicketsRequest {
        page_size: 500,
        ..ListClosedTicketsRequest::default()
    }));
    let closed = history.client.clone().list_closed_tickets(request).await;
    let closed = closed.expect("the list is shown").into_inner().tickets;
    closed.iter().map(|ticket| ticket.ticket_id).collect()
}

fn set(ids: &[i64]) -> BTreeSet<i64> {
    ids.iter().copied().collect()
}

/// Contact 5 of bot 3, whose ticket 7 agent 12 attended a day ago.
async fn attended() -> (Feed, Running) {
    let feed = Feed::start().await;
    let history = Running::fresh(&feed).await;
    Rows::default()
        .grant(12)
        .contact(&ContactRow::named(5, "Contact Five"))
        .attended(&TicketRow::closed(7, "now() - interval '1 day'"))
        .save(&history.database)
        .await;
    (feed, history)
}

/// The instant that boundaries are counted from, and the defaults of the settings.
const AS_OF: &str = "timestamptz '2026-06-01T12:00:00Z'";
const DAYS_90: i64 = 90 * 86_400;
const HOURS_3: i64 = 3 * 3_600;

fn ago(seconds: i64) -> String {
    format!("({AS_OF} - interval '{seconds} seconds')")
}

/// Whether agent 12 sees a ticket of contact 5 with these closes and dealings, all in seconds ago: that of ticket 7, which
/// is asked for, and that of ticket 8, in which he dealt.
async fn is_visible(database: &str, closed_7: i64, closed_8: i64, dealt_8: i64) -> bool {
    let asked = TicketRow {
        agent_id: 13,
        ..TicketRow::closed(7, &ago(closed_7))
    };
    let dealt = TicketRow::closed(8, &ago(closed_8));
    Rows::default()
        .add("DELETE FROM tickets; DELETE FROM dealings;")
        .ticket(&asked)
        .ticket(&dealt)
        .dealing(12, &dealt, &ago(dealt_8))
        .save(database)
        .await;
    let asked = format!(
            "SELECT count(*) FROM tickets AS ticket
            CROSS JOIN LATERAL ticket_visible(
                1, 12, '{{3}}', {DAYS_90}, {HOURS_3}, {AS_OF}, ticket.bot_id, ticket.contact_id, ticket.closed_at
            )
            WHERE ticket.ticket_id = 7"
    );
    run(database, &asked).await.trim() == "1"
}

#[tokio::test]
async fn the_bounds_hold_to_the_second() {
    let (_feed, history) = attended().await;
    let day = 86_400;
    for (closed_7, closed_8, dealt_8, expected) in [
        (day, day, day, true),
        // The ticket that is asked for: closed for three hours, within ninety days.
        (HOURS_3 - 1, day, day, false),
        (HOURS_3, day, day, true),
        (HOURS_3 + 1, day, day, true),
        (DAYS_90 - 1, day, day, true),
        (DAYS_90, day, day, true),
        (DAYS_90 + 1, day, day, false),
        // The ticket in which he dealt with the contact: closed for three hours, however long ago.
        (day, HOURS_3 - 1, day, false),
        (day, HOURS_3, day, true),
        (day, HOURS_3 + 1, day, true),
        (day, DAYS_90 + 1, day, true),
        // When he dealt: within ninety days, and it may be just now.
        (day, day, DAYS_90 - 1, true),
        (day, day, DAYS_90, true),
        (day, day, DAYS_90 + 1, false),
        (day, day, 0, true),
    ] {
        let seen = is_visible(&history.database, closed_7, closed_8, dealt_8).await;
        assert_eq!(seen, expected, "{closed_7} {closed_8} {dealt_8}");
    }
    // The tenant's own lengths count instead of the defaults.
    let lengths = "INSERT INTO tenant_settings (tenant_id, lookback_seconds, show_delay_seconds) VALUES (1, 1000, 100)";
    run(&history.database, lengths).await;
    for (seconds, expected) in [(99, false), (100, true), (1_000, true), (1_001, false)] {
        let seen = is_visible(&history.database, seconds, 500, 500).await;
        assert_eq!(seen, expected, "{seconds}");
        let seen = is_visible(&history.database, 500, 500, seconds).await;
        assert_eq!(seen, seconds <= 1_000, "{seconds}");
    }
}

#[tokio::test]
async fn the_clock_is_the_database_s() {
    let (_feed, history) = attended().await;
    let mut rows = Rows::default();
    for (ticket_id, contact_id, closed_at) in [
        (21, 21, "now() - interval '3 hours'"),
        (22, 22, "now() - interval '179 minutes'"),
        (23, 23, "now() - interval '90 days' + interval '1 minute'"),
        (24, 24, "now() - interval '90 days'"),
    ] {
        let ticket = TicketRow {
            contact_id,
            ..TicketRow::closed(ticket_id, closed_at)
        };
        rows.contact(&ContactRow::named(contact_id, "Contact"))
            .attended(&ticket);
    }
    rows.save(&history.database).await;
    let expected = Shown {
        tickets: set(&[7, 21, 23]),
        contacts: set(&[5, 21, 23]),
    };
    let him = agent(12, &[3]);
    let answer = shown(&history, &him, &[7, 21, 22, 23, 24], &[5, 21, 22, 23, 24]);
    assert_eq!(answer.await, expected);
}

#[tokio::test]
async fn an_agent_needs_permission_bot_switch_tenant_and_bot() {
    let (_feed, history) = attended().await;
    let everything = Shown {
        tickets: set(&[7]),
        contacts: set(&[5]),
    };
    let nothing = Shown {
        tickets: set(&[]),
        contacts: set(&[]),
    };
    let of_other_tenant = Actor {
        tenant_id: 2,
        ..agent(12, &[3])
    };
    for (actor, expected) in [
        (agent(12, &[3]), &everything),
        (agent(12, &[3, 4]), &everything),
        (viewer(1), &everything),
        (viewer_of(1, &[3]), &everything),
        // Not his contact, not his bot, not his tenant, and without the permission.
        (agent(13, &[3]), &nothing),
        (agent(12, &[4]), &nothing),
        (agent(12, &[]), &nothing),
        (of_other_tenant, &nothing),
        (viewer(2), &nothing),
        (viewer_of(1, &[4]), &nothing),
    ] {
        assert_eq!(
            &shown(&history, &actor, &[7], &[5]).await,
            expected,
            "{actor:?}"
        );
    }
    let asked = agent(12, &[3]);
    run(&history.database, "DELETE FROM history_agents").await;
    assert_eq!(shown(&history, &asked, &[7], &[5]).await, nothing);
    assert_eq!(shown(&history, &viewer(1), &[7], &[5]).await, everything);
    // The permission of another tenant's agent of that number is not his.
    let elsewhere = "INSERT INTO history_agents (tenant_id, agent_id) VALUES (2, 12)";
    run(&history.database, elsewhere).await;
    assert_eq!(shown(&history, &asked, &[7], &[5]).await, nothing);
    Rows::default().grant(12).save(&history.database).await;
    assert_eq!(shown(&history, &asked, &[7], &[5]).await, everything);
    // The switch holds for everybody.
    run(
        &history.database,
        "DELETE FROM history_bots WHERE tenant_id = 1 AND bot_id = 3",
    )
    .await;
    for actor in [asked, viewer(1), viewer_of(1, &[3])] {
        assert_eq!(
            shown(&history, &actor, &[7], &[5]).await,
            nothing,
            "{actor:?}"
        );
    }
}

#[tokio::test]
async fn other_agents_tickets_of_his_contacts_are_visible_and_nothing_else() {
    let (_feed, history) = attended().await;
    let day_ago = "now() - interval '1 day'";
    let of_other = |ticket_id, contact_id, bot_id, closed_at: &str| TicketRow {
        agent_id: 13,
        contact_id,
        bot_id,
        ..TicketRow::closed(ticket_id, closed_at)
    };
    let open = TicketRow {
        closed_at: None,
        ..of_other(24, 5, 3, day_ago)
    };
    let unlinked = TicketRow {
        is_unlinked: true,
        ..of_other(25, 5, 3, day_ago)
    };
    let mine_but_open = TicketRow {
        closed_at: None,
        contact_id: 7,
        ..TicketRow::closed(27, day_ago)
    };
    Rows::default()
        .contact(&ContactRow::named(6, "Contact Six"))
        .contact(&ContactRow::named(7, "Contact Seven"))
        .attended(&of_other(21, 5, 3, day_ago))
        .attended(&of_other(22, 5, 4, day_ago))
        .attended(&of_other(23, 6, 3, day_ago))
        .attended(&open)
        .attended(&unlinked)
        .attended(&of_other(26, 5, 3, "now() - interval '1 hour'"))
        .attended(&mine_but_open)
        .save(&history.database)
        .await;
    let tickets = [7, 21, 22, 23, 24, 25, 26, 27];
    let contacts = [5, 6, 7];
    for (actor, expected_tickets, expected_contacts) in [
        (agent(12, &[3]), set(&[7, 21, 25]), set(&[5])),
        (agent(12, &[3, 4]), set(&[7, 21, 22, 25]), set(&[5])),
        (viewer(1), set(&tickets), set(&contacts)),
        (viewer_of(1, &[4]), set(&[22]), set(&[5])),
    ] {
        let expected = Shown {
            tickets: expected_tickets,
            contacts: expected_contacts,
        };
        assert_eq!(
            shown(&history, &actor, &tickets, &contacts).await,
            expected,
            "{actor:?}"
        );
    }
}
