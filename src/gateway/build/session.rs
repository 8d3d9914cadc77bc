//! Browser sessions, from their settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AS_CLIENT, BuildError, Server, Surroundings, setting};
use crate::config::settings::{GatewaySettings, RouteSettings};
use crate::domain::Lifetime;
use crate::gateway::session::{BackChannel, CertificateRule, Memory, SessionSpec, Sessions};
use crate::relying_party::Provider;

/// The longest that a session may live.
const MAX_LIFETIME_SECONDS: u32 = 604_800;
/// The longest name, which is part of the cookie's.
const MAX_NAME: usize = 32;

/// All kinds of sessions, by name.
pub(super) fn build_sessions(
    settings: &GatewaySettings,
    servers: &BTreeMap<&str, Server>,
    surroundings: &Surroundings,
) -> Result<BTreeMap<String, Arc<Sessions>>, BuildError> {
    if settings.sessions.is_empty() {
        return Ok(BTreeMap::new());
    }
    if settings.replicas > 1 && !settings.affinity {
        let problem = format!(
            "is {}, and there are `gateway.sessions`: each replica seals its own with a key of its own; set `gateway.affinity = true`",
            settings.replicas
        );
        return Err(setting("gateway.replicas", problem));
    }
    let memory = Arc::new(Memory::new(Arc::clone(&surroundings.clock), surroundings.randomness.as_ref())?);
    let mut kinds = BTreeMap::new();
    for (name, written) in &settings.sessions {
        let at = |member: &str| format!("gateway.sessions.{name}.{member}");
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_name) {
            let problem =
                format!("must be named with 1 to {MAX_NAME} characters of `a-z`, `0-9` and `-`: the name is part of cookies'");
            return Err(setting(format!("gateway.sessions.{name}"), problem));
        }
        if written.back_channel_logout && settings.replicas > 1 {
            let problem = "is for a single gateway: what one replica was told to end would stay open at the others";
            return Err(setting(at("back_channel_logout"), problem));
        }
        if written.lifetime_seconds == 0 || written.lifetime_seconds > MAX_LIFETIME_SECONDS {
            return Err(setting(at("lifetime_seconds"), format!("must be 1 to {MAX_LIFETIME_SECONDS}")));
        }
        if written.idle_seconds == 0 || written.idle_seconds > written.lifetime_seconds {
            return Err(setting(at("idle_seconds"), "must be at least 1, and at most `lifetime_seconds`"));
        }
        let no_text = |text: &String| text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic());
        if written.scopes.iter().chain(&written.resources).any(no_text) {
            return Err(setting(at("scopes"), "and `resources` must be made of visible ASCII characters"));
        }
        let server = &written.authorization_server;
        let server = servers
            .get(server.as_str())
            .ok_or_else(|| setting(at("authorization_server"), format!("there is no `[authorization_server.{server}]`")))?;
        let client = server.client.clone().ok_or_else(|| setting(at("authorization_server"), AS_CLIENT))?;
        let spec = SessionSpec {
            name: name.clone(),
            provider: Arc::new(Provider::new(client.provider)),
            own: client.own,
            scopes: written.scopes.clone(),
            resources: written.resources.clone(),
            idle: Lifetime::from_seconds(written.idle_seconds),
            lifetime: Lifetime::from_seconds(written.lifetime_seconds),
            certificate: if written.require_certificate { CertificateRule::Required } else { CertificateRule::Optional },
            back_channel: if written.back_channel_logout { BackChannel::Open } else { BackChannel::Closed },
            memory: Arc::clone(&memory),
            clock: Arc::clone(&surroundings.clock),
            randomness: Arc::clone(&surroundings.randomness),
        };
        kinds.insert(name.clone(), Arc::new(Sessions::new(spec)));
    }
    Ok(kinds)
}

/// The sessions that a route names.
pub(super) fn of_route(
    route: &RouteSettings,
    settings: &GatewaySettings,
    kinds: &BTreeMap<String, Arc<Sessions>>,
) -> Result<Option<Arc<Sessions>>, BuildError> {
    let Some(name) = &route.sessions else { return Ok(None) };
    let at = format!("route.{}.sessions", route.name);
    let (Some(sessions), Some(written)) = (kinds.get(name), settings.sessions.get(name)) else {
        return Err(setting(at, format!("there is no `[gateway.sessions.{name}]`")));
    };
    if !route.authorization_server.contains(&written.authorization_server) {
        let problem =
            format!("gives tokens of `{}`, which the route's `authorization_server` does not name", written.authorization_server);
        return Err(setting(at, problem));
    }
    Ok(Some(Arc::clone(sessions)))
}
