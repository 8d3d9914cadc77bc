//! The authorization server as a value: its settings, and the snapshots its endpoints read.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde_json::Value;

use super::assertion_issuers::AssertionIssuers;
use super::authorization::Lifetimes;
use super::client_auth::{AssertionRules, Throttle};
use super::ending_certificate::EndingCertificates;
use super::error::OauthError;
use super::fetch_room::FetchRoom;
use super::logout::Logouts;
use super::metadata::{Capabilities, Endpoints};
use super::person_certificate::PersonCertificates;
use super::profiles::{self, Demand, Rules};
use super::registration::Registration;
use super::resources::Resources;
use super::seen_certificate::SeenCertificates;
use crate::binding::dpop::Dpop;
use crate::clients::{Client, ClientKeys, Clients, GrantType, Profile};
use crate::domain::{ClientId, Clock, Issuer, Randomness};
use crate::event::TokenFormat;
use crate::fetch;
use crate::identity::{Guesses, IdentityProviders, People, Sessions};
use crate::keys::{KeyPlan, SigningKeys};
use crate::oidc::SubjectNames;
use crate::seal::KeyRing;
use crate::store::Store;
use crate::telemetry::audit::AuditSink;
use crate::telemetry::metrics::{CounterHandle, TOKENS_ISSUED};
use crate::trust::CurrentAnchors;
use crate::trust::revocation::RevocationRules;

/// One authorization server. Everything a request needs is read from here; nothing is global.
#[derive(Debug)]
pub struct AuthorizationServer {
    /// `iss`, and the base of every endpoint.
    pub issuer: Issuer,
    /// Where the endpoints are.
    pub endpoints: Endpoints,
    /// What tokens are issued for.
    pub resources: Resources,
    /// The rules that every client is under at least.
    pub profile: Profile,
    /// Whether every client must sign its authorization requests (RFC 9101 §10.5).
    pub require_signed_request_object: bool,
    /// How long codes, pushed requests and refresh tokens live.
    pub lifetimes: Lifetimes,
    /// By which names clients know people.
    pub subject_names: SubjectNames,
    /// Who may follow the revocation feed.
    pub feed_clients: Vec<ClientId>,
    /// What is asked of DPoP proofs.
    pub dpop: Dpop,
    /// The database.
    pub store: Store,
    /// The keys that seal state and opaque tokens.
    pub ring: Arc<KeyRing>,
    /// Who has an account.
    pub people: People,
    /// Who is signed in, in which browser.
    pub sessions: Sessions,
    /// The audit trail.
    pub audit: AuditSink,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub randomness: Arc<dyn Randomness>,
    /// All clients, as of the last change.
    pub clients: Clients,
    /// The keys that clients publish.
    pub client_keys: ClientKeys,
    /// Room for request objects that are being fetched.
    pub request_fetches: FetchRoom,
    /// What client assertions must say.
    pub assertions: AssertionRules,
    /// Whose assertions are grants.
    pub assertion_issuers: AssertionIssuers,
    /// Holds back who fails too often.
    pub throttle: Throttle,
    /// Holds back who types codes of devices that do not wait.
    pub device_guesses: Guesses,
    /// Holds back who leaves too much in the database without saying who they are.
    pub anonymous: Throttle,
    /// Our signing keys, as of the last change.
    pub keys: ArcSwap<SigningKeys>,
    /// Which keys there are to be.
    pub key_plan: KeyPlan,
    /// What has been revoked, as of the last change.
    pub revocations: Revocations,
    /// Whose certificates count, as of the last reload.
    pub anchors: Arc<CurrentAnchors>,
    /// What has been issued.
    pub issued: IssuedTokens,
    /// Certificates that were noted.
    pub seen_certificates: SeenCertificates,
    /// Certificates that clients have authenticated with and that end soon.
    pub ending_certificates: EndingCertificates,
    /// Tells clients that sessions have ended.
    pub logouts: Logouts,
    /// Fetches what clients publish, where `[outbound]` lets it; guarded.
    pub outbound: Option<fetch::Client>,
    /// Where people show certificates, where they may.
    pub person_certificates: Option<PersonCertificates>,
    /// Where else people sign in.
    pub identity_providers: IdentityProviders,
    /// Who may register clients.
    pub registration: Registration,
}

impl AuthorizationServer {
    /// The rules of a client's authorizations, on this server.
    pub fn rules(&self, client: &Client) -> Rules {
        let mut rules = profiles::rules(client, self.profile);
        if self.require_signed_request_object {
            rules.signed_request = Demand::Required;
        }
        rules
    }

    /// Counts what an address leaves in the database without a person or a client that answers for it.
    ///
    /// # Errors
    /// 429 when it is too much.
    pub fn admit_anonymous(&self, address: IpAddr) -> Result<(), OauthError> {
        let monotonic = self.clock.monotonic();
        self.anonymous.check(address, None, monotonic).map_err(|throttled| OauthError::Throttled(throttled, None))?;
        self.anonymous.failed(address, None, monotonic);
        Ok(())
    }

    /// The metadata document.
    pub fn metadata(&self) -> Value {
        let can = Capabilities {
            scopes: &self.resources.scopes(),
            dpop: self.dpop.rules(),
            signing: &self.key_plan.algorithms,
            profile: self.profile,
            registration: self.registration.is_on(),
            binds_registration: self.registration.binds_tokens(),
            back_channel_logout: self.logouts.reaches_clients(),
            jwt_bearer: !self.assertion_issuers.is_empty(),
            require_signed_request_object: self.require_signed_request_object,
            fetches_requests: self.client_keys.outbound().is_some() && self.profile < Profile::Fapi2,
        };
        self.endpoints.metadata(&can)
    }
}

/// Counts access tokens. The counters are looked up once.
#[derive(Debug, Default)]
pub struct IssuedTokens {
    counters: [[OnceLock<CounterHandle>; 2]; GrantType::ALL.len()],
}

impl IssuedTokens {
    /// One more.
    pub fn count(&self, grant: GrantType, format: TokenFormat) {
        let Some([jwt, opaque]) = self.counters.get(grant as usize) else { return };
        let (counter, format) = match format {
            TokenFormat::Jwt => (jwt, "jwt"),
            TokenFormat::Opaque => (opaque, "opaque"),
        };
        counter.get_or_init(|| TOKENS_ISSUED.with([grant.name(), format])).increment(1);
    }
}

/// The revocation rules in force, and a bell for whoever waits for the next one.
#[derive(Debug)]
pub struct Revocations {
    rules: ArcSwap<RevocationRules>,
    bell: tokio::sync::watch::Sender<Bell>,
}

/// What whoever waits for a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Bell {
    /// The sequence of the last rule in force.
    pub sequence: i64,
    /// Nobody should wait any longer.
    pub released: bool,
}

impl Revocations {
    /// Starts from the rules in the database.
    pub fn new(rules: RevocationRules) -> Self {
        let bell = tokio::sync::watch::Sender::new(Bell { sequence: rules.sequence(), released: false });
        Self { rules: ArcSwap::from_pointee(rules), bell }
    }

    /// The rules as they stand.
    pub fn load(&self) -> arc_swap::Guard<Arc<RevocationRules>> {
        self.rules.load()
    }

    /// Puts a changed set in force: `change` gets the present one. It may run more than once when others change it too.
    pub fn update(&self, change: impl Fn(&RevocationRules) -> RevocationRules) {
        self.rules.rcu(|rules| Arc::new(change(rules)));
        let sequence = self.rules.load().sequence();
        self.bell.send_if_modified(|bell| {
            let newer = sequence > bell.sequence;
            bell.sequence = sequence.max(bell.sequence);
            newer
        });
    }

    /// The process stops: whoever waits is answered now, and nobody begins to wait.
    pub fn release(&self) {
        self.bell.send_modify(|bell| bell.released = true);
    }

    /// Rings when a rule with a higher sequence is in force, or nobody should wait any longer.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<Bell> {
        self.bell.subscribe()
    }
}
