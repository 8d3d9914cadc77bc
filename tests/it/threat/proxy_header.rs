//! Certificates that a proxy in front tells in a header field: read from trusted proxies alone, and in one way or not at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{passed, refused};
use crate::harness::proxy::{Program, Proxy, filled_example};
use crate::harness::{Answer, Authority, Call, Caller, Identity, Leaf, Setup, Stack, ports};

/// Where trusted proxies come from; everybody else comes from 127.0.0.1.
const TRUSTED: [u8; 4] = [127, 0, 0, 2];
const TRUSTED_RANGE: &str = "addresses = [\"127.0.0.2/31\"]";

/// A listener behind proxies. `host` is what its only host has beside names and a certificate.
fn listener(service: &str, port: u16, proxy: &str, host: &str) -> String {
    format!(
        "\n[[listener]]\nname = \"proxied-{port}\"\naddress = \"127.0.0.1:{port}\"\nservices = [\"{service}\"]\n\
         certificate_source = \"trusted_proxy_header\"\ntrusted_proxy = {{ {proxy} }}\n\n[[listener.host]]\nnames = [\"*\"]\n\
         certificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\n{host}\n"
    )
}

/// A stack with more listeners: at the server and at the gateway, on these ports.
async fn stack(listeners: &[(u16, u16, &str, &str)], files: &[(&str, &str)]) -> Stack {
    let text = |service: &str, of: fn(&(u16, u16, &str, &str)) -> u16| -> String {
        listeners.iter().map(|row| listener(service, of(row), row.2, row.3)).collect()
    };
    let mut setup =
        Setup { server: text("authorization_server", |row| row.0), gateway: text("gateway", |row| row.1), ..Setup::default() };
    let anchors = "[anchor_set.clients]\nfiles = [\"client-ca.pem\"]\n";
    let more = format!("{anchors}\n[anchor_set.proxies]\nfiles = [\"proxy-ca.pem\"]\n");
    for changes in [&mut setup.server_changes, &mut setup.gateway_changes] {
        changes.push((anchors.to_owned(), more.clone()));
    }
    let default = Authority::new("Proxy CA").pem;
    let mut all = vec![("proxy-ca.pem", default.as_str())];
    all.retain(|(name, _)| !files.iter().any(|(other, _)| other == name));
    all.extend(files);
    let mut stack = setup.prepare_with("sqlite:symbolon.db".into(), &all).await;
    stack.start_server().await;
    stack.start_gateway().await;
    stack
}

fn base64(der: &[u8]) -> String {
    STANDARD.encode(der)
}

fn pem(chain: &[CertificateDer<'_>]) -> String {
    let one = |der: &CertificateDer<'_>| {
        let encoded = base64(der);
        let lines: Vec<_> = encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    chain.iter().map(one).collect()
}

fn percent(text: &str, kept: &str) -> String {
    let one = |byte: u8| match char::from(byte) {
        character if character.is_ascii_alphanumeric() || "-._~".contains(character) || kept.contains(character) => {
            character.into()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// What each proxy sends: preset, field, value.
fn told(preset: &str, identity: &Identity) -> (&'static str, String) {
    let leaf = &identity.chain[..1];
    let escaped = percent(&pem(leaf), "");
    match preset {
        "rfc9440" => ("Client-Cert", format!(":{}:", base64(&leaf[0]))),
        "nginx" => ("SSL-Client-Cert", escaped),
        "haproxy" => ("X-SSL-Client-Der", base64(&leaf[0])),
        "apache" => ("SSL-Client-Cert", pem(leaf).replace('\n', " ")),
        "xfcc" => {
            let earlier = "Hash=forged;Cert=\"forged\";Subject=\"CN=\\\"a,b;c\"";
            ("X-Forwarded-Client-Cert", format!("{earlier},By=spiffe://proxy/a;Cert=\"{escaped}\";Subject=\"CN=x,O=y\";URI="))
        }
        "traefik" => ("X-Forwarded-Tls-Client-Cert", base64(&leaf[0])),
        "caddy" => ("Client-Cert", base64(&leaf[0])),
        "alb" => ("X-Amzn-Mtls-Clientcert-Leaf", percent(&pem(leaf), "+=/")),
        "alb_passthrough" => ("X-Amzn-Mtls-Clientcert", percent(&pem(&identity.chain), "+=/")),
        "azure" => ("X-ARR-ClientCert", base64(&leaf[0])),
        "cloudflare" => ("Cf-Client-Cert-Der-Base64", base64(&leaf[0])),
        "x_ssl_client_cert" => ("X-SSL-Client-Cert", escaped),
        _ => panic!("{preset}"),
    }
}

const PRESETS: [&str; 12] = [
    "rfc9440",
    "nginx",
    "haproxy",
    "apache",
    "xfcc",
    "traefik",
    "caddy",
    "alb",
    "alb_passthrough",
    "azure",
    "cloudflare",
    "x_ssl_client_cert",
];

fn token_request(client: &str) -> Call {
    Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", client)])
}

fn token_of(stack: &Stack, answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(crate::harness::token::claims(&token)["cnf"]["x5t#S256"], stack.alice.thumbprint());
    token
}

/// `call` on a connection of its own, with these fields, for the authority that the gateway knows.
async fn send(caller: &Caller, stack: &Stack, port: u16, call: &Call, fields: &[(&str, &str)]) -> Answer {
    let call = call.clone().header("Host", &stack.gateway_authority);
    let call = fields.iter().fold(call, |call, (name, value)| call.header(name, value));
    caller.send(&format!("localhost:{port}"), &call).await
}

/// Every preset at the server and at the gateway: what a trusted proxy says counts, and nothing that anybody else says; twice, cut off
/// or somebody else's is refused.
#[tokio::test]
async fn every_preset_is_read_from_trusted_proxies_and_in_one_way() {
    let rows: Vec<_> =
        PRESETS.map(|preset| (preset, ports::free(), ports::free(), format!("preset = \"{preset}\", {TRUSTED_RANGE}"))).to_vec();
    let listeners: Vec<_> =
        rows.iter().map(|(_, server, gateway, proxy)| (*server, *gateway, proxy.as_str(), "anchor_set = \"clients\"")).collect();
    let stack = stack(&listeners, &[]).await;
    let (trusted, anybody) = (stack.nobody().from(TRUSTED), stack.nobody());
    let ask = token_request("alice");
    // The same name, of an authority that nobody here trusts: the proxy did not verify it, so we do.
    let stranger = Authority::new("Client CA").issue(Leaf::client("alice"));
    for (preset, server, gateway, _) in &rows {
        let (field, value) = told(preset, &stack.alice);
        let (field, value) = (field, value.as_str());
        let answer = send(&trusted, &stack, *server, &ask, &[(field, value)]).await;
        let get = Call::get("/accounts").bearer(&token_of(&stack, &answer));
        let answer = send(&trusted, &stack, *gateway, &get, &[(&field.to_lowercase(), value)]).await;
        let received = stack.upstream.last();
        assert!(received.headers.iter().all(|(_, text)| !text.contains(&value[40..60])), "{preset}: {:?}", received.headers);
        passed(&stack, &answer, preset);
        let mallory = told(preset, &stack.mallory).1;
        let stranger = told(preset, &stranger).1;
        let cut = &value[..value.len() * 2 / 3];
        // At the server, at the gateway.
        type Expected = (u16, &'static str, &'static str);
        const MALFORMED: Expected = (400, "invalid_request", "proxy_header_malformed");
        let table: [(&str, &Caller, Vec<(&str, &str)>, Expected, Expected); 7] = [
            (
                "forged from elsewhere",
                &anybody,
                vec![(field, value)],
                (401, "invalid_client", "certificate_absent"),
                (401, "invalid_token", "binding_certificate_absent"),
            ),
            (
                "forged twice from elsewhere",
                &anybody,
                vec![(field, value), (field, value)],
                (401, "invalid_client", "certificate_absent"),
                (401, "invalid_token", "binding_certificate_absent"),
            ),
            (
                "nothing said",
                &trusted,
                vec![(field, "")],
                (401, "invalid_client", "certificate_absent"),
                (401, "invalid_token", "binding_certificate_absent"),
            ),
            ("twice", &trusted, vec![(field, value), (field, value)], MALFORMED, MALFORMED),
            ("cut off", &trusted, vec![(field, cut)], MALFORMED, MALFORMED),
            (
                "somebody else's",
                &trusted,
                vec![(field, &mallory)],
                (401, "invalid_client", "certificate_subject_mismatch"),
                (401, "invalid_token", "binding_certificate_mismatch"),
            ),
            (
                "of a stranger",
                &trusted,
                vec![(field, &stranger)],
                (401, "invalid_client", "certificate_signature"),
                (401, "invalid_token", "binding_certificate_mismatch"),
            ),
        ];
        for (what, caller, fields, at_server, at_gateway) in table {
            let answer = send(caller, &stack, *server, &ask, &fields).await;
            refused(&stack, &answer, at_server.0, at_server.1, at_server.2, (preset, what)).await;
            let answer = send(caller, &stack, *gateway, &get, &fields).await;
            refused(&stack, &answer, at_gateway.0, at_gateway.1, at_gateway.2, (preset, what)).await;
        }
        if *preset == "xfcc" {
            // Mallory shows her own certificate and sends Alice's with quotation marks that would swallow what Envoy appends.
            let (victim, own) = (percent(&pem(&stack.alice.chain[..1]), ""), percent(&pem(&stack.mallory.chain[..1]), ""));
            let appended = format!("By=spiffe://proxy/a;Hash=00;Cert=\"{own}\"");
            for swallowing in [
                format!("\"Cert={victim};By=\",{appended}"),
                format!("\"Cert={victim};By=,{appended}"),
                format!("Cert=\"{victim}\";By=\",{appended}"),
                format!("Cert=\"{victim}\";x=\",Cert=\"{own}\";Subject=\"CN=\\\"a\\\"\""),
            ] {
                for (place, call) in [(*server, &ask), (*gateway, &get)] {
                    let answer = send(&trusted, &stack, place, call, &[(field, &swallowing)]).await;
                    refused(&stack, &answer, MALFORMED.0, MALFORMED.1, MALFORMED.2, &swallowing).await;
                }
            }
        }
        let answer = send(&trusted, &stack, *gateway, &get, &[(field, value)]).await;
        passed(&stack, &answer, (preset, "the one thing corrected"));
    }
    // Where clients shake hands themselves nobody's word counts, whoever says it.
    let get = Call::get("/accounts").bearer(&stack.token(&stack.alice).await);
    for preset in PRESETS {
        let (field, value) = told(preset, &stack.alice);
        let answer = trusted.send(&stack.mtls_authority, &ask.clone().header(field, &value)).await;
        refused(&stack, &answer, 401, "invalid_client", "certificate_absent", preset).await;
        let answer = trusted.send(&stack.gateway_authority, &get.clone().header(field, &value)).await;
        refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", preset).await;
        let shown = stack.caller(&stack.mallory).send(&stack.gateway_authority, &get.clone().header(field, &value)).await;
        refused(&stack, &shown, 401, "invalid_token", "binding_certificate_mismatch", preset).await;
    }
}

/// A proxy that is known by its certificate: whoever has none, an old one or a client's tells nothing, and the proxy's own certificate
/// stands for nobody. The chain that it passes on (RFC 9440 §2.3: a list, over one or several lines) is verified here.
#[tokio::test]
async fn a_proxy_is_known_by_its_certificate_and_never_stands_for_a_client() {
    let (server, gateway) = (ports::free(), ports::free());
    let proxies = Authority::new("Proxy CA");
    let proxy = "preset = \"rfc9440\", anchor_set = \"proxies\"";
    let host = "client_certificate = \"request\"\nanchor_set = \"clients\"";
    let stack = stack(&[(server, gateway, proxy, host)], &[("proxy-ca.pem", &proxies.pem)]).await;
    let shows = |identity: &Identity| stack.caller(identity);
    let proxy = proxies.issue(Leaf::client("proxy"));
    let ask = token_request("alice");
    let leaf = told("rfc9440", &stack.alice).1;
    let token = token_of(&stack, &send(&shows(&proxy), &stack, server, &ask, &[("Client-Cert", &leaf)]).await);
    let get = Call::get("/accounts").bearer(&token);
    let strangers = [
        ("nobody", stack.nobody()),
        ("a client", shows(&stack.mallory)),
        ("the client itself", shows(&stack.alice)),
        ("expired", shows(&proxies.issue(Leaf { not_after: -60, ..Leaf::client("proxy") }))),
        ("another authority of that name", shows(&Authority::new("Proxy CA").issue(Leaf::client("proxy")))),
        ("a server", shows(&proxies.issue(Leaf::server(&["proxy.example"])))),
    ];
    for (what, caller) in &strangers {
        let answer = send(caller, &stack, server, &ask, &[("Client-Cert", &leaf)]).await;
        refused(&stack, &answer, 401, "invalid_client", "certificate_absent", what).await;
        let answer = send(caller, &stack, gateway, &get, &[("Client-Cert", &leaf)]).await;
        refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", what).await;
    }
    // A client of that name whose certificate is the proxy's own is nobody without the field.
    let answer = send(&shows(&proxy), &stack, server, &token_request("proxy"), &[]).await;
    assert_eq!(answer.status, 401);
    let answer = send(&shows(&proxy), &stack, gateway, &get, &[]).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", "no field").await;
    let answer = send(&shows(&proxy), &stack, gateway, &get, &[("Client-Cert", &leaf)]).await;
    passed(&stack, &answer, "the proxy");

    // The authority is trusted, and one between it and the client is not known here: only the chain says it.
    let between = stack.client_ca.intermediate("Intermediate");
    let below = between.issue(Leaf::client("alice"));
    assert_eq!(below.chain.len(), 2, "the chain has what is between");
    let (leaf, above) = (told("rfc9440", &below).1, format!(":{}:", base64(&below.chain[1])));
    let extra = format!(":{}:", base64(&stack.mallory.chain[0]));
    let both = format!("{extra}, {above}");
    let told = |chain: &[&str]| {
        let mut fields = vec![("Client-Cert", leaf.clone())];
        fields.extend(chain.iter().map(|line| ("Client-Cert-Chain", (*line).to_owned())));
        fields
    };
    for (what, fields, expected) in [
        ("one line", told(&[&above]), Ok(())),
        ("several members", told(&[&both]), Ok(())),
        ("several lines", told(&[&extra, &above]), Ok(())),
        ("no chain", told(&[]), Err((401, "invalid_client", "certificate_unknown_issuer"))),
        ("another chain", told(&[&extra]), Err((401, "invalid_client", "certificate_unknown_issuer"))),
        ("cut off", told(&[&above[..200]]), Err((400, "invalid_request", "proxy_header_malformed"))),
        ("a chain alone", vec![("Client-Cert-Chain", above.clone())], Err((400, "invalid_request", "proxy_header_malformed"))),
    ] {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = send(&shows(&proxy), &stack, server, &ask, &fields).await;
        match expected {
            Ok(()) => assert_eq!(answer.status, 200, "{what}: {}", answer.text()),
            Err((status, error, reason)) => refused(&stack, &answer, status, error, reason, what).await,
        }
    }
}

/// Envoy may tell the hash alone. It proves that a token is bound to that certificate, where nobody asks for an authority; and it
/// authenticates nobody.
#[tokio::test]
async fn a_hash_proves_a_binding_and_authenticates_nobody() {
    let row = || (ports::free(), ports::free());
    let ((server, gateway), (_server, judged)) = (row(), row());
    let proxy = format!("preset = \"xfcc\", {TRUSTED_RANGE}");
    let stack = stack(&[(server, gateway, &proxy, ""), (_server, judged, &proxy, "anchor_set = \"clients\"")], &[]).await;
    let trusted = stack.nobody().from(TRUSTED);
    let hash = |identity: &Identity| {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(&identity.chain[0]);
        digest.iter().map(|octet| format!("{octet:02x}")).collect::<String>()
    };
    let (alice, mallory) = (format!("Hash={}", hash(&stack.alice)), format!("Hash={}", hash(&stack.mallory)));
    let field = "X-Forwarded-Client-Cert";
    let answer = send(&trusted, &stack, server, &token_request("alice"), &[(field, &alice)]).await;
    refused(&stack, &answer, 401, "invalid_client", "certificate_absent", "at the server").await;
    let get = Call::get("/accounts").bearer(&stack.token(&stack.alice).await);
    for (what, port, value, expected) in [
        ("another's", gateway, mallory.clone(), Err((401, "invalid_token", "binding_certificate_mismatch"))),
        (
            "an earlier element",
            gateway,
            format!("{alice},{mallory}"),
            Err((401, "invalid_token", "binding_certificate_mismatch")),
        ),
        ("no SHA-256", gateway, alice[..45].to_owned(), Err((400, "invalid_request", "proxy_header_malformed"))),
        ("an authority is asked for", judged, alice.clone(), Err((401, "invalid_token", "certificate_absent"))),
        ("the hash", gateway, alice.clone(), Ok(())),
        ("the last element", gateway, format!("{mallory},By=a;Hash={}", hash(&stack.alice).to_uppercase()), Ok(())),
    ] {
        let answer = send(&trusted, &stack, port, &get, &[(field, &value)]).await;
        match expected {
            Ok(()) => passed(&stack, &answer, what),
            Err((status, error, reason)) => refused(&stack, &answer, status, error, reason, what).await,
        }
    }
    let answer = send(&stack.nobody(), &stack, gateway, &get, &[(field, &alice)]).await;
    refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", "from elsewhere").await;
}

/// Whoever asks why learns where the certificate came from: the handshake, the header of which proxy, or a connection that is no proxy's.
#[tokio::test]
async fn the_trail_says_where_the_certificate_came_from() {
    let (server, gateway) = (ports::free(), ports::free());
    let proxy = format!("preset = \"nginx\", {TRUSTED_RANGE}");
    let stack = stack(&[(server, gateway, &proxy, "anchor_set = \"clients\"")], &[]).await;
    let get = Call::get("/accounts").bearer(&stack.token(&stack.alice).await);
    let (field, alice) = told("nginx", &stack.alice);
    let (_, mallory) = told("nginx", &stack.mallory);
    let by_proxy =
        |hop: &str| serde_json::json!({ "from": "proxy_header", "preset": "nginx", "proxy": format!("the proxy at {hop}") });
    let nobody = serde_json::json!({ "from": "untrusted_proxy", "preset": "nginx" });
    let trusted = stack.nobody().from(TRUSTED);
    let cut = &alice[..alice.len() / 2];
    for (what, caller, port, call, value, status, origin) in [
        ("admitted", &trusted, gateway, &get, alice.as_str(), 200, &by_proxy("127.0.0.2")),
        ("another's", &trusted, gateway, &get, mallory.as_str(), 401, &by_proxy("127.0.0.2")),
        ("cut off", &trusted, gateway, &get, cut, 400, &by_proxy("127.0.0.2")),
        ("none", &trusted, gateway, &get, "", 401, &by_proxy("127.0.0.2")),
        ("no proxy", &stack.caller(&stack.alice), gateway, &get, alice.as_str(), 401, &nobody),
        ("at the server", &trusted, server, &token_request("alice"), mallory.as_str(), 401, &by_proxy("127.0.0.2")),
        ("at the server, no proxy", &stack.nobody(), server, &token_request("alice"), alice.as_str(), 401, &nobody),
    ] {
        let answer = send(caller, &stack, port, call, &[(field, value)]).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let event = stack.event_of(&answer.request_id()).await;
        assert_eq!(&event["certificate_origin"], origin, "{what}: {event}");
    }
    let answer = send(&trusted, &stack, gateway, &get, &[(field, &mallory)]).await;
    let explain = ["explain", &answer.request_id(), "--config", "gateway.toml"];
    let said = crate::harness::command::symbolon(stack.dir.path(), &explain).await.ok();
    assert!(said.contains("proxy_header") && said.contains("the proxy at 127.0.0.2"), "{said}");
    for (caller, origin) in
        [(stack.caller(&stack.mallory), serde_json::json!({ "from": "handshake" })), (stack.nobody(), serde_json::Value::Null)]
    {
        let answer = caller.send(&stack.gateway_authority, &get).await;
        assert_eq!(answer.status, 401);
        assert_eq!(stack.event_of(&answer.request_id()).await["certificate_origin"], origin);
    }
}

/// A registration access token that is to be bound to the certificate where one is shown is not made a bearer token by a proxy that tells its
/// hash alone.
#[tokio::test]
async fn a_hash_binds_no_registration_access_token() {
    let server = ports::free();
    let proxy = format!("preset = \"xfcc\", {TRUSTED_RANGE}");
    let registration = "[registration]\nmode = \"open\"\ntoken_binding = \"when_shown\"\n";
    let server_text = format!("{}\n{registration}", listener("authorization_server", server, &proxy, ""));
    let stack = Setup { without_gateway: true, server: server_text, ..Setup::default() }.start().await;
    let trusted = stack.nobody().from(TRUSTED);
    let metadata = serde_json::json!({ "redirect_uris": ["https://app.example/"], "token_endpoint_auth_method": "none" });
    let register = Call::new("POST", "/register").header("Content-Type", "application/json").body(metadata.to_string());
    let (field, whole) = told("xfcc", &stack.alice);
    let hash = format!("Hash={}", "0a".repeat(32));
    let answer = send(&trusted, &stack, server, &register, &[(field, &hash)]).await;
    refused(&stack, &answer, 400, "invalid_request", "certificate_absent", "the hash").await;
    for value in [whole.as_str(), ""] {
        let answer = send(&trusted, &stack, server, &register, &[(field, value)]).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// Who accepts the proxies' certificates must not accept the clients': neither as the same set, nor by an authority of it or above it. With
/// addresses beside it the certificate alone makes nobody a proxy.
#[tokio::test]
async fn no_client_can_pose_as_the_proxy() {
    let root = Authority::new("Root");
    let below = root.intermediate("Below");
    let own = Authority::new("Own");
    let check = async |clients: &str, proxies: &str, proxy: &str, set: &str| {
        let proxy = format!("preset = \"nginx\", {proxy}");
        let text = listener("gateway", 1, &proxy, "client_certificate = \"require\"\nanchor_set = \"clients\"");
        let sets = "\n[anchor_set.proxies]\nfiles = [\"proxy-ca.pem\"]\n[anchor_set.others]\nfiles = [\"others.pem\"]\n";
        let setup =
            Setup { gateway: format!("{}{sets}", text.replace("\"clients\"", &format!("\"{set}\""))), ..Setup::default() };
        let files = [("proxy-ca.pem", proxies), ("others.pem", clients)];
        let stack = setup.prepare_with("sqlite:symbolon.db".into(), &files).await;
        crate::harness::command::symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await
    };
    // People with certificates are no proxies either.
    let people = async |set: &str| {
        let text = listener(
            "authorization_server",
            1,
            "preset = \"nginx\", anchor_set = \"proxies\"",
            "client_certificate = \"require\"\nanchor_set = \"clients\"",
        );
        let sign_in = format!("[certificate_sign_in]\nurl = \"{{mtls_url}}\"\nanchor_set = \"{set}\"\n");
        let sets = "\n[anchor_set.proxies]\nfiles = [\"proxy-ca.pem\"]\n[anchor_set.people]\nfiles = [\"client-ca.pem\"]\n";
        let setup = Setup { server: format!("{sign_in}{text}{sets}"), without_gateway: true, ..Setup::default() };
        let stack = setup.prepare_with("sqlite:symbolon.db".into(), &[("proxy-ca.pem", &own.pem)]).await;
        crate::harness::command::symbolon(stack.dir.path(), &["config", "check"]).await
    };
    let said = people("proxies").await.failed();
    assert!(said.contains("a client could pose as the proxy"), "{said}");
    people("people").await.ok();
    let by_certificate = "anchor_set = \"proxies\"";
    let both = format!("{by_certificate}, {TRUSTED_RANGE}");
    for (what, clients, proxies, proxy, set, fine) in [
        ("the same set", &own.pem, &root.pem, by_certificate, "proxies", false),
        ("the same authority, named by a host", &root.pem, &root.pem, by_certificate, "others", false),
        ("the same authority, for registrations", &root.pem, &root.pem, by_certificate, "clients", false),
        ("the authority above", &below.pem, &root.pem, by_certificate, "others", false),
        ("the authority below", &root.pem, &below.pem, by_certificate, "others", true),
        ("with addresses", &root.pem, &root.pem, both.as_str(), "others", true),
        ("apart", &own.pem, &root.pem, by_certificate, "others", true),
    ] {
        let said = check(clients, proxies, proxy, set).await;
        if fine {
            said.ok();
        } else {
            let said = said.failed();
            let named = said.contains("[anchor_set.proxies]") && said.contains("a client could pose as the proxy");
            assert!(
                named && said.contains(if set == "proxies" { "of [anchor_set.proxies]" } else { "of [anchor_set.others]" }),
                "{what}: {said}"
            );
        }
    }
}

/// A Unix socket is its own proof: what comes over the network on the same listener tells nothing.
#[tokio::test]
async fn a_unix_socket_is_trusted_and_the_network_beside_it_is_not() {
    let (server, gateway) = (ports::free(), ports::free());
    let proxy = "preset = \"haproxy\", unix_socket = \"PORT.sock\"";
    let (at_server, at_gateway) = (proxy.replace("PORT", "as"), proxy.replace("PORT", "gw"));
    let setup = Setup {
        server: listener("authorization_server", server, &at_server, "anchor_set = \"clients\""),
        gateway: listener("gateway", gateway, &at_gateway, "anchor_set = \"clients\""),
        ..Setup::default()
    };
    let stack = setup.start().await;
    let (field, value) = told("haproxy", &stack.alice);
    let token = stack.token(&stack.alice).await;
    let get = Call::get("/accounts").bearer(&token).header("Connection", "close");
    let over = |call: Call| {
        let (path, caller) = (stack.path("gw.sock"), stack.nobody());
        let authority = stack.gateway_authority.clone();
        async move {
            let socket = tokio::net::UnixStream::connect(path).await.expect("the socket");
            let mut stream = caller.over(socket, "localhost").await.expect("TLS");
            stream.write_all(&call.bytes(&authority)).await.expect("written");
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.ok();
            String::from_utf8_lossy(&said).into_owned()
        }
    };
    let said = over(get.clone().header(field, &value)).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert_eq!(stack.upstream.requests().len(), 1);
    stack.upstream.forget();
    let said = over(get.clone()).await;
    assert!(said.starts_with("HTTP/1.1 401"), "{said}");
    stack.upstream.assert_untouched();
    for caller in [stack.nobody(), stack.nobody().from(TRUSTED), stack.caller(&stack.alice)] {
        let answer = send(&caller, &stack, gateway, &get, &[(field, &value)]).await;
        refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", "by the network").await;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(stack.path("as.sock")).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

/// Configurations that would trust nobody, or too many, are refused with the remedy.
#[tokio::test]
async fn half_a_configuration_is_refused() {
    let fine = format!("preset = \"nginx\", {TRUSTED_RANGE}");
    let whole = listener("gateway", 1, &fine, "anchor_set = \"clients\"");
    let cases = [
        (whole.replace(TRUSTED_RANGE, "header = \"X-Cert\""), "nobody would be trusted"),
        (whole.replace("certificate_source = \"trusted_proxy_header\"\n", ""), "certificate_source"),
        (whole.replace(&format!("trusted_proxy = {{ {fine} }}\n"), ""), "is missing"),
        (whole.replace(TRUSTED_RANGE, "anchor_set = \"proxies\""), "[anchor_set.proxies]"),
        (whole.replace(TRUSTED_RANGE, "anchor_set = \"clients\""), "must ask for certificates"),
        (whole.replace("127.0.0.2/31", "127.0.0.1/31"), "zeros after the prefix"),
        (whole.replace(TRUSTED_RANGE, &format!("{TRUSTED_RANGE}, header = \"Authorization\"")), "taken"),
        (whole.replace("nginx", "squid"), "squid"),
        (whole.clone(), ""),
    ];
    for (text, words) in cases {
        let stack =
            Setup { gateway: text.clone(), without_gateway: true, ..Setup::default() }.prepare("sqlite:symbolon.db".into()).await;
        let said = crate::harness::command::symbolon(stack.dir.path(), &["gateway", "check", "--config", "gateway.toml"]).await;
        assert_eq!(said.code == Some(0), words.is_empty(), "{text}: {}{}", said.stdout, said.stderr);
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
}

/// The real programs in front of server and gateway: a token is got and used through them, what a client writes under the field's name is
/// worth nothing, and a certificate that the program does not judge is judged here.
#[tokio::test]
async fn real_proxies_tell_the_certificate() {
    for (program, preset) in [(Program::Nginx, "nginx"), (Program::Haproxy, "haproxy"), (Program::Apache, "apache")] {
        let (server, gateway, as_front, gw_front) = (ports::free(), ports::free(), ports::free(), ports::free());
        let proxies = Authority::new("Proxy CA");
        let proxy = format!("preset = \"{preset}\", anchor_set = \"proxies\", addresses = [\"127.0.0.0/8\"]");
        let host = "client_certificate = \"require\"\nanchor_set = \"clients\"";
        let stack = stack(&[(server, gateway, &proxy, host)], &[("proxy-ca.pem", &proxies.pem)]).await;
        let identity = proxies.issue(Leaf::client("proxy"));
        identity.write(stack.dir.path());
        for name in ["proxy", "server"] {
            let [certificate, key] = [format!("{name}.pem"), format!("{name}-key.pem")]
                .map(|file| std::fs::read_to_string(stack.path(&file)).expect("a file"));
            crate::harness::authority::write_private(&stack.path(&format!("{name}-and-key.pem")), &format!("{certificate}{key}"));
        }
        let dir = stack.dir.path().to_str().expect("UTF-8");
        let example = |front: u16, port: u16| {
            let symbolon = if program == Program::Apache { format!("localhost:{port}") } else { format!("127.0.0.1:{port}") };
            filled_example(preset, front, &symbolon, dir)
        };
        let examples = format!("{}{}", example(as_front, server), example(gw_front, gateway));
        let Some(_proxy) = Proxy::start_example(program, &examples, &[as_front, gw_front]).await else { continue };
        let (field, forged) = told(preset, &stack.alice);
        let ask = token_request("alice");
        let get = Call::get("/accounts")
            .bearer(&token_of(&stack, &send(&stack.caller(&stack.alice), &stack, as_front, &ask, &[]).await));
        for _ in 0..2 {
            let answer = send(&stack.caller(&stack.alice), &stack, gw_front, &get, &[]).await;
            passed(&stack, &answer, (program, "the real thing"));
        }
        // Whatever the client writes itself, once or twice, is replaced by what it has shown.
        for fields in [vec![(field, forged.as_str())], vec![(field, forged.as_str()), (field, forged.as_str())]] {
            let answer = send(&stack.caller(&stack.mallory), &stack, gw_front, &get, &fields).await;
            refused(&stack, &answer, 401, "invalid_token", "binding_certificate_mismatch", (program, "another's")).await;
            let answer = send(&stack.nobody(), &stack, gw_front, &get, &fields).await;
            refused(&stack, &answer, 401, "invalid_token", "binding_certificate_absent", (program, "nobody's")).await;
            let answer = send(&stack.nobody(), &stack, as_front, &ask, &fields).await;
            refused(&stack, &answer, 401, "invalid_client", "certificate_absent", (program, "nobody's")).await;
        }
        let stranger = Authority::new("Client CA").issue(Leaf::client("alice"));
        let answer = send(&stack.caller(&stranger), &stack, as_front, &ask, &[]).await;
        refused(&stack, &answer, 401, "invalid_client", "certificate_signature", (program, "a stranger's")).await;
        let answer = send(&stack.caller(&stack.alice), &stack, gw_front, &get, &[]).await;
        passed(&stack, &answer, (program, "again"));
    }
}
