//! Certificates that tokens are bound to: noted once each, so that one can be revoked by its key or its number later.

use quick_cache::sync::Cache;

use super::client_auth::certificate_revoked;
use super::error::{Fault, OauthError};
use super::server::AuthorizationServer;
use crate::clients::LONGEST_TOKEN_LIFETIME;
use crate::domain::{Lifetime, RuleKind, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::pki::Certificate;
use crate::store::{Noted, SeenCertificate};
use crate::trust::revocation::certificate_value;

/// Certificates that this process remembers to have noted. One that it has forgotten is looked up.
const REMEMBERED: usize = 10_000;

/// What this process has noted.
#[derive(Debug)]
pub struct SeenCertificates(Cache<Thumbprint, Timestamp>);

/// How long a certificate is remembered after it was noted last: longer than any token that is bound to it then.
const KEPT: Lifetime = Lifetime::from_seconds(7 * 86_400);

impl Default for SeenCertificates {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl AuthorizationServer {
    /// Takes note of a certificate, before a token is bound to it.
    ///
    /// # Errors
    /// When a rule on its key or number was made a moment ago, or the database does not answer.
    pub(super) async fn note_certificate(&self, certificate: &Certificate, now: Timestamp) -> Result<(), OauthError> {
        let thumbprint = certificate.thumbprint();
        let outlives_its_tokens = |until: Timestamp| until > now.plus(LONGEST_TOKEN_LIFETIME);
        if self.seen_certificates.0.get(&thumbprint).is_some_and(outlives_its_tokens) {
            return Ok(());
        }
        let until = now.plus(KEPT);
        let seen = SeenCertificate {
            certificate: thumbprint.to_string(),
            key: certificate.spki_sha256().to_string(),
            serial: certificate_value(RuleKind::CertificateSerial, certificate),
            expires: until,
        };
        match Box::pin(self.store.note_certificate(&seen)).await.map_err(|error| Fault::Unavailable(error.reason()))? {
            Noted::Known => self.seen_certificates.0.insert(thumbprint, until),
            Noted::Revoked => return Err(certificate_revoked(Reason::CertificateRevoked).into()),
        }
        Ok(())
    }
}
