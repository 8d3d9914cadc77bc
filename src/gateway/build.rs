//! From settings to a gateway, and the tasks that keep it fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, Method};
use rustls::pki_types::PrivateKeyDer;

use super::assertion::{Asserter, MAX_LIFETIME};
use super::feed::Feed;
use super::route::{RouteHost, RouteTable, RouteTableError};
use super::strip::Reserved;
use super::upstream::{Upstream, UpstreamError};
use super::{AccessToken, Gateway, Route};
use crate::binding::dpop::{Dpop, DpopChecked, DpopSettingsError, NonceRule, Nonces};
use crate::binding::{Policy, ReplayCache};
use crate::config::settings::{
    AuthorizationServerSettings, GatewaySettings, ProofOfPossessionSetting, RouteSettings, Settings, StaleRevocationsSetting,
    TokenVerificationSetting,
};
use crate::domain::{Audience, ClientId, Clock, ClockUnreadable, Issuer, Lifetime, Randomness, RandomnessUnavailable, Scope};
use crate::fetch::{Client, FetchLimits};
use crate::jose::Algorithm;
use crate::jose::sign::{SignError, SigningKey};
use crate::pki::pem::{self, PemFileError};
use crate::resource::{
    AuthorizationServer, DpopAcceptance, Introspection, IssuerKeys, KeysError, Moment, Protection, Requirements, RevocationCheck,
    Revocations, Staleness, TokenVerifier, Verification,
};
use crate::telemetry::audit::AuditSink;
use crate::telemetry::metrics::{ISSUER_KEY_FETCHES, REVOCATION_FEED_AGE, REVOCATION_RULES};
use crate::tls::{ClientTlsError, load_client_config};
use crate::trust::CurrentAnchors;

/// How often the feed's age is told to the metrics.
const AGE_INTERVAL: Duration = Duration::from_secs(5);

/// The most by which an issuer's clock may differ from ours. An authorization server drops its revocation rules five minutes after
/// what they hit has expired: whoever served tokens for longer than that would take revoked ones again.
const MAX_LEEWAY_SECONDS: u32 = 120;

/// The least time without word from a feed that can be told from its ordinary pauses.
const MIN_STALENESS_SECONDS: u32 = 3;

/// What a gateway is handed from outside.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where relative paths start.
    pub base_dir: PathBuf,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub randomness: Arc<dyn Randomness>,
    /// The audit trail.
    pub audit: AuditSink,
    /// Whose certificates count.
    pub anchors: Arc<CurrentAnchors>,
}

/// Why there is no gateway. Each names the setting and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A value that is not what its setting wants.
    #[error("`{setting}`: {problem}")]
    Setting {
        /// The setting, as in the file.
        setting: String,
        /// What is wrong with it, and what to write.
        problem: String,
    },
    /// A PEM file.
    #[error("`{setting}`: {error}")]
    Pem {
        /// The setting.
        setting: String,
        /// What is wrong.
        error: PemFileError,
    },
    /// Outbound TLS.
    #[error("`{setting}`: {error}")]
    Tls {
        /// The setting.
        setting: String,
        /// What is wrong.
        error: ClientTlsError,
    },
    /// A file that cannot be read.
    #[error("`{setting}`: cannot read `{}`: {error}", path.display())]
    File {
        /// The setting.
        setting: String,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// Static keys that are none.
    #[error("`{setting}`: {error}")]
    Keys {
        /// The setting.
        setting: String,
        /// What is wrong.
        error: KeysError,
    },
    /// The table of routes.
    #[error("`route`: {0}")]
    Routes(#[from] RouteTableError),
    /// An upstream.
    #[error("`route.{name}.upstream`: {error}")]
    Upstream {
        /// The route.
        name: String,
        /// What is wrong.
        error: UpstreamError,
    },
    /// The section `[dpop]`.
    #[error("{0}")]
    Dpop(#[from] DpopSettingsError),
    /// The clock.
    #[error("{0}")]
    Clock(#[from] ClockUnreadable),
    /// The randomness.
    #[error("{0}")]
    Randomness(#[from] RandomnessUnavailable),
    /// No key for assertions.
    #[error("the gateway's signing key cannot be made: {0}")]
    Key(#[from] SignError),
}

fn setting(name: impl Into<String>, problem: impl ToString) -> BuildError {
    BuildError::Setting { setting: name.into(), problem: problem.to_string() }
}

/// One authorization server, as the gateway is its client.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    verifier: Arc<TokenVerifier>,
    introspects: Introspects,
    revocations: Option<Arc<Revocations>>,
    feed: Option<Feed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Introspects {
    No,
    Yes,
}

impl Gateway {
    /// The gateway that `settings` describe. Reads files; fetches nothing yet. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// The first setting that cannot be honoured: nothing falls back to something weaker.
    pub fn from_settings(settings: &Settings, surroundings: Surroundings) -> Result<Self, BuildError> {
        let asserter = asserter(&settings.gateway, &surroundings)?;
        let servers = settings
            .authorization_server
            .iter()
            .map(|(name, server)| Ok((name.as_str(), build_server(name, server, &settings.route, &surroundings)?)))
            .collect::<Result<BTreeMap<_, _>, BuildError>>()?;
        let dpop = dpop_acceptance(settings, &surroundings)?;
        let mut names = BTreeSet::new();
        let mut routes = Vec::with_capacity(settings.route.len());
        for (index, route) in settings.route.iter().enumerate() {
            if !names.insert(route.name.as_str()) {
                return Err(setting("route.name", format!("two routes are named `{}`", route.name)));
            }
            routes.push((
                route.host.as_str(),
                route.path.as_str(),
                build_route(index, route, &servers, dpop.as_ref(), &surroundings)?,
            ));
        }
        Ok(Self {
            routes: RouteTable::new(routes)?,
            reserved: Arc::new(Reserved::new(asserter.header())),
            jwks: asserter.jwks(),
            asserter,
            max_headers: usize::try_from(settings.limits.request_headers).unwrap_or(usize::MAX),
            audit: surroundings.audit,
            anchors: surroundings.anchors,
            clock: surroundings.clock,
            randomness: surroundings.randomness,
            servers: servers.into_values().collect(),
        })
    }

    /// Keeps issuers' keys and revocation rules fresh: for ever. Dropping it ends everything it began.
    pub async fn run_tasks(self: Arc<Self>) {
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..self.servers.len() {
            let gateway = Arc::clone(&self);
            tasks.spawn(async move {
                if let Some(server) = gateway.servers.get(index) {
                    server.run(gateway.clock.as_ref()).await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}

impl Server {
    pub(super) fn has_keys(&self, moment: Moment) -> bool {
        self.verifier.keys().generation(moment).is_some()
    }

    /// The rules of its feed, where it is followed.
    #[cfg(test)]
    pub(super) fn revocations(&self) -> Option<&Arc<Revocations>> {
        self.revocations.as_ref()
    }

    async fn run(&self, clock: &dyn Clock) {
        let keys = self.verifier.keys().run(clock, |outcome| {
            let label = if outcome.is_ok() { "ok" } else { "failed" };
            ISSUER_KEY_FETCHES.with([self.name.clone(), label.to_owned()]).increment(1);
            match outcome {
                Ok(()) => tracing::debug!(authorization_server = self.name, "issuer keys fetched"),
                Err(error) => tracing::warn!(authorization_server = self.name, %error, "issuer keys not fetched"),
            }
        });
        let feed = async {
            let Some(feed) = &self.feed else { return };
            feed.run(clock, |outcome| match outcome {
                Ok(()) => tracing::info!(authorization_server = self.name, "revocation feed heard again"),
                Err(error) => tracing::warn!(authorization_server = self.name, %error, "revocation feed not heard"),
            })
            .await;
        };
        let age = async {
            let Some(revocations) = &self.revocations else { return };
            loop {
                if let Some(age) = revocations.age(clock.monotonic()) {
                    REVOCATION_FEED_AGE.with([self.name.clone()]).set(age.as_secs_f64());
                }
                let rules = u32::try_from(revocations.rules().len()).unwrap_or(u32::MAX);
                REVOCATION_RULES.with([self.verifier.issuer().as_str().to_owned()]).set(f64::from(rules));
                tokio::time::sleep(AGE_INTERVAL).await;
            }
        };
        tokio::join!(keys, feed, age);
    }
}

/// Names that the assertion must not take the place of.
fn is_taken(name: &HeaderName) -> bool {
    use http::header::*;
    [ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, EXPECT, HOST, ORIGIN, RANGE]
        .contains(name)
        || [TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"].contains(&name.as_str())
}

fn asserter(settings: &GatewaySettings, surroundings: &Surroundings) -> Result<Asserter, BuildError> {
    let issuer = settings
        .issuer
        .as_deref()
        .ok_or_else(|| setting("gateway.issuer", "is missing: write the `https` URL under which upstreams know this gateway"))?;
    let issuer: Issuer = issuer.parse().map_err(|error| setting("gateway.issuer", error))?;
    let header: HeaderName = settings
        .assertion_header
        .parse()
        .map_err(|_| setting("gateway.assertion_header", format!("`{}` is not a header name", settings.assertion_header)))?;
    if is_taken(&header) {
        return Err(setting("gateway.assertion_header", format!("`{header}` has a meaning of its own: choose another")));
    }
    let lifetime = Lifetime::from_seconds(settings.assertion_lifetime_seconds);
    if lifetime.seconds() == 0 || lifetime > MAX_LIFETIME {
        return Err(setting("gateway.assertion_lifetime_seconds", "must be 1 to 60"));
    }
    let key = match &settings.assertion_key_file {
        None => SigningKey::generate(Algorithm::ES256, surroundings.randomness.as_ref())?,
        Some(file) => {
            const SETTING: &str = "gateway.assertion_key_file";
            let path = surroundings.base_dir.join(file);
            let key = pem::load_private_key(&path).map_err(|error| BuildError::Pem { setting: SETTING.into(), error })?;
            let unfit = || {
                let path = path.display();
                setting(SETTING, format!("`{path}` must hold a P-256, P-384 or Ed25519 key in PKCS #8: `BEGIN PRIVATE KEY`"))
            };
            let PrivateKeyDer::Pkcs8(der) = &key else { return Err(unfit()) };
            [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
                .into_iter()
                .find_map(|algorithm| SigningKey::from_pkcs8(der.secret_pkcs8_der(), algorithm).ok())
                .ok_or_else(unfit)?
        }
    };
    Ok(Asserter::new(key, issuer.as_str().to_owned(), header, lifetime))
}

fn build_server(
    name: &str,
    settings: &AuthorizationServerSettings,
    routes: &[RouteSettings],
    surroundings: &Surroundings,
) -> Result<Server, BuildError> {
    let at = |member: &str| format!("authorization_server.{name}.{member}");
    let path = |file: &PathBuf| surroundings.base_dir.join(file);
    let issuer: Issuer = settings.issuer.parse().map_err(|error| setting(at("issuer"), error))?;
    let algorithms = settings
        .algorithms
        .iter()
        .map(|text| text.parse::<Algorithm>().map_err(|error| setting(at("algorithms"), error)))
        .collect::<Result<Vec<_>, _>>()?;
    let identity = match (&settings.certificate_file, &settings.key_file) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((path(certificate), path(key))),
        (Some(_), None) => return Err(setting(at("key_file"), "is missing beside `certificate_file`")),
        (None, Some(_)) => return Err(setting(at("certificate_file"), "is missing beside `key_file`")),
    };
    let client = match &settings.ca_file {
        None => None,
        Some(file) => {
            let identity = identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
            let tls = load_client_config(&path(file), identity, &[], Arc::clone(&surroundings.clock))
                .map_err(|error| BuildError::Tls { setting: at("ca_file"), error })?;
            Some(Client::new(tls, FetchLimits::default()))
        }
    };
    let client_id = settings
        .client_id
        .as_deref()
        .map(|text| text.parse::<ClientId>().map_err(|error| setting(at("client_id"), error)))
        .transpose()?;
    // What is needed to be a client of this server: a name, a certificate, and a way to reach it.
    let as_client = client_id.filter(|_| identity.is_some() && client.is_some());
    let ignored = settings.ignored_cnf_members.clone();
    if let Some(name) = ignored.iter().find(|name| matches!(name.as_str(), "x5t#S256" | "jkt")) {
        return Err(setting(at("ignored_cnf_members"), format!("`{name}` says who may use a token: it is never passed over")));
    }
    let server = Arc::new(AuthorizationServer::new(issuer.clone(), client).ignoring_cnf_members(ignored.clone()));

    let keys = match (&settings.jwks_file, &settings.ca_file) {
        (Some(file), _) => {
            let path = path(file);
            let document = std::fs::read(&path).map_err(|error| BuildError::File { setting: at("jwks_file"), path, error })?;
            IssuerKeys::from_document(&document, &algorithms)
                .map_err(|error| BuildError::Keys { setting: at("jwks_file"), error })?
        }
        (None, Some(_)) => IssuerKeys::fetched(Arc::clone(&server), algorithms),
        (None, None) => {
            return Err(setting(at("ca_file"), "is missing, and so is `jwks_file`: tokens could never be verified"));
        }
    };
    let introspection = as_client.clone().map(|client_id| {
        Introspection::new(Arc::clone(&server), client_id, Lifetime::from_seconds(settings.introspection_cache_seconds))
    });
    let (revocations, feed) = match (settings.revocation_feed, as_client) {
        (false, _) => (None, None),
        (true, None) => {
            let problem =
                "needs `ca_file`, `client_id`, `certificate_file` and `key_file`: the gateway must be a client of this server";
            return Err(setting(at("revocation_feed"), problem));
        }
        (true, Some(client_id)) => {
            let strictest = strictest(name, routes)?.unwrap_or(u32::MAX);
            let revocations = Arc::new(Revocations::new());
            let feed = Feed::new(Arc::clone(&server), client_id, Arc::clone(&revocations), strictest);
            (Some(revocations), Some(feed))
        }
    };
    let introspects = if introspection.is_some() { Introspects::Yes } else { Introspects::No };
    if settings.leeway_seconds > MAX_LEEWAY_SECONDS {
        let problem = format!("must be at most {MAX_LEEWAY_SECONDS}: revocations are not kept for much longer than tokens live");
        return Err(setting(at("leeway_seconds"), problem));
    }
    let leeway = Lifetime::from_seconds(settings.leeway_seconds);
    let verifier = Arc::new(TokenVerifier::new(issuer, keys, introspection, leeway).ignoring_cnf_members(ignored));
    Ok(Server { name: name.to_owned(), verifier, introspects, revocations, feed })
}

/// The shortest time after which some route that accepts this server's tokens refuses them for want of news from its feed.
fn strictest(server: &str, routes: &[RouteSettings]) -> Result<Option<u32>, BuildError> {
    let refuses = |route: &&RouteSettings| {
        route.authorization_server == server && route.stale_revocations == StaleRevocationsSetting::Refuse
    };
    let strictest = routes.iter().filter(refuses).min_by_key(|route| route.max_revocation_staleness_seconds);
    match strictest {
        Some(route) if route.max_revocation_staleness_seconds < MIN_STALENESS_SECONDS => Err(setting(
            format!("route.{}.max_revocation_staleness_seconds", route.name),
            format!("must be at least {MIN_STALENESS_SECONDS}: the feed is heard about once a second"),
        )),
        found => Ok(found.map(|route| route.max_revocation_staleness_seconds)),
    }
}

/// Every value of a list in its own type.
fn parsed<T, L>(values: &[String], name: &str) -> Result<L, BuildError>
where
    T: FromStr<Err: std::fmt::Display>,
    L: FromIterator<T> + IntoIterator<Item = T>,
{
    values.iter().map(|text| text.parse().map_err(|error: T::Err| setting(name, format!("`{text}` {error}")))).collect()
}

/// How a route has tokens proven.
fn policy(route: &RouteSettings) -> Result<Policy, BuildError> {
    use ProofOfPossessionSetting::{DangerOff, Dpop, Mtls, Optional, Strict};
    let written = &route.proof_of_possession;
    let has = |wanted| written.contains(&wanted);
    match written.as_slice() {
        [Strict] => Ok(Policy::Strict),
        [Optional] => Ok(Policy::Optional),
        [DangerOff] => Ok(Policy::DangerOff),
        [_, ..] if written.iter().all(|one| matches!(one, Mtls | Dpop)) => Ok(match (has(Mtls), has(Dpop)) {
            (true, true) => Policy::Strict,
            (true, false) => Policy::Certificate,
            (false, _) => Policy::Dpop,
        }),
        _ => {
            let problem = "must be `strict`, `optional` or `danger_off` alone, or a list of `mtls` and `dpop`";
            Err(setting(format!("route.{}.proof_of_possession", route.name), problem))
        }
    }
}

/// What takes DPoP proofs, for all routes together: one memory of what was used, and nonces that only this process knows.
fn dpop_acceptance(settings: &Settings, surroundings: &Surroundings) -> Result<Option<Arc<DpopAcceptance>>, BuildError> {
    let DpopChecked { rules, nonce_lifetime, replay_entries } = DpopChecked::from_settings(&settings.dpop)?;
    let mut taking = None;
    for route in &settings.route {
        if policy(route)?.takes_dpop() {
            taking.get_or_insert(route.name.as_str());
        }
    }
    let Some(route) = taking else { return Ok(None) };
    let gateway = &settings.gateway;
    if gateway.replicas > 1 && !(rules.nonce == NonceRule::Required && gateway.affinity) {
        let problem = format!(
            "is {}, and route `{route}` takes DPoP: replicas share no memory of used proofs, so a stolen one would be good once at each; \
             set `dpop.require_nonce = true` and `gateway.affinity = true`, or `proof_of_possession = [\"mtls\"]` on the route",
            gateway.replicas
        );
        return Err(setting("gateway.replicas", problem));
    }
    let name = gateway.issuer.as_deref().unwrap_or_default();
    let nonces = Nonces::of_process(name, surroundings.randomness.as_ref(), nonce_lifetime)?;
    let dpop = Arc::new(Dpop::with_memory_since(surroundings.clock.now()?, rules, nonces));
    let memory = Arc::new(ReplayCache::new(replay_entries, Arc::clone(&surroundings.clock)));
    Ok(Some(Arc::new(DpopAcceptance { dpop, memory })))
}

fn build_route(
    index: usize,
    settings: &RouteSettings,
    servers: &BTreeMap<&str, Server>,
    dpop: Option<&Arc<DpopAcceptance>>,
    surroundings: &Surroundings,
) -> Result<Route, BuildError> {
    let name = &settings.name;
    let at = |member: &str| format!("route.{name}.{member}");
    let server = servers.get(settings.authorization_server.as_str()).ok_or_else(|| {
        let problem = format!("there is no `[authorization_server.{}]`", settings.authorization_server);
        setting(at("authorization_server"), problem)
    })?;
    let verification = match settings.token {
        TokenVerificationSetting::Auto => Verification::Auto,
        TokenVerificationSetting::Jwt => Verification::Jwt,
        TokenVerificationSetting::Introspection => Verification::Introspection,
    };
    if verification == Verification::Introspection && server.introspects == Introspects::No {
        let problem = "introspection needs `ca_file`, `client_id`, `certificate_file` and `key_file` of the authorization server";
        return Err(setting(at("token"), problem));
    }
    let audience: Audience = settings.audience.parse().map_err(|error| setting(at("audience"), error))?;
    let scopes: Scope = settings.scopes.join(" ").parse().map_err(|error| setting(at("scopes"), error))?;
    let clients = parsed(&settings.client_ids, &at("client_ids"))?;
    let methods: Vec<Method> = parsed(&settings.methods, &at("methods"))?;
    if let Some(odd) = methods.iter().find(|method| method.as_str().bytes().any(|byte| byte.is_ascii_lowercase())) {
        return Err(setting(at("methods"), format!("`{odd}`: methods are written in capitals (RFC 9110 §9.1)")));
    }
    let addresses = parsed(&settings.addresses, &at("addresses"))?;
    let staleness = match settings.stale_revocations {
        StaleRevocationsSetting::Refuse => {
            Staleness::RefuseAfter(Lifetime::from_seconds(settings.max_revocation_staleness_seconds))
        }
        StaleRevocationsSetting::Serve => Staleness::Serve,
    };
    let revocations =
        server.revocations.as_ref().map(|revocations| RevocationCheck { revocations: Arc::clone(revocations), staleness });
    let binding = policy(settings)?;
    if settings.upstream_timeout_seconds == 0 {
        return Err(setting(at("upstream_timeout_seconds"), "must be at least 1"));
    }
    let tls = settings
        .upstream_ca_file
        .as_ref()
        .map(|file| {
            load_client_config(&surroundings.base_dir.join(file), None, &[], Arc::clone(&surroundings.clock))
                .map_err(|error| BuildError::Tls { setting: at("upstream_ca_file"), error })
        })
        .transpose()?;
    let timeout = Duration::from_secs(settings.upstream_timeout_seconds.into());
    let upstream =
        Upstream::new(&settings.upstream, tls, timeout).map_err(|error| BuildError::Upstream { name: name.clone(), error })?;
    let host = RouteHost::parse(&settings.host).map_err(|error| setting(at("host"), error))?;
    if let Some(name) = settings.anchor_set.as_ref().filter(|name| surroundings.anchors.load().get(name).is_none()) {
        return Err(setting(at("anchor_set"), format!("there is no `[anchor_set.{name}]`")));
    }
    Ok(Route {
        name: name.clone(),
        server: settings.authorization_server.clone(),
        place: format!("{host}{}", settings.path),
        methods,
        addresses,
        index,
        upstream,
        protection: Protection {
            verifier: Arc::clone(&server.verifier),
            verification,
            binding,
            dpop: dpop.filter(|_| binding.takes_dpop()).map(Arc::clone),
            requirements: Requirements { audience, scopes, clients },
            revocations,
        },
        anchor_set: settings.anchor_set.clone(),
        certificate_mode: settings.certificate_mode.map(Into::into),
        assertion_audience: settings.assertion_audience.clone().unwrap_or_else(|| host.to_string()),
        access_token: if settings.pass_access_token { AccessToken::Passed } else { AccessToken::Removed },
        metrics: OnceLock::new(),
    })
}
