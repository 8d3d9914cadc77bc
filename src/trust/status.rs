//! What authorities say about single certificates by OCSP: whom to ask, when again, and what came of it. Nothing here asks.
//!
//! As with lists, a responder is named by the operator or by a certificate whose path has verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use rustls_pki_types::CertificateDer;

use crate::domain::{Lifetime, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::pki::Certificate;
use crate::pki::crl::Serial;
use crate::pki::ocsp::{OcspAnswer, OcspError, OcspQuestion, OcspStatus};
use crate::pki::path::{Link, Path};

use super::RevocationListError;
use super::distribution::{AFTER_FAILURE_SECONDS, MOST_DOUBLINGS, UNDER_WAY, fetchable, sent_authority};

/// Certificates whose status one set remembers. Those that have not been shown for longest go first.
const REMEMBERED: usize = 10_000;
/// How long after a certificate was last shown its status is still asked for.
const KEPT: Lifetime = Lifetime::from_seconds(86_400);

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
}

impl OcspProblem {
    /// The private reason, of a request that needed the status.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Pending | Self::Fetch(_) => Reason::CertificateOcspUnreachable,
            Self::Answer(error) => error.reason(),
        }
    }
}

/// A certificate of an authority's: the authority's certificate and its number.
type Key = (Thumbprint, Serial);

/// A question that is to be put now.
#[derive(Clone, Debug)]
pub struct OcspAsk {
    key: Key,
    /// The responder.
    pub url: String,
    /// Whether the operator named it.
    pub by_operator: bool,
    /// The request, in DER.
    pub request: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    issuer: Certificate,
    question: OcspQuestion,
    url: String,
    state: ArcSwap<State>,
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
}

impl OcspStatuses {
    pub(super) fn new(asking: OcspAsking, authorities: Vec<Certificate>) -> Self {
        Self { asking, authorities, entries: Cache::new(REMEMBERED) }
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
                    let entry = Arc::new(Entry { key, issuer, question, url: url.clone(), state, used });
                    self.entries.insert(key, Arc::clone(&entry));
                    entry
                }
            };
            entry.used.fetch_max(now.seconds(), Ordering::Relaxed);
            awaits |= entry.is_pending(now);
        }
        awaits
    }

    /// What is known about one certificate of a path: until when it is good. `None` where nobody is asked.
    pub(super) fn status(&self, link: &Link, now: Timestamp) -> Option<Result<Timestamp, RevocationListError>> {
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
        Some(match answer.status {
            // What is revoked does not come back by growing old.
            OcspStatus::Revoked { since, reason } => Err(RevocationListError::Revoked {
                issuer: entry.issuer.subject().to_string(),
                serial: serial.to_string(),
                since,
                reason: reason.name(),
            }),
            OcspStatus::Good if now <= answer.next_update => Ok(answer.next_update),
            OcspStatus::Good => {
                let (this_update, next_update) = (answer.this_update, answer.next_update);
                let stale = OcspProblem::Answer(OcspError::Stale { this_update, next_update });
                useless(state.problem.as_ref().unwrap_or(&stale))
            }
        })
    }

    /// The questions that are to be put now. They are not given again before an answer, or before one would have come.
    pub(super) fn take_due(&self, now: Timestamp) -> Vec<OcspAsk> {
        let mut asks = Vec::new();
        for (_, entry) in self.entries.iter() {
            let state = entry.state.load();
            if state.due > now || entry.used.load(Ordering::Relaxed) < now.minus(KEPT).seconds() {
                continue;
            }
            entry.state.store(Arc::new(State { due: now.plus(UNDER_WAY), ..State::clone(&state) }));
            if let Ok(request) = entry.question.request() {
                let by_operator = self.asking.url.is_some();
                asks.push(OcspAsk { key: entry.key, url: entry.url.clone(), by_operator, request });
            }
        }
        asks
    }

    /// Takes what came.
    pub(super) fn take_in(&self, ask: &OcspAsk, answer: Result<&[u8], String>, now: Timestamp) -> Result<(), OcspProblem> {
        let Some(entry) = self.entries.get(&ask.key) else { return Ok(()) };
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
