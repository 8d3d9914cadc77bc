//! Revocation lists that are fetched: from where, when again, and what came of it. Nothing here fetches.
//!
//! A URL comes from the operator, or from a certificate that one of the set's authorities has signed: of the set itself, or of a client once
//! a path from it has verified. Nobody else can make this process fetch anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;

use crate::domain::{Lifetime, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::digest::sha256;
use crate::pki::Certificate;
use crate::pki::crl::{CertificateRevocationList, CrlError};
use crate::pki::path::{Link, Path};
use crate::pki::pem;

use super::RevocationLists;
use super::revocation_list::NamedBy;

/// URLs that one set fetches from. What certificates name beyond is not fetched.
const MOST_PLACES: usize = 1_024;
/// URLs that count of one certificate, and bytes of each.
const MOST_POINTS: usize = 8;
const URL_BYTES: usize = 2_048;
/// How long an answer is waited for before the same URL is tried again, whatever the client's own limits are.
pub(super) const UNDER_WAY: Lifetime = Lifetime::from_seconds(120);
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
    /// It is older than the one that was fetched before, which stays.
    #[error("it is older than the one that was fetched before")]
    Older,
}

impl ListProblem {
    /// The private reason, of a request that needed the list.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Pending | Self::Fetch(_) => Reason::CertificateRevocationUnreachable,
            Self::Encoding(_) => Reason::CertificateRevocationMalformed,
            Self::List(error) => error.reason(),
            Self::Older => Reason::CertificateRevocationStale,
        }
    }
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
}

impl Place {
    fn new(named_by: NamedBy) -> Self {
        let due = Timestamp::from_seconds(0);
        Self { named_by, authorities: Vec::new(), lists: Vec::new(), problem: Some(ListProblem::Pending), due, failures: 0 }
    }

    fn is_pending(&self) -> bool {
        self.problem == Some(ListProblem::Pending)
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
}

impl DistributionPoints {
    pub(super) fn new(fetching: ListFetching, authorities: Vec<Certificate>) -> Self {
        let configured = fetching.urls.iter().map(|url| (url.clone(), Place::new(NamedBy::Operator)));
        let mut places: BTreeMap<String, Place> = configured.collect();
        if fetching.named_by_certificates {
            let named = authorities.iter().flat_map(|authority| fetchable(authority.distribution_points()));
            for url in named.take(MOST_PLACES) {
                places.entry(url.clone()).or_insert_with(|| Place::new(NamedBy::Certificate));
            }
        }
        Self { fetching, authorities, places: ArcSwap::from_pointee(places), changing: Mutex::new(()) }
    }

    /// Changes the places.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Place>) -> T) -> T {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = BTreeMap::clone(&self.places.load());
        let result = change(&mut places);
        self.places.store(Arc::new(places));
        result
    }

    /// The lists of the files with those that were fetched.
    pub(super) fn joined(&self, files: &RevocationLists) -> RevocationLists {
        let places = self.places.load();
        let problem = |(url, place): (&String, &Place)| Some((url.clone(), (place.problem.clone()?, place.named_by)));
        files.joined(places.values().flat_map(|place| place.lists.clone()), places.iter().filter_map(problem).collect())
    }

    /// Takes note of what a path's certificates name, of which no list in force speaks. `None` when nothing is waited for; else whether a
    /// URL is new.
    pub(super) fn note(
        &self,
        lists: &RevocationLists,
        path: &Path,
        chain: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Option<bool> {
        let missing: Vec<&Link> = path.links().iter().filter(|link| !lists.speaks_of(link, now)).collect();
        if missing.is_empty() {
            return None;
        }
        let places = self.places.load();
        let is_new = |url: &&String| self.fetching.named_by_certificates && !places.contains_key(*url);
        let has_new = missing.iter().any(|link| fetchable(&link.points).any(|url| is_new(&url)));
        let adds = has_new && places.len() < MOST_PLACES;
        if adds {
            self.change(|places| {
                for link in &missing {
                    for url in fetchable(&link.points) {
                        if places.len() < MOST_PLACES {
                            let place = places.entry(url.clone()).or_insert_with(|| Place::new(NamedBy::Certificate));
                            let sent = sent_authority(chain, link).filter(|sent| !place.authorities.contains(sent));
                            place.authorities.extend(sent);
                        }
                    }
                }
            });
        }
        let places = self.places.load();
        let operators = places.values().any(|place| place.named_by == NamedBy::Operator && place.is_pending());
        let is_pending = |url: &String| places.get(url).is_some_and(Place::is_pending);
        let awaits = operators || missing.iter().any(|link| link.points.iter().any(is_pending));
        awaits.then_some(adds)
    }

    /// The URLs that are to be fetched now, and whether the operator named each. They are not given again before an answer, or before
    /// one would have come.
    pub(super) fn take_due(&self, now: Timestamp) -> Vec<(String, bool)> {
        if self.places.load().values().all(|place| place.due > now) {
            return Vec::new();
        }
        self.change(|places| {
            let due = places.iter_mut().filter(|(_, place)| place.due <= now);
            due.map(|(url, place)| {
                place.due = now.plus(UNDER_WAY);
                (url.clone(), place.named_by == NamedBy::Operator)
            })
            .collect()
        })
    }

    /// Whether there is a list from a URL.
    pub(super) fn knows(&self, url: &str) -> bool {
        self.places.load().get(url).is_some_and(|place| !place.lists.is_empty())
    }

    /// Takes what came from a URL.
    pub(super) fn take_in(&self, url: &str, answer: Result<&[u8], String>, now: Timestamp) -> Result<(), ListProblem> {
        let Some(known) = self.places.load().get(url).cloned() else { return Ok(()) };
        let read = answer.map_err(ListProblem::Fetch).and_then(|bytes| self.read(bytes, &known));
        self.change(|places| {
            let Some(place) = places.get_mut(url) else { return Ok(()) };
            match read {
                Ok(lists) => {
                    place.due = now.plus(self.until_next(&lists, now));
                    (place.lists, place.problem, place.failures) = (lists, None, 0);
                    Ok(())
                }
                Err(problem) => {
                    let pause = AFTER_FAILURE_SECONDS << place.failures.min(MOST_DOUBLINGS);
                    place.due = now.plus(Lifetime::from_seconds(pause).min(self.fetching.refresh));
                    (place.problem, place.failures) = (Some(problem.clone()), place.failures.saturating_add(1));
                    Err(problem)
                }
            }
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
        let newest = |lists: &Lists| lists.iter().map(|(list, _)| list.this_update()).max();
        if newest(&lists) < newest(&place.lists) { Err(ListProblem::Older) } else { Ok(lists) }
    }

    /// After three quarters of what is left until the first list is too old, so that there is time for trying again.
    fn until_next(&self, lists: &Lists, now: Timestamp) -> Lifetime {
        let ends = lists.iter().map(|(list, _)| list.next_update()).min();
        let left = ends.map_or(0, |ends| ends.seconds_since(now));
        let soon = u32::try_from(left.saturating_mul(3) / 4).unwrap_or(u32::MAX).max(1);
        Lifetime::from_seconds(if left == 0 { AFTER_FAILURE_SECONDS } else { soon }).min(self.fetching.refresh)
    }
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

/// The authority that signed a certificate of a path, where the client sent it.
pub(super) fn sent_authority(chain: &[CertificateDer<'static>], link: &Link) -> Option<Certificate> {
    let sent = chain.iter().find(|der| sha256(der) == *link.issuer_certificate.as_bytes())?;
    Certificate::from_der(sent.clone()).ok()
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use super::*;
    use crate::pki::fixture::{Authority, Identity, ListParams, NOW};
    use crate::trust::{AnchorSet, RevocationLists, RevocationMode};

    fn seconds(count: u32) -> Lifetime {
        Lifetime::from_seconds(count)
    }

    fn pointed(authority: &Authority, name: &str, urls: &[String]) -> Identity {
        authority.leaf(name, |params| {
            params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris: urls.to_vec() }];
        })
    }

    fn set(root: &Authority, urls: &[&str], refresh: u32) -> AnchorSet {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        let fetching = ListFetching { urls, named_by_certificates: true, refresh: seconds(refresh) };
        let none: [(CertificateRevocationList, Thumbprint); 0] = [];
        AnchorSet::new("clients", vec![root.certificate.clone()], vec![])
            .expect("a set")
            .with_revocation_lists(RevocationLists::new(RevocationMode::Hard, none))
            .with_list_fetching(fetching, vec![root.certificate.clone()])
    }

    fn judged(set: &AnchorSet, identity: &Identity, now: Timestamp) -> Result<(), Reason> {
        let path = set.path(&identity.certificate, &[], now).expect("a path");
        set.revocation_lists().check(&path, now).map(|_| ()).map_err(|error| error.reason())
    }

    fn awaits(set: &AnchorSet, identity: &Identity, now: Timestamp) -> bool {
        set.path(&identity.certificate, &[], now).is_ok_and(|path| set.awaits_lists(&path, &[], now))
    }

    const URL: &str = "http://lists.example/ca.crl";

    /// Ahead of need: after the set's own interval, or three quarters of the time that the list is still good for; sooner after a failure,
    /// and later with each one.
    #[test]
    fn lists_are_due_before_they_are_too_old() {
        let root = Authority::new("Root");
        let due_after = |set: &AnchorSet, from: Timestamp| {
            (0..=100_000).map(seconds).find(|wait| !set.due_lists(from.plus(*wait)).is_empty()).map(Lifetime::seconds)
        };
        let list = |life: u32| root.revocation_list(|list: &mut ListParams| list.next_update = Some(NOW.plus(seconds(life))));
        for (life, refresh, expected) in [(1_000, 3_600, 750), (1_000, 100, 100), (100_000, 3_600, 3_600), (4, 3_600, 3)] {
            let set = set(&root, &[URL], refresh);
            assert_eq!(set.due_lists(NOW), [(URL.to_owned(), true)]);
            assert_eq!(set.due_lists(NOW), [], "it is under way");
            set.take_list(URL, Ok(&list(life)), NOW).expect("a list");
            assert_eq!(due_after(&set, NOW), Some(expected), "{life} {refresh}");
        }
        let set = set(&root, &[URL], 3_600);
        let mut now = NOW;
        for expected in [15, 30, 60, 120, 240, 240] {
            set.take_list(URL, Err("down".into()), now).expect_err("down");
            assert_eq!(due_after(&set, now), Some(expected));
            now = now.plus(seconds(expected));
        }
        set.take_list(URL, Ok(&list(90_000)), now).expect("a list");
        assert_eq!(due_after(&set, now), Some(3_600));
        set.take_list("http://another.example/", Ok(&list(90_000)), now).expect("nobody asked, nothing is taken");
    }

    /// What a verified certificate names is asked for once, and not at all where a list in force speaks of it; a URL that cannot be fetched is
    /// no URL, and there is a bound.
    #[test]
    fn what_is_named_is_noted_once() {
        let root = Authority::new("Root");
        let set = set(&root, &[], 3_600);
        let alice = pointed(&root, "alice", &[URL.into(), "ldap://lists.example/".into(), "http://u:p@lists.example/".into()]);
        assert_eq!(judged(&set, &alice, NOW), Err(Reason::CertificateRevocationUnknown));
        assert!(awaits(&set, &alice, NOW));
        assert_eq!(judged(&set, &alice, NOW), Err(Reason::CertificateRevocationUnreachable), "not asked yet");
        assert_eq!(set.due_lists(NOW), [(URL.to_owned(), false)]);
        set.take_list(URL, Err("down".into()), NOW).expect_err("down");
        assert!(!awaits(&set, &alice, NOW), "it was asked for");
        assert_eq!(judged(&set, &alice, NOW), Err(Reason::CertificateRevocationUnreachable));
        set.take_list(URL, Ok(&root.revocation_list(|_| {})), NOW).expect("a list");
        assert_eq!(judged(&set, &alice, NOW), Ok(()));
        let bob = pointed(&root, "bob", &["http://lists.example/bob.crl".into()]);
        assert!(!awaits(&set, &bob, NOW), "the list without partition speaks of it");
        let late = NOW.plus(seconds(1_001));
        assert_eq!(judged(&set, &alice, late), Err(Reason::CertificateRevocationStale));
        assert!(awaits(&set, &bob, late), "it does no more");
        // An older list than the known one is not taken.
        let older = root.revocation_list(|list: &mut ListParams| list.this_update = NOW.minus(seconds(200)));
        assert_eq!(set.take_list(URL, Ok(&older), NOW), Err(ListProblem::Older));
        assert_eq!(judged(&set, &alice, NOW), Ok(()));
        // A bound on what all certificates together name.
        let many: Vec<String> = (0..MOST_POINTS + 5).map(|number| format!("http://lists.example/{number}")).collect();
        let set = self::set(&root, &[], 3_600);
        assert!(awaits(&set, &pointed(&root, "carol", &many), NOW));
        assert_eq!(set.due_lists(NOW).len(), MOST_POINTS);
    }

    /// The list of an authority that only the client sent is verified with that one's key, and with no certificate that merely has it.
    #[test]
    fn an_authority_that_the_client_sent_may_sign() {
        let root = Authority::new("Root");
        let intermediate = root.intermediate("Intermediate", |_| {});
        let alice = pointed(&intermediate, "alice", &[URL.into()]);
        let set = set(&root, &[], 3_600);
        let chain = [intermediate.certificate.der().clone()];
        let path = set.path(&alice.certificate, &chain, NOW).expect("a path");
        assert!(set.awaits_lists(&path, &chain, NOW));
        let twin = Authority::new("Intermediate").revocation_list(|_| {});
        let error = set.take_list(URL, Ok(&twin), NOW).expect_err("another key");
        assert_eq!(error.reason(), Reason::CertificateRevocationSigner);
        set.take_list(URL, Ok(&intermediate.revocation_list(|_| {})), NOW).expect("its own");
        // The intermediate itself is the root's to revoke, whose list is still missing.
        let checked = set.revocation_lists().check(&path, NOW).map_err(|error| error.reason());
        assert_eq!(checked, Err(Reason::CertificateRevocationUnknown));
    }
}
