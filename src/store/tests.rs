//! Written once, run on both engines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::engine::{Db, read};
use super::work::NumberedWork;
use super::*;
use crate::domain::{ClientId, Redacted, RequestId, RevocationRule, RuleKind, TokenId};
use crate::event::{AuditEvent, Trailed};
use crate::jose::random::SystemRandomness;

#[path = "../../tests/it/harness/postgres.rs"]
pub(crate) mod postgres;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// One empty database of either engine, and the directory it lives in.
struct Place {
    settings: StoreSettings,
    directory: tempfile::TempDir,
}

impl Place {
    fn sqlite() -> Self {
        Self::at("sqlite:test.db".into())
    }

    fn at(url: String) -> Self {
        let settings = StoreSettings { url, person_keys_url: None, max_connections: 4, wait_seconds: 10 };
        Self { settings, directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// With the keys of people beside it.
    async fn open(&self) -> Store {
        let store = self.try_open(master("first", 1), NOW).await.expect("opens");
        PersonKeys::open(&self.settings, self.directory.path(), &store, NOW).await.expect("the keys of people");
        store
    }

    async fn try_open(&self, masters: Arc<MasterKeys>, now: Timestamp) -> Result<Store, StoreError> {
        Store::open(&self.settings, self.directory.path(), masters, &SystemRandomness, now).await
    }
}

/// Each function becomes two tests, `sqlite` and `postgres`.
macro_rules! on_both_engines {
    ($($(#[$doc:meta])* async fn $name:ident($place:ident: &Place) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn story($place: &Place) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                story(&Place::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(url) = $crate::store::tests::postgres::database().await {
                    story(&Place::at(url)).await;
                }
            }
        }
    )*};
}

// After the macro, which they use.
mod aggregates;
mod authorization;
mod certificate;
mod client_registration;
mod feed;
mod opening;
mod people;
mod personal;
mod released;
mod replay;
mod seal_key;
mod soak;
mod swap;
mod trials;
mod ways_in;

fn id(name: &str) -> ClientId {
    name.parse().expect("a client id")
}

fn client(name: &str, metadata: &str) -> ClientRecord {
    ClientRecord { client_id: id(name), metadata_json: metadata.into(), secret: None }
}

fn window(before: i64, expires: i64) -> RuleWindow {
    RuleWindow { before: Timestamp::from_seconds(before), expires: Timestamp::from_seconds(expires) }
}

fn rule(value: &str, window: RuleWindow) -> NewRule {
    NewRule { kind: RuleKind::TokenId, value: value.into(), window }
}

fn revoked(value: &str) -> Trailed {
    let token_id: TokenId = value.parse().expect("a token id");
    let request_id = RequestId::random(&SystemRandomness).expect("random");
    Trailed { time: NOW, event: AuditEvent::TokenRevoked { request_id, client_id: id("alice"), token_id } }
}

fn signing_key(name: &str) -> SigningKeyRecord {
    SigningKeyRecord {
        key_id: name.parse().expect("a key id"),
        algorithm: "ES256".into(),
        state: SigningKeyState::Current,
        public_jwk: "{}".into(),
        private_pkcs8: Zeroizing::new(b"very private".to_vec()),
        created: NOW,
        activated: Some(NOW),
        retired: None,
    }
}

fn next(changes: Changes) -> Vec<Change> {
    match changes {
        Changes::Next(changes) => changes,
        Changes::Forgotten => unreachable!("forgotten"),
    }
}

async fn events(store: &Store) -> Vec<String> {
    let name = |event: PendingEvent| {
        let line: serde_json::Value = serde_json::from_str(&event.line).expect("JSON");
        assert!(line["time"].is_i64());
        line["event"].as_str().expect("a name").to_owned()
    };
    store.pending_events(1000).await.expect("events").into_iter().map(name).collect()
}

/// Everything in the database, to see that nothing changed.
async fn contents(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    let rows: Vec<(String, Vec<u8>)> = read!(&store.inner.db, fetch_all: sqlx::query_as(DEPLOYMENT)).expect("rows");
    lines.extend(rows.iter().map(|row| format!("{row:?}")));
    lines.push(format!("{:?}", store.changes_after(0, 1000).await.expect("changes")));
    lines.push(format!("{:?}", store.clients().await.expect("clients")));
    lines.push(format!("{:?}", store.revocation_rules(0, 1000).await.expect("rules")));
    lines.push(format!("{:?}", store.pending_events(1000).await.expect("events")));
    lines
}

async fn execute(store: &Store, statement: &'static str) {
    match &store.inner.db {
        Db::Sqlite { writer, .. } => sqlx::query(statement).execute(writer).await.map(drop),
        Db::Postgres(pool) => sqlx::query(statement).execute(pool).await.map(drop),
    }
    .expect(statement);
}

/// One master key, made of one repeated byte.
fn master(name: &str, byte: u8) -> Arc<MasterKeys> {
    masters(&[(name, byte)])
}

/// These, the wrapping one first.
fn masters(keys: &[(&str, u8)]) -> Arc<MasterKeys> {
    let keys = keys.iter().map(|(name, byte)| (name.parse().expect("a key id"), Redacted::new([*byte; 32])));
    Arc::new(MasterKeys::from_keys(keys.collect()).expect("keys"))
}
