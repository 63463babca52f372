//! Calendars, and the policies that count business time by them.

mod versions;

use plazo_proto::common::v1::{AuthorKind, TimeUnit};
use plazo_proto::ticketing::v1::{
    Bot, Calendar, CreateCalendarRequest, DateException, GetCalendarRequest, InactivityPolicy,
    ListCalendarsRequest, OpenInterval, SetInactivityPolicyRequest, Stage, UpdateCalendarRequest,
    Weekday, WeeklyInterval,
};
use tonic::{Code, Status};

use super::{applied, cycle, in_force, put, stretched, untouched, update_bot};
use crate::desk::Desk;
use crate::support::{Clients, Fixture, refusal, request_id, seconds, time_value, wrong_fields};

/// Open all the time: business time is wall-clock time.
fn always(name: &str) -> Calendar {
    let week = (1..=7).map(|weekday| WeeklyInterval {
        weekday,
        open: Some(OpenInterval {
            start_minute: 0,
            end_minute: 1_440,
        }),
    });
    Calendar {
        name: name.to_owned(),
        time_zone: "Etc/UTC".to_owned(),
        week: week.collect(),
        ..Calendar::default()
    }
}

async fn create(clients: &Clients, calendar: Calendar) -> Result<Calendar, Status> {
    let request = CreateCalendarRequest {
        calendar: Some(calendar),
        request_id: String::new(),
    };
    let answer = clients.settings.clone().create_calendar(request).await?;
    Ok(answer.into_inner().calendar.expect("the calendar"))
}

async fn get(clients: &Clients, calendar_id: i64) -> Result<Calendar, Status> {
    let request = GetCalendarRequest { calendar_id };
    let answer = clients.settings.clone().get_calendar(request).await?;
    Ok(answer.into_inner().calendar.expect("the calendar"))
}

async fn update(clients: &Clients, calendar: Calendar, apply: bool) -> Result<Calendar, Status> {
    let request = UpdateCalendarRequest {
        calendar: Some(calendar),
        apply_to_open_tickets: apply,
        request_id: String::new(),
    };
    let answer = clients.settings.clone().update_calendar(request).await?;
    Ok(answer.into_inner().calendar.expect("the calendar"))
}

async fn count_by(desk: &Desk, calendar_id: i64) -> Result<Bot, Status> {
    let bot = Bot {
        bot_id: desk.bot_id,
        calendar_id,
        ..Bot::default()
    };
    let request = update_bot(bot, &["calendar_id"]);
    let answer = desk.people.settings.clone().update_bot(request).await?;
    Ok(answer.into_inner().bot.expect("the bot"))
}

async fn try_policy(desk: &Desk, policy: InactivityPolicy) -> Result<InactivityPolicy, Status> {
    let request = SetInactivityPolicyRequest {
        bot_id: desk.bot_id,
        policy: Some(policy),
        ..Default::default()
    };
    let answer = desk
        .people
        .settings
        .clone()
        .set_inactivity_policy(request)
        .await?;
    Ok(answer.into_inner().policy.expect("the policy"))
}

fn in_business_time(policy: InactivityPolicy) -> InactivityPolicy {
    InactivityPolicy {
        business_time: true,
        ..policy
    }
}

#[tokio::test]
async fn a_calendar_is_read_back_as_it_was_set_and_replaced_as_a_whole() {
    let fixture = Fixture::start().await;
    let administrator = fixture.administrator();
    let wanted = Calendar {
        name: "São Paulo".to_owned(),
        time_zone: "America/Sao_Paulo".to_owned(),
        week: vec![
            WeeklyInterval {
                weekday: Weekday::Friday.into(),
                open: Some(OpenInterval {
                    start_minute: 780,
                    end_minute: 1_080,
                }),
            },
            WeeklyInterval {
                weekday: Weekday::Friday.into(),
                open: Some(OpenInterval {
                    start_minute: 540,
                    end_minute: 720,
                }),
            },
        ],
        exceptions: vec![
            DateException {
                date: "2026-12-25".to_owned(),
                name: "Natal".to_owned(),
                open: Vec::new(),
            },
            DateException {
                date: "2026-12-24".to_owned(),
                name: String::new(),
                open: vec![OpenInterval {
                    start_minute: 540,
                    end_minute: 720,
                }],
            },
        ],
        ..Calendar::default()
    };
    let created = create(&administrator, wanted.clone())
        .await
        .expect("created");
    let expected = Calendar {
        calendar_id: created.calendar_id,
        etag: created.etag.clone(),
        ..wanted.clone()
    };
    assert_eq!(created, expected);
    assert_eq!(
        get(&administrator, created.calendar_id)
            .await
            .expect("there"),
        created
    );
    let taken = (Code::AlreadyExists, "CALENDAR_EXISTS".to_owned());
    assert_eq!(refusal(create(&administrator, wanted).await), taken);

    let second = create(&administrator, always("always"))
        .await
        .expect("created");
    let renamed = Calendar {
        name: created.name.clone(),
        ..second.clone()
    };
    assert_eq!(refusal(update(&administrator, renamed, false).await), taken);
    let replaced = Calendar {
        name: "again".to_owned(),
        ..second.clone()
    };
    let replaced = update(&administrator, replaced, false)
        .await
        .expect("replaced");
    assert_ne!(replaced.etag, second.etag);
    let stale = update(&administrator, second.clone(), false).await;
    assert_eq!(refusal(stale), (Code::Aborted, "ETAG_MISMATCH".to_owned()));

    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListCalendarsRequest {
            page_size: 1,
            page_token,
        };
        let page = administrator.settings.clone().list_calendars(request).await;
        let page = page.expect("a page").into_inner();
        listed.extend(page.calendars);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, [created, replaced]);
}

#[tokio::test]
async fn wrong_calendars_and_strangers_are_refused() {
    let fixture = Fixture::start().await;
    let administrator = fixture.administrator();
    let wrong = Calendar {
        calendar_id: 1,
        name: String::new(),
        time_zone: "Mars".to_owned(),
        etag: "1".to_owned(),
        ..Calendar::default()
    };
    assert_eq!(
        wrong_fields(create(&administrator, wrong).await),
        [
            "calendar.calendar_id",
            "calendar.etag",
            "calendar.name",
            "calendar.time_zone",
            "calendar.week",
        ]
    );
    let calendar = create(&administrator, always("always"))
        .await
        .expect("created");
    let calendar_id = calendar.calendar_id;
    let no_calendar = (Code::NotFound, "CALENDAR_NOT_FOUND".to_owned());
    let foreign = fixture.administrator_of(8);
    assert_eq!(refusal(get(&foreign, calendar_id).await), no_calendar);
    let unfenced = Calendar {
        etag: String::new(),
        ..calendar.clone()
    };
    assert_eq!(
        refusal(update(&foreign, unfenced, false).await),
        no_calendar
    );

    // Calendars are the tenant's: who may use some bots only reads them.
    let limited = fixture.as_actor("administrator/2", "helpdesk:view,helpdesk:edit", "5");
    assert_eq!(
        get(&limited, calendar_id).await.expect("readable"),
        calendar
    );
    let denied = (Code::PermissionDenied, "BOT_NOT_PERMITTED".to_owned());
    assert_eq!(refusal(update(&limited, calendar, false).await), denied);
    assert_eq!(refusal(create(&limited, always("mine")).await), denied);

    let request = CreateCalendarRequest {
        calendar: Some(always("once")),
        request_id: request_id(),
    };
    let first = administrator
        .settings
        .clone()
        .create_calendar(request.clone())
        .await;
    let again = administrator
        .settings
        .clone()
        .create_calendar(request)
        .await;
    assert_eq!(
        again.expect("repeated").into_inner(),
        first.expect("created").into_inner()
    );
}

#[tokio::test]
async fn business_time_needs_a_calendar_that_reaches_it() {
    let desk = Desk::start().await;
    desk.set_policy(InactivityPolicy::default()).await;
    let answer = try_policy(&desk, in_business_time(stretched(1))).await;
    assert_eq!(wrong_fields(answer), ["policy.business_time"]);

    let calendar = create(&desk.people, always("always"))
        .await
        .expect("created");
    count_by(&desk, calendar.calendar_id)
        .await
        .expect("counted by it");
    let mut in_days = in_business_time(stretched(1));
    in_days.agent_alerts = Some(plazo_proto::ticketing::v1::AlertSettings {
        first_alert: seconds(1),
        second_alert: Some(time_value(1, TimeUnit::Day)),
    });
    let answer = try_policy(&desk, in_days).await;
    assert_eq!(wrong_fields(answer), ["policy.agent_alerts.second_alert"]);

    // The calendar is the bot's, also where the same one is sent.
    let wanted = in_business_time(stretched(1));
    let with_calendar = InactivityPolicy {
        calendar: Some(calendar.clone()),
        ..wanted.clone()
    };
    let answer = try_policy(&desk, with_calendar).await;
    assert_eq!(wrong_fields(answer), ["policy.calendar"]);
    let set = try_policy(&desk, wanted).await.expect("set");
    assert_eq!(set.calendar.as_ref(), Some(&calendar));
    assert_eq!(in_force(&desk, 0).await.policy, Some(set.clone()));

    let removal = refusal(count_by(&desk, 0).await);
    assert_eq!(
        removal,
        (Code::FailedPrecondition, "CALENDAR_IN_USE".to_owned())
    );

    // A minute a week: 30 minutes take more than half a year, 3,000 are out of reach.
    let rare = Calendar {
        week: vec![WeeklyInterval {
            weekday: Weekday::Monday.into(),
            open: Some(OpenInterval {
                start_minute: 0,
                end_minute: 1,
            }),
        }],
        ..calendar.clone()
    };
    let rare = update(&desk.people, rare, false).await.expect("reached");
    let answer = try_policy(&desk, in_business_time(stretched(100))).await;
    assert_eq!(
        wrong_fields(answer),
        [
            "policy.alerts.second_alert",
            "policy.auto_close.close_after",
            "policy.warning.warn_after",
        ]
    );
    let always = Calendar {
        week: calendar.week.clone(),
        ..rare.clone()
    };
    let usual = update(&desk.people, always, false)
        .await
        .expect("as before");
    try_policy(&desk, in_business_time(stretched(100)))
        .await
        .expect("reached");
    let before = in_force(&desk, 0).await;
    let rarest = Calendar {
        etag: usual.etag.clone(),
        ..rare.clone()
    };
    let answer = update(&desk.people, rarest, false).await;
    assert_eq!(wrong_fields(answer), ["calendar.week"]);
    let other = Calendar {
        name: "rare".to_owned(),
        calendar_id: 0,
        etag: String::new(),
        ..rare
    };
    let other = create(&desk.people, other).await.expect("created");
    let answer = count_by(&desk, other.calendar_id).await;
    assert_eq!(wrong_fields(answer), ["bot.calendar_id"]);
    assert_eq!(in_force(&desk, 0).await, before, "nothing is changed");

    put(&desk, 0, stretched(1), false).await;
    let bot = count_by(&desk, 0).await.expect("nothing counts by it");
    assert_eq!(bot.calendar_id, 0);
}

#[tokio::test]
async fn a_changed_calendar_makes_new_versions_and_is_applied_when_that_is_wanted() {
    let desk = Desk::start().await;
    desk.set_policy(InactivityPolicy::default()).await;
    let calendar = create(&desk.people, always("always"))
        .await
        .expect("created");
    count_by(&desk, calendar.calendar_id)
        .await
        .expect("counted by it");
    let queue_id = desk.queue("business").await;
    let plain_id = desk.queue("plain").await;
    put(&desk, 0, in_business_time(stretched(1)), false).await;
    put(&desk, queue_id, in_business_time(stretched(2)), false).await;
    let plain = put(&desk, plain_id, stretched(1), false).await;
    let mut tickets = Vec::new();
    for queue_id in [0, queue_id, plain_id] {
        let mut request = desk.opening();
        request.queue_id = queue_id;
        let ticket = desk.open_as(request).await;
        tickets.push(desk.writes(ticket.ticket_id, AuthorKind::Agent).await);
    }
    assert_eq!(cycle(&tickets[0]).1, untouched(10, 20, 25, 30));
    assert_eq!(cycle(&tickets[1]).1, untouched(20, 40, 50, 60));

    // The day of the messages and the days around it become holidays.
    let anchor = tickets[0].turn_time.expect("an instant").seconds;
    let midnight = anchor - anchor.rem_euclid(86_400);
    let dates = (-1..=1).map(|day| {
        let date = jiff::Timestamp::from_second(midnight + day * 86_400).expect("in range");
        DateException {
            date: date.to_string()[..10].to_owned(),
            name: "closed".to_owned(),
            open: Vec::new(),
        }
    });
    let closed = Calendar {
        exceptions: dates.collect(),
        ..calendar.clone()
    };
    let closed = update(&desk.people, closed, false).await.expect("changed");
    let mut versions = Vec::new();
    for (index, queue) in [0, queue_id].into_iter().enumerate() {
        let policy = in_force(&desk, queue).await.policy.expect("a policy");
        assert_eq!(policy.calendar.as_ref(), Some(&closed));
        let running = desk.ticket(tickets[index].ticket_id).await;
        assert_eq!(
            running.inactivity_cycle, tickets[index].inactivity_cycle,
            "runs on"
        );
        assert!(policy.version > cycle(&running).0);
        versions.push(policy.version);
    }
    let unchanged = in_force(&desk, plain_id).await.policy.expect("a policy");
    assert_eq!(unchanged.version, plain, "counts no business time");

    update(&desk.people, closed, true).await.expect("changed");
    applied(&desk, 0).await;
    applied(&desk, queue_id).await;
    // Two days after that midnight the desk opens again.
    let two_days = 2 * 1_440;
    for (index, after) in [(0, 10), (1, 20)] {
        let running = desk.ticket(tickets[index].ticket_id).await;
        assert!(cycle(&running).0 > versions[index]);
        let due = (first_alert(&running) - midnight) / 60;
        assert_eq!(due, two_days + after);
    }
    let running = desk.ticket(tickets[2].ticket_id).await;
    assert_eq!(cycle(&running), (plain, untouched(10, 20, 25, 30)));

    // Another calendar of the bot makes new versions as well, which are not applied.
    let other = create(&desk.people, always("other"))
        .await
        .expect("created");
    let before = in_force(&desk, 0).await.policy.expect("a policy");
    count_by(&desk, other.calendar_id)
        .await
        .expect("counted by it");
    let after = in_force(&desk, 0).await;
    assert!(!after.applying);
    let after = after.policy.expect("a policy");
    assert!(after.version > before.version);
    assert_eq!(after.calendar, Some(other));
}

/// When the first alert of a ticket is due, in seconds since 1970.
fn first_alert(ticket: &plazo_proto::ticketing::v1::Ticket) -> i64 {
    let cycle = ticket.inactivity_cycle.as_ref().expect("a cycle runs");
    let mut stages = cycle.stages.iter();
    let first = stages.find(|progress| progress.stage() == Stage::FirstAlert);
    first
        .expect("an alert")
        .due_time
        .expect("an instant")
        .seconds
}

/// Settings and calendars that change at once: what is in force counts by the calendar as it is in the end.
#[tokio::test]
async fn policies_and_their_calendar_cannot_cross() {
    let desk = Desk::start().await;
    desk.set_policy(InactivityPolicy::default()).await;
    let mut calendar = create(&desk.people, always("0")).await.expect("created");
    count_by(&desk, calendar.calendar_id)
        .await
        .expect("counted by it");
    for round in 1..=20 {
        let renamed = Calendar {
            name: round.to_string(),
            ..calendar.clone()
        };
        let (policy, changed) = tokio::join!(
            try_policy(&desk, in_business_time(stretched(round))),
            update(&desk.people, renamed, false),
        );
        policy.expect("set");
        calendar = changed.expect("changed");
        let found = in_force(&desk, 0).await.policy.expect("a policy");
        assert_eq!(found.calendar.as_ref(), Some(&calendar), "round {round}");
        assert_eq!(found.alerts, stretched(round).alerts);
    }
}

#[tokio::test]
async fn notes_of_policies_have_a_category_of_the_bot() {
    let desk = Desk::start().await;
    desk.set_policy(InactivityPolicy::default()).await;
    let categories = async |categories: &[&str]| {
        let bot = Bot {
            bot_id: desk.bot_id,
            note_categories: categories.iter().map(|&it| it.to_owned()).collect(),
            ..Bot::default()
        };
        let request = update_bot(bot, &["note_categories"]);
        desk.people.settings.clone().update_bot(request).await
    };
    let mut noted = stretched(1);
    noted.auto_close.as_mut().expect("it closes").note =
        Some(plazo_proto::ticketing::v1::ClosingNote {
            category: "silence".to_owned(),
            summary: String::new(),
        });
    categories(&["sale"]).await.expect("set");
    let answer = try_policy(&desk, noted.clone()).await;
    assert_eq!(wrong_fields(answer), ["policy.auto_close.note.category"]);
    categories(&["sale", "silence"]).await.expect("set");
    try_policy(&desk, noted).await.expect("one of them");
    let answer = categories(&["sale"]).await;
    assert_eq!(wrong_fields(answer), ["bot.note_categories"]);
    categories(&[]).await.expect("any category");
}
