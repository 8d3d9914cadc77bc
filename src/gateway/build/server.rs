//! Authorization servers, as the gateway is their client.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{BuildError, Surroundings, setting, unusable};
use crate::binding::OwnCertificate;
use crate::config::settings::{AuthorizationServerSettings, IntrospectionResponseSetting, Settings, StaleRevocationsSetting};
use crate::domain::{ClientId, Clock, Issuer, Lifetime};
use crate::fetch::{Client, FetchLimits};
use crate::gateway::feed::Feed;
use crate::jose::Algorithm;
use crate::pki::pem;
use crate::relying_party::{Credentials, ProviderSpec};
use crate::resource::{
    ASSERTION_TYPE, AuthorizationServer, ClientAuthentication, Introspection, IssuerKeys, Moment, Revocations, TokenVerifier,
};
use crate::telemetry::metrics::{ISSUER_KEY_FETCHES, REVOCATION_FEED_AGE, REVOCATION_RULES};
use crate::tls::OutboundSpec;
use crate::token::jwt::Layout;

/// How often the feed's age is told to the metrics.
const AGE_INTERVAL: Duration = Duration::from_secs(5);

/// The most by which an issuer's clock may differ from ours. An authorization server drops its revocation rules five minutes after
/// what they hit has expired: whoever served tokens for longer than that would take revoked ones again.
const MAX_LEEWAY_SECONDS: u32 = 120;

/// The least time without word from a feed that can be told from its ordinary pauses.
const MIN_STALENESS_SECONDS: u32 = 3;

/// JWTs that are something else than access tokens, whatever an issuer calls those.
const OTHER_TYPES: &[&str] = &[
    ASSERTION_TYPE,
    "client-authentication+jwt",
    "dpop+jwt",
    "logout+jwt",
    "oauth-authz-req+jwt",
    "secevent+jwt",
    "token-introspection+jwt",
];

/// One authorization server, as the gateway is its client.
#[derive(Debug)]
pub(in crate::gateway) struct Server {
    pub(super) name: String,
    pub(super) verifier: Arc<TokenVerifier>,
    pub(super) revocations: Option<Arc<Revocations>>,
    feed: Option<Feed>,
    /// What is needed to sign people in there, where the gateway is a client.
    pub(super) client: Option<AsClient>,
}

/// The gateway as a client that signs people in.
#[derive(Clone, Debug)]
pub(super) struct AsClient {
    pub(super) provider: ProviderSpec,
    pub(super) own: Option<Arc<ArcSwap<OwnCertificate>>>,
}

impl Server {
    pub(in crate::gateway) fn has_keys(&self, moment: Moment) -> bool {
        self.verifier.keys().generation(moment).is_some()
    }

    /// The rules of its feed, where it is followed.
    #[cfg(test)]
    pub(in crate::gateway) fn revocations(&self) -> Option<&Arc<Revocations>> {
        self.revocations.as_ref()
    }

    pub(super) async fn run(&self, clock: &dyn Clock) {
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

pub(super) fn build_server(
    name: &str,
    settings: &AuthorizationServerSettings,
    whole: &Settings,
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
    let tls = match &settings.ca_file {
        None => None,
        Some(file) => {
            let spec = OutboundSpec { authorities: vec![path(file)], identity: identity.clone(), ..OutboundSpec::default() };
            let tls = surroundings.outbound.load(format!("authorization_server.{name}"), spec);
            Some(tls.map_err(|error| BuildError::Tls { setting: at("ca_file"), error })?)
        }
    };
    let client = tls.as_ref().map(|tls| {
        let client = Client::new(tls.config(), FetchLimits::default());
        let renewed = client.clone();
        tls.follow(move |state| renewed.renew(state.config()));
        client
    });
    let client_id = settings
        .client_id
        .as_deref()
        .map(|text| text.parse::<ClientId>().map_err(|error| setting(at("client_id"), error)))
        .transpose()?;
    let authentication = authentication(name, settings, identity.is_some(), surroundings)?;
    // What is needed to be a client of this server: a name, a way to authenticate, and a way to reach it.
    let as_client = client_id.zip(authentication).filter(|_| client.is_some());
    let ignored = settings.ignored_cnf_members.clone();
    if let Some(name) = ignored.iter().find(|name| matches!(name.as_str(), "x5t#S256" | "jkt")) {
        return Err(setting(at("ignored_cnf_members"), format!("`{name}` says who may use a token: it is never passed over")));
    }
    let server = Arc::new(AuthorizationServer::new(issuer.clone(), client).ignoring_cnf_members(ignored.clone()));

    if let (None, Some((certificate, _))) = (&tls, &identity) {
        pem::load_certificates(certificate).map_err(|error| BuildError::Pem { setting: at("certificate_file"), error })?;
    }
    let own = tls.as_ref().and_then(|tls| {
        let own = Arc::new(ArcSwap::from_pointee(OwnCertificate::of(tls.state().certificate()?)));
        let renewed = Arc::clone(&own);
        tls.follow(move |state| {
            if let Some(certificate) = state.certificate() {
                renewed.rcu(|own| own.renewed(certificate));
            }
        });
        Some(own)
    });
    let keys = match (&settings.jwks_file, &settings.ca_file) {
        (Some(file), _) => {
            let path = path(file);
            let document = std::fs::read(&path).map_err(|error| BuildError::File { setting: at("jwks_file"), path, error })?;
            IssuerKeys::from_document(&document, &algorithms)
                .map_err(|error| BuildError::Keys { setting: at("jwks_file"), error })?
        }
        (None, Some(_)) => IssuerKeys::fetched(Arc::clone(&server), algorithms.clone()),
        (None, None) => {
            return Err(setting(at("ca_file"), "is missing, and so is `jwks_file`: tokens could never be verified"));
        }
    };
    let lifetimes = [settings.introspection_cache_seconds, settings.introspection_negative_cache_seconds];
    let introspection = as_client.clone().map(|(client_id, authentication)| {
        let signed_by = (settings.introspection_response == IntrospectionResponseSetting::Jwt).then(|| keys.clone());
        Introspection::with(Arc::clone(&server), client_id, authentication, signed_by, lifetimes.map(Lifetime::from_seconds))
    });
    let provider = as_client.clone().map(|(client_id, authentication)| ProviderSpec {
        server: Arc::clone(&server),
        client_id,
        authentication,
        certificate: own.is_some(),
        algorithms,
        keys: keys.clone(),
        leeway: Lifetime::from_seconds(settings.leeway_seconds),
        clock: Arc::clone(&surroundings.clock),
    });
    let client = provider.map(|provider| AsClient { provider, own });
    let (revocations, feed) = match (settings.revocation_feed, as_client) {
        (false, _) => (None, None),
        (true, Some((client_id, ClientAuthentication::Certificate))) => {
            let strictest = strictest(name, whole)?.unwrap_or(u32::MAX);
            let revocations = Arc::new(Revocations::new());
            let feed = Feed::new(Arc::clone(&server), client_id, Arc::clone(&revocations), strictest);
            (Some(revocations), Some(feed))
        }
        (true, _) => {
            let problem = "needs `ca_file`, `client_id`, `certificate_file` and `key_file`: the gateway must be a client of this \
                           server that authenticates with its certificate";
            return Err(setting(at("revocation_feed"), problem));
        }
    };
    if settings.leeway_seconds > MAX_LEEWAY_SECONDS {
        let problem = format!("must be at most {MAX_LEEWAY_SECONDS}: revocations are not kept for much longer than tokens live");
        return Err(setting(at("leeway_seconds"), problem));
    }
    let leeway = Lifetime::from_seconds(settings.leeway_seconds);
    let layout = Layout {
        types: token_types(name, &settings.token_types)?,
        client_id_claim: settings.client_id_claim.clone(),
        scope_claim: settings.scope_claim.clone(),
        ignored_cnf: ignored,
    };
    let verifier = Arc::new(TokenVerifier::new(issuer, keys, introspection, leeway).with_layout(layout));
    Ok(Server { name: name.to_owned(), verifier, revocations, feed, client })
}

/// Types that may be an access token's.
fn token_types(server: &str, types: &[String]) -> Result<Vec<String>, BuildError> {
    let refuse = |problem: String| Err(setting(format!("authorization_server.{server}.token_types"), problem));
    if types.is_empty() {
        return refuse("must name at least one: `at+jwt`, or `JWT`".into());
    }
    for name in types {
        if name.is_empty() || name.contains('/') || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse(format!("`{name}` is not a `typ` without `application/`"));
        }
        if OTHER_TYPES.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            return refuse(format!("`{name}` is never an access token's"));
        }
    }
    Ok(types.to_vec())
}

/// How the gateway authenticates; `None` where it cannot, and need not.
fn authentication(
    server: &str,
    settings: &AuthorizationServerSettings,
    has_certificate: bool,
    surroundings: &Surroundings,
) -> Result<Option<ClientAuthentication>, BuildError> {
    let path = |file: &Option<PathBuf>| file.as_ref().map(|file| surroundings.base_dir.join(file));
    let (secret_file, key_file) = (path(&settings.client_secret_file), path(&settings.client_key_file));
    let credentials = Credentials {
        method: settings.client_auth,
        secret_file: secret_file.as_deref(),
        key_file: key_file.as_deref(),
        certificate: has_certificate,
    };
    let at = |member: &str| format!("authorization_server.{server}.{member}");
    credentials.load(&surroundings.randomness).map_err(|error| unusable(at(error.member), error.problem))
}

/// The shortest time after which some route that relies on this server's feed refuses everybody for want of news from it.
fn strictest(server: &str, whole: &Settings) -> Result<Option<u32>, BuildError> {
    let http = whole.route.iter().map(|route| {
        let seconds = route.max_revocation_staleness_seconds;
        ("route", &route.name, &route.authorization_server, route.stale_revocations, seconds)
    });
    let tcp = whole.tcp_route.iter().map(|route| {
        let seconds = route.max_revocation_staleness_seconds;
        ("tcp_route", &route.name, &route.authorization_server, route.stale_revocations, seconds)
    });
    let refusing = http.chain(tcp).filter(|(_, _, servers, stale, _)| {
        servers.iter().any(|name| name == server) && *stale == StaleRevocationsSetting::Refuse
    });
    match refusing.min_by_key(|(.., seconds)| *seconds) {
        Some((kind, name, .., seconds)) if seconds < MIN_STALENESS_SECONDS => Err(setting(
            format!("{kind}.{name}.max_revocation_staleness_seconds"),
            format!("must be at least {MIN_STALENESS_SECONDS}: the feed is heard about once a second"),
        )),
        found => Ok(found.map(|(.., seconds)| seconds)),
    }
}
