//! The next certificate of a public client (an extension of ours): RFC 8705 §4 binds its refresh token to the certificate that was shown when
//! it was issued, and says nothing of renewal. A client that is registered for it (`refresh_token_rebinding`) refreshes over a connection
//! with the certificate it has, and adds, in `certificate_rebinding`, a JWT that the key of the next one has signed:
//!
//! | | |
//! |---|---|
//! | `typ` | `certificate-rebinding+jwt` |
//! | `x5c` | the next certificate; what follows it is passed over |
//! | `iss`, `aud` | the `client_id`, the issuer identifier of this server alone |
//! | `jti`, `exp` | used once, at most 60 seconds ahead |
//! | `rth` | base64url of the SHA-256 of the refresh token |
//!
//! Both keys are proven: the old one by the handshake, the new one by the signature. The access token of that answer is still the old
//! certificate's; from then on the refresh token is the new one's alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use crate::binding::replay::{Claim, Replay, ReplayKey};
use crate::clients::{Client, RegisteredCertificate};
use crate::domain::{Cnf, Lifetime, Timestamp};
use crate::event::Reason;
use crate::jose::base64url;
use crate::jose::digest::sha256;
use crate::jose::jws::Compact;
use crate::jose::verify::VerifyingKey;
use crate::oauth::client_auth::reason_of;
use crate::oauth::error::{ErrorCode, Fault, OauthError, Refusal};
use crate::oauth::parameters::Parameters;
use crate::oauth::server::AuthorizationServer;
use crate::pki::Certificate;

/// The parameter.
pub const PARAMETER: &str = "certificate_rebinding";
/// `typ` of what stands in it.
const TYPE: &str = "certificate-rebinding+jwt";
/// The claim with the hash of the refresh token.
const HASH: &str = "rth";
/// How far away `exp` may be.
const LONGEST: Lifetime = Lifetime::from_seconds(60);
/// The certificates that `x5c` may hold.
const MAX_CHAIN: usize = 10;

/// The next certificate of a refresh token, whose key has signed that it is to be so. It is used up by
/// [`AuthorizationServer::use_rebinding`].
#[derive(Debug)]
pub(super) struct Rebinding {
    certificate: Certificate,
    key: ReplayKey,
    until: Timestamp,
}

impl Rebinding {
    pub(super) const fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// What is wrong with the JWT leaves the refresh token as it was: the code is not `invalid_grant`, at which clients give theirs up.
fn unusable(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, reason, description)
}

impl AuthorizationServer {
    /// The next certificate that a refresh request names, once the present one is proven.
    pub(super) fn rebinding(
        &self,
        client: &Client,
        bound_to: Option<&Cnf>,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<Option<Rebinding>, Refusal> {
        let Some(text) = parameters.get(PARAMETER) else { return Ok(None) };
        if !client.refreshing.rebinding {
            let description = "this client's refresh tokens are not bound to another certificate (refresh_token_rebinding)";
            return Err(Refusal::new(ErrorCode::UnauthorizedClient, Reason::RebindingNotAllowed, description));
        }
        if bound_to.and_then(Cnf::x5t_s256).is_none() {
            return Err(unusable(Reason::RebindingNotAllowed, "this refresh token is not bound to a certificate"));
        }
        let broken = "certificate_rebinding: it cannot be read, or the key of its certificate did not sign it";
        let jwt = Compact::parse(text).map_err(|problem| unusable(reason_of(&problem), broken))?;
        let header = jwt.header();
        if ["jwk", "jku", "x5u"].iter().any(|name| header.contains_key(*name)) {
            return Err(unusable(Reason::AssertionKeyReference, "certificate_rebinding: x5c alone names the key"));
        }
        if jwt.typ() != Some(TYPE) {
            return Err(unusable(Reason::AssertionType, "certificate_rebinding: typ must be certificate-rebinding+jwt"));
        }
        if !self.rules(client).algorithms.contains(&jwt.algorithm()) {
            return Err(unusable(Reason::AssertionAlgorithm, broken));
        }
        let certificate = next_certificate(header).ok_or_else(|| {
            unusable(Reason::RebindingCertificate, "certificate_rebinding: x5c must begin with the next certificate")
        })?;
        let registered = RegisteredCertificate::from_certificate(&certificate).map_err(|_| {
            unusable(Reason::RebindingCertificate, "certificate_rebinding: the certificate's key is of no kind used here")
        })?;
        let verified = VerifyingKey::new(registered.key(), jwt.algorithm())
            .map_err(|_| unusable(Reason::AssertionAlgorithm, broken))?
            .verify(&jwt)
            .map_err(|problem| unusable(reason_of(&problem), broken))?;
        let key = self.check_rebinding(client, verified.claims(), &certificate, parameters, now)?;
        let dates = |_| unusable(Reason::RebindingCertificate, "certificate_rebinding: the certificate is not valid now");
        certificate.check_dates(now).map_err(dates)?;
        let revoked = |_| unusable(Reason::CertificateRevoked, "certificate_rebinding: the certificate is not taken");
        self.revocations.load().check_certificate(&certificate).map_err(revoked)?;
        Ok(Some(Rebinding { certificate, key: key.0, until: key.1 }))
    }

    fn check_rebinding(
        &self,
        client: &Client,
        claims: &Map<String, Value>,
        certificate: &Certificate,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<(ReplayKey, Timestamp), Refusal> {
        if claims.get("iss").and_then(Value::as_str) != Some(client.client_id.as_str()) {
            return Err(unusable(Reason::AssertionSubject, "certificate_rebinding: iss must be the client_id"));
        }
        let in_order = self.assertions.for_issuer_alone().check_grant(claims, LONGEST, now).map_err(|problem| {
            let words = problem.to_string().replacen("client_assertion", PARAMETER, 1);
            Refusal::new(ErrorCode::InvalidRequest, problem.reason(), words)
        })?;
        let expected = base64url::encode(sha256(parameters.require("refresh_token")?.as_bytes()));
        let told = claims.get(HASH).and_then(Value::as_str).unwrap_or_default();
        if !bool::from(told.as_bytes().ct_eq(expected.as_bytes())) {
            let description = "certificate_rebinding: rth is not the hash of this refresh token";
            return Err(unusable(Reason::RebindingToken, description));
        }
        Ok((ReplayKey::certificate_rebinding(&certificate.thumbprint(), &in_order.token_id), in_order.until))
    }

    /// Uses the JWT up: of all requests with it, at all replicas, one goes on.
    pub(super) async fn use_rebinding(&self, rebinding: &Rebinding) -> Result<(), OauthError> {
        match Replay::claim(&self.store, &rebinding.key, rebinding.until).await {
            Claim::First => Ok(()),
            Claim::Seen => Err(unusable(Reason::AssertionReplayed, "certificate_rebinding: this jti was used before").into()),
            Claim::Unavailable => Err(Fault::Unavailable(Reason::StoreUnavailable).into()),
        }
    }
}

fn next_certificate(header: &Map<String, Value>) -> Option<Certificate> {
    let chain = header.get("x5c")?.as_array().filter(|chain| chain.len() <= MAX_CHAIN)?;
    // RFC 7515 §4.1.6: base64, not base64url.
    let der = STANDARD.decode(chain.first()?.as_str()?).ok()?;
    Certificate::from_der(CertificateDer::from(der)).ok()
}
