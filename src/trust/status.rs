//! What authorities say about single certificates by OCSP: whom to ask, when again, and what came of it. Nothing here asks.
//!
//! As with lists, a responder is named by the operator or by a certificate whose path has verified.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use rustls_pki_types::CertificateDer;

use crate::domain::{Lifetime, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::pki::Certificate;
use crate::pki::crl::Serial;
use crate::pki::ocsp::{OcspAnswer, OcspError, OcspQuestion, OcspStatus};
use crate::pki::path::{Link, Path};

use super::distribution::{AFTER_FAILURE_SECONDS, MOST_DOUBLINGS, accepted, fetchable, sent_authority};
use super::room::{Room, Seat};
use super::{RevocationListError, RevocationLists};

/// Certificates whose status one set remembers. Those that have not been shown for longest go first.
const REMEMBERED: usize = 10_000;
/// How long after a certificate was last shown its status is still asked for.
const KEPT: Lifetime = Lifetime::from_seconds(86_400);

/// Questions that one set has under way at once, and those to one responder: one that hangs leaves room for others.
const MOST_QUESTIONS: usize = 16;
const MOST_TO_ONE: usize = 8;

/// How a set asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspAsking {
    /// The responder of the configuration: asked about every certificate.
    pub url: Option<String>,
    /// Whether otherwise those are asked that certificates name.
    pub named_by_certificates: bool,
    /// The longest time between two questions about one certificate.
    pub refresh: Lifetime,
}

/// Why there is no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspProblem {
    /// Nobody has answered yet.
    #[error("the responder has not answered yet")]
    Pending,
    /// The responder was not reached.
    #[error("the responder was not reached: {0}")]
    Fetch(String),
    /// Its answer is of no use.
    #[error("{0}")]
    Answer(#[from] OcspError),
    /// It is signed by a responder whose own certificate has been revoked, or that no list speaks of under `hard`.
    #[error("the certificate of the responder that signed the answer: {0}")]
    Responder(Box<RevocationListError>),
}

impl OcspProblem {
    /// The private reason, of a request that needed the status.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Pending | Self::Fetch(_) => Reason::CertificateOcspUnreachable,
            Self::Answer(error) => error.reason(),
            Self::Responder(_) => Reason::CertificateOcspResponder,
        }
    }
}

/// What is known by OCSP of one certificate of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspKnowledge {
    /// The certificate's number.
    pub serial: Serial,
    /// Who is asked.
    pub url: String,
    /// The last answer that was of use.
    pub answer: Option<OcspAnswer>,
    /// Why there is no newer one, or why it does not count.
    pub problem: Option<OcspProblem>,
}

/// A certificate of an authority's: the authority's certificate and its number.
type Key = (Thumbprint, Serial);

/// A question that is to be put now. Nobody else is told to put it before it is dropped.
#[derive(Debug)]
pub struct OcspAsk {
    entry: Arc<Entry>,
    _seat: Seat,
    /// The responder.
    pub url: String,
    /// Whether the operator named it.
    pub by_operator: bool,
    /// The request, in DER.
    pub request: Vec<u8>,
}

impl OcspAsk {
    /// What it is about: the issuer's certificate, and the number.
    pub fn certificate(&self) -> (Thumbprint, Serial) {
        self.entry.key
    }

    /// Whether nobody has said anything yet.
    pub fn is_first(&self) -> bool {
        self.entry.state.load().answer.is_none()
    }
}

impl Drop for OcspAsk {
    fn drop(&mut self) {
        self.entry.under_way.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct Entry {
    key: Key,
    issuer: Certificate,
    question: OcspQuestion,
    url: String,
    /// Written by whoever has the question under way.
    state: ArcSwap<State>,
    under_way: AtomicBool,
    /// When the certificate was last shown, in seconds.
    used: AtomicI64,
}

#[derive(Clone, Debug)]
struct State {
    answer: Option<OcspAnswer>,
    problem: Option<OcspProblem>,
    due: Timestamp,
    failures: u32,
}

impl Entry {
    /// Nobody knows yet, and somebody is about to be asked.
    fn is_pending(&self, now: Timestamp) -> bool {
        let state = self.state.load();
        match &state.answer {
            Some(answer) => answer.next_update < now && state.problem.is_none(),
            None => state.problem == Some(OcspProblem::Pending),
        }
    }
}

/// The statuses of one set's certificates.
#[derive(Debug)]
pub(super) struct OcspStatuses {
    asking: OcspAsking,
    authorities: Vec<Certificate>,
    entries: Cache<Key, Arc<Entry>>,
    room: Arc<Room>,
}

impl OcspStatuses {
    pub(super) fn new(asking: OcspAsking, authorities: Vec<Certificate>) -> Self {
        Self { asking, authorities, entries: Cache::new(REMEMBERED), room: Room::new(MOST_QUESTIONS, MOST_TO_ONE) }
    }

    /// How is asked.
    pub(super) fn asking(&self) -> &OcspAsking {
        &self.asking
    }

    /// Takes over what was said before a reload, as far as the issuer is one of the authorities that are there now, or one that they have
    /// signed. A question that is under way just now is due, and put again.
    pub(super) fn inherit(&self, before: &Self) {
        let issuers: BTreeMap<Thumbprint, Certificate> =
            before.entries.iter().map(|(_, entry)| (entry.issuer.thumbprint(), entry.issuer.clone())).collect();
        let accepted = accepted(&self.authorities, issuers.values());
        for (key, entry) in before.entries.iter() {
            let url = match &self.asking.url {
                Some(url) => url.clone(),
                None if self.asking.named_by_certificates => entry.url.clone(),
                None => continue,
            };
            if accepted.iter().any(|authority| authority.thumbprint() == key.0) {
                let entry = Entry {
                    key,
                    issuer: entry.issuer.clone(),
                    question: entry.question.clone(),
                    url,
                    state: ArcSwap::new(entry.state.load_full()),
                    under_way: AtomicBool::new(false),
                    used: AtomicI64::new(entry.used.load(Ordering::Relaxed)),
                };
                self.entries.insert(key, Arc::new(entry));
            }
        }
    }

    /// Whom to ask about a certificate.
    fn responder<'a>(&'a self, link: &'a Link) -> Option<&'a String> {
        let named = || fetchable(&link.responders).next().filter(|_| self.asking.named_by_certificates);
        self.asking.url.as_ref().or_else(named)
    }

    /// Takes note of a verified path. Whether a status that nobody knows is about to be known.
    pub(super) fn note(&self, path: &Path, chain: &[CertificateDer<'static>], now: Timestamp) -> bool {
        let mut awaits = false;
        for link in path.links() {
            let (Some(url), Some(serial)) = (self.responder(link), link.serial) else { continue };
            let key = (link.issuer_certificate, serial);
            let entry = match self.entries.get(&key) {
                Some(entry) => entry,
                None => {
                    let known = self.authorities.iter().find(|authority| authority.thumbprint() == link.issuer_certificate);
                    let Some(issuer) = known.cloned().or_else(|| sent_authority(chain, link)) else { continue };
                    let Ok(question) = OcspQuestion::new(&issuer, serial) else { continue };
                    let due = Timestamp::from_seconds(0);
                    let state = State { answer: None, problem: Some(OcspProblem::Pending), due, failures: 0 };
                    let (state, used) = (ArcSwap::from_pointee(state), AtomicI64::new(now.seconds()));
                    let under_way = AtomicBool::new(false);
                    let entry = Arc::new(Entry { key, issuer, question, url: url.clone(), state, under_way, used });
                    self.entries.insert(key, Arc::clone(&entry));
                    entry
                }
            };
            entry.used.fetch_max(now.seconds(), Ordering::Relaxed);
            awaits |= entry.is_pending(now);
        }
        awaits
    }

    /// The certificates of responders that have spoken of a path's certificates and are asked about themselves.
    pub(super) fn delegates(&self, path: &Path) -> Vec<Link> {
        let entries = path.links().iter().filter_map(|link| self.entries.get(&(link.issuer_certificate, link.serial?)));
        entries.filter_map(|entry| entry.state.load().answer.as_ref()?.delegate.clone()).collect()
    }

    /// What is known about every certificate of a path that somebody is asked about.
    pub(super) fn knowledge(&self, path: &Path, lists: &RevocationLists, now: Timestamp) -> Vec<OcspKnowledge> {
        let known = |link: &Link| {
            let (url, serial) = (self.responder(link)?.clone(), link.serial?);
            let state = self.entries.get(&(link.issuer_certificate, serial)).map(|entry| entry.state.load_full());
            let answer = state.as_ref().and_then(|state| state.answer.clone());
            let problem = match answer.as_ref().map(|answer| still_signed(answer, lists, now)) {
                Some(Err(problem)) => Some(problem),
                _ => state.map_or(Some(OcspProblem::Pending), |state| state.problem.clone()),
            };
            Some(OcspKnowledge { serial, url, answer, problem })
        };
        path.links().iter().filter_map(known).collect()
    }

    /// What is known about one certificate of a path: until when it is good. `None` where nobody is asked. `lists` are asked about the
    /// responder's certificate.
    pub(super) fn status(
        &self,
        link: &Link,
        lists: &RevocationLists,
        now: Timestamp,
    ) -> Option<Result<Timestamp, RevocationListError>> {
        let url = self.responder(link)?;
        let serial = link.serial?;
        let entry = self.entries.get(&(link.issuer_certificate, serial));
        let useless = |problem: &OcspProblem| {
            let (problem, reason) = (problem.to_string(), problem.reason());
            Err(RevocationListError::Status { serial: serial.to_string(), url: url.clone(), problem, reason })
        };
        let Some(entry) = entry else { return Some(useless(&OcspProblem::Pending)) };
        let state = entry.state.load();
        let Some(answer) = &state.answer else {
            return Some(useless(state.problem.as_ref().unwrap_or(&OcspProblem::Pending)));
        };
        let signed_until = match still_signed(answer, lists, now) {
            Ok(until) => until,
            // Nobody knows of the responder: that makes nothing good, and does not undo that something was revoked.
            Err(OcspProblem::Responder(why)) if !is_revoked(&why) && matches!(answer.status, OcspStatus::Revoked { .. }) => None,
            Err(problem) => return Some(useless(&problem)),
        };
        Some(match answer.status {
            // What is revoked does not come back by growing old.
            OcspStatus::Revoked { since, reason } => Err(RevocationListError::Revoked {
                issuer: entry.issuer.subject().to_string(),
                serial: serial.to_string(),
                since,
                reason: reason.name(),
            }),
            OcspStatus::Good if now <= answer.next_update => {
                Ok(signed_until.map_or(answer.next_update, |until| until.min(answer.next_update)))
            }
            OcspStatus::Good => {
                let (this_update, next_update) = (answer.this_update, answer.next_update);
                let stale = OcspProblem::Answer(OcspError::Stale { this_update, next_update });
                useless(state.problem.as_ref().unwrap_or(&stale))
            }
        })
    }

    /// The questions that are to be put now, as many as there is room for: first those about certificates that nobody has been asked about
    /// yet, then those that have waited longest.
    pub(super) fn take_due(&self, now: Timestamp) -> Vec<OcspAsk> {
        if self.room.free() == 0 {
            return Vec::new();
        }
        let shown = now.minus(KEPT).seconds();
        let is_due = |entry: &Arc<Entry>| {
            let rests = entry.under_way.load(Ordering::Acquire) || entry.used.load(Ordering::Relaxed) < shown;
            !rests && entry.state.load().due <= now
        };
        let mut due: Vec<Arc<Entry>> = self.entries.iter().map(|(_, entry)| entry).filter(is_due).collect();
        due.sort_by_cached_key(|entry| entry.state.load().due);
        let mut asks = Vec::new();
        for entry in due {
            let Some(seat) = self.room.take(&entry.url) else {
                if self.room.free() == 0 {
                    break;
                }
                continue;
            };
            if entry.under_way.swap(true, Ordering::AcqRel) {
                continue;
            }
            let (url, by_operator) = (entry.url.clone(), self.asking.url.is_some());
            let request = entry.question.request();
            let mut ask = OcspAsk { entry, _seat: seat, url, by_operator, request: Vec::new() };
            match request {
                Ok(request) => {
                    ask.request = request;
                    asks.push(ask);
                }
                Err(error) => {
                    let failed = self.failed(&ask.entry.state.load(), OcspProblem::Answer(error), now);
                    ask.entry.state.store(Arc::new(failed));
                }
            }
        }
        asks
    }

    /// Takes what came.
    pub(super) fn take_in(
        &self,
        ask: &OcspAsk,
        answer: Result<&[u8], String>,
        lists: &RevocationLists,
        now: Timestamp,
    ) -> Result<(), OcspProblem> {
        let entry = &ask.entry;
        let known = entry.state.load();
        let read = answer.map_err(OcspProblem::Fetch);
        let read = read.and_then(|bytes| Ok(entry.question.answer(bytes, &entry.issuer, now)?));
        let (state, result) = match read {
            // An older answer than the known one is somebody's replay.
            Ok(answer) if known.answer.as_ref().is_some_and(|known| known.this_update > answer.this_update) => {
                let (this_update, next_update) = (answer.this_update, answer.next_update);
                let problem = OcspProblem::Answer(OcspError::Stale { this_update, next_update });
                (self.failed(&known, problem.clone(), now), Err(problem))
            }
            // A responder whose certificate was revoked takes nothing back that was said before.
            Ok(answer) if let Some(problem) = disowned(&answer, lists, now) => {
                (self.failed(&known, problem.clone(), now), Err(problem))
            }
            Ok(answer) => {
                let left = answer.next_update.seconds_since(now).saturating_mul(3) / 4;
                let left = Lifetime::from_seconds(u32::try_from(left).unwrap_or(u32::MAX).max(1));
                let due = now.plus(left.min(self.asking.refresh));
                (State { answer: Some(answer), problem: None, due, failures: 0 }, Ok(()))
            }
            Err(problem) => (self.failed(&known, problem.clone(), now), Err(problem)),
        };
        entry.state.store(Arc::new(state));
        result
    }

    /// Takes an answer that came before this process was, unless one is known that is as new. The question is put all the same.
    pub(super) fn take_kept(
        &self,
        ask: &OcspAsk,
        bytes: &[u8],
        lists: &RevocationLists,
        now: Timestamp,
    ) -> Result<(), OcspProblem> {
        let entry = &ask.entry;
        let known = entry.state.load();
        let answer = entry.question.kept_answer(bytes, &entry.issuer, now)?;
        if let Some(problem) = disowned(&answer, lists, now) {
            return Err(problem);
        }
        if known.answer.as_ref().is_none_or(|known| known.this_update < answer.this_update) {
            let problem = known.problem.clone().filter(|problem| *problem != OcspProblem::Pending);
            entry.state.store(Arc::new(State { answer: Some(answer), problem, due: known.due, failures: known.failures }));
        }
        Ok(())
    }

    fn failed(&self, known: &State, problem: OcspProblem, now: Timestamp) -> State {
        let pause = Lifetime::from_seconds(AFTER_FAILURE_SECONDS << known.failures.min(MOST_DOUBLINGS));
        State {
            answer: known.answer.clone(),
            problem: Some(problem),
            due: now.plus(pause.min(self.asking.refresh)),
            failures: known.failures.saturating_add(1),
        }
    }
}

/// Whether whoever signed an answer may still do so, and until when that is known. Only lists are asked: a responder would be asked about
/// responders without end.
fn still_signed(answer: &OcspAnswer, lists: &RevocationLists, now: Timestamp) -> Result<Option<Timestamp>, OcspProblem> {
    let Some(delegate) = &answer.delegate else { return Ok(None) };
    lists.check_link(delegate, now).map_err(|error| OcspProblem::Responder(Box::new(error)))
}

fn is_revoked(error: &RevocationListError) -> bool {
    matches!(error, RevocationListError::Revoked { .. })
}

/// Why an answer counts for nothing whose responder is known to have lost its certificate.
fn disowned(answer: &OcspAnswer, lists: &RevocationLists, now: Timestamp) -> Option<OcspProblem> {
    let problem = still_signed(answer, lists, now).err()?;
    matches!(&problem, OcspProblem::Responder(why) if is_revoked(why)).then_some(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::fixture::{Authority, Identity, NOW};
    use crate::trust::AnchorSet;

    fn set(root: &Authority, url: Option<&str>) -> AnchorSet {
        let asking =
            OcspAsking { url: url.map(str::to_owned), named_by_certificates: true, refresh: Lifetime::from_seconds(3_600) };
        let set = AnchorSet::new("clients", vec![root.certificate.clone()], vec![]).expect("a set");
        set.with_ocsp(asking, vec![root.certificate.clone()])
    }

    /// Names a responder (RFC 5280 §4.2.2.1).
    fn naming(root: &Authority, url: &str) -> Identity {
        use crate::pki::fixture::der;
        let uri = der(0x86, [url.as_bytes()]);
        let ocsp = der(0x06, [&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01][..]]);
        let access = der(0x30, [&der(0x30, [&ocsp[..], &uri])[..]]);
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
        root.leaf("client", |params| {
            params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&oid, access));
        })
    }

    fn show(set: &AnchorSet, identity: &Identity, now: Timestamp) -> bool {
        let path = set.path(&identity.certificate, &[], now).expect("a path");
        set.awaits_lists(&path, &[], now)
    }

    /// A reload that changes a set goes on with what responders said of certificates whose issuer it still accepts.
    #[test]
    fn a_reload_goes_on_with_what_was_said() {
        use crate::trust::AnchorSets;
        let (root, other) = (Authority::new("Root"), Authority::new("Other"));
        let set_of = |roots: &[&Authority]| {
            let certificates: Vec<_> = roots.iter().map(|root| root.certificate.clone()).collect();
            let asking = OcspAsking { url: None, named_by_certificates: true, refresh: Lifetime::from_seconds(3_600) };
            AnchorSet::new("clients", certificates.clone(), vec![]).expect("a set").with_ocsp(asking, certificates)
        };
        let first = AnchorSets::new([set_of(&[&root])]);
        let set = first.get("clients").expect("the set");
        let (told, under_way) = (naming(&root, "http://one.example/"), naming(&root, "http://two.example/"));
        for identity in [&told, &under_way] {
            assert!(show(set, identity, NOW));
        }
        let asks = set.due_statuses(NOW);
        for ask in asks.iter().filter(|ask| ask.url == "http://one.example/") {
            set.take_status(ask, Err("down".into()), NOW).expect_err("down");
        }
        let second = AnchorSets::new([set_of(&[&root, &other])]).replacing(&first);
        let set = second.get("clients").expect("the set");
        assert!(!show(set, &told, NOW), "what came of it is known");
        let again = set.due_statuses(NOW);
        assert_eq!(again.iter().map(|ask| ask.url.as_str()).collect::<Vec<_>>(), ["http://two.example/"]);
        let third = AnchorSets::new([set_of(&[&other])]).replacing(&second);
        assert!(third.get("clients").expect("the set").due_statuses(NOW.plus(Lifetime::from_seconds(60))).is_empty());
    }

    /// However many certificates are shown, a responder that hangs has so many questions and no more; those of others are put all the same,
    /// and nothing is queued that would reach it all at once when it is back.
    #[test]
    fn a_responder_that_hangs_holds_nobody_up() {
        let root = Authority::new("Root");
        let set = set(&root, None);
        for _ in 0..MOST_TO_ONE * 3 {
            assert!(show(&set, &naming(&root, "http://hangs.example/"), NOW));
        }
        let hanging = set.due_statuses(NOW);
        assert_eq!(hanging.len(), MOST_TO_ONE);
        let much_later = NOW.plus(Lifetime::from_seconds(1_000));
        assert!(set.due_statuses(much_later).is_empty(), "they are under way, however long that takes");
        let well = naming(&root, "http://well.example/");
        assert!(show(&set, &well, much_later));
        let asks = set.due_statuses(much_later);
        assert_eq!(asks.iter().map(|ask| ask.url.as_str()).collect::<Vec<_>>(), ["http://well.example/"]);
        // It fails at last: those that nobody has been asked about come before those that are tried again.
        let tried: Vec<_> = hanging.iter().map(|ask| ask.request.clone()).collect();
        for ask in hanging {
            set.take_status(&ask, Err("down".into()), NOW).expect_err("down");
        }
        let next = set.due_statuses(much_later);
        assert_eq!(next.len(), MOST_TO_ONE);
        assert!(next.iter().all(|ask| !tried.contains(&ask.request)));
        drop((asks, next));
        // One that is given up without an answer is asked again.
        assert_eq!(set.due_statuses(much_later).len(), MOST_TO_ONE + 1);
    }
}
