//! The device grant (RFC 8628 §3.4, §3.5): a device asks until a person has decided, and gets its tokens once.

use super::authorization_code::{Granted, Grounds};
use super::refresh_token::narrowed_resources;
use crate::clients::GrantType;
use crate::domain::{FamilyId, RequestId, Timestamp};
use crate::event::Reason;
use crate::oauth::authorization::from_json;
use crate::oauth::client_auth::RequestingClient;
use crate::oauth::device::{DeviceRequest, INTERVAL_SECONDS, check_grant};
use crate::oauth::error::{ErrorCode, Fault, OauthError, Refusal};
use crate::oauth::mint::{Binding, IssuedToken};
use crate::oauth::parameters::Parameters;
use crate::oauth::server::AuthorizationServer;
use crate::store::{CodeSpent, DeviceState, Polled};

/// A device code that its client may redeem: presented by whom it was issued to, and allowed by a person. Made here alone; that it is the
/// first time is seen when it is spent.
#[derive(Debug)]
pub struct AllowedDevice {
    device_code: String,
    family: FamilyId,
    granted: Granted,
    /// Those of the grant that the request names, or all.
    resources: Vec<String>,
}

impl AuthorizationServer {
    /// Finds the device code of a token request.
    ///
    /// # Errors
    /// Those of RFC 8628 §3.5 for as long as there is nothing to redeem.
    pub async fn allowed_device(
        &self,
        client: &RequestingClient,
        parameters: &Parameters,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<AllowedDevice, OauthError> {
        let refused = |code, reason, description: &'static str| -> OauthError {
            Refusal::new(code, reason, description).of(client.client_id()).into()
        };
        let unknown =
            |reason| refused(ErrorCode::InvalidGrant, reason, "the device code is unknown, was used, or is another client's");
        check_grant(client.client(), self.rules(client.client()).profile)?;
        let device_code = parameters.require("device_code").map_err(|refusal| refusal.of(client.client_id()))?;
        let record = self.store.device_authorization(device_code, now).await?;
        let record = record.ok_or_else(|| unknown(Reason::CodeUnknown))?;
        let request: DeviceRequest = from_json(&record.request)?;
        if request.client_id != *client.client_id() {
            return Err(unknown(Reason::CodeForeign));
        }
        // Of a client of this name that was removed since.
        if let Err(revoked) = self.revocations.load().check_client(client.client_id(), request.asked) {
            return Err(unknown(revoked.reason()));
        }
        match record.state {
            DeviceState::Redeemed => {
                Err(self.replayed(&record.family, client.client_id(), Reason::CodeReplayed, now, request_id).await)
            }
            DeviceState::Denied => Err(refused(ErrorCode::AccessDenied, Reason::ConsentDenied, "the person said no")),
            _ if now >= request.expires => {
                Err(refused(ErrorCode::ExpiredToken, Reason::CodeExpired, "the device code has expired: begin again"))
            }
            DeviceState::Pending => match self.store.poll_device(device_code, INTERVAL_SECONDS, now).await? {
                Polled::InTime => {
                    Err(refused(ErrorCode::AuthorizationPending, Reason::DevicePending, "nobody has decided yet: ask again"))
                }
                Polled::TooFast => Err(refused(
                    ErrorCode::SlowDown,
                    Reason::DevicePolledTooFast,
                    "asked too soon: leave 5 seconds more than before from now on (RFC 8628 section 3.5)",
                )),
            },
            DeviceState::Allowed => {
                let granted = record.granted.ok_or(Fault::Defect(Reason::Defect))?;
                let granted: Granted = from_json(&granted)?;
                let resources = narrowed_resources(parameters, &granted.resources);
                let resources = resources.map_err(|refusal| refusal.of(client.client_id()))?;
                Ok(AllowedDevice { device_code: device_code.to_owned(), family: record.family, granted, resources })
            }
        }
    }

    /// Spends a device code: tokens are given away only once the code, the grant they descend from and the events are committed.
    pub async fn redeem_device(
        &self,
        client: &RequestingClient,
        allowed: AllowedDevice,
        binding: &Binding,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<IssuedToken, OauthError> {
        let AllowedDevice { device_code, family, granted, resources } = allowed;
        let (grant, resources) = (GrantType::DeviceCode, resources.as_slice());
        let grounds = Grounds { grant, family: &family, granted: &granted, resources, nonce: None };
        let (issued, event, kept) = self.mint_granted(client, &grounds, binding, now, request_id).await?;
        let told = granted.is_openid().then_some((&granted.session_id, client.client_id()));
        let ended = |reason, description: &'static str| -> OauthError {
            Refusal::new(ErrorCode::InvalidGrant, reason, description).of(client.client_id()).into()
        };
        let new = kept.family(&grounds, client.client_id(), now);
        match self.store.redeem_device(&device_code, &new, told, &[event]).await? {
            CodeSpent::Now => Ok(issued),
            CodeSpent::SessionEnded => Err(ended(Reason::SessionAbsent, "the person has signed out since")),
            CodeSpent::AccountEnded => Err(ended(Reason::AccountDisabled, "the person may not sign in any more")),
            CodeSpent::ConsentWithdrawn => Err(ended(Reason::ConsentWithdrawn, "the person has taken this back since")),
            CodeSpent::Before => Err(self.replayed(&family, client.client_id(), Reason::CodeReplayed, now, request_id).await),
        }
    }
}
