//! Random conversations through gRPC: agents, holds, transfers, reopenings, and closes by all sources, while the desk's hours
//! end.

use std::time::Duration;

use plazo_proto::common::v1::{AuthorKind, TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::{
    Agent, AssignTicketRequest, Bot, Calendar, CloseSource, CloseTicketRequest, ClosingNote,
    CreateAgentRequest, CreateCalendarRequest, CreateQueueRequest, GetBotRequest,
    HoldTicketRequest, MessageKind, OpenInterval, OpenTicketRequest, Queue, ReopenTicketRequest,
    ResumeTicketRequest, SetTicketOpenRequest, TagTicketsRequest, TransferTicketRequest,
    UnlinkTicketRequest, UpdateBotRequest, WeeklyInterval,
};
use plazo_tests::cluster::Cluster;
use plazo_tests::desk::{Desk, Signature, SignedChannel, Stages, sign};
use plazo_tests::process::Service;
use plazo_tests::truth::{Databases, now_us, proto_timestamp};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::{SeedableRng as _, random};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Status};

/// The tenant of all of it.
pub(super) const TENANT: i64 = 7;
const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;
/// Conversations at the same time.
const PLAYERS: usize = 12;
/// How long it goes on after the desk has shut.
const AFTER_HOURS_US: i64 = 6 * SECOND_US;

/// The same hours every day, by a clock that does not change: from one minute of the day until another.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "all are in microseconds")]
pub(super) struct OpenHours {
    /// What the clock is ahead of UTC.
    offset_us: i64,
    from_us: i64,
    until_us: i64,
}

impl OpenHours {
    /// The open time between two instants, in whole milliseconds.
    pub(super) fn between_ms(self, from_us: i64, until_us: i64) -> i64 {
        (self.open_before(until_us) - self.open_before(from_us)) / 1_000
    }

    /// The open time from 1970 until an instant.
    fn open_before(self, at_us: i64) -> i64 {
        let local = at_us + self.offset_us;
        let today =
            (local.rem_euclid(DAY_US) - self.from_us).clamp(0, self.until_us - self.from_us);
        local.div_euclid(DAY_US) * (self.until_us - self.from_us) + today
    }
}

/// Two bots of a tenant, one of them with a calendar.
#[derive(Debug, Clone)]
pub(super) struct Play {
    pub(super) started_us: i64,
    shuts_us: i64,
    hours: OpenHours,
    desks: Vec<Desk>,
    /// Of each desk: agents, and a queue.
    agents: Vec<Vec<i64>>,
    queues: Vec<i64>,
    administrator: TicketServiceClient<SignedChannel>,
    agent_of: Vec<TicketServiceClient<SignedChannel>>,
}

impl Play {
    pub(super) async fn set_up(cluster: &Cluster, databases: &Databases) -> Self {
        let stages = Stages {
            first_alert_s: 1,
            second_alert_s: 2,
            warning_and_close_s: Some((2, 3)),
        };
        let ticketing = cluster.channel(Service::Ticketing);
        let mut settings = SettingsServiceClient::new(sign(ticketing.clone(), TENANT));
        let started_us = now_us(&databases.ticketing).await;
        // The desk shuts with the minute after this one's end, if that is near.
        let shuts_us = (started_us + 12 * SECOND_US).div_euclid(MINUTE_US) * MINUTE_US + MINUTE_US;
        // By a clock on which it is about noon, so that the hours lie within a day.
        let offset_us = (12 - shuts_us.rem_euclid(DAY_US).div_euclid(HOUR_US)) * HOUR_US;
        let until_us = (shuts_us + offset_us).rem_euclid(DAY_US);
        let hours = OpenHours {
            offset_us,
            from_us: until_us - HOUR_US,
            until_us,
        };
        let mut play = Self {
            started_us,
            shuts_us,
            hours,
            desks: Vec::new(),
            agents: Vec::new(),
            queues: Vec::new(),
            administrator: TicketServiceClient::new(sign(ticketing.clone(), TENANT)),
            agent_of: Vec::new(),
        };
        for has_calendar in [true, false] {
            let desk = Desk::set_up(cluster, TENANT, stages).await;
            let signature = format!("agent/{}", desk.agent_id);
            let signature = Signature::new(TENANT, &signature, "tickets:attend", "*");
            let channel = InterceptedService::new(ticketing.clone(), signature);
            play.agent_of.push(TicketServiceClient::new(channel));
            let other = add_agent(&mut settings, desk.bot_id).await;
            play.agents.push(vec![desk.agent_id, other]);
            play.queues
                .push(add_queue(&mut settings, desk.bot_id).await);
            if has_calendar {
                add_hours(&mut settings, desk.bot_id, hours).await;
            }
            play.desks.push(desk);
        }
        play
    }

    /// The hours of a bot's calendar.
    pub(super) fn open_hours(&self, bot_id: i64) -> Option<OpenHours> {
        (self.desks[0].bot_id == bot_id).then_some(self.hours)
    }

    /// Plays until some time after the desk has shut, and closes what is open then.
    pub(super) async fn run(&self, databases: &Databases) {
        let seed: u64 = random();
        println!("seed {seed}");
        let mut players = JoinSet::new();
        for number in 0..PLAYERS {
            let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
            players.spawn(self.clone().play(random, databases.ticketing.clone()));
        }
        players.join_all().await;
    }

    async fn play(self, mut random: StdRng, database: PgPool) {
        loop {
            let over = now_us(&database).await > self.shuts_us + AFTER_HOURS_US;
            if over {
                return;
            }
            let place = random.random_range(0..self.desks.len());
            let ticket_id = self.open(&mut random, place).await;
            for _ in 0..random.random_range(1..14) {
                self.act(&mut random, place, ticket_id, &database).await;
                let pause_ms = if random.random_ratio(1, 10) {
                    // Long enough for inactivity to close it.
                    random.random_range(3_200..4_500)
                } else {
                    random.random_range(5..400)
                };
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            // Most are closed in the end; the others belong to no period.
            if random.random_ratio(9, 10) {
                self.close(&mut random, place, ticket_id).await;
            }
        }
    }

    async fn open(&self, random: &mut StdRng, place: usize) -> i64 {
        let desk = &self.desks[place];
        let queue_id = if random.random() {
            self.queues[place]
        } else {
            0
        };
        let agent_id = if random.random_ratio(1, 3) {
            self.agent(random, place)
        } else {
            0
        };
        let request = OpenTicketRequest {
            bot_id: desk.bot_id,
            queue_id,
            contact_id: desk.contact.contact_id,
            agent_id,
            request_id: request_id(),
        };
        let answer = self.administrator.clone().open_ticket(request).await;
        let ticket = answer.expect("a ticket is opened").into_inner().ticket;
        ticket.expect("the ticket comes back").ticket_id
    }

    fn agent(&self, random: &mut StdRng, place: usize) -> i64 {
        let agents = &self.agents[place];
        agents[random.random_range(0..agents.len())]
    }

    /// One thing that somebody does, whatever the ticket is like.
    async fn act(&self, random: &mut StdRng, place: usize, ticket_id: i64, database: &PgPool) {
        let mut tickets = self.administrator.clone();
        match random.random_range(0..24) {
            0..=5 => {
                self.write(random, place, ticket_id, AuthorKind::Agent, None)
                    .await;
            }
            6..=10 => {
                self.write(random, place, ticket_id, AuthorKind::Customer, None)
                    .await;
            }
            11 => {
                // Written before now, as a channel may say: it supersedes a close by inactivity that came meanwhile.
                let at_us = now_us(database).await - 1_500_000;
                self.write(random, place, ticket_id, AuthorKind::Customer, Some(at_us))
                    .await;
            }
            12 | 13 => {
                let agent_id = self.agent(random, place);
                let request_id = request_id();
                let etag = String::new();
                let request = AssignTicketRequest {
                    ticket_id,
                    agent_id,
                    etag,
                    request_id,
                };
                allow(tickets.assign_ticket(request).await);
            }
            14 | 15 => {
                let request = HoldTicketRequest {
                    ticket_id,
                    reason: "waits for a part".to_owned(),
                    max_length: Some(TimeValue {
                        value: 2,
                        unit: TimeUnit::Second.into(),
                    }),
                    etag: String::new(),
                    request_id: request_id(),
                };
                allow(tickets.hold_ticket(request).await);
            }
            16 => {
                let request_id = request_id();
                let request = ResumeTicketRequest {
                    ticket_id,
                    etag: String::new(),
                    request_id,
                };
                allow(tickets.resume_ticket(request).await);
            }
            17 => {
                let request = TransferTicketRequest {
                    ticket_id,
                    queue_id: self.queues[place],
                    etag: String::new(),
                    request_id: request_id(),
                };
                allow(tickets.transfer_ticket(request).await);
            }
            18 => {
                let request_id = request_id();
                let request = ReopenTicketRequest {
                    ticket_id,
                    etag: String::new(),
                    request_id,
                };
                allow(tickets.reopen_ticket(request).await);
            }
            19 => {
                let request_id = request_id();
                let request = SetTicketOpenRequest {
                    ticket_id,
                    etag: String::new(),
                    request_id,
                };
                allow(tickets.set_ticket_open(request).await);
            }
            20 => self.tag(random, ticket_id).await,
            _ => self.close(random, place, ticket_id).await,
        }
    }

    async fn write(
        &self,
        random: &mut StdRng,
        place: usize,
        ticket_id: i64,
        author: AuthorKind,
        channel_us: Option<i64>,
    ) {
        let mut request = self.desks[place].message(ticket_id, author, "…");
        request.channel_time = channel_us.map(proto_timestamp);
        if author == AuthorKind::Agent && random.random_ratio(1, 5) {
            request.kind = MessageKind::Note.into();
        }
        allow(self.administrator.clone().record_message(request).await);
    }

    async fn tag(&self, random: &mut StdRng, ticket_id: i64) {
        let tags = ["vip", "slow", "new"];
        let request = TagTicketsRequest {
            ticket_ids: vec![ticket_id],
            add_tags: vec![tags[random.random_range(0..tags.len())].to_owned()],
            remove_tags: vec![],
            request_id: request_id(),
        };
        allow(self.administrator.clone().tag_tickets(request).await);
    }

    async fn close(&self, random: &mut StdRng, place: usize, ticket_id: i64) {
        let note = random.random_ratio(1, 2).then(|| ClosingNote {
            category: ["billing", "sales"][random.random_range(0..2)].to_owned(),
            summary: "done".to_owned(),
        });
        let (mut tickets, source) = match random.random_range(0..6) {
            0 => (self.administrator.clone(), CloseSource::Customer),
            1 => (self.administrator.clone(), CloseSource::Workflow),
            2 => (self.administrator.clone(), CloseSource::Unspecified),
            3 => {
                let request = UnlinkTicketRequest {
                    ticket_id,
                    note,
                    etag: String::new(),
                    request_id: request_id(),
                };
                allow(self.administrator.clone().unlink_ticket(request).await);
                return;
            }
            _ => (self.agent_of[place].clone(), CloseSource::Unspecified),
        };
        let request = CloseTicketRequest {
            ticket_id,
            note,
            source: source.into(),
            etag: String::new(),
            request_id: request_id(),
        };
        allow(tickets.close_ticket(request).await);
    }
}

/// What the ticket's state forbids is refused; nothing else may go wrong.
fn allow<T>(answer: Result<T, Status>) {
    if let Err(status) = answer {
        let is_refusal = matches!(status.code(), Code::FailedPrecondition | Code::Aborted);
        assert!(is_refusal, "{status:?}");
    }
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

async fn add_agent(settings: &mut SettingsServiceClient<SignedChannel>, bot_id: i64) -> i64 {
    let agent = Agent {
        name: "Bia".to_owned(),
        bot_ids: vec![bot_id],
        ..Agent::default()
    };
    let request = CreateAgentRequest {
        agent: Some(agent),
        ..Default::default()
    };
    let answer = settings
        .create_agent(request)
        .await
        .expect("an agent is created");
    answer
        .into_inner()
        .agent
        .expect("the agent comes back")
        .agent_id
}

async fn add_queue(settings: &mut SettingsServiceClient<SignedChannel>, bot_id: i64) -> i64 {
    let queue = Queue {
        bot_id,
        name: "Second line".to_owned(),
        ..Queue::default()
    };
    let request = CreateQueueRequest {
        queue: Some(queue),
        ..Default::default()
    };
    let answer = settings
        .create_queue(request)
        .await
        .expect("a queue is created");
    answer
        .into_inner()
        .queue
        .expect("the queue comes back")
        .queue_id
}

/// Gives the bot a calendar, and lets closes by agents take the agent away.
async fn add_hours(
    settings: &mut SettingsServiceClient<SignedChannel>,
    bot_id: i64,
    hours: OpenHours,
) {
    let minute = |us: i64| i32::try_from(us / MINUTE_US).expect("a minute of a day");
    let open = OpenInterval {
        start_minute: minute(hours.from_us),
        end_minute: minute(hours.until_us),
    };
    // The sign in these names says where Greenwich is.
    let time_zone = match hours.offset_us / HOUR_US {
        0 => "Etc/GMT".to_owned(),
        ahead => format!("Etc/GMT{:+}", -ahead),
    };
    let calendar = Calendar {
        name: "Until the next minute".to_owned(),
        time_zone,
        week: (1..=7)
            .map(|weekday| WeeklyInterval {
                weekday,
                open: Some(open),
            })
            .collect(),
        ..Calendar::default()
    };
    let request = CreateCalendarRequest {
        calendar: Some(calendar),
        ..Default::default()
    };
    let answer = settings
        .create_calendar(request)
        .await
        .expect("a calendar is created");
    let calendar = answer
        .into_inner()
        .calendar
        .expect("the calendar comes back");

    let answer = settings
        .get_bot(GetBotRequest { bot_id })
        .await
        .expect("the bot is there");
    let bot = answer.into_inner().bot.expect("it comes back");
    let request = UpdateBotRequest {
        bot: Some(Bot {
            calendar_id: calendar.calendar_id,
            unassign_on_close: vec![CloseSource::Agent.into()],
            ..bot
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["calendar_id".to_owned(), "unassign_on_close".to_owned()],
        }),
        ..Default::default()
    };
    settings
        .update_bot(request)
        .await
        .expect("the bot is changed");
}
