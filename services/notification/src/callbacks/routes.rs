//! The paths that providers call.
//!
//! ```text
//! GET  /callbacks/whatsapp/{tenant_id}/{channel_account_id}           the verify challenge
//! POST /callbacks/whatsapp/{tenant_id}/{channel_account_id}           statuses and messages, signed
//! POST /callbacks/blip/{tenant_id}/{channel_account_id}/{token}       notifications and messages
//! ```
//!
//! Whatever is wrong with a caller, the answer is the same, so that it tells nothing about what exists.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_service::status::chain;

use super::news::{News, Unreadable};
use super::{Taking, blip, secrets, whatsapp};
use crate::account::decode_settings;
use crate::config::CallbacksConfig;
use crate::credentials::{Credential, CredentialError, Credentials};
use crate::store::accounts;
use crate::store::callbacks::AccountKey;

const SIGNATURE_HEADER: &str = "x-hub-signature-256";
/// Under these names a credential holds what callbacks are checked with.
const APP_SECRET: &str = "app_secret";
const VERIFY_TOKEN: &str = "verify_token";
const CALLBACK_TOKEN: &str = "callback_token";

/// What the handlers need.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    credentials: Credentials,
    taking: Taking,
    timeout: Duration,
    max_body_bytes: usize,
}

/// An account that is called back for, and its secrets.
struct CalledAccount {
    settings: Settings,
    credential: Arc<Credential>,
}

/// Why a callback was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// There is no such account of this channel, or the caller can't show that he is its provider.
    #[error("not the provider of an account")]
    Stranger,
    /// The body says nothing.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The account's secrets can't be had.
    #[error("the account's credential can't be used")]
    Credential(#[from] CredentialError),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl Refusal {
    /// Answers, and logs what is our own fault.
    fn answer(&self, account: AccountKey) -> (StatusCode, &'static str) {
        match self {
            Self::Stranger => (StatusCode::UNAUTHORIZED, "refused"),
            Self::Unreadable(_) => (StatusCode::BAD_REQUEST, "refused"),
            Self::Credential(_) | Self::Database(_) => {
                tracing::warn!(
                    tenant_id = account.tenant_id,
                    channel_account_id = account.channel_account_id,
                    error = chain(self),
                    "a callback can't be taken now"
                );
                (StatusCode::SERVICE_UNAVAILABLE, "failed")
            }
        }
    }
}

impl Routes {
    pub(crate) fn new(config: &CallbacksConfig, credentials: Credentials, taking: Taking) -> Self {
        Self {
            credentials,
            taking,
            timeout: Duration::from_millis(config.request_timeout_ms),
            max_body_bytes: config.max_body_bytes,
        }
    }

    /// The account and its secrets. One whose credential is missing is nobody's.
    async fn account(&self, key: AccountKey, channel: Channel) -> Result<CalledAccount, Refusal> {
        let mut connection = self.taking.requests.read(key.tenant_id).await?;
        let found = accounts::find(&mut connection, key.tenant_id, key.channel_account_id).await?;
        drop(connection);
        let account = found
            .filter(|account| i32::from(account.channel) == i32::from(channel))
            .ok_or(Refusal::Stranger)?;
        let settings = decode_settings(&account.settings).ok_or(Refusal::Stranger)?;
        let credential = self
            .credentials
            .get(key.tenant_id, &account.credential_name)
            .await;
        match credential {
            Ok(credential) => Ok(CalledAccount {
                settings,
                credential,
            }),
            Err(CredentialError::Missing) => Err(Refusal::Stranger),
            Err(error) => Err(error.into()),
        }
    }

    async fn take(&self, key: AccountKey, channel: Channel, news: News) -> Result<(), Refusal> {
        let taking = self.taking.clone();
        // A provider that hangs up must not drop the commit half-way.
        plazo_service::commit_in_background(async move { taking.take(key, channel, &news).await })
            .await?;
        Ok(())
    }

    fn answer(
        &self,
        channel: &'static str,
        key: AccountKey,
        taken: Result<(), Refusal>,
    ) -> StatusCode {
        let (code, outcome) = match taken {
            Ok(()) => (StatusCode::OK, "taken"),
            Err(refusal) => refusal.answer(key),
        };
        self.taking.metrics.count_callback(channel, outcome);
        code
    }
}

/// The paths, with a limit on the size of bodies and on the time of requests.
pub(crate) fn router(routes: Routes) -> Router {
    let (timeout, max_body_bytes) = (routes.timeout, routes.max_body_bytes);
    Router::new()
        .route(
            "/callbacks/whatsapp/{tenant_id}/{channel_account_id}",
            get(verify_whatsapp).post(take_whatsapp),
        )
        .route(
            "/callbacks/blip/{tenant_id}/{channel_account_id}/{token}",
            post(take_blip),
        )
        .with_state(routes)
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(middleware::from_fn(
            move |request: Request<Body>, next: Next| async move {
                match tokio::time::timeout(timeout, next.run(request)).await {
                    Ok(response) => response,
                    Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
                }
            },
        ))
}

/// What the provider asks when somebody enters the callback's address there.
#[derive(Default)]
struct Challenge {
    mode: String,
    verify_token: String,
    echo: String,
}

impl Challenge {
    fn read(query: &str) -> Self {
        let mut asked = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "hub.mode" => &mut asked.mode,
                "hub.verify_token" => &mut asked.verify_token,
                "hub.challenge" => &mut asked.echo,
                _ => continue,
            };
            *field = value.into_owned();
        }
        asked
    }
}

async fn verify_whatsapp(
    State(routes): State<Routes>,
    Path((tenant_id, channel_account_id)): Path<(i64, i64)>,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = Challenge::read(&query.unwrap_or_default());
    let key = AccountKey {
        tenant_id,
        channel_account_id,
    };
    let checked = async {
        let account = routes.account(key, Channel::Whatsapp).await?;
        let token = account.credential.get(VERIFY_TOKEN);
        let is_known = token.is_some_and(|known| secrets::is_token(known, &asked.verify_token));
        // What is echoed is a number; anything else could be somebody's page on our address.
        let is_number = (1..=64).contains(&asked.echo.len())
            && asked.echo.bytes().all(|byte| byte.is_ascii_digit());
        if is_known && is_number && asked.mode == "subscribe" {
            Ok(())
        } else {
            Err(Refusal::Stranger)
        }
    };
    match routes.answer("whatsapp", key, checked.await) {
        StatusCode::OK => asked.echo.into_response(),
        StatusCode::UNAUTHORIZED => StatusCode::FORBIDDEN.into_response(),
        code => code.into_response(),
    }
}

async fn take_whatsapp(
    State(routes): State<Routes>,
    Path((tenant_id, channel_account_id)): Path<(i64, i64)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let key = AccountKey {
        tenant_id,
        channel_account_id,
    };
    let taken = async {
        let account = routes.account(key, Channel::Whatsapp).await?;
        let signature = headers.get(SIGNATURE_HEADER).ok_or(Refusal::Stranger)?;
        let secret = account.credential.get(APP_SECRET);
        if !secret.is_some_and(|it| secrets::is_signed(it, signature.as_bytes(), &body)) {
            return Err(Refusal::Stranger);
        }
        let Settings::Whatsapp(settings) = account.settings else {
            return Err(Refusal::Stranger);
        };
        let news = whatsapp::read(&body, &settings.phone_number_id)?;
        routes.take(key, Channel::Whatsapp, news).await
    };
    let taken = taken.await;
    routes.answer("whatsapp", key, taken)
}

async fn take_blip(
    State(routes): State<Routes>,
    Path((tenant_id, channel_account_id, sent_token)): Path<(i64, i64, String)>,
    body: Bytes,
) -> StatusCode {
    let key = AccountKey {
        tenant_id,
        channel_account_id,
    };
    let taken = async {
        let account = routes.account(key, Channel::Blip).await?;
        let known = account.credential.get(CALLBACK_TOKEN);
        if !known.is_some_and(|known| secrets::is_token(known, &sent_token)) {
            return Err(Refusal::Stranger);
        }
        let news = blip::read(&body)?;
        routes.take(key, Channel::Blip, news).await
    };
    let taken = taken.await;
    routes.answer("blip", key, taken)
}
