//! The authorization server, from its settings and its database.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;

use super::client_authentication::{anonymous_limits, assertion_rules, fetches, outbound, throttle_limits};
use super::tasks::load_rules;
use crate::binding::dpop::{Dpop, DpopChecked, Nonces};
use crate::clients::{ClientKeys, Clients, Profile};
use crate::config::Loaded;
use crate::config::settings::SealKeySettings;
use crate::domain::{ClientId, Clock, Issuer, Lifetime, Randomness, SystemClock};
use crate::identity::Guesses;
use crate::jose::random::SystemRandomness;
use crate::keys::{Keeper, KeyPlan};
use crate::oauth::administration::RegistrationRules;
use crate::oauth::assertion_issuers::AssertionIssuers;
use crate::oauth::authorization::Lifetimes;
use crate::oauth::client_auth::{AssertionRules, Throttle, ThrottleLimits};
use crate::oauth::device;
use crate::oauth::logout::Logouts;
use crate::oauth::metadata::{Endpoints, path};
use crate::oauth::registration::Registration;
use crate::oauth::resources::Resources;
use crate::oauth::{AuthorizationServer, EndingCertificates, FetchRoom, IssuedTokens, Revocations, SeenCertificates};
use crate::oidc::SubjectNames;
use crate::seal::{KeySource, MasterKeys, SealKeyId};
use crate::store::Store;
use crate::telemetry::audit::AuditSink;
use crate::tls::OutboundRegister;
use crate::trust::CurrentAnchors;
use crate::trust::revocation::RevocationRules;
use crate::web::pages::Pages;

/// The master keys that a configuration names.
pub fn master_keys(loaded: &Loaded) -> anyhow::Result<MasterKeys> {
    let settings = &loaded.settings;
    if settings.seal.key.is_empty() {
        bail!(
            "{}: no [[seal.key]]: state cannot be sealed; make one with `openssl rand -base64 32 > seal.key && chmod 600 seal.key`",
            loaded.file.display()
        );
    }
    let mut keys = Vec::new();
    for key in &settings.seal.key {
        let id: SealKeyId = key.id.parse().with_context(|| format!("[[seal.key]] id `{}`", key.id))?;
        let source = key_source(loaded, key).with_context(|| format!("[[seal.key]] `{id}`"))?;
        keys.push((id, source));
    }
    MasterKeys::load(&keys, &|name| std::env::var(name).ok()).context("[[seal.key]]")
}

fn key_source(loaded: &Loaded, key: &SealKeySettings) -> anyhow::Result<KeySource> {
    let mut sources = [
        key.file.as_ref().map(|file| KeySource::File(loaded.resolve(file))),
        key.variable.clone().map(KeySource::Variable),
        key.credential.clone().map(KeySource::Credential),
        key.command.clone().map(KeySource::Command),
    ]
    .into_iter()
    .flatten();
    match (sources.next(), sources.next()) {
        (Some(source), None) => Ok(source),
        (None, _) => bail!("nothing says where the key is: set one of `file`, `variable`, `credential` and `command`"),
        (Some(_), Some(_)) => bail!("more than one of `file`, `variable`, `credential` and `command` is set: keep one"),
    }
}

/// Opens the database that a configuration names. The command line and the server share it.
pub async fn open_store(loaded: &Loaded, clock: &dyn Clock, randomness: &dyn Randomness) -> anyhow::Result<Store> {
    let masters = Arc::new(master_keys(loaded)?);
    let (settings, base) = (&loaded.settings, loaded.base_dir.as_path());
    Store::open(&settings.store, base, masters, randomness, clock.now()?).await.context("[store]")
}

/// What operators may register, on the command line and over HTTP. `place` is what people are told to add what is missing to.
pub fn registration_rules(loaded: &Loaded, place: String) -> anyhow::Result<RegistrationRules> {
    let settings = &loaded.settings;
    let keys = KeyPlan::of(settings).context("[signing]")?;
    Ok(RegistrationRules {
        resources: Resources::from_settings(&settings.resource, &keys)?,
        anchor_sets: settings.anchor_set.keys().cloned().collect(),
        fetches: fetches(&settings.outbound),
        place,
    })
}

/// The authorization server's sections, checked.
struct Checked {
    issuer: Issuer,
    endpoints: Endpoints,
    assertions: AssertionRules,
    assertion_issuers: AssertionIssuers,
    throttle: ThrottleLimits,
    anonymous: ThrottleLimits,
    resources: Resources,
    feed_clients: Vec<ClientId>,
    key_plan: KeyPlan,
    lifetimes: Lifetimes,
    dpop: DpopChecked,
    registration: Registration,
}

fn checked(loaded: &Loaded) -> anyhow::Result<Checked> {
    let settings = &loaded.settings;
    let Some(issuer) = &settings.issuer else {
        bail!("`issuer` is missing: the URL that clients and resources know this server by");
    };
    let url = |key: &str, text: &str| {
        if text.ends_with('/') {
            bail!("`{key}` = \"{text}\" must not end in a slash: endpoints are appended to it");
        }
        text.parse::<Issuer>().map_err(|error| anyhow::anyhow!("`{key}` = \"{text}\" {error}"))
    };
    let issuer = url("issuer", issuer)?;
    let mtls_url = settings.mtls_url.as_deref().map(|text| url("mtls_url", text)).transpose()?;
    if mtls_url.as_ref().is_some_and(|mtls| mtls.path() != issuer.path()) {
        bail!("`mtls_url` must have the same path as `issuer`");
    }
    let key_plan = KeyPlan::of(settings).context("[signing]")?;
    let resources = Resources::from_settings(&settings.resource, &key_plan).context("[[resource]]")?;
    let userinfo = issuer.join(path::USERINFO).parse().context("`issuer` is too long")?;
    let resources = resources.with_userinfo(userinfo, key_plan.default);
    let lifetimes = Lifetimes::from_settings(&settings.authorization).context("[authorization]")?;
    let feed_clients = settings
        .revocation_feed
        .clients
        .iter()
        .map(|text| text.parse().with_context(|| format!("[revocation_feed]: client `{text}`")))
        .collect::<Result<_, _>>()?;
    let endpoints = Endpoints::new(&issuer, mtls_url.as_ref());
    let assertions = assertion_rules(&settings.client_assertion, &issuer, &endpoints)?;
    let read = |file: &std::path::Path| std::fs::read(loaded.resolve(file));
    let assertion_issuers = AssertionIssuers::from_settings(&settings.assertion_issuer, read).context("[[assertion_issuer]]")?;
    let throttle = throttle_limits(&settings.limits)?;
    let anonymous = anonymous_limits(&settings.limits)?;
    super::identity::check(settings, &issuer)?;
    let mut dpop = DpopChecked::from_settings(&settings.dpop).context("[dpop]")?;
    let profile = Profile::from(settings.authorization.profile);
    check_profile(profile, &key_plan)?;
    dpop.rules.algorithms.retain(|algorithm| profile.algorithms().contains(algorithm));
    if dpop.rules.algorithms.is_empty() {
        bail!("[dpop]: the profile `{}` knows none of `algorithms`: add `ES256`, `PS256` or `EdDSA`", profile.name());
    }
    let registration = Registration::from_settings(&settings.registration, read).context("[registration]")?;
    for identifier in &settings.registration.resources {
        if resources.get(identifier).is_none() {
            bail!("[registration]: resources: there is no [[resource]] `{identifier}`");
        }
    }
    Ok(Checked {
        issuer,
        endpoints,
        assertions,
        assertion_issuers,
        throttle,
        anonymous,
        resources,
        feed_clients,
        key_plan,
        dpop,
        lifetimes,
        registration,
    })
}

/// FAPI 2.0 Security Profile §5.4.1 speaks of every JWT that the server makes.
fn check_profile(profile: Profile, plan: &KeyPlan) -> anyhow::Result<()> {
    match plan.algorithms.iter().find(|algorithm| !profile.algorithms().contains(algorithm)) {
        None => Ok(()),
        Some(algorithm) => bail!(
            "[signing]: `{algorithm}` is not for the profile `{}`: write `ES256`, `PS256` or `EdDSA`, for every resource too",
            profile.name()
        ),
    }
}

/// Checks the authorization server's sections and the master keys, without opening the database.
pub fn check(loaded: &Loaded) -> anyhow::Result<()> {
    let checked = checked(loaded)?;
    Pages::load(&loaded.settings.pages, &loaded.base_dir, &checked.issuer).context("[pages]")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let randomness: Arc<dyn Randomness> = Arc::new(SystemRandomness);
    let register = OutboundRegister::new(clock.clone());
    outbound(loaded, &register).context("[outbound]")?;
    super::identity_providers::build(loaded, &checked.issuer, &register, &clock, &randomness)?;
    super::administration::checked(loaded, &checked.issuer)?;
    master_keys(loaded).map(drop)
}

/// Builds the authorization server. With it comes the last change that its snapshots are sure to contain.
pub async fn build(
    loaded: &Loaded,
    anchors: Arc<CurrentAnchors>,
    register: &OutboundRegister,
    audit: AuditSink,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
) -> anyhow::Result<(Arc<AuthorizationServer>, i64)> {
    let checked = checked(loaded)?;
    let outbound = outbound(loaded, register).context("[outbound]")?;
    let identity_providers = super::identity_providers::build(loaded, &checked.issuer, register, &clock, &randomness)?;
    let store = open_store(loaded, &*clock, &*randomness).await?;
    let keeper = Keeper { store: &store, randomness: &*randomness };
    let keys = keeper.ensure_all(&checked.key_plan, clock.now()?).await.context("signing keys")?;
    let person_certificates = super::identity::person_certificates(&loaded.settings, &checked.issuer)?.map(|(place, _)| place);
    let (people, sessions) = super::identity::build(loaded, &checked.issuer, &store, clock.now()?, &randomness).await?;
    let subject_names = store.secret("pairwise subjects", &*randomness).await.map(SubjectNames::new).context("[store]")?;
    // The sequence is read first: what changes while the rest is read is then applied twice rather than missed.
    let sequence = store.sequence().await.context("change feed")?;
    let rules = RevocationRules::from_rules(load_rules(&store, 0).await.context("revocation rules")?);
    let clients = Clients::load(&store).await.context("clients")?;
    let nonces = Nonces::shared(checked.issuer.as_str(), &store.ring().purpose_keys("dpop-nonce"), checked.dpop.nonce_lifetime);
    let server = AuthorizationServer {
        dpop: Dpop::with_lasting_memory(checked.dpop.rules, nonces),
        endpoints: checked.endpoints,
        issuer: checked.issuer,
        resources: checked.resources,
        feed_clients: checked.feed_clients,
        profile: loaded.settings.authorization.profile.into(),
        require_signed_request_object: loaded.settings.authorization.require_signed_request_object,
        lifetimes: checked.lifetimes,
        subject_names,
        ring: store.ring().clone(),
        store,
        people,
        sessions,
        audit,
        clock,
        randomness,
        clients,
        client_keys: ClientKeys::new(outbound.clone()),
        request_fetches: FetchRoom::default(),
        logouts: Logouts::new(outbound.clone()),
        outbound,
        registration: checked.registration,
        person_certificates,
        identity_providers,
        assertions: checked.assertions,
        assertion_issuers: checked.assertion_issuers,
        throttle: Throttle::new(checked.throttle),
        device_guesses: Guesses::new(device::GUESSES),
        anonymous: Throttle::new(checked.anonymous),
        keys: ArcSwap::from_pointee(keys),
        key_plan: checked.key_plan,
        revocations: Revocations::new(rules),
        anchors,
        issued: IssuedTokens::default(),
        seen_certificates: SeenCertificates::default(),
        ending_certificates: EndingCertificates::new(Lifetime::from_seconds(
            loaded.settings.reload.expiry_warning_days.saturating_mul(86_400),
        )),
    };
    Ok((Arc::new(server), sequence))
}
