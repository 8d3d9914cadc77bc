//! Several upstreams of one route: whose turn it is, and who is set aside for now.
//!
//! An upstream is set aside after so many failures in a row, for a while, and then tried with one request before it is taken for good
//! again; or while its health check fails. When none is left, requests are answered at once instead of waiting for each to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::uri::PathAndQuery;

use super::upstream::Upstream;
use crate::domain::Clock;

/// The sum of all weights, at most.
pub const MAX_WEIGHTS: u32 = 1_000;

/// When an upstream is set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRules {
    /// After so many failures in a row; never, where there is none.
    pub failures: Option<u32>,
    /// For how long.
    pub rest: Duration,
    /// What is asked for to see whether it is well, and how often.
    pub check: Option<(PathAndQuery, Duration)>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, with whatever status.
    Answered,
    /// It could not be connected to, broke off before its answer, or did not answer in time.
    Failed,
}

/// What tells upstreams apart in the log.
pub trait Named {
    /// `HOST[:PORT]`.
    fn name(&self) -> &str;
}

impl Named for Upstream {
    fn name(&self) -> &str {
        self.authority().as_str()
    }
}

/// The upstreams of a route.
#[derive(Debug)]
pub struct Upstreams<U = Upstream> {
    members: Vec<Member<U>>,
    /// Indices of members, each as often as its weight says, evenly spread.
    schedule: Vec<usize>,
    turn: AtomicUsize,
    rules: HealthRules,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Member<U> {
    upstream: U,
    weight: u32,
    failures: AtomicU32,
    /// Monotonic milliseconds; 0 when it is not set aside.
    rests_until: AtomicU64,
    /// Whether its last health check failed.
    unwell: AtomicBool,
}

/// The upstream whose turn it is. Dropped without a word of what came of it, it is as if it had not been chosen.
#[derive(Debug)]
pub struct Chosen<'a, U = Upstream> {
    index: usize,
    upstreams: &'a Upstreams<U>,
    member: &'a Member<U>,
    trial: Option<Trial>,
}

/// The one request that an upstream which has rested gets: until when it had rested, and until when it rests if nothing is heard.
#[derive(Clone, Copy, Debug)]
struct Trial {
    was: u64,
    is: u64,
}

impl<U> Drop for Chosen<'_, U> {
    fn drop(&mut self) {
        if let Some(Trial { was, is }) = self.trial {
            // Unless somebody has reported meanwhile.
            let _ = self.member.rests_until.compare_exchange(is, was, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Whether a member may have a request.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Any,
    One(Trial),
}

impl<'a, U: Named> Chosen<'a, U> {
    /// The upstream.
    pub const fn upstream(&self) -> &'a U {
        &self.member.upstream
    }

    /// Its place among those of the route.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// What came of it.
    pub fn came(mut self, outcome: Outcome) {
        self.trial = None;
        let Some(limit) = self.upstreams.rules.failures else { return };
        match outcome {
            Outcome::Answered => {
                self.member.failures.store(0, Ordering::Relaxed);
                if self.member.rests_until.swap(0, Ordering::Relaxed) != 0 {
                    tracing::info!(upstream = self.member.upstream.name(), "upstream answers again");
                }
            }
            Outcome::Failed => {
                let failures = self.member.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                if failures >= limit {
                    self.member.rests_until.store(self.upstreams.rest_ends(), Ordering::Relaxed);
                    if failures == limit {
                        tracing::warn!(upstream = self.member.upstream.name(), failures, "upstream set aside");
                    }
                }
            }
        }
    }
}

impl<U: Named> Upstreams<U> {
    /// With these weights, all of them well. `members` must not be empty; a weight of 0 is one of 1.
    pub fn new(members: Vec<(U, u32)>, rules: HealthRules, clock: Arc<dyn Clock>) -> Self {
        let weights: Vec<u32> = members.iter().map(|(_, weight)| (*weight).max(1)).collect();
        let member = |(upstream, weight): (U, u32)| Member {
            upstream,
            weight: weight.max(1),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            unwell: AtomicBool::new(false),
        };
        Self {
            schedule: schedule(&weights),
            members: members.into_iter().map(member).collect(),
            turn: AtomicUsize::new(0),
            rules,
            clock,
        }
    }

    /// The next whose turn it is, that was not tried for this request and is not set aside.
    pub fn choose(&self, tried: &[usize]) -> Option<Chosen<'_, U>> {
        let length = self.schedule.len();
        // Who is tried again has had its turn.
        let start = match (length, tried) {
            (0 | 1, _) => 0,
            (_, []) => self.turn.fetch_add(1, Ordering::Relaxed),
            (_, _) => self.turn.load(Ordering::Relaxed),
        };
        for offset in 0..length {
            let index = *self.schedule.get(start.wrapping_add(offset) % length)?;
            let member = self.members.get(index)?;
            if tried.contains(&index) {
                continue;
            }
            if let Some(takes) = self.takes(member) {
                let trial = match takes {
                    Takes::Any => None,
                    Takes::One(trial) => Some(trial),
                };
                return Some(Chosen { index, upstreams: self, member, trial });
            }
        }
        None
    }

    /// Whether a member may have a request now. One that has rested gets a single one, until that is answered.
    fn takes(&self, member: &Member<U>) -> Option<Takes> {
        if member.unwell.load(Ordering::Relaxed) {
            return None;
        }
        let was = member.rests_until.load(Ordering::Relaxed);
        if was == 0 {
            return Some(Takes::Any);
        }
        if self.now() < was {
            return None;
        }
        let is = self.rest_ends();
        member.rests_until.compare_exchange(was, is, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        Some(Takes::One(Trial { was, is }))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn rest_ends(&self) -> u64 {
        self.now().saturating_add(u64::try_from(self.rules.rest.as_millis()).unwrap_or(u64::MAX)).max(1)
    }

    /// Each upstream with its weight.
    pub fn members(&self) -> impl Iterator<Item = (&U, u32)> {
        self.members.iter().map(|member| (&member.upstream, member.weight))
    }

    /// When they are set aside.
    pub const fn rules(&self) -> &HealthRules {
        &self.rules
    }
}

impl Upstreams {
    /// Asks each upstream for the path of its health check: for ever, or not at all where there is none.
    pub async fn watch(&self) {
        let Some((path, every)) = &self.rules.check else { return };
        // Side by side: one that hangs keeps nobody from being seen.
        join_all(self.members.iter().map(|member| member.watch(path, *every))).await;
    }
}

impl Member<Upstream> {
    async fn watch(&self, path: &PathAndQuery, every: Duration) {
        loop {
            let well = self.upstream.is_well(path, every).await;
            if self.unwell.swap(!well, Ordering::Relaxed) == well {
                let upstream = self.upstream.authority();
                match well {
                    true => tracing::info!(%upstream, "upstream is well again"),
                    false => tracing::warn!(%upstream, "upstream fails its health check"),
                }
            }
            tokio::time::sleep(every).await;
        }
    }
}

/// Each index as often as its weight says, evenly spread: whoever is furthest behind its share comes next.
fn schedule(weights: &[u32]) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0i64; weights.len()];
    let mut schedule = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        // The first of those with the most.
        let Some((next, most)) = credit.iter_mut().enumerate().rev().max_by_key(|(_, credit)| **credit) else { break };
        *most -= total;
        schedule.push(next);
    }
    schedule
}

const fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that fails")]
mod tests {
    use super::*;
    use crate::domain::{Lifetime, ManualClock, Timestamp};
    use crate::gateway::upstream::{Protocol, UpstreamSpec};

    #[test]
    fn weights_are_spread_evenly() {
        assert_eq!(schedule(&[1]), [0]);
        assert_eq!(schedule(&[2, 2]), [0, 1]);
        assert_eq!(schedule(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(schedule(&[500, 300, 200]), [0, 1, 2, 0, 0, 1, 0, 2, 1, 0]);
    }

    fn upstreams(weights: &[u32], clock: &Arc<ManualClock>) -> Upstreams {
        let one = |weight: &u32| {
            let spec = UpstreamSpec {
                url: "http://127.0.0.1:1",
                tls: None,
                server_name: None,
                protocol: Protocol::Http1,
                timeout: Duration::from_secs(1),
                connect_timeout: Duration::from_secs(1),
                stall: None,
            };
            (Upstream::new(spec).expect("an upstream"), *weight)
        };
        let rules = HealthRules { failures: Some(2), rest: Duration::from_secs(10), check: None };
        Upstreams::new(weights.iter().map(one).collect(), rules, clock.clone())
    }

    #[tokio::test]
    async fn who_fails_is_set_aside_and_tried_again_with_one_request() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000)));
        let upstreams = upstreams(&[1, 1], &clock);
        let turn = || upstreams.choose(&[]).map(|chosen| chosen.index());
        assert_eq!([turn(), turn(), turn()], [Some(0), Some(1), Some(0)]);
        assert_eq!(upstreams.choose(&[0]).map(|chosen| chosen.index()), Some(1));
        assert!(upstreams.choose(&[0, 1]).is_none(), "each is tried once");
        let fail = |other: usize| upstreams.choose(&[other]).expect("one").came(Outcome::Failed);
        fail(1);
        upstreams.choose(&[1]).expect("one").came(Outcome::Answered);
        fail(1);
        assert_eq!([turn(), turn()].iter().flatten().sum::<usize>(), 1, "an answer in between counts");
        fail(1);
        assert_eq!([turn(), turn(), turn()], [Some(1); 3]);
        fail(0);
        fail(0);
        assert_eq!([turn(), turn()], [None; 2]);
        clock.advance(Lifetime::from_seconds(10));
        let given_up = [upstreams.choose(&[1]).expect("a trial"), upstreams.choose(&[0]).expect("a trial")];
        assert_eq!([turn(), turn()], [None; 2], "one request each");
        drop(given_up);
        let trials = [upstreams.choose(&[]).expect("the place is given back"), upstreams.choose(&[]).expect("also of the other")];
        assert_eq!(turn(), None, "one request each");
        for trial in trials {
            trial.came(Outcome::Failed);
        }
        assert_eq!([turn(), turn()], [None; 2]);
        clock.advance(Lifetime::from_seconds(10));
        let chosen = upstreams.choose(&[1]).expect("again");
        chosen.came(Outcome::Answered);
        upstreams.choose(&[0]).expect("also the other").came(Outcome::Failed);
        assert_eq!([turn(), turn(), turn()], [Some(0); 3], "well again");
    }
}
