//! More calls than the database bears.

use plazo_proto::ticketing::v1::{GetContactRequest, GetContactResponse};
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};

use crate::support::{Fixture, refusal};

const CONNECTIONS: usize = 2;
const WAITING: usize = 4;
const CALLS: usize = 16;

type Answer = Result<Response<GetContactResponse>, Status>;

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_those_that_may_wait_are_refused_at_once_and_the_others_answered() {
    let fixture = Fixture::start_with(&[
        ("DATABASE__MAX_CONNECTIONS", &CONNECTIONS.to_string()),
        ("DATABASE__MAX_WAITING", &WAITING.to_string()),
        // Much longer than the test takes: nobody is refused because of it.
        ("DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
        ("WATCH__MAX_READERS", "1"),
    ])
    .await;
    let mut people = fixture.administrator();
    let contact_id = people.create_contact("Ana", "ana").await.contact_id;
    let mut lock = fixture.pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .expect("locked");

    let mut calls: JoinSet<Answer> = JoinSet::new();
    for _ in 0..CALLS {
        let mut contacts = people.contacts.clone();
        calls.spawn(async move { contacts.get_contact(GetContactRequest { contact_id }).await });
    }
    let busy = (Code::ResourceExhausted, "DATABASE_BUSY".to_owned());
    // These come while nothing can be read.
    for _ in 0..CALLS - CONNECTIONS - WAITING {
        let answer = calls.join_next().await.expect("a call ends");
        assert_eq!(refusal(answer.expect("it ran")), busy);
    }
    lock.rollback().await.expect("released");
    let answers = calls.join_all().await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(answered >= WAITING, "{answers:?}");
    for refused in answers.into_iter().filter(Result::is_err) {
        assert_eq!(refusal(refused), busy);
    }
    // A crowd that has room is answered whole.
    let request = GetContactRequest { contact_id };
    let crowd = (0..WAITING).map(|_| {
        let mut contacts = people.contacts.clone();
        async move { contacts.get_contact(request).await }
    });
    for answer in futures::future::join_all(crowd).await {
        answer.expect("answered");
    }
}
