//! What operators look at: health, metrics, the audit trail, HSTS.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Call, Setup, Stack, ports};

pub fn metrics_listener(port: u16) -> String {
    format!("[[listener]]\nname = \"metrics\"\naddress = \"127.0.0.1:{port}\"\nservices = [\"metrics\"]\nhost = []\n")
}

/// A request in the clear, as Prometheus or a load balancer makes it.
pub async fn plain(port: u16, path: &str) -> (u16, String) {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.get(9..12).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

/// Both flows are counted, and refusals by their private reason; health is told on the same listener.
#[tokio::test]
async fn both_flows_are_counted() {
    let (server, gateway) = (ports::free(), ports::free());
    let setup = Setup { server: metrics_listener(server), gateway: metrics_listener(gateway), ..Setup::default() };
    let stack = setup.start().await;
    for port in [server, gateway] {
        assert_eq!(plain(port, "/livez").await, (200, "ok\n".into()));
        assert_eq!(plain(port, "/readyz").await, (200, "ok\n".into()));
        assert_eq!(plain(port, "/token").await.0, 404, "nothing else is served in the clear");
    }
    let token = stack.token(&stack.alice).await;
    assert_eq!(stack.at_gateway(&stack.alice, &token).await.status, 200);
    assert_eq!(stack.at_gateway(&stack.mallory, &token).await.status, 401);
    let mut impostor = stack.mallory.clone();
    impostor.name = "alice".into();
    assert_eq!(stack.ask(&impostor, &[]).await.status, 401);
    let counted = [
        (server, "symbolon_tokens_issued_total{grant_type=\"client_credentials\",format=\"jwt\"} 1"),
        (server, "symbolon_refusals_total{endpoint=\"token\",reason=\"certificate_subject_mismatch\"} 1"),
        (gateway, "symbolon_gateway_decisions_total{route=\"accounts\",decision=\"allow\"} 1"),
        (gateway, "symbolon_gateway_decisions_total{route=\"accounts\",decision=\"deny\"} 1"),
        (gateway, "symbolon_gateway_denials_total{route=\"accounts\",reason=\"binding_certificate_mismatch\"} 1"),
    ];
    for (port, line) in counted {
        let (status, text) = plain(port, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.lines().any(|told| told == line), "{line}:\n{text}");
    }
}

/// RFC 6797 §8.1.1: HSTS is for names; localhost and addresses never get it, so that a developer's other servers stay reachable.
#[tokio::test]
async fn hsts_is_for_names() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    for (authority, expected) in
        [(&stack.as_authority, Some("max-age=63072000")), (&stack.issuer_authority, None), (&stack.mtls_authority, None)]
    {
        let answer = stack.nobody().send(authority, &Call::get("/.well-known/oauth-authorization-server")).await;
        assert_eq!((answer.status, answer.header("strict-transport-security")), (200, expected), "{authority}");
    }
}

/// The trail of a small journey, as machines read it. What differs from run to run is replaced by its name.
#[tokio::test]
async fn the_audit_trail_of_a_journey() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let admitted = stack.at_gateway(&stack.alice, &token).await;
    assert_eq!(admitted.status, 200);
    // The id that the caller is told leads to the event, also when nothing was refused.
    let id = admitted.header("x-request-id").expect("an id");
    assert_eq!(stack.event_of(id).await["certificate"], stack.alice.thumbprint());
    let refused = stack.at_gateway(&stack.mallory, &token).await;
    assert_eq!(stack.reason_of(refused.request_id()).await, "binding_certificate_mismatch");
    stack.introspect(&token).await;
    assert_eq!(stack.revoke(&stack.alice, &token).await.status, 200);
    let mut impostor = stack.mallory.clone();
    impostor.name = "alice".into();
    let refused = stack.ask(&impostor, &[]).await;
    assert_eq!(stack.reason_of(refused.request_id()).await, "certificate_subject_mismatch");
    let server = trail(&stack, "server-audit.jsonl", "token_revoked").await;
    let gateway = trail(&stack, "gateway-audit.jsonl", "access").await;
    insta::assert_json_snapshot!("audit_trail", json!({ "server": server, "gateway": gateway }));
}

/// The lines of a trail once it has the event, in the order of their kinds (events that commit are copied when they have).
async fn trail(stack: &Stack, file: &str, last: &str) -> Vec<Value> {
    let mut lines: Vec<Value> = Vec::new();
    for _ in 0..300 {
        let text = std::fs::read_to_string(stack.path(file)).expect("a trail");
        lines = text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
        if lines.iter().any(|line| line["event"] == last) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let thumbprints = [(stack.alice.thumbprint(), "[alice]"), (stack.mallory.thumbprint(), "[mallory]")];
    for line in &mut lines {
        for (name, value) in line.as_object_mut().expect("an object") {
            let is_told = !value.is_null();
            match name.as_str() {
                "time" | "request_id" | "token_id" | "family" | "expires" | "peer_address" | "key_id" if is_told => {
                    *value = format!("[{name}]").into();
                }
                _ => {
                    let mut text = value.to_string().replace(&stack.gateway_authority, "[gateway]");
                    text = text.replace(&stack.issuer_authority, "[issuer]");
                    for (thumbprint, whose) in &thumbprints {
                        text = text.replace(thumbprint, whose);
                    }
                    *value = serde_json::from_str(&text).expect("JSON");
                }
            }
        }
    }
    lines.sort_by_key(|line| (line["event"].to_string(), line["reason"].to_string(), line["client_id"].to_string()));
    lines
}
