//! The comparison.

use std::marker::PhantomData;

use super::dpop::ProvenDpop;
use crate::domain::{Cnf, Thumbprint};
use crate::event::Reason;
use crate::pki::Certificate;
use crate::tls::{PeerCertificate, PeerThumbprint};
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

/// Who presents a token: what this very connection and this very request have proven.
#[derive(Clone, Copy, Debug)]
pub struct Presenter<'a> {
    certificate: Option<Thumbprint>,
    /// The key of a DPoP proof. Where there is one the token was presented with the DPoP scheme.
    key: Option<Thumbprint>,
    /// Where the presenter is this process itself: certificates that it held before, and whose tokens it still has.
    earlier: &'a [Thumbprint],
    /// Not to be kept beyond the connection it speaks of.
    connection: PhantomData<&'a PeerCertificate>,
}

impl<'a> Presenter<'a> {
    /// The other side of a connection, with the certificate it has proven to hold, if any.
    pub fn connection(certificate: Option<&'a PeerCertificate>) -> Self {
        Self { certificate: certificate.map(PeerCertificate::thumbprint), key: None, earlier: &[], connection: PhantomData }
    }

    /// The other side of a trusted proxy that tells the thumbprint of the certificate and no more.
    pub const fn attested(certificate: &'a PeerThumbprint) -> Self {
        Self { certificate: Some(certificate.thumbprint()), key: None, earlier: &[], connection: PhantomData }
    }

    /// The other side of a connection, by whichever of the two there is: the certificate counts before a thumbprint alone.
    pub fn known(certificate: Option<&'a PeerCertificate>, thumbprint: Option<&'a PeerThumbprint>) -> Self {
        match (certificate, thumbprint) {
            (None, Some(thumbprint)) => Self::attested(thumbprint),
            (certificate, _) => Self::connection(certificate),
        }
    }

    /// This process itself, where it uses a token that it was issued: it holds the key of its own certificate. Whoever it acts for has
    /// proven nothing by this.
    pub fn ourselves(certificate: Option<&'a OwnCertificate>) -> Self {
        let earlier = certificate.map_or(&[][..], |own| &own.earlier);
        Self { certificate: certificate.map(|own| own.current), key: None, earlier, connection: PhantomData }
    }

    /// The same, with the key that it has proven to hold by a DPoP proof for this request.
    pub fn with_proof(self, proof: Option<&'a ProvenDpop>) -> Self {
        Self { key: proof.map(|proof| *proof.thumbprint()), ..self }
    }
}

/// How many of its earlier certificates this process remembers: tokens end long before there are so many newer ones.
const EARLIER: usize = 4;

/// A certificate of this process, with which it authenticates to servers that issue it tokens, and those that it replaced while the process
/// ran: tokens in its hands stay bound to the one they were issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    current: Thumbprint,
    /// The newest first.
    earlier: Vec<Thumbprint>,
}

impl OwnCertificate {
    /// That of the identity that this process connects with.
    pub fn of(leaf: &Certificate) -> Self {
        Self { current: leaf.thumbprint(), earlier: Vec::new() }
    }

    /// After it has been replaced by this one.
    pub fn renewed(&self, leaf: &Certificate) -> Self {
        let current = leaf.thumbprint();
        let before = std::iter::once(self.current).chain(self.earlier.iter().copied());
        Self { current, earlier: before.filter(|earlier| *earlier != current).take(EARLIER).collect() }
    }
}

/// What is asked of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Every token must be bound, to a certificate, a DPoP key or both, and proven.
    #[default]
    Strict,
    /// Every token must be bound to a certificate, and proven; a binding to anything else is not taken.
    Certificate,
    /// Every token must be bound to a DPoP key, and proven; a binding to anything else is not taken.
    Dpop,
    /// A bound token must be proven; an unbound one is a plain bearer token.
    Optional,
    /// No token has to be proven: whoever has one can use it, whatever it is bound to.
    DangerOff,
}

impl Policy {
    /// Whether a binding to a certificate can be proven here.
    pub const fn takes_certificates(self) -> bool {
        matches!(self, Self::Strict | Self::Certificate | Self::Optional)
    }

    /// Whether a binding to a DPoP key can be proven here.
    pub const fn takes_dpop(self) -> bool {
        matches!(self, Self::Strict | Self::Dpop | Self::Optional)
    }

    /// Whether tokens may come with the Bearer scheme: all but those that are bound to a DPoP key (RFC 9449 §7.1).
    pub const fn takes_bearer_scheme(self) -> bool {
        !matches!(self, Self::Dpop)
    }
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
    /// Nothing came with the token that could prove any binding, where one must be proven.
    #[error("the request has nothing that could prove a binding")]
    NothingShown,
    /// The token is bound to another certificate.
    #[error("the token is bound to another certificate")]
    CertificateMismatch,
    /// The token is bound to a DPoP key and presented as a bearer token (RFC 9449 §7.2).
    #[error("the token is bound to a DPoP key, and presented without proof")]
    ProofAbsent,
    /// The token is bound to another key than the DPoP proof's.
    #[error("the token is bound to another key")]
    KeyMismatch,
    /// The token is presented with the DPoP scheme and bound to no DPoP key.
    #[error("the token is bound to no DPoP key, and presented as if it were")]
    SchemeMismatch,
    /// The token is (also) bound to a key whose proof is not taken here, or presented with such a proof.
    #[error("the token is bound to a key whose proof is not taken here")]
    ProofUnsupported,
}

impl BindingError {
    /// The reason for log and audit trail.
    pub fn reason(&self) -> Reason {
        match self {
            Self::CnfAbsent => Reason::CnfAbsent,
            Self::CertificateAbsent | Self::NothingShown => Reason::BindingCertificateAbsent,
            Self::CertificateMismatch => Reason::BindingCertificateMismatch,
            Self::ProofAbsent => Reason::BindingProofAbsent,
            Self::KeyMismatch => Reason::BindingKeyMismatch,
            Self::SchemeMismatch => Reason::BindingSchemeMismatch,
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

/// Whether [`prove`] could accept a token of the Bearer scheme from this presenter, whatever the token says: asked before somebody else
/// is asked about it.
///
/// # Errors
/// [`BindingError::NothingShown`].
pub fn check_bearer(presenter: &Presenter<'_>, policy: Policy) -> Result<(), BindingError> {
    match (policy, presenter.certificate) {
        (Policy::Strict | Policy::Certificate, None) | (Policy::Dpop, _) => Err(BindingError::NothingShown),
        (Policy::Strict | Policy::Certificate, Some(_)) | (Policy::Optional | Policy::DangerOff, _) => Ok(()),
    }
}

/// Compares the token's own `cnf` with what the presenter has proven (RFC 8705 §3, RFC 9449 §7.1). To be called for every request: a
/// proof is never remembered. A token bound to both a certificate and a key needs both proofs.
pub fn prove<T: Bound>(token: T, presenter: &Presenter<'_>, policy: Policy) -> Result<Proven<T>, BindingError> {
    if policy == Policy::DangerOff {
        return Ok(Proven(token));
    }
    let (certificate, key) = match token.cnf() {
        None if matches!(policy, Policy::Strict | Policy::Certificate | Policy::Dpop) => return Err(BindingError::CnfAbsent),
        None => (None, None),
        Some(cnf) => (cnf.x5t_s256(), cnf.jkt()),
    };
    if (key.is_some() && !policy.takes_dpop()) || (certificate.is_some() && !policy.takes_certificates()) {
        return Err(BindingError::ProofUnsupported);
    }
    match (key, &presenter.key) {
        (None, None) => {}
        (None, Some(_)) => return Err(BindingError::SchemeMismatch),
        (Some(_), None) => return Err(BindingError::ProofAbsent),
        (Some(bound_to), Some(proven)) if bound_to.matches(proven) => {}
        (Some(_), Some(_)) => return Err(BindingError::KeyMismatch),
    }
    if let Some(bound_to) = certificate {
        let proven = presenter.certificate.ok_or(BindingError::CertificateAbsent)?;
        if !bound_to.matches(&proven) && !presenter.earlier.iter().any(|held| bound_to.matches(held)) {
            return Err(BindingError::CertificateMismatch);
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
    /// The thumbprint of RFC 9449 §6.1.
    const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    const OTHER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    struct Token(Option<Cnf>);

    impl Bound for Token {
        fn cnf(&self) -> Option<&Cnf> {
            self.0.as_ref()
        }
    }

    #[test]
    fn only_the_holder_of_every_key_passes() {
        use BindingError::*;
        let certificate = json!({ "x5t#S256": APPENDIX_A });
        let key = json!({ "jkt": JKT });
        let both = json!({ "x5t#S256": APPENDIX_A, "jkt": JKT });
        let unsupported = Some(ProofUnsupported);
        // cnf, the connection's certificate, the proof's key; under Strict and Optional, Certificate, Dpop.
        let table = [
            (&certificate, Some(APPENDIX_A), None, [None, None, unsupported]),
            (&certificate, Some(OTHER), None, [Some(CertificateMismatch), Some(CertificateMismatch), unsupported]),
            (&certificate, None, None, [Some(CertificateAbsent), Some(CertificateAbsent), unsupported]),
            (&certificate, Some(APPENDIX_A), Some(JKT), [Some(SchemeMismatch), Some(SchemeMismatch), unsupported]),
            (&key, None, Some(JKT), [None, unsupported, None]),
            (&key, Some(OTHER), Some(JKT), [None, unsupported, None]),
            (&key, None, Some(OTHER), [Some(KeyMismatch), unsupported, Some(KeyMismatch)]),
            (&key, Some(JKT), None, [Some(ProofAbsent), unsupported, Some(ProofAbsent)]),
            (&both, Some(APPENDIX_A), Some(JKT), [None, unsupported, unsupported]),
            (&both, Some(APPENDIX_A), None, [Some(ProofAbsent), unsupported, unsupported]),
            (&both, Some(APPENDIX_A), Some(OTHER), [Some(KeyMismatch), unsupported, unsupported]),
            (&both, None, Some(JKT), [Some(CertificateAbsent), unsupported, unsupported]),
            (&both, Some(OTHER), Some(JKT), [Some(CertificateMismatch), unsupported, unsupported]),
            (&both, Some(JKT), Some(APPENDIX_A), [Some(KeyMismatch), unsupported, unsupported]),
        ];
        let thumbprint = |text: &str| text.parse::<Thumbprint>().expect("a thumbprint");
        for (cnf, certificate, key, [any, by_certificate, by_dpop]) in table {
            let cnf = Cnf::from_json(cnf).expect("a confirmation");
            let presenter = Presenter {
                certificate: certificate.map(thumbprint),
                key: key.map(thumbprint),
                earlier: &[],
                connection: PhantomData,
            };
            for (policy, expected) in [
                (Policy::Strict, any),
                (Policy::Optional, any),
                (Policy::Certificate, by_certificate),
                (Policy::Dpop, by_dpop),
                (Policy::DangerOff, None),
            ] {
                let verdict = prove(Token(Some(cnf)), &presenter, policy).err();
                assert_eq!(verdict, expected, "{cnf:?} {certificate:?} {key:?} {policy:?}");
            }
        }
    }

    #[test]
    fn tokens_of_ours_outlive_the_certificate_they_were_issued_to() {
        let thumbprint = |number: u8| Thumbprint::from_bytes([number; 32]);
        let mut own = OwnCertificate { current: thumbprint(0), earlier: vec![] };
        for number in 1..=6 {
            let earlier = std::iter::once(own.current).chain(own.earlier.iter().copied()).take(EARLIER).collect();
            own = OwnCertificate { current: thumbprint(number), earlier };
        }
        let proven = |number: u8| {
            let cnf = Cnf::from_json(&json!({ "x5t#S256": thumbprint(number).to_string() })).expect("a confirmation");
            prove(Token(Some(cnf)), &Presenter::ourselves(Some(&own)), Policy::Strict).is_ok()
        };
        assert_eq!([0, 1, 2, 3, 6, 7].map(proven), [false, false, true, true, true, false]);
        assert!(prove(Token(None), &Presenter::ourselves(Some(&own)), Policy::Strict).is_err());
    }

    #[test]
    fn an_unbound_token_passes_where_that_is_the_policy() {
        use BindingError::*;
        let nobody = Presenter { certificate: None, key: None, earlier: &[], connection: PhantomData };
        let prover = Presenter { key: Some(Thumbprint::from_bytes([1; 32])), ..nobody };
        for (policy, as_bearer, with_proof) in [
            (Policy::Strict, Some(CnfAbsent), Some(CnfAbsent)),
            (Policy::Certificate, Some(CnfAbsent), Some(CnfAbsent)),
            (Policy::Dpop, Some(CnfAbsent), Some(CnfAbsent)),
            (Policy::Optional, None, Some(SchemeMismatch)),
            (Policy::DangerOff, None, None),
        ] {
            assert_eq!(prove(Token(None), &nobody, policy).err(), as_bearer, "{policy:?}");
            assert_eq!(prove(Token(None), &prover, policy).err(), with_proof, "{policy:?}");
        }
    }
}
