//! Changing an account.

use plazo_database::{first_answer, keep_answer};
use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::{
    ChannelAccount, UpdateChannelAccountRequest, UpdateChannelAccountResponse,
};
use plazo_service::status::FieldViolations;
use plazo_service::{RequestIdInvalid, RequestKey, parse_request_id};
use tonic::Status;

use super::{ChannelAccounts, not_found, to_proto};
use crate::account::{self, settings_field};
use crate::error::Error;
use crate::store::accounts;

/// What can be changed besides the settings.
const NAME: &str = "name";
const CREDENTIAL_NAME: &str = "credential_name";

/// The fields to change, checked.
#[derive(Debug)]
pub(super) struct Update {
    channel_account_id: i64,
    /// Which version is changed; none for any.
    version: Option<i64>,
    name: Option<String>,
    credential_name: Option<String>,
    /// As they are stored.
    settings: Option<Vec<u8>>,
}

impl ChannelAccounts {
    /// The fields that a request changes.
    pub(super) async fn check_update(
        &self,
        tenant_id: i64,
        request: &UpdateChannelAccountRequest,
    ) -> Result<Update, Status> {
        let wanted = request.account.clone().unwrap_or_default();
        let channel_account_id = wanted.channel_account_id;
        let mut violations = FieldViolations::new();
        let is_id = parse_request_id(&request.request_id).is_ok();
        violations.check("request_id", is_id, RequestIdInvalid::REASON);
        violations.check(
            "account.channel_account_id",
            channel_account_id > 0,
            "must be above zero",
        );
        let version = wanted.etag.parse().ok();
        violations.check(
            "account.etag",
            wanted.etag.is_empty() || version.is_some(),
            "must be the etag of the account",
        );
        violations.into_result()?;

        let reading = self.requests.read(tenant_id);
        let mut connection = reading.await.map_err(Error::from)?;
        let stored = accounts::find(&mut connection, tenant_id, channel_account_id)
            .await
            .map_err(Error::from)?
            .ok_or(not_found(channel_account_id))?;
        // Names are looked up below.
        drop(connection);
        let channel = Channel::try_from(i32::from(stored.channel)).unwrap_or_default();
        let mut violations = FieldViolations::new();
        violations.check(
            "account.channel",
            wanted.channel == 0 || wanted.channel() == channel,
            "can't be changed",
        );
        let paths = request.update_mask.clone().unwrap_or_default().paths;
        let settings = settings_field(channel);
        violations.check(
            "update_mask",
            paths
                .iter()
                .all(|path| [NAME, CREDENTIAL_NAME, settings].contains(&path.as_str())),
            &format!("may name `name`, `credential_name` and `{settings}`"),
        );
        let has = |field: &str| paths.is_empty() || paths.iter().any(|path| path == field);
        let update = Update {
            channel_account_id,
            version,
            name: has(NAME).then(|| wanted.name.clone()),
            credential_name: has(CREDENTIAL_NAME).then(|| wanted.credential_name.clone()),
            settings: if has(settings) {
                self.settings(channel, wanted, &mut violations).await
            } else {
                None
            },
        };
        if let Some(name) = &update.name {
            account::check_name(name, &mut violations);
        }
        if let Some(name) = &update.credential_name {
            account::check_credential_name(channel, name, &mut violations);
        }
        violations.into_result()?;
        Ok(update)
    }

    async fn settings(
        &self,
        channel: Channel,
        wanted: ChannelAccount,
        violations: &mut FieldViolations,
    ) -> Option<Vec<u8>> {
        let checked = self
            .rules
            .check_settings(channel, wanted.settings, violations);
        Some(account::encode_settings(checked.await))
    }

    pub(super) async fn update(
        &self,
        tenant_id: i64,
        update: Update,
        key: &RequestKey,
    ) -> Result<UpdateChannelAccountResponse, Error> {
        let mut transaction = self.requests.begin(tenant_id).await?;
        if let Some(answer) = first_answer(&mut transaction, key).await? {
            return Ok(answer);
        }
        let mut account = accounts::lock(&mut transaction, tenant_id, update.channel_account_id)
            .await?
            .ok_or(not_found(update.channel_account_id))?;
        if update
            .version
            .is_some_and(|version| version != account.version)
        {
            return Err(Error::EtagMismatch);
        }
        if let Some(name) = update.name {
            account.name = name;
        }
        if let Some(credential_name) = update.credential_name {
            account.credential_name = credential_name;
        }
        if let Some(settings) = update.settings {
            account.settings = settings;
        }
        account.version = accounts::update(&mut transaction, tenant_id, &account).await?;
        let answer = UpdateChannelAccountResponse {
            account: Some(to_proto(account)),
        };
        keep_answer(&mut transaction, key, &answer).await?;
        transaction.commit().await?;
        self.wakers.sender.notify_one();
        Ok(answer)
    }
}
