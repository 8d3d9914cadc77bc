#![allow(clippy::panic, reason = "a test that fails")]

use std::path::Path;

use proptest::prelude::*;

use super::settings::{ClientCertificateSetting, ServiceSetting, Settings, SuiteProfileSetting};
use super::shape::Shape;
use super::*;

const WHOLE: &str = r#"
issuer = "https://as.example"

[store]
url = "postgres://symbolon:hunter2@db/symbolon"

[[seal.key]]
id = "k1"
file = "master.key"

[[listener]]
name = "front"
address = "127.0.0.1:8443"
services = ["authorization_server"]

[[listener.host]]
names = ["as.example", "*"]
certificate_file = "as.pem"
key_file = "as.key"
client_certificate = "request"
anchor_set = "clients"

[anchor_set.clients]
files = ["ca.pem"]
"#;

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("symbolon.toml");
    std::fs::write(&path, text).unwrap();
    load(&path, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The message, the file's directory left away.
fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
    match load_text(text, environment) {
        Ok(loaded) => panic!("accepted: {}", print(&loaded)),
        Err(ConfigError::Problems { problems, .. }) => {
            ConfigError::Problems { path: "symbolon.toml".into(), problems }.to_string()
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_says_what_it_says() {
    let loaded = load_text(WHOLE, &[]).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.issuer.as_deref(), Some("https://as.example"));
    assert_eq!(settings.store.max_connections, 8);
    assert_eq!(settings.listener[0].address, "127.0.0.1:8443".parse().unwrap());
    assert_eq!(settings.listener[0].services, [ServiceSetting::AuthorizationServer]);
    assert_eq!(settings.listener[0].host[0].client_certificate, ClientCertificateSetting::Request);
    assert_eq!(settings.listener[0].host[0].suites, SuiteProfileSetting::Default);
    assert_eq!(settings.anchor_set["clients"].files, [Path::new("ca.pem")]);
    assert_eq!(loaded.resolve(Path::new("ca.pem")), loaded.base_dir.join("ca.pem"));
    assert_eq!(loaded.resolve(Path::new("/etc/ca.pem")), Path::new("/etc/ca.pem"));
    assert_eq!(loaded.file.parent(), Some(loaded.base_dir.as_path()));
}

#[test]
fn an_empty_file_is_the_defaults() {
    let loaded = load_text("", &[]).unwrap();
    assert_eq!(serde_json::to_value(&loaded.settings).unwrap(), serde_json::to_value(Settings::default()).unwrap());
}

#[test]
fn variables_win_over_the_file() {
    let more = "\n[anchor_set.my-own]\nfiles = []\n[authorization_server.front]\nissuer = 'https://as.example'\n";
    let loaded = load_text(
        &format!("{WHOLE}{more}"),
        &[
            ("PATH", "/bin"),
            ("SYMBOLON_TEST_REQUIRE", "postgres"),
            ("SYMBOLON__ISSUER", "https://other.example"),
            ("SYMBOLON__STORE__MAX_CONNECTIONS", "3"),
            ("SYMBOLON__LISTENER__0__ADDRESS", "[::1]:9443"),
            ("SYMBOLON__LISTENER__0__SERVICES", "gateway, metrics"),
            ("SYMBOLON__LISTENER__0__HOST__0__NAMES", r#"["a,b.example", "c.example"]"#),
            ("SYMBOLON__LISTENER__0__HOST__0__SUITES", "tls13"),
            ("SYMBOLON__ANCHOR_SET__CLIENTS__FILES", "one.pem,two.pem"),
            ("SYMBOLON__ANCHOR_SET__CLIENTS__INTERMEDIATE_FILES", ""),
            ("SYMBOLON__ANCHOR_SET__MY_OWN__FILES", "own.pem"),
            ("SYMBOLON__ANCHOR_SET__FRESH__FILES", "fresh.pem"),
            ("SYMBOLON__AUTHORIZATION_SERVER__FRONT__REVOCATION_FEED", "true"),
            ("SYMBOLON__AUTHORIZATION_SERVER__FRONT__ALGORITHMS__0", "RS256"),
            ("SYMBOLON__AUDIT__FILE", "audit.jsonl"),
        ],
    )
    .unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.issuer.as_deref(), Some("https://other.example"));
    assert_eq!(settings.store.max_connections, 3);
    let listener = &settings.listener[0];
    assert_eq!(listener.address, "[::1]:9443".parse().unwrap());
    assert_eq!(listener.services, [ServiceSetting::Gateway, ServiceSetting::Metrics]);
    assert_eq!(listener.host[0].names, ["a,b.example", "c.example"]);
    assert_eq!(listener.host[0].suites, SuiteProfileSetting::Tls13);
    assert_eq!(settings.anchor_set["clients"].files, [Path::new("one.pem"), Path::new("two.pem")]);
    assert_eq!(settings.anchor_set["my-own"].files, [Path::new("own.pem")]);
    assert_eq!(settings.anchor_set["fresh"].files, [Path::new("fresh.pem")]);
    assert_eq!(settings.anchor_set.len(), 3);
    let server = &settings.authorization_server["front"];
    assert!(server.revocation_feed);
    assert_eq!(server.algorithms, ["RS256"]);
    assert_eq!(settings.audit.file.as_deref(), Some(Path::new("audit.jsonl")));
}

#[test]
fn variables_alone_can_add_tables() {
    let mut environment = Vec::new();
    for index in 0..11 {
        environment.push((format!("SYMBOLON__RESOURCE__{index}__IDENTIFIER"), format!("https://api.example/{index}")));
    }
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let loaded = load_text("", &environment).unwrap();
    let identifiers: Vec<_> = loaded.settings.resource.iter().map(|resource| resource.identifier.clone()).collect();
    assert_eq!(identifiers, (0..11).map(|index| format!("https://api.example/{index}")).collect::<Vec<_>>());
}

/// What is wrong, and what the operator reads.
#[test]
fn every_message_of_the_file() {
    let cases: &[(&str, &str)] = &[
        ("listner = 1", "symbolon.toml:1: unknown key `listner`; did you mean `listener`?"),
        ("\n\n[Store]\n", "symbolon.toml:3: unknown key `Store`; did you mean `store`?"),
        (
            "[store]\nurl = 'sqlite:a.db'\ncolour = 1",
            "symbolon.toml:3: unknown key `colour` in `store`; valid keys: `url`, `person_keys_url`, `max_connections`, `wait_seconds`",
        ),
        (
            "[anchor_set.clients]\nfile = 'ca.pem'",
            "symbolon.toml:2: unknown key `file` in `anchor_set.clients`; did you mean `files`?",
        ),
        (
            "[[seal.key]]\nid = 'k1'\nfile = 'a'\nfiel = 'b'",
            "symbolon.toml:4: unknown key `fiel` in `seal.key[0]`; did you mean `file`?",
        ),
        ("issuer = 1", "symbolon.toml:1: `issuer` must be a string, not an integer"),
        ("\nstore = 'sqlite:a.db'", "symbolon.toml:2: `store` must be a table, not a string"),
        ("[listener]", "symbolon.toml:1: `listener` must be a list of tables, not a table"),
        ("listener = [1]", "symbolon.toml:1: `listener[0]` must be a table, not an integer"),
        ("anchor_set = []", "symbolon.toml:1: `anchor_set` must be a table, not a list"),
        (
            "[anchor_set.clients]\nfiles = 1",
            "symbolon.toml:2: `anchor_set.clients.files` must be a list of strings, not an integer",
        ),
        (
            "[anchor_set.clients]\nfiles = ['ca.pem',\n 1979-05-27]",
            "symbolon.toml:3: `anchor_set.clients.files[1]` must be a string, not a date",
        ),
        (
            "[store]\nwait_seconds = '5'",
            "symbolon.toml:2: `store.wait_seconds` must be an integer from 0 to 4294967295, not a string",
        ),
        (
            "[store]\nwait_seconds = 0.5",
            "symbolon.toml:2: `store.wait_seconds` must be an integer from 0 to 4294967295, not a float",
        ),
        ("[store]\nwait_seconds = -1", "symbolon.toml:2: `store.wait_seconds` must be an integer from 0 to 4294967295, not -1"),
        (
            "[store]\nwait_seconds = 4_294_967_296",
            "symbolon.toml:2: `store.wait_seconds` must be an integer from 0 to 4294967295, not 4294967296",
        ),
        (
            "[store]\nwait_seconds = 0xFFFF_FFFF_F",
            "symbolon.toml:2: `store.wait_seconds` must be an integer from 0 to 4294967295, not 0xFFFFFFFFF",
        ),
        ("[log]\nformat = 'jsn'", "symbolon.toml:2: `log.format` cannot be `jsn`; did you mean `json`?"),
        ("[log]\nformat = 'xml'", "symbolon.toml:2: `log.format` cannot be `xml`; valid values: `text`, `json`"),
        ("[log]\nformat = true", "symbolon.toml:2: `log.format` must be one of `text`, `json`, not a boolean"),
        (
            "[authorization_server.front]\nissuer = 'https://as.example'\nrevocation_feed = 'yes'",
            "symbolon.toml:3: `authorization_server.front.revocation_feed` must be `true` or `false`, not a string",
        ),
        (
            "\n[[resource]]\nscopes = []",
            "symbolon.toml:2: `resource[0]` needs `identifier`, or the variable SYMBOLON__RESOURCE__0__IDENTIFIER",
        ),
        ("[[listener]]\nname = 'a'\naddress = '127.0.0.1:1'\nservices = []", "symbolon.toml:1: `listener[0]` needs `host`"),
        (
            "\n[[listener]]\nname = 'a'\naddress = 'localhost'\nservices = []\nhost = []",
            "symbolon.toml:4: `listener[0].address`: invalid socket address syntax",
        ),
        ("a = ", "symbolon.toml:1: not TOML: string values must be quoted, expected literal string"),
        ("\nissuer = 'a'\nissuer = 'b'", "symbolon.toml:3: not TOML: duplicate key"),
        ("[store]\n\n[store]", "symbolon.toml:3: not TOML: duplicate key"),
    ];
    for (text, message) in cases {
        assert_eq!(&refusal(text, &[]), message, "{text}");
    }
}

#[test]
fn every_message_of_a_variable() {
    let cases: &[(&str, &str, &str)] = &[
        ("SYMBOLON__ISUER", "x", "SYMBOLON__ISUER: unknown variable; did you mean `SYMBOLON__ISSUER`?"),
        (
            "SYMBOLON__LISTNER__0__NAME",
            "x",
            "SYMBOLON__LISTNER__0__NAME: unknown variable; did you mean `SYMBOLON__LISTENER__0__NAME`?",
        ),
        ("SYMBOLON__store__URL", "x", "SYMBOLON__store__URL: unknown variable; did you mean `SYMBOLON__STORE__URL`?"),
        ("symbolon__store__url", "x", "symbolon__store__url: unknown variable; did you mean `SYMBOLON__STORE__URL`?"),
        (
            "SYMBOLON__STORE__COLOUR",
            "x",
            "SYMBOLON__STORE__COLOUR: unknown variable; valid ones: `SYMBOLON__STORE__URL`, `SYMBOLON__STORE__PERSON_KEYS_URL`, `SYMBOLON__STORE__MAX_CONNECTIONS`, \
             `SYMBOLON__STORE__WAIT_SECONDS`",
        ),
        (
            "SYMBOLON__LISTENER__0__HOST__0__CERT_FILE",
            "x",
            "SYMBOLON__LISTENER__0__HOST__0__CERT_FILE: unknown variable; did you mean \
             `SYMBOLON__LISTENER__0__HOST__0__CERTIFICATE_FILE`?",
        ),
        ("SYMBOLON__STORE__URL__X", "x", "SYMBOLON__STORE__URL__X: unknown variable; SYMBOLON__STORE__URL has nothing inside it"),
        ("SYMBOLON__STORE", "x", "SYMBOLON__STORE: `store` is a table: set the values inside it, as in SYMBOLON__STORE__URL"),
        (
            "SYMBOLON__LISTENER",
            "[]",
            "SYMBOLON__LISTENER: `listener` is a list of tables: set the values inside it, as in SYMBOLON__LISTENER__0__NAME",
        ),
        (
            "SYMBOLON__ANCHOR_SET",
            "x",
            "SYMBOLON__ANCHOR_SET: `anchor_set` is a table: set the values inside it, as in SYMBOLON__ANCHOR_SET__NAME__FILES",
        ),
        (
            "SYMBOLON__ANCHOR_SET____FILES",
            "x",
            "SYMBOLON__ANCHOR_SET____FILES: unknown variable; a name is missing between `__` and `__`",
        ),
        (
            "SYMBOLON__LISTENER__FIRST__NAME",
            "x",
            "SYMBOLON__LISTENER__FIRST__NAME: unknown variable; SYMBOLON__LISTENER is a list: a number from 0 comes next",
        ),
        ("SYMBOLON__LISTENER__2__NAME", "x", "SYMBOLON__LISTENER__2__NAME: `listener` has 1 so far: the next number is 1"),
        (
            "SYMBOLON__STORE__WAIT_SECONDS",
            "soon",
            "SYMBOLON__STORE__WAIT_SECONDS: `store.wait_seconds` must be an integer from 0 to 4294967295, not `soon`",
        ),
        ("SYMBOLON__LOG__FORMAT", "jason", "SYMBOLON__LOG__FORMAT: `log.format` cannot be `jason`; did you mean `json`?"),
        (
            "SYMBOLON__LISTENER__0__SERVICES",
            "gateway,metric",
            "SYMBOLON__LISTENER__0__SERVICES: `listener[0].services[1]` cannot be `metric`; did you mean `metrics`?",
        ),
        (
            "SYMBOLON__LISTENER__0__HOST__0__NAMES",
            "[a",
            "SYMBOLON__LISTENER__0__HOST__0__NAMES: `listener[0].host[0].names` begins like a TOML array of strings, and is none",
        ),
        (
            "SYMBOLON__LISTENER__0__ADDRESS",
            "localhost",
            "SYMBOLON__LISTENER__0__ADDRESS: `listener[0].address`: invalid socket address syntax",
        ),
        (
            "SYMBOLON__RESOURCE__0__SCOPES",
            "a",
            "SYMBOLON__RESOURCE__0__SCOPES: `resource[0]` needs `identifier`, or the variable SYMBOLON__RESOURCE__0__IDENTIFIER",
        ),
    ];
    for (name, value, message) in cases {
        assert_eq!(&refusal(WHOLE, &[(name, value)]), message);
    }
}

#[test]
fn names_that_variables_cannot_tell_apart() {
    let text = "[anchor_set.a-b]\n[anchor_set.a_b]";
    assert_eq!(
        refusal(text, &[("SYMBOLON__ANCHOR_SET__A_B__FILES", "x")]),
        "SYMBOLON__ANCHOR_SET__A_B__FILES: could mean `a-b` or `a_b`: rename one of them"
    );
}

#[test]
fn problems_are_told_together_from_top_to_bottom() {
    let text = "[[listener]]\nname = 1\n\n[[listener]]\nname = 'x'\nport = 1\n[[listener.host]]\nnames = 1\n";
    assert_eq!(
        refusal(text, &[("SYMBOLON__STORE__URI", "x"), ("SYMBOLON__LOG__FORMAT", "x")]),
        "\
symbolon.toml:1: `listener[0]` needs `address`, or the variable SYMBOLON__LISTENER__0__ADDRESS
symbolon.toml:1: `listener[0]` needs `services`, or the variable SYMBOLON__LISTENER__0__SERVICES
symbolon.toml:1: `listener[0]` needs `host`
symbolon.toml:2: `listener[0].name` must be a string, not an integer
symbolon.toml:4: `listener[1]` needs `address`, or the variable SYMBOLON__LISTENER__1__ADDRESS
symbolon.toml:4: `listener[1]` needs `services`, or the variable SYMBOLON__LISTENER__1__SERVICES
symbolon.toml:6: unknown key `port` in `listener[1]`; valid keys: `name`, `address`, `services`, `certificate_source`, `trusted_proxy`, `proxy_protocol`, `anchor_set`, `certificate_mode`, `host`, `passthrough`
symbolon.toml:7: `listener[1].host[0]` needs `certificate_file`, or the variable SYMBOLON__LISTENER__1__HOST__0__CERTIFICATE_FILE
symbolon.toml:7: `listener[1].host[0]` needs `key_file`, or the variable SYMBOLON__LISTENER__1__HOST__0__KEY_FILE
symbolon.toml:8: `listener[1].host[0].names` must be a list of strings, not an integer
SYMBOLON__LOG__FORMAT: `log.format` cannot be `x`; valid values: `text`, `json`
SYMBOLON__STORE__URI: unknown variable; did you mean `SYMBOLON__STORE__URL`?"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.toml");
    assert_eq!(
        load(&path, []).unwrap_err().to_string(),
        format!(
            "cannot read the configuration file `{}`: No such file or directory (os error 2); name the right one with --config FILE",
            path.display()
        )
    );
    let path = directory.path().join("latin1.toml");
    std::fs::write(&path, b"issuer = 'a'\n# caf\xe9\n").unwrap();
    assert_eq!(load(&path, []).unwrap_err().to_string(), format!("{}:2: not UTF-8, as TOML has to be", path.display()));
}

#[test]
fn printed_with_sources_and_without_secrets() {
    let loaded = load_text(WHOLE, &[("SYMBOLON__LISTENER__0__SERVICES", "gateway"), ("SYMBOLON__LOG__FILTER", "warn")]).unwrap();
    let printed = print(&loaded).replace(&format!("{}/", loaded.base_dir.display()), "");
    assert!(!printed.contains("hunter2"));
    let expected = r#"issuer = "https://as.example"  # symbolon.toml:2
# mtls_url is not set
resource = []  # default
assertion_issuer = []  # default
identity_provider = []  # default
authorization_server = {}  # default
route = []  # default
tcp_route = []  # default
redirect = []  # default

[store]
url = "postgres://symbolon:***@db/symbolon"  # symbolon.toml:5
# person_keys_url is not set
max_connections = 8  # default
wait_seconds = 5  # default

[[seal.key]]
id = "k1"  # symbolon.toml:8
file = "master.key"  # symbolon.toml:9
# variable is not set
# credential is not set
# command is not set

[[listener]]
name = "front"  # symbolon.toml:12
address = "127.0.0.1:8443"  # symbolon.toml:13
services = ["gateway"]  # SYMBOLON__LISTENER__0__SERVICES
certificate_source = "handshake"  # default
# trusted_proxy is not set
proxy_protocol = []  # default
# anchor_set is not set
# certificate_mode is not set
passthrough = []  # default

[[listener.host]]
names = ["as.example", "*"]  # symbolon.toml:17
certificate_file = "as.pem"  # symbolon.toml:18
key_file = "as.key"  # symbolon.toml:19
client_certificate = "request"  # symbolon.toml:20
anchor_set = "clients"  # symbolon.toml:21
# certificate_mode is not set
ocsp_stapling = false  # default
# tcp_route is not set
alpn = []  # default
suites = "default"  # default

[anchor_set.clients]
files = ["ca.pem"]  # symbolon.toml:24
stored = false  # default
intermediate_files = []  # default
extended_key_usage = "client_auth_if_present"  # default
keys = ["rsa", "p256", "p384", "p521", "ed25519"]  # default
min_rsa_bits = 2048  # default
"#;
    assert!(printed.starts_with(expected), "{printed}");
    assert!(printed.contains("\n[log]\nfilter = \"warn\"  # SYMBOLON__LOG__FILTER\nformat = \"text\"  # default\n"), "{printed}");
}

#[test]
fn what_is_printed_can_be_loaded() {
    let text = WHOLE.replace(":hunter2", "").replace("anchor_set.clients", "anchor_set.\"my clients \\\"quoted\\\"\"");
    let loaded = load_text(&text, &[("SYMBOLON__ANCHOR_SET__NEW__FILES", "a\n#b, c\"d")]).unwrap();
    let again = load_text(&print(&loaded), &[]).unwrap();
    assert_eq!(serde_json::to_value(&again.settings).unwrap(), serde_json::to_value(&loaded.settings).unwrap());
}

#[test]
fn secrets_are_hidden() {
    for (url, shown) in [
        ("sqlite:symbolon.db", "sqlite:symbolon.db"),
        ("postgres://symbolon@db/symbolon", "postgres://symbolon@db/symbolon"),
        ("postgres://symbolon:a@db:5432/symbolon", "postgres://symbolon:***@db:5432/symbolon"),
        ("postgres://symbolon:a/b@c:d@db/symbolon", "postgres://symbolon:***@db/symbolon"),
        (
            "postgres://db/symbolon?user=me&password=a%26b&sslmode=require",
            "postgres://db/symbolon?user=me&password=***&sslmode=require",
        ),
        ("postgres://u:p?w@db/symbolon", "postgres://u:***@db/symbolon"),
        ("postgres://u:p@db/s?options=a@b", "postgres://u:***@db/s?options=a@b"),
    ] {
        let loaded = load_text("", &[("SYMBOLON__STORE__URL", url)]).unwrap();
        let printed = print(&loaded);
        assert!(printed.contains(&format!("\nurl = \"{shown}\"  # SYMBOLON__STORE__URL\n")), "{url}\n{printed}");
    }
}

#[test]
fn a_value_knows_its_place() {
    let loaded = load_text(WHOLE, &[("SYMBOLON__LISTENER__0__NAME", "x")]).unwrap();
    let file = loaded.file.display();
    for (steps, place) in [
        (&["store", "url"][..], format!("{file}:5")),
        (&["listener", "0", "host", "0", "key_file"], format!("{file}:19")),
        (&["listener", "0", "name"], "SYMBOLON__LISTENER__0__NAME".into()),
        (&["listener", "0", "certificate_source"], format!("{file}:11")),
        (&["mtls_url"], file.to_string()),
        (&["gateway", "issuer"], file.to_string()),
        (&["no", "such"], file.to_string()),
    ] {
        assert_eq!(loaded.place(steps), place, "{steps:?}");
    }
}

#[test]
fn the_schema_is_understood() {
    assert!(matches!(shape::Shape::of_settings(), shape::Shape::Table(fields) if fields.len() > 10));
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference(), "{} is out of date: run this test with UPDATE_DOCS=1", path.display());
}

#[test]
fn every_key_is_in_the_reference_with_its_variable() {
    fn check(shape: &Shape, variable: &str, text: &str) {
        match shape {
            Shape::Table(fields) => {
                for field in fields {
                    let variable = format!("{variable}__{}", field.name.to_uppercase());
                    assert!(!field.doc.is_empty(), "{variable} has no doc comment");
                    check(&field.shape, &variable, text);
                }
            }
            Shape::Map(inner) => check(&inner.shape, &format!("{variable}__NAME"), text),
            Shape::List(item) if !item.is_inline() => check(item, &format!("{variable}__N"), text),
            _ => assert!(text.contains(&format!("`{variable}` |")), "{variable}"),
        }
    }
    check(Shape::of_settings(), "SYMBOLON", &reference());
}

proptest! {
    #[test]
    fn no_file_and_no_variable_ends_in_a_panic(
        text in "(\\[{0,2}[a-z_.\"]{0,9}\\]{0,2}|store|listener|url|anchor_set|[ =\n'\"\\[\\]{},.0-9é-]){0,24}",
        name in "SYMBOLON__((STORE|URL|LISTENER|HOST|0|1|99999999999999999999|ANCHOR_SET|A|é)__){0,4}(URL|FILES|NAME|0|)",
        value in any::<String>(),
    ) {
        if let Ok(loaded) = load_text(&text, &[(&name, &value)]) {
            prop_assert!(!print(&loaded).is_empty());
        }
    }
}
