//! Registration access tokens (RFC 7592 §3): bearer tokens, or bound to the certificate on whose connection the client registered. No standard
//! speaks of the latter: it is an extension of ours, after RFC 8705 §3.

use std::net::IpAddr;

use super::error::{ErrorCode, OauthError, Refusal};
use super::registration::{foreign, invalid_token};
use super::server::AuthorizationServer;
use crate::binding::{self, Bound, Confirmation, Policy, Presenter};
use crate::config::settings::RegistrationBindingSetting;
use crate::domain::{ClientId, Cnf, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::tls::PeerCertificate;

/// What every registration access token begins with.
pub(super) const PREFIX: &str = "sy_reg_";

/// Whether registration access tokens are bound to the certificate of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationBinding {
    /// They are bearer tokens.
    Never,
    /// Where there is a certificate.
    WhenShown,
    /// Nobody registers without one.
    Always,
}

impl From<RegistrationBindingSetting> for RegistrationBinding {
    fn from(written: RegistrationBindingSetting) -> Self {
        match written {
            RegistrationBindingSetting::Never => Self::Never,
            RegistrationBindingSetting::WhenShown => Self::WhenShown,
            RegistrationBindingSetting::Always => Self::Always,
        }
    }
}

/// What the connection of a registration shows of a certificate.
#[derive(Clone, Copy, Debug)]
pub enum ShownCertificate<'a> {
    /// None.
    Nothing,
    /// The certificate.
    Whole(&'a PeerCertificate),
    /// One that is of no use here: it cannot be read, or a proxy tells nothing of it but its hash. With the private reason.
    Useless(Reason),
}

impl<'a> ShownCertificate<'a> {
    fn whole(self) -> Option<&'a PeerCertificate> {
        match self {
            Self::Whole(certificate) => Some(certificate),
            Self::Nothing | Self::Useless(_) => None,
        }
    }
}

/// Who sends a request about a registration.
#[derive(Clone, Copy, Debug)]
pub struct Registrant<'a> {
    /// The token in its `Authorization` header.
    pub bearer: Option<&'a str>,
    /// The certificate of its connection.
    pub certificate: ShownCertificate<'a>,
    /// Where it comes from.
    pub address: IpAddr,
}

/// Leave to manage a client's registration: made at its registration, and by [`AuthorizationServer::manager`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Management<'a> {
    pub(super) token: &'a str,
    pub(super) created: Timestamp,
    /// What the token is bound to.
    pub(super) certificate: Option<Thumbprint>,
}

/// The token's binding, to be proven like any other.
struct Held(Option<Cnf>);

impl Bound for Held {
    fn cnf(&self) -> Option<&Cnf> {
        self.0.as_ref()
    }
}

impl AuthorizationServer {
    /// What the registration access token of a new client is bound to.
    ///
    /// # Errors
    /// `invalid_request` without a certificate where one is needed, or with one that does not count.
    pub(super) fn confirm_registrant(
        &self,
        registrant: &Registrant<'_>,
        now: Timestamp,
    ) -> Result<Option<Thumbprint>, OauthError> {
        let refused = |reason| {
            let description =
                "no registration access token is bound to this certificate: it cannot be used here, has ended, or was revoked";
            Refusal::new(ErrorCode::InvalidRequest, reason, description)
        };
        let certificate = match (self.registration.token_binding(), registrant.certificate) {
            (RegistrationBinding::Never, _) | (RegistrationBinding::WhenShown, ShownCertificate::Nothing) => return Ok(None),
            (RegistrationBinding::Always, ShownCertificate::Nothing) => {
                let description = "registration access tokens are bound to a certificate here, and the connection has none: \
                    use the registration_endpoint in mtls_endpoint_aliases";
                return Err(Refusal::new(ErrorCode::InvalidRequest, Reason::BindingRequired, description).into());
            }
            // Whoever shows one means it: a bearer token would be less than was asked for.
            (_, ShownCertificate::Useless(reason)) => return Err(refused(reason).into()),
            (_, ShownCertificate::Whole(certificate)) => certificate,
        };
        self.check_standing(certificate, now).map_err(refused)?;
        // It is looked at again whenever it is shown: nothing need be kept of it for rules to reach it.
        Ok(Confirmation::certificate(certificate).cnf().x5t_s256().copied())
    }

    /// Whoever has a client's registration access token, and the key that it is bound to.
    ///
    /// # Errors
    /// `invalid_token` (RFC 6750 §3.1), also for a client that is gone.
    pub(super) async fn manager<'a>(
        &self,
        client_id: &ClientId,
        registrant: &Registrant<'a>,
    ) -> Result<Management<'a>, OauthError> {
        let token = registrant.bearer.ok_or_else(|| invalid_token("the registration access token is missing"))?;
        let known = self.store.registration(client_id, token).await?.ok_or_else(foreign)?;
        let refused = |reason| {
            let description = "the registration access token is bound to a certificate, and the connection has not shown it";
            Refusal::new(ErrorCode::InvalidToken, reason, description)
        };
        let held = Held(known.certificate.map(Cnf::certificate));
        let presenter = Presenter::connection(registrant.certificate.whole());
        binding::prove(held, &presenter, Policy::Optional).map_err(|problem| refused(problem.reason()))?;
        if let (Some(_), Some(certificate)) = (known.certificate, registrant.certificate.whole()) {
            let now = self.clock.now()?;
            self.check_standing(certificate, now).map_err(refused)?;
        }
        Ok(Management { token, created: known.created, certificate: known.certificate })
    }

    /// Whether a certificate is within its dates, and nobody has revoked it here.
    fn check_standing(&self, certificate: &PeerCertificate, now: Timestamp) -> Result<(), Reason> {
        certificate.leaf().check_dates(now).map_err(|problem| problem.reason())?;
        self.revocations.load().check_certificate(certificate.leaf()).map_err(|problem| problem.reason())
    }
}
