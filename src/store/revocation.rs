//! Revocation rules: small, few, and dead as soon as nothing they can hit is alive.

use super::engine::read;
use super::work::{NumberedWork, Work, within};
use super::{ChangeKind, Store, StoreError, grant_family};
use crate::domain::{ClientId, RevocationRule, RuleKind, Subject, Timestamp};
use crate::event::Trailed;

/// When a rule bites and when it can be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleWindow {
    /// Tokens issued (`iat`) at or before this moment are revoked.
    pub before: Timestamp,
    /// From this moment on no token that the rule can hit is alive.
    pub expires: Timestamp,
}

/// A rule to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRule {
    /// By which property it names tokens.
    pub kind: RuleKind,
    /// The property's value.
    pub value: String,
    /// When.
    pub window: RuleWindow,
}

pub(super) type Row = (i64, String, String, i64, i64, i64);

impl Store {
    /// Makes a rule and commits it with its event. When it is answered, it lasts.
    ///
    /// A rule that was made for itself and already says as much is given back as it is, and nothing is written: revoking one token a
    /// thousand times costs one row. One that another rule brought with it becomes one of its own. Of two rules for one value the later `before` and the later `expires` count, under a new sequence.
    pub async fn revoke(&self, rule: &NewRule, event: &Trailed) -> Result<RevocationRule, StoreError> {
        if let Some(known) = self.known_rule(rule).await? {
            return Ok(known);
        }
        let mut unit = NumberedWork::begin(self).await?;
        let written = write(&mut unit, rule, None, event.time).await?;
        unit.commit(self, event).await?;
        Ok(written)
    }

    /// Revokes every token of a client that was issued until `window.before`, and ends its grants with what others got by them: the rule on
    /// the client first. The client stays registered.
    pub async fn revoke_of_client(
        &self,
        client_id: &ClientId,
        window: RuleWindow,
        event: &Trailed,
    ) -> Result<Vec<RevocationRule>, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let rule = NewRule { kind: RuleKind::Client, value: client_id.as_str().to_owned(), window };
        let mut rules = vec![write(&mut unit, &rule, None, event.time).await?];
        rules.extend(grant_family::end_of_client(&mut unit, client_id, window, event.time).await?);
        unit.commit(self, event).await?;
        Ok(rules)
    }

    /// Revokes every token about a subject that was issued until `window.before`, and ends what they granted: the rule on the subject
    /// first. Their sessions stay.
    pub async fn revoke_of_subject(
        &self,
        subject: &Subject,
        window: RuleWindow,
        event: &Trailed,
    ) -> Result<Vec<RevocationRule>, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let rule = NewRule { kind: RuleKind::Subject, value: subject.as_str().to_owned(), window };
        let mut rules = vec![write(&mut unit, &rule, None, event.time).await?];
        rules.extend(grant_family::end_of_subject(&mut unit, subject, window, event.time).await?);
        unit.commit(self, event).await?;
        Ok(rules)
    }

    /// The rule that says as much already, where one was made for itself.
    pub(super) async fn known_rule(&self, rule: &NewRule) -> Result<Option<RevocationRule>, StoreError> {
        let known: Option<Row> =
            read!(&self.inner.db, fetch_optional: sqlx::query_as(ONE).bind(rule.kind.name()).bind(&rule.value))?;
        let says_as_much =
            |known: &RevocationRule| !known.lifted && known.before >= rule.window.before && known.expires >= rule.window.expires;
        Ok(known.map(from_row).transpose()?.filter(says_as_much))
    }

    /// At most `limit` rules after a sequence, in order. Page on with the last one's sequence.
    pub async fn revocation_rules(&self, after_sequence: i64, limit: i64) -> Result<Vec<RevocationRule>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(AFTER).bind(after_sequence).bind(limit))?;
        let rules: Vec<RevocationRule> = rows.into_iter().map(from_row).collect::<Result<_, _>>()?;
        // This is where every replica hears that somebody was removed.
        for rule in rules.iter().filter(|rule| rule.kind == RuleKind::Subject) {
            self.forget_person_key(&rule.value);
        }
        Ok(rules)
    }

    /// Deletes at most `batch` rules that are dead at `now`; gives how many.
    pub async fn delete_expired_rules(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE_EXPIRED).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }
}

/// Writes a rule and its change; the caller commits.
pub(super) async fn write(
    unit: &mut NumberedWork,
    rule: &NewRule,
    because: Option<&str>,
    at: Timestamp,
) -> Result<RevocationRule, StoreError> {
    let key = format!("{}:{}", rule.kind, rule.value);
    let sequence = unit.record_change(ChangeKind::Revocation, &key, at).await?;
    let row: Row = within!(&mut unit.work, fetch_one: sqlx::query_as(UPSERT)
            .bind(sequence)
            .bind(rule.kind.name())
            .bind(&rule.value)
            .bind(rule.window.before.seconds())
            .bind(rule.window.expires.seconds())
            .bind(because))?;
    from_row(row)
}

pub(super) fn from_row((sequence, kind, value, before, expires, lifted): Row) -> Result<RevocationRule, StoreError> {
    let kind =
        kind.parse().map_err(|problem| StoreError::Corrupt(format!("table revocation_rule: kind {kind:?} is {problem}")))?;
    Ok(RevocationRule {
        sequence,
        kind,
        value,
        before: Timestamp::from_seconds(before),
        expires: Timestamp::from_seconds(expires),
        lifted: lifted != 0,
    })
}

/// A rule made for itself: not one that ends with another.
const ONE: &str = "SELECT sequence, kind, value, before, expires, lifted FROM revocation_rule \
     WHERE kind = $1 AND value = $2 AND because IS NULL";
const AFTER: &str =
    "SELECT sequence, kind, value, before, expires, lifted FROM revocation_rule WHERE sequence > $1 ORDER BY sequence LIMIT $2";
/// A rule that was taken back leaves nothing behind when it is made again. What was revoked for itself stays so when something else is taken
/// back that would have revoked it too.
const UPSERT: &str = "INSERT INTO revocation_rule (sequence, kind, value, before, expires, lifted, because) VALUES ($1, $2, $3, $4, $5, 0, $6) \
     ON CONFLICT (kind, value) DO UPDATE SET sequence = excluded.sequence, lifted = 0, \
     because = CASE WHEN revocation_rule.lifted = 0 AND revocation_rule.because IS NULL THEN NULL ELSE excluded.because END, \
     before = CASE WHEN excluded.before > revocation_rule.before OR revocation_rule.lifted = 1 THEN excluded.before \
     ELSE revocation_rule.before END, \
     expires = CASE WHEN excluded.expires > revocation_rule.expires THEN excluded.expires ELSE revocation_rule.expires END \
     RETURNING sequence, kind, value, before, expires, lifted";
const DELETE_EXPIRED: &str = "DELETE FROM revocation_rule WHERE sequence IN \
     (SELECT sequence FROM revocation_rule WHERE expires <= $1 ORDER BY expires LIMIT $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "revocation_rule",
    write: |store, mark| {
        Box::pin(async move {
            let rule = NewRule { kind: RuleKind::TokenId, value: mark.name.clone(), window: super::trial::WINDOW };
            assert!(!store.revoke(&rule, &mark.event()).await.expect("revoked").lifted);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let rules = store.revocation_rules(0, i64::MAX).await.expect("rules");
            rules.iter().any(|rule| rule.kind == RuleKind::TokenId && rule.value == mark.name && !rule.lifted)
        })
    },
    uses: super::trial::Uses::Many("a rule refuses for as long as it lives"),
};
