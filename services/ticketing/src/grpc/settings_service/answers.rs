//! Rows as they are answered.

use plazo_domain::AutomationPause;
use plazo_proto::ticketing::v1 as proto;
use plazo_proto::ticketing::v1::automation_pause_settings::Mode;

use crate::policy_proto::time_value_to_proto;
use crate::settings::etag;
use crate::store::settings::agents::Agent;
use crate::store::settings::bots::Bot;
use crate::store::settings::queues::Queue;

pub(super) fn bot(bot: Bot) -> proto::Bot {
    let fields = bot.fields;
    let mode = match fields.automation_pause {
        AutomationPause::For(length) => Mode::PauseFor(time_value_to_proto(length)),
        AutomationPause::UntilCompleted => Mode::UntilCompleted(true),
    };
    let sources = fields.unassign_on_close.iter();
    proto::Bot {
        bot_id: bot.bot_id,
        name: fields.name,
        exit_route: bot.exit_route,
        channel_account_id: fields.channel_account_id,
        reopen_window: Some(time_value_to_proto(fields.reopen_window)),
        etag: etag(bot.revision),
        automation_pause: Some(proto::AutomationPauseSettings { mode: Some(mode) }),
        note_categories: fields.note_categories,
        note_required: fields.note_required,
        unassign_on_close: sources.map(|source| source.code().into()).collect(),
        max_hold: Some(time_value_to_proto(fields.max_hold)),
        late_reply_grace: Some(time_value_to_proto(fields.late_reply_grace)),
        calendar_id: fields.calendar_id.unwrap_or_default(),
        open_ticket_on_inbound: fields.open_ticket_on_inbound,
    }
}

pub(super) fn queue(queue: Queue) -> proto::Queue {
    proto::Queue {
        queue_id: queue.queue_id,
        bot_id: queue.bot_id,
        name: queue.name,
        policy_version: queue.policy_version.unwrap_or_default(),
    }
}

pub(super) fn agent(agent: Agent) -> proto::Agent {
    proto::Agent {
        agent_id: agent.agent_id,
        name: agent.name,
        bot_ids: agent.bot_ids,
        away: agent.away,
        etag: etag(agent.revision),
    }
}
