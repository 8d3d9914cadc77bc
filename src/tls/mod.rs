//! TLS: policies told apart by server name, and the certificate a peer holds the key of.
//!
//! The handshake proves possession and decides nothing else: any certificate passes, and the room that needs one judges it
//! afterwards, on every connection and again for every request. That also holds for resumed sessions, which carry the
//! certificate of the handshake they come from; so a session belongs to one policy and one epoch, and dies with them.

pub mod acceptor;
pub mod client;
#[cfg(feature = "server")]
mod outbound;
mod peer;
pub mod policy;
mod suites;
mod verifier;

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::domain::Clock;

pub use acceptor::{AcceptError, AcceptLimits, Accepted, Acceptor, ConnectionFacts};
pub use client::{ClientIdentity, ClientTlsError, client_config, load_client_config};
#[cfg(feature = "server")]
pub use client::{danger_unmatched_client_config, distrusting_client_config, public_client_config};
#[cfg(feature = "server")]
pub use outbound::{OutboundError, OutboundRegister, OutboundRenewal, OutboundSpec, OutboundState, OutboundTls};
pub use peer::{PeerCertificate, PeerCertificateError, PeerLimits, PeerThumbprint, Possession, TrustedHop};
pub use policy::{
    AnchorHints, CertificateMode, CertificateSource, ClientCertificateMode, HostPolicy, HostPolicySpec, PolicyError, PolicySet,
    ServerIdentity, TcpPolicy,
};
#[cfg(feature = "server")]
pub use policy::{Staple, StapleError, Stapling};
pub use suites::SuiteProfile;

/// rustls asks our clock.
#[derive(Debug)]
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().ok()?.seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
