//! What is stored of a ticket in Redis.

/// Bytes of a member: tenant, ticket and generation, each as a big-endian i64. Members of a ticket share the first
/// sixteen.
pub(crate) const MEMBER_BYTES: usize = 24;

/// A ticket as of a generation: the member of the sorted sets. Its tag, the generation, is why adds and removals may
/// come late, twice, or out of order: removing (T,7) can't touch (T,9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    /// The tenant, above zero.
    pub(crate) tenant_id: i64,
    /// The ticket, above zero.
    pub(crate) ticket_id: i64,
    /// The generation, above zero.
    pub(crate) generation: i64,
}

impl Member {
    /// The member as Redis stores it.
    pub(crate) fn to_bytes(self) -> [u8; MEMBER_BYTES] {
        let mut bytes = [0; MEMBER_BYTES];
        bytes[..8].copy_from_slice(&self.tenant_id.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.ticket_id.to_be_bytes());
        bytes[16..].copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }

    /// The member in these bytes; none if they are not one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tenant_id, rest) = bytes.split_first_chunk()?;
        let (ticket_id, rest) = rest.split_first_chunk()?;
        let generation = rest.try_into().ok()?;
        let member = Self {
            tenant_id: i64::from_be_bytes(*tenant_id),
            ticket_id: i64::from_be_bytes(*ticket_id),
            generation: i64::from_be_bytes(generation),
        };
        let is_valid = member.tenant_id > 0 && member.ticket_id > 0 && member.generation > 0;
        is_valid.then_some(member)
    }
}

/// A member with its due instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The ticket and generation.
    pub(crate) member: Member,
    /// Unix milliseconds, by the clock of Redis.
    pub(crate) due_ms: i64,
}

/// What the hash `quarantined` keeps of a member, as in `1763765381123 8 LEASE_ENDED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// When it was due, in Unix milliseconds.
    pub(crate) due_ms: i64,
    /// How often it failed.
    pub(crate) failed_attempts: u32,
    /// Why: a stable reason in capitals.
    pub(crate) reason: String,
}

impl GivenUp {
    /// The record as Redis stores it.
    pub(crate) fn encode(&self) -> String {
        format!("{} {} {}", self.due_ms, self.failed_attempts, self.reason)
    }

    /// The record in these bytes; none if they are not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.splitn(3, ' ');
        Some(Self {
            due_ms: parts.next()?.parse().ok()?,
            failed_attempts: parts.next()?.parse().ok()?,
            reason: parts.next()?.to_owned(),
        })
    }
}

/// The entries in a value of the hash `leased`: a `MessagePack` list of member and score in turn, both strings, as Lua's
/// `cmsgpack.pack` makes it from the answer of ZRANGE. None for anything else. Members that are none of ours are left
/// out: they can't be asked about.
pub(crate) fn decode_claimed(blob: &[u8]) -> Option<Vec<Entry>> {
    let mut reader = Reader { rest: blob };
    let length = reader.list_length()?;
    let mut entries = Vec::with_capacity(length.min(blob.len()) / 2);
    for _ in 0..length / 2 {
        let member = Member::from_bytes(reader.string()?);
        let due_ms = parse_score(reader.string()?)?;
        entries.extend(member.map(|member| Entry { member, due_ms }));
    }
    (reader.rest.is_empty() && length.is_multiple_of(2)).then_some(entries)
}

/// A score as Redis writes it. Scores of ours are whole numbers below 2^53.
pub(crate) fn parse_score(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it saturates, and scores are below 2^53"
    )]
    text.parse()
        .ok()
        .or_else(|| text.parse::<f64>().ok().map(|score| score as i64))
}

/// Reads the little of `MessagePack` that is needed.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(
            self.take(bytes)?
                .iter()
                .fold(0, |number, byte| number << 8 | usize::from(*byte)),
        )
    }

    fn list_length(&mut self) -> Option<usize> {
        match self.number(1)? {
            kind @ 0x90..=0x9f => Some(kind & 0x0f),
            0xdc => self.number(2),
            0xdd => self.number(4),
            _ => None,
        }
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = match self.number(1)? {
            kind @ 0xa0..=0xbf => kind & 0x1f,
            0xd9 => self.number(1)?,
            0xda => self.number(2)?,
            _ => return None,
        };
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEMBER: Member = Member {
        tenant_id: 1,
        ticket_id: 2,
        generation: 3,
    };

    #[test]
    fn members_sort_by_tenant_ticket_and_generation() {
        let bytes = MEMBER.to_bytes();
        assert_eq!(bytes.len(), MEMBER_BYTES);
        assert_eq!(Member::from_bytes(&bytes), Some(MEMBER));
        let later = Member {
            generation: 300,
            ..MEMBER
        };
        assert!(bytes < later.to_bytes());
        assert_eq!(Member::from_bytes(&bytes[1..]), None);
        assert_eq!(Member::from_bytes(&[0; MEMBER_BYTES]), None);
    }

    #[test]
    fn claimed_members_are_read() {
        let mut blob = vec![0x92, 0xb8];
        blob.extend(MEMBER.to_bytes());
        blob.push(0xad);
        blob.extend(b"1763765381123");
        let entries = vec![Entry {
            member: MEMBER,
            due_ms: 1_763_765_381_123,
        }];
        assert_eq!(decode_claimed(&blob), Some(entries));
        assert_eq!(decode_claimed(&blob[..blob.len() - 1]), None);
        blob.push(0);
        assert_eq!(decode_claimed(&blob), None);
    }

    #[test]
    fn records_of_quarantine_are_read_back() {
        let record = GivenUp {
            due_ms: 5,
            failed_attempts: 8,
            reason: "LEASE_ENDED".to_owned(),
        };
        assert_eq!(record.encode(), "5 8 LEASE_ENDED");
        assert_eq!(GivenUp::decode(record.encode().as_bytes()), Some(record));
        assert_eq!(GivenUp::decode(b"x"), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_claimed(&bytes);
            let _ = GivenUp::decode(&bytes);
            let _ = Member::from_bytes(&bytes);
            let _ = parse_score(&bytes);
        }
    }
}
