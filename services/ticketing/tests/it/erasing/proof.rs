//! Who has erased what, and when.

use plazo_proto::ticketing::v1::{
    EraseContactRequest, GetErasureRequest, ListErasuresRequest, ReportErasureRequest,
    ServiceErasure,
};
use tonic::{Code, Status};

use super::{erase, get, until_erased};
use crate::desk::Desk;
use crate::support::{TENANT, refusal, request_id, wrong_fields};
use crate::tickets::calls::precondition;

fn report(erasure_id: i64, service: &str, row_count: i64) -> ReportErasureRequest {
    ReportErasureRequest {
        tenant_id: TENANT,
        erasure_id,
        done: Some(ServiceErasure {
            service: service.to_owned(),
            erase_time: None,
            row_count,
        }),
    }
}

async fn tell(desk: &Desk, request: ReportErasureRequest) -> Result<bool, Status> {
    let answer = desk
        .service
        .erasures
        .clone()
        .report_erasure(request)
        .await?;
    Ok(answer.into_inner().complete)
}

#[tokio::test]
async fn it_is_complete_when_all_services_have_reported() {
    let desk = Desk::start().await;
    desk.open().await;
    let mut people = desk.people.clone();
    let request = EraseContactRequest {
        contact_id: desk.contact_id,
        request_id: request_id(),
    };
    let first = people
        .erasures
        .erase_contact(request.clone())
        .await
        .expect("begun")
        .into_inner();
    let again = people
        .erasures
        .erase_contact(request)
        .await
        .expect("repeated")
        .into_inner();
    assert_eq!(first, again);
    let id = first.erasure.expect("the erasure").erasure_id;
    // Asked for anew, it is the one that there is.
    assert_eq!(
        erase(&people, desk.contact_id)
            .await
            .expect("known")
            .erasure_id,
        id
    );

    until_erased(&desk, id).await;
    assert!(!tell(&desk, report(id, "history", 5)).await.expect("taken"));
    assert!(
        !tell(&desk, report(id, "history", 5))
            .await
            .expect("repeated")
    );
    let first = get(&people, id).await;
    // He had found less before.
    assert!(!tell(&desk, report(id, "history", 3)).await.expect("known"));
    assert_eq!(get(&people, id).await, first);
    assert!(!tell(&desk, report(id, "history", 6)).await.expect("taken"));
    assert!(!get(&people, id).await.complete);
    assert!(
        tell(&desk, report(id, "notification", 0))
            .await
            .expect("taken")
    );
    let erasure = get(&people, id).await;
    assert!(erasure.complete);
    let services: Vec<_> = erasure
        .services
        .iter()
        .map(|it| it.service.as_str())
        .collect();
    assert_eq!(services, ["ticketing", "notification", "history"]);
    assert!(erasure.services.iter().all(|it| it.erase_time.is_some()));
    assert_eq!(
        (erasure.services[1].row_count, erasure.services[2].row_count),
        (0, 6)
    );

    for wrong in ["ticketing", "timer", ""] {
        assert_eq!(
            wrong_fields(tell(&desk, report(id, wrong, 1)).await),
            ["done.service"]
        );
    }
    assert_eq!(
        wrong_fields(tell(&desk, report(id, "history", -1)).await),
        ["done.row_count"]
    );
    let unknown = tell(&desk, report(id + 1, "history", 1)).await;
    assert_eq!(
        refusal(unknown),
        (Code::NotFound, "ERASURE_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn a_contact_without_tickets_is_known_to_no_other_service() {
    let desk = Desk::start().await;
    let id = erase(&desk.people, desk.contact_id)
        .await
        .expect("begun")
        .erasure_id;
    let erasure = until_erased(&desk, id).await;
    assert!(erasure.complete && erasure.ticket_count == 0, "{erasure:?}");
}

#[tokio::test]
async fn erasures_are_listed_for_their_tenant_alone() {
    let desk = Desk::start().await;
    let mut people = desk.people.clone();
    let mut expected = Vec::new();
    for number in 0..3 {
        let contact = people.create_contact("Bia", &format!("bia-{number}")).await;
        expected.insert(
            0,
            erase(&people, contact.contact_id)
                .await
                .expect("begun")
                .erasure_id,
        );
    }
    let mut listed = Vec::new();
    let mut request = ListErasuresRequest {
        page_size: 2,
        ..Default::default()
    };
    loop {
        let page = people
            .erasures
            .list_erasures(request.clone())
            .await
            .expect("a page")
            .into_inner();
        assert!(page.erasures.len() <= 2);
        listed.extend(page.erasures.iter().map(|it| it.erasure_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, expected);

    let mut other = desk.fixture.administrator_of(8);
    let page = other
        .erasures
        .list_erasures(ListErasuresRequest::default())
        .await;
    assert_eq!(page.expect("a page").into_inner().erasures, []);
    let read = other
        .erasures
        .get_erasure(GetErasureRequest {
            erasure_id: expected[0],
        })
        .await;
    assert_eq!(
        refusal(read),
        (Code::NotFound, "ERASURE_NOT_FOUND".to_owned())
    );
    let foreign = erase(&other, desk.contact_id).await;
    assert_eq!(
        refusal(foreign),
        (Code::NotFound, "CONTACT_NOT_FOUND".to_owned())
    );
    // Whose tickets the contact has is nobody's affair who may not use all bots.
    let some_bots = format!("{}", desk.bot_id);
    let of_some = desk
        .fixture
        .as_actor("administrator/2", "helpdesk:edit", &some_bots);
    assert_eq!(
        refusal(erase(&of_some, desk.contact_id).await),
        (Code::PermissionDenied, "BOT_NOT_PERMITTED".to_owned())
    );
}

#[tokio::test]
async fn a_merged_contact_is_erased_with_the_one_that_it_is_part_of() {
    let desk = Desk::start().await;
    let mut people = desk.people.clone();
    let part = people.create_contact("Bia", "bia").await.contact_id;
    let merge = plazo_proto::ticketing::v1::MergeContactsRequest {
        survivor_contact_id: desk.contact_id,
        merged_contact_id: part,
        request_id: String::new(),
    };
    people.contacts.merge_contacts(merge).await.expect("merged");
    assert_eq!(
        refusal(erase(&people, part).await),
        precondition("CONTACT_MERGED")
    );
    let id = erase(&people, desk.contact_id)
        .await
        .expect("begun")
        .erasure_id;
    assert_eq!(erase(&people, part).await.expect("known").erasure_id, id);
    // Both identities are free.
    for address in ["ana", "bia"] {
        assert_ne!(people.create_contact("Eva", address).await.contact_id, part);
    }
}
