//! Every outbound HTTP request of ours: to issuers, for their metadata, keys, introspection and revocation feed.
//!
//! Only `https` (but for what carries its own signature: [`Client::for_signed`]) to the certification authorities that the given [`rustls::ClientConfig`] names, never a redirect, and every
//! wait and every body has a limit. A client for URLs that somebody else chose ([`Client::guarded`]) connects to nothing inside. Requests to a gateway's upstreams are not made here: they carry a caller's body.

mod client;
mod connect;
mod error;
mod outbound;

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

pub use client::{Client, FetchLimits, Fetched};
pub use error::FetchError;
pub use outbound::{AddressRange, AddressRangeError, OutboundPolicy, OutboundRefusal};
