//! What one gateway remembers of its browser sessions: the key that seals them, which have ended, and what became of those whose tokens
//! were renewed a moment ago. All of it ends with the process, the key first: no ended session comes back by a restart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use super::state::Session;
use crate::binding::ReplayCache;
use crate::domain::{Clock, Issuer, Lifetime, Randomness, RandomnessUnavailable, Redacted, SessionId, Subject, Timestamp};
use crate::event::Reason;
use crate::jose::digest::sha256;
use crate::resource::{AdmissionEnded, Condition};
use crate::seal::{DataKey, KeyRing};

/// Ended sessions that are remembered one by one.
const MAX_ENDED: usize = 100_000;
/// Those of one person. Whoever ends more has all sessions ended that have begun by then: nobody fills the list alone, and ends everybody
/// else's sessions by that.
const MAX_ENDED_OF_ONE: usize = 256;
/// Sessions whose last tokens are remembered.
const MAX_RENEWED: usize = 10_000;
/// Those of one person.
const MAX_RENEWED_OF_ONE: usize = 64;
/// Logout tokens that are remembered.
const MAX_LOGOUT_TOKENS: usize = 100_000;

/// Where a session's renewal happens, one at a time.
pub type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

/// One gateway's memory.
pub struct Memory {
    pub(super) ring: KeyRing,
    ended: RwLock<Ended>,
    /// So that nobody waits for a lock while nothing has ended.
    ended_count: AtomicUsize,
    bell: watch::Sender<()>,
    renewed: Mutex<HashMap<SessionId, Renewed>>,
    pub(super) logout_tokens: ReplayCache,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("ended", &self.ended_count).finish_non_exhaustive()
    }
}

/// Whose a session is, by digest.
type Owner = [u8; 32];

#[derive(Debug)]
struct Renewed {
    until: Timestamp,
    owner: Owner,
    slot: Slot,
}

#[derive(Debug, Default)]
struct Ended {
    /// By digest: sessions that began up to `begun` are over; kept until no such session could be open.
    entries: HashMap<[u8; 32], Entry>,
    /// Which of them a person has.
    of_one: HashMap<Owner, Vec<[u8; 32]>>,
    /// When there were too many to remember: whatever had begun by then is over.
    all_begun: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    begun: Timestamp,
    until: Timestamp,
}

/// What has ended.
#[derive(Clone, Copy, Debug)]
pub enum Over<'a> {
    /// One session of ours.
    Session(&'a SessionId),
    /// Every session of ours that hangs on this one of the provider's.
    ProviderSession(&'a Issuer, &'a SessionId),
    /// Every session of this person that has begun by now.
    Person(&'a Issuer, &'a Subject),
    /// Those of them of which the provider has not said on which of its own they hang.
    Unnamed(&'a Issuer, &'a Subject),
}

impl Over<'_> {
    fn digest(self) -> [u8; 32] {
        let (kind, issuer, name) = match self {
            Self::Session(id) => ("session", "", id.as_str()),
            Self::ProviderSession(issuer, sid) => ("sid", issuer.as_str(), sid.as_str()),
            Self::Person(issuer, subject) => ("sub", issuer.as_str(), subject.as_str()),
            Self::Unnamed(issuer, subject) => ("sub without sid", issuer.as_str(), subject.as_str()),
        };
        sha256(&[kind.as_bytes(), issuer.as_bytes(), name.as_bytes()].join(&0))
    }
}

/// The session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsOver;

impl Ended {
    fn insert(&mut self, digest: [u8; 32], begun: Timestamp, until: Timestamp) {
        // Kinds of sessions share this: the longest counts, and what was ended later.
        let known = self.entries.get(&digest);
        let entry = Entry {
            begun: known.map_or(begun, |known| known.begun.max(begun)),
            until: known.map_or(until, |known| known.until.max(until)),
        };
        self.entries.insert(digest, entry);
    }

    fn forget_what_is_past(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| now < entry.until);
        let entries = &self.entries;
        self.of_one.retain(|_, digests| {
            digests.retain(|digest| entries.contains_key(digest));
            !digests.is_empty()
        });
    }

    /// Counts an entry as one of this person's. The many of one become a single one.
    fn count(&mut self, owner: Owner, digest: [u8; 32], now: Timestamp) {
        let digests = self.of_one.entry(owner).or_default();
        if digests.contains(&digest) {
            return;
        }
        if digests.len() >= MAX_ENDED_OF_ONE {
            // Only those count whose sessions could still be open.
            digests.retain(|other| match self.entries.get(other) {
                Some(entry) if now < entry.until => true,
                _ => {
                    self.entries.remove(other);
                    false
                }
            });
        }
        if digests.len() < MAX_ENDED_OF_ONE {
            digests.push(digest);
            return;
        }
        let others = std::mem::replace(digests, vec![digest]);
        let until = others.iter().filter_map(|other| self.entries.remove(other)).map(|entry| entry.until).max();
        if let Some(until) = until {
            self.insert(owner, now, until);
        }
    }
}

impl Memory {
    /// An empty memory with a key of its own.
    ///
    /// # Errors
    /// When there is no randomness.
    #[allow(clippy::expect_used, reason = "the names are good ones")]
    pub fn new(clock: Arc<dyn Clock>, randomness: &dyn Randomness) -> Result<Self, RandomnessUnavailable> {
        let key = |name: &str| {
            let mut bytes = [0u8; 32];
            randomness.fill(&mut bytes)?;
            Ok(DataKey { id: name.parse().expect("a name"), key: Redacted::new(bytes) })
        };
        Ok(Self {
            ring: KeyRing::new(&key("gateway")?, &[], &key("lasting")?),
            ended: RwLock::default(),
            ended_count: AtomicUsize::new(0),
            bell: watch::Sender::new(()),
            renewed: Mutex::default(),
            logout_tokens: ReplayCache::new(MAX_LOGOUT_TOKENS, clock),
        })
    }

    /// Ends something now, of this person's where that is known. No session of this kind lives longer than `lifetime`.
    pub fn end(&self, over: Over<'_>, owner: Option<(&Issuer, &Subject)>, now: Timestamp, lifetime: Lifetime) {
        let (begun, owner) = match over {
            // One of each for a person.
            Over::Person(..) | Over::Unnamed(..) => (now, None),
            // Also one that is being opened at this moment.
            Over::Session(_) | Over::ProviderSession(..) => (Timestamp::from_seconds(i64::MAX), owner),
        };
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        if ended.entries.len() >= MAX_ENDED {
            ended.forget_what_is_past(now);
        }
        if ended.entries.len() >= MAX_ENDED {
            ended.entries.clear();
            ended.of_one.clear();
            ended.all_begun = Some(now);
        }
        let digest = over.digest();
        ended.insert(digest, begun, now.plus(lifetime));
        if let Some((issuer, subject)) = owner {
            ended.count(Over::Person(issuer, subject).digest(), digest, now);
        }
        self.ended_count.store(ended.entries.len() + usize::from(ended.all_begun.is_some()), Ordering::Release);
        drop(ended);
        self.bell.send_replace(());
    }

    /// Whether a session still stands, as far as anybody ended one.
    ///
    /// # Errors
    /// `IsOver`.
    pub fn check(&self, session: &Session, issuer: &Issuer) -> Result<(), IsOver> {
        if self.ended_count.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let hangs_on = match &session.provider_session {
            Some(sid) => Over::ProviderSession(issuer, sid),
            None => Over::Unnamed(issuer, &session.subject),
        };
        let names = [Over::Session(&session.id), hangs_on, Over::Person(issuer, &session.subject)];
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        let over = |over: Over<'_>| ended.entries.get(&over.digest()).is_some_and(|entry| session.begun <= entry.begun);
        let all = ended.all_begun.is_some_and(|all| session.begun <= all);
        if all || names.into_iter().any(over) { Err(IsOver) } else { Ok(()) }
    }

    /// Where the tokens of a session of this person's are renewed, and what they are since. Kept while it can be open, as far as there is
    /// room: whoever has many sessions loses their own, and no other person's.
    pub fn slot(&self, id: &SessionId, (issuer, subject): (&Issuer, &Subject), until: Timestamp, now: Timestamp) -> Slot {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = renewed.get(id) {
            return Arc::clone(&known.slot);
        }
        let owner = Over::Person(issuer, subject).digest();
        if renewed.len() >= MAX_RENEWED {
            renewed.retain(|_, renewed| now < renewed.until);
        }
        let own = renewed.values().filter(|renewed| renewed.owner == owner).count();
        let gives_way = if own >= MAX_RENEWED_OF_ONE {
            Some(owner)
        } else if renewed.len() >= MAX_RENEWED {
            let mut counts: HashMap<Owner, usize> = HashMap::new();
            for known in renewed.values() {
                *counts.entry(known.owner).or_default() += 1;
            }
            counts.into_iter().max_by_key(|(_, count)| *count).map(|(owner, _)| owner)
        } else {
            None
        };
        if let Some(gives_way) = gives_way {
            // The one that ends first, a browser that has its newer cookie does not need it; last one that is renewed at this moment.
            let theirs = renewed.iter().filter(|(_, renewed)| renewed.owner == gives_way);
            let first =
                theirs.min_by_key(|(_, renewed)| (Arc::strong_count(&renewed.slot), renewed.until)).map(|(id, _)| id.clone());
            first.map(|first| renewed.remove(&first));
        }
        let slot = Slot::default();
        renewed.insert(id.clone(), Renewed { until, owner, slot: Arc::clone(&slot) });
        slot
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }
}

/// An admission rests on its session: what still streams ends with it.
#[derive(Debug)]
pub struct Standing {
    pub(super) memory: Arc<Memory>,
    pub(super) session: Session,
    pub(super) issuer: Issuer,
    pub(super) until: Timestamp,
}

impl Condition for Standing {
    fn standing(&self, now: Timestamp) -> Result<Timestamp, Reason> {
        self.memory.check(&self.session, &self.issuer).map_err(|IsOver| Reason::GatewaySessionEnded)?;
        if self.until <= now { Err(Reason::GatewaySessionExpired) } else { Ok(self.until) }
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        self.memory.subscribe()
    }

    fn ended(&self, reason: Reason) -> AdmissionEnded {
        AdmissionEnded::Session(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ManualClock;
    use crate::jose::random::SystemRandomness;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const HOUR: Lifetime = Lifetime::from_seconds(3_600);

    fn session(id: &str, subject: &str, sid: Option<&str>, begun: i64) -> Session {
        Session {
            id: id.parse().expect("an id"),
            generation: 0,
            turn: 0,
            subject: subject.parse().expect("a subject"),
            provider_session: sid.map(|sid| sid.parse().expect("a session")),
            name: None,
            begun: Timestamp::from_seconds(NOW.seconds() + begun),
            seen: NOW,
            certificate: None,
            access_token: "token".into(),
            expires: NOW,
            refresh_token: None,
            id_token: "token".into(),
        }
    }

    fn memory() -> Memory {
        Memory::new(Arc::new(ManualClock::at(NOW)), &SystemRandomness).expect("randomness")
    }

    #[test]
    fn what_ended_is_over_and_nothing_else() {
        let (op, other): (Issuer, Issuer) =
            ("https://op.example".parse().expect("one"), "https://op2.example".parse().expect("one"));
        let bob = session("one", "bob", Some("s1"), -60);
        let table = [
            (Over::Session(&bob.id), session("two", "bob", Some("s1"), -60), true),
            (
                Over::ProviderSession(&op, bob.provider_session.as_ref().expect("one")),
                session("two", "bob", Some("s2"), -60),
                true,
            ),
            (Over::ProviderSession(&op, bob.provider_session.as_ref().expect("one")), session("two", "bob", None, -60), true),
            (Over::Person(&op, &bob.subject), session("two", "eve", Some("s1"), -60), true),
            (Over::Person(&op, &bob.subject), session("two", "bob", Some("s1"), 1), true),
            (Over::Person(&op, &bob.subject), session("two", "bob", Some("s2"), 0), false),
            (
                Over::ProviderSession(&op, bob.provider_session.as_ref().expect("one")),
                session("two", "eve", Some("s1"), 9),
                false,
            ),
        ];
        for (over, neighbour, stays) in table {
            let memory = memory();
            assert_eq!(memory.check(&bob, &op), Ok(()));
            memory.end(over, Some((&op, &bob.subject)), NOW, HOUR);
            assert_eq!(memory.check(&bob, &op), Err(IsOver), "{over:?}");
            assert_eq!(memory.check(&neighbour, &op).is_ok(), stays, "{over:?} {neighbour:?}");
            if !matches!(over, Over::Session(_)) {
                assert_eq!(memory.check(&bob, &other), Ok(()), "another issuer's");
            }
        }
    }

    /// Too many to remember: nobody's session comes back, others have to sign in again.
    #[test]
    fn a_full_list_forgets_no_end() {
        let op: Issuer = "https://op.example".parse().expect("an issuer");
        let memory = memory();
        let (ended, open, later) =
            (session("ended", "bob", None, -5), session("open", "eve", None, -5), session("later", "eve", None, 5));
        memory.end(Over::Session(&ended.id), None, NOW, HOUR);
        for number in 1..MAX_ENDED {
            memory.end(Over::Session(&format!("s{number}").parse().expect("an id")), None, NOW, HOUR);
        }
        assert_eq!((memory.check(&ended, &op), memory.check(&open, &op)), (Err(IsOver), Ok(())));
        memory.end(Over::Session(&"another".parse().expect("an id")), None, NOW, HOUR);
        assert_eq!((memory.check(&ended, &op), memory.check(&open, &op)), (Err(IsOver), Err(IsOver)));
        assert_eq!(memory.check(&later, &op), Ok(()));
    }

    /// Whoever signs in and out without end ends their own sessions, and nobody else's; none of theirs comes back.
    #[test]
    fn nobody_fills_the_list_alone() {
        let op: Issuer = "https://op.example".parse().expect("an issuer");
        let memory = memory();
        let neighbour = session("neighbour", "eve", None, -5);
        let name = |number: usize| session(&format!("s{number}"), "bob", None, -5);
        let bob = name(0).subject.clone();
        for number in 0..2 * MAX_ENDED {
            memory.end(Over::Session(&name(number).id), Some((&op, &bob)), NOW, HOUR);
        }
        assert!(memory.ended.read().expect("a list").entries.len() <= MAX_ENDED_OF_ONE + 1);
        assert_eq!(memory.check(&neighbour, &op), Ok(()));
        for number in [0, 1, MAX_ENDED_OF_ONE, MAX_ENDED, 2 * MAX_ENDED - 1] {
            assert_eq!(memory.check(&name(number), &op), Err(IsOver), "{number}");
        }
        assert_eq!(memory.check(&session("later", "bob", None, 1), &op), Ok(()), "a new sign-in counts");
    }

    /// Sign-outs of sessions that nobody could have open any more do not add up to the end of all of a person's sessions.
    #[test]
    fn what_is_past_does_not_count() {
        let op: Issuer = "https://op.example".parse().expect("an issuer");
        let memory = memory();
        let open = session("open", "bob", None, -5);
        for number in 0..=2 * MAX_ENDED_OF_ONE {
            let ended = session(&format!("s{number}"), "bob", None, -5);
            let day = i64::try_from(number).expect("a number") * 86_400;
            memory.end(Over::Session(&ended.id), Some((&op, &open.subject)), Timestamp::from_seconds(NOW.seconds() + day), HOUR);
        }
        assert_eq!(memory.check(&open, &op), Ok(()));
        assert!(memory.ended.read().expect("a list").entries.len() <= MAX_ENDED_OF_ONE);
    }

    /// What was renewed of one person's sessions is not pushed out by another's, however many those are.
    #[test]
    fn nobody_pushes_out_anothers_renewal() {
        let op: Issuer = "https://op.example".parse().expect("an issuer");
        let memory = memory();
        let until = |seconds| Timestamp::from_seconds(NOW.seconds() + seconds);
        let slot = |id: &str, subject: &str, seconds| {
            let (id, subject): (SessionId, Subject) = (id.parse().expect("an id"), subject.parse().expect("a subject"));
            memory.slot(&id, (&op, &subject), until(seconds), NOW)
        };
        // The one that ends first of all.
        let eves = slot("eves", "eve", 60);
        for number in 0..2 * MAX_RENEWED {
            slot(&format!("b{number}"), "bob", 3_600);
        }
        assert_eq!(memory.renewed.lock().expect("a map").len(), 1 + MAX_RENEWED_OF_ONE);
        assert!(Arc::ptr_eq(&eves, &slot("eves", "eve", 60)));
        // Full of many people's, the one with most gives way.
        for number in 0..MAX_RENEWED - 10 {
            slot(&format!("p{number}"), &format!("person-{number}"), 3_600);
        }
        assert_eq!(memory.renewed.lock().expect("a map").len(), MAX_RENEWED);
        assert!(Arc::ptr_eq(&eves, &slot("eves", "eve", 60)), "bob had more");
    }
}
