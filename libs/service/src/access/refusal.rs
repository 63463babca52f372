//! Why a call was refused: the answer, and the name under which it is counted.

use std::time::Duration;

use tonic::{Code, Status};

use crate::status;

const AUTHORIZATION: &str = "authorization";
/// A connection whose certificate has ended is closed by then.
const CONNECT_AFTER: Duration = Duration::from_millis(1_200);
/// Keys that could not be fetched are tried again every few seconds.
const KEYS_RETRY: Duration = Duration::from_secs(2);

/// Why a call was refused before its handler was reached.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no token, no known certificate, and no metadata that is believed.
    TokenMissing,
    /// It is no token; how it should be.
    TokenMalformed(&'static str),
    /// Nobody here knows its issuer.
    IssuerUnknown,
    /// It is signed in a way that its issuer does not sign.
    AlgorithmRefused,
    /// The issuer has no such key.
    KeyUnknown,
    /// The issuer's keys could not be fetched for too long.
    KeysUnavailable,
    /// Somebody else made it, or changed it.
    SignatureWrong,
    /// It is for somebody else.
    AudienceWrong,
    /// Its time is over.
    TokenExpired,
    /// Its time has not come.
    TokenNotYetValid,
    /// A claim is missing or ill-formed: which, and what it must be.
    ClaimInvalid(&'static str, &'static str),
    /// The certificate of the client's connection has ended since.
    CertificateExpired,
    /// The metadata that make the actor are missing or ill-formed.
    Metadata(Status),
    /// There is no such method.
    MethodUnknown,
    /// The actor may not call it.
    PermissionDenied,
    /// The actor calls too often: when there will be room again.
    ActorLimited(Duration),
    /// All actors of the tenant together call too often.
    TenantLimited(Duration),
}

impl Refusal {
    /// The stable reason in the answer's `ErrorInfo`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::TokenMissing => "TOKEN_MISSING",
            Self::TokenMalformed(_) => "TOKEN_MALFORMED",
            Self::IssuerUnknown => "ISSUER_UNKNOWN",
            Self::AlgorithmRefused => "ALGORITHM_REFUSED",
            Self::KeyUnknown => "KEY_UNKNOWN",
            Self::KeysUnavailable => "KEYS_UNAVAILABLE",
            Self::SignatureWrong => "SIGNATURE_WRONG",
            Self::AudienceWrong => "AUDIENCE_WRONG",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenNotYetValid => "TOKEN_NOT_YET_VALID",
            Self::ClaimInvalid(..) => "CLAIM_INVALID",
            Self::CertificateExpired => status::REASON_CERTIFICATE_EXPIRED,
            Self::Metadata(status) => match status::reason_of(status).as_deref() {
                Some("ACTOR_MISSING") => "ACTOR_MISSING",
                _ => "ACTOR_INVALID",
            },
            Self::MethodUnknown => "METHOD_UNKNOWN",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ActorLimited(_) => "ACTOR_RATE_LIMITED",
            Self::TenantLimited(_) => "TENANT_RATE_LIMITED",
        }
    }

    /// Whether a certificate that was given may be what is wrong: it is not listed, or not for this method, or over.
    pub(crate) fn concerns_peer(&self) -> bool {
        matches!(
            self,
            Self::TokenMissing
                | Self::PermissionDenied
                | Self::MethodUnknown
                | Self::CertificateExpired
        )
    }

    /// The claim that is wrong, if it is one.
    pub(crate) fn claim(&self) -> Option<&'static str> {
        match self {
            Self::ClaimInvalid(claim, _) => Some(claim),
            _ => None,
        }
    }

    /// The answer. It says what is wrong with the call, and nothing of what is there.
    pub(crate) fn into_status(self) -> Status {
        let reason = self.reason();
        let token = |problem: &str| status::unauthenticated(reason, AUTHORIZATION, problem);
        match self {
            Self::TokenMissing => token("is missing: a token of the form 'Bearer …' is needed"),
            Self::TokenMalformed(must) => token(must),
            Self::IssuerUnknown => token("has a token of an issuer that is not known here"),
            Self::AlgorithmRefused => {
                token("has a token with an algorithm that its issuer does not use")
            }
            Self::KeyUnknown => token("has a token that is signed with an unknown key"),
            Self::SignatureWrong => token("has a token whose signature is wrong"),
            Self::AudienceWrong => token("has a token for another audience"),
            Self::TokenExpired => token("has a token that has expired"),
            Self::TokenNotYetValid => token("has a token that is not valid yet"),
            Self::ClaimInvalid(claim, must) => {
                token(&format!("has a token whose claim {claim} {must}"))
            }
            Self::KeysUnavailable => {
                let description = "the keys that check tokens are not to be had at the moment";
                status::unavailable(reason, description, KEYS_RETRY)
            }
            Self::CertificateExpired => {
                let description = "the certificate of this connection has expired: connect again";
                status::with_retry(Code::Unauthenticated, reason, description, CONNECT_AFTER)
            }
            Self::Metadata(status) => status,
            Self::MethodUnknown => status::unimplemented(reason, "this method"),
            Self::PermissionDenied => {
                status::permission_denied(reason, "the actor may not call this method")
            }
            Self::ActorLimited(wait) => {
                status::resource_exhausted(reason, "the actor calls too often", wait)
            }
            Self::TenantLimited(wait) => {
                status::resource_exhausted(reason, "the tenant's actors call too often", wait)
            }
        }
    }
}
