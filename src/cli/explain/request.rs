//! `symbolon explain REQUEST_ID`.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::super::{ConfigArgument, print};
use super::Lines;
use super::cert::Asked;
use crate::app::{Question, ask};
use crate::config::Loaded;
use crate::domain::ClientId;
use crate::gateway::unmet_certificate_rules;
use crate::pki::Certificate;

/// Asks the running process what it remembers of a request that it refused, and judges the certificate that was shown with it anew.
pub async fn explain(config: &ConfigArgument, request_id: String, event_alone: bool) -> anyhow::Result<ExitCode> {
    let loaded = config.load()?;
    let mut answer = ask(&loaded, &Question::Explain { request_id }).await?;
    let event = answer.get_mut("event").map(Value::take).unwrap_or_default();
    print(format!("{event:#}\n"))?;
    if event_alone {
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = Lines::default();
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    if let Some(reason) = text("reason") {
        lines.heading("request");
        let status = event.get("status").and_then(Value::as_u64).map(|status| format!(" (status {status})")).unwrap_or_default();
        lines.say("refused", format!("{reason}{status}, when it came; what stands below is how things are now"));
    }
    let chain: Vec<String> =
        answer.get_mut("chain").map(Value::take).and_then(|chain| serde_json::from_value(chain).ok()).unwrap_or_default();
    let chain: Vec<_> = chain.into_iter().filter_map(|text| STANDARD.decode(text).ok().map(CertificateDer::from)).collect();
    binding(&mut lines, &event);
    if let (Some(name), Some(leaf)) = (text("route"), chain.first()) {
        route(&mut lines, &loaded, name, &Certificate::from_der(leaf.clone())?)?;
    }
    match chain.split_first() {
        None if text("certificate").is_none() => {
            lines.heading("certificate");
            lines.say("none", "none was shown, or none that can be read");
        }
        None => {
            lines.heading("certificate");
            lines.say("none", "it is remembered no more: `explain cert` reads it from a file");
        }
        Some((leaf, above)) => {
            let mut certificates = vec![Certificate::from_der(leaf.clone())?];
            // A stranger sent them: those that cannot be read are of no use for a path.
            certificates.extend(above.iter().filter_map(|der| Certificate::from_der(der.clone()).ok()));
            // A client of this deployment: a gateway knows none.
            let client = match &loaded.settings.issuer {
                Some(_) => text("client_id").and_then(|client_id| client_id.parse::<ClientId>().ok()),
                None => None,
            };
            let asked = Asked { loaded: &loaded, client: client.as_ref(), is_named: false, anchors: &[] };
            asked.explain(&mut lines, &origin(&event), &certificates).await?;
        }
    }
    print(format!("\n{}", lines.0))?;
    Ok(ExitCode::SUCCESS)
}

/// Where the certificate came from, in words.
fn origin(event: &Value) -> String {
    let Some(origin) = event.get("certificate_origin").filter(|origin| !origin.is_null()) else {
        return "the handshake".to_owned();
    };
    let text = |name: &str| origin.get(name).and_then(Value::as_str);
    match (text("from"), text("preset"), text("proxy")) {
        (Some("handshake"), ..) => "the handshake, in which the client has shown that it holds the key".to_owned(),
        (Some("resumed_handshake"), ..) => "the handshake of an earlier connection, whose session was resumed".to_owned(),
        (Some("proxy_header"), Some(preset), Some(proxy)) => format!("a header field as of `{preset}`, by the word of {proxy}"),
        _ => origin.to_string(),
    }
}

/// What the route asks of certificates, and which of it the one that was shown does not meet.
fn route(lines: &mut Lines, loaded: &Loaded, name: &str, certificate: &Certificate) -> anyhow::Result<()> {
    let http = loaded
        .settings
        .route
        .iter()
        .map(|route| (&route.name, [&route.certificate_names, &route.certificate_issuers, &route.certificate_keys]));
    let tcp = loaded
        .settings
        .tcp_route
        .iter()
        .map(|route| (&route.name, [&route.certificate_names, &route.certificate_issuers, &route.certificate_keys]));
    let Some((_, written)) = http.chain(tcp).find(|(route, _)| *route == name) else { return Ok(()) };
    if written.iter().all(|values| values.is_empty()) {
        return Ok(());
    }
    let unmet = unmet_certificate_rules(written.map(Vec::as_slice), certificate)?;
    lines.heading(&format!("route `{name}`"));
    for (setting, values) in ["certificate_names", "certificate_issuers", "certificate_keys"].into_iter().zip(written) {
        match (values.is_empty(), unmet.contains(&setting)) {
            (true, _) => {}
            (false, true) => lines.say("not met", format!("`{setting}`: the certificate has none of {}", values.join(", "))),
            (false, false) => lines.say("met", format!("`{setting}`")),
        }
    }
    Ok(())
}

/// What the token is bound to, beside what was shown.
fn binding(lines: &mut Lines, event: &Value) {
    let Some(cnf) = event.get("cnf").and_then(Value::as_object) else { return };
    lines.heading("token");
    for name in ["issuer", "client_id", "subject", "token_id"] {
        if let Some(value) = event.get(name).and_then(Value::as_str) {
            lines.say(name, value);
        }
    }
    for (name, value) in cnf {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.say(&format!("cnf {name}"), &value);
        let shown = match name.as_str() {
            "x5t#S256" => event.get("certificate"),
            "jkt" => event.get("dpop_key"),
            _ => continue,
        };
        match shown.and_then(Value::as_str) {
            None => lines.say("  shown", "nothing"),
            Some(shown) if shown == value => lines.say("  shown", format!("{shown}, the same")),
            Some(shown) => lines.say("  shown", format!("{shown}, another")),
        }
    }
}
