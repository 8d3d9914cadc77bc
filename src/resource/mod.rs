//! What any protected resource does with an access token, one step after the other:
//! presented → verified → proven → admitted, or a challenge (RFC 6750, RFC 8705 §3, RFC 9449 §7).
//!
//! [`Protection::decide`] is the whole sentence; [`layer`] puts it before any `tower` service. Behind a gateway, [`AssertionLayer`] takes
//! the gateway's word for it.

mod admission;
mod assertion;
mod authentication;
mod challenge;
mod dpop;
mod introspection;
mod keys;
pub mod layer;
mod metadata;
mod moment;
mod present;
mod protection;
mod published;
mod revocation;
mod verify;

use std::time::Duration;

pub use admission::{
    Admission, AdmissionEnded, AdmitError, ClaimRule, Condition, Requirements, RevocationCheck, Standing, StepUp, admit,
};
pub use assertion::{
    ASSERTION_TYPE, AssertedService, AssertionError, AssertionLayer, AssertionVerifier, ExpectedAssertion, VerifiedAssertion,
};
pub use authentication::{AuthenticationError, ClientAuthentication, Credentials};
pub use challenge::{Answer, Terms};
pub use dpop::{Asked, DpopAcceptance};
pub use introspection::{Introspection, IntrospectionError};
pub use keys::{IssuerKeys, KeysError, SignatureError};
pub use metadata::{AuthorizationServer, Metadata, MetadataError};
pub use moment::Moment;
pub use present::{PresentError, Presented, PresentedToken, Scheme, present};
pub use protection::{AcceptedIssuer, Denied, Granted, Protection, Refusal};
pub use published::{ResourceMetadata, WELL_KNOWN};
pub use revocation::{Revocations, Staleness};
pub use verify::{Source, TokenVerifier, Verification, VerifiedToken, VerifyError};

/// How long to wait after so many failures in a row: half a second, doubling, at most thirty.
pub fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_millis(500 << doublings).min(Duration::from_secs(30))
}

#[cfg(all(test, feature = "server"))]
mod tests;
