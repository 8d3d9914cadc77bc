use crate::domain::ManualClock;
use crate::pki::fixture::{Authority, NOW};

use super::*;

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(NOW))
}

fn spec(names: &[&str]) -> HostPolicySpec {
    let server = Authority::new("Server CA").server(&["localhost"]);
    HostPolicySpec {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        identity: ServerIdentity { chain: vec![server.certificate.der().clone()], key: server.key_der() },
        client_certificate: ClientCertificateMode::Request,
        certificate_source: crate::tls::CertificateSource::Handshake,
        anchor_sets: vec![],
        certificate_mode: None,
        tcp: None,
        mark: [0; 32],
        hints: vec![],
        suites: SuiteProfile::Default,
    }
}

fn policy(names: &[&str]) -> HostPolicy {
    HostPolicy::new(spec(names), 1, clock()).expect("a policy")
}

fn set(hosts: &[&[&str]]) -> Result<PolicySet, PolicyError> {
    PolicySet::new(hosts.iter().map(|names| policy(names)))
}

#[test]
fn names_choose_policies() {
    let full = set(&[&["as.example"], &["*.example", "10.0.0.1"], &["*"], &["[::1]"]]).expect("a set");
    let table = [
        (Some("as.example"), "as.example"),
        (Some("AS.Example"), "as.example"),
        (Some("as.example."), "as.example"),
        (Some("api.example"), "*.example"),
        (Some("API.EXAMPLE."), "*.example"),
        // A wildcard is one label.
        (Some("a.b.example"), "*"),
        (Some("example"), "*"),
        (Some("other.test"), "*"),
        (Some("10.0.0.1"), "*.example"),
        (Some("[::1]"), "[::1]"),
        (Some("::1"), "[::1]"),
        (Some("10.0.0.2"), "*"),
        (Some(""), "*"),
        (Some("*.example"), "*.example"),
        (None, "*"),
    ];
    for (name, expected) in table {
        assert_eq!(full.for_server_name(name).map(|policy| policy.id()), Some(expected), "{name:?}");
    }
    let strict = set(&[&["as.example"], &["*.api.example"]]).expect("a set");
    for name in [None, Some("other.example"), Some("api.example"), Some("127.0.0.1"), Some("as.example.evil.test")] {
        assert!(strict.for_server_name(name).is_none(), "{name:?}");
    }
    let addressed = set(&[&["localhost", "127.0.0.1"], &["other"]]).expect("a set");
    assert_eq!(addressed.for_server_name(None).map(|policy| policy.id()), Some("localhost"));
    let ambiguous = set(&[&["127.0.0.1"], &["127.0.0.2"]]).expect("a set");
    assert!(ambiguous.for_server_name(None).is_none());
}

#[test]
fn names_that_are_none_or_belong_to_two_are_refused() {
    let message = |result: Result<PolicySet, PolicyError>| result.expect_err("refused").to_string();
    assert_eq!(message(set(&[])), "a listener needs at least one `host`");
    assert_eq!(message(set(&[&["a.example"], &["A.example."]])), "`a.example` is named by two hosts of one listener");
    assert_eq!(message(set(&[&["*"], &["*"]])), "`*` is named by two hosts of one listener");
    for name in ["", "a..example", "https://a.example", "a.example:443", "a*.example", "*.*.example", "a b", "ä.example", "*."] {
        let error = HostPolicy::new(spec(&[name]), 1, clock()).expect_err("no name").to_string();
        assert!(error.starts_with(&format!("`{name}` is not a server name")), "{error}");
    }
    assert!(matches!(HostPolicy::new(spec(&[]), 1, clock()), Err(PolicyError::NoName)));
}

#[test]
fn a_policy_that_contradicts_itself_is_refused() {
    let never = HostPolicySpec {
        client_certificate: ClientCertificateMode::None,
        certificate_source: crate::tls::CertificateSource::Handshake,
        anchor_sets: vec!["clients".into()],
        ..spec(&["a.example"])
    };
    assert!(matches!(HostPolicy::new(never, 1, clock()), Err(PolicyError::UnusedAnchorSet(_))));
    let never = HostPolicySpec {
        client_certificate: ClientCertificateMode::None,
        certificate_mode: Some(CertificateMode::Enforce),
        ..spec(&["a.example"])
    };
    assert!(matches!(HostPolicy::new(never, 1, clock()), Err(PolicyError::UnusedMode(_))));
    let mut foreign = spec(&["a.example"]);
    foreign.identity.key = spec(&["b.example"]).identity.key;
    let error = HostPolicy::new(foreign, 1, clock()).expect_err("another certificate's key");
    assert!(matches!(error, PolicyError::Identity { ref host, .. } if host == "a.example"), "{error}");
}

#[test]
fn hosts_are_read_from_their_files() {
    use std::collections::BTreeMap;

    use crate::config::settings::{
        CertificateSourceSetting, ClientCertificateSetting, HostSettings, ListenerSettings, SuiteProfileSetting,
    };
    use crate::domain::Lifetime;
    use crate::pki::authority::{CertificateUsage, DevelopmentAuthority, IssueRequest};
    use crate::pki::fixture::TestRandomness;

    let directory = tempfile::tempdir().expect("temporary directory");
    let day = Lifetime::from_seconds(86_400);
    let ca = DevelopmentAuthority::generate("Server CA", NOW, day, &TestRandomness).expect("generated");
    let subject = crate::pki::DistinguishedName::parse("CN=localhost").expect("a name");
    let request = IssueRequest { dns: vec!["localhost".into()], ..IssueRequest::new(subject, CertificateUsage::Server, day) };
    let issued = ca.issue(&request, NOW, &TestRandomness).expect("issued");
    std::fs::write(directory.path().join("server.pem"), &issued.certificate_pem).expect("written");
    let key = directory.path().join("server.key");
    std::fs::write(&key, issued.key_pem.as_bytes()).expect("written");
    let protect = |mode: u32| {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("own file");
        }
    };
    protect(0o600);
    let host = |anchor_set: Option<&str>| HostSettings {
        names: vec!["localhost".into(), "127.0.0.1".into()],
        certificate_file: "server.pem".into(),
        key_file: "server.key".into(),
        client_certificate: ClientCertificateSetting::Request,
        anchor_set: anchor_set.map(str::to_owned),
        certificate_mode: None,
        ocsp_stapling: false,
        tcp_route: None,
        alpn: vec![],
        suites: SuiteProfileSetting::Fapi2,
    };
    let listener = |hosts: Vec<HostSettings>, anchor_set: Option<&str>| ListenerSettings {
        name: "test".into(),
        address: ([127, 0, 0, 1], 0).into(),
        services: vec![],
        certificate_source: CertificateSourceSetting::Handshake,
        trusted_proxy: None,
        proxy_protocol: vec![],
        anchor_set: anchor_set.map(str::to_owned),
        certificate_mode: None,
        passthrough: vec![],
        host: hosts,
    };
    let set = |byte| AnchorHints { subjects: vec![], mark: [byte; 32] };
    let anchors = BTreeMap::from([("clients".to_owned(), set(1)), ("company".to_owned(), set(2))]);
    let load_listener = |settings: ListenerSettings| PolicySet::load(&settings, directory.path(), &anchors, None, 7, &clock());
    let load = |anchor_set| load_listener(listener(vec![host(anchor_set)], None));
    let loaded = load(Some("clients")).expect("a set");
    let policy = loaded.for_authority("127.0.0.1").expect("a policy");
    assert_eq!((policy.epoch(), policy.anchor_sets()), (7, &["clients".to_owned()][..]));
    // The listener's set comes on top of the host's, and only where a certificate is asked for.
    let open = HostSettings { names: vec!["open".into()], client_certificate: ClientCertificateSetting::None, ..host(None) };
    let both = load_listener(listener(vec![host(Some("clients")), open.clone()], Some("company"))).expect("a set");
    let of = |set: &PolicySet, name: &str| set.for_authority(name).expect("a policy").anchor_sets().to_vec();
    assert_eq!((of(&both, "localhost"), of(&both, "open")), (vec!["company".to_owned(), "clients".to_owned()], vec![]));

    // A reload keeps the policy, sessions and all, of a host of which nothing changed, and of no other.
    let again = |anchors: &BTreeMap<String, AnchorHints>, host: HostSettings| {
        let settings = listener(vec![host, open.clone()], Some("company"));
        PolicySet::load(&settings, directory.path(), anchors, Some(&both), 8, &clock()).expect("a set")
    };
    let epochs = |set: &PolicySet| ["localhost", "open"].map(|name| set.for_authority(name).expect("a policy").epoch());
    assert_eq!(epochs(&again(&anchors, host(Some("clients")))), [7, 7]);
    let changed = BTreeMap::from([("clients".to_owned(), set(1)), ("company".to_owned(), set(3))]);
    assert_eq!(epochs(&again(&changed, host(Some("clients")))), [8, 7]);
    assert_eq!(epochs(&again(&anchors, host(None))), [8, 7]);
    let required = HostSettings { client_certificate: ClientCertificateSetting::Require, ..host(Some("clients")) };
    assert_eq!(epochs(&again(&anchors, required)), [8, 7]);
    assert_eq!(policy.client_certificate(), ClientCertificateMode::Request);
    assert_eq!(policy.names().collect::<Vec<_>>(), ["localhost", "127.0.0.1"]);
    let message = load(Some("partners")).expect_err("no such set").to_string();
    assert_eq!(message, "host `localhost` names the anchor set `partners`, which does not exist");
    if cfg!(unix) {
        protect(0o644);
        let message = load(None).expect_err("a key for all to read").to_string();
        assert!(message.ends_with("server.key: holds a secret and is accessible to others (mode 644): run `chmod 600` on it"));
    }
}
