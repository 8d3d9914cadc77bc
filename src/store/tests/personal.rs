//! What belongs to people opens with their keys alone: tried with every sealed column of the schema, with rows of before, and with what a
//! thief has who finds an older backup.

use super::super::personal::is_of_person;
use super::reseal::{RowKey, page, put};
use super::sealed::{CONSENT, GRANT_FAMILY, PERSON_KEY, PERSON_KEYS_SEALED_COLUMNS, SEALED_COLUMNS, SealedColumn, Under};
use super::trial::{Mark, TRIALS};
use super::work::Work;
use super::*;
use crate::domain::{FamilyId, Subject};
use crate::seal::{PersonKey, named_person};

/// Each database of a deployment, with its sealed columns.
pub(super) fn databases(store: &Store) -> [(Arc<Db>, &'static [SealedColumn]); 2] {
    let state = match &store.inner.db {
        Db::Sqlite { writer, reader } => Db::Sqlite { writer: writer.clone(), reader: reader.clone() },
        Db::Postgres(pool) => Db::Postgres(pool.clone()),
    };
    [(Arc::new(state), SEALED_COLUMNS), (store.person_keys().db(), PERSON_KEYS_SEALED_COLUMNS)]
}

/// Where a column is.
pub(super) fn database_of(store: &Store, column: &SealedColumn) -> Arc<Db> {
    let [(state, _), (keys, of_keys)] = databases(store);
    if of_keys.iter().any(|one| one.name() == column.name()) { keys } else { state }
}

/// Somebody has a key, if they had none.
pub(super) async fn give_key(store: &Store, subject: &Subject) -> PersonKey {
    let keys = store.person_keys();
    if let Some(key) = keys.key(subject).await.expect("read") {
        return key;
    }
    let key = PersonKey::random(&SystemRandomness).expect("a key");
    keys.add(&keys.seal_key(subject, &key).expect("sealed"), NOW).await.expect("added");
    key
}

/// What is nobody's, and why. Whoever adds a column that says something of a person seals it for them; for any other there is a line here.
const NOBODYS: [(&str, &str); 9] = [
    ("deployment.canary_sealed", "the deployment's"),
    ("seal_key.wrapped_sealed", "the deployment's"),
    ("secret.value_sealed", "the deployment's"),
    ("signing_key.private_sealed", "the deployment's"),
    ("anchor.anchor_sealed", "an authority's"),
    ("client_secret.secret_sealed", "a client's"),
    ("pushed_request.state_sealed", "a client's, before anybody has signed in; gone within minutes"),
    ("passkey_ceremony.state_sealed", "a challenge of an attempt; gone within minutes"),
    ("person_key.key_sealed", "what is deleted, and kept apart"),
];

on_both_engines! {
    /// The state is backed up, everybody removed, the backup opened beside the keys as they are then, with everything that there is to open
    /// with: every sealed column of the schema that belongs to people says nothing of them.
    async fn an_older_backup_says_nothing_in_any_column(place: &Place) {
        let store = place.open().await;
        let mut marks = Vec::new();
        for trial in TRIALS {
            for number in 0..2 {
                let mark = Mark::new(format!("removed-{}-{number}", trial.table));
                (trial.write)(&store, &mark).await;
                marks.push(mark);
            }
        }
        let mut backup = Vec::new();
        for column in SEALED_COLUMNS {
            let rows = page(&store.inner.db, column, &RowKey::least(column.keyed), &[0], 1_000).await.expect("rows");
            backup.extend(rows.into_iter().map(|(row, value)| (column, row, value)));
        }
        let stays: Subject = "stays".parse().expect("a subject");
        let thief: PersonKey = give_key(&store, &stays).await;
        let columns: BTreeSet<String> = backup.iter().map(|(column, ..)| column.name()).collect();
        assert_eq!(columns, SEALED_COLUMNS.iter().map(SealedColumn::name).collect(), "each column is in the backup");

        let mut before = 0;
        let nobodys: BTreeSet<&str> = NOBODYS.into_iter().map(|(column, _)| column).collect();
        for removed in [false, true] {
            let mut said = BTreeSet::new();
            for (column, row, value) in &backup {
                let name = row.name();
                let context = column.context(store.deployment(), &name);
                let outer = match column.under {
                    Under::Master => store.master_keys().unwrap(&context, value),
                    _ => store.ring().open_row(&context, value),
                };
                let outer = outer.expect("the deployment's own keys open it");
                let (named, own) = named_person(&outer).unwrap_or((&name, &outer));
                // The subject is the part of a row's name before a space.
                let subject = named.split(' ').next().and_then(|subject| subject.parse().ok()).expect("a subject");
                let theirs = store.person_keys().key(&subject).await.expect("read");
                let plain = [theirs.as_ref(), Some(&thief)].into_iter().flatten().find_map(|key| key.open(&context, own).ok());
                match (plain, column.under) {
                    (Some(_), Under::Person) => before += usize::from(!removed),
                    (Some(_), _) => panic!("{}: sealed for a person, and not listed so", column.name()),
                    (None, Under::Person) => {
                        assert!(removed, "{} of {name}: not sealed for its person", column.name());
                        assert!(is_of_person(&outer) || outer.starts_with(&[1, 3]), "{}", column.name());
                    }
                    (None, _) => drop(said.insert(column.name())),
                }
                if column.under == Under::Person {
                    let shown = String::from_utf8_lossy(&outer);
                    assert!(!marks.iter().any(|mark| shown.contains(&mark.secret)), "{} of {name}", column.name());
                }
            }
            let said: BTreeSet<&str> = said.iter().map(String::as_str).chain(["person_key.key_sealed"]).collect();
            assert_eq!(said, nobodys, "what opens without a person's key");
            for mark in &marks {
                store.person_keys().delete(&mark.id()).await.expect("deleted");
            }
        }
        assert!(before >= 26, "{before} values opened with their keys");
        // Nor does the program give anything, and nothing of it is a fault.
        for mark in &marks {
            assert!(store.family(&mark.id(), super::super::trial::NOW).await.expect("answered").is_none());
            assert!(store.consent(&mark.id(), &mark.id()).await.expect("answered").is_none());
            assert!(store.consents(&mark.id()).await.expect("answered").is_empty());
            assert!(store.code(&mark.secret, super::super::trial::NOW).await.expect("answered").is_none());
            assert!(store.device_authorization(&mark.secret, super::super::trial::NOW).await.expect("answered").is_none());
            assert!(store.interaction(&mark.secret, super::super::trial::NOW).await.expect("answered").is_none());
        }
    }

    /// A check opens what is a person's with the person's key, and looks at the keys' own database.
    async fn a_check_goes_down_to_the_persons_seal(place: &Place) {
        let store = place.open().await;
        for name in ["checked", "beside"] {
            (super::super::consent::TRIAL.write)(&store, &Mark::new(name)).await;
        }
        let check = async || store.check(&place.settings, place.directory.path()).await.expect("checked");
        let sound = check().await;
        let keys = store.person_keys().db();
        let of_keys = page(&keys, &PERSON_KEY, &RowKey::least(PERSON_KEY.keyed), &[0], 10).await.expect("rows").len() as u64;
        assert!(sound.broken == 0 && of_keys >= 2 && sound.opened > of_keys, "{sound:?}, {of_keys} keys");
        // The outer seal is whole, what is in it is not.
        let rows = page(&store.inner.db, &CONSENT, &RowKey::least(CONSENT.keyed), &[0], 10).await.expect("rows");
        let (row, value) = rows.first().expect("a row");
        let name = row.name();
        let mut inner = store.unseal(&CONSENT, &name, value).expect("opens").to_vec();
        *inner.last_mut().expect("bytes") ^= 1;
        let changed = store.seal(&CONSENT, &name, &inner).expect("sealed");
        let replace = async |db: &Db, column: &SealedColumn, row: &RowKey, now: &[u8], before: &[u8]| {
            let mut work = Work::begin(db).await.expect("begun");
            assert_eq!(put(&mut work, column, row, now, before).await.expect("put"), 1);
            work.commit().await.expect("committed");
        };
        replace(&store.inner.db, &CONSENT, row, &changed, value).await;
        assert_eq!((check().await.opened, check().await.broken), (sound.opened - 1, 1));
        replace(&store.inner.db, &CONSENT, row, value, &changed).await;
        assert_eq!(check().await, sound);
        // A key that does not open counts itself, and whatever only it opens when nobody holds it in memory.
        let rows = page(&keys, &PERSON_KEY, &RowKey::least(PERSON_KEY.keyed), &[0], 10).await.expect("rows");
        let [(row, value), (_, other), ..] = &rows[..] else { panic!("{} keys", rows.len()) };
        replace(&keys, &PERSON_KEY, row, other, value).await;
        assert_eq!((check().await.opened, check().await.broken), (sound.opened - 1, 1));
        replace(&keys, &PERSON_KEY, row, value, other).await;
        assert_eq!(check().await, sound);
    }

    /// What an earlier version wrote without the person's key opens, and is sealed with it at the next change of the ring's keys.
    async fn what_an_earlier_version_wrote_opens_and_becomes_its_persons(place: &Place) {
        let store = place.open().await;
        let mark = Mark::new("earlier");
        (super::super::grant_family::TRIAL.write)(&store, &mark).await;
        let machine = Mark::new("machine");
        let (family, client_id, subject) = (machine.id(), machine.id(), machine.id());
        let new = super::super::grant_family::marked(&machine, &family, &client_id, &subject);
        assert_eq!(store.begin_family(&new, &machine.event()).await.expect("begun"), Begun::Now);
        let account = Mark::new("allows");
        (super::super::consent::TRIAL.write)(&store, &account).await;
        // As it was.
        rewrite(&store, "UPDATE grant_family SET state_sealed = $1 WHERE family_id = 'earlier'", &GRANT_FAMILY, "earlier").await;
        rewrite(&store, "UPDATE consent SET state_sealed = $1 WHERE subject = 'allows'", &CONSENT, "allows allows").await;
        let family: FamilyId = mark.id();
        let state = async |family: &FamilyId| store.family(family, NOW).await.expect("read").expect("there").state;
        assert_eq!(state(&family).await.as_slice(), b"{\"earlier\":true}");
        assert_eq!(layers(&store).await, [("consent".to_owned(), 0), ("grant_family".to_owned(), 0)]);

        let rotated = store.rotate_seal_key(&SystemRandomness, NOW).await.expect("rotated");
        let later = rotated.activates.plus(SETTLE);
        store.take_in_seal_keys(later).await.expect("taken in");
        let mut pass = store.begin_pass(later);
        while !store.step_pass(&mut pass).await.expect("a step").finished {}
        assert_eq!(layers(&store).await, [("consent".to_owned(), 1), ("grant_family".to_owned(), 1)], "a machine has no key");
        assert_eq!(state(&family).await.as_slice(), b"{\"earlier\":true}");
        assert_eq!(state(&machine.id()).await.as_slice(), machine.secret.as_bytes());
        let consent = store.consent(&account.id(), &account.id()).await.expect("read").expect("there");
        assert_eq!(consent.as_slice(), b"{\"earlier\":true}");
        store.person_keys().delete(&mark.id()).await.expect("deleted");
        assert!(store.family(&family, NOW).await.expect("answered").is_none());
    }

    /// Whoever has used the key of a person a moment ago asks the database no more; and forgets it with the person, here and at replicas.
    async fn a_key_is_read_once_and_forgotten_with_its_person(place: &Place) {
        let stores = [place.open().await, place.open().await];
        let mark = Mark::new("held");
        (super::super::account::TRIAL.write)(&stores[0], &mark).await;
        let subject: Subject = mark.id();
        for store in &stores {
            assert!(store.person(&subject).await.expect("read").is_some());
        }
        // Behind the back of both.
        let sealed = stores[0].person_keys().find(&subject).await.expect("read").expect("there");
        delete_row(&stores[0], "held").await;
        for store in &stores {
            assert!(store.person(&subject).await.expect("held").is_some(), "no query");
        }
        stores[0].person_keys().add(&sealed, NOW).await.expect("put back");

        stores[0].person_keys().delete(&subject).await.expect("deleted");
        assert!(stores[0].person(&subject).await.expect("read").is_none());
        assert!(stores[0].remove_account(&subject, window(100, 400), NOW).await.expect("removed"));
        stores[1].revocation_rules(0, 10).await.expect("what every replica reads within a second");
        assert!(stores[1].person(&subject).await.expect("read").is_none());
    }

    /// A person who is removed between the sign-in and the code has nothing written that opens without their key.
    async fn nothing_is_written_for_whoever_has_no_key_any_more(place: &Place) {
        let store = place.open().await;
        let mark = Mark::new("gone");
        (super::super::authorization_code::TRIAL.write)(&store, &mark).await;
        store.person_keys().delete(&mark.id()).await.expect("deleted");
        // The account is there still.
        let (family, client_id, subject) = (mark.id(), mark.id(), mark.id());
        let new = super::super::grant_family::marked(&mark, &family, &client_id, &subject);
        let spent = store.redeem_code(&mark.secret, NOW, Some(&new), &[]).await.expect("answered");
        assert_eq!(spent, CodeSpent::AccountEnded);
        let code = NewCode { code: "next", family: &family, subject: &subject, session: None, state: b"{}", expires: NOW.plus(SETTLE) };
        let issued = store.issue_code(&code, &Finishes::default(), &mark.event()).await.expect("answered");
        assert_eq!(issued, Finished::Before);
        let allow = |_| Ok::<_, StoreError>(Some((b"{}".to_vec(), mark.event())));
        assert!(!store.put_consent(&subject, &client_id, allow).await.expect("answered"));
        let kept = store.add_interaction("next", Some(&subject), b"{}", NOW.plus(SETTLE)).await;
        assert!(matches!(kept, Err(StoreError::Unavailable(_))), "{kept:?}");
    }

    /// Nobody makes others take a state for a sealed one.
    async fn a_state_does_not_begin_like_a_sealed_one(place: &Place) {
        let store = place.open().await;
        let kept = store.add_interaction("odd", None, &[1, 5, 3, b'b', b'o', b'b', 0], NOW.plus(SETTLE)).await;
        assert!(matches!(kept, Err(StoreError::Defect(_))), "{kept:?}");
        assert_eq!(PERSON_KEY.under, Under::Lasting);
    }
}

/// Puts a state where it stood before there was a person's key about it.
async fn rewrite(store: &Store, statement: &'static str, column: &SealedColumn, row: &str) {
    let sealed = store.seal(column, row, b"{\"earlier\":true}").expect("sealed");
    let rows = match &store.inner.db {
        Db::Sqlite { writer, .. } => sqlx::query(statement).bind(sealed).execute(writer).await.map(|done| done.rows_affected()),
        Db::Postgres(pool) => sqlx::query(statement).bind(sealed).execute(pool).await.map(|done| done.rows_affected()),
    };
    assert_eq!(rows.expect("written"), 1);
}

/// How many consents and families are sealed with a person's key.
async fn layers(store: &Store) -> [(String, usize); 2] {
    let mut found = [&CONSENT, &GRANT_FAMILY].map(|column| (column.table.to_owned(), 0));
    for (column, (_, count)) in [&CONSENT, &GRANT_FAMILY].into_iter().zip(&mut found) {
        let rows = page(&store.inner.db, column, &RowKey::least(column.keyed), &[0], 1_000).await.expect("rows");
        for (row, value) in rows {
            *count += usize::from(is_of_person(&store.unseal(column, &row.name(), &value).expect("opens")));
        }
    }
    found
}

async fn delete_row(store: &Store, subject: &str) {
    let statement = "DELETE FROM person_key WHERE subject = $1";
    match &*store.person_keys().db() {
        Db::Sqlite { writer, .. } => sqlx::query(statement).bind(subject).execute(writer).await.map(drop),
        Db::Postgres(pool) => sqlx::query(statement).bind(subject).execute(pool).await.map(drop),
    }
    .expect("deleted");
}
