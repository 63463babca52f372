//! When a stream that was let in ends, and what its client is told.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tonic::Status;

use super::refusal::Refusal;
use crate::deadline::instant_of;
use crate::status;
use crate::supervisor::jittered;

/// How long a client should wait before it opens a stream again that was due.
const RENEW_AFTER: Duration = Duration::from_millis(50);

/// In the extensions of a response: when the right to the call ends, and a stream with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessEnd {
    pub(crate) at: Instant,
    pub(crate) reason: EndReason,
}

/// Why a stream ends that its client was let in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The time of its token is over.
    TokenExpired,
    /// The time of its certificate is over.
    CertificateExpired,
    /// It has gone on for so long that who the client is must be looked at again.
    RenewalDue,
}

impl AccessEnd {
    /// None for what is too far away to be waited for.
    pub(super) fn of_token(ends_at: Timestamp) -> Option<Self> {
        Self::at(instant_of(ends_at), EndReason::TokenExpired)
    }

    /// The end of the certificate, or an age between half of `max_age` and the whole, whatever comes first: streams that
    /// began together don't end together. A `max_age` of zero is none.
    pub(super) fn of_peer(not_after: Option<Timestamp>, max_age: Duration) -> Option<Self> {
        let expires_at = not_after.and_then(instant_of);
        let is_bounded = !max_age.is_zero();
        let due_at = is_bounded.then(|| Instant::now().checked_add(jittered(max_age)));
        [
            Self::at(expires_at, EndReason::CertificateExpired),
            Self::at(due_at.flatten(), EndReason::RenewalDue),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|end| end.at)
    }

    fn at(at: Option<Instant>, reason: EndReason) -> Option<Self> {
        at.map(|at| Self { at, reason })
    }
}

impl EndReason {
    pub(super) const ALL: [Self; 3] = [
        Self::TokenExpired,
        Self::CertificateExpired,
        Self::RenewalDue,
    ];

    /// The stable reason in the `ErrorInfo`, and the label under which it is counted.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::CertificateExpired => status::REASON_CERTIFICATE_EXPIRED,
            Self::RenewalDue => status::REASON_RENEWAL_DUE,
        }
    }

    /// What the client is told.
    pub(crate) fn into_status(self) -> Status {
        match self {
            Self::TokenExpired => Refusal::TokenExpired.into_status(),
            Self::CertificateExpired => Refusal::CertificateExpired.into_status(),
            Self::RenewalDue => {
                let description =
                    "the stream has gone on for as long as one may, and can be opened again";
                status::unavailable(self.name(), description, RENEW_AFTER)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_stream_ends_with_its_certificate_or_its_age_whatever_comes_first() {
        let hour = Duration::from_hours(1);
        let in_seconds = |seconds: i64| {
            let now = Timestamp::now().as_second();
            Timestamp::from_second(now + seconds).expect("an instant")
        };
        for (not_after, max_age, reason, least, most) in [
            (None, hour, Some(EndReason::RenewalDue), 1_800, 3_600),
            (
                Some(in_seconds(7_200)),
                hour,
                Some(EndReason::RenewalDue),
                1_800,
                3_600,
            ),
            (
                Some(in_seconds(60)),
                hour,
                Some(EndReason::CertificateExpired),
                58,
                60,
            ),
            (
                Some(in_seconds(60)),
                Duration::ZERO,
                Some(EndReason::CertificateExpired),
                58,
                60,
            ),
            (
                Some(in_seconds(-60)),
                hour,
                Some(EndReason::CertificateExpired),
                0,
                0,
            ),
            (None, Duration::ZERO, None, 0, 0),
        ] {
            let end = AccessEnd::of_peer(not_after, max_age);
            assert_eq!(end.map(|end| end.reason), reason, "{not_after:?}");
            if let Some(end) = end {
                let left = end.at.duration_since(Instant::now()).as_secs_f64();
                assert!(
                    (f64::from(least)..=f64::from(most)).contains(&left),
                    "{left}"
                );
            }
        }
    }

    #[test]
    fn streams_that_began_together_do_not_end_together() {
        let hour = Duration::from_hours(1);
        let ends: std::collections::BTreeSet<_> = (0..100)
            .filter_map(|_| AccessEnd::of_peer(None, hour))
            .map(|end| end.at.duration_since(Instant::now()).as_secs() / 60)
            .collect();
        assert!(ends.len() > 10, "{ends:?}");
    }
}
