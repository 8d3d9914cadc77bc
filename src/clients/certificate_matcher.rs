//! The subject that a certificate must have (RFC 8705 §2.1.2).

use std::net::IpAddr;

use crate::event::Reason;
use crate::pki::{Certificate, DateError, DistinguishedName};

/// Exactly one expectation of a client that authenticates with `tls_client_auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateMatcher {
    /// `tls_client_auth_subject_dn`: the whole subject, its parts in the same order.
    SubjectDn(DistinguishedName),
    /// `tls_client_auth_san_dns`: one of the `dNSName`s, whatever the case. A wildcard in a certificate matches nothing but itself, and
    /// none can be registered.
    SanDns(String),
    /// `tls_client_auth_san_uri`: one of the URIs, character by character.
    SanUri(String),
    /// `tls_client_auth_san_ip`: one of the addresses, as numbers.
    SanIp(IpAddr),
    /// `tls_client_auth_san_email`: one of the addresses; the part after `@` whatever the case (RFC 5280 §4.2.1.6).
    SanEmail(String),
}

/// Proof that a certificate is the one a registration speaks of. It says nothing of trust, possession or dates of a path.
#[derive(Clone, Copy, Debug)]
pub struct Matched(());

impl Matched {
    pub(super) const fn new() -> Self {
        Self(())
    }
}

/// Why a certificate is not the registered one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// Another subject.
    #[error("the certificate's subject is `{found}`, registered is `{registered}`")]
    Subject {
        /// What the registration says.
        registered: DistinguishedName,
        /// What the certificate says.
        found: DistinguishedName,
    },
    /// The same subject with its parts in the opposite order: a name is registered in the order of RFC 4514, most specific first.
    #[error("the registered subject `{registered}` is the certificate's backwards: register `{found}`")]
    SubjectBackwards {
        /// What the registration says.
        registered: DistinguishedName,
        /// What the certificate says.
        found: DistinguishedName,
    },
    /// The registered subject alternative name is not among the certificate's.
    #[error("the certificate has no subject alternative name {kind} `{registered}`")]
    SubjectAltName {
        /// Which kind.
        kind: &'static str,
        /// What the registration says.
        registered: String,
    },
    /// None of the registered certificates.
    #[error("the certificate is not one of the {0} registered")]
    NotRegistered(usize),
    /// A registered certificate outside its dates.
    #[error("the certificate is registered, but {0}")]
    Date(#[from] DateError),
}

impl MatchError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Subject { .. } | Self::SubjectBackwards { .. } => Reason::CertificateSubjectMismatch,
            Self::SubjectAltName { .. } => Reason::CertificateSanMismatch,
            Self::NotRegistered(_) => Reason::CertificateNotRegistered,
            Self::Date(error) => error.reason(),
        }
    }
}

impl CertificateMatcher {
    /// Checks that the certificate has the registered subject.
    ///
    /// # Errors
    /// [`MatchError`] when it has another one.
    pub fn check(&self, certificate: &Certificate) -> Result<Matched, MatchError> {
        let names = certificate.sans();
        let (kind, registered, found) = match self {
            Self::SubjectDn(registered) => return check_subject(registered, certificate.subject()),
            Self::SanDns(name) => ("dNSName", name.clone(), names.dns.iter().any(|found| found.eq_ignore_ascii_case(name))),
            Self::SanUri(uri) => ("URI", uri.clone(), names.uri.contains(uri)),
            Self::SanIp(address) => ("iPAddress", address.to_string(), names.ip.contains(address)),
            Self::SanEmail(address) => {
                ("rfc822Name", address.clone(), names.email.iter().any(|found| same_mailbox(found, address)))
            }
        };
        if found { Ok(Matched::new()) } else { Err(MatchError::SubjectAltName { kind, registered }) }
    }
}

fn check_subject(registered: &DistinguishedName, found: &DistinguishedName) -> Result<Matched, MatchError> {
    // The empty name names nobody; it cannot be registered, and matches nothing here either.
    if registered == found && !found.is_empty() {
        return Ok(Matched::new());
    }
    let (registered, found) = (registered.clone(), found.clone());
    if registered == found.reversed() && !found.is_empty() {
        Err(MatchError::SubjectBackwards { registered, found })
    } else {
        Err(MatchError::Subject { registered, found })
    }
}

fn same_mailbox(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, host)), Some((other_local, other_host))) => local == other_local && host.eq_ignore_ascii_case(other_host),
        _ => false,
    }
}
