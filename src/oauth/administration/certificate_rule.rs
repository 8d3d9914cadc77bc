//! Certificates that an operator revokes, and takes back: by thumbprint, by number and issuer, or by key.

use crate::clients::session_window;
use crate::domain::{RevocationRule, RuleKind, Thumbprint, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::oauth::BEYOND_EXPIRY;
use crate::pki::crl::Serial;
use crate::pki::{Certificate, DistinguishedName};
use crate::store::{NewRule, Store, StoreError, always};
use crate::trust::revocation::{certificate_value, serial_value};

/// When no certificate says until when it could be used: the last second of the year 9999 (RFC 5280 §4.1.2.5).
pub const FOR_EVER: Timestamp = Timestamp::from_seconds(253_402_300_799);

/// A rule's kind and value, and until when there can be such a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCertificates {
    /// What of a certificate counts.
    pub kind: RuleKind,
    /// Its value.
    pub value: String,
    until: Timestamp,
}

impl NamedCertificates {
    const fn for_ever(kind: RuleKind, value: String) -> Self {
        Self { kind, value, until: FOR_EVER }
    }

    /// The one certificate with this thumbprint.
    pub fn by_thumbprint(thumbprint: &Thumbprint) -> Self {
        Self::for_ever(RuleKind::Certificate, thumbprint.to_string())
    }

    /// Every certificate of this issuer's name with this number.
    pub fn by_serial(serial: Serial, issuer: &DistinguishedName) -> Self {
        Self::for_ever(RuleKind::CertificateSerial, serial_value(serial, issuer))
    }

    /// Every certificate with this key: SHA-256 of its SubjectPublicKeyInfo.
    pub fn by_key(key: &Thumbprint) -> Self {
        Self::for_ever(RuleKind::CertificateKey, key.to_string())
    }

    /// What `kind` says of this certificate; `None` where its serial number is longer than twenty octets, or the kind is of something else.
    pub fn of(certificate: &Certificate, kind: RuleKind) -> Option<Self> {
        let until = match kind {
            RuleKind::Certificate => certificate.not_after(),
            // A renewed one may have them too.
            _ => FOR_EVER,
        };
        Some(Self { kind, value: certificate_value(kind, certificate)?, until })
    }

    /// Revokes them: whoever holds one is nobody any more, and every token bound to one is dead. Gives the rules, the named one first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke(&self, store: &Store, note: Option<String>, now: Timestamp) -> Result<Vec<RevocationRule>, StoreError> {
        let (kind, value) = (self.kind, self.value.clone());
        // A certificate does not come back: what another replica issues before it hears of the rule is hit too.
        let window = always(self.until.max(now).plus(BEYOND_EXPIRY));
        let event = match value.parse() {
            Ok(certificate) if kind == RuleKind::Certificate => AuditEvent::CertificateRevoked { certificate, note },
            _ => AuditEvent::CertificatesRevoked { kind, value: value.clone(), note },
        };
        let rule = NewRule { kind, value, window };
        store.revoke_certificates(&rule, session_window(now), &Trailed { time: now, event }).await
    }

    /// Takes the revocation back; `None` where there is none in force.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn restore(
        &self,
        store: &Store,
        note: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Vec<RevocationRule>>, StoreError> {
        let event = AuditEvent::CertificatesRestored { kind: self.kind, value: self.value.clone(), note };
        store.restore_certificates(self.kind, &self.value, &Trailed { time: now, event }).await
    }
}
