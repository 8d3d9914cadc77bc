//! From settings to a gateway, and the tasks that keep it fresh.

mod answer;
mod fields;
mod route;
mod server;
mod session;
mod tcp;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;

use self::answer::strict_transport;
use self::route::{build_route, dpop_acceptance, parsed};
pub(super) use self::server::Server;
use self::server::build_server;
use self::session::{build_sessions, of_route};
use self::tcp::build_tcp_routes;
use super::Gateway;
use super::assertion::{Asserter, MAX_LIFETIME, Style};
use super::certificate::VERIFY;
use super::certificate_header;
use super::certificate_rule::CertificateRules;
use super::forward_auth::Claims;
use super::metadata::PublishedMetadata;
use super::pattern::{Conditions, Reach};
use super::redirect::Redirect;
use super::route::{RouteHost, RoutePlace, RouteTable, RouteTableError};
use super::strip::Reserved;
use super::upstream::UpstreamError;
use crate::binding::dpop::DpopSettingsError;
use crate::config::settings::{
    AssertionStyleSetting, GatewaySettings, ListenerSettings, PathMatchSetting, ServiceSetting, Settings,
};
use crate::domain::{Clock, ClockUnreadable, Issuer, Lifetime, Randomness, RandomnessUnavailable};
use crate::jose::Algorithm;
use crate::jose::sign::{SignError, SigningKey};
use crate::pki::Certificate;
use crate::pki::pem::PemFileError;
use crate::relying_party::{CredentialProblem, load_signing_key};
use crate::resource::KeysError;
use crate::telemetry::audit::AuditSink;
use crate::tls::{ClientTlsError, OutboundRegister};
use crate::trust::CurrentAnchors;

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
    /// Where the identities of outbound connections are kept in mind, to be read again.
    pub outbound: Arc<OutboundRegister>,
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
    /// The table of redirects.
    #[error("`redirect`: {0}")]
    Redirects(RouteTableError),
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

/// The names under which proxies in front tell certificates: on every listener, nobody else's word reaches an upstream under them.
fn told_by_proxies(settings: &Settings) -> Result<Vec<HeaderName>, BuildError> {
    let proxies = settings.listener.iter().filter_map(|listener| listener.trusted_proxy.as_ref());
    let names = proxies.flat_map(|proxy| proxy.header.iter().chain(&proxy.chain_header));
    names
        .map(|name| name.parse().map_err(|_| setting("listener.trusted_proxy", format!("`{name}` is not a header name"))))
        .collect()
}

/// Which settings of a route a certificate does not meet, of `certificate_names`, `certificate_issuers` and `certificate_keys` as they are written:
/// for people to read.
///
/// # Errors
/// A value that is not what its setting wants.
pub fn unmet_certificate_rules(
    [names, issuers, keys]: [&[String]; 3],
    certificate: &Certificate,
) -> Result<Vec<&'static str>, BuildError> {
    let rules = CertificateRules {
        names: parsed(names, "certificate_names")?,
        issuers: parsed(issuers, "certificate_issuers")?,
        keys: parsed(keys, "certificate_keys")?,
    };
    Ok(rules.unmet(certificate).collect())
}

/// What people are told who write an authorization server without what the gateway needs to be its client.
const AS_CLIENT: &str = "needs `ca_file` and `client_id` of the authorization server, and what `client_auth` names: a certificate and \
                         its key, a secret, or a key";

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
            .map(|(name, server)| Ok((name.as_str(), build_server(name, server, settings, &surroundings)?)))
            .collect::<Result<BTreeMap<_, _>, BuildError>>()?;
        let kinds = build_sessions(&settings.gateway, &servers, &surroundings)?;
        let dpop = dpop_acceptance(settings, &surroundings)?;
        let is_asked = settings.listener.iter().any(|listener| listener.services.contains(&ServiceSetting::ForwardAuth));
        let mut names = BTreeSet::new();
        let mut routes = Vec::with_capacity(settings.route.len());
        for (index, route) in settings.route.iter().enumerate() {
            if !names.insert(route.name.as_str()) {
                return Err(setting("route.name", format!("two routes are named `{}`", route.name)));
            }
            if route.upstream.is_empty() && !is_asked {
                let problem = "must name at least one, where no listener has the service `forward_auth`";
                return Err(setting(format!("route.{}.upstream", route.name), problem));
            }
            let mut built = build_route(index, route, &servers, dpop.as_ref(), &surroundings)?;
            built.sessions = of_route(route, &settings.gateway, &kinds)?;
            fields::check(&built, asserter.header())?;
            let (host, path, reach) = (route.host.as_str(), route.path.as_str(), reach(route.path_match));
            routes.push((RoutePlace { host, path, reach, conditions: built.conditions.clone() }, built));
        }
        let tcp_routes = build_tcp_routes(settings, &servers, &names, &surroundings)?;
        let redirects = settings.redirect.iter().map(|written| {
            let (host, path) = (written.host.as_str(), written.path.as_str());
            let redirect = Redirect::new(format!("{host}{path}"), path, &written.to, written.status)
                .map_err(|error| setting(format!("redirect.{host}{path}"), error))?;
            Ok((RoutePlace { host, path, reach: reach(written.path_match), conditions: Conditions::default() }, redirect))
        });
        let redirects = redirects.collect::<Result<Vec<_>, BuildError>>()?;
        let own: Vec<HeaderName> = routes
            .iter()
            .flat_map(|(_, route)| &route.request_headers)
            .map(|(name, _)| name.clone())
            .chain(told_by_proxies(settings)?)
            .collect();
        let matched: Vec<HeaderName> =
            routes.iter().flat_map(|(_, route)| &route.conditions.headers).map(|(name, _)| name.clone()).collect();
        let dialects = routes.iter().flat_map(|(_, route)| &route.certificate_headers);
        let dialects = dialects.flat_map(|dialect| certificate_header::names(*dialect)).copied().map(HeaderName::from_static);
        let of_routes = routes.iter().flat_map(|(_, route)| &route.request_headers).map(|(name, _)| name.clone());
        let claims = Claims::new(dialects.chain(of_routes).chain([asserter.header().clone(), VERIFY]));
        let hosts =
            routes.iter().filter_map(|(place, route)| Some((RouteHost::parse(place.host).ok()?, route))).collect::<Vec<_>>();
        let metadata = PublishedMetadata::new(hosts.iter().map(|(host, route)| (host, *route)));
        Ok(Self {
            routes: RouteTable::new(routes)?,
            tcp_routes,
            metadata,
            redirects: RouteTable::new(redirects).map_err(BuildError::Redirects)?,
            reserved: Arc::new(Reserved::new(own.iter().chain([asserter.header()])).matching(&matched)),
            claims,
            jwks: asserter.jwks(),
            asserter,
            max_headers: usize::try_from(settings.limits.request_headers).unwrap_or(usize::MAX),
            audit: surroundings.audit,
            anchors: surroundings.anchors,
            clock: surroundings.clock,
            randomness: surroundings.randomness,
            servers: servers.into_values().collect(),
            passed_on: settings.listener.iter().flat_map(passed_on).collect(),
            strict_transport: strict_transport(&settings.gateway)?,
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
        for route in self.routes.routes().filter(|route| route.upstreams.rules().check.is_some()) {
            let route = Arc::clone(route);
            tasks.spawn(async move { route.upstreams.watch().await });
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// What a listener passes on unread.
fn passed_on(listener: &ListenerSettings) -> impl Iterator<Item = String> {
    let port = listener.address.port();
    listener.passthrough.iter().flat_map(move |entry| {
        entry.names.iter().map(move |name| format!("{name}:{port}: anybody (TLS is passed on to {} unread)", entry.upstream))
    })
}

fn reach(written: PathMatchSetting) -> Reach {
    match written {
        PathMatchSetting::Prefix => Reach::Prefix,
        PathMatchSetting::Exact => Reach::Exact,
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
        Some(file) => load_signing_key(&surroundings.base_dir.join(file))
            .map_err(|problem| unusable("gateway.assertion_key_file", problem))?,
    };
    let style = match settings.assertion_style {
        AssertionStyleSetting::Symbolon => Style::Symbolon,
        AssertionStyleSetting::Pomerium => Style::Pomerium,
    };
    Ok(Asserter::new(key, issuer.as_str().to_owned(), header, lifetime, style))
}

/// A problem with our credentials, as the setting `name` has it.
fn unusable(name: impl Into<String>, problem: CredentialProblem) -> BuildError {
    match problem {
        CredentialProblem::Unfit(problem) => setting(name, problem),
        CredentialProblem::Pem(error) => BuildError::Pem { setting: name.into(), error },
    }
}
