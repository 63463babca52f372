//! Rows as they are answered.

use plazo_proto::ticketing::v1 as proto;

use crate::policy_proto::time_value_to_proto;
use crate::settings::etag;
use crate::store::settings::agents::Agent;
use crate::store::settings::bots::Bot;
use crate::store::settings::queues::Queue;

pub(super) fn bot(bot: Bot) -> proto::Bot {
    proto::Bot {
        bot_id: bot.bot_id,
        name: bot.name,
        exit_route: bot.exit_route,
        channel_account_id: bot.channel_account_id,
        reopen_window: Some(time_value_to_proto(bot.reopen_window)),
        etag: etag(bot.revision),
    }
}

pub(super) fn queue(queue: Queue) -> proto::Queue {
    proto::Queue {
        queue_id: queue.queue_id,
        bot_id: queue.bot_id,
        name: queue.name,
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
