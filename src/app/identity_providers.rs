//! Other OpenID Providers that people sign in at, from their settings. Nothing is fetched here: a provider that is away keeps nothing from
//! starting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use url::Url;

use super::client_authentication::{following, outbound_limits, outbound_policy};
use crate::config::Loaded;
use crate::config::settings::{GroupSettings, IdentityProviderSettings, ProviderAccountsSetting};
use crate::domain::{Clock, Issuer, Lifetime, Randomness};
use crate::fetch;
use crate::identity::{Admits, Amr, ClaimNames, IdentityProviderSpec, IdentityProviders, Methods, RequiredClaim};
use crate::jose::Algorithm;
use crate::relying_party::{Credentials, Provider, ProviderSpec};
use crate::resource::{AuthorizationServer, IssuerKeys};
use crate::tls::{OutboundRegister, OutboundSpec};
use crate::web::path;

/// Providers at most: each has a button.
const MOST: usize = 32;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 32;
/// The longest label, in characters.
const LONGEST_LABEL: usize = 60;
/// The most by which clocks may differ.
const MAX_LEEWAY_SECONDS: u32 = 120;

/// Checks `[[identity_provider]]`, and reads the files. Must be called inside a Tokio runtime.
pub fn build(
    loaded: &Loaded,
    issuer: &Issuer,
    register: &OutboundRegister,
    clock: &Arc<dyn Clock>,
    randomness: &Arc<dyn Randomness>,
) -> anyhow::Result<IdentityProviders> {
    let written = &loaded.settings.identity_provider;
    if written.len() > MOST {
        bail!("[[identity_provider]]: there are {}, and at most {MOST} may be", written.len());
    }
    let mut names = BTreeSet::new();
    let mut providers = Vec::new();
    for settings in written {
        let name = &settings.name;
        if !names.insert(name) {
            bail!("[[identity_provider]]: there are two of the name `{name}`");
        }
        let provider = provider(loaded, settings, issuer, register, clock, randomness);
        providers.push(provider.with_context(|| format!("[[identity_provider]] `{name}`"))?);
    }
    Ok(IdentityProviders::new(providers))
}

fn provider(
    loaded: &Loaded,
    settings: &IdentityProviderSettings,
    own: &Issuer,
    register: &OutboundRegister,
    clock: &Arc<dyn Clock>,
    randomness: &Arc<dyn Randomness>,
) -> anyhow::Result<IdentityProviderSpec> {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if settings.name.is_empty() || settings.name.len() > LONGEST_NAME || !settings.name.bytes().all(is_name) {
        bail!("`name` must have 1 to {LONGEST_NAME} characters of `a-z`, `0-9` and `-`: it is part of the redirect URI");
    }
    let label = settings.label.trim();
    if label.is_empty() || label.chars().count() > LONGEST_LABEL || label.chars().any(char::is_control) {
        bail!("`label` must have 1 to {LONGEST_LABEL} characters: it stands on the button");
    }
    let issuer: Issuer =
        settings.issuer.parse().map_err(|error| anyhow::anyhow!("`issuer` = \"{}\" {error}", settings.issuer))?;
    if issuer == *own {
        bail!("`issuer` is this server itself: people would be sent in a circle");
    }
    let client_id = settings.client_id.parse().map_err(|error| anyhow::anyhow!("`client_id` {error}"))?;
    if settings.leeway_seconds > MAX_LEEWAY_SECONDS {
        bail!("`leeway_seconds` must be at most {MAX_LEEWAY_SECONDS}");
    }
    let algorithms = settings.algorithms.iter().map(|text| text.parse::<Algorithm>()).collect::<Result<Vec<_>, _>>();
    let algorithms = algorithms.context("`algorithms`")?;
    if algorithms.is_empty() {
        bail!("`algorithms` is empty: no ID token could be good");
    }
    let is_scope = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !settings.scopes.iter().all(is_scope) {
        bail!("`scopes` must be made of visible ASCII characters");
    }
    if settings.scopes.iter().any(|scope| scope == "offline_access") {
        bail!("`scopes`: `offline_access` is asked for in vain: no token of the provider is kept");
    }
    let method = |text: &String| {
        Amr::from_name(text).with_context(|| format!("`amr`: `{text}` is no method that is known here (RFC 8176)"))
    };
    let methods = Methods { always: settings.amr.iter().map(method).collect::<Result<_, _>>()?, told: settings.trust_amr };
    for required in &settings.required_claim {
        if required.claim.is_empty() || required.values.is_empty() {
            bail!("`required_claim` needs a `claim` and at least one of `values`: nobody could sign in");
        }
    }
    let required = |required: &crate::config::settings::RequiredClaimSettings| RequiredClaim {
        claim: required.claim.clone(),
        values: required.values.clone(),
    };
    let admits = admits(settings)?;
    let identity = match (&settings.certificate_file, &settings.key_file) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((loaded.resolve(certificate), loaded.resolve(key))),
        (Some(_), None) => bail!("`key_file` is missing beside `certificate_file`"),
        (None, Some(_)) => bail!("`certificate_file` is missing beside `key_file`"),
    };
    let has_certificate = identity.is_some();
    let resolved = |file: &Option<PathBuf>| file.as_ref().map(|file| loaded.resolve(file));
    let (secret_file, key_file) = (resolved(&settings.client_secret_file), resolved(&settings.client_key_file));
    let credentials = Credentials {
        method: settings.client_auth,
        secret_file: secret_file.as_deref(),
        key_file: key_file.as_deref(),
        certificate: has_certificate,
    };
    let Some(authentication) = credentials.load(randomness)? else {
        bail!("`certificate_file` and `key_file` are missing, and `client_auth` needs them");
    };
    let authorities: Vec<PathBuf> = settings.authorities().map(|file| loaded.resolve(file)).into_iter().collect();
    let spec = OutboundSpec { public_roots: authorities.is_empty(), authorities, identity, keys: Vec::new() };
    let tls = register
        .load(format!("identity_provider.{}", settings.name), spec)
        .context("`ca_file`, `certificate_file`, `key_file`")?;
    let outbound = &loaded.settings.outbound;
    let host = Url::parse(issuer.as_str()).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let policy = outbound_policy(outbound).context("[outbound]")?.naming(&host);
    let client = following(&tls, fetch::Client::guarded(tls.config(), outbound_limits(outbound), policy));
    let server = Arc::new(AuthorizationServer::new(issuer, Some(client)));
    let spec = ProviderSpec {
        keys: IssuerKeys::fetched(Arc::clone(&server), algorithms.clone()),
        server,
        client_id,
        authentication,
        certificate: has_certificate,
        algorithms,
        leeway: Lifetime::from_seconds(settings.leeway_seconds),
        clock: Arc::clone(clock),
    };
    Ok(IdentityProviderSpec {
        name: settings.name.clone(),
        label: label.to_owned(),
        provider: Arc::new(Provider::new(spec)),
        redirect_uri: own.join(&format!("{}/{}", path::SIGN_IN_AT, settings.name)),
        scopes: settings.scopes.clone(),
        required: settings.required_claim.iter().map(required).collect(),
        methods,
        admits,
    })
}

/// Whose accounts it opens, and what new ones are made of.
fn admits(settings: &IdentityProviderSettings) -> anyhow::Result<Admits> {
    let mut group_names = BTreeMap::new();
    for GroupSettings { there, here } in &settings.group {
        if there.is_empty() || here.is_empty() {
            bail!("`group` needs a name `there` and one `here`");
        }
        if group_names.insert(there.clone(), here.clone()).is_some() {
            bail!("`group`: `{there}` stands there twice");
        }
    }
    if settings.groups_claim.is_some() == group_names.is_empty() {
        bail!("`groups_claim` and `group` belong together: groups that no `group` names do not count");
    }
    match settings.accounts {
        ProviderAccountsSetting::Linked if settings.groups_claim.is_some() => {
            bail!(
                "`groups_claim` is for accounts that the provider makes: with `accounts = \"linked\"` it tells nothing of people"
            )
        }
        ProviderAccountsSetting::Linked => Ok(Admits::Linked),
        ProviderAccountsSetting::Create => Ok(Admits::Everybody(ClaimNames {
            username: settings.username_claim.clone(),
            name: settings.name_claim.clone(),
            email: settings.email_claim.clone(),
            groups: settings.groups_claim.clone(),
            group_names,
        })),
    }
}
