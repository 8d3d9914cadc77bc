//! JOSE: signed tokens and the keys that sign them (RFC 7515, 7517, 7518, 7638, 8037), strictly read.
//!
//! ```text
//! text -> jws::Compact (syntax, allow-listed `alg`) -> verify::VerifyingKey -> jws::VerifiedJws (proof) -> claims
//! ```
//!
//! Everything that two programs could read differently is refused before a key is looked at: duplicate members, padding,
//! non-canonical base64url, `crit`, `b64`. Keys come only from where we were told to look; what a header says about keys (`jwk`,
//! `jku`, `x5u`, `x5c`) selects nothing. The one exception is a DPoP proof, whose key is what it proves: see
//! [`crate::binding::dpop`]. Signing and verifying are AWS-LC's; `adapter` fits josekit's signing traits to them, for
//! keys that live elsewhere. `jwe` encrypts to clients, and opens nothing.

#[cfg(feature = "server")]
pub mod adapter;
mod algorithm;
pub mod base64url;
pub mod digest;
pub mod json;
#[cfg(feature = "server")]
pub mod jwe;
pub mod jwk;
pub mod jws;
#[cfg(feature = "server")]
pub mod mac;
pub mod random;
pub mod sign;
pub mod tag;
pub mod verify;

pub use algorithm::{Algorithm, AlgorithmUnknown};
