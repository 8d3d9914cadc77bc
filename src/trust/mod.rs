//! Whom to trust: named sets of authorities, and the judgement of a peer's certificate against them; and what has been revoked.
//!
//! That signatures verify is a fact kept with the connection. Dates, and whether an authority is still accepted, are looked at
//! for every request.

mod anchors;
mod current;
mod distribution;
mod judgement;
pub mod revocation;
mod revocation_list;
mod room;
#[cfg(feature = "server")]
mod status;

pub use anchors::{AnchorOrigin, AnchorSet, AnchorSetError, AnchorSets, StoredAnchors};
pub use current::CurrentAnchors;
pub use distribution::{ListAsk, ListFetching, ListProblem};
pub use judgement::{PeerTrust, TrustError, TrustedCertificate};
pub use revocation_list::{RevocationListError, RevocationLists, RevocationMode};
#[cfg(feature = "server")]
pub use status::{OcspAsk, OcspAsking, OcspKnowledge, OcspProblem};
