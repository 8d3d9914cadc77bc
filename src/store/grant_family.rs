//! Grants with a refresh token: one row for each family of tokens.
//!
//! The refresh token itself is a sealed value that names its family and its generation; it is not stored. Rotation counts the
//! generation up, so that of many who present one token one rotates it. A family that came of another one ends with it.

use std::fmt;

use super::engine::read;
use super::personal::{Person, is_of_person};
use super::revocation::{NewRule, RuleWindow};
use super::sealed::GRANT_FAMILY;
use super::work::{NumberedWork, Work, within};
use super::{Store, StoreError, authorization_code};
use crate::domain::{ClientId, FamilyId, RevocationRule, RuleKind, SessionId, Subject, Timestamp};
use crate::event::Trailed;
use crate::seal::Plaintext;

/// A family to be.
#[derive(Clone, Copy)]
pub struct NewFamily<'a> {
    /// Its name.
    pub family: &'a FamilyId,
    /// Whose refresh token it is.
    pub client_id: &'a ClientId,
    /// Who granted it.
    pub subject: &'a Subject,
    /// The browser session it ends with; `None` for offline access.
    pub session: Option<&'a SessionId>,
    /// What was granted; sealed.
    pub state: &'a [u8],
    /// When.
    pub created: Timestamp,
    /// When its refresh token ends, whatever happens.
    pub expires: Timestamp,
    /// The grant of the token that was given for it in exchange.
    pub parent: Option<Parent<'a>>,
}

/// What a family came of: it ends with it.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// The family of the token that was given.
    pub family: &'a FamilyId,
    /// Whose token that was.
    pub client_id: &'a ClientId,
    /// When that token was issued.
    pub issued: Timestamp,
}

/// Whether a family began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Now.
    Now,
    /// What it came of has just ended; nothing was written.
    ParentEnded,
}

/// Whether a family was bound to another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebound {
    /// Now.
    Now,
    /// Somebody else was faster, or the family has ended; nothing was written.
    Before,
}

/// A family as stored, opened.
#[derive(Clone)]
pub struct FamilyRecord {
    /// Its name.
    pub family: FamilyId,
    /// Whose refresh token it is.
    pub client_id: ClientId,
    /// What was granted.
    pub state: Plaintext,
    /// Which refresh token is the current one.
    pub generation: i64,
    /// Since when.
    pub rotated: Timestamp,
    /// When it was granted.
    pub created: Timestamp,
    /// How often it was bound to another key.
    pub rebound: i64,
    /// When its refresh token ends.
    pub expires: Timestamp,
}

impl fmt::Debug for NewFamily<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewFamily").field("family", self.family).field("client_id", self.client_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for FamilyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FamilyRecord")
            .field("family", &self.family)
            .field("client_id", &self.client_id)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What became of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The token of this generation is the current one now.
    To(i64),
    /// The token presented was not the current one, or the family has ended; nothing was written.
    NotCurrent,
}

/// Whose a family is.
pub(super) struct Owner {
    pub(super) subject: Subject,
    /// Whether its state is sealed with the key of a person.
    is_person: bool,
}

/// A family with everything computed that its row needs.
pub(super) struct PreparedFamily<'a> {
    new: &'a NewFamily<'a>,
    sealed: Vec<u8>,
}

impl PreparedFamily<'_> {
    pub(super) async fn insert(&self, work: &mut Work) -> Result<(), StoreError> {
        self.insert_for(work, self.new.subject.as_str(), self.new.session.map(SessionId::as_str)).await
    }

    async fn insert_for(&self, work: &mut Work, subject: &str, session: Option<&str>) -> Result<(), StoreError> {
        let new = self.new;
        within!(work, execute: sqlx::query(INSERT)
                .bind(new.family.as_str())
                .bind(new.client_id.as_str())
                .bind(subject)
                .bind(session)
                .bind(&self.sealed)
                .bind(new.created.seconds())
                .bind(new.expires.seconds())
                .bind(new.parent.map(|parent| parent.family.as_str()))
                .bind(new.parent.map(|parent| parent.client_id.as_str())))?;
        Ok(())
    }
}

impl Store {
    /// A family that has not ended and not expired at `now`; `None` also when its person has been removed.
    pub async fn family(&self, family: &FamilyId, now: Timestamp) -> Result<Option<FamilyRecord>, StoreError> {
        let row: Option<(String, Vec<u8>, i64, i64, i64, i64, i64)> = read!(&self.inner.db, fetch_optional:
            sqlx::query_as(ONE).bind(family.as_str()).bind(now.seconds()))?;
        let Some((client_id, sealed, generation, rotated, created, rebound, expires)) = row else { return Ok(None) };
        let Some(state) = self.unseal_of(&GRANT_FAMILY, family.as_str(), &sealed).await? else { return Ok(None) };
        let corrupt = |problem| StoreError::Corrupt(format!("table grant_family: client_id {client_id:?} {problem}"));
        Ok(Some(FamilyRecord {
            family: family.clone(),
            client_id: client_id.parse().map_err(corrupt)?,
            state,
            generation,
            rotated: Timestamp::from_seconds(rotated),
            created: Timestamp::from_seconds(created),
            rebound,
            expires: Timestamp::from_seconds(expires),
        }))
    }

    /// The clients that hold a grant of a person's own at `now`: not what came of another client's in exchange, which ends with it.
    pub async fn granted_clients(&self, subject: &Subject, now: Timestamp) -> Result<Vec<ClientId>, StoreError> {
        let rows: Vec<(String,)> = read!(&self.inner.db, fetch_all:
            sqlx::query_as(GRANTED_CLIENTS).bind(subject.as_str()).bind(now.seconds()))?;
        let corrupt = |problem| StoreError::Corrupt(format!("table grant_family: client_id {problem}"));
        rows.into_iter().map(|(client_id,)| client_id.parse().map_err(corrupt)).collect()
    }

    /// Begins a family that no code was redeemed for, with its event. One that came of another one has that one's person and session, and
    /// does not begin when that one, or its client, has ended.
    pub async fn begin_family(&self, new: &NewFamily<'_>, event: &Trailed) -> Result<Begun, StoreError> {
        let heir_of = match new.parent {
            Some(parent) => self.owner_of_family(parent.family.as_str()).await?,
            None => None,
        };
        let (subject, is_persons) = heir_of.as_ref().map_or((new.subject, false), |owner| (&owner.subject, owner.is_person));
        // A machine, or somebody whom another issuer knows, has no key.
        let person = self.person(subject).await?;
        if is_persons && person.is_none() {
            return Ok(Begun::ParentEnded);
        }
        let prepared = self.prepare_family(new, person.as_ref())?;
        let Some(parent) = new.parent else {
            let mut work = Work::begin(self).await?;
            prepared.insert(&mut work).await?;
            work.record_event(event).await?;
            work.commit().await?;
            return Ok(Begun::Now);
        };
        // Grants end under this lock: none does between the look and the insertion.
        let mut unit = NumberedWork::begin(self).await?;
        let family = parent.family.as_str();
        let ended: Option<(i64,)> = within!(&mut unit.work, fetch_optional: sqlx::query_as(ENDED)
            .bind(family)
            .bind(parent.client_id.as_str())
            .bind(parent.issued.seconds()))?;
        if ended.is_some() {
            return Ok(Begun::ParentEnded);
        }
        let of_parent: Option<(String, Option<String>)> =
            within!(&mut unit.work, fetch_optional: sqlx::query_as(WHOSE).bind(family))?;
        match of_parent {
            // It was sealed for another one: a family never changes hands, so it began just now.
            Some((subject, _)) if heir_of.as_ref().map(|owner| owner.subject.as_str()) != Some(subject.as_str()) => {
                return Err(StoreError::Unavailable("the grant it comes of began a moment ago".into()));
            }
            Some((subject, session)) => prepared.insert_for(&mut unit.work, &subject, session.as_deref()).await?,
            None => prepared.insert(&mut unit.work).await?,
        }
        unit.work.record_event(event).await?;
        unit.commit_numbered(self).await?;
        Ok(Begun::Now)
    }

    /// Gives a family another state if it was bound to another key `rebound` times so far: of many who try, in this process or another,
    /// one succeeds. The events commit with it.
    pub async fn rebind_family(
        &self,
        family: &FamilyId,
        rebound: i64,
        state: &[u8],
        events: &[Trailed],
    ) -> Result<Rebound, StoreError> {
        // None: it has ended meanwhile.
        let Some(owner) = self.owner_of_family(family.as_str()).await? else { return Ok(Rebound::Before) };
        let person = self.person(&owner.subject).await?;
        if owner.is_person && person.is_none() {
            return Ok(Rebound::Before);
        }
        let sealed = self.seal_of(person.as_ref(), &GRANT_FAMILY, family.as_str(), state)?;
        let mut work = Work::begin(self).await?;
        let changed = within!(&mut work, execute: sqlx::query(REBIND)
            .bind(family.as_str())
            .bind(rebound)
            .bind(&sealed)
            .bind(rebound.saturating_add(1)))?;
        if changed == 0 {
            return Ok(Rebound::Before);
        }
        for event in events {
            work.record_event(event).await?;
        }
        work.commit().await?;
        Ok(Rebound::Now)
    }

    /// Makes the next refresh token the current one if `generation` is: of many who try, in this process or another, one succeeds.
    /// The events commit with it.
    pub async fn rotate_family(
        &self,
        family: &FamilyId,
        generation: i64,
        now: Timestamp,
        events: &[Trailed],
    ) -> Result<Rotated, StoreError> {
        let mut work = Work::begin(self).await?;
        let next = generation.saturating_add(1);
        let rotated = within!(&mut work, execute: sqlx::query(ROTATE)
            .bind(family.as_str())
            .bind(generation)
            .bind(next)
            .bind(now.seconds()))?;
        if rotated == 0 {
            return Ok(Rotated::NotCurrent);
        }
        for event in events {
            work.record_event(event).await?;
        }
        work.commit().await?;
        Ok(Rotated::To(next))
    }

    /// Ends a family and those that came of it: their refresh tokens and unredeemed codes are gone and their access tokens revoked by
    /// rules, in one transaction with the event. A family without a row is ended as well: it may have access tokens alone.
    pub async fn end_family(
        &self,
        family: &FamilyId,
        window: RuleWindow,
        event: &Trailed,
    ) -> Result<Vec<RevocationRule>, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let rules = end(&mut unit, vec![family.as_str().to_owned()], window, event.time).await?;
        unit.commit(self, event).await?;
        Ok(rules)
    }

    /// Deletes at most `batch` families that have expired at `now`; gives how many.
    pub async fn delete_expired_families(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE_EXPIRED).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }

    pub(super) fn prepare_family<'a>(
        &self,
        new: &'a NewFamily<'a>,
        person: Option<&Person>,
    ) -> Result<PreparedFamily<'a>, StoreError> {
        Ok(PreparedFamily { new, sealed: self.seal_of(person, &GRANT_FAMILY, new.family.as_str(), new.state)? })
    }

    /// Whose a family is.
    pub(super) async fn owner_of_family(&self, family: &str) -> Result<Option<Owner>, StoreError> {
        let row: Option<(String, Vec<u8>)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(OWNER).bind(family))?;
        let Some((subject, sealed)) = row else { return Ok(None) };
        let corrupt = |problem| StoreError::Corrupt(format!("table grant_family: subject {problem}"));
        let is_person = is_of_person(&self.unseal(&GRANT_FAMILY, family, &sealed)?);
        Ok(Some(Owner { subject: subject.parse().map_err(corrupt)?, is_person }))
    }
}

/// Ends the families that hang on a browser session, within the unit of work that ends it.
pub(super) async fn end_of_session(
    unit: &mut NumberedWork,
    session: &SessionId,
    window: RuleWindow,
    at: Timestamp,
) -> Result<Vec<RevocationRule>, StoreError> {
    end_all(unit, OF_SESSION, session.as_str(), window, at).await
}

/// Ends every family that a person granted, offline access too: they may not sign in any more.
pub(super) async fn end_of_subject(
    unit: &mut NumberedWork,
    subject: &Subject,
    window: RuleWindow,
    at: Timestamp,
) -> Result<Vec<RevocationRule>, StoreError> {
    end_all(unit, OF_SUBJECT, subject.as_str(), window, at).await
}

/// Ends what a person has granted one client: they have taken it back.
pub(super) async fn end_of_consent(
    unit: &mut NumberedWork,
    subject: &Subject,
    client_id: &ClientId,
    window: RuleWindow,
    at: Timestamp,
) -> Result<Vec<RevocationRule>, StoreError> {
    let (subject, client_id) = (subject.as_str(), client_id.as_str());
    let rows: Vec<(String,)> =
        within!(&mut unit.work, fetch_all: sqlx::query_as(OF_SUBJECT_AT_CLIENT).bind(subject).bind(client_id))?;
    end(unit, rows.into_iter().map(|(family,)| family).collect(), window, at).await
}

/// Ends the families of a client that is removed, and those of others that came of them or of its tokens, each of these by a rule. Its own
/// tokens are the rule's that names the client, however many they are.
pub(super) async fn end_of_client(
    unit: &mut NumberedWork,
    client_id: &ClientId,
    window: RuleWindow,
    at: Timestamp,
) -> Result<Vec<RevocationRule>, StoreError> {
    let rules = end_all(unit, CAME_OF_CLIENT, client_id.as_str(), window, at).await?;
    within!(&mut unit.work, execute: sqlx::query(DELETE_OF_CLIENT).bind(client_id.as_str()))?;
    Ok(rules)
}

async fn end_all(
    unit: &mut NumberedWork,
    statement: &'static str,
    value: &str,
    window: RuleWindow,
    at: Timestamp,
) -> Result<Vec<RevocationRule>, StoreError> {
    let rows: Vec<(String,)> = within!(&mut unit.work, fetch_all: sqlx::query_as(statement).bind(value))?;
    end(unit, rows.into_iter().map(|(family,)| family).collect(), window, at).await
}

/// Ends these families and every one that came of them.
async fn end(
    unit: &mut NumberedWork,
    mut families: Vec<String>,
    window: RuleWindow,
    at: Timestamp,
) -> Result<Vec<RevocationRule>, StoreError> {
    let mut rules = Vec::with_capacity(families.len());
    while let Some(family) = families.pop() {
        within!(&mut unit.work, execute: sqlx::query(DELETE).bind(&family))?;
        authorization_code::end_codes(&mut unit.work, &family).await?;
        let children: Vec<(String,)> = within!(&mut unit.work, fetch_all: sqlx::query_as(OF_PARENT).bind(&family))?;
        families.extend(children.into_iter().map(|(family,)| family));
        let rule = NewRule { kind: RuleKind::Family, value: family, window };
        rules.push(super::revocation::write(unit, &rule, None, at).await?);
    }
    Ok(rules)
}

const ONE: &str = "SELECT client_id, state_sealed, generation, rotated, created, rebound, expires FROM grant_family \
     WHERE family_id = $1 AND expires > $2";
const INSERT: &str = "INSERT INTO grant_family \
     (family_id, client_id, subject, session_id, state_sealed, generation, rotated, created, expires, parent_id, parent_client_id) \
     VALUES ($1, $2, $3, $4, $5, 1, $6, $6, $7, $8, $9)";
const WHOSE: &str = "SELECT subject, session_id FROM grant_family WHERE family_id = $1";
const OWNER: &str = "SELECT subject, state_sealed FROM grant_family WHERE family_id = $1";
const ENDED: &str = "SELECT sequence FROM revocation_rule WHERE before >= $3 \
     AND ((kind = 'family' AND value = $1) OR (kind = 'client' AND value = $2)) ORDER BY sequence LIMIT 1";
const REBIND: &str = "UPDATE grant_family SET state_sealed = $3, rebound = $4 WHERE family_id = $1 AND rebound = $2";
const ROTATE: &str = "UPDATE grant_family SET generation = $3, rotated = $4 WHERE family_id = $1 AND generation = $2";
const DELETE: &str = "DELETE FROM grant_family WHERE family_id = $1";
const DELETE_OF_CLIENT: &str = "DELETE FROM grant_family WHERE client_id = $1";
const OF_SESSION: &str = "SELECT family_id FROM grant_family WHERE session_id = $1 ORDER BY family_id";
const OF_SUBJECT: &str = "SELECT family_id FROM grant_family WHERE subject = $1 ORDER BY family_id";
// Also what others got in exchange for the client's tokens: the family these came of may be gone already.
const OF_SUBJECT_AT_CLIENT: &str = "SELECT family_id FROM grant_family \
     WHERE subject = $1 AND (client_id = $2 OR parent_client_id = $2) ORDER BY family_id";
const GRANTED_CLIENTS: &str = "SELECT DISTINCT client_id FROM grant_family \
     WHERE subject = $1 AND expires > $2 AND parent_id IS NULL ORDER BY client_id";
const CAME_OF_CLIENT: &str = "SELECT family_id FROM grant_family WHERE client_id <> $1 AND (parent_client_id = $1 \
     OR parent_id IN (SELECT family_id FROM grant_family WHERE client_id = $1)) ORDER BY family_id";
const OF_PARENT: &str = "SELECT family_id FROM grant_family WHERE parent_id = $1 ORDER BY family_id";
const DELETE_EXPIRED: &str = "DELETE FROM grant_family WHERE family_id IN \
     (SELECT family_id FROM grant_family WHERE expires <= $1 ORDER BY expires LIMIT $2)";

/// A family that a mark names.
#[cfg(test)]
pub(super) fn marked<'a>(
    mark: &'a super::trial::Mark,
    family: &'a FamilyId,
    client_id: &'a ClientId,
    subject: &'a Subject,
) -> NewFamily<'a> {
    let (created, expires, state) = (super::trial::NOW, super::trial::LATER, mark.secret.as_bytes());
    NewFamily { family, client_id, subject, session: None, state, created, expires, parent: None }
}

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "grant_family",
    write: |store, mark| {
        Box::pin(async move {
            (super::person_key::TRIAL.write)(store, mark).await;
            let (family, client_id, subject) = (mark.id(), mark.id(), mark.id());
            let begun = store.begin_family(&marked(mark, &family, &client_id, &subject), &mark.event()).await;
            assert_eq!(begun.expect("answered"), Begun::Now);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let record = store.family(&mark.id(), super::trial::NOW).await.expect("read");
            record.is_some_and(|record| *record.state == *mark.secret.as_bytes() && record.generation == 1)
        })
    },
    uses: super::trial::Uses::Once {
        // Each refresh token is.
        spend: |store, mark| {
            Box::pin(async move {
                let rotated = store.rotate_family(&mark.id(), 1, super::trial::NOW, &[mark.event()]).await;
                rotated.expect("answered") == Rotated::To(2)
            })
        },
        used: "SELECT CAST(COALESCE(SUM(generation - 1), 0) AS BIGINT) FROM grant_family",
    },
};
