//! People and their sessions, from the settings and the databases.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::server::open_store;
use crate::config::Loaded;
use crate::config::settings::{
    CertificateSignInSettings, HostSettings, IdentityProviderSettings, PasskeySettings, ProviderAccountsSetting, SessionSettings,
    Settings, SignInSettings,
};
use crate::domain::{Clock, Issuer, Lifetime, Randomness, Timestamp};
use crate::identity::{
    CEREMONY, CertificatePolicy, PasskeySite, PasswordPolicy, PasswordRule, People, Quota, SessionPolicy, Sessions,
    ThrottlePolicy,
};
use crate::oauth::PersonCertificates;
use crate::seal::{Argon2Parameters, HashLimits, PasswordHasher};
use crate::store::{PersonKeys, Store};

/// The people of a deployment, for a command that works on them.
#[derive(Debug)]
pub struct OpenPeople {
    /// They.
    pub people: People,
    store: Store,
    keys: PersonKeys,
}

impl OpenPeople {
    /// Closes both databases.
    pub async fn close(self) {
        self.keys.close().await;
        self.store.close().await;
    }
}

/// Opens the databases that a configuration names, for a command that works on people.
pub async fn open_people(loaded: &Loaded, clock: &dyn Clock, randomness: Arc<dyn Randomness>) -> anyhow::Result<OpenPeople> {
    let issuer = loaded.settings.issuer.as_deref().and_then(|text| text.parse().ok());
    let password = password_policy(&loaded.settings, issuer.as_ref())?;
    let store = open_store(loaded, clock, &*randomness).await?;
    let now = clock.now()?;
    let keys = open_keys(loaded, &store, now).await?;
    let people = People::new(store.clone(), keys.clone(), password, randomness, now).await?;
    Ok(OpenPeople { people, store, keys })
}

/// Builds what the authorization server needs.
pub async fn build(
    loaded: &Loaded,
    issuer: &Issuer,
    store: &Store,
    now: Timestamp,
    randomness: &Arc<dyn Randomness>,
) -> anyhow::Result<(People, Sessions)> {
    let password = password_policy(&loaded.settings, Some(issuer))?;
    let session = session_policy(&loaded.settings.session)?;
    let keys = open_keys(loaded, store, now).await?;
    let mut people = People::new(store.clone(), keys.clone(), password, randomness.clone(), now).await?;
    if let Some((_, policy)) = person_certificates(&loaded.settings, issuer)? {
        people = people.with_certificates(policy);
    }
    if let Some(site) = passkey_site(&loaded.settings, issuer)? {
        people = people.with_passkeys(site);
    }
    Ok((people, Sessions::new(store.clone(), keys, session, randomness.clone())))
}

/// Checks the sections, without opening anything.
pub fn check(settings: &Settings, issuer: &Issuer) -> anyhow::Result<()> {
    password_policy(settings, Some(issuer))?;
    person_certificates(settings, issuer)?;
    passkey_site(settings, issuer)?;
    session_policy(&settings.session).map(drop)
}

/// Where people show certificates, and what these are worth; nothing where they may not.
pub fn person_certificates(
    settings: &Settings,
    issuer: &Issuer,
) -> anyhow::Result<Option<(PersonCertificates, CertificatePolicy)>> {
    let CertificateSignInSettings { url, anchor_set, name_field, amr } = &settings.certificate_sign_in;
    let Some(url) = url else {
        if anchor_set.is_some() || name_field.is_some() {
            bail!("[certificate_sign_in]: `url` is missing: nobody could sign in with a certificate");
        }
        return Ok(None);
    };
    let creates = |provider: &&IdentityProviderSettings| provider.accounts == ProviderAccountsSetting::Create;
    if let (Some(_), Some(provider)) = (name_field, settings.identity_provider.iter().find(creates)) {
        bail!(
            "[certificate_sign_in]: `name_field` beside `accounts = \"create\"` of identity provider `{}`: who is signed in there by a \
             username would be signed in here by that name's certificate; link certificates instead",
            provider.name
        );
    }
    let parsed: Issuer = url.parse().map_err(|error| anyhow::anyhow!("[certificate_sign_in]: `url` = \"{url}\" {error}"))?;
    if url.ends_with('/') || parsed.path() != issuer.path() {
        bail!("[certificate_sign_in]: `url` must have the path of `issuer`, and no slash at its end");
    }
    if parsed.authority() == issuer.authority() {
        bail!("[certificate_sign_in]: `url` must be another host than the issuer's, which would ask everybody for a certificate");
    }
    let Some(anchor_set) = anchor_set else {
        bail!("[certificate_sign_in]: `anchor_set` is missing: the authorities that people's certificates come from");
    };
    if !settings.anchor_set.contains_key(anchor_set) {
        bail!("[certificate_sign_in]: there is no [anchor_set.{anchor_set}]");
    }
    let policy = CertificatePolicy::new(name_field.as_deref(), amr).context("[certificate_sign_in]")?;
    // The port is whoever's in front.
    let name = parsed.authority().rsplit_once(':').map_or(parsed.authority(), |(name, _)| name);
    let is_there = |host: &&HostSettings| host.names.iter().any(|other| other.eq_ignore_ascii_case(name));
    if settings
        .listener
        .iter()
        .flat_map(|listener| &listener.host)
        .filter(is_there)
        .any(|host| host.anchor_set.as_ref() == Some(anchor_set))
    {
        bail!(
            "[certificate_sign_in]: the host `{name}` names the anchor set `{anchor_set}` too: people could authenticate as clients there. Leave it away \
             at the host: people's certificates are judged by it anyway"
        );
    }
    Ok(Some((PersonCertificates { url: parsed, anchor_set: anchor_set.clone() }, policy)))
}

/// Where passkeys belong; nothing where there are none.
fn passkey_site(settings: &Settings, issuer: &Issuer) -> anyhow::Result<Option<PasskeySite>> {
    let PasskeySettings { offered, rp_id } = &settings.passkeys;
    if !offered {
        if rp_id.is_some() {
            bail!("[passkeys]: `rp_id` is given, and `offered` is false: nobody could use a passkey");
        }
        return Ok(None);
    }
    PasskeySite::new(issuer, rp_id.as_deref(), &settings.pages.name, CEREMONY).context("[passkeys]")
}

/// The keys of people, beside an open store.
pub async fn open_keys(loaded: &Loaded, store: &Store, now: Timestamp) -> anyhow::Result<PersonKeys> {
    PersonKeys::open(&loaded.settings.store, &loaded.base_dir, store, now).await.context("[store]")
}

fn password_policy(settings: &Settings, issuer: Option<&Issuer>) -> anyhow::Result<PasswordPolicy> {
    let written = &settings.password;
    // What anybody would try first at this server.
    let mut words = vec!["symbolon".to_owned(), settings.pages.name.clone()];
    words.extend(issuer.map(|issuer| issuer.authority().to_owned()));
    words.extend(issuer.into_iter().flat_map(|issuer| issuer.authority().split(['.', ':', '-'])).map(str::to_owned));
    let rule = PasswordRule::new(written.min_length, words).context("[password]")?;
    let parameters = Argon2Parameters::new(written.memory_kib, written.iterations, written.parallelism).context("[password]")?;
    let limits = HashLimits { at_once: written.hashes as usize, waiting: written.waiting_hashes as usize };
    if limits.at_once == 0 {
        bail!("[password] hashes = 0: nobody could sign in");
    }
    Ok(PasswordPolicy { rule, hasher: PasswordHasher::new(parameters, limits), throttle: throttle_policy(&settings.sign_in)? })
}

fn throttle_policy(written: &SignInSettings) -> anyhow::Result<ThrottlePolicy> {
    let quota = |burst: u32, seconds: u32| Quota { burst, every: Duration::from_secs(seconds.into()) };
    if written.attempts_per_account == 0 || written.attempts_per_address == 0 {
        bail!(
            "[sign_in]: without any attempt nobody could sign in: `attempts_per_account` and `attempts_per_address` are at least 1"
        );
    }
    Ok(ThrottlePolicy {
        account: quota(written.attempts_per_account, written.account_attempt_seconds),
        address: quota(written.attempts_per_address, written.address_attempt_seconds),
    })
}

fn session_policy(written: &SessionSettings) -> anyhow::Result<SessionPolicy> {
    // Last use is noted once a minute.
    if written.idle_seconds < 120 || written.absolute_seconds < written.idle_seconds {
        bail!("[session]: `idle_seconds` is at least 120, and `absolute_seconds` not less than that");
    }
    if !(1..=900).contains(&written.fresh_seconds) {
        bail!("[session]: `fresh_seconds` is from 1 to 900");
    }
    let [idle, absolute, fresh] =
        [written.idle_seconds, written.absolute_seconds, written.fresh_seconds].map(Lifetime::from_seconds);
    Ok(SessionPolicy { idle, absolute, fresh })
}
