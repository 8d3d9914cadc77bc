//! What belongs to a person in rows that are not named after them: what they allowed, their codes and grants, what waits for them.
//!
//! It is sealed with the person's key and says, inside of the ring's seal, whose it is ([`name_person`]). Before anybody knows whose a row will be,
//! and where it is a machine's, there is the ring's seal alone; so it is in rows that an earlier version wrote.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::engine::Db;
use super::sealed::SealedColumn;
use super::{Store, StoreError, person_key};
use crate::domain::Subject;
use crate::seal::{NAMED, PersonKey, Plaintext, name_person, named_person};

/// Keys of people that a process holds, opened. Beyond that it reads them again.
const MOST_HELD: usize = 16_384;

/// The keys of people as this process knows them.
pub(super) struct People {
    db: Arc<Db>,
    held: Mutex<HashMap<Subject, Arc<PersonKey>>>,
}

impl People {
    pub(super) fn new(db: Arc<Db>) -> Self {
        Self { db, held: Mutex::default() }
    }

    pub(super) const fn db(&self) -> &Arc<Db> {
        &self.db
    }

    fn held(&self, subject: &Subject) -> Option<Arc<PersonKey>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(subject).cloned()
    }

    fn hold(&self, subject: &Subject, key: &Arc<PersonKey>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST_HELD {
            held.clear();
        }
        held.insert(subject.clone(), key.clone());
    }
}

/// A person who is there: what they are to be sealed with.
pub(super) struct Person {
    subject: Subject,
    key: Arc<PersonKey>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Store {
    /// The person of this name, with their key; `None` when it is nobody's, or not any more. The key of somebody who was here before costs no
    /// query.
    pub(super) async fn person(&self, subject: &Subject) -> Result<Option<Person>, StoreError> {
        let people = self.inner.people.get().ok_or_else(|| StoreError::Defect("the keys of people are not open".into()))?;
        let person = |key| Some(Person { subject: subject.clone(), key });
        if let Some(key) = people.held(subject) {
            return Ok(person(key));
        }
        let Some(key) = person_key::read_key(self, &people.db, subject).await? else { return Ok(None) };
        let key = Arc::new(key);
        people.hold(subject, &key);
        Ok(person(key))
    }

    /// The same where somebody may be known. Somebody who has been removed since is an error: what is theirs is not written without their key.
    pub(super) async fn person_if_any(&self, subject: Option<&Subject>) -> Result<Option<Person>, StoreError> {
        let Some(subject) = subject else { return Ok(None) };
        let gone = || StoreError::Unavailable(format!("the key of {subject} is gone: they were removed a moment ago"));
        self.person(subject).await?.ok_or_else(gone).map(Some)
    }

    /// Notes a key that was opened for another reason.
    pub(super) fn hold_person_key(&self, subject: &Subject, key: &PersonKey) {
        if let Some(people) = self.inner.people.get()
            && people.held(subject).is_none()
            && let Some(key) = PersonKey::from_bytes(key.expose())
        {
            people.hold(subject, &Arc::new(key));
        }
    }

    /// Wipes the key of a person: they were removed, or may have been.
    pub(super) fn forget_person_key(&self, subject: &str) {
        if let (Some(people), Ok(subject)) = (self.inner.people.get(), subject.parse()) {
            people.held.lock().unwrap_or_else(PoisonError::into_inner).remove::<Subject>(&subject);
        }
    }

    /// Seals what belongs to a person, or to nobody yet.
    pub(super) fn seal_of(
        &self,
        person: Option<&Person>,
        column: &SealedColumn,
        row: &str,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let Some(Person { subject, key }) = person else {
            // States are JSON.
            if is_of_person(value) {
                return Err(StoreError::Defect(format!("{}: a state that begins like a sealed one", column.name())));
            }
            return self.seal(column, row, value);
        };
        let context = column.context(&self.inner.deployment, row);
        let own = key.seal(&context, value).map_err(|problem| column.broken(row, problem))?;
        let value = name_person(subject.as_str(), &own).map_err(|problem| column.broken(row, problem))?;
        self.seal(column, row, &value)
    }

    /// Opens what [`Store::seal_of`] sealed; `None` when it belongs to a person who was removed.
    pub(super) async fn unseal_of(
        &self,
        column: &SealedColumn,
        row: &str,
        sealed: &[u8],
    ) -> Result<Option<Plaintext>, StoreError> {
        let opened = self.unseal(column, row, sealed)?;
        if !is_of_person(&opened) {
            return Ok(Some(opened));
        }
        let corrupt = || StoreError::Corrupt(format!("{} of row {row}: it does not say whose it is", column.name()));
        let (subject, own) = named_person(&opened).ok_or_else(corrupt)?;
        let subject: Subject = subject.parse().map_err(|_| corrupt())?;
        let Some(person) = self.person(&subject).await? else { return Ok(None) };
        let context = column.context(&self.inner.deployment, row);
        let mut value = person.key.open(&context, own).map_err(|problem| column.broken(row, problem))?;
        Ok(Some(Plaintext::from(std::mem::take(&mut *value))))
    }
}

/// Whether what the ring's seal had in it is sealed with a person's key once more, and says whose.
pub(super) fn is_of_person(value: &[u8]) -> bool {
    value.starts_with(&NAMED)
}
