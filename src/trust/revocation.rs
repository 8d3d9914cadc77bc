//! Revocation rules: what an issuer has taken back before it expired.
//!
//! A rule names tokens by one property and hits those issued at or before a moment. It is kept for as long as anything it can hit is
//! alive. Values are those of one issuer: each issuer has its own [`RevocationRules`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{ClientId, Thumbprint, Timestamp};
pub use crate::domain::{RevocationRule, RuleKind, RuleKindUnknown};
use crate::event::Reason;
use crate::pki::crl::Serial;
use crate::pki::{Certificate, DistinguishedName};
use crate::token::TokenFacts;

/// Proof that no rule known at this sequence hits the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRevoked {
    sequence: i64,
}

impl NotRevoked {
    /// The sequence of the rules that were asked.
    pub const fn sequence(self) -> i64 {
        self.sequence
    }
}

/// A rule hits the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revoked by rule {sequence} on its {kind}")]
pub struct Revoked {
    /// The rule's kind.
    pub kind: RuleKind,
    /// The rule's place in the change feed.
    pub sequence: i64,
}

impl Revoked {
    /// The private reason.
    pub const fn reason(&self) -> Reason {
        Reason::TokenRevoked
    }
}

/// A rule names the certificate itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is revoked by rule {sequence}")]
pub struct CertificateRevoked {
    /// The rule's place in the change feed.
    pub sequence: i64,
}

impl CertificateRevoked {
    /// The private reason.
    pub const fn reason(&self) -> Reason {
        Reason::CertificateRevoked
    }
}

#[derive(Clone, Copy, Debug)]
struct Effect {
    before: Timestamp,
    expires: Timestamp,
    sequence: i64,
    lifted: bool,
}

impl Effect {
    /// Two rules on one value: whatever either hits is hit, unless one was taken back: then the later one counts.
    fn joined(self, other: Self) -> Self {
        if self.lifted || other.lifted {
            return if self.sequence < other.sequence { other } else { self };
        }
        Self {
            before: self.before.max(other.before),
            expires: self.expires.max(other.expires),
            sequence: self.sequence.max(other.sequence),
            lifted: false,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Index([HashMap<Box<str>, Effect>; RuleKind::ALL.len()]);

impl Index {
    fn len(&self) -> usize {
        self.0.iter().map(HashMap::len).sum()
    }

    fn of(&self, kind: RuleKind) -> Option<&HashMap<Box<str>, Effect>> {
        self.0.get(kind as usize)
    }

    fn insert(&mut self, kind: RuleKind, value: Box<str>, effect: Effect) {
        if let Some(map) = self.0.get_mut(kind as usize) {
            map.entry(value).and_modify(|present| *present = present.joined(effect)).or_insert(effect);
        }
    }
}

/// The rules of one issuer: an immutable snapshot, asked on every request and replaced as a whole.
///
/// Most rules stand in `settled`, which snapshots share; the latest stand in `recent`, which is copied with each change and becomes
/// part of `settled` when it has grown. So a change costs about the square root of the number of rules.
#[derive(Clone, Debug, Default)]
pub struct RevocationRules {
    settled: Arc<Index>,
    recent: Index,
    sequence: i64,
}

impl RevocationRules {
    /// `recent` may always grow to this many rules.
    const RECENT: usize = 256;

    /// A snapshot of these rules.
    pub fn from_rules(rules: impl IntoIterator<Item = RevocationRule>) -> Self {
        let (mut settled, mut sequence) = (Index::default(), 0);
        for rule in rules {
            sequence = sequence.max(rule.sequence);
            let (kind, value, effect) = parts(rule);
            settled.insert(kind, value, effect);
        }
        Self { settled: Arc::new(settled), recent: Index::default(), sequence }
    }

    /// These rules and some more.
    #[must_use]
    pub fn with(&self, rules: impl IntoIterator<Item = RevocationRule>) -> Self {
        let mut next = self.clone();
        for rule in rules {
            next.sequence = next.sequence.max(rule.sequence);
            let (kind, value, effect) = parts(rule);
            next.recent.insert(kind, value, effect);
        }
        if next.recent.len() > Self::RECENT.max(next.settled.len().isqrt()) {
            next.settle();
        }
        next
    }

    fn settle(&mut self) {
        let recent = std::mem::take(&mut self.recent);
        let settled = Arc::make_mut(&mut self.settled);
        for (kind, map) in RuleKind::ALL.into_iter().zip(recent.0) {
            for (value, effect) in map {
                settled.insert(kind, value, effect);
            }
        }
    }

    /// The highest sequence among the rules that were ever part of this line of snapshots.
    pub const fn sequence(&self) -> i64 {
        self.sequence
    }

    /// These rules, known to be complete up to `sequence` although the changes in between were no rules.
    #[must_use]
    pub fn at_sequence(mut self, sequence: i64) -> Self {
        self.sequence = self.sequence.max(sequence);
        self
    }

    /// How many values are named.
    pub fn len(&self) -> usize {
        self.settled.len() + self.recent.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Without the rules that can hit nothing alive any more. The sequence stays.
    #[must_use]
    pub fn without_expired(&self, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.settle();
        for map in &mut Arc::make_mut(&mut next.settled).0 {
            map.retain(|_, effect| effect.expires > now);
        }
        next
    }

    /// Judges a token. One without `iat` counts as issued before every rule.
    ///
    /// # Errors
    /// [`Revoked`], naming the rule.
    pub fn check(&self, facts: &TokenFacts) -> Result<NotRevoked, Revoked> {
        let certificate = facts.certificate().map(Thumbprint::to_string);
        let values = [
            (RuleKind::TokenId, facts.token_id.as_ref().map(AsRef::as_ref)),
            (RuleKind::Family, facts.family.as_ref().map(AsRef::as_ref)),
            (RuleKind::Client, facts.client_id.as_ref().map(AsRef::as_ref)),
            (RuleKind::Subject, facts.subject.as_ref().map(AsRef::as_ref)),
            (RuleKind::Certificate, certificate.as_deref()),
            (RuleKind::Key, facts.key_id.as_ref().map(AsRef::as_ref)),
        ];
        for (kind, value) in values {
            let Some(effect) = value.and_then(|value: &str| self.effect(kind, value)) else { continue };
            if facts.issued_at.is_none_or(|issued_at| issued_at <= effect.before) {
                return Err(Revoked { kind, sequence: effect.sequence });
            }
        }
        Ok(NotRevoked { sequence: self.sequence })
    }

    /// Judges a certificate as such: one that a rule names, by itself, by its number or by its key, is nobody's proof any more, whatever
    /// was issued before or after.
    ///
    /// # Errors
    /// [`CertificateRevoked`], naming the rule.
    pub fn check_certificate(&self, certificate: &Certificate) -> Result<(), CertificateRevoked> {
        for kind in [RuleKind::Certificate, RuleKind::CertificateKey, RuleKind::CertificateSerial] {
            // Mostly there are no rules of a kind, and nothing is written out.
            if self.has(kind)
                && let Some(value) = certificate_value(kind, certificate)
                && let Some(effect) = self.effect(kind, &value)
            {
                return Err(CertificateRevoked { sequence: effect.sequence });
            }
        }
        Ok(())
    }

    fn has(&self, kind: RuleKind) -> bool {
        [&*self.settled, &self.recent].into_iter().filter_map(|index| index.of(kind)).any(|map| !map.is_empty())
    }

    /// Judges what was given to a client at a moment, or hangs on something that was.
    ///
    /// # Errors
    /// [`Revoked`], naming the rule.
    pub fn check_client(&self, client_id: &ClientId, given: Timestamp) -> Result<NotRevoked, Revoked> {
        match self.effect(RuleKind::Client, client_id.as_str()) {
            Some(effect) if given <= effect.before => Err(Revoked { kind: RuleKind::Client, sequence: effect.sequence }),
            _ => Ok(NotRevoked { sequence: self.sequence }),
        }
    }

    fn effect(&self, kind: RuleKind, value: &str) -> Option<Effect> {
        let find = |index: &Index| index.of(kind).and_then(|map| map.get(value)).copied();
        let effect = match (find(&self.settled), find(&self.recent)) {
            (Some(first), Some(second)) => Some(first.joined(second)),
            (first, second) => first.or(second),
        };
        effect.filter(|effect| !effect.lifted)
    }
}

/// What a rule of a kind would have to name to hit a certificate. `None` where the kind is not about certificates, or the certificate has a
/// number that is longer than RFC 5280 §4.1.2.2 allows.
pub fn certificate_value(kind: RuleKind, certificate: &Certificate) -> Option<String> {
    match kind {
        RuleKind::Certificate => Some(certificate.thumbprint().to_string()),
        RuleKind::CertificateKey => Some(certificate.spki_sha256().to_string()),
        RuleKind::CertificateSerial => certificate.serial().map(|serial| serial_value(serial, certificate.issuer())),
        RuleKind::TokenId | RuleKind::Family | RuleKind::Client | RuleKind::Subject | RuleKind::Key => None,
    }
}

/// The value of a rule on a number of an issuer.
pub fn serial_value(serial: Serial, issuer: &DistinguishedName) -> String {
    format!("{serial}@{issuer}")
}

fn parts(rule: RevocationRule) -> (RuleKind, Box<str>, Effect) {
    let effect = Effect { before: rule.before, expires: rule.expires, sequence: rule.sequence, lifted: rule.lifted };
    (rule.kind, rule.value.into_boxed_str(), effect)
}

#[cfg(test)]
mod tests;
