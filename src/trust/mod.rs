//! Whom to trust: named sets of authorities, and the judgement of a peer's certificate against them; and what has been revoked.
//!
//! That signatures verify is a fact kept with the connection. Dates, and whether an authority is still accepted, are looked at
//! for every request.

mod anchors;
mod current;
mod judgement;
pub mod revocation;
mod revocation_list;

pub use anchors::{AnchorSet, AnchorSetError, AnchorSets};
pub use current::CurrentAnchors;
pub use judgement::{PeerTrust, TrustError, TrustedCertificate};
pub use revocation_list::{RevocationListError, RevocationLists, RevocationMode};
