use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;

use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::digest::sha256;
use crate::pki::path::{Path, PathError};
use crate::tls::PeerCertificate;

use super::{AnchorSet, RevocationListError};

/// Anchor sets that one connection remembers its standing with by itself. Further ones remember it ([`AnchorSet`]), so that whatever a
/// connection does, the signatures of its certificate are verified once for each set.
const REMEMBERED_SETS: usize = 16;

/// A connection's certificate, and what is already known about its signatures.
///
/// Lives as long as the connection. The first judgement against an anchor set verifies signatures; later ones against the same
/// set look at dates and revocation lists alone.
#[derive(Debug)]
pub struct PeerTrust {
    peer: Arc<PeerCertificate>,
    known: ArcSwap<Vec<Known>>,
    /// What [`AnchorSet`] knows its chain by.
    digest: OnceLock<[u8; 32]>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Weak: a set that a reload has replaced may go, and no other can take its place while this stands.
    set: Weak<AnchorSet>,
    verdict: Verdict,
}

/// What building a path has come to, and the seconds in which building it again would come to the same.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    result: Result<Path, PathError>,
    from: Timestamp,
    until: Timestamp,
}

impl Verdict {
    /// A path stands while its own dates do. A refusal stands while the dates of everything that a path could be made of are what they are
    /// at this moment: time may open another path, or close the one that was wrong.
    pub(super) fn new(
        result: Result<Path, PathError>,
        dates: impl IntoIterator<Item = (Timestamp, Timestamp)>,
        now: Timestamp,
    ) -> Self {
        if let Ok(path) = &result {
            let (from, until) = (path.not_before(), path.not_after());
            return Self { result, from, until };
        }
        let (mut from, mut until) = (i64::MIN, i64::MAX);
        for (not_before, not_after) in dates {
            for change in [not_before.seconds(), not_after.seconds().saturating_add(1)] {
                match change <= now.seconds() {
                    true => from = from.max(change),
                    false => until = until.min(change.saturating_sub(1)),
                }
            }
        }
        Self { result, from: Timestamp::from_seconds(from), until: Timestamp::from_seconds(until) }
    }

    /// What it came to, if that still holds.
    fn at(&self, now: Timestamp) -> Option<&Result<Path, PathError>> {
        (self.from <= now && now <= self.until).then_some(&self.result)
    }
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
    /// The revocation lists of one of the sets do not let it pass.
    #[error("anchor set `{set}`: {error}")]
    Revocation {
        /// The set.
        set: String,
        /// Why.
        #[source]
        error: RevocationListError,
    },
}

impl TrustError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoAnchors => Reason::CertificateNoAnchors,
            Self::Path { error, .. } => error.reason(),
            Self::Revocation { error, .. } => error.reason(),
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

    /// The last second at which the dates of every path still hold, and those of the revocation lists that must speak of it.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

impl PeerTrust {
    /// Nothing is known yet.
    pub fn new(peer: Arc<PeerCertificate>) -> Self {
        Self { peer, known: ArcSwap::default(), digest: OnceLock::new() }
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
            let listed = set.check_revocation(&path, now);
            let until = listed.map_err(|error| TrustError::Revocation { set: set.name().to_owned(), error })?;
            not_after = not_after.min(path.not_after()).min(until.unwrap_or(not_after));
            judged.get_or_insert(path);
        }
        let anchor = judged.ok_or(TrustError::NoAnchors)?.anchor();
        Ok(TrustedCertificate { certificate: Arc::clone(&self.peer), anchor, not_after })
    }

    /// Takes note of the revocation lists that the path to one of the set's authorities names, where the set fetches lists. Says whether
    /// one that must speak of it is still being fetched for the first time. Without a path nothing is noted.
    pub fn awaits_lists(&self, set: &Arc<AnchorSet>, now: Timestamp) -> bool {
        set.fetches_lists() && self.path(set, now).is_ok_and(|path| set.awaits_lists(&path, self.peer.chain(), now))
    }

    fn path(&self, set: &Arc<AnchorSet>, now: Timestamp) -> Result<Path, PathError> {
        // Dates before anything else: nothing is verified for an expired certificate.
        self.peer.leaf().check_dates(now)?;
        let known = self.known.load();
        let held = known.iter().find(|known| Weak::as_ptr(&known.set) == Arc::as_ptr(set)).map(|known| &known.verdict);
        if let Some(result) = held.and_then(|verdict| verdict.at(now)) {
            return result.clone();
        }
        let has_room = held.is_some() || known.iter().filter(|known| known.set.strong_count() > 0).count() < REMEMBERED_SETS;
        if has_room {
            let verdict = set.verdict(self.peer.leaf(), self.peer.chain(), now);
            self.remember(set, &verdict);
            return verdict.result;
        }
        let digest = self.digest.get_or_init(|| self.digest());
        if let Some(result) = set.remembered(digest).as_ref().and_then(|verdict| verdict.at(now)) {
            return result.clone();
        }
        let verdict = set.verdict(self.peer.leaf(), self.peer.chain(), now);
        set.remember(*digest, verdict.clone());
        verdict.result
    }

    /// SHA-256 over all that a path is made of and that the peer has sent.
    fn digest(&self) -> [u8; 32] {
        let chain = self.peer.chain().iter().flat_map(|der| sha256(der));
        sha256(&self.peer.thumbprint().as_bytes().iter().copied().chain(chain).collect::<Vec<u8>>())
    }

    fn remember(&self, set: &Arc<AnchorSet>, verdict: &Verdict) {
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

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use super::*;
    use crate::domain::Lifetime;
    use crate::pki::DateError;
    use crate::pki::fixture::{Authority, Identity, NOW, date, self_signed};

    fn seconds(count: u32) -> Lifetime {
        Lifetime::from_seconds(count)
    }

    fn set(name: &str, authorities: &[&Authority]) -> Arc<AnchorSet> {
        let anchors = authorities.iter().map(|authority| authority.certificate.clone()).collect();
        Arc::new(AnchorSet::new(name, anchors, vec![]).expect("a set"))
    }

    fn trust(identity: &Identity) -> PeerTrust {
        PeerTrust::new(Arc::new(PeerCertificate::for_test(identity.certificate.clone(), vec![])))
    }

    fn refusal(set: &str, error: PathError) -> TrustError {
        TrustError::Path { set: set.into(), error }
    }

    #[test]
    fn every_set_must_accept() {
        let (a, b) = (Authority::new("A"), Authority::new("B"));
        let alice = trust(&a.client("alice"));
        let (only_a, only_b, both) = (set("a", &[&a]), set("b", &[&b]), set("both", &[&a, &b]));
        let trusted = alice.judge(&[&only_a, &both], NOW).expect("both accept");
        assert_eq!(trusted.anchor(), a.certificate.spki_sha256());
        assert_eq!(trusted.certificate().thumbprint(), alice.peer().thumbprint());
        assert_eq!(alice.judge(&[&only_b], NOW).map(|_| ()), Err(refusal("b", PathError::UnknownIssuer)));
        for sets in [[&only_a, &only_b], [&only_b, &only_a], [&both, &only_b]] {
            assert_eq!(alice.judge(&sets, NOW).map(|_| ()), Err(refusal("b", PathError::UnknownIssuer)));
        }
        let error = alice.judge(&[], NOW).expect_err("no set");
        assert_eq!((error.reason(), &error), (Reason::CertificateNoAnchors, &TrustError::NoAnchors));
        let empty = set("empty", &[]);
        assert_eq!(alice.judge(&[&only_a, &empty], NOW).map(|_| ()), Err(TrustError::NoAnchors));
        let lonely = trust(&self_signed("alice"));
        assert_eq!(lonely.judge(&[&only_a], NOW).map(|_| ()), Err(refusal("a", PathError::UnknownIssuer)));
    }

    #[test]
    fn dates_are_looked_at_every_time() {
        let late = NOW.plus(seconds(50));
        let ca = Authority::new("CA");
        let set = set("a", &[&ca]);
        let alice = trust(&ca.leaf("alice", |params| params.not_after = date(late)));
        assert_eq!(alice.judge(&[&set], NOW).expect("in date").not_after(), late);
        alice.judge(&[&set], late).expect("the last second");
        let expired = refusal("a", PathError::Dates(DateError::Expired { not_after: late }));
        assert_eq!(alice.judge(&[&set], late.plus(seconds(1))).map(|_| ()), Err(expired));

        let ending = Authority::with("Ending", |params| params.not_after = date(late));
        let ending_set = self::set("b", &[&ending]);
        let bob = trust(&ending.client("bob"));
        assert_eq!(bob.judge(&[&ending_set], NOW).expect("in date").not_after(), late);
        let expired = refusal("b", PathError::IssuerExpired);
        assert_eq!(bob.judge(&[&ending_set], late.plus(seconds(1))).map(|_| ()), Err(expired));

        let unborn = trust(&ca.leaf("carol", |params| params.not_before = date(late)));
        assert!(unborn.judge(&[&set], NOW).is_err());
        unborn.judge(&[&set], late).expect("time has passed");
    }

    #[test]
    fn signatures_are_verified_once_for_a_connection_and_set() {
        let (ca, other) = (Authority::new("CA"), Authority::new("CA"));
        let (ours, theirs) = (set("ours", &[&ca]), set("theirs", &[&other]));
        let alice = trust(&ca.client("alice"));
        let known = || alice.known.load_full();
        alice.judge(&[&ours], NOW).expect("accepted");
        alice.judge(&[&theirs], NOW).expect_err("the other authority of that name");
        let first = known();
        assert_eq!(first.len(), 2);
        for _ in 0..3 {
            alice.judge(&[&ours], NOW).expect("accepted");
            alice.judge(&[&theirs], NOW).expect_err("not accepted");
        }
        // Whoever builds a path remembers it, and nothing new was remembered.
        assert!(Arc::ptr_eq(&first, &known()));
    }

    #[test]
    fn a_replaced_set_is_forgotten() {
        let (ca, other) = (Authority::new("CA"), Authority::new("Other"));
        let alice = trust(&ca.client("alice"));
        let before = set("a", &[&ca]);
        alice.judge(&[&before], NOW).expect("accepted");
        drop(before);
        for _ in 0..40 {
            let after = set("a", &[&other]);
            alice.judge(&[&after], NOW).expect_err("the authority is gone");
        }
        assert_eq!(alice.known.load().len(), 1);
        let many: Vec<_> = (0..40).map(|_| set("a", &[&ca])).collect();
        for set in &many {
            alice.judge(&[set], NOW).expect("accepted");
        }
        assert!(alice.known.load().len() <= REMEMBERED_SETS);
    }

    /// However many sets a connection is held against, and in whatever order: each set verifies signatures once, and once more when a date has
    /// changed what could come of it.
    #[test]
    fn nothing_is_verified_on_every_request() {
        let (ca, other) = (Authority::new("CA"), Authority::new("Other"));
        let late = NOW.plus(seconds(50));
        let alice = trust(&ca.leaf("alice", |params| params.not_after = date(late.plus(seconds(50)))));
        let many: Vec<_> = (0..2 * REMEMBERED_SETS).map(|round| set("a", &[if round % 2 == 0 { &ca } else { &other }])).collect();
        for _ in 0..3 {
            for (round, set) in many.iter().enumerate() {
                let judged = alice.judge(&[set], NOW).map(|_| ());
                let expected = if round % 2 == 0 { Ok(()) } else { Err(refusal("a", PathError::UnknownIssuer)) };
                assert_eq!(judged, expected, "{round}");
            }
        }
        assert!(many.iter().all(|set| set.verified() == 1), "{:?}", many.iter().map(|set| set.verified()).collect::<Vec<_>>());
        // What others of the same name show is theirs: another chain is another question.
        let impostor = trust(&other.client("alice"));
        for set in &many {
            let _ = impostor.judge(&[set], NOW);
        }
        assert!(impostor.judge(&[&many[2 * REMEMBERED_SETS - 2]], NOW).is_err());
        assert!(impostor.judge(&[&many[2 * REMEMBERED_SETS - 1]], NOW).is_ok());
        // Past its dates nothing that is remembered lets it in.
        for set in &many {
            assert!(alice.judge(&[set], late.plus(seconds(51))).is_err());
        }
    }

    /// An authority that is not valid yet, and one of the same key whose certificate has ended: remembered until a date changes, and no longer.
    #[test]
    fn a_refusal_lasts_no_longer_than_its_cause() {
        let (early, late) = (NOW.plus(seconds(10)), NOW.plus(seconds(50)));
        let root = Authority::new("Root");
        let intermediate = root.intermediate("Intermediate", |params| {
            params.not_before = date(early);
            params.not_after = date(late);
        });
        let chain = vec![intermediate.certificate.der().clone()];
        let carol = intermediate.client("carol").certificate;
        for crowded in [false, true] {
            let carol = PeerTrust::new(Arc::new(PeerCertificate::for_test(carol.clone(), chain.clone())));
            let others: Vec<_> = (0..REMEMBERED_SETS).map(|_| set("other", &[&Authority::new("Other")])).collect();
            for other in others.iter().filter(|_| crowded) {
                let _ = carol.judge(&[other], NOW);
            }
            let set = set("a", &[&root]);
            let judge = |now| carol.judge(&[&set], now).map(|_| ());
            let table = [
                (NOW, Err(PathError::IssuerNotYetValid), 1),
                (NOW, Err(PathError::IssuerNotYetValid), 1),
                (early.minus(seconds(1)), Err(PathError::IssuerNotYetValid), 1),
                (early, Ok(()), 2),
                (late, Ok(()), 2),
                (late.plus(seconds(1)), Err(PathError::IssuerExpired), 3),
                (late.plus(seconds(9)), Err(PathError::IssuerExpired), 3),
                // A clock that was set back.
                (NOW, Err(PathError::IssuerNotYetValid), 4),
            ];
            for (now, expected, verified) in table {
                assert_eq!(judge(now), expected.map_err(|error| refusal("a", error)), "{now}");
                assert_eq!(set.verified(), verified, "{now}");
            }
        }
    }

    #[test]
    fn the_set_helps_with_intermediates() {
        let root = Authority::new("Root");
        let intermediate = root.intermediate("Intermediate", |_| {});
        let alice = intermediate.client("alice");
        let without = set("a", &[&root]);
        assert!(trust(&alice).judge(&[&without], NOW).is_err());
        let chain = vec![intermediate.certificate.der().clone()];
        let with = AnchorSet::new("a", vec![root.certificate.clone()], chain.clone()).expect("a set");
        trust(&alice).judge(&[&Arc::new(with)], NOW).expect("from the set");
        let sent = PeerTrust::new(Arc::new(PeerCertificate::for_test(alice.certificate, chain)));
        sent.judge(&[&without], NOW).expect("from the peer");
    }
}
