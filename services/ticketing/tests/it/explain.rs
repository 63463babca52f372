//! What a ticket's explanation says of what the service really did. Times are short: the clock is the database's.

mod long;

use plazo_proto::common::v1::{AuthorKind, TimeUnit};
use plazo_proto::notification::v1::{ActiveMessageKind, ActiveMessageState};
use plazo_proto::ticketing::v1::{
    Alert, AlertSettings, AutoCloseSettings, Bot, Calendar, CreateCalendarRequest, CycleEnd,
    ExplainTicketRequest, ExplainTicketResponse, ExplainedCycle, HoldEnd, HoldTicketRequest,
    InactivityPolicy, MessageStateReport, OpenInterval, ReportMessageStatesRequest,
    ResumeTicketRequest, Stage, StageFate, TagTicketsRequest, TicketState, TransferTicketRequest,
    UnlinkTicketRequest, UpdateBotRequest, WarningSettings, WeeklyInterval,
};
use prost_types::{FieldMask, Timestamp};
use tonic::Code;

use crate::desk::{Desk, eventually};
use crate::support::{TENANT, refusal, seconds, time_value};

const ALL: [Stage; 4] = [
    Stage::FirstAlert,
    Stage::SecondAlert,
    Stage::Warning,
    Stage::Close,
];

/// Alerts after 1 and 2 s, the warning after 3, the close after 4.
fn brisk() -> InactivityPolicy {
    InactivityPolicy {
        alerts: Some(AlertSettings {
            first_alert: seconds(1),
            second_alert: seconds(2),
        }),
        auto_close: Some(AutoCloseSettings {
            close_after: seconds(4),
            tags: vec!["silent".to_owned()],
            exclude_tags: vec!["vip".to_owned()],
            ..AutoCloseSettings::default()
        }),
        warning: Some(WarningSettings {
            warn_after: seconds(3),
            text: "{{contact_name}}, {{time_left}} left".to_owned(),
            image_url: String::new(),
        }),
        ..InactivityPolicy::default()
    }
}

async fn brisk_desk() -> Desk {
    let desk = Desk::start().await;
    desk.set_policy(brisk()).await;
    desk
}

async fn explained(desk: &Desk, ticket_id: i64) -> ExplainTicketResponse {
    let request = ExplainTicketRequest { ticket_id };
    let answer = desk.agent.tickets.clone().explain_ticket(request).await;
    let told = answer.expect("explained").into_inner();
    // Neither what was written nor who the customer is.
    assert!(
        !told.text.contains("Hola") && !told.text.contains("Ana") && !told.text.contains("ana")
    );
    let times: Vec<&str> = told.text.lines().map(|line| &line[..24]).collect();
    assert!(told.truncated || times.is_sorted(), "{}", told.text);
    told
}

/// Has a ticket looked at as the timer would, and its warnings accepted, until a stage of a cycle has acted.
async fn until_fired(
    desk: &Desk,
    ticket_id: i64,
    cycle: i32,
    stage: Stage,
) -> ExplainTicketResponse {
    eventually("the stage acts", async || {
        let generation = desk.ticket(ticket_id).await.generation;
        let answer = desk
            .handle(&[(ticket_id, generation)])
            .await
            .expect("handled");
        for message in &answer.results[0].active_messages {
            if message.kind() == ActiveMessageKind::Warning {
                accept(
                    desk,
                    ticket_id,
                    &message.idempotency_key,
                    answer.handler_time,
                )
                .await;
            }
        }
        let told = explained(desk, ticket_id).await;
        let found = told.cycles.iter().find(|it| number(it) == cycle);
        let has_fired = found.is_some_and(|cycle| {
            let mut stages = cycle.stages.iter();
            stages.any(|it| it.stage() == stage && it.fate() == StageFate::Fired)
        });
        has_fired.then_some(told)
    })
    .await
}

async fn accept(desk: &Desk, ticket_id: i64, key: &str, state_time: Option<Timestamp>) {
    let report = MessageStateReport {
        tenant_id: TENANT,
        ticket_id,
        idempotency_key: key.to_owned(),
        state: ActiveMessageState::Accepted.into(),
        state_time,
        failure_reason: String::new(),
    };
    let request = ReportMessageStatesRequest {
        reports: vec![report],
    };
    let answer = desk
        .service
        .states
        .clone()
        .report_message_states(request)
        .await;
    answer.expect("taken");
}

fn number(cycle: &ExplainedCycle) -> i32 {
    cycle.start.expect("a start").cycle
}

#[track_caller]
fn fates(cycle: &ExplainedCycle) -> Vec<(Stage, StageFate)> {
    let fates = cycle.stages.iter().map(|stage| {
        let is_fired = stage.fate() == StageFate::Fired;
        assert!(stage.due_time.is_some() && stage.fire_time.is_some() == is_fired);
        if let Some(lateness) = stage.lateness {
            assert!(lateness.seconds >= 0 && lateness.nanos >= 0, "never early");
        }
        (stage.stage(), stage.fate())
    });
    fates.collect()
}

/// The first stages have acted, and the others have this fate.
fn fired_and(count: usize, fate: StageFate) -> Vec<(Stage, StageFate)> {
    let of = |(place, stage)| {
        (
            stage,
            if place < count {
                StageFate::Fired
            } else {
                fate
            },
        )
    };
    ALL.into_iter().enumerate().map(of).collect()
}

#[track_caller]
fn assert_says(told: &ExplainTicketResponse, words: &str) {
    assert!(told.text.contains(words), "no {words:?} in\n{}", told.text);
}

#[tokio::test]
async fn a_whole_cycle_to_the_close() {
    let desk = brisk_desk().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let told = until_fired(&desk, ticket_id, 1, Stage::Close).await;
    println!("{}", told.text);
    let [cycle] = &told.cycles[..] else {
        panic!("{:?}", told.cycles)
    };
    assert_eq!(fates(cycle), fired_and(4, StageFate::Fired));
    assert_eq!(cycle.end(), CycleEnd::ClosedByInactivity);
    assert!(cycle.warning_accept_time.is_some() && cycle.end_time.is_some());
    let [policy] = &told.policies[..] else {
        panic!("{:?}", told.policies)
    };
    assert_eq!(
        (policy.version, policy.version),
        (
            cycle.policy_version,
            cycle.start.expect("a start").policy_version
        )
    );
    assert_eq!(policy.alerts, brisk().alerts);
    assert_eq!(
        told.ticket.as_ref().expect("the ticket").state(),
        TicketState::Closed
    );
    assert!(!told.truncated);
    let [close] = &told.closes[..] else {
        panic!("{:?}", told.closes)
    };
    assert!(close.cycle == 1 && !close.superseded && close.closure.is_some());
    assert!(
        close
            .text
            .contains("closed by customer inactivity: the customer has been silent for")
    );
    assert!(
        cycle.text.contains("the warning went out at"),
        "{}",
        cycle.text
    );
    for words in [
        "yellow alert: the customer has been silent for 1 s since the agent's message of",
        "red alert: the customer has been silent for 2 s",
        "the customer is told that the ticket closes in 1 s",
        "the warning of cycle 1 was accepted at",
        "the bot's automation resumed: the ticket was completed",
    ] {
        assert_says(&told, words);
    }
}

#[tokio::test]
async fn a_reply_in_between() {
    let desk = brisk_desk().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    until_fired(&desk, ticket_id, 1, Stage::FirstAlert).await;
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let told = explained(&desk, ticket_id).await;
    assert_eq!(told.cycles[0].end(), CycleEnd::Answered);
    assert_eq!(fates(&told.cycles[0]), fired_and(1, StageFate::NotReached));
    assert_says(
        &told,
        "cycle 1 ended: the customer answered; not reached: the red alert",
    );
    assert_says(&told, "the yellow alert went away: the customer answered");
    assert!(told.closes.is_empty());

    desk.writes(ticket_id, AuthorKind::Agent).await;
    let told = explained(&desk, ticket_id).await;
    assert_eq!(told.cycles[1].end(), CycleEnd::Unspecified);
    assert_eq!(fates(&told.cycles[1]), fired_and(0, StageFate::Pending));
    assert_says(&told, "now cycle 2 runs; to come: the yellow alert at");
}

#[tokio::test]
async fn a_hold_and_its_end() {
    let desk = brisk_desk().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    until_fired(&desk, ticket_id, 1, Stage::FirstAlert).await;
    let mut tickets = desk.people.tickets.clone();
    let hold = HoldTicketRequest {
        ticket_id,
        reason: "asks the workshop".to_owned(),
        max_length: Some(time_value(1, TimeUnit::Hour)),
        ..Default::default()
    };
    tickets.hold_ticket(hold).await.expect("on hold");
    let told = explained(&desk, ticket_id).await;
    assert_eq!(told.cycles[0].end(), CycleEnd::Held);
    assert_says(
        &told,
        "put on hold by administrator 1 (\"asks the workshop\"), at the latest until",
    );
    let [only] = &told.holds[..] else {
        panic!("{:?}", told.holds)
    };
    assert_eq!(
        (only.hold.clone(), only.end(), only.end_time),
        (
            told.ticket.clone().expect("the ticket").hold,
            HoldEnd::Unspecified,
            None
        )
    );
    assert_says(
        &told,
        "the yellow alert went away: the ticket was put on hold",
    );
    let hold = HoldTicketRequest {
        ticket_id,
        reason: "asks the customs".to_owned(),
        ..Default::default()
    };
    tickets.hold_ticket(hold).await.expect("changed");

    let resume = ResumeTicketRequest {
        ticket_id,
        ..Default::default()
    };
    tickets.resume_ticket(resume).await.expect("resumed");
    let told = until_fired(&desk, ticket_id, 2, Stage::FirstAlert).await;
    assert_says(
        &told,
        "the hold was changed by administrator 1 (\"asks the customs\")",
    );
    assert_says(&told, "the hold ended: administrator 1 resumed the ticket");
    let holds: Vec<(&str, HoldEnd, bool)> = told
        .holds
        .iter()
        .map(|it| {
            let reason = &it.hold.as_ref().expect("a hold").reason;
            (reason.as_str(), it.end(), it.end_time.is_some())
        })
        .collect();
    assert_eq!(
        holds,
        [
            ("asks the workshop", HoldEnd::Unspecified, false),
            ("asks the customs", HoldEnd::Resumed, true)
        ]
    );
    assert_says(
        &told,
        "yellow alert: the customer has been silent for 1 s since the end of the hold of",
    );
}

#[tokio::test]
async fn a_transfer_to_a_queue() {
    let desk = brisk_desk().await;
    let queue_id = desk.queue("Oficina").await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    until_fired(&desk, ticket_id, 1, Stage::FirstAlert).await;
    let transfer = TransferTicketRequest {
        ticket_id,
        queue_id,
        ..Default::default()
    };
    let answer = desk.people.tickets.clone().transfer_ticket(transfer).await;
    answer.expect("transferred");
    let told = explained(&desk, ticket_id).await;
    assert_eq!(told.cycles[0].end(), CycleEnd::Transferred);
    assert_eq!(fates(&told.cycles[0]), fired_and(1, StageFate::NotReached));
    assert_says(
        &told,
        &format!(
            "transferred to queue {queue_id} by administrator 1: the inactivity clocks are disarmed"
        ),
    );
}

#[tokio::test]
async fn an_excluded_tag() {
    let desk = brisk_desk().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let tag = |add: &[&str], remove: &[&str]| {
        let tags = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect();
        let request = TagTicketsRequest {
            ticket_ids: vec![ticket_id],
            add_tags: tags(add),
            remove_tags: tags(remove),
            ..Default::default()
        };
        let mut tickets = desk.people.tickets.clone();
        async move { tickets.tag_tickets(request).await.expect("tagged") }
    };
    tag(&["vip"], &[]).await;
    let told = until_fired(&desk, ticket_id, 1, Stage::SecondAlert).await;
    assert_eq!(fates(&told.cycles[0]), fired_and(2, StageFate::Excluded));
    assert_says(
        &told,
        "the ticket carries the excluded tag \"vip\", so cycle 1 neither warns nor closes it",
    );
    assert_eq!(
        told.ticket.as_ref().expect("the ticket").alert(),
        Alert::Red
    );

    tag(&[], &["vip"]).await;
    let told = until_fired(&desk, ticket_id, 1, Stage::Close).await;
    assert_eq!(fates(&told.cycles[0]), fired_and(4, StageFate::Fired));
    assert_says(
        &told,
        "nothing keeps cycle 1 from warning and closing any more",
    );
}

#[tokio::test]
async fn a_superseded_close() {
    let desk = brisk_desk().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let told = until_fired(&desk, ticket_id, 1, Stage::Close).await;
    let closure = told.closes[0].closure.as_ref().expect("a closure");
    let closed_at = closure.close_time.expect("a time");
    let mut message = desk.message(ticket_id, AuthorKind::Customer);
    message.channel_time = Some(Timestamp {
        seconds: closed_at.seconds - 1,
        nanos: closed_at.nanos,
    });
    desk.record(message).await.expect("recorded");
    let told = explained(&desk, ticket_id).await;
    assert!(told.closes[0].superseded);
    let words = "the close was superseded: the customer had answered before it (channel time ";
    assert!(
        told.closes[0].text.contains(words),
        "{}",
        told.closes[0].text
    );
    assert_says(&told, words);
    assert_says(&told, "; the ticket is again as it was before the close");
    assert_says(
        &told,
        "the bot's automation pauses until the ticket is completed",
    );
    assert_eq!(told.ticket.expect("the ticket").state(), TicketState::Open);
}

#[tokio::test]
async fn the_ticket_that_continues_it() {
    let desk = brisk_desk().await;
    let ticket_id = desk.open().await.ticket_id;
    let told = explained(&desk, ticket_id).await;
    assert_eq!(told.continued_by_ticket_id, 0);
    let unlink = UnlinkTicketRequest {
        ticket_id,
        ..Default::default()
    };
    let answer = desk.people.tickets.clone().unlink_ticket(unlink).await;
    answer.expect("unlinked");
    let next_id = desk.writes(ticket_id, AuthorKind::Customer).await.ticket_id;
    assert_ne!(next_id, ticket_id);
    let told = explained(&desk, ticket_id).await;
    assert_eq!(told.continued_by_ticket_id, next_id);
    assert_says(&told, &format!("now ticket {next_id} continues this one"));
    let told = explained(&desk, next_id).await;
    assert_eq!(told.continued_by_ticket_id, 0);
    let previous_id = told.ticket.as_ref().expect("the ticket").previous_ticket_id;
    assert_eq!(previous_id, ticket_id);
    assert_says(&told, &format!("it continues ticket {ticket_id}"));
}

#[tokio::test]
async fn business_time_names_its_time_zone() {
    let desk = Desk::start().await;
    let mut settings = desk.people.settings.clone();
    let always = (1..=7).map(|weekday| WeeklyInterval {
        weekday,
        open: Some(OpenInterval {
            start_minute: 0,
            end_minute: 1_440,
        }),
    });
    let calendar = Calendar {
        name: "Todo el día".to_owned(),
        time_zone: "America/Bogota".to_owned(),
        week: always.collect(),
        ..Calendar::default()
    };
    let request = CreateCalendarRequest {
        calendar: Some(calendar),
        ..Default::default()
    };
    let calendar = settings.create_calendar(request).await.expect("created");
    let bot = Bot {
        bot_id: desk.bot_id,
        calendar_id: calendar.into_inner().calendar.expect("set").calendar_id,
        ..Bot::default()
    };
    let request = UpdateBotRequest {
        bot: Some(bot),
        update_mask: Some(FieldMask {
            paths: vec!["calendar_id".to_owned()],
        }),
        ..Default::default()
    };
    settings.update_bot(request).await.expect("changed");
    desk.set_policy(InactivityPolicy {
        business_time: true,
        ..brisk()
    })
    .await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let told = explained(&desk, ticket_id).await;
    assert_eq!(told.cycles[0].time_zone, "America/Bogota");
    assert_says(
        &told,
        "yellow alert after 1 s of open time (America/Bogota) (at ",
    );
}

#[tokio::test]
async fn others_learn_nothing() {
    let desk = brisk_desk().await;
    let ticket_id = desk.open().await.ticket_id;
    let elsewhere = desk.bot_id + 1;
    for clients in [
        desk.fixture.administrator_of(TENANT + 1),
        desk.fixture
            .as_actor("agent/1", "tickets:attend", &elsewhere.to_string()),
    ] {
        let answer = clients
            .tickets
            .clone()
            .explain_ticket(ExplainTicketRequest { ticket_id })
            .await;
        assert_eq!(
            refusal(answer),
            (Code::NotFound, "TICKET_NOT_FOUND".to_owned())
        );
    }
    let viewer = desk.fixture.as_actor("agent/1", "helpdesk:view", "*");
    let answer = viewer
        .tickets
        .clone()
        .explain_ticket(ExplainTicketRequest { ticket_id })
        .await;
    assert_eq!(refusal(answer).0, Code::PermissionDenied);
    let mut tickets = desk.people.tickets.clone();
    let answer = tickets
        .explain_ticket(ExplainTicketRequest { ticket_id: 0 })
        .await;
    assert_eq!(refusal(answer).0, Code::InvalidArgument);
}
