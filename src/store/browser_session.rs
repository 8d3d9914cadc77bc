//! Sessions of people in browsers. A session is found by the keyed hash of its cookie's secret; what it knows of the person is sealed
//! with the person's key.
//!
//! However a session ends, it ends in [`end`]: grants that hang on it end with it, and the clients that were told of it are to be told.

use zeroize::Zeroizing;

use super::account::AccountState;
use super::engine::read;
use super::revocation::RuleWindow;
use super::sealed::BROWSER_SESSION;
use super::work::{NumberedWork, Work, within};
use super::{Store, StoreError, certificate, grant_family, logout_notice, second_factor};
use crate::domain::{RevocationRule, RuleKind, SessionId, Subject, Timestamp};
use crate::event::{AuditEvent, SessionEnd, Trailed};
use crate::seal::PersonKey;

/// A session as stored: its state is still sealed. See [`Store::open_session`].
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// `sid`.
    pub session_id: SessionId,
    /// Whose.
    pub subject: Subject,
    /// Whether its person may sign in.
    pub account: AccountState,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used, to the minute.
    pub used: Timestamp,
    /// When it ends, whatever happens.
    pub expires: Timestamp,
    state: Vec<u8>,
}

/// A session to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// `sid`.
    pub session_id: &'a SessionId,
    /// Whose.
    pub subject: &'a Subject,
    /// The secret in the browser's cookie.
    pub secret: &'a [u8],
    /// What is known of it, as JSON.
    pub state: &'a [u8],
    /// When it ends, whatever happens.
    pub expires: Timestamp,
    /// Whether the person proved one factor alone. Such a session is not written for a person who has a second one by then.
    pub single_factor: bool,
    /// The certificate by which they signed in, if it was that. No session is written for one that a rule is on by then, and it ends with a rule.
    pub certificate: Option<&'a SessionCertificate>,
    /// When the account had been changed last as the person proved to be its own, where that was before this moment. No session is written
    /// for an account that was changed since: the change may have been meant for whoever signs in.
    pub as_of: Option<Timestamp>,
}

/// A certificate that somebody signed in with, in the words of rules on certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCertificate {
    /// The value of a rule of kind [`RuleKind::Certificate`].
    pub certificate: String,
    /// The value of a rule of kind [`RuleKind::CertificateKey`].
    pub key: String,
    /// The value of a rule of kind [`RuleKind::CertificateSerial`], where it can have one.
    pub serial: Option<String>,
}

/// The end of sessions.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Why.
    pub why: SessionEnd,
    /// For the access tokens of the grants that end too.
    pub window: RuleWindow,
    /// When.
    pub at: Timestamp,
}

/// What has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The sessions.
    pub sessions: Vec<SessionId>,
    /// What revokes the access tokens of their grants.
    pub rules: Vec<RevocationRule>,
}

/// Which sessions are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    /// This one, if it is this person's.
    One { session_id: &'a SessionId, subject: &'a Subject },
    /// All of a person's, but for one.
    OfSubject { subject: &'a Subject, except: Option<&'a SessionId> },
    /// All of a person's but for the `kept` that were used last.
    Oldest { subject: &'a Subject, kept: i64 },
    /// At most `batch` that have expired or were last used at `idle_since` or before.
    Expired { now: Timestamp, idle_since: Timestamp, batch: i64 },
    /// All in which somebody signed in with a certificate that has this keyed hash: of itself, its key or its number.
    ByCertificate { by: CertificateIndex, index: &'a [u8] },
}

/// What of a certificate a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CertificateIndex {
    Itself,
    Key,
    Serial,
}

impl CertificateIndex {
    pub(super) const fn of(kind: RuleKind) -> Option<Self> {
        match kind {
            RuleKind::Certificate => Some(Self::Itself),
            RuleKind::CertificateKey => Some(Self::Key),
            RuleKind::CertificateSerial => Some(Self::Serial),
            RuleKind::TokenId | RuleKind::Family | RuleKind::Client | RuleKind::Subject | RuleKind::Key => None,
        }
    }

    /// What the keyed hash is for.
    const fn purpose(self) -> &'static str {
        match self {
            Self::Itself => "browser_session.certificate_index",
            Self::Key => "browser_session.certificate_key_index",
            Self::Serial => "browser_session.certificate_serial_index",
        }
    }
}

type Row = (String, String, String, Vec<u8>, i64, i64, i64);

impl Store {
    /// The session whose cookie has this secret, whether it is still alive or not.
    pub async fn session_with(&self, secret: &[u8]) -> Result<Option<SessionRecord>, StoreError> {
        for index in self.indexes(SECRET, secret) {
            let row: Option<Row> = read!(&self.inner.db, fetch_optional: sqlx::query_as(BY_SECRET).bind(index))?;
            if let Some(row) = row {
                return record(row).map(Some);
            }
        }
        Ok(None)
    }

    /// A person's sessions, the one used last first.
    pub async fn sessions_of(&self, subject: &Subject) -> Result<Vec<SessionRecord>, StoreError> {
        let rows: Vec<Row> = read!(&self.inner.db, fetch_all: sqlx::query_as(OF_SUBJECT).bind(subject.as_str()))?;
        rows.into_iter().map(record).collect()
    }

    /// What is known of a session, as JSON.
    pub fn open_session(&self, session: &SessionRecord, key: &PersonKey) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.unseal_for(key, &BROWSER_SESSION, session.session_id.as_str(), &session.state)
    }

    /// Begins a session with its event, and ends the one it replaces and those of the person beyond the `most` that there may be.
    /// Gives what ended; nothing when the account is not there, not active or asks for more than was proven, or the certificate was revoked, and
    /// then nothing was written.
    pub async fn begin_session(
        &self,
        new: &NewSession<'_>,
        key: &PersonKey,
        replaced: Option<(&SessionId, &Subject)>,
        most: u32,
        window: RuleWindow,
        event: &Trailed,
    ) -> Result<Option<Ended>, StoreError> {
        let (subject, now) = (new.subject, event.time);
        let sealed = self.seal_for(key, &BROWSER_SESSION, new.session_id.as_str(), new.state)?;
        let mut unit = NumberedWork::begin(self).await?;
        if !may_sign_in(&mut unit.work, new).await? {
            return Ok(None);
        }
        let ending = |why| Ending { why, window, at: now };
        let mut ended = match replaced {
            Some((session_id, subject)) => {
                end(&mut unit, Which::One { session_id, subject }, &ending(SessionEnd::Replaced)).await?
            }
            None => Ended::default(),
        };
        let [itself, key_of, serial] = self.certificate_indexes(new.certificate);
        let kept = i64::from(most.saturating_sub(1));
        let beyond = end(&mut unit, Which::Oldest { subject, kept }, &ending(SessionEnd::TooMany)).await?;
        ended.sessions.extend(beyond.sessions);
        ended.rules.extend(beyond.rules);
        within!(&mut unit.work, execute: sqlx::query(INSERT)
                .bind(new.session_id.as_str())
                .bind(self.index(SECRET, new.secret))
                .bind(subject.as_str())
                .bind(&sealed)
                .bind(now.seconds())
                .bind(new.expires.seconds())
                .bind(itself)
                .bind(key_of)
                .bind(serial))?;
        unit.work.record_event(event).await?;
        unit.commit_numbered(self).await?;
        Ok(Some(ended))
    }

    /// Gives a session of this person another secret and state, with the event of their signing in again. Gives whether it is
    /// there and the account is active and asks for no more than was proven, by no revoked certificate; when not, nothing was written.
    pub async fn renew_session(
        &self,
        new: &NewSession<'_>,
        key: &PersonKey,
        event: &Trailed,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let [itself, key_of, serial] = self.certificate_indexes(new.certificate);
        let sealed = self.seal_for(key, &BROWSER_SESSION, new.session_id.as_str(), new.state)?;
        // The lock of the control plane: whoever makes a rule on certificates waits, or is waited for.
        let mut unit = NumberedWork::begin(self).await?;
        if !may_sign_in(&mut unit.work, new).await? {
            return Ok(false);
        }
        let renewed = within!(&mut unit.work, execute: sqlx::query(RENEW)
                .bind(new.session_id.as_str())
                .bind(new.subject.as_str())
                .bind(self.index(SECRET, new.secret))
                .bind(&sealed)
                .bind(now.seconds())
                .bind(new.expires.seconds())
                .bind(itself)
                .bind(key_of)
                .bind(serial))?;
        if renewed == 0 {
            return Ok(false);
        }
        unit.work.record_event(event).await?;
        unit.commit_numbered(self).await?;
        Ok(true)
    }

    /// Gives a session of this person another secret: nobody has signed in again, and by what they did stays. Gives whether it is there and the
    /// account is active; when not, nothing was written.
    pub async fn renew_session_secret(&self, new: &NewSession<'_>, key: &PersonKey, now: Timestamp) -> Result<bool, StoreError> {
        let sealed = self.seal_for(key, &BROWSER_SESSION, new.session_id.as_str(), new.state)?;
        let mut work = Work::begin(self).await?;
        if !may_sign_in(&mut work, new).await? {
            return Ok(false);
        }
        let renewed = within!(&mut work, execute: sqlx::query(RENEW_SECRET)
                .bind(new.session_id.as_str())
                .bind(new.subject.as_str())
                .bind(self.index(SECRET, new.secret))
                .bind(&sealed)
                .bind(now.seconds())
                .bind(new.expires.seconds()))?;
        if renewed == 0 {
            return Ok(false);
        }
        work.commit().await?;
        Ok(true)
    }

    fn certificate_indexes(&self, certificate: Option<&SessionCertificate>) -> [Option<Vec<u8>>; 3] {
        let Some(SessionCertificate { certificate, key, serial }) = certificate else { return [None, None, None] };
        let index = |by: CertificateIndex, value: &str| self.index(by.purpose(), value.as_bytes());
        [
            Some(index(CertificateIndex::Itself, certificate)),
            Some(index(CertificateIndex::Key, key)),
            serial.as_deref().map(|serial| index(CertificateIndex::Serial, serial)),
        ]
    }

    /// Ends every session in which somebody signed in with a certificate that a rule of this kind and value names, within the unit of work
    /// that makes the rule.
    pub(super) async fn end_sessions_by_certificate(
        &self,
        unit: &mut NumberedWork,
        (by, value): (CertificateIndex, &str),
        ending: &Ending,
    ) -> Result<(), StoreError> {
        for index in self.indexes(by.purpose(), value.as_bytes()) {
            end(unit, Which::ByCertificate { by, index: &index }, ending).await?;
        }
        Ok(())
    }

    /// Notes that a session was used.
    pub async fn touch_session(&self, session_id: &SessionId, now: Timestamp) -> Result<(), StoreError> {
        let mut work = Work::begin(self).await?;
        within!(&mut work, execute: sqlx::query(TOUCH).bind(session_id.as_str()).bind(now.seconds()))?;
        work.commit().await
    }

    /// Ends a session of this person, if there is one; gives what ended.
    pub async fn end_session(&self, session_id: &SessionId, subject: &Subject, ending: &Ending) -> Result<Ended, StoreError> {
        self.end_sessions(Which::One { session_id, subject }, ending).await
    }

    /// Ends every session of this person but one; gives what ended.
    pub async fn end_sessions_of(
        &self,
        subject: &Subject,
        except: Option<&SessionId>,
        ending: &Ending,
    ) -> Result<Ended, StoreError> {
        self.end_sessions(Which::OfSubject { subject, except }, ending).await
    }

    /// Ends at most `batch` sessions whose time is over, or which were last used at `idle_since` or before; gives what ended.
    pub async fn end_expired_sessions(&self, idle_since: Timestamp, batch: u32, ending: &Ending) -> Result<Ended, StoreError> {
        let which = Which::Expired { now: ending.at, idle_since, batch: i64::from(batch) };
        self.end_sessions(which, ending).await
    }

    async fn end_sessions(&self, which: Which<'_>, ending: &Ending) -> Result<Ended, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let ended = end(&mut unit, which, ending).await?;
        if !ended.sessions.is_empty() {
            unit.commit_numbered(self).await?;
        }
        Ok(ended)
    }
}

/// Ends sessions, each with its event (`session_ended`). Every end of a session is one call of this, inside the unit of work that
/// causes it: what hangs on a session ends here too, and whoever is to be told of it is noted.
pub(super) async fn end(unit: &mut NumberedWork, which: Which<'_>, ending: &Ending) -> Result<Ended, StoreError> {
    let work = &mut unit.work;
    let rows: Vec<(String, String)> = match which {
        Which::One { session_id, subject } => {
            within!(&mut *work, fetch_all: sqlx::query_as(END_ONE).bind(session_id.as_str()).bind(subject.as_str()))?
        }
        Which::OfSubject { subject, except } => {
            let except = except.map_or("", SessionId::as_str);
            within!(&mut *work, fetch_all: sqlx::query_as(END_OF_SUBJECT).bind(subject.as_str()).bind(except))?
        }
        Which::Oldest { subject, kept } => {
            within!(&mut *work, fetch_all: sqlx::query_as(END_OLDEST).bind(subject.as_str()).bind(kept))?
        }
        Which::Expired { now, idle_since, batch } => within!(&mut *work, fetch_all: sqlx::query_as(END_EXPIRED)
                .bind(now.seconds())
                .bind(idle_since.seconds())
                .bind(batch))?,
        Which::ByCertificate { by, index } => {
            let query = match by {
                CertificateIndex::Itself => END_BY_CERTIFICATE,
                CertificateIndex::Key => END_BY_KEY,
                CertificateIndex::Serial => END_BY_SERIAL,
            };
            within!(&mut *work, fetch_all: sqlx::query_as(query).bind(index))?
        }
    };
    let mut ended = Ended::default();
    for (session_id, subject) in rows {
        let (session_id, subject) = names(session_id, &subject)?;
        ended.rules.extend(grant_family::end_of_session(unit, &session_id, ending.window, ending.at).await?);
        logout_notice::note(&mut unit.work, &session_id, &subject, ending.at).await?;
        let event = AuditEvent::SessionEnded { subject, session_id: session_id.clone(), why: ending.why };
        unit.work.record_event(&Trailed { time: ending.at, event }).await?;
        ended.sessions.push(session_id);
    }
    Ok(ended)
}

/// Whether a session is there; until this work is done nobody ends it.
pub(super) async fn hold(work: &mut Work, session_id: &SessionId) -> Result<bool, StoreError> {
    Ok(within!(work, execute: sqlx::query(HOLD_SESSION).bind(session_id.as_str()))? == 1)
}

/// Whether the account is active; until this work is done nobody else changes that.
pub(super) async fn hold_active(work: &mut Work, subject: &Subject) -> Result<bool, StoreError> {
    let active = AccountState::Active.name();
    Ok(within!(work, execute: sqlx::query(HOLD).bind(subject.as_str()).bind(active))? == 1)
}

/// Holds the account of a session that is to be written; gives whether its person may have it. Whoever sets a second factor up holds the
/// account too: a sign-in that began before and asked for none does not end after it. Nor does one by a certificate that was revoked meanwhile.
async fn may_sign_in(work: &mut Work, new: &NewSession<'_>) -> Result<bool, StoreError> {
    if !hold_active(work, new.subject).await? || (new.single_factor && second_factor::is_there(work, new.subject).await?) {
        return Ok(false);
    }
    if let Some(as_of) = new.as_of {
        let (changed,): (i64,) = within!(&mut *work, fetch_one: sqlx::query_as(CHANGED).bind(new.subject.as_str()))?;
        if changed != as_of.seconds() {
            return Ok(false);
        }
    }
    Ok(match new.certificate {
        Some(shown) => !certificate::is_revoked(work, shown).await?,
        None => true,
    })
}

fn names(session_id: String, subject: &str) -> Result<(SessionId, Subject), StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("table browser_session, session {session_id:?}: {what}"));
    let subject = subject.parse().map_err(|_| corrupt("its subject"))?;
    Ok((session_id.parse().map_err(|_| corrupt("its id"))?, subject))
}

fn record((session_id, subject, account, state, created, used, expires): Row) -> Result<SessionRecord, StoreError> {
    let (session_id, subject) = names(session_id, &subject)?;
    let account = AccountState::from_name(&account)?;
    let [created, used, expires] = [created, used, expires].map(Timestamp::from_seconds);
    Ok(SessionRecord { session_id, subject, account, created, used, expires, state })
}

/// What the keyed hash of a cookie's secret is for.
const SECRET: &str = "browser_session.secret_index";

const BY_SECRET: &str = "SELECT s.session_id, s.subject, a.state, s.state_sealed, s.created, s.used, s.expires \
     FROM browser_session s JOIN account a ON a.subject = s.subject WHERE s.secret_index = $1";
const OF_SUBJECT: &str = "SELECT s.session_id, s.subject, a.state, s.state_sealed, s.created, s.used, s.expires \
     FROM browser_session s JOIN account a ON a.subject = s.subject WHERE s.subject = $1 ORDER BY s.used DESC, s.session_id";
const HOLD_SESSION: &str = "UPDATE browser_session SET used = used WHERE session_id = $1";
const CHANGED: &str = "SELECT changed FROM account WHERE subject = $1";
const HOLD: &str = "UPDATE account SET state = state WHERE subject = $1 AND state = $2";
const INSERT: &str = "INSERT INTO browser_session (session_id, secret_index, subject, state_sealed, created, used, expires, \
     certificate_index, certificate_key_index, certificate_serial_index) VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9)";
const RENEW: &str = "UPDATE browser_session SET secret_index = $3, state_sealed = $4, used = $5, expires = $6, \
     certificate_index = COALESCE($7, certificate_index), certificate_key_index = COALESCE($8, certificate_key_index), \
     certificate_serial_index = CASE WHEN $7 IS NULL THEN certificate_serial_index ELSE $9 END \
     WHERE session_id = $1 AND subject = $2";
const RENEW_SECRET: &str = "UPDATE browser_session SET secret_index = $3, state_sealed = $4, used = $5, expires = $6 \
     WHERE session_id = $1 AND subject = $2";
const TOUCH: &str = "UPDATE browser_session SET used = $2 WHERE session_id = $1 AND used < $2";
const END_ONE: &str = "DELETE FROM browser_session WHERE session_id = $1 AND subject = $2 RETURNING session_id, subject";
const END_OF_SUBJECT: &str = "DELETE FROM browser_session WHERE subject = $1 AND session_id <> $2 RETURNING session_id, subject";
const END_OLDEST: &str = "DELETE FROM browser_session WHERE subject = $1 AND session_id NOT IN \
     (SELECT session_id FROM browser_session WHERE subject = $1 ORDER BY used DESC, session_id LIMIT $2) \
     RETURNING session_id, subject";
const END_EXPIRED: &str = "DELETE FROM browser_session WHERE session_id IN \
     (SELECT session_id FROM browser_session WHERE expires <= $1 OR used <= $2 LIMIT $3) RETURNING session_id, subject";
const END_BY_CERTIFICATE: &str = "DELETE FROM browser_session WHERE certificate_index = $1 RETURNING session_id, subject";
const END_BY_KEY: &str = "DELETE FROM browser_session WHERE certificate_key_index = $1 RETURNING session_id, subject";
const END_BY_SERIAL: &str = "DELETE FROM browser_session WHERE certificate_serial_index = $1 RETURNING session_id, subject";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "browser_session",
    write: |store, mark| {
        Box::pin(async move {
            (super::account::TRIAL.write)(store, mark).await;
            let (session_id, subject, secret) = (mark.id(), mark.id(), mark.secret.as_bytes());
            let expires = super::trial::LATER;
            let (single_factor, certificate) = (true, None);
            let new = NewSession {
                session_id: &session_id,
                subject: &subject,
                secret,
                state: secret,
                expires,
                single_factor,
                certificate,
                as_of: None,
            };
            let begun = store.begin_session(&new, &mark.key(), None, 9, super::trial::WINDOW, &mark.event()).await;
            assert!(begun.expect("answered").is_some());
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let Some(session) = store.session_with(mark.secret.as_bytes()).await.expect("read") else { return false };
            let state = store.open_session(&session, &mark.key()).expect("opens");
            session.session_id == mark.id() && *state == *mark.secret.as_bytes()
        })
    },
    uses: super::trial::Uses::Many("a browser shows its cookie with each request"),
};
