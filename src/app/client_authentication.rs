//! What client authentication stands on, from its settings: rules for assertions, fetched keys, limits on failures.

use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::config::Loaded;
use crate::config::settings::{AssertionAudienceSetting, ClientAssertionSettings, LimitSettings, OutboundSettings};
use crate::domain::{Issuer, Lifetime};
use crate::fetch::{self, AddressRange, FetchLimits, OutboundPolicy};
use crate::oauth::client_auth::{AssertionRules, AudienceRule, ThrottleLimits};
use crate::oauth::metadata::Endpoints;
use crate::tls::{OutboundRegister, OutboundSpec, OutboundTls};

/// The longest life that assertions may be given, in seconds.
const MAX_LIFETIME_SECONDS: u32 = 3_600;
/// The most by which clocks may differ: FAPI 2.0 refuses what is more than a minute in the future.
const MAX_LEEWAY_SECONDS: u32 = 60;

/// Checks `[client_assertion]`.
pub fn assertion_rules(
    settings: &ClientAssertionSettings,
    issuer: &Issuer,
    endpoints: &Endpoints,
) -> anyhow::Result<AssertionRules> {
    if !(1..=MAX_LIFETIME_SECONDS).contains(&settings.max_lifetime_seconds) {
        bail!("[client_assertion]: max_lifetime_seconds must be from 1 to {MAX_LIFETIME_SECONDS}");
    }
    if settings.leeway_seconds > MAX_LEEWAY_SECONDS {
        bail!("[client_assertion]: leeway_seconds must be at most {MAX_LEEWAY_SECONDS}");
    }
    let audience = match settings.audience {
        AssertionAudienceSetting::Issuer => AudienceRule::IssuerAlone,
        AssertionAudienceSetting::Endpoints => AudienceRule::Endpoints,
    };
    let seconds = Lifetime::from_seconds;
    let (longest, leeway) = (seconds(settings.max_lifetime_seconds), seconds(settings.leeway_seconds));
    Ok(AssertionRules::new(issuer.clone(), endpoints.clone(), audience, longest, leeway))
}

/// Checks the limits on failures.
pub fn throttle_limits(settings: &LimitSettings) -> anyhow::Result<ThrottleLimits> {
    let limits = ThrottleLimits {
        address_failures_per_minute: settings.address_failures_per_minute,
        client_failures_per_minute: settings.client_failures_per_minute,
    };
    match limits.address_failures_per_minute.min(limits.client_failures_per_minute) {
        1..=60_000 => Ok(limits),
        _ => bail!("[limits]: address_failures_per_minute and client_failures_per_minute must be from 1 to 60000"),
    }
}

/// Checks the limit on what is kept for nobody in particular.
pub fn anonymous_limits(settings: &LimitSettings) -> anyhow::Result<ThrottleLimits> {
    let most = settings.anonymous_authorizations_per_minute;
    match most {
        1..=60_000 => Ok(ThrottleLimits { address_failures_per_minute: most, client_failures_per_minute: most }),
        _ => bail!("[limits]: anonymous_authorizations_per_minute must be from 1 to 60000"),
    }
}

/// Whether `[outbound]` lets anything be fetched.
pub(super) fn fetches(settings: &OutboundSettings) -> bool {
    settings.public_roots || !settings.ca_files.is_empty()
}

/// The client of `[outbound]`; none where nobody is trusted. Must be called inside a Tokio runtime.
pub fn outbound(loaded: &Loaded, register: &OutboundRegister) -> anyhow::Result<Option<fetch::Client>> {
    let settings = &loaded.settings.outbound;
    let policy = outbound_policy(settings)?;
    let tls = outbound_tls(loaded, register)?;
    Ok(tls.map(|tls| following(&tls, fetch::Client::guarded(tls.config(), outbound_limits(settings), policy))))
}

/// A client that goes on with what the files of `tls` say whenever they are read again.
pub fn following(tls: &OutboundTls, client: fetch::Client) -> fetch::Client {
    let renewed = client.clone();
    tls.follow(move |state| renewed.renew(state.config()));
    client
}

/// Where requests may go whose URL somebody else chose.
pub fn outbound_policy(settings: &OutboundSettings) -> anyhow::Result<OutboundPolicy> {
    let ranges: Vec<AddressRange> =
        settings.allow_ranges.iter().map(|text| text.parse()).collect::<Result<_, _>>().context("allow_ranges")?;
    Ok(OutboundPolicy::new(settings.allow_hosts.iter().cloned(), ranges))
}

/// What one request may cost.
pub fn outbound_limits(settings: &OutboundSettings) -> FetchLimits {
    FetchLimits {
        connect_seconds: settings.connect_seconds.max(1),
        total_seconds: settings.total_seconds.max(1),
        body_bytes: settings.body_bytes.into(),
    }
}

/// Which servers are trusted; none where no authority is named.
pub fn outbound_tls(loaded: &Loaded, register: &OutboundRegister) -> anyhow::Result<Option<Arc<OutboundTls>>> {
    let settings = &loaded.settings.outbound;
    if !fetches(settings) {
        return Ok(None);
    }
    let authorities = settings.ca_files.iter().map(|file| loaded.resolve(file)).collect();
    let spec = OutboundSpec { authorities, public_roots: settings.public_roots, ..OutboundSpec::default() };
    Ok(Some(register.load("outbound", spec).context("ca_files")?))
}
