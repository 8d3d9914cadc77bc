//! The checks of RFC 9449 §4.3, in its order.

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::nonce::{NonceError, Nonces};
use super::target::TargetUri;
use crate::binding::replay::{Claim, MAX_JTI_BYTES, Replay, ReplayKey};
use crate::domain::{Lifetime, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::Algorithm;
use crate::jose::base64url;
use crate::jose::digest::sha256;
use crate::jose::jwk::PublicJwk;
use crate::jose::jws::{Compact, JwsError};
use crate::jose::verify::VerifyingKey;

/// `typ` of a proof (RFC 9449 §4.2).
pub const TYPE: &str = "dpop+jwt";

/// The longest proof that is looked at, in bytes: an RSA key of 8192 bits, its signature, and a long `htu` fit in.
pub const MAX_PROOF_BYTES: usize = 8_192;

/// How much longer than a proof could be taken its `jti` is remembered: the clocks of replicas may differ by this.
const MEMORY_SLACK: Lifetime = Lifetime::from_seconds(60);

/// Why a proof is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DpopError {
    /// There is none, where one is required.
    #[error("the request has no DPoP proof")]
    Absent,
    /// More than one `DPoP` field.
    #[error("the request has more than one DPoP field")]
    Ambiguous,
    /// Too long, not a JWS that is read strictly, or a claim is missing or has the wrong type.
    #[error("the DPoP proof is malformed")]
    Malformed,
    /// Another `typ`.
    #[error("the DPoP proof's typ is not dpop+jwt")]
    Type,
    /// Symmetric, `none`, unknown, or not on the list.
    #[error("the DPoP proof's alg is not accepted")]
    Algorithm,
    /// `jwk` is missing, not a public key, or not for this `alg`.
    #[error("the DPoP proof's jwk is not a public key for its alg")]
    Key,
    /// The signature does not verify with `jwk`.
    #[error("the DPoP proof's signature does not verify")]
    Signature,
    /// `htm`.
    #[error("the DPoP proof is for another method")]
    Method,
    /// `htu`.
    #[error("the DPoP proof is for another target")]
    Target,
    /// `iat`.
    #[error("the DPoP proof is too old, or from the future")]
    Time,
    /// `ath`.
    #[error("the DPoP proof is for another access token, or for none")]
    Token,
    /// `jti`.
    #[error("the DPoP proof was used before")]
    Replayed,
    /// No `nonce`, where one is required: also when what was used before could not be told without.
    #[error("the DPoP proof has no nonce")]
    NonceAbsent,
    /// `nonce`.
    #[error("{0}")]
    Nonce(#[from] NonceError),
    /// Nobody can say whether it was used before. A fault of ours.
    #[error("it cannot be told whether the DPoP proof was used before")]
    ReplayUnknown,
}

impl DpopError {
    /// The reason for log and audit trail.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Absent => Reason::DpopProofAbsent,
            Self::Ambiguous => Reason::DpopProofAmbiguous,
            Self::Malformed => Reason::DpopProofMalformed,
            Self::Type => Reason::DpopProofType,
            Self::Algorithm => Reason::DpopProofAlgorithm,
            Self::Key => Reason::DpopProofKey,
            Self::Signature => Reason::DpopProofSignature,
            Self::Method => Reason::DpopProofMethod,
            Self::Target => Reason::DpopProofTarget,
            Self::Time => Reason::DpopProofTime,
            Self::Token => Reason::DpopProofToken,
            Self::Replayed => Reason::DpopProofReplayed,
            Self::NonceAbsent => Reason::DpopNonceAbsent,
            Self::Nonce(NonceError::Foreign) => Reason::DpopNonceForeign,
            Self::Nonce(NonceError::Expired) => Reason::DpopNonceExpired,
            Self::ReplayUnknown => Reason::ReplayUnknown,
        }
    }

    /// What a developer is told. ASCII without `"` and `\`, and nothing that helps a thief.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Absent => "A DPoP proof is required",
            Self::Ambiguous => "More than one DPoP field",
            Self::Malformed => "The DPoP proof is malformed",
            Self::Type => "The typ of the DPoP proof must be dpop+jwt",
            Self::Algorithm => "The alg of the DPoP proof is not accepted",
            Self::Key => "The jwk of the DPoP proof must be a public key for its alg",
            Self::Signature => "The signature of the DPoP proof does not verify with its jwk",
            Self::Method => "The htm of the DPoP proof is not the method of the request",
            Self::Target => "The htu of the DPoP proof is not the target of the request",
            Self::Time => "The iat of the DPoP proof is too far from now",
            Self::Token => "The ath of the DPoP proof is not the hash of the access token",
            Self::Replayed => "The DPoP proof was used before",
            Self::NonceAbsent | Self::Nonce(_) => "The DPoP proof must have the nonce in DPoP-Nonce",
            Self::ReplayUnknown => "It cannot be told whether the DPoP proof was used before",
        }
    }

    /// Whether the caller is to try again with the nonce that goes with the answer (RFC 9449 §8, §9).
    pub const fn wants_nonce(self) -> Option<WantsNonce> {
        match self {
            Self::NonceAbsent | Self::Nonce(_) => Some(WantsNonce),
            _ => None,
        }
    }
}

/// The remedy is a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantsNonce;

/// Whether proofs must have a nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonceRule {
    /// One that is there must be good; without one `iat` counts.
    #[default]
    Accepted,
    /// Every proof must have one.
    Required,
}

/// What is asked of proofs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRules {
    /// The signature algorithms that are accepted. [`Algorithm`] has no symmetric one.
    pub algorithms: Vec<Algorithm>,
    /// How old a proof without nonce may be, by its `iat`.
    pub max_age: Lifetime,
    /// By how much a client's clock may be ahead, and by how much more behind.
    pub leeway: Lifetime,
    /// Whether a nonce is required.
    pub nonce: NonceRule,
}

/// The request that a proof must have been made for.
#[derive(Clone, Copy, Debug)]
pub struct ProofRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// The URIs of its target: more than one where one endpoint has several names.
    pub targets: &'a [TargetUri],
    /// The access token it carries, where it carries one.
    pub access_token: Option<&'a str>,
}

/// Checks proofs, and hands out the nonces for them.
#[derive(Debug)]
pub struct Dpop {
    rules: ProofRules,
    nonces: Nonces,
    /// What was used before this moment is not remembered, so that no proof may be from before it.
    memory_since: Option<Timestamp>,
}

impl Dpop {
    /// Where the memory of used proofs outlives the process and is shared by all that accept them.
    pub const fn with_lasting_memory(rules: ProofRules, nonces: Nonces) -> Self {
        Self { rules, nonces, memory_since: None }
    }

    /// Where what was used is remembered by this process alone, which starts at `now`. A proof that could have been used before, at
    /// the process before this one, needs one of our nonces.
    pub const fn with_memory_since(now: Timestamp, rules: ProofRules, nonces: Nonces) -> Self {
        // A proof was taken up to `leeway` before its `iat`.
        let since = now.plus(rules.leeway);
        Self { rules, nonces, memory_since: Some(since) }
    }

    /// The rules.
    pub const fn rules(&self) -> &ProofRules {
        &self.rules
    }

    /// A nonce for the next proof, for the `DPoP-Nonce` field.
    pub fn nonce(&self, now: Timestamp) -> Option<String> {
        self.nonces.make(now)
    }

    /// The nonce to hand out with a good answer: where they are required or used, and this proof's is in the second half of its life
    /// (RFC 9449 §8.2).
    pub fn next_nonce(&self, proof: &ProvenDpop, now: Timestamp) -> Option<String> {
        let half = u64::from(self.nonces.lifetime().seconds() / 2);
        let made = proof.nonce_made?;
        if now.seconds_since(made) >= half { self.nonce(now) } else { None }
    }

    /// Makes every check of RFC 9449 §4.3 but the memory of what was used: that is [`CheckedProof::claim`]'s.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(&self, proof: &str, request: &ProofRequest<'_>, now: Timestamp) -> Result<CheckedProof, DpopError> {
        if proof.len() > MAX_PROOF_BYTES {
            return Err(DpopError::Malformed);
        }
        let jws = Compact::parse(proof).map_err(|error| match error {
            JwsError::AlgorithmUnknown => DpopError::Algorithm,
            _ => DpopError::Malformed,
        })?;
        // A media type: compared without regard to case, `application/` may be there (RFC 7515 §4.1.9).
        let typ = jws.typ().ok_or(DpopError::Type)?;
        if !typ.eq_ignore_ascii_case(TYPE) && !typ.eq_ignore_ascii_case("application/dpop+jwt") {
            return Err(DpopError::Type);
        }
        if !self.rules.algorithms.contains(&jws.algorithm()) {
            return Err(DpopError::Algorithm);
        }
        let members = jws.header().get("jwk").and_then(Value::as_object).ok_or(DpopError::Key)?;
        let jwk = PublicJwk::from_members(members).map_err(|_| DpopError::Key)?;
        let key = VerifyingKey::new(&jwk, jws.algorithm()).map_err(|_| DpopError::Key)?;
        let verified = key.verify(&jws).map_err(|error| match error {
            JwsError::Signature => DpopError::Signature,
            _ => DpopError::Malformed,
        })?;
        self.check_claims(verified.claims(), jwk.thumbprint(), request, now)
    }

    fn check_claims(
        &self,
        claims: &Map<String, Value>,
        thumbprint: Thumbprint,
        request: &ProofRequest<'_>,
        now: Timestamp,
    ) -> Result<CheckedProof, DpopError> {
        let text = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(DpopError::Malformed),
        };
        let required = |name: &str| text(name)?.ok_or(DpopError::Malformed);
        let jti = required("jti")?;
        if jti.is_empty() || jti.len() > MAX_JTI_BYTES {
            return Err(DpopError::Malformed);
        }
        let made = claims.get("iat").and_then(Value::as_i64).map(Timestamp::from_seconds).ok_or(DpopError::Malformed)?;
        if required("htm")? != request.method {
            return Err(DpopError::Method);
        }
        let target = TargetUri::parse(required("htu")?).map_err(|_| DpopError::Target)?;
        if !request.targets.contains(&target) {
            return Err(DpopError::Target);
        }
        if let Some(token) = request.access_token {
            let expected = base64url::encode(sha256(token.as_bytes()));
            let told = text("ath")?.ok_or(DpopError::Token)?;
            if !bool::from(told.as_bytes().ct_eq(expected.as_bytes())) {
                return Err(DpopError::Token);
            }
        }
        let nonce_made = match text("nonce")? {
            Some(nonce) => Some(self.nonces.check(nonce, now)?.made),
            None => None,
        };
        // The moment a proof was made at is told by our nonce, which no clock of a client's can spoil, or else by `iat` (§4.3, §11.1).
        let last = match (nonce_made, self.rules.nonce) {
            (Some(made), _) => made.plus(self.nonces.lifetime()),
            (None, NonceRule::Required) => return Err(DpopError::NonceAbsent),
            (None, NonceRule::Accepted) => {
                let last = made.plus(self.rules.max_age).plus(self.rules.leeway);
                if now > last || made > now.plus(self.rules.leeway) {
                    return Err(DpopError::Time);
                }
                if self.memory_since.is_some_and(|since| made <= since) {
                    return Err(DpopError::NonceAbsent);
                }
                last
            }
        };
        let key = ReplayKey::dpop_proof(&thumbprint, jti);
        Ok(CheckedProof { thumbprint, key, until: last.plus(MEMORY_SLACK), nonce_made })
    }
}

/// A proof that is good but for one question: whether it was used before. Made only by [`Dpop::check`].
#[derive(Clone, Debug)]
#[must_use]
pub struct CheckedProof {
    thumbprint: Thumbprint,
    key: ReplayKey,
    until: Timestamp,
    nonce_made: Option<Timestamp>,
}

impl CheckedProof {
    /// The RFC 7638 thumbprint of the key, to refuse a proof with the wrong one before its `jti` is claimed.
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Claims its `jti`: of all who do, at every replica that shares `memory`, one succeeds (RFC 9449 §11.1).
    ///
    /// # Errors
    /// [`DpopError::Replayed`] and [`DpopError::ReplayUnknown`].
    pub async fn claim(self, memory: &dyn Replay) -> Result<ProvenDpop, DpopError> {
        match memory.claim(&self.key, self.until).await {
            Claim::First => Ok(ProvenDpop { thumbprint: self.thumbprint, nonce_made: self.nonce_made }),
            Claim::Seen => Err(DpopError::Replayed),
            Claim::Unavailable => Err(DpopError::ReplayUnknown),
        }
    }
}

/// The maker of this request holds the key of this thumbprint. Made only by [`CheckedProof::claim`].
#[derive(Clone, Debug)]
pub struct ProvenDpop {
    thumbprint: Thumbprint,
    nonce_made: Option<Timestamp>,
}

impl ProvenDpop {
    /// As if proven.
    #[cfg(test)]
    pub(crate) const fn for_test(thumbprint: Thumbprint) -> Self {
        Self { thumbprint, nonce_made: None }
    }

    /// The RFC 7638 thumbprint of the key: `jkt` (RFC 9449 §6.1).
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }
}
