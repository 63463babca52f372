//! Agents.

use plazo_proto::ticketing::v1::{
    Agent, CreateAgentRequest, GetAgentRequest, ListAgentsRequest, UpdateAgentRequest,
};
use tonic::Code;

use super::mask;
use crate::support::{Clients, Fixture, refusal, wrong_fields};

fn update_agent(agent: Agent, paths: &[&str]) -> UpdateAgentRequest {
    UpdateAgentRequest {
        agent: Some(agent),
        update_mask: mask(paths),
        request_id: String::new(),
    }
}

async fn create_agent(clients: &mut Clients, name: &str, bot_ids: &[i64]) -> Agent {
    let agent = Agent {
        name: name.to_owned(),
        bot_ids: bot_ids.to_vec(),
        ..Agent::default()
    };
    let request = CreateAgentRequest {
        agent: Some(agent),
        request_id: String::new(),
    };
    let answer = clients
        .settings
        .create_agent(request)
        .await
        .expect("an agent is created");
    answer.into_inner().agent.expect("the agent")
}

async fn get_agent(clients: &mut Clients, agent_id: i64) -> Agent {
    let answer = clients
        .settings
        .get_agent(GetAgentRequest { agent_id })
        .await;
    answer
        .expect("the agent exists")
        .into_inner()
        .agent
        .expect("the agent")
}

#[tokio::test]
async fn agents_are_seen_and_changed_within_the_permitted_bots() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let first = administrator.create_bot("one").await.bot_id;
    let second = administrator.create_bot("two").await.bot_id;
    let both = create_agent(&mut administrator, "Ana", &[second, first, second]).await;
    assert_eq!(both.bot_ids, [first, second], "sorted, each once");
    let other = create_agent(&mut administrator, "Bia", &[second]).await;

    let permissions = "helpdesk:view,helpdesk:edit";
    let mut limited = fixture.as_actor("administrator/2", permissions, &first.to_string());
    assert_eq!(
        get_agent(&mut limited, both.agent_id).await.bot_ids,
        [first]
    );
    let answer = limited
        .settings
        .get_agent(GetAgentRequest {
            agent_id: other.agent_id,
        })
        .await;
    assert_eq!(
        refusal(answer),
        (Code::NotFound, "AGENT_NOT_FOUND".to_owned())
    );
    let answer = limited
        .settings
        .update_agent(update_agent(other, &["away"]))
        .await;
    assert_eq!(
        refusal(answer),
        (Code::NotFound, "AGENT_NOT_FOUND".to_owned())
    );
    let page = limited
        .settings
        .list_agents(ListAgentsRequest::default())
        .await
        .expect("a page");
    let seen: Vec<_> = page
        .into_inner()
        .agents
        .into_iter()
        .map(|agent| agent.agent_id)
        .collect();
    assert_eq!(seen, [both.agent_id]);

    for bot_ids in [vec![second], vec![first, 1_000_000]] {
        let wanted = Agent {
            bot_ids,
            ..both.clone()
        };
        let answer = limited
            .settings
            .update_agent(update_agent(wanted, &["bot_ids"]))
            .await;
        assert_eq!(wrong_fields(answer), ["agent.bot_ids"]);
    }
    let nobody = Agent {
        name: "Caio".to_owned(),
        ..Agent::default()
    };
    let request = CreateAgentRequest {
        agent: Some(nobody),
        request_id: String::new(),
    };
    assert_eq!(
        wrong_fields(limited.settings.create_agent(request).await),
        ["agent.bot_ids"]
    );

    let wanted = Agent {
        bot_ids: vec![],
        away: true,
        ..both.clone()
    };
    let answer = limited
        .settings
        .update_agent(update_agent(wanted, &["bot_ids", "away"]))
        .await;
    let seen = answer
        .expect("changed")
        .into_inner()
        .agent
        .expect("the agent");
    assert!(seen.bot_ids.is_empty());
    let after = get_agent(&mut administrator, both.agent_id).await;
    assert_eq!(
        (after.bot_ids, after.away),
        (vec![second], true),
        "the other bot is untouched"
    );
}

#[tokio::test]
async fn an_agent_is_changed_by_mask_and_etag() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let before = create_agent(&mut administrator, "Ana", &[]).await;
    let wanted = Agent {
        name: "Bia".to_owned(),
        away: true,
        ..before.clone()
    };
    let request = update_agent(wanted.clone(), &["away"]);
    let answer = administrator
        .settings
        .update_agent(request)
        .await
        .expect("changed");
    let after = answer.into_inner().agent.expect("the agent");
    assert_eq!((&*after.name, after.away), ("Ana", true));
    let stale = administrator
        .settings
        .update_agent(update_agent(wanted, &["name"]))
        .await;
    assert_eq!(refusal(stale), (Code::Aborted, "ETAG_MISMATCH".to_owned()));

    let wrong = Agent {
        agent_id: 0,
        name: "\u{1b}".to_owned(),
        bot_ids: vec![0; 1_001],
        ..after
    };
    let answer = administrator
        .settings
        .update_agent(update_agent(wrong, &[]))
        .await;
    let expected = [
        "agent.agent_id",
        "agent.name",
        "agent.bot_ids",
        "agent.bot_ids",
    ];
    assert_eq!(wrong_fields(answer), expected);
}
