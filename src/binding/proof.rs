//! The comparison.

use std::marker::PhantomData;

use crate::domain::{Cnf, Thumbprint};
use crate::event::Reason;
use crate::tls::PeerCertificate;
use crate::token::TokenFacts;

/// Something that says which key it is bound to.
pub trait Bound {
    /// The token's `cnf`.
    fn cnf(&self) -> Option<&Cnf>;
}

impl Bound for TokenFacts {
    fn cnf(&self) -> Option<&Cnf> {
        self.cnf.as_ref()
    }
}

/// Who presents a token: what this very connection has proven.
#[derive(Clone, Copy, Debug)]
pub struct Presenter<'a> {
    certificate: Option<Thumbprint>,
    /// Not to be kept beyond the connection it speaks of.
    connection: PhantomData<&'a PeerCertificate>,
}

impl<'a> Presenter<'a> {
    /// The other side of a connection, with the certificate it has proven to hold, if any.
    pub fn connection(certificate: Option<&'a PeerCertificate>) -> Self {
        Self { certificate: certificate.map(PeerCertificate::thumbprint), connection: PhantomData }
    }
}

/// What is asked of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Every token must be bound, and proven.
    #[default]
    Strict,
    /// A bound token must be proven; an unbound one is a plain bearer token.
    Optional,
}

/// Why a presenter has not proven to hold the token's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The token is bound to nothing, where it must be.
    #[error("the token is bound to no key")]
    CnfAbsent,
    /// The token is bound to a certificate and there is none.
    #[error("the token is bound to a certificate, and the connection has none")]
    CertificateAbsent,
    /// The token is bound to another certificate.
    #[error("the token is bound to another certificate")]
    CertificateMismatch,
    /// The token is (also) bound to a key whose proof is not taken here.
    #[error("the token is bound to a key whose proof is not taken here")]
    ProofUnsupported,
}

impl BindingError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::CnfAbsent => Reason::CnfAbsent,
            Self::CertificateAbsent => Reason::BindingCertificateAbsent,
            Self::CertificateMismatch => Reason::BindingCertificateMismatch,
            Self::ProofUnsupported => Reason::BindingProofUnsupported,
        }
    }
}

/// A token whose presenter holds its key, or that needs none by policy. Made only by [`prove`].
#[derive(Clone, Debug)]
pub struct Proven<T>(T);

impl<T> Proven<T> {
    /// The token.
    pub const fn get(&self) -> &T {
        &self.0
    }

    /// The token, the proof used up.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Compares the token's own `cnf` with what the presenter has proven (RFC 8705 §3). To be called for every request: a proof is
/// never remembered.
pub fn prove<T: Bound>(token: T, presenter: &Presenter<'_>, policy: Policy) -> Result<Proven<T>, BindingError> {
    match token.cnf() {
        None => match policy {
            Policy::Strict => return Err(BindingError::CnfAbsent),
            Policy::Optional => {}
        },
        Some(cnf) => {
            // Both members, where there are both, must be proven.
            if cnf.jkt().is_some() {
                return Err(BindingError::ProofUnsupported);
            }
            let bound_to = cnf.x5t_s256().ok_or(BindingError::ProofUnsupported)?;
            let certificate = presenter.certificate.ok_or(BindingError::CertificateAbsent)?;
            if !bound_to.matches(&certificate) {
                return Err(BindingError::CertificateMismatch);
            }
        }
    }
    Ok(Proven(token))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The thumbprint of RFC 8705 Appendix A.
    const APPENDIX_A: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
    const OTHER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    struct Token(Option<Cnf>);

    impl Bound for Token {
        fn cnf(&self) -> Option<&Cnf> {
            self.0.as_ref()
        }
    }

    #[test]
    fn only_the_holder_of_the_certificate_passes() {
        use BindingError::*;
        let certificate = json!({ "x5t#S256": APPENDIX_A });
        let key = json!({ "jkt": APPENDIX_A });
        let both = json!({ "x5t#S256": APPENDIX_A, "jkt": APPENDIX_A });
        let table = [
            (Some(&certificate), Some(APPENDIX_A), None, None),
            (Some(&certificate), Some(OTHER), Some(CertificateMismatch), Some(CertificateMismatch)),
            (Some(&certificate), None, Some(CertificateAbsent), Some(CertificateAbsent)),
            (Some(&key), Some(APPENDIX_A), Some(ProofUnsupported), Some(ProofUnsupported)),
            (Some(&both), Some(APPENDIX_A), Some(ProofUnsupported), Some(ProofUnsupported)),
            (None, Some(APPENDIX_A), Some(CnfAbsent), None),
            (None, None, Some(CnfAbsent), None),
        ];
        for (cnf, certificate, strict, optional) in table {
            let cnf = cnf.map(|value| Cnf::from_json(value).expect("a confirmation"));
            let thumbprint = certificate.map(|text| text.parse::<Thumbprint>().expect("a thumbprint"));
            let presenter = Presenter { certificate: thumbprint, connection: PhantomData };
            for (policy, expected) in [(Policy::Strict, strict), (Policy::Optional, optional)] {
                assert_eq!(prove(Token(cnf), &presenter, policy).err(), expected, "{cnf:?} {certificate:?} {policy:?}");
            }
        }
    }
}
