use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, Guard};
use quick_cache::sync::Cache;
use rustls_pki_types::CertificateDer;

use crate::domain::{Thumbprint, Timestamp};
use crate::jose::digest::sha256;
use crate::pki::Certificate;
use crate::pki::crl::CrlError;
use crate::pki::path::{AnchorError, Anchors, Link, Path, PathError, PathPolicy, build_path};
use crate::pki::pem::PemFileError;
use crate::tls::AnchorHints;

use super::distribution::{DistributionPoints, accepted};
use super::judgement::Verdict;
#[cfg(feature = "server")]
use super::status::{OcspAsk, OcspAsking, OcspKnowledge, OcspProblem, OcspStatuses};
use super::{ListAsk, ListFetching, ListProblem, RevocationListError, RevocationLists};

#[cfg(feature = "server")]
mod load;
mod stored;

pub use stored::{AnchorOrigin, StoredAnchors};

/// Chains whose verdict a set remembers for connections that are held against more sets than they remember themselves.
const REMEMBERED_CHAINS: usize = 1_024;

/// A named set of authorities, with intermediates that peers may leave out.
#[derive(Debug)]
pub struct AnchorSet {
    name: String,
    /// Those of files and of the store.
    anchors: Anchors,
    /// Those of files alone.
    files: Vec<Certificate>,
    /// Those of the store, where the configuration lets the set take any.
    stored: Option<Vec<Certificate>>,
    /// Which file each came from, by key.
    places: Vec<(Thumbprint, PathBuf)>,
    intermediates: Vec<CertificateDer<'static>>,
    policy: PathPolicy,
    /// Replaced without the set, so that what connections know about signatures stays true.
    revocation_lists: ArcSwap<RevocationLists>,
    /// Those of the files alone.
    file_lists: ArcSwap<RevocationLists>,
    /// Held by whoever joins the two: what was joined first is in force first.
    joining: Mutex<()>,
    /// Where more come from.
    distribution: Option<DistributionPoints>,
    /// Who is asked about single certificates, and what they said.
    #[cfg(feature = "server")]
    ocsp: Option<OcspStatuses>,
    /// By SHA-256 of a chain. They go with the set.
    verdicts: OnceLock<Cache<[u8; 32], Verdict>>,
    #[cfg(test)]
    verified: std::sync::atomic::AtomicUsize,
}

/// Why an anchor set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorSetError {
    /// A PEM file.
    #[error("anchor set `{set}`: {error}")]
    Pem {
        /// The set.
        set: String,
        /// What is wrong.
        #[source]
        error: PemFileError,
    },
    /// A policy that cannot be meant.
    #[error("anchor set `{set}`: {problem}")]
    Policy {
        /// The set.
        set: String,
        /// What is wrong.
        problem: String,
    },
    /// A revocation list.
    #[error("anchor set `{set}`: {}: {error}", path.display())]
    RevocationList {
        /// The set.
        set: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: CrlError,
    },
    /// A certificate that cannot be an anchor.
    #[error("anchor set `{set}`: {error}")]
    Anchor {
        /// The set.
        set: String,
        /// What is wrong.
        #[source]
        error: AnchorError,
    },
}

impl AnchorSet {
    /// A set of authorities. A set without any accepts nobody.
    ///
    /// # Errors
    /// A certificate that is not an authority's.
    pub fn new(
        name: impl Into<String>,
        anchors: Vec<Certificate>,
        intermediates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, AnchorSetError> {
        let name = name.into();
        match Anchors::new(anchors.iter().cloned()) {
            Ok(checked) => Ok(Self {
                name,
                anchors: checked,
                files: anchors,
                stored: None,
                places: Vec::new(),
                intermediates,
                policy: PathPolicy::default(),
                revocation_lists: ArcSwap::default(),
                file_lists: ArcSwap::default(),
                joining: Mutex::default(),
                distribution: None,
                #[cfg(feature = "server")]
                ocsp: None,
                verdicts: OnceLock::new(),
                #[cfg(test)]
                verified: Default::default(),
            }),
            Err(error) => Err(AnchorSetError::Anchor { set: name, error }),
        }
    }

    /// The same authorities under another policy.
    #[must_use]
    pub fn with_policy(self, policy: PathPolicy) -> Self {
        Self { policy, verdicts: OnceLock::new(), ..self }
    }

    /// The same authorities with their revocation lists.
    #[must_use]
    pub fn with_revocation_lists(self, lists: RevocationLists) -> Self {
        let set = Self { file_lists: ArcSwap::from_pointee(lists), ..self };
        set.join_lists();
        set
    }

    /// The same, with more lists that are fetched. `authorities` may sign them: the set's own, and its intermediates.
    #[must_use]
    pub fn with_list_fetching(self, fetching: ListFetching, authorities: Vec<Certificate>) -> Self {
        let set = Self { distribution: Some(DistributionPoints::new(fetching, authorities)), ..self };
        set.join_lists();
        set
    }

    fn join_lists(&self) {
        let _one_at_a_time = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.file_lists.load_full();
        match &self.distribution {
            None => self.revocation_lists.store(files),
            Some(distribution) => self.revocation_lists.store(Arc::new(distribution.joined(&files))),
        }
    }

    /// Goes on with what the set of this name has fetched and been told before a reload.
    fn inherit(&self, before: &Self) {
        if let (Some(own), Some(before)) = (&self.distribution, &before.distribution) {
            own.inherit(before);
            self.join_lists();
        }
        #[cfg(feature = "server")]
        if let (Some(own), Some(before)) = (&self.ocsp, &before.ocsp) {
            own.inherit(before);
        }
    }

    /// The same, asking by OCSP too. `authorities` are the set's own, and its intermediates.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn with_ocsp(self, asking: OcspAsking, authorities: Vec<Certificate>) -> Self {
        Self { ocsp: Some(OcspStatuses::new(asking, authorities)), ..self }
    }

    /// Whether lists are fetched for this set, or somebody is asked.
    pub fn fetches_lists(&self) -> bool {
        #[cfg(feature = "server")]
        if self.ocsp.is_some() {
            return true;
        }
        self.distribution.is_some()
    }

    /// Asks what is known of every certificate of a path, from lists and by OCSP: either can say that one is revoked, and either is enough to
    /// know that it is not. `Some` is the last second at which the answer still holds without newer ones.
    ///
    /// # Errors
    /// The first certificate that is refused, from the one that was shown upwards.
    pub fn check_revocation(&self, path: &Path, now: Timestamp) -> Result<Option<Timestamp>, RevocationListError> {
        let lists = self.revocation_lists.load();
        if let Some(distribution) = &self.distribution {
            distribution.shown(&self.links(path), now);
        }
        #[cfg(feature = "server")]
        if let Some(ocsp) = &self.ocsp {
            let mut until = None;
            for link in path.links() {
                let holds = match (ocsp.status(link, &lists, now), lists.check_link(link, now)) {
                    (Some(Err(revoked @ RevocationListError::Revoked { .. })), _)
                    | (_, Err(revoked @ RevocationListError::Revoked { .. })) => {
                        return Err(revoked);
                    }
                    (Some(Ok(good)), Ok(listed)) => Some(listed.map_or(good, |listed| listed.max(good))),
                    (Some(Ok(good)), Err(_)) => Some(good),
                    (_, Ok(listed)) => listed,
                    (Some(Err(problem)), Err(RevocationListError::Unknown { .. })) => return Err(problem),
                    (_, Err(problem)) => return Err(problem),
                };
                until = [until, holds].into_iter().flatten().min();
            }
            return Ok(until);
        }
        lists.check(path, now)
    }

    /// The certificates that lists are asked about: those of a path, and of responders that have spoken of them.
    fn links<'a>(&self, path: &'a Path) -> Cow<'a, [Link]> {
        #[cfg(feature = "server")]
        if let Some(delegates) = self.ocsp.as_ref().map(|ocsp| ocsp.delegates(path)).filter(|delegates| !delegates.is_empty()) {
            return path.links().iter().cloned().chain(delegates).collect();
        }
        Cow::Borrowed(path.links())
    }

    /// What is known by OCSP about the certificates of a path.
    #[cfg(feature = "server")]
    pub fn ocsp_knowledge(&self, path: &Path, now: Timestamp) -> Vec<OcspKnowledge> {
        self.ocsp.as_ref().map(|ocsp| ocsp.knowledge(path, &self.revocation_lists.load(), now)).unwrap_or_default()
    }

    /// Takes note of the lists that the certificates of a verified path name. Says whether one that must speak of them is still being
    /// fetched for the first time. `chain` is what the client sent with its certificate.
    pub fn awaits_lists(&self, path: &Path, chain: &[CertificateDer<'static>], now: Timestamp) -> bool {
        let distribution = self.distribution.as_ref();
        let noted = distribution.and_then(|points| points.note(&self.revocation_lists.load(), &self.links(path), chain, now));
        if noted == Some(true) {
            self.join_lists();
        }
        #[cfg(feature = "server")]
        if self.ocsp.as_ref().is_some_and(|ocsp| ocsp.note(path, chain, now)) {
            return true;
        }
        noted.is_some()
    }

    /// The questions that are to be put by OCSP now, never more than there is room for. Whoever takes them answers with
    /// [`AnchorSet::take_status`] and drops them then.
    #[cfg(feature = "server")]
    pub fn due_statuses(&self, now: Timestamp) -> Vec<OcspAsk> {
        self.ocsp.as_ref().map(|ocsp| ocsp.take_due(now)).unwrap_or_default()
    }

    /// Takes a responder's answer, and puts it in force.
    ///
    /// # Errors
    /// Why it is of no use. What was in force stays.
    #[cfg(feature = "server")]
    pub fn take_status(&self, ask: &OcspAsk, answer: Result<&[u8], String>, now: Timestamp) -> Result<(), OcspProblem> {
        self.ocsp.as_ref().map_or(Ok(()), |ocsp| ocsp.take_in(ask, answer, &self.revocation_lists.load(), now))
    }

    /// Takes an answer that came before this process was, unless one is known that is as new. The question is to be put all the same.
    ///
    /// # Errors
    /// Why it is of no use now.
    #[cfg(feature = "server")]
    pub fn take_kept_status(&self, ask: &OcspAsk, answer: &[u8], now: Timestamp) -> Result<(), OcspProblem> {
        self.ocsp.as_ref().map_or(Ok(()), |ocsp| ocsp.take_kept(ask, answer, &self.revocation_lists.load(), now))
    }

    /// The lists that are to be fetched now, never more than there is room for. Whoever takes them answers with [`AnchorSet::take_list`] and
    /// drops them then.
    pub fn due_lists(&self, now: Timestamp) -> Vec<ListAsk> {
        self.distribution.as_ref().map(|distribution| distribution.take_due(now)).unwrap_or_default()
    }

    /// The URLs that a list has come from, by its SHA-256. None for those of files.
    pub fn list_urls(&self, digest: &[u8; 32]) -> Vec<String> {
        self.distribution.as_ref().map(|distribution| distribution.urls_of(digest)).unwrap_or_default()
    }

    /// SHA-256 of each list from a URL that is in force, or was until its `nextUpdate`.
    pub fn list_digests(&self, url: &str) -> Vec<[u8; 32]> {
        self.distribution.as_ref().map(|distribution| distribution.digests(url)).unwrap_or_default()
    }

    /// Takes a list in DER that came from a URL once, unless one is known that is as new, and puts it in force.
    ///
    /// # Errors
    /// Why it is of no use now.
    pub fn take_kept_list(&self, url: &str, der: &[u8]) -> Result<(), ListProblem> {
        let Some(distribution) = &self.distribution else { return Ok(()) };
        let taken = distribution.take_kept(url, der);
        self.join_lists();
        taken
    }

    /// Takes what came from a URL, and puts it in force.
    ///
    /// # Errors
    /// Why it is of no use. What was in force stays.
    pub fn take_list(&self, url: &str, answer: Result<&[u8], String>, now: Timestamp) -> Result<(), ListProblem> {
        let Some(distribution) = &self.distribution else { return Ok(()) };
        let taken = distribution.take_in(url, answer, now);
        self.join_lists();
        taken
    }

    /// The revocation lists as they stand.
    pub fn revocation_lists(&self) -> Guard<Arc<RevocationLists>> {
        self.revocation_lists.load()
    }

    /// What paths must be.
    pub fn policy(&self) -> &PathPolicy {
        &self.policy
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its authorities.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Looks for a path from a certificate to one of the set's authorities. This is the fact that signatures verify, and nothing about
    /// whoever shows the certificate: to judge a connection's, see [`PeerTrust`](super::PeerTrust).
    ///
    /// # Errors
    /// Why there is none.
    pub fn path(&self, leaf: &Certificate, chain: &[CertificateDer<'static>], now: Timestamp) -> Result<Path, PathError> {
        let intermediates: Vec<_> = chain.iter().chain(&self.intermediates).cloned().collect();
        build_path(leaf, &intermediates, &self.anchors, &self.policy, now)
    }

    /// The same, with the seconds in which it would come to the same.
    pub(super) fn verdict(&self, leaf: &Certificate, chain: &[CertificateDer<'static>], now: Timestamp) -> Verdict {
        #[cfg(test)]
        self.verified.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dates = |certificate: &Certificate| (certificate.not_before(), certificate.not_after());
        // What cannot be read is on no path.
        let sent = chain.iter().chain(&self.intermediates).filter_map(|der| Certificate::from_der(der.clone()).ok());
        let sent = sent.map(|certificate| dates(&certificate));
        Verdict::new(self.path(leaf, chain, now), sent.chain(self.anchors.certificates().map(dates)), now)
    }

    /// What is remembered of a chain.
    pub(super) fn remembered(&self, chain: &[u8; 32]) -> Option<Verdict> {
        self.verdicts.get()?.get(chain)
    }

    /// Remembers it, in the place of what has not been asked for longest.
    pub(super) fn remember(&self, chain: [u8; 32], verdict: Verdict) {
        self.verdicts.get_or_init(|| Cache::new(REMEMBERED_CHAINS)).insert(chain, verdict);
    }

    /// How often a path was built for a connection.
    #[cfg(test)]
    pub(super) fn verified(&self) -> usize {
        self.verified.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Intermediates that peers may leave out.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    /// An authority of another set's that this set accepts too, by its own key or because it has signed it: whoever it issues for is accepted
    /// by both.
    pub fn accepts_authority_of(&self, other: &Self) -> Option<Certificate> {
        let read = |set: &Self| -> Vec<Certificate> {
            set.intermediates.iter().filter_map(|der| Certificate::from_der(der.clone()).ok()).collect()
        };
        let own: Vec<Certificate> = self.anchors.certificates().cloned().collect();
        let theirs: Vec<Certificate> = other.anchors.certificates().cloned().chain(read(other)).collect();
        let between = read(self);
        let keys: Vec<_> =
            accepted(&own, between.iter().chain(&theirs)).iter().map(|authority| authority.spki_sha256()).collect();
        theirs.into_iter().find(|authority| keys.contains(&authority.spki_sha256()))
    }

    /// SHA-256 over all that it is.
    fn mark(&self) -> [u8; 32] {
        let anchors = self.anchors.certificates().map(|certificate| *certificate.thumbprint().as_bytes());
        let parts = anchors.chain([[0; 32]]).chain(self.intermediates.iter().map(|der| sha256(der)));
        let mut bytes = parts.flatten().collect::<Vec<u8>>();
        bytes.extend(sha256(format!("{:?}", self.policy).as_bytes()));
        sha256(&bytes)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.policy == other.policy
            && self.intermediates == other.intermediates
            && self.files == other.files
            && self.stored == other.stored
    }
}

/// Every anchor set at one time.
///
/// A set that a reload leaves as it was stays the same object, so that what connections know about it stays true.
#[derive(Clone, Debug, Default)]
pub struct AnchorSets {
    sets: BTreeMap<String, Arc<AnchorSet>>,
    epoch: u64,
    /// Lists for sets that are in force already and stay.
    waiting: Vec<(Arc<AnchorSet>, Arc<RevocationLists>)>,
}

impl AnchorSets {
    /// The sets at the start: epoch 1. Of two with one name the later counts.
    pub fn new(sets: impl IntoIterator<Item = AnchorSet>) -> Self {
        Self { sets: sets.into_iter().map(|set| (set.name.clone(), Arc::new(set))).collect(), epoch: 1, waiting: Vec::new() }
    }

    /// These sets in place of `previous`: unchanged sets stay the same objects, and the epoch moves on if anything changed. A changed set goes
    /// on with what its predecessor has fetched, as far as it is signed by who is in it now. Of a set that stays, the revocation lists read now are put in force together with all the rest, by [`CurrentAnchors`](super::CurrentAnchors).
    #[must_use]
    pub fn replacing(mut self, previous: &Self) -> Self {
        for (name, set) in &mut self.sets {
            match previous.sets.get(name) {
                Some(known) if known.is_same(set) => {
                    self.waiting.push((Arc::clone(known), set.file_lists.load_full()));
                    *set = Arc::clone(known);
                }
                Some(known) => set.inherit(known),
                None => {}
            }
        }
        let is_unchanged = self.sets.len() == previous.sets.len()
            && self.sets.values().zip(previous.sets.values()).all(|(set, known)| Arc::ptr_eq(set, known));
        self.epoch = if is_unchanged { previous.epoch } else { previous.epoch.saturating_add(1) };
        self
    }

    /// Puts the lists in force that were read for sets which stayed.
    pub(super) fn settle(&mut self) {
        for (set, lists) in self.waiting.drain(..) {
            set.file_lists.store(lists);
            set.join_lists();
        }
    }

    /// The set of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<AnchorSet>> {
        self.sets.get(name)
    }

    /// Every set, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<AnchorSet>> {
        self.sets.values()
    }

    /// Counts the changes. TLS sessions belong to one epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What hosts need to know of every set, by its name: whom to hint at to clients, and whether it is still the same.
    pub fn hints(&self) -> BTreeMap<String, AnchorHints> {
        let hints = |set: &AnchorSet| AnchorHints { subjects: set.anchors.subjects(), mark: set.mark() };
        self.sets.iter().map(|(name, set)| (name.clone(), hints(set))).collect()
    }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
