//! Devices that wait for a person with a browser (RFC 8628): asked for once, decided once, redeemed once.

use std::fmt;

use super::authorization_code::{CodeSpent, ended_meanwhile};
use super::engine::read;
use super::grant_family::NewFamily;
use super::sealed::{DEVICE_GRANT, DEVICE_REQUEST, row_name};
use super::work::{Work, within};
use super::{Store, StoreError, browser_session, logout_notice};
use crate::domain::{ClientId, FamilyId, SessionId, Subject, Timestamp};
use crate::event::Trailed;
use crate::seal::Plaintext;

/// What the keyed hashes are made for.
const DEVICE_CODE: &str = "device_authorization.device_index";
const USER_CODE: &str = "device_authorization.user_index";

/// Seconds between two questions after which there are no more of them.
const LONGEST_PAUSE: i64 = 600;

/// A device's request to be.
#[derive(Clone, Copy)]
pub struct NewDeviceAuthorization<'a> {
    /// What the device keeps: unguessable.
    pub device_code: &'a str,
    /// What the person types, normalized.
    pub user_code: &'a str,
    /// What its tokens will descend from.
    pub family: &'a FamilyId,
    /// What is asked for; sealed.
    pub request: &'a [u8],
    /// Seconds that the device must leave between two questions.
    pub pause: u32,
    /// How long it is remembered: beyond its own life, so that the device can be told that it is over.
    pub expires: Timestamp,
}

impl fmt::Debug for NewDeviceAuthorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewDeviceAuthorization")
            .field("family", self.family)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// How far a device's request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Nobody has decided.
    Pending,
    /// A person allowed it.
    Allowed,
    /// A person denied it.
    Denied,
    /// The device has its tokens.
    Redeemed,
}

impl DeviceState {
    const ALL: [Self; 4] = [Self::Pending, Self::Allowed, Self::Denied, Self::Redeemed];

    const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Redeemed => "redeemed",
        }
    }

    fn from_name(name: &str) -> Result<Self, StoreError> {
        let known = Self::ALL.into_iter().find(|state| state.name() == name);
        known.ok_or_else(|| StoreError::Corrupt(format!("table device_authorization: state {name:?}")))
    }
}

/// A device's request as stored, opened.
#[derive(Clone)]
pub struct DeviceRecord {
    /// What its tokens descend from.
    pub family: FamilyId,
    /// How far it has come.
    pub state: DeviceState,
    /// What is asked for.
    pub request: Plaintext,
    /// What was granted, once it was.
    pub granted: Option<Plaintext>,
}

impl fmt::Debug for DeviceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceRecord").field("family", &self.family).field("state", &self.state).finish_non_exhaustive()
    }
}

/// Whether a device's request was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceAdded {
    /// It was.
    Added,
    /// Another request has this user code; nothing was written.
    UserCodeTaken,
}

/// Whether a device may ask again at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// It left the time that it must.
    InTime,
    /// It did not; from now on it must leave more.
    TooFast,
}

type Row = (String, String, Vec<u8>, Option<Vec<u8>>, Vec<u8>);

impl Store {
    /// Takes a device's request in.
    pub async fn add_device_authorization(&self, new: &NewDeviceAuthorization<'_>) -> Result<DeviceAdded, StoreError> {
        let device_index = self.index(DEVICE_CODE, new.device_code.as_bytes());
        let sealed = self.seal_of(None, &DEVICE_REQUEST, &row_name(&device_index), new.request)?;
        let mut work = Work::begin(self).await?;
        let added = within!(&mut work, execute: sqlx::query(INSERT)
                .bind(device_index)
                .bind(self.index(USER_CODE, new.user_code.as_bytes()))
                .bind(new.family.as_str())
                .bind(sealed)
                .bind(i64::from(new.pause))
                .bind(new.expires.seconds()))?;
        if added == 0 {
            return Ok(DeviceAdded::UserCodeTaken);
        }
        work.commit().await?;
        Ok(DeviceAdded::Added)
    }

    /// The request of a device code that is remembered at `now`.
    pub async fn device_authorization(&self, device_code: &str, now: Timestamp) -> Result<Option<DeviceRecord>, StoreError> {
        self.find_device(BY_DEVICE, self.indexes(DEVICE_CODE, device_code.as_bytes()), now).await
    }

    /// The request of a user code that is remembered at `now`.
    pub async fn device_authorization_of(&self, user_code: &str, now: Timestamp) -> Result<Option<DeviceRecord>, StoreError> {
        self.find_device(BY_USER, self.indexes(USER_CODE, user_code.as_bytes()), now).await
    }

    async fn find_device(
        &self,
        statement: &'static str,
        indexes: Vec<Vec<u8>>,
        now: Timestamp,
    ) -> Result<Option<DeviceRecord>, StoreError> {
        for index in indexes {
            let row: Option<Row> = read!(&self.inner.db, fetch_optional:
                sqlx::query_as(statement).bind(index).bind(now.seconds()))?;
            let Some((family, state, request, granted, device_index)) = row else { continue };
            let corrupt = |problem| StoreError::Corrupt(format!("table device_authorization: family_id {family:?} {problem}"));
            let name = row_name(&device_index);
            // Nobody has the key of a person who was removed: then there is nothing to know.
            let Some(request) = self.unseal_of(&DEVICE_REQUEST, &name, &request).await? else { return Ok(None) };
            let granted = match granted {
                Some(sealed) => match self.unseal_of(&DEVICE_GRANT, &name, &sealed).await? {
                    Some(granted) => Some(granted),
                    None => return Ok(None),
                },
                None => None,
            };
            return Ok(Some(DeviceRecord {
                family: family.parse().map_err(corrupt)?,
                state: DeviceState::from_name(&state)?,
                request,
                granted,
            }));
        }
        Ok(None)
    }

    /// Notes that a device asked and was told to wait. One that asks too soon must leave `more` seconds more from then on (RFC 8628
    /// §3.5): that is written down until it must wait for longer than the code lives, and from then on it costs no write.
    pub async fn poll_device(&self, device_code: &str, more: u32, now: Timestamp) -> Result<Polled, StoreError> {
        for index in self.indexes(DEVICE_CODE, device_code.as_bytes()) {
            let stays: Option<(i64,)> = read!(&self.inner.db, fetch_optional:
                sqlx::query_as(SLOWED_ENOUGH).bind(index).bind(now.seconds()).bind(LONGEST_PAUSE))?;
            if stays.is_some() {
                return Ok(Polled::TooFast);
            }
        }
        let mut work = Work::begin(self).await?;
        let mut polled = Polled::InTime;
        for index in self.indexes(DEVICE_CODE, device_code.as_bytes()) {
            let slowed = within!(&mut work, execute: sqlx::query(SLOW_DOWN)
                .bind(index.as_slice())
                .bind(now.seconds())
                .bind(i64::from(more)))?;
            if slowed > 0 {
                polled = Polled::TooFast;
                break;
            }
            within!(&mut work, execute: sqlx::query(NOTE_POLL).bind(index).bind(now.seconds()))?;
        }
        work.commit().await?;
        Ok(polled)
    }

    /// Decides about a device's request, with its event: `granted`, or denied. Of many who try one is first; gives whether it is this
    /// one. What is allowed is allowed in a session that is there still. From now on the row is the person's who decided: what was asked for is
    /// sealed for them too.
    pub async fn decide_device(
        &self,
        user_code: &str,
        subject: &Subject,
        granted: Option<(&[u8], &SessionId)>,
        now: Timestamp,
        event: &Trailed,
    ) -> Result<bool, StoreError> {
        let Some(person) = self.person(subject).await? else { return Ok(false) };
        let mut work = Work::begin(self).await?;
        if let Some((_, session_id)) = granted
            && !browser_session::hold(&mut work, session_id).await?
        {
            return Ok(false);
        }
        let state = if granted.is_some() { DeviceState::Allowed } else { DeviceState::Denied };
        let mut decided = 0;
        for index in self.indexes(USER_CODE, user_code.as_bytes()) {
            let row: Option<Row> =
                within!(&mut work, fetch_optional: sqlx::query_as(BY_USER).bind(index.as_slice()).bind(now.seconds()))?;
            let Some((_, _, request, _, device_index)) = row else { continue };
            let name = row_name(&device_index);
            let Some(request) = self.unseal_of(&DEVICE_REQUEST, &name, &request).await? else { continue };
            let request = self.seal_of(Some(&person), &DEVICE_REQUEST, &name, &request)?;
            let sealed = granted.map(|(granted, _)| self.seal_of(Some(&person), &DEVICE_GRANT, &name, granted)).transpose()?;
            decided += within!(&mut work, execute: sqlx::query(DECIDE)
                .bind(device_index)
                .bind(state.name())
                .bind(sealed)
                .bind(request))?;
        }
        if decided == 0 {
            return Ok(false);
        }
        work.record_event(event).await?;
        work.commit().await?;
        Ok(true)
    }

    /// Redeems a device code that was allowed: of many who try, in this process or another, one is first. The family, the client that
    /// will be told of the session's end and the events commit with it.
    pub async fn redeem_device(
        &self,
        device_code: &str,
        family: &NewFamily<'_>,
        told: Option<(&SessionId, &ClientId)>,
        events: &[Trailed],
    ) -> Result<CodeSpent, StoreError> {
        let (session, subject) = (family.session, family.subject);
        let Some(person) = self.person(subject).await? else { return Ok(CodeSpent::AccountEnded) };
        let family = self.prepare_family(family, Some(&person))?;
        let mut work = Work::begin(self).await?;
        if let Some(ended) = ended_meanwhile(&mut work, Some(subject), session).await? {
            return Ok(ended);
        }
        if let Some((session_id, client_id)) = told {
            // A session that offline access has outlived has nothing to tell.
            logout_notice::remember(&mut work, session_id, Some(client_id)).await?;
        }
        let mut redeemed = 0;
        for index in self.indexes(DEVICE_CODE, device_code.as_bytes()) {
            redeemed += within!(&mut work, execute: sqlx::query(REDEEM).bind(index))?;
        }
        if redeemed == 0 {
            return Ok(CodeSpent::Before);
        }
        family.insert(&mut work).await?;
        for event in events {
            work.record_event(event).await?;
        }
        work.commit().await?;
        Ok(CodeSpent::Now)
    }

    /// Deletes at most `batch` requests that need not be remembered at `now`; gives how many.
    pub async fn delete_expired_device_authorizations(&self, now: Timestamp, batch: u32) -> Result<u64, StoreError> {
        let mut work = Work::begin(self).await?;
        let deleted = within!(&mut work, execute: sqlx::query(DELETE_EXPIRED).bind(now.seconds()).bind(i64::from(batch)))?;
        work.commit().await?;
        Ok(deleted)
    }
}

const INSERT: &str = "INSERT INTO device_authorization \
     (device_index, user_index, family_id, state, request_sealed, granted_sealed, pause, polled, expires) \
     VALUES ($1, $2, $3, 'pending', $4, NULL, $5, 0, $6) ON CONFLICT DO NOTHING";
const BY_DEVICE: &str = "SELECT family_id, state, request_sealed, granted_sealed, device_index FROM device_authorization \
     WHERE device_index = $1 AND expires > $2";
const BY_USER: &str = "SELECT family_id, state, request_sealed, granted_sealed, device_index FROM device_authorization \
     WHERE user_index = $1 AND expires > $2";
const SLOWED_ENOUGH: &str = "SELECT pause FROM device_authorization \
     WHERE device_index = $1 AND polled + pause > $2 AND pause >= $3";
const SLOW_DOWN: &str = "UPDATE device_authorization SET pause = pause + $3, polled = $2 \
     WHERE device_index = $1 AND polled + pause > $2";
const NOTE_POLL: &str = "UPDATE device_authorization SET polled = $2 WHERE device_index = $1";
const DECIDE: &str = "UPDATE device_authorization SET state = $2, granted_sealed = $3, request_sealed = $4 \
     WHERE device_index = $1 AND state = 'pending'";
const REDEEM: &str = "UPDATE device_authorization SET state = 'redeemed' WHERE device_index = $1 AND state = 'allowed'";
const DELETE_EXPIRED: &str = "DELETE FROM device_authorization WHERE device_index IN \
     (SELECT device_index FROM device_authorization WHERE expires <= $1 ORDER BY expires LIMIT $2)";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "device_authorization",
    write: |store, mark| {
        Box::pin(async move {
            (super::browser_session::TRIAL.write)(store, mark).await;
            let (family, request, expires) = (mark.id(), mark.secret.as_bytes(), super::trial::LATER);
            let user_code = mark.beside("typed").secret;
            let device_code = &mark.secret;
            let new = NewDeviceAuthorization { device_code, user_code: &user_code, family: &family, request, pause: 5, expires };
            assert_eq!(store.add_device_authorization(&new).await.expect("answered"), DeviceAdded::Added);
            let granted = Some((request, &mark.id()));
            assert!(
                store.decide_device(&user_code, &mark.id(), granted, super::trial::NOW, &mark.event()).await.expect("answered")
            );
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            let record = store.device_authorization(&mark.secret, super::trial::NOW).await.expect("read");
            record.is_some_and(|record| {
                record.state == DeviceState::Allowed
                    && *record.request == *mark.secret.as_bytes()
                    && record.granted.is_some_and(|granted| *granted == *mark.secret.as_bytes())
            })
        })
    },
    uses: super::trial::Uses::Once {
        spend: |store, mark| {
            Box::pin(async move {
                let (family, client_id, subject) = (mark.id(), mark.id(), mark.id());
                let new = super::grant_family::marked(mark, &family, &client_id, &subject);
                let spent = store.redeem_device(&mark.secret, &new, None, &[mark.event()]).await.expect("answered");
                spent == CodeSpent::Now && store.family(&family, super::trial::NOW).await.expect("read").is_some()
            })
        },
        used: "SELECT COUNT(*) FROM device_authorization WHERE state = 'redeemed' AND family_id IN \
               (SELECT family_id FROM grant_family)",
    },
};
