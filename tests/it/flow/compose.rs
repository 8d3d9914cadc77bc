//! `docker-compose.yml` without an engine: every service's own command, environment and health check as processes of this machine,
//! in the order that the file gives. Only host names, ports and directories differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::process::{Child, Command};
use yaml_rust2::{Yaml, YamlLoader};

use crate::harness::process::BINARY;
use crate::harness::{authority::Identity, call::Call, client::Caller, ports, postgres};

struct Compose {
    document: Yaml,
    dir: PathBuf,
    replacements: Vec<(String, String)>,
}

impl Compose {
    fn new(dir: &Path, database: &str) -> Self {
        let text = include_str!("../../../docker-compose.yml");
        let document = YamlLoader::load_from_str(text).expect("YAML").remove(0);
        let [server, gateway, upstream] = [(); 3].map(|()| ports::free());
        let dir_text = dir.display();
        let replacements = [
            ("postgres://symbolon:${POSTGRES_PASSWORD:-symbolon}@postgres/symbolon?sslmode=disable", database.to_owned()),
            ("/etc/symbolon", format!("{dir_text}/etc")),
            ("/var/lib/symbolon", format!("{dir_text}/state")),
            ("server:8443", format!("localhost:{server}")),
            ("0.0.0.0:8443", format!("127.0.0.1:{server}")),
            ("gateway:9443", format!("localhost:{gateway}")),
            ("0.0.0.0:9443", format!("127.0.0.1:{gateway}")),
            ("upstream:8000", format!("localhost:{upstream}")),
            ("0.0.0.0:8000", format!("127.0.0.1:{upstream}")),
            ("/dev/tcp/127.0.0.1/8000", format!("/dev/tcp/127.0.0.1/{upstream}")),
            ("names = [\"server\"]", "names = [\"localhost\"]".to_owned()),
            ("names = [\"gateway\"]", "names = [\"localhost\"]".to_owned()),
            ("--dns server", "--dns localhost".to_owned()),
            ("--dns gateway", "--dns localhost".to_owned()),
        ];
        let replacements = replacements.map(|(from, to)| (from.to_owned(), to)).to_vec();
        let compose = Self { document, dir: dir.to_owned(), replacements };
        std::fs::create_dir_all(dir.join("etc")).expect("a directory");
        std::fs::create_dir_all(dir.join("state")).expect("a directory");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker");
        for file in std::fs::read_dir(sources).expect("docker/") {
            let file = file.expect("a file").path();
            let name = file.file_name().expect("a name").to_str().expect("text").to_owned();
            // Each container has a /tmp of its own.
            let text = std::fs::read_to_string(&file).expect("text").replace("/tmp/", &format!("{dir_text}/{name}."));
            std::fs::write(dir.join("etc").join(&name), compose.fill(&text)).expect("written");
        }
        compose
    }

    fn fill(&self, text: &str) -> String {
        self.replacements.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn words(&self, yaml: &Yaml) -> Vec<String> {
        yaml.as_vec().expect("a list").iter().map(|word| self.fill(word.as_str().expect("a word"))).collect()
    }

    fn service(&self, name: &str) -> &Yaml {
        let service = &self.document["services"][name];
        assert!(!service.is_badvalue(), "service {name}");
        service
    }

    fn command(&self, name: &str) -> Command {
        let service = self.service(name);
        let mut words = match &service["entrypoint"] {
            // The image's own entry point.
            Yaml::BadValue => vec![BINARY.to_owned()],
            entrypoint => self.words(entrypoint),
        };
        if !service["command"].is_badvalue() {
            words.extend(self.words(&service["command"]));
        }
        let environment: BTreeMap<String, String> = match service["environment"].as_hash() {
            None => BTreeMap::new(),
            Some(map) => map
                .iter()
                .map(|(key, value)| (key.as_str().expect("a name").to_owned(), self.fill(value.as_str().expect("a value"))))
                .collect(),
        };
        self.program(&words, &environment)
    }

    fn program(&self, words: &[String], environment: &BTreeMap<String, String>) -> Command {
        let program = if words[0] == "symbolon" { BINARY } else { &words[0] };
        let bin = Path::new(BINARY).parent().expect("a directory");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
        let mut command = Command::new(program);
        command.args(&words[1..]).env_clear().env("PATH", path).envs(environment).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        command
    }

    fn start(&self, name: &str) -> Child {
        self.command(name).spawn().expect("it starts")
    }

    /// What the service's own health check says now.
    async fn check(&self, name: &str) -> ExitStatus {
        let mut words = self.words(&self.service(name)["healthcheck"]["test"]);
        assert_eq!(words.remove(0), "CMD");
        self.program(&words, &BTreeMap::new()).stderr(Stdio::null()).status().await.expect("it runs")
    }

    /// That of PostgreSQL, asked of the server that is at hand, about its own user.
    async fn check_of_postgres(&self, database: &str) -> ExitStatus {
        let mut words = self.words(&self.service("postgres")["healthcheck"]["test"]);
        assert_eq!(words.remove(0), "CMD");
        let program = postgres::program(&words.remove(0));
        words.extend(["--dbname".to_owned(), database.to_owned()]);
        Command::new(program).args(words).stdout(Stdio::null()).status().await.expect("it runs")
    }

    /// What each service waits for before it starts, and how.
    fn conditions(&self) -> BTreeMap<String, Vec<(String, String)>> {
        let text = |yaml: &Yaml| yaml.as_str().expect("text").to_owned();
        let services = self.document["services"].as_hash().expect("services").iter();
        let waits = services.map(|(name, service)| {
            let of = service["depends_on"].as_hash().into_iter().flatten();
            (text(name), of.map(|(other, how)| (text(other), text(&how["condition"]))).collect())
        });
        waits.collect()
    }

    /// Starts a service, whose health check says no before and at last yes.
    async fn healthy(&self, name: &str) -> Child {
        assert!(!self.check(name).await.success(), "{name} is said to be healthy before it was started");
        let child = self.start(name);
        for _ in 0..200 {
            if self.check(name).await.success() {
                return child;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{name} never became healthy");
    }
}

#[tokio::test]
async fn every_service_of_the_compose_file_runs() {
    let Some(database) = postgres::database().await else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let compose = Compose::new(dir.path(), &database);
    let mut running = Vec::new();
    let mut done: Vec<String> = Vec::new();
    let waits = compose.conditions();
    while done.len() < waits.len() {
        // Whatever waits for nothing any more.
        let next = waits.iter().find(|(name, of)| !done.contains(*name) && of.iter().all(|(other, _)| done.contains(other)));
        let (name, _) = next.unwrap_or_else(|| panic!("what is left waits for itself: {done:?} of {waits:?}"));
        let ends = waits.values().flatten().any(|(other, how)| other == name && how == "service_completed_successfully");
        if name == "postgres" {
            assert!(compose.check_of_postgres(&database).await.success(), "its health check says no");
        } else if ends {
            assert!(compose.service(name)["healthcheck"].is_badvalue(), "{name} ends: nobody waits for its health");
            // Twice: it makes what is missing, and nothing else.
            for _ in 0..2 {
                let status = compose.command(name).status().await.expect("it runs");
                assert!(status.success(), "{name}: {status}");
            }
        } else {
            running.push(compose.healthy(name).await);
        }
        done.push(name.clone());
    }
    assert_eq!((done.len(), running.len()), (5, 3), "{done:?}");

    let state = dir.path().join("state");
    let read = |name: &str| std::fs::read_to_string(state.join(name)).expect(name);
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let identity = Identity {
        name: "alice".into(),
        chain: vec![der(&read("alice.pem"))],
        certificate_pem: read("alice.pem"),
        key_pem: read("alice-key.pem"),
    };
    let alice = Caller::anonymous(&der(&read("ca.pem"))).showing(&identity);
    let (server, gateway) = (compose.fill("server:8443"), compose.fill("gateway:9443"));
    let form = [("grant_type", "client_credentials"), ("client_id", "alice")];
    let answer = alice.send(&server, &Call::form("/token", &form)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let answer = alice.send(&gateway, &Call::get("/").bearer(&token)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["assertion"]["verified"], true, "{}", answer.text());
    assert_eq!(answer.json()["assertion"]["claims"]["sub"], "alice");
}
