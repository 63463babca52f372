//! Each change of a calendar is a version that stays, and a ticket names the one of its opening.

use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Calendar, GetCalendarVersionRequest};
use tonic::{Code, Status};

use super::{always, count_by, create, update};
use crate::desk::Desk;
use crate::support::{TENANT, refusal, wrong_fields};

async fn version(desk: &Desk, tenant_id: i64, calendar_version: i64) -> Result<Calendar, Status> {
    let request = GetCalendarVersionRequest {
        tenant_id,
        calendar_version,
    };
    let mut snapshots = desk.service.snapshots.clone();
    let answer = snapshots.get_calendar_version(request).await?;
    Ok(answer.into_inner().calendar.expect("the calendar"))
}

/// The version that a ticket which is opened now names.
async fn version_at_opening(desk: &Desk) -> i64 {
    let ticket_id = desk.open().await.ticket_id;
    let events = desk.events(ticket_id).await;
    match &events[0].payload {
        Some(Payload::Opened(opened)) => opened.calendar_version,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_ticket_names_the_calendar_of_its_opening_for_ever() {
    let desk = Desk::start().await;
    assert_eq!(version_at_opening(&desk).await, 0, "the bot has none");

    let created = create(&desk.people, always("Loja")).await.expect("created");
    count_by(&desk, created.calendar_id).await.expect("counted");
    let first = version_at_opening(&desk).await;
    assert!(first > 0);
    assert_eq!(version_at_opening(&desk).await, first);

    let mut changed = created.clone();
    changed.week.truncate(5);
    let changed = update(&desk.people, changed, false).await.expect("changed");
    let second = version_at_opening(&desk).await;
    assert!(second > first);
    let mut renamed = changed.clone();
    renamed.name = "Loja 2".to_owned();
    let renamed = update(&desk.people, renamed, false).await.expect("changed");
    let third = version_at_opening(&desk).await;
    assert!(third > second);

    for (calendar_version, calendar) in [(first, created), (second, changed), (third, renamed)] {
        let told = version(&desk, TENANT, calendar_version)
            .await
            .expect("there");
        let expected = Calendar {
            etag: String::new(),
            ..calendar
        };
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn versions_that_are_not_there_are_not_found() {
    let desk = Desk::start().await;
    let created = create(&desk.people, always("Loja")).await.expect("created");
    count_by(&desk, created.calendar_id).await.expect("counted");
    let first = version_at_opening(&desk).await;
    let missing = (Code::NotFound, "CALENDAR_VERSION_NOT_FOUND".to_owned());
    for (tenant_id, calendar_version) in [(TENANT, first + 1), (TENANT + 1, first)] {
        assert_eq!(
            refusal(version(&desk, tenant_id, calendar_version).await),
            missing
        );
    }
    assert_eq!(
        wrong_fields(version(&desk, 0, -1).await),
        ["tenant_id", "calendar_version"]
    );
    // An update that fails makes no version.
    let stale = Calendar {
        etag: "99".to_owned(),
        ..created
    };
    update(&desk.people, stale, false).await.expect_err("stale");
    assert_eq!(version_at_opening(&desk).await, first);
}
