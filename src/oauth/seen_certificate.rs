//! Certificates that tokens are bound to: noted once each, so that one can be revoked by its key or its number later.

use quick_cache::sync::Cache;

use super::error::{Fault, OauthError};
use super::server::AuthorizationServer;
use crate::domain::{RuleKind, Thumbprint};
use crate::pki::Certificate;
use crate::store::SeenCertificate;
use crate::trust::revocation::certificate_value;

/// Certificates that this process remembers to have noted. One that it has forgotten is looked up.
const REMEMBERED: usize = 10_000;

/// What this process has noted.
#[derive(Debug)]
pub struct SeenCertificates(Cache<Thumbprint, ()>);

impl Default for SeenCertificates {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl AuthorizationServer {
    /// Takes note of a certificate, before a token is bound to it.
    pub(super) async fn note_certificate(&self, certificate: &Certificate) -> Result<(), OauthError> {
        let thumbprint = certificate.thumbprint();
        if self.seen_certificates.0.get(&thumbprint).is_some() {
            return Ok(());
        }
        let seen = SeenCertificate {
            certificate: thumbprint.to_string(),
            key: certificate.spki_sha256().to_string(),
            serial: certificate_value(RuleKind::CertificateSerial, certificate),
            not_after: certificate.not_after(),
        };
        Box::pin(self.store.note_certificate(&seen)).await.map_err(|error| Fault::Unavailable(error.reason()))?;
        self.seen_certificates.0.insert(thumbprint, ());
        Ok(())
    }
}
