//! Certificates: those that tokens are bound to, and rules on them that reach these tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::browser_session::{CertificateIndex, Ending, SessionCertificate};
use super::engine::read;
use super::revocation::{NewRule, Row, RuleWindow, from_row, write};
use super::work::{NumberedWork, Work, within};
use super::{ChangeKind, Store, StoreError};
use crate::domain::{RevocationRule, RuleKind, Timestamp};
use crate::event::{SessionEnd, Trailed};
use crate::jose::digest::sha256;

/// What is kept of a certificate that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCertificate {
    /// Its thumbprint: the value of a rule of kind [`RuleKind::Certificate`].
    pub certificate: String,
    /// Its key: the value of a rule of kind [`RuleKind::CertificateKey`].
    pub key: String,
    /// Its number: the value of a rule of kind [`RuleKind::CertificateSerial`], where it can have one.
    pub serial: Option<String>,
    /// How long it is remembered: no token that is bound to it now lives longer.
    pub expires: Timestamp,
}

/// Whether a certificate was taken note of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is known.
    Known,
    /// A rule on its key or its number is in force: no token may be bound to it.
    Revoked,
}

/// A rule on a certificate, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRule {
    /// The rule.
    pub rule: RevocationRule,
    /// The rule on a key or a number that it was made for, as `kind:value`.
    pub because: Option<String>,
}

impl Store {
    /// Takes note of a certificate before a token is bound to it, without the lock of changes: nobody who is issued a token waits for whoever
    /// changes something.
    ///
    /// Either a rule on its key or its number finds the certificate, or the certificate finds the rule. The certificate is committed
    /// first and the rules are read once more after; whoever makes a rule commits it first and looks for certificates after
    /// ([`Store::revoke_certificates`]). If neither had found the other, each would have read before the other committed, and so each
    /// before itself.
    pub async fn note_certificate(&self, seen: &SeenCertificate) -> Result<Noted, StoreError> {
        if self.is_ruled_out(seen).await? {
            return Ok(Noted::Revoked);
        }
        let (key, serial) = (self.digest(&seen.key), seen.serial.as_deref().map(|serial| self.digest(serial)));
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(INSERT)
            .bind(&seen.certificate)
            .bind(key)
            .bind(serial.unwrap_or_default())
            .bind(seen.expires.seconds()))?;
        work.commit().await?;
        // By now the rule may be there.
        Ok(if self.is_ruled_out(seen).await? { Noted::Revoked } else { Noted::Known })
    }

    /// Whether a rule on its key or its number is in force.
    async fn is_ruled_out(&self, seen: &SeenCertificate) -> Result<bool, StoreError> {
        let rules: Vec<(String, String)> = read!(&self.inner.db, fetch_all: sqlx::query_as(SEVERAL))?;
        Ok(rules.iter().any(|(_, value)| *value == seen.key || seen.serial.as_ref() == Some(value)))
    }

    /// Makes a rule on a certificate, a key or a number. One on a key or a number makes one on every certificate it hits that a token is bound
    /// to. Sessions in browsers in which somebody signed in with one that is hit end, each with its event; `sessions` is for the access
    /// tokens of what hangs on them. Gives the rules on certificates, the rule itself first.
    ///
    /// A rule on a certificate that already says as much is given back as it is, and nothing is written.
    pub async fn revoke_certificates(
        &self,
        rule: &NewRule,
        sessions: RuleWindow,
        event: &Trailed,
    ) -> Result<Vec<RevocationRule>, StoreError> {
        let defect = || StoreError::Defect(format!("a rule of kind {} names no certificates", rule.kind));
        let by = CertificateIndex::of(rule.kind).ok_or_else(defect)?;
        let find = match by {
            CertificateIndex::Itself => None,
            CertificateIndex::Key => Some(BY_KEY),
            CertificateIndex::Serial => Some(BY_SERIAL),
        };
        if find.is_none()
            && let Some(known) = self.known_rule(rule).await?
        {
            return Ok(vec![known]);
        }
        let because = format!("{}:{}", rule.kind, rule.value);
        let mut unit = NumberedWork::begin(self).await?;
        let mut written = vec![write(&mut unit, rule, None, event.time).await?];
        if let Some(find) = find {
            for certificate in self.hit(&mut unit.work, find, &rule.value).await? {
                written.push(write(&mut unit, &made_of(rule, certificate), Some(&because), event.time).await?);
            }
        }
        let ending = Ending { why: SessionEnd::CertificateRevoked, window: sessions, at: event.time };
        self.end_sessions_by_certificate(&mut unit, (by, &rule.value), &ending).await?;
        unit.commit(self, event).await?;
        if let Some(find) = find {
            written.extend(self.reach_late(find, rule, &written, &because, event.time).await?);
        }
        Ok(written)
    }

    /// Has a rule that is committed reach the certificates that were noted while it was made. Those noted from now on find the rule. Whoever
    /// is killed in between has told nobody that the rule is in force: made again, it reaches them.
    async fn reach_late(
        &self,
        find: &'static str,
        rule: &NewRule,
        reached: &[RevocationRule],
        because: &str,
        at: Timestamp,
    ) -> Result<Vec<RevocationRule>, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let mut hit = self.hit(&mut unit.work, find, &rule.value).await?;
        hit.retain(|certificate| !reached.iter().any(|rule| rule.kind == RuleKind::Certificate && rule.value == *certificate));
        let mut late = Vec::with_capacity(hit.len());
        for certificate in hit {
            late.push(write(&mut unit, &made_of(rule, certificate), Some(because), at).await?);
        }
        if !late.is_empty() {
            unit.commit_numbered(self).await?;
        }
        Ok(late)
    }

    /// The certificates that have this key or number.
    async fn hit(&self, work: &mut Work, find: &'static str, value: &str) -> Result<Vec<String>, StoreError> {
        let rows: Vec<(String,)> =
            within!(work, fetch_all: sqlx::query_as(find).bind(self.digest(value)).bind(earlier_digest(value)))?;
        Ok(rows.into_iter().map(|(certificate,)| certificate).collect())
    }

    /// What a key or a number is found by. A number goes with its issuer's name, and the names of issuers may be those of people and can be
    /// guessed: a keyed hash. The thumbprint of a certificate stands beside it as it is: it is public, in every token that is bound to it and
    /// in the rules that gateways fetch.
    fn digest(&self, value: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.index(DIGEST, value.as_bytes()))
    }

    /// Whether a rule in force names a certificate that somebody signs in with.
    pub async fn is_certificate_revoked(&self, shown: &SessionCertificate) -> Result<bool, StoreError> {
        let SessionCertificate { certificate, key, serial } = shown;
        let serial = serial.as_deref().unwrap_or_default();
        let found: Vec<(i64,)> =
            read!(&self.inner.db, fetch_all: sqlx::query_as(NAMING).bind(certificate).bind(key).bind(serial))?;
        Ok(!found.is_empty())
    }

    /// Takes a rule on certificates back, and what was made for it. Gives all of them, the rule itself first; `None` where there is no such
    /// rule in force.
    pub async fn restore_certificates(
        &self,
        kind: RuleKind,
        value: &str,
        event: &Trailed,
    ) -> Result<Option<Vec<RevocationRule>>, StoreError> {
        let because = format!("{kind}:{value}");
        let mut unit = NumberedWork::begin(self).await?;
        let rows: Vec<Row> = within!(&mut unit.work, fetch_all:
            sqlx::query_as(IN_FORCE).bind(kind.name()).bind(value).bind(&because))?;
        let rules = rows.into_iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        let (mut own, made): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| rule.kind == kind && rule.value == value);
        if own.is_empty() {
            return Ok(None);
        }
        let others = self.others_in_force(&mut unit.work, kind, value).await?;
        for rule in made {
            match other_reason(&mut unit.work, &rule.value, &others).await? {
                Some(because) => {
                    within!(&mut unit.work, execute: sqlx::query(BECAUSE).bind(because).bind(&rule.value))?;
                }
                None => own.push(rule),
            }
        }
        for rule in &mut own {
            let key = format!("{}:{}", rule.kind, rule.value);
            rule.sequence = unit.record_change(ChangeKind::Revocation, &key, event.time).await?;
            rule.lifted = true;
            within!(&mut unit.work, execute: sqlx::query(LIFT)
                .bind(rule.sequence)
                .bind(rule.kind.name())
                .bind(&rule.value))?;
        }
        unit.commit(self, event).await?;
        Ok(Some(own))
    }

    /// Every rule on certificates that is in force, the oldest first, at most `limit` after a sequence.
    pub async fn certificate_rules(&self, after: i64, limit: i64) -> Result<Vec<CertificateRule>, StoreError> {
        let rows: Vec<(i64, String, String, i64, i64, i64, Option<String>)> =
            read!(&self.inner.db, fetch_all: sqlx::query_as(LIST).bind(after).bind(limit))?;
        let read = |(sequence, kind, value, before, expires, lifted, because)| {
            Ok(CertificateRule { rule: from_row((sequence, kind, value, before, expires, lifted))?, because })
        };
        rows.into_iter().map(read).collect()
    }

    /// Forgets at most `batch` certificates that no living token can be bound to at `now`; gives how many.
    pub async fn forget_certificates(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(FORGET).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }
}

impl Store {
    /// The rules on keys and numbers that stay in force when one is taken back: what they look for, and their names.
    async fn others_in_force(
        &self,
        work: &mut Work,
        kind: RuleKind,
        value: &str,
    ) -> Result<Vec<([String; 2], String)>, StoreError> {
        let rows: Vec<(String, String)> = within!(work, fetch_all: sqlx::query_as(SEVERAL))?;
        let others = rows.into_iter().filter(|(other_kind, other)| (other_kind.as_str(), other.as_str()) != (kind.name(), value));
        Ok(others.map(|(kind, value)| ([self.digest(&value), earlier_digest(&value)], format!("{kind}:{value}"))).collect())
    }
}

/// Which of these rules hits a certificate too.
async fn other_reason(
    work: &mut Work,
    certificate: &str,
    others: &[([String; 2], String)],
) -> Result<Option<String>, StoreError> {
    let row: Option<(String, String)> = within!(work, fetch_optional: sqlx::query_as(DIGESTS).bind(certificate))?;
    let Some((key, serial)) = row else { return Ok(None) };
    Ok(others.iter().find(|(digests, _)| digests.contains(&key) || digests.contains(&serial)).map(|(_, name)| name.clone()))
}

/// The same, within the unit of work that begins a session.
pub(super) async fn is_revoked(work: &mut Work, shown: &SessionCertificate) -> Result<bool, StoreError> {
    let found: Vec<(i64,)> = within!(work, fetch_all: sqlx::query_as(NAMING)
        .bind(&shown.certificate)
        .bind(&shown.key)
        .bind(shown.serial.as_deref().unwrap_or_default()))?;
    Ok(!found.is_empty())
}

/// The rule on one certificate that another rule makes.
fn made_of(rule: &NewRule, certificate: String) -> NewRule {
    NewRule { kind: RuleKind::Certificate, value: certificate, window: rule.window }
}

/// What earlier versions wrote in the place of [`Store::digest`]: such a row is forgotten a week after it was written last.
fn earlier_digest(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(value.as_bytes()))
}

/// The window of a rule on certificates: whatever was issued, and whatever will be, until the last of them has ended.
pub const fn always(until: Timestamp) -> RuleWindow {
    /// The last second of the year 9999 (RFC 5280 §4.1.2.5).
    const FOR_EVER: Timestamp = Timestamp::from_seconds(253_402_300_799);
    RuleWindow { before: FOR_EVER, expires: until }
}

/// What the keyed hashes are made for.
const DIGEST: &str = "seen_certificate.digest";

const INSERT: &str = "INSERT INTO seen_certificate (thumbprint, key_digest, serial_digest, expires) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (thumbprint) DO UPDATE SET key_digest = excluded.key_digest, serial_digest = excluded.serial_digest, \
     expires = excluded.expires WHERE seen_certificate.expires < excluded.expires";
const BY_KEY: &str = "SELECT thumbprint FROM seen_certificate WHERE key_digest = $1 OR key_digest = $2 ORDER BY thumbprint";
const BY_SERIAL: &str =
    "SELECT thumbprint FROM seen_certificate WHERE serial_digest = $1 OR serial_digest = $2 ORDER BY thumbprint";
const IN_FORCE: &str = "SELECT sequence, kind, value, before, expires, lifted FROM revocation_rule \
     WHERE lifted = 0 AND ((kind = $1 AND value = $2) OR because = $3) ORDER BY sequence";
const LIFT: &str = "UPDATE revocation_rule SET sequence = $1, lifted = 1, because = NULL WHERE kind = $2 AND value = $3";
const SEVERAL: &str = "SELECT kind, value FROM revocation_rule \
     WHERE lifted = 0 AND kind IN ('certificate_serial', 'certificate_key') ORDER BY sequence";
const NAMING: &str = "SELECT sequence FROM revocation_rule WHERE lifted = 0 AND ((kind = 'certificate' AND value = $1) \
     OR (kind = 'certificate_key' AND value = $2) OR (kind = 'certificate_serial' AND value = $3))";
const DIGESTS: &str = "SELECT key_digest, serial_digest FROM seen_certificate WHERE thumbprint = $1";
const BECAUSE: &str = "UPDATE revocation_rule SET because = $1 WHERE kind = 'certificate' AND value = $2";
const LIST: &str = "SELECT sequence, kind, value, before, expires, lifted, because FROM revocation_rule \
     WHERE lifted = 0 AND kind IN ('certificate', 'certificate_serial', 'certificate_key') AND sequence > $1 ORDER BY sequence LIMIT $2";
const FORGET: &str = "DELETE FROM seen_certificate WHERE thumbprint IN \
     (SELECT thumbprint FROM seen_certificate WHERE expires < $1 ORDER BY expires LIMIT $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "seen_certificate",
    write: |store, mark| {
        Box::pin(async move {
            let seen = SeenCertificate {
                certificate: mark.name.clone(),
                key: mark.secret.clone(),
                serial: Some(mark.beside("serial").secret),
                expires: super::trial::LATER,
            };
            assert_eq!(store.note_certificate(&seen).await.expect("noted"), Noted::Known);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let (digest, earlier) = (store.digest(&mark.secret), earlier_digest(&mark.secret));
            let found: Vec<(String,)> =
                read!(&store.inner.db, fetch_all: sqlx::query_as(BY_KEY).bind(digest).bind(earlier)).expect("read");
            found == [(mark.name.clone(),)]
        })
    },
    uses: super::trial::Uses::Many("a note"),
};
