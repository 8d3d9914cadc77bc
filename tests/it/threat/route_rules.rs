//! Routes for tokens that say more, and for some certificates alone.

use serde_json::{Value, json};

use crate::harness::foreign::{CONFIGURATION, Deployment, Issuer};
use crate::harness::{Authority, Leaf};

/// The claims that a route asks for are asked for, in every shape that a token can have them; scopes of which one will do.
#[tokio::test]
async fn a_token_must_say_what_the_route_asks_for() {
    let rules = r#"any_scopes = ["read", "admin"]
groups = ["staff", "board"]
claim = [
    { name = "tenant", values = ["7"] },
    { name = "https://issuer.example/level", values = ["high"] },
    { name = "realm.roles", values = ["clerk"] },
]"#;
    let configuration = CONFIGURATION.replace("scopes = [\"read\"]", rules);
    let issuer = Issuer::new("one");
    let gateway = Deployment::start_with(&configuration, &[("jwks.json", &[&issuer])]).await;
    let alice = gateway.alice.clone();
    let good = [
        ("groups", json!(["guests", "board"])),
        ("tenant", json!(7)),
        ("https://issuer.example/level", json!("high")),
        ("realm", json!({ "roles": ["clerk"] })),
    ];
    let with = |changes: &[(&'static str, Value)]| {
        let mut members = good.to_vec();
        members.extend(changes.iter().cloned());
        issuer.token(&alice, "at+jwt", &members)
    };
    let token = with(&[]);
    assert_eq!(gateway.present(Some(&alice), &token).await.0, 200);
    for changes in [
        vec![("groups", json!("staff"))],
        vec![("tenant", json!("7"))],
        vec![("scope", json!("admin x"))],
        vec![("realm", json!({ "roles": "clerk" }))],
        // A claim of the whole name wins over the path.
        vec![("realm.roles", json!("clerk")), ("realm", Value::Null)],
    ] {
        assert_eq!(gateway.present(Some(&alice), &with(&changes)).await.0, 200, "{changes:?}");
    }
    gateway.upstream.forget();
    for changes in [
        vec![("groups", json!(["guests"]))],
        vec![("groups", json!(["STAFF"]))],
        vec![("groups", json!("staff board"))],
        vec![("groups", Value::Null)],
        vec![("groups", json!({ "staff": true }))],
        vec![("groups", json!([["staff"]]))],
        vec![("tenant", json!(7.5))],
        vec![("tenant", json!(""))],
        vec![("https://issuer.example/level", json!("low"))],
        vec![("realm", json!("roles"))],
        vec![("realm", json!({}))],
        vec![("realm.roles", json!("boss"))],
    ] {
        let answer = gateway.get(Some(&alice), "/", &with(&changes)).await;
        assert_eq!(gateway.verdict(&answer).await, (403, "policy_claim".to_owned()), "{changes:?}");
        assert!(answer.challenges().is_empty() && answer.error() == "access_denied", "{}", answer.text());
    }
    let answer = gateway.get(Some(&alice), "/", &with(&[("scope", json!("write"))])).await;
    assert_eq!(gateway.verdict(&answer).await, (403, "token_scope".to_owned()));
    gateway.upstream.assert_untouched();
}

/// A route for some certificates alone: names and issuers count only where an authority that is accepted here has signed them.
#[tokio::test]
async fn a_certificate_must_be_one_that_the_route_is_for() {
    let issuer = Issuer::new("one");
    let rules = r#"
[[route]]
name = "NAME"
host = "localhost:{port}"
path = "/NAME"
upstream = "http://127.0.0.1:{upstream}"
authorization_server = "other"
audience = "https://api.example/"
anchor_set = "clients"
RULE
"#;
    // The key of a certificate that is made below: the route is for it before it exists.
    let key_of = |identity: &crate::harness::Identity| {
        let certificate = symbolon::pki::Certificate::from_der(identity.chain[0].clone()).expect("a certificate");
        certificate.spki_sha256().to_string()
    };
    let stranger_ca = Authority::new("Anyone's CA");
    let named = |authority: &Authority, dns: &str, uri: &str| {
        let leaf = Leaf { dns: vec![dns.into()], uri: vec![uri.into()], ..Leaf::client("machine") };
        authority.issue(leaf)
    };
    let self_made = named(&stranger_ca, "machine.example", "spiffe://example/machine");
    let route = |name: &str, rule: &str| rules.replace("NAME", name).replace("RULE", rule);
    let configuration = [
        CONFIGURATION.to_owned(),
        "\n[anchor_set.clients]\nfiles = [\"client-ca.pem\"]\n".to_owned(),
        route("dns", "certificate_names = [\"dns:MACHINE.example\", \"uri:spiffe://example/other\"]"),
        route("uri", "certificate_names = [\"uri:spiffe://example/machine\"]"),
        route("issuer", "certificate_issuers = [\"CN=Anyone's CA\"]"),
        route("key", &format!("certificate_keys = [\"{}\"]", key_of(&self_made))).replace("anchor_set = \"clients\"\n", ""),
    ]
    .concat();
    let gateway = Deployment::start_with(&configuration, &[("jwks.json", &[&issuer])]).await;
    let machine = named(&gateway.client_ca, "machine.example", "spiffe://example/machine");
    let other = named(&gateway.client_ca, "other.example", "spiffe://example/machine2");
    let unnamed = gateway.alice.clone();
    let table = [
        ("/dns", &machine, 200, ""),
        ("/uri", &machine, 200, ""),
        ("/issuer", &machine, 200, ""),
        ("/issuer", &unnamed, 200, ""),
        ("/key", &self_made, 200, ""),
        ("/dns", &other, 403, "policy_certificate"),
        ("/uri", &other, 403, "policy_certificate"),
        ("/dns", &unnamed, 403, "policy_certificate"),
        ("/key", &machine, 403, "policy_certificate"),
        // It says all the right things, signed by another authority of the same name.
        ("/dns", &self_made, 401, "certificate_signature"),
        ("/uri", &self_made, 401, "certificate_signature"),
        ("/issuer", &self_made, 401, "certificate_signature"),
    ];
    for (path, identity, status, reason) in table {
        gateway.upstream.forget();
        let token = issuer.token(identity, "at+jwt", &[]);
        let answer = gateway.get(Some(identity), path, &token).await;
        assert_eq!(gateway.verdict(&answer).await, (status, reason.to_owned()), "{path} {}", identity.name);
        if status != 200 {
            gateway.upstream.assert_untouched();
        }
    }
}
