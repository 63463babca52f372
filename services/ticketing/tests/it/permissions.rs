//! Who may call what: every method with every single permission, and with none.

use std::collections::{BTreeMap, BTreeSet};

use plazo_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost::bytes::Buf as _;
use prost_types::FileDescriptorSet;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::{Fixture, TENANT};

const PERMISSIONS: [&str; 8] = [
    "helpdesk:view",
    "helpdesk:edit",
    "builder:edit",
    "tickets:attend",
    "history:view",
    "messages:send",
    "reports:view",
    "service",
];

/// Which permission each method needs, as PRODUCT.md has it: one line for each.
const TABLE: &[(&str, &str)] = &[
    ("ticketing.v1.SettingsService/CreateBot", "helpdesk:edit"),
    ("ticketing.v1.SettingsService/GetBot", "helpdesk:view"),
    ("ticketing.v1.SettingsService/ListBots", "helpdesk:view"),
    ("ticketing.v1.SettingsService/UpdateBot", "helpdesk:edit"),
    ("ticketing.v1.SettingsService/SetExitRoute", "builder:edit"),
    (
        "ticketing.v1.SettingsService/GetInactivityPolicy",
        "helpdesk:view",
    ),
    (
        "ticketing.v1.SettingsService/SetInactivityPolicy",
        "helpdesk:edit",
    ),
    (
        "ticketing.v1.SettingsService/RemoveQueuePolicy",
        "helpdesk:edit",
    ),
    (
        "ticketing.v1.SettingsService/PreviewSettings",
        "helpdesk:view",
    ),
    (
        "ticketing.v1.SettingsService/CreateCalendar",
        "helpdesk:edit",
    ),
    ("ticketing.v1.SettingsService/GetCalendar", "helpdesk:view"),
    (
        "ticketing.v1.SettingsService/ListCalendars",
        "helpdesk:view",
    ),
    (
        "ticketing.v1.SettingsService/UpdateCalendar",
        "helpdesk:edit",
    ),
    ("ticketing.v1.SettingsService/CreateQueue", "helpdesk:edit"),
    ("ticketing.v1.SettingsService/ListQueues", "helpdesk:view"),
    ("ticketing.v1.SettingsService/CreateAgent", "helpdesk:edit"),
    ("ticketing.v1.SettingsService/GetAgent", "helpdesk:view"),
    ("ticketing.v1.SettingsService/ListAgents", "helpdesk:view"),
    ("ticketing.v1.SettingsService/UpdateAgent", "helpdesk:edit"),
    (
        "ticketing.v1.ContactService/CreateContact",
        "tickets:attend",
    ),
    ("ticketing.v1.ContactService/GetContact", "tickets:attend"),
    (
        "ticketing.v1.ContactService/UpdateContact",
        "tickets:attend",
    ),
    (
        "ticketing.v1.ContactService/LookUpContact",
        "tickets:attend",
    ),
    (
        "ticketing.v1.ContactService/MergeContacts",
        "tickets:attend",
    ),
    ("ticketing.v1.ErasureService/EraseContact", "helpdesk:edit"),
    ("ticketing.v1.ErasureService/GetErasure", "helpdesk:view"),
    ("ticketing.v1.ErasureService/ListErasures", "helpdesk:view"),
    ("ticketing.v1.ErasureService/ReportErasure", "service"),
    ("ticketing.v1.TicketService/OpenTicket", "tickets:attend"),
    ("ticketing.v1.TicketService/GetTicket", "tickets:attend"),
    ("ticketing.v1.TicketService/ListTickets", "tickets:attend"),
    ("ticketing.v1.TicketService/AssignTicket", "tickets:attend"),
    ("ticketing.v1.TicketService/RecordMessage", "tickets:attend"),
    ("ticketing.v1.TicketService/ListMessages", "tickets:attend"),
    ("ticketing.v1.TicketService/CloseTicket", "tickets:attend"),
    ("ticketing.v1.TicketService/ReopenTicket", "tickets:attend"),
    (
        "ticketing.v1.TicketService/ListTicketEvents",
        "tickets:attend",
    ),
    ("ticketing.v1.TicketService/WatchTickets", "tickets:attend"),
    ("ticketing.v1.TicketService/HoldTicket", "tickets:attend"),
    ("ticketing.v1.TicketService/ResumeTicket", "tickets:attend"),
    (
        "ticketing.v1.TicketService/TransferTicket",
        "tickets:attend",
    ),
    ("ticketing.v1.TicketService/UnlinkTicket", "tickets:attend"),
    // The action block of a bot.
    ("ticketing.v1.TicketService/SetTicketOpen", "builder:edit"),
    ("ticketing.v1.TicketService/TagTickets", "tickets:attend"),
    ("ticketing.v1.TicketService/CloseTickets", "tickets:attend"),
    (
        "ticketing.v1.TicketService/RecordMessages",
        "tickets:attend",
    ),
    (
        "ticketing.v1.TicketService/PauseAutomation",
        "tickets:attend",
    ),
    (
        "ticketing.v1.TicketService/ResumeAutomation",
        "tickets:attend",
    ),
    ("ticketing.v1.TicketService/ExplainTicket", "tickets:attend"),
    ("ticketing.v1.TicketService/GetTranscript", "tickets:attend"),
    ("ticketing.v1.FeedService/StreamEvents", "service"),
    ("ticketing.v1.SnapshotService/StreamSnapshot", "service"),
    ("ticketing.v1.SnapshotService/GetCalendarVersion", "service"),
    (
        "ticketing.v1.MessageStateService/ReportMessageStates",
        "service",
    ),
    (
        "ticketing.v1.InboundService/RecordInboundMessages",
        "service",
    ),
    ("ticketing.v1.OutreachService/StartOutreach", "service"),
    ("timer.v1.TicketHandlerService/HandleDueTickets", "service"),
    (
        "timer.v1.TicketHandlerService/ListPendingTickets",
        "service",
    ),
    // Not there, or served elsewhere: no permission helps.
    ("ticketing.v1.TicketService/DeleteTicket", ""),
    ("history.v1.HistoryService/GetTicketHistory", ""),
];

/// Writes nothing, and reads over everything.
#[derive(Debug, Clone, Copy, Default)]
struct Nothing;

impl Codec for Nothing {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Nothing {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Nothing {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

/// The code of a call with an empty body: OK as soon as the answer begins.
async fn call(channel: &Channel, method: &str, tenant_id: i64, permissions: &str) -> Code {
    let mut request = Request::new(());
    for (key, value) in [
        ("plazo-tenant", &*tenant_id.to_string()),
        ("plazo-actor", "service/test"),
        ("plazo-permissions", permissions),
        ("plazo-bots", "*"),
    ] {
        let value = AsciiMetadataValue::try_from(value).expect("ASCII");
        request.metadata_mut().insert(key, value);
    }
    let path: PathAndQuery = format!("/plazo.{method}").parse().expect("a path");
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("connected");
    // A stream of answers is what any method gives, be it of one.
    let answer = client.server_streaming(request, path, Nothing).await;
    answer.err().map_or(Code::Ok, |status| status.code())
}

/// The methods of the services that ticketing serves.
fn methods() -> BTreeSet<String> {
    let protos = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
    let mut methods = BTreeSet::new();
    for file in &protos.file {
        let Some(package) = file.package().strip_prefix("plazo.") else {
            continue;
        };
        for service in &file.service {
            let is_served = package == "ticketing.v1" || service.name() == "TicketHandlerService";
            let names = service.method.iter().filter(|_| is_served);
            methods.extend(names.map(|it| format!("{package}.{}/{}", service.name(), it.name())));
        }
    }
    methods
}

#[tokio::test]
async fn each_method_has_the_permission_of_the_table_and_no_other() {
    let table: BTreeMap<&str, &str> = TABLE.iter().copied().collect();
    assert_eq!(table.len(), TABLE.len(), "a method stands twice");
    let there = methods();
    let written: BTreeSet<String> = table
        .iter()
        .filter(|(_, permission)| !permission.is_empty())
        .map(|(method, _)| (*method).to_owned())
        .collect();
    assert_eq!(there, written, "the table and the protos differ");

    let fixture = Fixture::start().await;
    let channel = fixture.channel();
    for (method, needed) in table {
        for permission in PERMISSIONS.into_iter().chain([""]) {
            // Services call each other across tenants.
            let tenant_id = if permission == "service" { 0 } else { TENANT };
            let code = call(&channel, method, tenant_id, permission).await;
            if needed.is_empty() {
                assert_eq!(code, Code::Unimplemented, "{method} with {permission:?}");
                continue;
            }
            assert_eq!(
                code != Code::PermissionDenied,
                permission == needed,
                "{method} with {permission:?}: {code:?}"
            );
            assert_ne!(code, Code::Unauthenticated, "{method} with {permission:?}");
        }
    }
}
