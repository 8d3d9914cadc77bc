//! The certificates of people: judged like those of clients, against an anchor set of their own.

use super::client_auth::Presenter;
use super::server::AuthorizationServer;
use crate::domain::{Issuer, Timestamp};
use crate::event::Reason;
use crate::tls::PeerCertificateError;
use crate::trust::{TrustError, TrustedCertificate};

/// Where people show their certificates, and whose they are.
#[derive(Clone, Debug)]
pub struct PersonCertificates {
    /// The base URL of the host that asks for them, with the issuer's path.
    pub url: Issuer,
    /// The anchor set that they must come from, beside the host's own.
    pub anchor_set: String,
}

/// Why a person's certificate is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonCertificateError {
    /// Certificates are not asked for at this host, or nobody may sign in with one.
    #[error("certificates of people are not asked for here")]
    NotAsked,
    /// The browser showed none.
    #[error("no certificate was shown")]
    Absent,
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] PeerCertificateError),
    /// It is not trusted.
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    /// The operator revoked it.
    #[error("the certificate was revoked")]
    Revoked(Reason),
}

impl PersonCertificateError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotAsked => Reason::CertificateNotAsked,
            Self::Absent => Reason::CertificateAbsent,
            Self::Unreadable(error) => error.reason(),
            Self::Untrusted(error) => error.reason(),
            Self::Revoked(reason) => *reason,
        }
    }
}

impl AuthorizationServer {
    /// Judges the certificate of the person at the other end of a connection: every anchor set of the host, and that of people, must accept
    /// it now, and no rule may revoke it.
    ///
    /// # Errors
    /// [`PersonCertificateError`].
    pub fn judge_person(&self, presenter: &Presenter<'_>, now: Timestamp) -> Result<TrustedCertificate, PersonCertificateError> {
        let Some(settings) = self.person_certificates.as_ref().filter(|_| presenter.certificate_requested) else {
            return Err(PersonCertificateError::NotAsked);
        };
        let presented = match presenter.certificate {
            Ok(Some(presented)) => presented,
            Ok(None) => return Err(PersonCertificateError::Absent),
            Err(error) => return Err(error.clone().into()),
        };
        let anchors = self.anchors.load();
        let names = presenter.host_anchor_sets.iter().chain([&settings.anchor_set]);
        let sets = names.map(|name| anchors.get(name).ok_or(TrustError::NoAnchors)).collect::<Result<Vec<_>, _>>()?;
        let trusted = presented.judge(&sets, now)?;
        let revoked = self.revocations.load().check_certificate(trusted.certificate().leaf());
        revoked.map_err(|revoked| PersonCertificateError::Revoked(revoked.reason()))?;
        Ok(trusted)
    }
}
