//! The desk of one story: a bot of its own, since settings belong to bots.

use std::collections::HashMap;

use plazo_model::{Pause, Policy, Settings};
use plazo_proto::common::v1::TimeValue;
use plazo_proto::ticketing::v1::automation_pause_settings::Mode;
use plazo_proto::ticketing::v1::{
    AutomationPauseSettings, Bot, Calendar, CreateBotRequest, CreateCalendarRequest,
    CreateQueueRequest, GetInactivityPolicyRequest, Queue, RemoveQueuePolicyRequest,
    SetExitRouteRequest, SetInactivityPolicyRequest,
};
use tonic::Status;

use super::policies::{policy_to_proto, week_to_proto};
use crate::desk::{create_agent, eventually};
use crate::support::{Clients, Fixture, seconds};

/// Bot, queues, agent and policies of a story.
pub(super) struct StoryDesk {
    /// An administrator.
    pub(super) people: Clients,
    /// The agent.
    pub(super) agent: Clients,
    /// Another service.
    pub(super) service: Clients,
    pub(super) bot_id: i64,
    pub(super) queue_ids: Vec<i64>,
    pub(super) agent_id: i64,
    pub(super) contact_id: i64,
    /// What the model calls the versions.
    pub(super) versions: Versions,
}

/// The service's versions of policies, each with the model's.
#[derive(Debug, Default)]
pub(super) struct Versions {
    by_service: HashMap<i64, i64>,
    last: i64,
    of_bot: i64,
}

impl Versions {
    /// The model's number for a version of the service.
    pub(super) fn of_model(&self, version: i64) -> Option<i64> {
        self.by_service.get(&version).copied()
    }

    /// A policy was saved: the model counts them.
    fn saved(&mut self, version: i64, is_of_bot: bool) {
        self.last += 1;
        self.by_service.insert(version, self.last);
        if is_of_bot {
            self.of_bot = self.last;
        }
    }

    /// The bot's policy has another version, and is the same.
    fn renewed(&mut self, version: i64) {
        self.by_service.insert(version, self.of_bot);
    }
}

pub(super) fn length(seconds_count: i64) -> Option<TimeValue> {
    seconds(i32::try_from(seconds_count).expect("few seconds"))
}

fn pause_settings(pause: Pause) -> AutomationPauseSettings {
    let mode = match pause {
        Pause::ForSeconds(count) => length(count).map(Mode::PauseFor),
        Pause::UntilCompleted => Some(Mode::UntilCompleted(true)),
    };
    AutomationPauseSettings { mode }
}

impl StoryDesk {
    /// Settings as a story wants them; `name` is unique.
    pub(super) async fn new(
        fixture: &Fixture,
        name: &str,
        settings: &Settings,
        contact_id: i64,
    ) -> Self {
        let mut people = fixture.administrator();
        let calendar_id = if settings.week.is_empty() {
            0
        } else {
            create_calendar(&mut people, name, settings).await
        };
        let bot_id = create_bot(&mut people, name, settings, calendar_id).await;
        let mut queue_ids = Vec::new();
        for place in 0..settings.queues.len() {
            queue_ids.push(create_queue(&mut people, bot_id, place).await);
        }
        let agent_id = create_agent(&people, name, &[bot_id]).await.agent_id;
        let actor = format!("agent/{agent_id}");
        let agent = fixture.as_actor(&actor, "tickets:attend", &bot_id.to_string());
        let mut desk = Self {
            people,
            agent,
            service: fixture.service(),
            bot_id,
            queue_ids,
            agent_id,
            contact_id,
            versions: Versions::default(),
        };
        let set = desk.set_policy(0, &settings.bot, false).await;
        set.expect("the bot's policy is valid");
        for (place, policy) in settings.queues.iter().enumerate() {
            if let Some(policy) = policy {
                let set = desk.set_policy(desk.queue_ids[place], policy, false).await;
                set.expect("the queue's policy is valid");
            }
        }
        desk
    }

    /// Puts a policy in force for a queue, or for the bot (0). Returns when open tickets have it, if it is applied to
    /// them.
    pub(super) async fn set_policy(
        &mut self,
        queue_id: i64,
        policy: &Policy,
        applies: bool,
    ) -> Result<(), Status> {
        let request = SetInactivityPolicyRequest {
            bot_id: self.bot_id,
            policy: Some(policy_to_proto(policy)),
            queue_id,
            apply_to_open_tickets: applies,
            ..Default::default()
        };
        let answer = self.people.settings.set_inactivity_policy(request).await?;
        let policy = answer.into_inner().policy.expect("the policy");
        self.versions.saved(policy.version, queue_id == 0);
        self.applied(queue_id, applies).await;
        Ok(())
    }

    /// Lets a queue go by the bot's policy again.
    pub(super) async fn remove_policy(
        &mut self,
        queue_id: i64,
        applies: bool,
    ) -> Result<(), Status> {
        let request = RemoveQueuePolicyRequest {
            bot_id: self.bot_id,
            queue_id,
            apply_to_open_tickets: applies,
            ..Default::default()
        };
        self.people.settings.remove_queue_policy(request).await?;
        self.applied(queue_id, applies).await;
        // To be applied, the bot's policy gets a new version: a cycle never goes back to a lower one.
        let request = GetInactivityPolicyRequest {
            bot_id: self.bot_id,
            queue_id: 0,
        };
        let answer = self.people.settings.get_inactivity_policy(request).await?;
        let policy = answer.into_inner().policy.expect("the bot has one");
        self.versions.renewed(policy.version);
        Ok(())
    }

    async fn applied(&self, queue_id: i64, applies: bool) {
        if !applies {
            return;
        }
        let request = GetInactivityPolicyRequest {
            bot_id: self.bot_id,
            queue_id,
        };
        eventually("the policy is applied", async || {
            let mut settings = self.people.settings.clone();
            let answer = settings.get_inactivity_policy(request).await;
            let is_applying = answer.expect("a policy").into_inner().applying;
            (!is_applying).then_some(())
        })
        .await;
    }
}

async fn create_calendar(people: &mut Clients, name: &str, settings: &Settings) -> i64 {
    let calendar = Calendar {
        name: name.to_owned(),
        time_zone: "UTC".to_owned(),
        week: week_to_proto(&settings.week),
        ..Calendar::default()
    };
    let request = CreateCalendarRequest {
        calendar: Some(calendar),
        request_id: String::new(),
    };
    let answer = people.settings.create_calendar(request).await;
    let calendar = answer.expect("a calendar").into_inner().calendar;
    calendar.expect("the calendar").calendar_id
}

async fn create_bot(
    people: &mut Clients,
    name: &str,
    settings: &Settings,
    calendar_id: i64,
) -> i64 {
    let bot = Bot {
        name: name.to_owned(),
        automation_pause: Some(pause_settings(settings.automation_pause)),
        late_reply_grace: length(settings.late_reply_grace_s),
        max_hold: length(settings.max_hold_s),
        calendar_id,
        ..Bot::default()
    };
    let request = CreateBotRequest {
        bot: Some(bot),
        request_id: String::new(),
    };
    let answer = people.settings.create_bot(request).await;
    let bot_id = answer
        .expect("a bot")
        .into_inner()
        .bot
        .expect("the bot")
        .bot_id;
    let route = SetExitRouteRequest {
        bot_id,
        exit_route: "goodbye".to_owned(),
        ..Default::default()
    };
    let set = people.settings.set_exit_route(route).await;
    set.expect("a route");
    bot_id
}

async fn create_queue(people: &mut Clients, bot_id: i64, place: usize) -> i64 {
    let queue = Queue {
        bot_id,
        name: format!("Queue {place}"),
        ..Queue::default()
    };
    let request = CreateQueueRequest {
        queue: Some(queue),
        request_id: String::new(),
    };
    let answer = people.settings.create_queue(request).await;
    let queue = answer.expect("a queue").into_inner().queue;
    queue.expect("the queue").queue_id
}
