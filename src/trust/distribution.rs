//! Revocation lists that are fetched: from where, when again, and what came of it. Nothing here fetches.
//!
//! A URL comes from the operator, or from a certificate that one of the set's authorities has signed: of the set itself, or of a client once
//! a path from it has verified. Nobody else can make this process fetch anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;

use crate::domain::{Lifetime, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::digest::sha256;
use crate::pki::Certificate;
use crate::pki::crl::{CertificateRevocationList, CrlError};
use crate::pki::path::Link;
use crate::pki::pem;

use super::RevocationLists;
use super::revocation_list::{Age, NamedBy, age};
use super::room::{Room, Seat};

/// URLs that one set fetches from. What certificates name beyond is not fetched, until nobody has shown one of the others for a day.
const MOST_PLACES: usize = 1_024;
/// How long after the last certificate that names a URL was shown it is still fetched from.
const KEPT: Lifetime = Lifetime::from_seconds(86_400);
/// URLs that count of one certificate, and bytes of each.
const MOST_POINTS: usize = 8;
const URL_BYTES: usize = 2_048;
/// Lists that one set fetches at once, each URL once.
const MOST_FETCHES: usize = 8;
/// Authorities that clients have sent for one URL's lists.
const MOST_AUTHORITIES: usize = 16;
/// Lists of one URL that stay although its answer says nothing of them any more. An answer that would leave more is not taken.
const MOST_KEPT: usize = 64;
/// The pause after the first failure; it doubles with each further one, up to sixteen times, and never beyond the set's own interval.
pub(super) const AFTER_FAILURE_SECONDS: u32 = 15;
pub(super) const MOST_DOUBLINGS: u32 = 4;

/// How a set fetches lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFetching {
    /// URLs of the configuration.
    pub urls: Vec<String>,
    /// Whether those are fetched too that certificates name.
    pub named_by_certificates: bool,
    /// The longest time between two fetches of one list.
    pub refresh: Lifetime,
}

/// Why there is no list from a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListProblem {
    /// It has not been answered yet.
    #[error("it has not been fetched yet")]
    Pending,
    /// It could not be fetched.
    #[error("it could not be fetched: {0}")]
    Fetch(String),
    /// There is no list in what was fetched.
    #[error("{0}")]
    Encoding(String),
    /// The list cannot be used.
    #[error("{0}")]
    List(#[from] CrlError),
    /// One of its lists is older than the one of the same authority and scope that was fetched before. All of those stay.
    #[error("it is older than the one that was fetched before")]
    Older,
    /// Other lists are already known from there than it speaks of, more than are kept.
    #[error("it says nothing of more than {MOST_KEPT} lists that were fetched from there before")]
    TooMany,
}

impl ListProblem {
    /// The private reason, of a request that needed the list.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Pending | Self::Fetch(_) => Reason::CertificateRevocationUnreachable,
            Self::Encoding(_) => Reason::CertificateRevocationMalformed,
            Self::List(error) => error.reason(),
            Self::Older => Reason::CertificateRevocationStale,
            Self::TooMany => Reason::CertificateRevocationUnsupported,
        }
    }
}

/// A list that is to be fetched now. Nobody else is told to before it is dropped.
#[derive(Debug)]
pub struct ListAsk {
    /// Where it is.
    pub url: String,
    /// Whether the operator named it.
    pub by_operator: bool,
    _seat: Seat,
}

type Lists = Vec<(Arc<CertificateRevocationList>, Thumbprint)>;

/// One URL.
#[derive(Clone, Debug)]
struct Place {
    named_by: NamedBy,
    /// Authorities that a client sent, on a path that has verified.
    authorities: Vec<Certificate>,
    lists: Lists,
    problem: Option<ListProblem>,
    due: Timestamp,
    failures: u32,
    /// When a certificate that names it was last shown, in seconds. For ever, where the set itself names it.
    shown: Arc<AtomicI64>,
}

impl Place {
    fn new(named_by: NamedBy, shown: i64) -> Self {
        let (due, problem, shown) = (Timestamp::from_seconds(0), Some(ListProblem::Pending), Arc::new(AtomicI64::new(shown)));
        Self { named_by, authorities: Vec::new(), lists: Vec::new(), problem, due, failures: 0, shown }
    }

    /// Whether nobody has shown a certificate that names it for long.
    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.shown.load(Ordering::Relaxed) < now.minus(KEPT).seconds()
    }

    fn is_pending(&self) -> bool {
        self.problem == Some(ListProblem::Pending)
    }

    /// Is to be fetched at once, and waited for.
    fn ask_again(&mut self) {
        (self.problem, self.due, self.failures) = (Some(ListProblem::Pending), Timestamp::from_seconds(0), 0);
    }
}

/// The URLs of one set, as they stand.
#[derive(Debug)]
pub(super) struct DistributionPoints {
    fetching: ListFetching,
    /// Of the set: they may sign lists.
    authorities: Vec<Certificate>,
    places: ArcSwap<BTreeMap<String, Place>>,
    /// Held by whoever changes the places.
    changing: Mutex<()>,
    room: Arc<Room>,
}

impl DistributionPoints {
    pub(super) fn new(fetching: ListFetching, authorities: Vec<Certificate>) -> Self {
        let configured = fetching.urls.iter().map(|url| (url.clone(), Place::new(NamedBy::Operator, i64::MAX)));
        let mut places: BTreeMap<String, Place> = configured.collect();
        if fetching.named_by_certificates {
            let named = authorities.iter().flat_map(|authority| fetchable(authority.distribution_points()));
            for url in named.take(MOST_PLACES) {
                places.entry(url.clone()).or_insert_with(|| Place::new(NamedBy::Certificate, i64::MAX));
            }
        }
        let (places, room) = (ArcSwap::from_pointee(places), Room::new(MOST_FETCHES, 1));
        Self { fetching, authorities, places, changing: Mutex::new(()), room }
    }

    /// How lists are fetched.
    pub(super) fn fetching(&self) -> &ListFetching {
        &self.fetching
    }

    /// Changes the places.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Place>) -> T) -> T {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = BTreeMap::clone(&self.places.load());
        let result = change(&mut places);
        self.places.store(Arc::new(places));
        result
    }

    /// Takes over what was fetched before a reload, as far as the authorities that are there now have signed it, or those that they have signed.
    pub(super) fn inherit(&self, before: &Self) {
        let before = before.places.load();
        let accepted = accepted(&self.authorities, before.values().flat_map(|place| &place.authorities));
        let may_sign = |signer: &Thumbprint| {
            let signs = |authority: &&Certificate| authority.key_usage().is_none_or(|usage| usage.crl_sign);
            accepted.iter().filter(signs).any(|authority| authority.spki_sha256() == *signer)
        };
        self.change(|places| {
            for (url, known) in before.iter() {
                let lists: Lists = known.lists.iter().filter(|(_, signer)| may_sign(signer)).cloned().collect();
                if !places.contains_key(url) {
                    let is_wanted = self.fetching.named_by_certificates && known.named_by == NamedBy::Certificate;
                    if lists.is_empty() || !is_wanted || places.len() >= MOST_PLACES {
                        continue;
                    }
                    let shown = known.shown.load(Ordering::Relaxed);
                    places.insert(url.clone(), Place::new(NamedBy::Certificate, shown));
                }
                let Some(place) = places.get_mut(url) else { continue };
                place.authorities = known.authorities.iter().filter(|sent| accepted.contains(sent)).cloned().collect();
                // What failed before is tried again: it may be signed by who has come. What is under way just now is due, and fetched again.
                if known.problem.is_none() && !lists.is_empty() {
                    (place.problem, place.due) = (None, known.due);
                }
                place.lists = lists;
            }
        });
    }

    /// The lists of the files with those that were fetched.
    pub(super) fn joined(&self, files: &RevocationLists) -> RevocationLists {
        let places = self.places.load();
        let problem = |(url, place): (&String, &Place)| Some((url.clone(), (place.problem.clone()?, place.named_by)));
        files.joined(places.values().flat_map(|place| place.lists.clone()), places.iter().filter_map(problem).collect())
    }

    /// Takes note of what the certificates of a verified path name, and those of responders, of which no list in force speaks. `None` when nothing is waited for; else whether a
    /// URL is new, or an authority that may sign what comes from it.
    pub(super) fn note(
        &self,
        lists: &RevocationLists,
        links: &[Link],
        chain: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Option<bool> {
        let missing: Vec<&Link> = links.iter().filter(|link| !lists.speaks_of(link, now)).collect();
        if missing.is_empty() {
            self.shown(links, now);
            return None;
        }
        let places = self.places.load();
        let has_forgotten = |places: &BTreeMap<String, Place>| places.values().any(|place| place.is_forgotten(now));
        let is_news = |link: &Link, url: &String| match places.get(url) {
            Some(place) => place.is_forgotten(now) || self.sends_another(place, link, chain),
            None => self.fetching.named_by_certificates && (places.len() < MOST_PLACES || has_forgotten(&places)),
        };
        let adds = missing.iter().any(|link| fetchable(&link.points).any(|url| is_news(link, url)));
        if adds {
            self.change(|places| {
                if places.len() >= MOST_PLACES {
                    let named = |url: &String| missing.iter().any(|link| link.points.contains(url));
                    places.retain(|url, place| !place.is_forgotten(now) || named(url));
                }
                for link in &missing {
                    for url in fetchable(&link.points) {
                        if !places.contains_key(url) {
                            if !self.fetching.named_by_certificates || places.len() >= MOST_PLACES {
                                continue;
                            }
                            places.insert(url.clone(), Place::new(NamedBy::Certificate, now.seconds()));
                        }
                        if let Some(place) = places.get_mut(url).filter(|place| place.is_forgotten(now)) {
                            place.ask_again();
                        }
                        if let Some(place) = places.get_mut(url)
                            && self.sends_another(place, link, chain)
                            && let Some(sent) = sent_authority(chain, link)
                        {
                            place.authorities.push(sent);
                            place.ask_again();
                        }
                    }
                }
            });
        }
        self.shown(links, now);
        let places = self.places.load();
        let operators = places.values().any(|place| place.named_by == NamedBy::Operator && place.is_pending());
        let is_pending = |url: &String| places.get(url).is_some_and(Place::is_pending);
        let awaits = operators || missing.iter().any(|link| link.points.iter().any(is_pending));
        awaits.then_some(adds)
    }

    /// The certificates of a path are shown: what they name is fetched on.
    pub(super) fn shown(&self, links: &[Link], now: Timestamp) {
        let places = self.places.load();
        for place in links.iter().flat_map(|link| &link.points).filter_map(|url| places.get(url)) {
            place.shown.fetch_max(now.seconds(), Ordering::Relaxed);
        }
    }

    /// Whether a client sends the certificate of an authority that is not known to sign what comes from there: one that the set's own
    /// authorities have signed, since the path has verified. An authority with a new key goes on under the URL of the old one.
    fn sends_another(&self, place: &Place, link: &Link, chain: &[CertificateDer<'static>]) -> bool {
        let mut known = self.authorities.iter().chain(&place.authorities);
        place.authorities.len() < MOST_AUTHORITIES
            && !known.any(|known| known.thumbprint() == link.issuer_certificate)
            && chain.iter().any(|der| sha256(der) == *link.issuer_certificate.as_bytes())
    }

    /// The URLs that are to be fetched now, as many as there is room for: first what the operator named, then what has waited longest.
    pub(super) fn take_due(&self, now: Timestamp) -> Vec<ListAsk> {
        let places = self.places.load();
        let mut due: Vec<_> = places.iter().filter(|(_, place)| place.due <= now && !place.is_forgotten(now)).collect();
        due.sort_by_key(|(_, place)| (place.named_by == NamedBy::Certificate, place.due));
        let ask = |(url, place): (&String, &Place)| {
            let by_operator = place.named_by == NamedBy::Operator;
            Some(ListAsk { _seat: self.room.take(url)?, url: url.clone(), by_operator })
        };
        due.into_iter().filter_map(ask).collect()
    }

    /// The URLs that a list has come from.
    pub(super) fn urls_of(&self, digest: &[u8; 32]) -> Vec<String> {
        let places = self.places.load();
        let has = |place: &Place| place.lists.iter().any(|(list, _)| list.digest() == *digest);
        places.iter().filter(|(_, place)| has(place)).map(|(url, _)| url.clone()).collect()
    }

    /// SHA-256 of each list of a URL.
    pub(super) fn digests(&self, url: &str) -> Vec<[u8; 32]> {
        let places = self.places.load();
        places.get(url).map(|place| place.lists.iter().map(|(list, _)| list.digest()).collect()).unwrap_or_default()
    }

    /// Takes a list of a URL that was fetched once, unless one is known that is as new.
    pub(super) fn take_kept(&self, url: &str, der: &[u8]) -> Result<(), ListProblem> {
        let Some(known) = self.places.load().get(url).cloned() else { return Ok(()) };
        let authorities = self.authorities.iter().chain(&known.authorities);
        let (list, signer) = CertificateRevocationList::verified(der, authorities)?;
        self.change(|places| {
            let Some(place) = places.get_mut(url) else { return Ok(()) };
            if newest_of(&place.lists, &list, signer).is_some_and(|newest| newest >= age(&list)) {
                return Ok(());
            }
            place.lists = renewed(&place.lists, vec![(Arc::new(list), signer)])?;
            Ok(())
        })
    }

    /// Takes what came from a URL.
    pub(super) fn take_in(&self, url: &str, answer: Result<&[u8], String>, now: Timestamp) -> Result<(), ListProblem> {
        let Some(known) = self.places.load().get(url).cloned() else { return Ok(()) };
        // Signatures first, while nobody waits. What is known by then is looked at under the lock.
        let read = answer.map_err(ListProblem::Fetch).and_then(|bytes| self.read(bytes, &known));
        self.change(|places| {
            let Some(place) = places.get_mut(url) else { return Ok(()) };
            let has_grown = place.authorities.len() > known.authorities.len();
            let wait = read.as_ref().map_or(Lifetime::from_seconds(0), |lists| self.until_next(lists, now));
            let taken = match read.and_then(|lists| renewed(&place.lists, lists)) {
                Ok(lists) => {
                    place.due = now.plus(wait);
                    (place.lists, place.problem, place.failures) = (lists, None, 0);
                    Ok(())
                }
                Err(problem) => {
                    let pause = AFTER_FAILURE_SECONDS << place.failures.min(MOST_DOUBLINGS);
                    place.due = now.plus(Lifetime::from_seconds(pause).min(self.fetching.refresh));
                    (place.problem, place.failures) = (Some(problem.clone()), place.failures.saturating_add(1));
                    Err(problem)
                }
            };
            // Read without an authority that has come since: somebody waits for what it may sign.
            if has_grown {
                place.ask_again();
            }
            taken
        })
    }

    fn read(&self, bytes: &[u8], place: &Place) -> Result<Lists, ListProblem> {
        let encoded = pem::revocation_lists(bytes).map_err(|error| ListProblem::Encoding(error.to_string()))?;
        let mut lists = Lists::new();
        for der in encoded {
            let authorities = self.authorities.iter().chain(&place.authorities);
            let (list, signer) = CertificateRevocationList::verified(&der, authorities)?;
            lists.push((Arc::new(list), signer));
        }
        Ok(lists)
    }

    /// After three quarters of what is left until the first list is too old, so that there is time for trying again.
    fn until_next(&self, lists: &Lists, now: Timestamp) -> Lifetime {
        let ends = lists.iter().map(|(list, _)| list.next_update()).min();
        let left = ends.map_or(0, |ends| ends.seconds_since(now));
        let soon = u32::try_from(left.saturating_mul(3) / 4).unwrap_or(u32::MAX).max(1);
        Lifetime::from_seconds(if left == 0 { AFTER_FAILURE_SECONDS } else { soon }).min(self.fetching.refresh)
    }
}

/// What an answer makes of the lists that are known, each authority and scope for itself: nothing goes back to an older list, and one that
/// the answer says nothing of stays, also past its `nextUpdate`: what it has revoked it has revoked. Whoever stands between could put
/// together any lists that were ever signed.
fn renewed(known: &Lists, mut answer: Lists) -> Result<Lists, ListProblem> {
    let mut kept = Lists::new();
    for (list, signer) in known {
        match newest_of(&answer, list, *signer) {
            Some(newest) if newest < age(list) => return Err(ListProblem::Older),
            None => kept.push((Arc::clone(list), *signer)),
            Some(_) => {}
        }
    }
    if kept.len() > MOST_KEPT {
        return Err(ListProblem::TooMany);
    }
    answer.extend(kept);
    Ok(answer)
}

/// The age of the newest of the lists that speak of the same as this one.
fn newest_of(lists: &Lists, list: &CertificateRevocationList, signer: Thumbprint) -> Option<Age> {
    let same = lists.iter().filter(|(other, of)| *of == signer && other.scope() == list.scope());
    same.map(|(other, _)| age(other)).max()
}

/// The URLs of a certificate that can be fetched.
pub(super) fn fetchable(points: &[String]) -> impl Iterator<Item = &String> {
    let can_be = |url: &&String| url.len() <= URL_BYTES && is_fetchable(url);
    points.iter().filter(can_be).take(MOST_POINTS)
}

/// Whether a list can be fetched from there: `http`, since a list is signed, and `https`.
pub(super) fn is_fetchable(url: &str) -> bool {
    let parsed = url::Url::parse(url);
    parsed.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.username().is_empty() && url.password().is_none())
}

/// The authorities of a set, and those of `sent` that one of them has signed, or one that another of those has.
pub(super) fn accepted<'a>(own: &[Certificate], sent: impl Iterator<Item = &'a Certificate>) -> Vec<Certificate> {
    let mut sent: BTreeMap<Thumbprint, &Certificate> = sent.map(|sent| (sent.thumbprint(), sent)).collect();
    let mut accepted = own.to_vec();
    let mut asked = 0;
    while let Some(authority) = accepted.get(asked).cloned() {
        let signed: Vec<Certificate> =
            sent.values().filter(|sent| sent.is_signed_by(&authority)).map(|sent| (*sent).clone()).collect();
        for certificate in &signed {
            sent.remove(&certificate.thumbprint());
        }
        accepted.extend(signed);
        asked += 1;
    }
    accepted
}

/// The authority that signed a certificate of a path, where the client sent it.
pub(super) fn sent_authority(chain: &[CertificateDer<'static>], link: &Link) -> Option<Certificate> {
    let sent = chain.iter().find(|der| sha256(der) == *link.issuer_certificate.as_bytes())?;
    Certificate::from_der(sent.clone()).ok()
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
