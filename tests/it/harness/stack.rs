//! A deployment: the server and the gateway as processes, an upstream, certificates, and people.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::{Authority, Identity, Leaf, write_private};
use super::call::{Answer, Call};
use super::client::{Caller, Http, PATIENCE, Tls};
use super::command::{Said, symbolon};
use super::configuration;
use super::dpop::Prover;
use super::ports;
use super::postgres;
use super::process::Process;
use super::search::Search;
use super::upstream::Upstream;
use super::wire::Wire;

/// The database under the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    #[default]
    Sqlite,
    Postgres,
}

/// What a deployment is made of. Every text may use the placeholders of [`configuration`]: `{accounts}`, `{reports}`, `{issuer}`,
/// `{mtls_url}`, `{gateway}`, `{gateway_authority}`, `{gateway_port}`, `{upstream}`.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub engine: Engine,
    /// Added at the end of the server's configuration.
    pub server: String,
    /// Added at the end of the gateway's configuration.
    pub gateway: String,
    /// Replacements in the server's configuration, made before placeholders are filled: `(this, by that)`.
    pub server_changes: Vec<(String, String)>,
    /// Replacements in the gateway's configuration.
    pub gateway_changes: Vec<(String, String)>,
    /// Clients beside alice, mallory and gateway, or instead of them, as metadata.
    pub clients: Vec<Value>,
    /// Leave the gateway away.
    pub without_gateway: bool,
}

/// A running deployment. Processes, files and ports go with it.
pub struct Stack {
    /// Its files: `symbolon.toml`, `gateway.toml`, certificates, audit trails, logs.
    pub dir: TempDir,
    /// Issues certificates that clients may show.
    pub client_ca: Authority,
    /// Issues the servers' certificates.
    pub server_ca: Authority,
    /// Registered with `CN=alice`, scope `read write`, for `accounts` and `reports`.
    pub alice: Identity,
    /// Registered like alice, with `CN=mallory`.
    pub mallory: Identity,
    /// The gateway's own certificate, as a client of the server.
    pub gateway_identity: Identity,
    pub upstream: Upstream,
    /// `localhost:PORT`: the issuer's host, which never asks for a certificate.
    pub issuer_authority: String,
    /// `127.0.0.1:PORT`: the mutual-TLS host.
    pub mtls_authority: String,
    /// `as.example:PORT`: another mutual-TLS host of the same listener, with a name.
    pub as_authority: String,
    /// `localhost:PORT`: the gateway.
    pub gateway_authority: String,
    /// `public.example:PORT`: a host of the gateway that never asks for a certificate.
    pub public_authority: String,
    /// The resource whose tokens are JWTs.
    pub accounts: String,
    /// The resource whose tokens are opaque.
    pub reports: String,
    /// `None` while it is stopped.
    pub server: Option<Process>,
    pub gateway: Option<Process>,
    values: Vec<(&'static str, String)>,
    /// The secrets that its callers sent and received.
    pub wire: Wire,
}

impl Stack {
    /// Server and gateway on SQLite.
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// On this engine. `None`, with the reason printed, when there is no PostgreSQL at hand.
    pub async fn start_on(engine: Engine) -> Option<Self> {
        Setup { engine, ..Setup::default() }.try_start().await
    }
}

impl Setup {
    /// Starts it.
    pub async fn start(self) -> Stack {
        self.try_start().await.expect("the engine is at hand")
    }

    /// Starts it; `None` when the engine is not at hand.
    pub async fn try_start(self) -> Option<Stack> {
        let store = match self.engine {
            Engine::Sqlite => "sqlite:symbolon.db".to_owned(),
            Engine::Postgres => postgres::database().await?,
        };
        let mut stack = self.prepare(store).await;
        stack.start_server().await;
        if !self.without_gateway {
            stack.start_gateway().await;
        }
        Some(stack)
    }

    /// Makes the files and registers the clients, and starts nothing.
    pub async fn prepare(&self, store: String) -> Stack {
        self.prepare_with(store, &[]).await
    }

    /// The same, with more files that the configuration names.
    pub async fn prepare_with(&self, store: String, files: &[(&str, &str)]) -> Stack {
        let dir = tempfile::Builder::new().prefix("symbolon-it-").tempdir().expect("a directory");
        let (client_ca, server_ca) = (Authority::new("Client CA"), Authority::new("Server CA"));
        let people = ["alice", "mallory", "gateway"].map(|name| client_ca.issue(Leaf::client(name)));
        let server = server_ca.issue(Leaf::server(&["localhost", "as.example", "public.example"]));
        for identity in people.iter().chain([&server]) {
            identity.write(dir.path());
        }
        let [alice, mallory, gateway_identity] = people;
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        std::fs::write(dir.path().join("client-ca.pem"), &client_ca.pem).expect("written");
        std::fs::write(dir.path().join("server-ca.pem"), &server_ca.pem).expect("written");
        let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random_key());
        write_private(&dir.path().join("seal.key"), &key);

        let upstream = Upstream::start().await;
        let (issuer_port, mtls_port, gateway_port) = (ports::free(), ports::free(), ports::free());
        let gateway = format!("https://localhost:{gateway_port}");
        let (accounts, reports) = (format!("{gateway}/accounts"), format!("{gateway}/reports"));
        let values = vec![
            ("issuer_port", issuer_port.to_string()),
            ("mtls_port", mtls_port.to_string()),
            ("gateway_port", gateway_port.to_string()),
            ("issuer", format!("https://localhost:{issuer_port}")),
            ("mtls_url", format!("https://127.0.0.1:{mtls_port}")),
            ("gateway", gateway),
            ("gateway_authority", format!("localhost:{gateway_port}")),
            ("upstream", format!("http://127.0.0.1:{}", upstream.port)),
            ("accounts", accounts.clone()),
            ("reports", reports.clone()),
            ("store", store),
        ];
        let stack = Stack {
            dir,
            client_ca,
            server_ca,
            alice,
            mallory,
            gateway_identity,
            upstream,
            issuer_authority: format!("localhost:{issuer_port}"),
            mtls_authority: format!("127.0.0.1:{mtls_port}"),
            as_authority: format!("as.example:{mtls_port}"),
            gateway_authority: format!("localhost:{gateway_port}"),
            public_authority: format!("public.example:{gateway_port}"),
            accounts,
            reports,
            server: None,
            gateway: None,
            values,
            wire: Wire::default(),
        };
        let changed = |base: &str, changes: &[(String, String)], more: &str| {
            let changed = changes.iter().fold(base.to_owned(), |text, (from, to)| {
                assert!(text.contains(from.as_str()), "`{from}` is not in the configuration");
                text.replace(from, to)
            });
            configuration::fill(&format!("{changed}\n{more}"), &stack.values)
        };
        std::fs::write(stack.server_config(), changed(configuration::SERVER, &self.server_changes, &self.server))
            .expect("written");
        std::fs::write(stack.gateway_config(), changed(configuration::GATEWAY, &self.gateway_changes, &self.gateway))
            .expect("written");
        let mut clients = vec![stack.person("alice"), stack.person("mallory")];
        clients.push(json!({
            "client_id": "gateway",
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": "CN=gateway",
            "grant_types": [],
        }));
        for client in &self.clients {
            let client: Value = serde_json::from_str(&configuration::fill(&client.to_string(), &stack.values)).expect("JSON");
            clients.retain(|known| known["client_id"] != client["client_id"]);
            clients.push(client);
        }
        stack.apply(&clients).await.ok();
        stack
    }
}

fn random_key() -> [u8; 32] {
    use symbolon::domain::Randomness as _;
    let mut key = [0u8; 32];
    symbolon::jose::random::SystemRandomness.fill(&mut key).expect("randomness");
    key
}

impl Stack {
    pub fn server_config(&self) -> PathBuf {
        self.path("symbolon.toml")
    }

    pub fn gateway_config(&self) -> PathBuf {
        self.path("gateway.toml")
    }

    /// A file of the deployment.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Fills the placeholders of a text.
    pub fn fill(&self, text: &str) -> String {
        configuration::fill(text, &self.values)
    }

    /// Metadata of a client like alice: `CN=NAME`, scope `read write`, for both resources.
    pub fn person(&self, name: &str) -> Value {
        json!({
            "client_id": name,
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": format!("CN={name}"),
            "scope": "read write",
            "resources": [self.accounts, self.reports],
        })
    }

    /// `symbolon client apply` with these registrations, in a process of its own.
    pub async fn apply(&self, clients: &[Value]) -> Said {
        std::fs::write(self.path("clients.json"), json!(clients).to_string()).expect("written");
        symbolon(self.dir.path(), &["client", "apply", "clients.json"]).await
    }

    /// The same, and waits until the running server knows each (it answers something else than `client_unknown`).
    pub async fn register(&self, clients: &[Value]) {
        self.apply(clients).await.ok();
        let mut connection = self.nobody().connect(&self.mtls_authority).await.expect("a connection");
        for client in clients {
            let client_id = client["client_id"].as_str().expect("client_id");
            let started = std::time::Instant::now();
            loop {
                let form = [("grant_type", "client_credentials"), ("client_id", client_id)];
                let answer = connection.send(&Call::form("/token", &form)).await;
                if self.reason_of(answer.request_id()).await != "client_unknown" {
                    break;
                }
                assert!(started.elapsed() < PATIENCE, "the server does not take `{client_id}` in");
            }
        }
    }

    /// Starts the server, or starts it again.
    pub async fn start_server(&mut self) {
        self.server = Some(Process::start("serve", &self.server_config()).await);
    }

    /// Starts the gateway, or starts it again.
    pub async fn start_gateway(&mut self) {
        self.gateway = Some(Process::start("gateway", &self.gateway_config()).await);
    }

    /// A caller without certificate.
    pub fn nobody(&self) -> Caller {
        Caller::anonymous(&self.server_ca.certificate).noting(&self.wire)
    }

    /// A caller with this certificate.
    pub fn caller(&self, identity: &Identity) -> Caller {
        self.nobody().showing(identity)
    }

    /// POST of a form to the mutual-TLS host.
    #[track_caller]
    pub fn post(&self, identity: &Identity, path: &str, form: &[(&str, &str)]) -> impl Future<Output = Answer> + use<> {
        self.caller(identity).send(&self.mtls_authority, &Call::form(path, form))
    }

    /// A token request of client `identity.name`, with these parameters beside `grant_type` and `client_id`.
    #[track_caller]
    pub fn ask(&self, identity: &Identity, more: &[(&str, &str)]) -> impl Future<Output = Answer> + use<> {
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", identity.name.as_str())];
        form.extend(more);
        self.post(identity, "/token", &form)
    }

    /// Metadata of a client like alice, whose tokens are bound to a DPoP key.
    pub fn prover(name: &str) -> Value {
        json!({
            "client_id": name,
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": format!("CN={name}"),
            "dpop_bound_access_tokens": true,
            "scope": "read write",
            "resources": ["{accounts}", "{reports}"],
        })
    }

    /// The token endpoint as proofs name it.
    pub fn token_url(&self) -> String {
        self.fill("{mtls_url}/token")
    }

    /// A place at the gateway as proofs name it.
    pub fn gateway_url(&self, path: &str) -> String {
        self.fill(&format!("{{gateway}}{path}"))
    }

    /// A token request of client `identity.name` with this value of `DPoP`.
    #[track_caller]
    pub fn ask_with_proof(
        &self,
        identity: &Identity,
        proof: &str,
        more: &[(&str, &str)],
    ) -> impl Future<Output = Answer> + use<> {
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", identity.name.as_str())];
        form.extend(more);
        self.caller(identity).send(&self.mtls_authority, &Call::form("/token", &form).proof(proof))
    }

    /// A token for `resource`, bound to the key.
    pub async fn dpop_token(&self, identity: &Identity, key: &Prover, resource: &str) -> String {
        let proof = key.prove("POST", &self.token_url());
        let answer = self.ask_with_proof(identity, &proof, &[("resource", resource)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().expect("access_token").to_owned()
    }

    /// A nonce of the gateway: what it hands out to whoever shows another. `token` is good.
    pub async fn gateway_nonce(&self, key: &Prover, token: &str) -> String {
        let proof = key.prove_token("GET", &self.gateway_url("/accounts"), token, "none-of-yours");
        let answer = self.nobody().send(&self.gateway_authority, &Call::get("/accounts").dpop(token, &proof)).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "use_dpop_nonce"), "{}", answer.text());
        self.upstream.assert_untouched();
        answer.nonce().to_owned()
    }

    async fn token_for(&self, identity: &Identity, resource: &str) -> String {
        let answer = self.ask(identity, &[("resource", resource)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().expect("access_token").to_owned()
    }

    /// A JWT for `accounts` with every scope.
    pub async fn token(&self, identity: &Identity) -> String {
        self.token_for(identity, &self.accounts).await
    }

    /// An opaque token for `reports` with every scope.
    pub async fn opaque_token(&self, identity: &Identity) -> String {
        self.token_for(identity, &self.reports).await
    }

    /// What the server tells the gateway about a token.
    pub async fn introspect(&self, token: &str) -> Value {
        let answer = self.post(&self.gateway_identity, "/introspect", &[("token", token), ("client_id", "gateway")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Revokes a token as its client.
    pub async fn revoke(&self, identity: &Identity, token: &str) -> Answer {
        self.post(identity, "/revoke", &[("token", token), ("client_id", &identity.name)]).await
    }

    /// `GET /accounts` at the gateway.
    #[track_caller]
    pub fn at_gateway(&self, identity: &Identity, token: &str) -> impl Future<Output = Answer> + use<> {
        self.caller(identity).send(&self.gateway_authority, &Call::get("/accounts").bearer(token))
    }

    /// `GET /reports` at the gateway.
    #[track_caller]
    pub fn at_reports(&self, identity: &Identity, token: &str) -> impl Future<Output = Answer> + use<> {
        self.caller(identity).send(&self.gateway_authority, &Call::get("/reports").bearer(token))
    }

    /// Sends `call` as `identity` at the gateway until the answer has this status (for what reaches it within a second).
    pub async fn wait_at_gateway(&self, identity: &Identity, call: &Call, status: u16) -> Answer {
        let started = std::time::Instant::now();
        let mut connection = self.caller(identity).connect(&self.gateway_authority).await.expect("a connection");
        loop {
            let answer = connection.send(call).await;
            if answer.status == status || started.elapsed() > PATIENCE {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The audit event of a request, from the server's trail or the gateway's.
    pub async fn event_of(&self, request_id: impl AsRef<str>) -> Value {
        let request_id = request_id.as_ref();
        assert!(!request_id.is_empty(), "the answer names no request id");
        let started = std::time::Instant::now();
        while started.elapsed() < PATIENCE {
            let events = [self.events("server-audit.jsonl"), self.events("gateway-audit.jsonl")].concat();
            if let Some(event) = events.into_iter().find(|event| event["request_id"] == request_id) {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("request {request_id} is in no audit trail");
    }

    /// The private reason of a request; empty when it was not refused.
    pub async fn reason_of(&self, request_id: impl AsRef<str>) -> String {
        self.event_of(request_id).await["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The first event of this name in a trail, once it is there: those that commit with a change are copied to it a moment later.
    pub async fn wait_for_event(&self, file: &str, name: &str) -> Value {
        let started = std::time::Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(event) = self.events(file).into_iter().find(|event| event["event"] == name) {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {name} in {file}");
    }

    /// Starts a second server on the same database, with other ports; gives it with the authorities of its two listeners, in the order
    /// of `issuer_authority` and `mtls_authority`.
    pub async fn start_replica(&self) -> (Process, [String; 2]) {
        let mut text = std::fs::read_to_string(self.server_config()).expect("a configuration");
        let mut authorities = Vec::new();
        for authority in [&self.issuer_authority, &self.mtls_authority] {
            let (host, port) = authority.split_once(':').expect("a port");
            let other = ports::free();
            text = text.replace(&format!("address = \"127.0.0.1:{port}\""), &format!("address = \"127.0.0.1:{other}\""));
            authorities.push(format!("{host}:{other}"));
        }
        text = text.replace("\"server-audit.jsonl\"", "\"replica-audit.jsonl\"");
        std::fs::write(self.path("replica.toml"), text).expect("written");
        let process = Process::start("serve", &self.path("replica.toml")).await;
        (process, authorities.try_into().expect("two"))
    }

    /// One number that the database knows, by a query that both engines read.
    pub async fn count(&self, query: &'static str) -> i64 {
        use sqlx::{ConnectOptions as _, Connection as _};
        let store = self.fill("{store}");
        if store.starts_with("sqlite:") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path("symbolon.db")).read_only(true);
            let mut connection = options.connect().await.expect("the database");
            sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("a number")
        } else {
            let mut connection = sqlx::PgConnection::connect(&store).await.expect("the database");
            sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("a number")
        }
    }

    /// Every sealed column of the deployment's database, `table.column`, with how many values it has.
    pub async fn sealed_columns(&self) -> BTreeMap<String, i64> {
        self.counted(SQLITE_SEALED, POSTGRES_SEALED).await
    }

    /// How many values there are in each of the columns that one of these queries names.
    async fn counted(&self, sqlite: &'static str, postgres: &'static str) -> BTreeMap<String, i64> {
        use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
        let store = self.fill("{store}");
        macro_rules! counted {
            ($connection:expr, $query:expr) => {{
                let mut connection = $connection;
                let columns: Vec<(String, String)> = sqlx::query_as($query).fetch_all(&mut connection).await.expect("columns");
                let mut counted = BTreeMap::new();
                for (table, column) in columns {
                    let name = if column == "*" { table.clone() } else { format!("{table}.{column}") };
                    let query = AssertSqlSafe(format!("SELECT COUNT({column}) FROM {table}"));
                    counted.insert(name, sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("a number"));
                }
                assert!(counted.len() > 3, "{counted:?}");
                counted
            }};
        }
        if store.starts_with("sqlite:") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path("symbolon.db")).read_only(true);
            counted!(options.connect().await.expect("the database"), sqlite)
        } else {
            counted!(sqlx::PgConnection::connect(&store).await.expect("the database"), postgres)
        }
    }

    /// All events written so far to `server-audit.jsonl` or `gateway-audit.jsonl`.
    pub fn events(&self, file: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
        // A line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Status, error code (of the body) and private reason of an answer, for tables.
    pub async fn verdict(&self, answer: &Answer) -> (u16, String, String) {
        let reason = if answer.status < 400 { String::new() } else { self.reason_of(answer.request_id()).await };
        (answer.status, answer.error(), reason)
    }
}

impl Stack {
    /// The SQLite databases of the deployment, state and keys of people, with what their write-ahead logs hold: to see that nobody wrote to them.
    pub fn databases(&self) -> Vec<(String, Vec<u8>)> {
        let of_database =
            |(name, bytes): &(String, Vec<u8>)| name.ends_with(".db") || name.ends_with(".db-wal") && !bytes.is_empty();
        let mut databases: Vec<_> = self.left_on_disk().into_iter().filter(of_database).collect();
        databases.sort();
        assert!(databases.len() >= 2, "the state's and the keys'");
        databases
    }

    /// What the processes left on disk, each part with its name: database, audit trails, logs. Files with keys are the operator's.
    pub fn left_on_disk(&self) -> Vec<(String, Vec<u8>)> {
        let mut parts = Vec::new();
        for entry in std::fs::read_dir(self.dir.path()).expect("a directory").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_state = [".db", ".db-wal", ".db-shm", ".jsonl", ".log"].iter().any(|ending| name.ends_with(ending));
            if is_state && entry.path().is_file() {
                parts.push((name, std::fs::read(entry.path()).expect("read")));
            }
        }
        parts
    }
}

impl Drop for Stack {
    /// Whatever a test was about: nothing secret that its callers sent or received stands in what the processes left on disk.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let search = Search::new(&self.wire.secrets());
        for (name, bytes) in self.left_on_disk() {
            let found = search.find(&bytes);
            assert!(found.is_empty(), "{name}: {found:?}");
        }
    }
}

const SQLITE_SEALED: &str = "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
     WHERE m.type = 'table' AND c.name LIKE '%\\_sealed' ESCAPE '\\'";
const POSTGRES_SEALED: &str = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
     WHERE table_schema = 'public' AND column_name LIKE '%\\_sealed'";

/// Every TLS version and HTTP version that matters.
pub const PROTOCOLS: [(Tls, Http); 4] = [(Tls::V12, Http::V1), (Tls::V13, Http::V1), (Tls::V12, Http::V2), (Tls::V13, Http::V2)];
