//! DPoP (RFC 9449): a key that is proven at the application layer, by a JWT made for one request.
//!
//! ```text
//! header field -> Dpop::check (§4.3, pure) -> CheckedProof -> claim (jti once, §11.1) -> ProvenDpop
//! ```
//!
//! A [`ProvenDpop`] is worth what a finished handshake is worth for a certificate: its maker holds the key of this thumbprint, and
//! made the proof for this method, this target, this token, and just now. The same code serves the authorization server and every
//! protected resource.

mod nonce;
mod proof;
#[cfg(feature = "server")]
mod settings;
mod target;

pub use nonce::{NonceError, Nonces};
pub use proof::{CheckedProof, Dpop, DpopError, MAX_PROOF_BYTES, NonceRule, ProofRequest, ProofRules, ProvenDpop, TYPE};
#[cfg(feature = "server")]
pub use settings::{DpopChecked, DpopSettingsError};
pub use target::{TargetUri, TargetUriError};

use http::{HeaderMap, HeaderName};

/// The request field that carries a proof (RFC 9449 §4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The response field that carries a nonce (RFC 9449 §8.1).
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The proof of a request, if it has one: more than one field is refused (RFC 9449 §4.3).
///
/// # Errors
/// [`DpopError::Ambiguous`], and [`DpopError::Malformed`] for a value outside ASCII.
pub fn presented(headers: &HeaderMap) -> Result<Option<&str>, DpopError> {
    let mut fields = headers.get_all(DPOP).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| DpopError::Malformed),
        (Some(_), Some(_)) => Err(DpopError::Ambiguous),
    }
}

#[cfg(test)]
pub(crate) mod tests;
