//! The words every room shares: identifiers, scope, thumbprint, confirmation, time.
//!
//! A type lives here only when three rooms need it; anything smaller stays in its room. Nothing here does I/O, and nothing
//! here is proof of anything: proofs are made by the room that does the check.

mod actors;
mod cnf;
mod holder;
mod identifier;
mod redacted;
mod rule;
mod scope;
mod thumbprint;
mod time;

pub use actors::{Actors, ActorsError};
pub use cnf::{Cnf, CnfError};
pub use holder::Holder;
pub use identifier::{
    AccountLinkId, Audience, CertificateLinkId, ClientId, DeploymentId, FamilyId, IdentifierError, Issuer, IssuerError, KeyId,
    PasskeyId, RequestId, SessionId, Subject, TokenId,
};
pub use redacted::Redacted;
pub use rule::{RevocationRule, RuleKind, RuleKindUnknown};
pub use scope::{Scope, ScopeError};
pub use thumbprint::{Thumbprint, ThumbprintError};
pub use time::{Clock, ClockUnreadable, Lifetime, ManualClock, Randomness, RandomnessUnavailable, SystemClock, Timestamp};
