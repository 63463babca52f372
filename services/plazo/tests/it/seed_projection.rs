//! What is seeded is what the projection would have made of the same tickets' events.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use plazo::seed::options::{DEFAULT_TENANT, SeedOptions, Target};
use plazo::seed::{Event, Step, Story, World, calendar, channel_us, cycle_kind, message_id};
use plazo_history::{App, Config};
use plazo_local::TestServers;
use plazo_proto::common::v1::ChannelIdentity;
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_proto::ticketing::v1::feed_service_server::{FeedService, FeedServiceServer};
use plazo_proto::ticketing::v1::snapshot_service_server::{SnapshotService, SnapshotServiceServer};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    ActiveMessageRequested, AlertCleared, ClosingNote, Closure, Contact, GetCalendarVersionRequest,
    GetCalendarVersionResponse, HoldEnded, Message, MessageRecorded, StageFired,
    StreamEventsRequest, StreamEventsResponse, StreamSnapshotRequest, StreamSnapshotResponse,
    TagsChanged, TicketAssigned, TicketClosed, TicketEvent, TicketHeld, TicketOpened,
    TicketReopened, TicketState, TicketTransferred, TicketUnlinked,
};
use plazo_service::Listeners;
use plazo_service::config::{ConfigSources, load};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::plazo::{command, run};

const TICKETS: u64 = 3_000;
const UNTIL: &str = "2026-03-31T00:00:00Z";
const PATIENCE: Duration = Duration::from_mins(2);

fn world() -> World {
    let options = SeedOptions {
        target: Target::Server(String::new()),
        tenant_id: DEFAULT_TENANT,
        tickets: TICKETS,
        contacts: None,
        agents: None,
        bots: 8,
        from: None,
        months: 24,
        until: Some(UNTIL.parse().expect("an instant")),
        seed: 3,
        add: false,
        first_ticket_id: None,
        connections: 1,
        history_port: 0,
        quiet: true,
    };
    let amounts = options.amounts(Timestamp::MAX).expect("they can be used");
    World::new(options.world(amounts, 1_000_000, 1))
}

fn proto_time(us: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: us.div_euclid(1_000_000),
        nanos: i32::try_from(us.rem_euclid(1_000_000) * 1_000).expect("below a second"),
    }
}

/// The event that ticketing would have written.
fn event(story: &Story, ticket_seq: i64, event: &Event) -> TicketEvent {
    TicketEvent {
        event_id: message_id(story, ticket_seq),
        tenant_id: DEFAULT_TENANT,
        ticket_id: story.place.ticket_id,
        ticket_seq,
        author: Some(event.author),
        event_time: Some(proto_time(event.at_us)),
        bot_id: story.place.bot_id,
        payload: Some(payload(story, ticket_seq, event)),
    }
}

fn payload(story: &Story, ticket_seq: i64, event: &Event) -> Payload {
    match &event.step {
        Step::Opened { agent_id } => opened(story, *agent_id),
        Step::Assigned {
            agent_id,
            previous_agent_id,
        } => Payload::Assigned(TicketAssigned {
            agent_id: *agent_id,
            previous_agent_id: *previous_agent_id,
        }),
        Step::Written { .. } => recorded(story, ticket_seq, event),
        Step::Fired {
            stage,
            late_ms,
            is_unanswered,
        } => Payload::StageFired(StageFired {
            stage: (*stage).into(),
            kind: cycle_kind(*is_unanswered).into(),
            could_act_time: Some(proto_time(event.at_us - late_ms * 1_000)),
            ..StageFired::default()
        }),
        Step::Cleared => Payload::AlertCleared(AlertCleared::default()),
        Step::Requested { is_warning, text } => {
            let kind = if *is_warning {
                ActiveMessageKind::Warning
            } else {
                ActiveMessageKind::ClosingText
            };
            let message = ActiveMessage {
                kind: kind.into(),
                text: (*text).to_owned(),
                ..ActiveMessage::default()
            };
            Payload::ActiveMessageRequested(ActiveMessageRequested {
                message: Some(message),
            })
        }
        Step::Held => Payload::Held(TicketHeld::default()),
        Step::Resumed => Payload::HoldEnded(HoldEnded::default()),
        Step::Transferred {
            queue_id,
            previous_queue_id,
            previous_agent_id,
        } => Payload::Transferred(TicketTransferred {
            queue_id: *queue_id,
            previous_queue_id: *previous_queue_id,
            previous_agent_id: *previous_agent_id,
        }),
        Step::Tagged { tags } => Payload::TagsChanged(TagsChanged {
            tags: owned(tags),
            ..TagsChanged::default()
        }),
        Step::Closed(closing) => Payload::Closed(TicketClosed {
            closure: Some(Closure {
                close_time: Some(proto_time(event.at_us)),
                source: closing.source.into(),
                author: Some(event.author),
                note: closing.note.map(|(category, summary)| ClosingNote {
                    category: category.to_owned(),
                    summary: summary.to_owned(),
                }),
                exit_route: closing.exit_route.to_owned(),
            }),
            tags: owned(&closing.tags),
            ..TicketClosed::default()
        }),
        Step::Reopened {
            agent_id,
            state,
            tags,
        } => Payload::Reopened(TicketReopened {
            state: (*state).into(),
            agent_id: *agent_id,
            tags: owned(tags),
            ..TicketReopened::default()
        }),
        Step::Unlinked => Payload::Unlinked(TicketUnlinked {}),
    }
}

fn owned(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

fn opened(story: &Story, agent_id: i64) -> Payload {
    let data = &story.contact;
    let contact = Contact {
        contact_id: story.contact_id,
        name: data.name.clone(),
        email: data.email.clone(),
        phone: data.phone.clone(),
        channel_identity: Some(ChannelIdentity {
            channel: data.channel.into(),
            address: data.address.clone(),
        }),
        etag: String::new(),
    };
    Payload::Opened(TicketOpened {
        queue_id: story.place.queue_id,
        contact: Some(contact),
        agent_id,
        previous_ticket_id: story.place.previous_ticket_id,
        calendar_version: World::calendar_version(story.place.bot_id),
        ..TicketOpened::default()
    })
}

/// Whoever writes leaves the ticket in the state that it has: nobody writes in a closed one here.
fn recorded(story: &Story, ticket_seq: i64, event: &Event) -> Payload {
    let Step::Written { kind, text } = &event.step else {
        panic!("{event:?} is no message");
    };
    let mut state = TicketState::Waiting;
    let seq = usize::try_from(ticket_seq).expect("above zero");
    for before in &story.events[..seq] {
        state = match before.step {
            Step::Opened { agent_id: 0 } | Step::Transferred { .. } => TicketState::Waiting,
            Step::Opened { .. } | Step::Assigned { .. } => TicketState::Open,
            Step::Reopened { state, .. } => state,
            _ => state,
        };
    }
    Payload::MessageRecorded(MessageRecorded {
        message: Some(Message {
            message_id: message_id(story, ticket_seq),
            ticket_id: story.place.ticket_id,
            author: Some(event.author),
            kind: (*kind).into(),
            text: (*text).to_owned(),
            record_time: Some(proto_time(event.at_us)),
            channel_time: channel_us(event).map(proto_time),
            ticket_seq,
            ..Message::default()
        }),
        state: state.into(),
        ..MessageRecorded::default()
    })
}

/// Sends the events of all tickets once, and knows the calendars.
struct Ticketing;

/// So many tickets in a batch: at most 1,000 events.
const BATCH_TICKETS: u64 = 30;
const BATCHES: u64 = TICKETS.div_ceil(BATCH_TICKETS);

fn batch(world: &World, number: u64) -> StreamEventsResponse {
    let tickets = number * BATCH_TICKETS..((number + 1) * BATCH_TICKETS).min(TICKETS);
    let stories: Vec<Story> = tickets.map(|ticket| world.story(ticket)).collect();
    let events = stories.iter().flat_map(|story| {
        let numbered = (1..).zip(&story.events);
        numbered.map(|(ticket_seq, one)| event(story, ticket_seq, one))
    });
    StreamEventsResponse {
        events: events.collect(),
        position: (number + 1).to_string(),
    }
}

#[tonic::async_trait]
impl FeedService for Ticketing {
    type StreamEventsStream =
        Pin<Box<dyn Stream<Item = Result<StreamEventsResponse, Status>> + Send>>;

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let first = request.into_inner().position.parse().unwrap_or(0);
        let world = world();
        let batches = stream::iter(first..BATCHES).map(move |number| Ok(batch(&world, number)));
        Ok(Response::new(batches.chain(stream::pending()).boxed()))
    }
}

#[tonic::async_trait]
impl SnapshotService for Ticketing {
    type StreamSnapshotStream =
        Pin<Box<dyn Stream<Item = Result<StreamSnapshotResponse, Status>> + Send>>;

    async fn stream_snapshot(
        &self,
        _: Request<StreamSnapshotRequest>,
    ) -> Result<Response<Self::StreamSnapshotStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn get_calendar_version(
        &self,
        request: Request<GetCalendarVersionRequest>,
    ) -> Result<Response<GetCalendarVersionResponse>, Status> {
        // Versions of seeded bots are the bots' ids.
        let bot_id = request.into_inner().calendar_version;
        Ok(Response::new(GetCalendarVersionResponse {
            calendar: Some(calendar(bot_id)),
        }))
    }
}

async fn serve_ticketing(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tasks.spawn(async move {
        Server::builder()
            .add_service(FeedServiceServer::new(Ticketing))
            .add_service(SnapshotServiceServer::new(Ticketing))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .expect("ticketing's stand-in serves");
    });
    address
}

async fn history(url: String, ticketing: SocketAddr) -> App {
    let mut config: Config = load(&ConfigSources::default()).expect("the defaults are valid");
    config.database.url = url;
    config.database.migrate = true;
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    config.server.metrics_listen = None;
    config.ticketing.endpoint = format!("http://{ticketing}");
    let listeners = Listeners::bind(&config.server)
        .await
        .expect("ports are free");
    App::build(config, listeners).await.expect("it migrates")
}

#[tokio::test]
async fn seeded_rows_are_those_of_the_projection() {
    let servers = TestServers::start().await.expect("servers start");
    let postgres = servers.postgres();
    let mut tasks = JoinSet::new();
    let ticketing = serve_ticketing(&mut tasks).await;
    for name in ["history", "projected"] {
        postgres
            .create_database(name)
            .await
            .expect("a database is made");
    }
    // Makes the tables that are seeded.
    drop(history(postgres.database_url("history"), ticketing).await);
    let url = postgres.database_url("postgres");
    let tickets = TICKETS.to_string();
    let seeded = run(command(&[
        "seed",
        "--database-url",
        &url,
        "--tickets",
        &tickets,
        "--until",
        UNTIL,
        "--seed",
        "3",
    ]))
    .await;
    assert_eq!(seeded.code, Some(0), "{}", seeded.stderr);

    let app = history(postgres.database_url("projected"), ticketing).await;
    let shutdown = CancellationToken::new();
    let until = shutdown.clone();
    tasks.spawn(async move { Box::pin(app.run(until)).await.expect("the service runs") });
    let began = Instant::now();
    let position = "SELECT position FROM feed_position";
    while postgres
        .sql("projected", position)
        .await
        .expect("a position")
        .trim()
        != BATCHES.to_string()
    {
        assert!(began.elapsed() < PATIENCE, "the events are applied in time");
        sleep(Duration::from_millis(50)).await;
    }
    shutdown.cancel();

    for (table, key) in [
        ("tickets", "ticket_id"),
        ("conversation_entries", "ticket_id, ticket_seq"),
        ("stage_firings", "ticket_id, ticket_seq"),
        ("dealings", "ticket_id, agent_id"),
        ("contacts", "contact_id"),
        ("contact_texts", "contact_id"),
    ] {
        let rows = format!("SELECT to_jsonb(one) FROM {table} AS one ORDER BY {key}");
        let of = async |database| postgres.sql(database, &rows).await.expect("rows are read");
        let (seeded, projected) = (of("history").await, of("projected").await);
        assert_eq!(seeded.lines().count(), projected.lines().count(), "{table}");
        for (seeded, projected) in seeded.lines().zip(projected.lines()) {
            assert_eq!(seeded, projected, "{table}");
        }
    }
}
