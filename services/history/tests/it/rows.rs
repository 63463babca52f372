//! Rows of history's tables, written without a feed.

use std::fmt::Write as _;

use plazo_local::TestServers;

/// A ticket; all instants are SQL, as in `now() - interval '1 day'`.
#[derive(Debug, Clone)]
pub(crate) struct TicketRow {
    pub(crate) tenant_id: i64,
    pub(crate) ticket_id: i64,
    pub(crate) bot_id: i64,
    pub(crate) agent_id: i64,
    pub(crate) contact_id: i64,
    pub(crate) opened_at: String,
    /// None while it is open.
    pub(crate) closed_at: Option<String>,
    pub(crate) last_interaction_at: String,
    pub(crate) is_unlinked: bool,
}

/// A contact; its search keys are made as the projection makes them.
#[derive(Debug, Clone)]
pub(crate) struct ContactRow {
    pub(crate) tenant_id: i64,
    pub(crate) contact_id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) last_interaction_at: String,
}

impl TicketRow {
    /// A ticket of tenant 1, bot 3, agent 12 and contact 5 that was closed at an instant and opened an hour before.
    pub(crate) fn closed(ticket_id: i64, closed_at: &str) -> Self {
        Self {
            tenant_id: 1,
            ticket_id,
            bot_id: 3,
            agent_id: 12,
            contact_id: 5,
            opened_at: format!("{closed_at} - interval '1 hour'"),
            closed_at: Some(closed_at.to_owned()),
            last_interaction_at: closed_at.to_owned(),
            is_unlinked: false,
        }
    }
}

impl ContactRow {
    /// A contact of tenant 1.
    pub(crate) fn named(contact_id: i64, name: &str) -> Self {
        Self {
            tenant_id: 1,
            contact_id,
            name: name.to_owned(),
            email: String::new(),
            phone: String::new(),
            last_interaction_at: "now()".to_owned(),
        }
    }
}

/// Gives dealings the keys of their contacts.
pub(crate) const TELL_DEALINGS: &str = "UPDATE dealings
    SET contact_name_key = contact.name_key, contact_other_keys = other_keys(contact.email_key, contact.phone_digits)
    FROM contacts AS contact
    WHERE contact.tenant_id = dealings.tenant_id AND contact.contact_id = dealings.contact_id
        AND contact_name_key IS DISTINCT FROM contact.name_key;\n";

/// Rows that are to be written together.
#[derive(Debug, Default)]
pub(crate) struct Rows(String);

impl Rows {
    pub(crate) fn ticket(&mut self, ticket: &TicketRow) -> &mut Self {
        let TicketRow {
            tenant_id,
            ticket_id,
            bot_id,
            agent_id,
            contact_id,
            opened_at,
            closed_at,
            last_interaction_at,
            is_unlinked,
        } = ticket;
        let state = if closed_at.is_some() { 3 } else { 2 };
        let closure = closed_at
            .as_ref()
            .map_or("NULL, NULL, NULL, NULL, NULL".to_owned(), |at| {
                format!("{at}, 1, 2, {agent_id}, ''")
            });
        self.add(&format!(
            "SELECT make_ticket_partitions({ticket_id});
            INSERT INTO tickets (
                tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, tags,
                customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
                contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind,
                close_author_id, close_exit_route, is_unlinked, last_interaction_at, ticket_seq
            ) VALUES (
                {tenant_id}, {ticket_id}, {bot_id}, 0, {agent_id}, {state}, {opened_at}, 0, '{{}}', 0, 0, 0,
                {contact_id}, '', '', '', 0, '', {closure}, {is_unlinked}, {last_interaction_at}, 1
            );"
        ))
    }

    /// A ticket and its agent's dealing with the contact, whose end is the close or else the opening.
    pub(crate) fn attended(&mut self, ticket: &TicketRow) -> &mut Self {
        let dealt_at = ticket.closed_at.as_ref().unwrap_or(&ticket.opened_at);
        self.ticket(ticket)
            .dealing(ticket.agent_id, ticket, dealt_at)
    }

    /// That an agent dealt with a ticket's contact.
    pub(crate) fn dealing(
        &mut self,
        agent_id: i64,
        ticket: &TicketRow,
        dealt_at: &str,
    ) -> &mut Self {
        let TicketRow {
            tenant_id,
            contact_id,
            ticket_id,
            bot_id,
            closed_at,
            last_interaction_at,
            ..
        } = ticket;
        let closed = closed_at.as_ref().map_or("NULL, NULL".to_owned(), |at| {
            format!("{at}, {last_interaction_at}")
        });
        self.add(&format!(
            "INSERT INTO dealings (
                tenant_id, agent_id, contact_id, ticket_id, bot_id, last_dealt_at, closed_at, closed_interaction_at
            ) VALUES ({tenant_id}, {agent_id}, {contact_id}, {ticket_id}, {bot_id}, {dealt_at}, {closed});"
        ))
    }

    pub(crate) fn contact(&mut self, contact: &ContactRow) -> &mut Self {
        let ContactRow {
            tenant_id,
            contact_id,
            name,
            email,
            phone,
            last_interaction_at,
        } = contact;
        let name_key = plazo_history::search_key(name);
        let email_key = plazo_history::search_key(email);
        let digits = plazo_history::phone_digits(phone);
        self.add(&format!(
            "INSERT INTO contacts (
                tenant_id, contact_id, name, email, phone, channel, address, last_interaction_at, name_key, email_key,
                phone_digits
            ) VALUES (
                {tenant_id}, {contact_id}, $t${name}$t$, $t${email}$t$, '{phone}', 3, '{phone}',
                {last_interaction_at}, $t${name_key}$t$, $t${email_key}$t$, '{digits}'
            );"
        ))
    }

    /// Something that an agent wrote in a ticket; `kind` is a `ConversationEntryKind`.
    pub(crate) fn entry(
        &mut self,
        ticket: &TicketRow,
        ticket_seq: i64,
        kind: i32,
        agent_id: i64,
        text: &str,
        at: &str,
    ) -> &mut Self {
        let TicketRow {
            tenant_id,
            ticket_id,
            ..
        } = ticket;
        self.add(&format!(
            "INSERT INTO conversation_entries (
                tenant_id, ticket_id, ticket_seq, kind, message_id, author_kind, author_id, text, attachment_urls,
                recorded_at
            ) VALUES (
                {tenant_id}, {ticket_id}, {ticket_seq}, {kind}, 1, 2, {agent_id}, $t${text}$t$, '{{}}', {at}
            );"
        ))
    }

    /// The permission for an agent of tenant 1.
    pub(crate) fn grant(&mut self, agent_id: i64) -> &mut Self {
        self.add(&format!(
            "INSERT INTO history_agents (tenant_id, agent_id) VALUES (1, {agent_id});"
        ))
    }

    /// Any statement.
    pub(crate) fn add(&mut self, sql: &str) -> &mut Self {
        writeln!(self.0, "{sql}").expect("a string takes all");
        self
    }

    /// Writes the rows in one transaction, so that `now()` is one instant. Dealings get the keys of their contacts.
    pub(crate) async fn save(&mut self, database: &str) {
        let rows = std::mem::take(&mut self.0);
        let script = format!("BEGIN;\n{rows}{TELL_DEALINGS}COMMIT;");
        run(database, &script).await;
    }
}

/// What a script prints.
pub(crate) async fn run(database: &str, script: &str) -> String {
    let postgres = TestServers::shared().await.postgres();
    postgres
        .sql(database, script)
        .await
        .expect("the script runs")
}
