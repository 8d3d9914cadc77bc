//! The ring's keys: made once, rotated, resealed, deleted; master keys changed.

use super::super::seal_key::{RING, insert};
use super::sealed::{CANARY, SIGNING_KEY, WRAPPED_KEY};
use super::work::Work;
use super::*;

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW.seconds() + seconds)
}

const AFTER_ACTIVATION: i64 = ACTIVATION_DELAY.seconds() as i64;
const AFTER_SETTLING: i64 = AFTER_ACTIVATION + SETTLE.seconds() as i64;
const DAY: i64 = 86_400;

const REFRESH_TOKEN: crate::seal::BearerContext<'static> =
    crate::seal::BearerContext { purpose: crate::seal::Purpose::RefreshToken, issuer: "https://as.example" };

async fn family_until(store: &Store, name: &str, created: Timestamp, expires: Timestamp) {
    let (family, client_id) = (name.parse().expect("a family"), id("alice"));
    let subject = name.parse().expect("a subject");
    let (session, state, parent) = (None, b"{}".as_slice(), None);
    let new = NewFamily { family: &family, client_id: &client_id, subject: &subject, session, state, created, expires, parent };
    assert_eq!(store.begin_family(&new, &revoked("t")).await.expect("begun"), Begun::Now);
}

/// What a process does before it is killed: the grant is committed, the token is given away.
pub(super) async fn give_away_a_refresh_token(store: &Store) -> Option<String> {
    let expires = later(30 * DAY);
    let token = store.ring().seal_bearer(&REFRESH_TOKEN, "alice", expires, b"{}").expect("sealed");
    family_until(store, "carried", NOW, expires).await;
    Some(token)
}

async fn rotate(store: &Store, now: Timestamp) -> SealKeyRecord {
    store.rotate_seal_key(&SystemRandomness, now).await.expect("rotated")
}

/// Walks over everything; gives how many rows were resealed and how many could not be.
async fn reseal(store: &Store, now: Timestamp) -> (u64, u64) {
    let mut pass = store.begin_pass(now);
    let (mut rows, mut broken) = (0, 0);
    loop {
        let done = store.step_pass(&mut pass).await.expect("a step");
        (rows, broken) = (rows + done.rows, broken + done.broken);
        if done.finished {
            break;
        }
    }
    store.finish_pass(&pass, now).await.expect("noted");
    (rows, broken)
}

/// Rows of the one kind that needs no use case, sealed as the store seals them.
async fn signing_keys(store: &Store, count: usize) {
    for number in 0..count {
        let name = format!("key-{number:04}");
        let sealed = store.seal(&SIGNING_KEY, &name, format!("private {number}").as_bytes()).expect("sealed");
        let state = if number == 0 { "current" } else { "retired" };
        let statement = "INSERT INTO signing_key (key_id, algorithm, state, public_jwk, private_sealed, created) \
             VALUES ($1, 'ES256', $2, '{}', $3, 1)";
        match &store.inner.db {
            Db::Sqlite { writer, .. } => {
                sqlx::query(statement).bind(&name).bind(state).bind(&sealed).execute(writer).await.map(drop)
            }
            Db::Postgres(pool) => sqlx::query(statement).bind(&name).bind(state).bind(&sealed).execute(pool).await.map(drop),
        }
        .expect("inserted");
    }
}

async fn private_halves(store: &Store) -> Vec<String> {
    let keys = store.signing_keys().await.expect("every one opens");
    keys.iter().map(|key| String::from_utf8_lossy(&key.private_pkcs8).into_owned()).collect()
}

on_both_engines! {
    async fn of_many_processes_that_start_at_once_one_makes_the_keys(place: &Place) {
        let stores = futures_util::future::join_all((0..10).map(|_| place.open())).await;
        let rings: BTreeSet<_> = stores.iter().map(|store| store.ring().active_key_id()).collect();
        assert_eq!(rings.len(), 1);
        let indexes: BTreeSet<_> = stores.iter().map(|store| store.ring().blind_index("email", b"a")).collect();
        assert_eq!(indexes.len(), 1);
        let keys = stores[0].seal_keys().await.expect("keys");
        assert_eq!(keys.len(), 1);
        assert_eq!((keys[0].state(NOW), keys[0].master_key.as_str()), (SealKeyState::Active, "first"));
    }

    /// Published, then known everywhere, then sealing: what the one seals the other opens, also the other that has not activated yet.
    async fn a_rotated_key_is_known_before_it_seals(place: &Place) {
        let (one, two) = (place.open().await, place.open().await);
        let first = one.ring().active_key_id();
        let index = one.ring().blind_index("email", b"a@example");
        one.add_signing_key(&signing_key("one")).await.expect("added");

        let fresh = rotate(&one, NOW).await;
        assert_eq!(fresh.state(NOW), SealKeyState::Next);
        for store in [&one, &two] {
            store.take_in_seal_keys(NOW).await.expect("taken in");
            assert_eq!(store.ring().active_key_id(), first, "published, not yet sealing");
            assert_eq!(store.ring().key_ids().len(), 2);
        }
        let activated = later(AFTER_ACTIVATION);
        one.activate_seal_keys(activated);
        assert_eq!(one.ring().active_key_id(), fresh.id);
        let sealed = one.seal(&SIGNING_KEY, "x", b"by the new key").expect("sealed");
        assert_eq!(two.ring().active_key_id(), first);
        assert_eq!(two.unseal(&SIGNING_KEY, "x", &sealed).expect("opens").as_slice(), b"by the new key");
        let sealed = two.seal(&SIGNING_KEY, "x", b"by the old key").expect("sealed");
        assert_eq!(one.unseal(&SIGNING_KEY, "x", &sealed).expect("opens").as_slice(), b"by the old key");

        // Who starts now begins with the new key, and finds what was stored by index.
        let three = place.try_open(master("first", 1), activated).await.expect("opens");
        assert_eq!(three.ring().active_key_id(), fresh.id);
        assert_eq!(three.ring().blind_index("email", b"a@example"), index);
        assert_eq!(three.signing_keys().await.expect("keys").len(), 1);
        let states: Vec<_> = three.seal_keys().await.expect("keys").iter().map(|key| key.state(activated)).collect();
        assert_eq!(states, [SealKeyState::Retired, SealKeyState::Active]);
        assert_eq!(events(&one).await, ["signing_key_created", "seal_key_created"]);
        let changes = next(one.changes_after(1, 10).await.expect("feed"));
        assert_eq!((changes[0].kind, changes[0].key.as_str()), (ChangeKind::SealKey, fresh.id.as_str()));
    }

    async fn rows_are_resealed_and_old_keys_go_when_nothing_needs_them(place: &Place) {
        let store = place.open().await;
        let first = store.ring().active_key_id();
        signing_keys(&store, 150).await;
        let before = private_halves(&store).await;
        let expires = later(10 * DAY);
        let bearer = crate::seal::BearerContext { purpose: crate::seal::Purpose::AccessToken, issuer: "https://as.example" };
        let text = store.ring().seal_bearer(&bearer, "", expires, b"carried").expect("sealed");
        store.note_bearers().await.expect("noted");

        let fresh = rotate(&store, NOW).await;
        let activated = later(AFTER_ACTIVATION);
        store.take_in_seal_keys(activated).await.expect("taken in");
        assert_eq!(store.rows_behind().await.expect("counted"), 150);
        assert_eq!(reseal(&store, activated).await, (150, 0));
        assert_eq!(store.rows_behind().await.expect("counted"), 0);
        assert_eq!(store.sealed_rows().await.expect("counted"), [(fresh.id.clone(), 150)].into());
        assert_eq!(private_halves(&store).await, before);

        // A process that had not heard writes one more under the old key: the pass that counts begins later.
        let resealed = |keys: Vec<SealKeyRecord>| keys[0].resealed;
        assert_eq!(resealed(store.seal_keys().await.expect("keys")), None, "too early to tell");
        store.activate_seal_keys(NOW);
        execute(&store, "DELETE FROM signing_key WHERE key_id = 'key-0000'").await;
        store.add_signing_key(&signing_key("late")).await.expect("added");
        store.activate_seal_keys(activated);
        assert_eq!(reseal(&store, later(AFTER_SETTLING)).await, (1, 0));
        assert_eq!(resealed(store.seal_keys().await.expect("keys")), Some(later(AFTER_SETTLING)));
        assert_eq!(reseal(&store, later(AFTER_SETTLING)).await, (0, 0), "nothing to do");

        // Kept as long as a replica might still seal with it, and as long as a bearer lives.
        assert_eq!(store.delete_seal_keys(later(AFTER_SETTLING)).await.expect("looked"), []);
        assert_eq!(store.delete_seal_keys(later(9 * DAY)).await.expect("looked"), [], "a bearer is alive");
        let opened = store.ring().open_bearer(&bearer, &text).expect("opens");
        assert_eq!(opened.expires, expires);
        assert_eq!(store.delete_seal_keys(later(11 * DAY)).await.expect("deleted"), std::slice::from_ref(&first));
        store.take_in_seal_keys(later(11 * DAY)).await.expect("taken in");
        assert_eq!(store.ring().key_ids(), std::slice::from_ref(&fresh.id));
        assert!(store.ring().open_bearer(&bearer, &text).is_err());
        assert_eq!(private_halves(&store).await.len(), 150);
        assert_eq!(events(&store).await.last().map(String::as_str), Some("seal_key_deleted"));
        // The key that seals never goes.
        assert_eq!(store.delete_seal_keys(later(1000 * DAY)).await.expect("looked"), []);
    }

    /// A process that is killed before it has noted how long what it sealed lives: the key is kept until the refresh token has expired.
    async fn a_key_outlives_the_refresh_tokens_of_a_process_that_was_killed(place: &Place) {
        let store = place.open().await;
        let first = store.ring().active_key_id();
        let mut worker = super::trials::Worker::start(place, "carry");
        assert_eq!(worker.hear().as_deref(), Some("ready"));
        let token = tokio::task::block_in_place(|| worker.hear()).expect("a token");
        // SIGKILL: nothing was noted.
        drop(worker);
        assert_eq!(store.seal_keys().await.expect("keys")[0].bearers_expire, Timestamp::from_seconds(0));

        let fresh = rotate(&store, NOW).await;
        store.take_in_seal_keys(later(AFTER_ACTIVATION)).await.expect("taken in");
        reseal(&store, later(AFTER_SETTLING)).await;
        assert_eq!(store.seal_keys().await.expect("keys")[0].resealed, Some(later(AFTER_SETTLING)));
        // Of after the rotation: it keeps no older key.
        family_until(&store, "fresh", later(3 * DAY), later(90 * DAY)).await;
        for day in [3, 10, 29] {
            assert_eq!(store.delete_seal_keys(later(day * DAY)).await.expect("looked"), [], "day {day}");
        }
        let opened = store.ring().open_bearer(&REFRESH_TOKEN, &token).expect("opens");
        assert_eq!((opened.key_id, opened.expires), (first.clone(), later(30 * DAY)));
        assert_eq!(store.delete_seal_keys(later(30 * DAY)).await.expect("deleted"), [first]);
        store.take_in_seal_keys(later(30 * DAY)).await.expect("taken in");
        assert_eq!(store.ring().key_ids(), [fresh.id]);
    }

    /// What client secrets are hashed with is the deployment's own, at every process, whatever becomes of the ring's keys.
    async fn the_key_of_client_secrets_lasts(place: &Place) {
        let (store, elsewhere) = (place.open().await, Place::sqlite());
        let hash = |store: &Store| store.secret_key().hash(b"a secret");
        let before = hash(&store);
        assert_ne!(hash(&elsewhere.open().await), before, "another deployment under the same master key");
        rotate(&store, later(0)).await;
        store.take_in_seal_keys(later(AFTER_SETTLING)).await.expect("taken in");
        reseal(&store, later(AFTER_SETTLING)).await;
        assert_eq!(store.delete_seal_keys(later(30 * DAY)).await.expect("deleted").len(), 1);
        store.close().await;
        assert_eq!(hash(&place.open().await), before);
        // Under another master key too, as a restored copy is opened later.
        let renewed = place.try_open(masters(&[("second", 2), ("first", 1)]), NOW).await.expect("opens");
        assert_eq!(hash(&renewed), before);
    }

    /// At the most nothing is lost: another rotation is refused, with the remedy, until a key has gone.
    async fn there_are_at_most_a_thousand_keys_of_the_ring(place: &Place) {
        let store = place.open().await;
        let oldest = super::super::trial::Mark::new("oldest");
        (super::super::client::SECRET_TRIAL.write)(&store, &oldest).await;
        for number in 1..20 {
            rotate(&store, later(number)).await;
        }
        // However fast they came, each seals from when the one before it does not.
        let keys = store.seal_keys().await.expect("keys");
        assert!(keys.len() == 20 && keys.windows(2).all(|pair| pair[0].retired == Some(pair[1].activates)));
        // As many rotations again and again would make, without their time.
        let mut work = Work::begin(&store.inner.db).await.expect("begun");
        for _ in 20..1_000 {
            let (masters, of) = (store.master_keys(), store.deployment());
            insert(&mut work, masters, of, RING, &SystemRandomness, NOW, NOW).await.expect("a key");
        }
        work.commit().await.expect("committed");
        execute(
            &store,
            "UPDATE seal_key SET retired = activates + 1 WHERE purpose = 'ring' AND retired IS NULL \
             AND activates < (SELECT MAX(activates) FROM seal_key)",
        )
        .await;
        store.close().await;
        // Who starts then opens what any of them sealed.
        let store = place.open().await;
        assert_eq!(store.ring().key_ids().len(), 1_000);
        assert!((super::super::client::SECRET_TRIAL.stands)(&store, &oldest).await);
        let before = contents(&store).await;
        let refused = store.rotate_seal_key(&SystemRandomness, later(1_000)).await.expect_err("too many");
        assert!(matches!(refused, StoreError::TooManySealKeys(1_000)), "{refused}");
        assert!(refused.to_string().contains("1000 seal keys") && refused.to_string().contains("reseal"), "{refused}");
        assert_eq!(contents(&store).await, before);
        store.take_in_seal_keys(later(1_000)).await.expect("taken in");
        reseal(&store, later(1_000)).await;
        assert_eq!(store.delete_seal_keys(later(10 * DAY)).await.expect("deleted").len(), 999);
        rotate(&store, later(10 * DAY)).await;
    }

    /// People's keys lie in a database of their own: it opens beside the other one as it was before a rotation and as it is after.
    async fn peoples_keys_outlast_every_rotation(place: &Place) {
        use crate::domain::Subject;
        use crate::seal::PersonKey;
        let (store, as_it_was) = (place.open().await, place.open().await);
        let keys = PersonKeys::open(&place.settings, place.directory.path(), &store, NOW).await.expect("opens");
        let add = async |name: &str| {
            let subject: Subject = name.parse().expect("a subject");
            let key = PersonKey::random(&SystemRandomness).expect("a key");
            keys.add(&keys.seal_key(&subject, &key).expect("sealed"), NOW).await.expect("stored");
            subject
        };
        let before = add("before").await;
        rotate(&store, NOW).await;
        store.take_in_seal_keys(later(AFTER_SETTLING)).await.expect("taken in");
        reseal(&store, later(AFTER_SETTLING)).await;
        assert_eq!(store.delete_seal_keys(later(30 * DAY)).await.expect("deleted").len(), 1);
        store.take_in_seal_keys(later(30 * DAY)).await.expect("taken in");
        let after = add("after").await;
        let beside_a_backup = PersonKeys::open(&place.settings, place.directory.path(), &as_it_was, NOW).await.expect("opens");
        for keys in [&keys, &beside_a_backup] {
            for subject in [&before, &after] {
                assert!(keys.key(subject).await.expect("opens").is_some());
            }
        }
    }

    async fn a_key_with_rows_is_never_deleted(place: &Place) {
        let store = place.open().await;
        signing_keys(&store, 3).await;
        rotate(&store, NOW).await;
        store.take_in_seal_keys(later(AFTER_SETTLING)).await.expect("taken in");
        // Noted by mistake, or by a program that did not know the table: rows are looked at again before anything goes.
        execute(&store, "UPDATE seal_key SET resealed = 1 WHERE retired IS NOT NULL").await;
        assert_eq!(store.delete_seal_keys(later(30 * DAY)).await.expect("looked"), []);
        assert_eq!(store.seal_keys().await.expect("keys")[0].resealed, None, "to be resealed first");
        assert_eq!(reseal(&store, later(30 * DAY)).await, (3, 0));
        assert_eq!(store.delete_seal_keys(later(30 * DAY)).await.expect("deleted").len(), 1);
        assert_eq!(private_halves(&store).await.len(), 3);
    }

    async fn what_does_not_open_is_left_and_its_key_stays(place: &Place) {
        let store = place.open().await;
        signing_keys(&store, 70).await;
        execute(&store, "UPDATE signing_key SET private_sealed = (SELECT private_sealed FROM signing_key WHERE key_id = 'key-0001') \
             WHERE key_id = 'key-0002'").await;
        rotate(&store, NOW).await;
        store.take_in_seal_keys(later(AFTER_SETTLING)).await.expect("taken in");
        assert_eq!(reseal(&store, later(AFTER_SETTLING)).await, (69, 1));
        assert_eq!(store.rows_behind().await.expect("counted"), 1);
        assert_eq!(store.delete_seal_keys(later(30 * DAY)).await.expect("looked"), []);
    }

    /// Two replicas reseal at once while a third writes: every value is the last one written.
    async fn resealing_overwrites_nobody(place: &Place) {
        let (one, two, writer) = (place.open().await, place.open().await, place.open().await);
        signing_keys(&one, 300).await;
        rotate(&one, NOW).await;
        let now = later(AFTER_ACTIVATION);
        for store in [&one, &two] {
            store.take_in_seal_keys(now).await.expect("taken in");
        }
        let writing = async {
            for number in (0..300).rev().step_by(3) {
                let name = format!("key-{number:04}");
                let sealed = writer.seal(&SIGNING_KEY, &name, b"rewritten").expect("sealed");
                let statement = "UPDATE signing_key SET private_sealed = $1 WHERE key_id = $2";
                match &writer.inner.db {
                    Db::Sqlite { writer, .. } => sqlx::query(statement).bind(&sealed).bind(&name).execute(writer).await.map(drop),
                    Db::Postgres(pool) => sqlx::query(statement).bind(&sealed).bind(&name).execute(pool).await.map(drop),
                }
                .expect("written");
            }
        };
        let ((mine, _), (theirs, _), ()) = tokio::join!(reseal(&one, now), reseal(&two, now), writing);
        assert!(mine + theirs <= 400, "again only what was written in between: {mine} and {theirs}");
        reseal(&one, now).await;
        assert_eq!(one.rows_behind().await.expect("counted"), 0);
        for (number, text) in private_halves(&one).await.iter().enumerate() {
            let expected = if (299 - number) % 3 == 0 { "rewritten".to_owned() } else { format!("private {number}") };
            assert_eq!(*text, expected, "{number}");
        }
    }

    async fn another_master_key_wraps_everything_once_both_are_named(place: &Place) {
        let store = place.open().await;
        store.add_signing_key(&signing_key("one")).await.expect("added");
        rotate(&store, NOW).await;
        let both = place.try_open(masters(&[("second", 2), ("first", 1)]), NOW).await.expect("opens");
        assert_eq!(events(&both).await.last().map(String::as_str), Some("seal_keys_rewrapped"));
        assert!(both.seal_keys().await.expect("keys").iter().all(|key| key.master_key.as_str() == "second"));
        // Nothing is left for the old one, and nothing happens twice.
        let alone = place.try_open(master("second", 2), NOW).await.expect("opens");
        assert_eq!(alone.signing_keys().await.expect("keys").len(), 1);
        let told = events(&alone).await.len();
        place.try_open(masters(&[("second", 2), ("first", 1)]), NOW).await.expect("opens");
        assert_eq!(events(&alone).await.len(), told);
        let before = contents(&alone).await;
        let error = place.try_open(master("first", 1), NOW).await.expect_err("taken away");
        let text = error.to_string();
        assert!(matches!(error, StoreError::MasterKey { .. }) && text.contains("`second`") && text.contains("nothing was written"), "{text}");
        assert_eq!(contents(&alone).await, before);

        // A process that still runs with the old one goes on with the keys it has, and says so about one that it cannot have.
        rotate(&alone, later(60)).await;
        let error = store.take_in_seal_keys(later(120)).await.expect_err("wrapped by a key it does not have");
        assert!(error.to_string().contains("seal_key.wrapped_sealed"), "{error}");
        assert_eq!(store.signing_keys().await.expect("keys").len(), 1);
    }

    /// The canary is under the right key, a wrapped key is not: noticed before anything is written.
    async fn a_wrapped_key_that_does_not_open_is_noticed_at_the_start(place: &Place) {
        let store = place.open().await;
        execute(&store, "UPDATE seal_key SET wrapped_sealed = (SELECT canary_sealed FROM deployment) WHERE purpose = 'ring'").await;
        let before = contents(&store).await;
        let error = place.try_open(masters(&[("second", 2), ("first", 1)]), NOW).await.expect_err("broken");
        assert!(matches!(error, StoreError::MasterKey { .. }), "{error}");
        assert_eq!(contents(&store).await, before);
    }
}

/// Each kind of key wraps or seals its own columns and no other.
#[tokio::test]
async fn master_and_ring_keys_have_columns_of_their_own() {
    let place = Place::sqlite();
    let store = place.open().await;
    let wrapped = WRAPPED_KEY.wrap(store.master_keys(), store.deployment(), "a", &[1; 32]).expect("wrapped");
    assert!(store.unseal(&WRAPPED_KEY, "a", &wrapped).is_err());
    let sealed = store.seal(&CANARY, "1", b"symbolon canary").expect("sealed");
    assert!(store.master_keys().unwrap(&CANARY.context(store.deployment(), "1"), &sealed).is_err());
}

#[test]
fn rows_have_names() {
    use super::reseal::RowKey;
    let table = [(RowKey::Text("a\nb".into()), "a\nb"), (RowKey::Integer(-7), "-7"), (RowKey::Bytes(vec![0, 0xfe]), "00fe")];
    for (key, name) in table {
        assert_eq!(key.name(), name);
    }
}
