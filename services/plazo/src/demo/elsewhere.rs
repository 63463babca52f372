//! Whether history and notification show what happened, as well as ticketing.

use std::time::Duration;

use plazo_proto::history::v1::history_service_client::HistoryServiceClient;
use plazo_proto::history::v1::history_settings_service_client::HistorySettingsServiceClient;
use plazo_proto::history::v1::{GetTicketHistoryRequest, SetBotHistoryRequest, TicketHistory};
use plazo_proto::notification::v1::notification_service_client::NotificationServiceClient;
use plazo_proto::notification::v1::{
    AcceptedMessage, ActiveMessageKind, ActiveMessageState, ListActiveMessagesRequest,
};
use plazo_proto::ticketing::v1::{CloseSource, TicketState};
use plazo_service::ServiceChannel;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::DemoError;
use super::desk::connect;
use super::play::Played;
use super::scenarios::{Act, Effect, Scenario};
use super::verdict::Problem;

/// Both are a moment behind ticketing; this is as long as they may be.
const BOUND: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// What another service says of a conversation.
enum Answer {
    /// What it should.
    Right,
    /// Something else, for now.
    Wrong(String),
    /// It can't be reached.
    Away,
}

/// Compares history with the conversations, and notes in them what differs. False when there is no history service
/// at the address.
pub(super) async fn check_history(
    endpoint: &str,
    played: &mut [Played],
) -> Result<bool, DemoError> {
    let channel = connect(endpoint)?;
    let settings = HistorySettingsServiceClient::new(channel.clone());
    let client = HistoryServiceClient::new(channel);
    let until = Instant::now() + BOUND;
    for played in played {
        // History shows the tickets of a bot once that is switched on, those of before as well.
        if let Answer::Away = switch_on(settings.clone(), played.bot_id).await? {
            return Ok(false);
        }
        match ask_until(until, || history_of(client.clone(), played)).await? {
            Answer::Right => {}
            Answer::Wrong(problem) => played.verdict.problems.push(Problem::Elsewhere(problem)),
            Answer::Away => return Ok(false),
        }
    }
    Ok(true)
}

/// The same for notification.
pub(super) async fn check_notification(
    endpoint: &str,
    played: &mut [Played],
) -> Result<bool, DemoError> {
    let client = NotificationServiceClient::new(connect(endpoint)?);
    let until = Instant::now() + BOUND;
    for played in played {
        match ask_until(until, || warnings_of(client.clone(), played)).await? {
            Answer::Right => {}
            Answer::Wrong(problem) => played.verdict.problems.push(Problem::Elsewhere(problem)),
            Answer::Away => return Ok(false),
        }
    }
    Ok(true)
}

/// Asks until the answer is right, or the time is over.
async fn ask_until<F>(until: Instant, ask: impl Fn() -> F) -> Result<Answer, DemoError>
where
    F: Future<Output = Result<Answer, DemoError>>,
{
    loop {
        let answer = ask().await?;
        if !matches!(answer, Answer::Wrong(_)) || Instant::now() >= until {
            return Ok(answer);
        }
        sleep(PAUSE).await;
    }
}

async fn switch_on(
    mut settings: HistorySettingsServiceClient<ServiceChannel>,
    bot_id: i64,
) -> Result<Answer, DemoError> {
    let request = SetBotHistoryRequest {
        bot_id,
        enabled: true,
        request_id: String::new(),
    };
    match settings.set_bot_history(request).await {
        Ok(_) => Ok(Answer::Right),
        Err(status) => away("SetBotHistory", status),
    }
}

async fn history_of(
    mut client: HistoryServiceClient<ServiceChannel>,
    played: &Played,
) -> Result<Answer, DemoError> {
    let request = GetTicketHistoryRequest {
        ticket_id: played.ticket_id,
    };
    match client.get_ticket_history(request).await {
        Ok(answer) => {
            let history = answer.into_inner().ticket.unwrap_or_default();
            Ok(compare_history(&played.scenario, &history))
        }
        Err(status) if status.code() == Code::NotFound => {
            Ok(Answer::Wrong("history does not know the ticket".to_owned()))
        }
        Err(status) => away("GetTicketHistory", status),
    }
}

fn compare_history(scenario: &Scenario, history: &TicketHistory) -> Answer {
    let is_closed = history.state == i32::from(TicketState::Closed);
    if is_closed != scenario.ends_closed {
        let state = if is_closed { "closed" } else { "open" };
        return Answer::Wrong(format!("history shows the ticket {state}"));
    }
    let source = history.closure.as_ref().map(|closure| closure.source);
    if is_closed && source != Some(CloseSource::CustomerInactivity.into()) {
        return Answer::Wrong("history shows another reason for the close".to_owned());
    }
    let wrote = |writer| {
        scenario
            .steps
            .iter()
            .filter(|step| step.act == writer)
            .count()
    };
    let counts = [
        (
            "customer",
            wrote(Act::Customer),
            history.customer_message_count,
        ),
        ("agent", wrote(Act::Agent), history.agent_message_count),
    ];
    for (who, expected, shown) in counts {
        if i32::try_from(expected) != Ok(shown) {
            return Answer::Wrong(format!("history counts {shown} messages of the {who}"));
        }
    }
    Answer::Right
}

async fn warnings_of(
    mut client: NotificationServiceClient<ServiceChannel>,
    played: &Played,
) -> Result<Answer, DemoError> {
    let request = ListActiveMessagesRequest {
        ticket_id: played.ticket_id,
        ..ListActiveMessagesRequest::default()
    };
    match client.list_active_messages(request).await {
        Ok(answer) => Ok(compare_messages(
            &played.scenario,
            &answer.into_inner().messages,
        )),
        Err(status) => away("ListActiveMessages", status),
    }
}

fn compare_messages(scenario: &Scenario, messages: &[AcceptedMessage]) -> Answer {
    let warned = scenario
        .expected
        .iter()
        .filter(|e| e.effect == Effect::Warning)
        .count();
    if messages.len() != warned {
        let shown = messages.len();
        return Answer::Wrong(format!(
            "notification has {shown} messages instead of {warned}"
        ));
    }
    let is_sent = |message: &AcceptedMessage| {
        let kind = message.message.as_ref().map(|message| message.kind);
        kind == Some(ActiveMessageKind::Warning.into())
            && matches!(
                ActiveMessageState::try_from(message.state),
                Ok(ActiveMessageState::Sent
                    | ActiveMessageState::Delivered
                    | ActiveMessageState::Read)
            )
    };
    if messages.iter().all(is_sent) {
        Answer::Right
    } else {
        Answer::Wrong("notification has not sent the warning".to_owned())
    }
}

fn away(call: &'static str, status: Status) -> Result<Answer, DemoError> {
    match status.code() {
        Code::Unavailable | Code::Unimplemented => Ok(Answer::Away),
        _ => Err(DemoError::call(call, status)),
    }
}
