//! Whoever can write to the database makes no authority of his own accepted: a row counts only as this deployment sealed it, for its set and
//! key, and only where the configuration lets the set take any.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions as _, SqliteConnection};

use crate::harness::process::Process;
use crate::harness::{Authority, Call, Identity, Leaf, Setup, Stack, command::symbolon};

fn token_request() -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "alice")])
}

fn setup() -> Setup {
    let consent = "files = [\"client-ca.pem\"]\nstored = true".to_owned();
    Setup {
        server_changes: vec![("files = [\"client-ca.pem\"]".into(), consent)],
        server: "\n[anchor_set.partners]\nstored = true\n".into(),
        without_gateway: true,
        ..Setup::default()
    }
}

async fn anchor(stack: &Stack, arguments: &[&str]) -> String {
    symbolon(stack.dir.path(), &[&["anchor"], arguments].concat()).await.ok()
}

fn authority(stack: &Stack, name: &str, file: &str) -> (Authority, Identity) {
    let authority = Authority::new(name);
    std::fs::write(stack.path(file), &authority.pem).expect("written");
    let identity = authority.issue(Leaf::client("alice"));
    (authority, identity)
}

/// The key of a certificate as rows have it.
fn key(authority: &Authority) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    use x509_parser::prelude::FromDer as _;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&authority.certificate).expect("a certificate");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(parsed.public_key().raw))
}

/// Whoever can write to the database. Each of his statements is told to the servers as a change of anchors.
struct Writer(SqliteConnection);

impl Writer {
    async fn at(stack: &Stack) -> Self {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(stack.path("symbolon.db"));
        Self(options.busy_timeout(Duration::from_secs(5)).connect().await.expect("the database"))
    }

    async fn write(&mut self, statement: String) {
        let statements = [
            "BEGIN IMMEDIATE".to_owned(),
            statement,
            "UPDATE change_counter SET value = value + 1".to_owned(),
            "INSERT INTO change (sequence, kind, key, at) SELECT value, 'anchor', 'clients', 1 FROM change_counter".to_owned(),
            "COMMIT".to_owned(),
        ];
        for statement in statements {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut self.0).await.expect("written");
        }
    }
}

/// Waits until the server has told of so many failures.
async fn alarmed(stack: &Stack, times: usize) {
    let started = Instant::now();
    let failures = || {
        let events = stack.events("server-audit.jsonl");
        events.iter().filter(|event| event["event"] == "reload_failed" && event["what"] == "anchors of the store").count()
    };
    while failures() < times {
        assert!(started.elapsed() < Duration::from_secs(10), "no alarm");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the server answers like this.
async fn status_is(stack: &Stack, identity: &Identity, status: u16) {
    let started = Instant::now();
    let mut connection = stack.caller(identity).connect(&stack.mtls_authority).await.expect("a connection");
    while connection.send(&token_request()).await.status != status {
        assert!(started.elapsed() < Duration::from_secs(10), "it does not become {status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn refused(stack: &Stack, identity: &Identity, reason: &str, what: &str) {
    let answer = stack.caller(identity).send(&stack.mtls_authority, &token_request()).await;
    assert_eq!(stack.verdict(&answer).await, (401, "invalid_client".into(), reason.into()), "{what}");
}

/// Rows that this deployment did not seal for that place: made up, copied from another set, of another key. Each raises an alarm and is
/// accepted by nobody, now or after a restart, which is refused by name. What was accepted before stays, and what is removed goes, all the
/// same. The same authority, added by who may, is accepted.
#[tokio::test]
async fn a_row_of_somebody_else_counts_for_nothing() {
    let mut stack = setup().start().await;
    let (mallory_ca, mallory) = authority(&stack, "Mallory CA", "mallory-ca.pem");
    let (partner_ca, partner) = authority(&stack, "Partner CA", "partner.pem");
    let (_, known) = authority(&stack, "Known CA", "known.pem");
    let said = anchor(&stack, &["add", "--set", "clients", "known.pem"]).await;
    let known_key = said.split(' ').nth(1).expect("a key").to_owned();
    anchor(&stack, &["add", "--set", "partners", "partner.pem"]).await;
    status_is(&stack, &known, 200).await;
    refused(&stack, &partner, "certificate_unknown_issuer", "it is for another set").await;

    let der = mallory_ca.certificate.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (mallory_key, partner_key) = (key(&mallory_ca), key(&partner_ca));
    let table = [
        ("in the clear", &mallory_key, format!("INSERT INTO anchor VALUES ('clients', '{mallory_key}', X'{der}')"), &mallory),
        (
            "of another set",
            &partner_key,
            "INSERT INTO anchor SELECT 'clients', spki, anchor_sealed FROM anchor WHERE anchor_set = 'partners'".to_owned(),
            &partner,
        ),
        (
            "of another key",
            &mallory_key,
            format!(
                "INSERT INTO anchor SELECT 'clients', '{mallory_key}', anchor_sealed FROM anchor WHERE anchor_set = 'clients' LIMIT 1"
            ),
            &mallory,
        ),
    ];
    let mut writer = Writer::at(&stack).await;
    for (alarms, (what, key, statement, identity)) in (1..).zip(table) {
        writer.write(statement).await;
        alarmed(&stack, alarms).await;
        refused(&stack, identity, "certificate_unknown_issuer", what).await;
        status_is(&stack, &known, 200).await;
        let listed = anchor(&stack, &["list", "--set", "clients"]).await;
        assert!(listed.contains("of no use"), "{what}: {listed}");

        stack.server.take().expect("running").kill().await;
        let problem = Process::try_start("serve", &stack.server_config()).await.expect_err("it does not start");
        assert!(problem.contains("anchors of the store") && problem.contains(key.as_str()), "{what}: {problem}");
        anchor(&stack, &["remove", "--set", "clients", key]).await;
        stack.start_server().await;
        refused(&stack, identity, "certificate_unknown_issuer", what).await;
        status_is(&stack, &known, 200).await;
    }

    // What is removed is gone while another row is of no use.
    writer.write(format!("INSERT INTO anchor VALUES ('clients', '{mallory_key}', X'{der}')")).await;
    alarmed(&stack, 4).await;
    anchor(&stack, &["remove", "--set", "clients", &known_key]).await;
    status_is(&stack, &known, 401).await;
    refused(&stack, &mallory, "certificate_unknown_issuer", "made up").await;

    // The one thing corrected: who may has sealed it, in the place of what was made up.
    anchor(&stack, &["add", "--set", "clients", "mallory-ca.pem"]).await;
    status_is(&stack, &mallory, 200).await;
    status_is(&stack, &known, 401).await;
}

/// An authority is its key: another of the same name, as anchor or as issuer, is another one.
#[tokio::test]
async fn an_authority_of_the_same_name_is_another_one() {
    let stack = setup().start().await;
    let (_, partner) = authority(&stack, "Partner CA", "partner.pem");
    let (_, twin) = authority(&stack, "Partner CA", "twin.pem");
    anchor(&stack, &["add", "--set", "clients", "partner.pem"]).await;
    status_is(&stack, &partner, 200).await;
    refused(&stack, &twin, "certificate_signature", "the name fits, the key does not").await;
    let said = anchor(&stack, &["add", "--set", "clients", "twin.pem"]).await;
    let twin_key = said.strip_prefix("added ").and_then(|said| said.split(' ').next()).expect("beside the other").to_owned();
    status_is(&stack, &twin, 200).await;
    assert_eq!(anchor(&stack, &["list", "--set", "clients"]).await.matches("CN=Partner CA").count(), 2);
    anchor(&stack, &["remove", "--set", "clients", &twin_key]).await;
    status_is(&stack, &twin, 401).await;
    refused(&stack, &twin, "certificate_signature", "removed").await;
    status_is(&stack, &partner, 200).await;
}

/// What the store has for a set counts only while the configuration lets the set take it.
#[tokio::test]
async fn a_set_without_consent_takes_nothing() {
    let mut stack = setup().start().await;
    let (_, partner) = authority(&stack, "Partner CA", "partner.pem");
    anchor(&stack, &["add", "--set", "clients", "partner.pem"]).await;
    status_is(&stack, &partner, 200).await;
    let consenting = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let without = consenting.replacen("stored = true\n", "", 1);
    for (text, status) in [(&without, 401), (&consenting, 200)] {
        stack.server.take().expect("running").kill().await;
        std::fs::write(stack.server_config(), text).expect("written");
        stack.start_server().await;
        if status == 401 {
            refused(&stack, &partner, "certificate_unknown_issuer", "the configuration does not say so").await;
            assert!(anchor(&stack, &["list"]).await.contains("[anchor_set.clients] (not in force: "));
            // A change that is told at run time is no consent either.
            Writer::at(&stack).await.write("UPDATE anchor SET anchor_set = anchor_set".to_owned()).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            refused(&stack, &partner, "certificate_unknown_issuer", "the configuration does not say so").await;
        } else {
            status_is(&stack, &partner, status).await;
        }
    }
}

/// An authority that proxies are known by is not taken for clients: whoever it issues for could pose as the proxy.
#[tokio::test]
async fn no_stored_authority_makes_proxies_of_clients() {
    let listener = "\n[[listener]]\nname = \"proxied\"\naddress = \"127.0.0.1:1\"\nservices = [\"authorization_server\"]\n\
         certificate_source = \"trusted_proxy_header\"\ntrusted_proxy = { preset = \"nginx\", anchor_set = \"proxies\" }\n\n\
         [[listener.host]]\nnames = [\"*\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\n\
         client_certificate = \"require\"\nanchor_set = \"clients\"\n\n[anchor_set.proxies]\nfiles = [\"proxy-ca.pem\"]\n";
    let setup = Setup { server: listener.to_owned(), ..setup() };
    let proxies = Authority::new("Proxy CA");
    let stack = setup.prepare_with("sqlite:symbolon.db".into(), &[("proxy-ca.pem", &proxies.pem)]).await;
    let (_, _) = authority(&stack, "Partner CA", "partner.pem");
    let add = async |file: &str| symbolon(stack.dir.path(), &["anchor", "add", "--set", "clients", file]).await;
    let said = add("proxy-ca.pem").await.failed();
    assert!(said.contains("[anchor_set.proxies] accepts `CN=Proxy CA`") && said.contains("could pose as the proxy"), "{said}");
    assert_eq!(anchor(&stack, &["list"]).await, "no authority is in the store\n");
    add("partner.pem").await.ok();
}
