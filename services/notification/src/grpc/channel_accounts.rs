//! `ChannelAccountService`.

mod updating;

use plazo_database::{TenantPool, first_answer, keep_answer};
use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account_service_server::ChannelAccountService;
use plazo_proto::notification::v1::{
    ChannelAccount, CreateChannelAccountRequest, CreateChannelAccountResponse,
    ListChannelAccountsRequest, ListChannelAccountsResponse, SetChannelAccountEnabledRequest,
    SetChannelAccountEnabledResponse, UpdateChannelAccountRequest, UpdateChannelAccountResponse,
};
use plazo_service::status::FieldViolations;
use plazo_service::{
    Redacted, RequestIdInvalid, RequestKey, commit_in_background, paging, parse_request_id, status,
};
use tonic::{Request, Response, Status};

use super::tenant_actor;
use crate::accepting::Wakers;
use crate::account::{self, AccountRules};
use crate::error::Error;
use crate::message::to_proto_time;
use crate::sending::signing;
use crate::store::accounts::{self, Account, NewAccount};
use crate::store::enum_number;

const DEFAULT_PAGE_SIZE: i32 = 50;

/// Channel accounts of tenants.
#[derive(Debug, Clone)]
pub(crate) struct ChannelAccounts {
    pub(crate) requests: TenantPool,
    pub(crate) rules: AccountRules,
    pub(crate) wakers: Wakers,
}

#[tonic::async_trait]
impl ChannelAccountService for ChannelAccounts {
    async fn create_channel_account(
        &self,
        request: Request<CreateChannelAccountRequest>,
    ) -> Result<Response<CreateChannelAccountResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let mut violations = FieldViolations::new();
        let is_id = parse_request_id(&request.request_id).is_ok();
        violations.check("request_id", is_id, RequestIdInvalid::REASON);
        let account = request.account.clone().unwrap_or_default();
        let account = self.check(account, &mut violations).await;
        violations.into_result()?;
        let key = RequestKey::new(&actor, "CreateChannelAccount", &request, |it| {
            &mut it.request_id
        })?;
        let (this, tenant_id) = (self.clone(), actor.tenant_id);
        let answer =
            commit_in_background(async move { this.create(tenant_id, account, &key).await })
                .await?;
        Ok(Response::new(answer))
    }

    async fn update_channel_account(
        &self,
        request: Request<UpdateChannelAccountRequest>,
    ) -> Result<Response<UpdateChannelAccountResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let update = self.check_update(actor.tenant_id, &request).await?;
        let key = RequestKey::new(&actor, "UpdateChannelAccount", &request, |it| {
            &mut it.request_id
        })?;
        let (this, tenant_id) = (self.clone(), actor.tenant_id);
        let answer =
            commit_in_background(async move { this.update(tenant_id, update, &key).await }).await?;
        Ok(Response::new(answer))
    }

    async fn list_channel_accounts(
        &self,
        request: Request<ListChannelAccountsRequest>,
    ) -> Result<Response<ListChannelAccountsResponse>, Status> {
        let tenant_id = tenant_actor(&request)?.tenant_id;
        let request = request.into_inner();
        let page_size = paging::page_size(request.page_size, DEFAULT_PAGE_SIZE)?;
        let bound_to = format!("channel accounts/{tenant_id}");
        let after = paging::decode_page_token::<1>(bound_to.as_bytes(), &request.page_token)?
            .map_or(0, |[after]| after);
        let reading = self.requests.read(tenant_id);
        let mut connection = reading.await.map_err(Error::from)?;
        let mut page = accounts::list(&mut connection, tenant_id, after, page_size + 1)
            .await
            .map_err(Error::from)?;
        let size = usize::try_from(page_size).unwrap_or(usize::MAX);
        let has_more = page.len() > size;
        page.truncate(size);
        let next_page_token = match page.last() {
            Some(last) if has_more => {
                paging::encode_page_token(bound_to.as_bytes(), [last.channel_account_id])
            }
            _ => String::new(),
        };
        let accounts = page.into_iter().map(to_proto).collect();
        Ok(Response::new(ListChannelAccountsResponse {
            accounts,
            next_page_token,
        }))
    }

    async fn set_channel_account_enabled(
        &self,
        request: Request<SetChannelAccountEnabledRequest>,
    ) -> Result<Response<SetChannelAccountEnabledResponse>, Status> {
        let tenant_id = tenant_actor(&request)?.tenant_id;
        let SetChannelAccountEnabledRequest {
            channel_account_id,
            enabled,
        } = request.into_inner();
        if channel_account_id <= 0 {
            return Err(status::invalid("channel_account_id", "must be above zero"));
        }
        let beginning = self.requests.begin(tenant_id);
        let mut transaction = beginning.await.map_err(Error::from)?;
        let account =
            accounts::set_enabled(&mut transaction, tenant_id, channel_account_id, enabled)
                .await
                .map_err(Error::from)?
                .ok_or(not_found(channel_account_id))?;
        transaction.commit().await.map_err(Error::from)?;
        self.wakers.sender.notify_one();
        Ok(Response::new(SetChannelAccountEnabledResponse {
            account: Some(to_proto(account)),
        }))
    }
}

impl ChannelAccounts {
    /// The account to create; of no use when there are violations.
    async fn check(&self, account: ChannelAccount, violations: &mut FieldViolations) -> NewAccount {
        let settings = self.rules.check(&account, violations).await;
        let is_webhook = account.channel() == Channel::Webhook;
        NewAccount {
            channel: enum_number(account.channel()),
            name: account.name,
            settings: account::encode_settings(settings),
            credential_name: account.credential_name,
            signing_secret: Redacted(if is_webhook {
                signing::new_secret()
            } else {
                Vec::new()
            }),
        }
    }

    async fn create(
        &self,
        tenant_id: i64,
        account: NewAccount,
        key: &RequestKey,
    ) -> Result<CreateChannelAccountResponse, Error> {
        let mut transaction = self.requests.begin(tenant_id).await?;
        let first: Option<CreateChannelAccountResponse> =
            first_answer(&mut transaction, key).await?;
        if let Some(mut answer) = first {
            let id = answer
                .account
                .as_ref()
                .map_or(0, |it| it.channel_account_id);
            let secret = accounts::signing_secret(&mut transaction, tenant_id, id).await?;
            answer.signing_secret = secret_text(&secret.unwrap_or_default());
            return Ok(answer);
        }
        let channel_account_id = accounts::create(&mut transaction, tenant_id, &account).await?;
        let signing_secret = secret_text(&account.signing_secret.0);
        let account = to_proto(Account {
            channel_account_id,
            name: account.name,
            channel: account.channel,
            settings: account.settings,
            credential_name: account.credential_name,
            enabled: true,
            stopped_reason: String::new(),
            stopped_at: None,
            version: 1,
        });
        let mut answer = CreateChannelAccountResponse {
            account: Some(account),
            signing_secret: String::new(),
        };
        // The secret stays in one place.
        keep_answer(&mut transaction, key, &answer).await?;
        transaction.commit().await?;
        answer.signing_secret = signing_secret;
        Ok(answer)
    }
}

/// As Standard Webhooks writes it; empty for none.
fn secret_text(secret: &[u8]) -> String {
    if secret.is_empty() {
        String::new()
    } else {
        signing::secret_text(secret)
    }
}

fn not_found(channel_account_id: i64) -> Error {
    Error::NotFound {
        kind: "channel account",
        id: channel_account_id,
    }
}

fn to_proto(account: Account) -> ChannelAccount {
    ChannelAccount {
        channel_account_id: account.channel_account_id,
        name: account.name,
        channel: account.channel.into(),
        settings: account::decode_settings(&account.settings),
        enabled: account.enabled,
        credential_name: account.credential_name,
        stopped_reason: account.stopped_reason,
        stop_time: account.stopped_at.map(|at| to_proto_time(at.to_jiff())),
        etag: account.version.to_string(),
    }
}
