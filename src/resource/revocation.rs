//! What is known of an authorization server's revocation rules, and since when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::domain::Lifetime;
use crate::trust::revocation::{RevocationRule, RevocationRules};

/// The rules of one authorization server, replaced as its feed tells. Read without a lock.
#[derive(Debug)]
pub struct Revocations {
    rules: ArcSwap<RevocationRules>,
    /// When it was last certain that no rule is missing: monotonic milliseconds plus one; zero for never.
    heard: AtomicU64,
    changed: watch::Sender<()>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl Revocations {
    /// No rules, and nothing heard yet: stale.
    pub fn new() -> Self {
        Self {
            rules: ArcSwap::from_pointee(RevocationRules::default()),
            heard: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        }
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<RevocationRules> {
        self.rules.load_full()
    }

    /// Puts other rules in force; open streams are judged again.
    pub fn replace(&self, rules: RevocationRules) {
        self.rules.store(Arc::new(rules));
        self.changed.send_replace(());
    }

    /// Adds rules to those in force.
    pub fn add(&self, rules: Vec<RevocationRule>) {
        if !rules.is_empty() {
            self.replace(self.rules.load().with(rules));
        }
    }

    /// At this moment no rule was missing.
    pub fn heard(&self, monotonic: Duration) {
        let milliseconds = u64::try_from(monotonic.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.heard.fetch_max(milliseconds, Ordering::AcqRel);
    }

    /// How long ago no rule was missing; `None` when that was never certain.
    pub fn age(&self, monotonic: Duration) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Acquire).checked_sub(1)?;
        Some(monotonic.saturating_sub(Duration::from_millis(heard)))
    }

    /// Told whenever the rules change.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// What happens when rules may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// Refuse when it was longer ago than this that none was missing.
    RefuseAfter(Lifetime),
    /// Go on with what is known.
    Serve,
}

impl Staleness {
    /// Whether rules of this age may be relied on.
    pub(super) fn check(self, age: Option<Duration>) -> Result<(), Stale> {
        match (self, age) {
            (Self::Serve, _) => Ok(()),
            (Self::RefuseAfter(limit), Some(age)) if age <= limit.as_duration() => Ok(()),
            (Self::RefuseAfter(_), _) => Err(Stale),
        }
    }
}

/// Rules may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_heard_is_stale() {
        let revocations = Revocations::new();
        let limit = Staleness::RefuseAfter(Lifetime::from_seconds(60));
        let at = Duration::from_secs;
        assert_eq!(limit.check(revocations.age(at(0))), Err(Stale));
        assert_eq!(Staleness::Serve.check(revocations.age(at(0))), Ok(()));
        revocations.heard(at(0));
        assert_eq!(limit.check(revocations.age(at(60))), Ok(()));
        assert_eq!(limit.check(revocations.age(at(61))), Err(Stale));
        revocations.heard(at(50));
        revocations.heard(at(40));
        assert_eq!(revocations.age(at(60)), Some(at(10)));
    }
}
