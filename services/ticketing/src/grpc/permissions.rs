//! Who may call what.

use plazo_service::{MethodPermissions, Permission};

const VIEW: &[Permission] = &[Permission::HelpdeskView];
const EDIT: &[Permission] = &[Permission::HelpdeskEdit];
const BUILD: &[Permission] = &[Permission::BuilderEdit];
const SERVICE: &[Permission] = &[Permission::Service];
const ATTEND: &[Permission] = &[Permission::TicketsAttend];

/// The permissions of all methods of the ticketing service.
pub const PERMISSIONS: MethodPermissions = &[
    ("/plazo.ticketing.v1.SettingsService/CreateBot", EDIT),
    ("/plazo.ticketing.v1.SettingsService/GetBot", VIEW),
    ("/plazo.ticketing.v1.SettingsService/ListBots", VIEW),
    ("/plazo.ticketing.v1.SettingsService/UpdateBot", EDIT),
    ("/plazo.ticketing.v1.SettingsService/SetExitRoute", BUILD),
    (
        "/plazo.ticketing.v1.SettingsService/GetInactivityPolicy",
        VIEW,
    ),
    (
        "/plazo.ticketing.v1.SettingsService/SetInactivityPolicy",
        EDIT,
    ),
    (
        "/plazo.ticketing.v1.SettingsService/RemoveQueuePolicy",
        EDIT,
    ),
    ("/plazo.ticketing.v1.SettingsService/PreviewSettings", VIEW),
    ("/plazo.ticketing.v1.SettingsService/CreateCalendar", EDIT),
    ("/plazo.ticketing.v1.SettingsService/GetCalendar", VIEW),
    ("/plazo.ticketing.v1.SettingsService/ListCalendars", VIEW),
    ("/plazo.ticketing.v1.SettingsService/UpdateCalendar", EDIT),
    ("/plazo.ticketing.v1.SettingsService/CreateQueue", EDIT),
    ("/plazo.ticketing.v1.SettingsService/ListQueues", VIEW),
    ("/plazo.ticketing.v1.SettingsService/CreateAgent", EDIT),
    ("/plazo.ticketing.v1.SettingsService/GetAgent", VIEW),
    ("/plazo.ticketing.v1.SettingsService/ListAgents", VIEW),
    ("/plazo.ticketing.v1.SettingsService/UpdateAgent", EDIT),
    ("/plazo.ticketing.v1.ContactService/CreateContact", ATTEND),
    ("/plazo.ticketing.v1.ContactService/GetContact", ATTEND),
    ("/plazo.ticketing.v1.ContactService/UpdateContact", ATTEND),
    ("/plazo.ticketing.v1.ContactService/LookUpContact", ATTEND),
    ("/plazo.ticketing.v1.ContactService/MergeContacts", ATTEND),
    ("/plazo.ticketing.v1.ErasureService/EraseContact", EDIT),
    ("/plazo.ticketing.v1.ErasureService/GetErasure", VIEW),
    ("/plazo.ticketing.v1.ErasureService/ListErasures", VIEW),
    ("/plazo.ticketing.v1.ErasureService/ReportErasure", SERVICE),
    ("/plazo.ticketing.v1.TicketService/OpenTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/GetTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/ListTickets", ATTEND),
    ("/plazo.ticketing.v1.TicketService/AssignTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/RecordMessage", ATTEND),
    ("/plazo.ticketing.v1.TicketService/ListMessages", ATTEND),
    ("/plazo.ticketing.v1.TicketService/CloseTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/ReopenTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/ListTicketEvents", ATTEND),
    ("/plazo.ticketing.v1.TicketService/WatchTickets", ATTEND),
    ("/plazo.ticketing.v1.TicketService/HoldTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/ResumeTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/TransferTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/UnlinkTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/SetTicketOpen", BUILD),
    ("/plazo.ticketing.v1.TicketService/TagTickets", ATTEND),
    ("/plazo.ticketing.v1.TicketService/CloseTickets", ATTEND),
    ("/plazo.ticketing.v1.TicketService/PauseAutomation", ATTEND),
    ("/plazo.ticketing.v1.TicketService/ResumeAutomation", ATTEND),
    ("/plazo.ticketing.v1.TicketService/ExplainTicket", ATTEND),
    ("/plazo.ticketing.v1.TicketService/GetTranscript", ATTEND),
    ("/plazo.ticketing.v1.TicketService/RecordMessages", ATTEND),
    ("/plazo.ticketing.v1.FeedService/StreamEvents", SERVICE),
    (
        "/plazo.ticketing.v1.SnapshotService/StreamSnapshot",
        SERVICE,
    ),
    (
        "/plazo.ticketing.v1.SnapshotService/GetCalendarVersion",
        SERVICE,
    ),
    (
        "/plazo.ticketing.v1.MessageStateService/ReportMessageStates",
        SERVICE,
    ),
    (
        "/plazo.ticketing.v1.InboundService/RecordInboundMessages",
        SERVICE,
    ),
    ("/plazo.ticketing.v1.OutreachService/StartOutreach", SERVICE),
    (
        "/plazo.timer.v1.TicketHandlerService/HandleDueTickets",
        SERVICE,
    ),
    (
        "/plazo.timer.v1.TicketHandlerService/ListPendingTickets",
        SERVICE,
    ),
];
