//! What there is to reach, and what must not be told of it.

use std::collections::HashSet;

use prost::encoding::{decode_varint, encode_varint};

/// The first id that the things have: long numbers, which hardly occur by chance. Much longer ones would make history lay
/// out many partitions for all the tickets below.
pub(super) const FIRST_ID: i64 = 7_000_000;
/// The first of the ids that nothing has, as long as the others.
const NOWHERE: i64 = 9_876_500;
/// In every text that belongs to a bot.
pub(super) const OF_BOT: &str = "Quittengelee";
/// In every text that belongs to the tenant as a whole: contacts, calendars, channel accounts.
pub(super) const OF_TENANT: &str = "Rhabarber";

/// In every text that a request brings, which its answer may repeat.
pub(super) const SAID: &str = "Hagebutte";

/// The things that a request names.
#[derive(Debug, Clone)]
pub(super) struct Things {
    // Of a bot.
    pub(super) bot_id: i64,
    pub(super) queue_id: i64,
    pub(super) agent_id: i64,
    pub(super) ticket_id: i64,
    pub(super) subscription_id: i64,
    pub(super) message_id: i64,
    // Of the tenant as a whole.
    pub(super) contact_id: i64,
    pub(super) other_contact_id: i64,
    pub(super) calendar_id: i64,
    pub(super) account_id: i64,
    pub(super) erasure_id: i64,
    /// Where the contact is reached.
    pub(super) address: String,
    /// A word that nothing has yet.
    pub(super) new_word: String,
}

impl Things {
    /// Things of which none exists, as somebody might guess them.
    pub(super) fn nowhere(&self) -> Self {
        Self {
            contact_id: NOWHERE + 10,
            other_contact_id: NOWHERE + 11,
            calendar_id: NOWHERE + 12,
            account_id: NOWHERE + 13,
            erasure_id: NOWHERE + 14,
            address: "nobody".to_owned(),
            ..self.without_bot()
        }
    }

    /// The same, but for things that belong to the tenant as a whole.
    pub(super) fn without_bot(&self) -> Self {
        Self {
            bot_id: NOWHERE,
            queue_id: NOWHERE + 1,
            agent_id: NOWHERE + 2,
            ticket_id: NOWHERE + 3,
            subscription_id: NOWHERE + 4,
            message_id: NOWHERE + 5,
            ..self.clone()
        }
    }

    fn ids(&self) -> [i64; 11] {
        [
            self.bot_id,
            self.queue_id,
            self.agent_id,
            self.ticket_id,
            self.subscription_id,
            self.message_id,
            self.contact_id,
            self.other_contact_id,
            self.calendar_id,
            self.account_id,
            self.erasure_id,
        ]
    }

    /// What was said of these things, as it would be said of `others`.
    pub(super) fn said_of(&self, others: &Self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (from, to) in self.ids().into_iter().zip(others.ids()) {
            replace(
                &mut bytes,
                from.to_string().as_bytes(),
                to.to_string().as_bytes(),
            );
            replace(&mut bytes, &varint(from), &varint(to));
        }
        bytes
    }
}

/// What an answer must not hold.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    pub(super) texts: Vec<&'static str>,
    pub(super) ids: HashSet<i64>,
}

/// What must not be told to whom.
#[derive(Debug, Clone)]
pub(super) struct AllSecrets {
    /// To nobody outside the tenant.
    pub(super) of_tenant: Secrets,
    /// To nobody who may not use the bot.
    pub(super) of_bot: Secrets,
    /// The same, where contacts are seen by their tickets alone.
    pub(super) in_history: Secrets,
}

impl Secrets {
    /// What of it an answer tells that the request did not say.
    pub(super) fn told(&self, answer: &[u8], request: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(answer).to_lowercase();
        let asked = String::from_utf8_lossy(request).to_lowercase();
        let texts = self.texts.iter().map(|it| it.to_lowercase());
        let texts = texts.filter(|it| text.contains(it) && !asked.contains(it));
        let asked = numbers(request);
        let ids = numbers(answer).into_iter();
        let ids = ids.filter(|id| self.ids.contains(id) && !asked.contains(id));
        texts.chain(ids.map(|id| id.to_string())).collect()
    }
}

/// All numbers as long as our ids, however they are written.
fn numbers(bytes: &[u8]) -> HashSet<i64> {
    let digits = FIRST_ID.to_string().len();
    let varints = (0..bytes.len()).filter_map(|at| {
        let number = decode_varint(&mut &bytes[at..]).ok()?;
        i64::try_from(number).ok()
    });
    let decimals = bytes.windows(digits).filter_map(|window| {
        let text = std::str::from_utf8(window).ok()?;
        text.parse().ok()
    });
    varints
        .chain(decimals)
        .filter(|it| *it >= FIRST_ID)
        .collect()
}

fn varint(id: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(id.unsigned_abs(), &mut bytes);
    bytes
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    if from.len() != to.len() {
        return;
    }
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
}
