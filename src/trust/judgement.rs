use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;
use crate::pki::path::{Path, PathError, build_path};
use crate::tls::PeerCertificate;

use super::AnchorSet;

/// Anchor sets that one connection remembers its standing with. More are judged anew each time.
const REMEMBERED_SETS: usize = 16;

/// A connection's certificate, and what is already known about its signatures.
///
/// Lives as long as the connection. The first judgement against an anchor set verifies signatures; later ones against the same
/// set look at dates alone.
#[derive(Debug)]
pub struct PeerTrust {
    peer: Arc<PeerCertificate>,
    known: ArcSwap<Vec<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Weak: a set that a reload has replaced may go, and no other can take its place while this stands.
    set: Weak<AnchorSet>,
    verdict: Result<Path, PathError>,
}

/// Why a certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No set applies, or a set has no authority.
    #[error("no certification authority is accepted here")]
    NoAnchors,
    /// One of the sets does not accept it.
    #[error("anchor set `{set}`: {error}")]
    Path {
        /// The set.
        set: String,
        /// Why.
        #[source]
        error: PathError,
    },
}

impl TrustError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoAnchors => Reason::CertificateNoAnchors,
            Self::Path { error, .. } => error.reason(),
        }
    }
}

/// A certificate whose key the peer holds and that every anchor set that applies accepted, at one moment.
#[derive(Clone, Debug)]
pub struct TrustedCertificate {
    certificate: Arc<PeerCertificate>,
    anchor: Thumbprint,
    not_after: Timestamp,
}

impl TrustedCertificate {
    /// The certificate.
    pub fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    /// SHA-256 of the public key of the authority that the first set found.
    pub fn anchor(&self) -> Thumbprint {
        self.anchor
    }

    /// The last second at which the dates of every path still hold.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

impl PeerTrust {
    /// Nothing is known yet.
    pub fn new(peer: Arc<PeerCertificate>) -> Self {
        Self { peer, known: ArcSwap::default() }
    }

    /// The certificate, not judged.
    pub fn peer(&self) -> &Arc<PeerCertificate> {
        &self.peer
    }

    /// Judges the certificate: every one of `sets` must accept it now.
    ///
    /// # Errors
    /// The first refusal. No set at all is one.
    pub fn judge(&self, sets: &[&Arc<AnchorSet>], now: Timestamp) -> Result<TrustedCertificate, TrustError> {
        let mut judged: Option<Path> = None;
        let mut not_after = self.peer.leaf().not_after();
        for set in sets {
            if set.anchors().is_empty() {
                return Err(TrustError::NoAnchors);
            }
            let path = self.path(set, now).map_err(|error| TrustError::Path { set: set.name().to_owned(), error })?;
            not_after = not_after.min(path.not_after());
            judged.get_or_insert(path);
        }
        let anchor = judged.ok_or(TrustError::NoAnchors)?.anchor();
        Ok(TrustedCertificate { certificate: Arc::clone(&self.peer), anchor, not_after })
    }

    fn path(&self, set: &Arc<AnchorSet>, now: Timestamp) -> Result<Path, PathError> {
        // Dates before anything else: nothing is verified for an expired certificate.
        self.peer.leaf().check_dates(now)?;
        let known = self.known.load();
        match known.iter().find(|known| Weak::as_ptr(&known.set) == Arc::as_ptr(set)).map(|known| &known.verdict) {
            Some(Ok(path)) if path.check_dates(now).is_ok() => return Ok(*path),
            // An authority on it is out of its dates: there may be another path.
            Some(Ok(_)) | None => {}
            Some(Err(error)) => return Err(error.clone()),
        }
        let chain: Vec<_> = self.peer.chain().iter().chain(set.intermediates()).cloned().collect();
        let verdict = build_path(self.peer.leaf(), &chain, set.anchors(), now);
        if !matches!(&verdict, Err(error) if error.may_pass()) {
            self.remember(set, &verdict);
        }
        verdict
    }

    fn remember(&self, set: &Arc<AnchorSet>, verdict: &Result<Path, PathError>) {
        self.known.rcu(|known| {
            let stays = |known: &&Known| known.set.strong_count() > 0 && Weak::as_ptr(&known.set) != Arc::as_ptr(set);
            let mut known: Vec<Known> = known.iter().filter(stays).cloned().collect();
            if known.len() < REMEMBERED_SETS {
                known.push(Known { set: Arc::downgrade(set), verdict: verdict.clone() });
            }
            known
        });
    }
}
