//! Queues.

use plazo_proto::ticketing::v1::{CreateQueueRequest, ListQueuesRequest, Queue};
use tonic::Code;

use crate::support::{Fixture, refusal, wrong_fields};

#[tokio::test]
async fn queue_names_are_unique_in_a_bot() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let bot_ids = [
        administrator.create_bot("one").await.bot_id,
        administrator.create_bot("two").await.bot_id,
    ];
    for bot_id in bot_ids {
        let queue = Queue {
            bot_id,
            name: "Suporte".to_owned(),
            ..Queue::default()
        };
        let request = CreateQueueRequest {
            queue: Some(queue.clone()),
            request_id: String::new(),
        };
        let answer = administrator
            .settings
            .create_queue(request.clone())
            .await
            .expect("created");
        let created = answer.into_inner().queue.expect("the queue");
        assert_eq!(
            created,
            Queue {
                queue_id: created.queue_id,
                ..queue
            }
        );
        let again = administrator.settings.create_queue(request).await;
        assert_eq!(
            refusal(again),
            (Code::AlreadyExists, "QUEUE_EXISTS".to_owned())
        );

        let request = ListQueuesRequest {
            bot_id,
            ..ListQueuesRequest::default()
        };
        let page = administrator
            .settings
            .list_queues(request)
            .await
            .expect("a page");
        assert_eq!(page.into_inner().queues, [created]);
    }
    let queue = Queue {
        queue_id: 1,
        bot_id: -1,
        name: String::new(),
        policy_version: 3,
    };
    let request = CreateQueueRequest {
        queue: Some(queue),
        request_id: String::new(),
    };
    let answer = administrator.settings.create_queue(request).await;
    assert_eq!(
        wrong_fields(answer),
        [
            "queue.queue_id",
            "queue.bot_id",
            "queue.name",
            "queue.policy_version",
        ]
    );
}
