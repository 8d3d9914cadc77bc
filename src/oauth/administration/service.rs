//! The administration API as a protected resource of its own: where it is, and who is served there (RFC 6750, RFC 8705 §3, RFC 9449 §7,
//! RFC 9728).

use std::net::IpAddr;
use std::sync::Arc;

use url::Url;

use super::registration::RegistrationRules;
use crate::binding::Policy;
use crate::binding::dpop::TargetUri;
use crate::config::settings::{AdminSettings, LimitSettings};
use crate::domain::{Audience, ClientId, Issuer, RequestId, Scope, Thumbprint, Timestamp};
use crate::event::{Administrator, Reason};
use crate::jose::Algorithm;
use crate::oauth::AuthorizationServer;
use crate::oauth::client_auth::{Throttle, ThrottleLimits};
use crate::oauth::error::OauthError;
use crate::oauth::protected_resource::{Denied, NOT_VALID, ResourceError, ResourceRequest};
use crate::oauth::resources::Resources;
use crate::resource::{AdmitError, Answer, Presented, ResourceMetadata, Terms, WELL_KNOWN};
use crate::store::Store;
use crate::token::TokenFacts;
use crate::wire::Authority;

/// What lets a token look.
pub const READ: &str = "symbolon:read";
/// What lets a token change.
pub const WRITE: &str = "symbolon:write";

/// What a request needs leave for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To look.
    Read,
    /// To change.
    Write,
}

/// Why the configuration's section cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdministrationSettingsError {
    /// Nothing says what `aud` must be.
    #[error(
        "a listener has the service `admin`, and `resource` is missing: the URL that the API is reached at, which is its tokens' audience"
    )]
    Absent,
    /// There is no such resource.
    #[error("resource `{0}`: add a [[resource]] with this identifier and `scopes = [\"symbolon:read\", \"symbolon:write\"]`")]
    Unregistered(String),
    /// Not the URL of a place.
    #[error(
        "resource `{0}` must be an `https` URL in its normal form with a path that does not end in a slash, such as \
         `https://admin.example/admin`: requests are told apart by it"
    )]
    Url(String),
    /// A path of the authorization server.
    #[error("resource `{0}`: its path belongs to the authorization server: choose another")]
    Taken(String),
    /// Scopes are missing.
    #[error("resource `{0}`: its [[resource]] must have the scopes `symbolon:read` and `symbolon:write`")]
    Scopes(String),
    /// Its own audience is another.
    #[error("resource `{0}`: its [[resource]] must not have other `audiences` than itself")]
    Audiences(String),
    /// Tokens for something else would be good here.
    #[error("resource `{0}` is among the `audiences` of [[resource]] `{1}`: take it away there")]
    Shared(String, String),
    /// Anybody could get at it.
    #[error(
        "resource `{0}` is among `resources` of [registration]: clients that register themselves could administer this server"
    )]
    SelfRegistered(String),
    /// Out of range.
    #[error("requests_per_minute must be from 1 to 60000")]
    Rate,
}

/// The administration API of one server.
#[derive(Debug)]
pub struct Administration {
    audience: Audience,
    authority: Authority,
    base: String,
    scopes: [Scope; 2],
    metadata_path: String,
    metadata_url: String,
    registrations: RegistrationRules,
    requests: Throttle,
    refusals: Throttle,
}

impl Administration {
    /// Checks the configuration's section against the resources that are registered. `is_taken` says whether a path belongs to an
    /// endpoint of the authorization server.
    ///
    /// # Errors
    /// See [`AdministrationSettingsError`].
    pub fn from_settings(
        settings: &AdminSettings,
        limits: &LimitSettings,
        registrations: RegistrationRules,
        self_registered: &[String],
        issuer: &Issuer,
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<Self, AdministrationSettingsError> {
        use AdministrationSettingsError as Error;
        let identifier = settings.resource.clone().ok_or(Error::Absent)?;
        let (authority, base) = place(&identifier).ok_or_else(|| Error::Url(identifier.clone()))?;
        let is_above =
            |below: &str| below.strip_prefix(base.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_above(issuer.path()) || is_taken(&base) {
            return Err(Error::Taken(identifier));
        }
        let (audience, scopes) = registered(&identifier, &registrations.resources)?;
        if self_registered.contains(&identifier) {
            return Err(Error::SelfRegistered(identifier));
        }
        let per_minute = settings.requests_per_minute;
        if !(1..=60_000).contains(&per_minute) {
            return Err(Error::Rate);
        }
        let throttle = |per_minute| {
            Throttle::new(ThrottleLimits { address_failures_per_minute: per_minute, client_failures_per_minute: per_minute })
        };
        let metadata_path = format!("{WELL_KNOWN}{base}");
        Ok(Self {
            metadata_url: format!("https://{authority}{metadata_path}"),
            metadata_path,
            audience,
            authority,
            base,
            scopes,
            registrations,
            requests: throttle(per_minute),
            refusals: throttle(limits.address_failures_per_minute),
        })
    }

    /// The path that everything of it lies below.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Where its metadata lie (RFC 9728 §3).
    pub fn metadata_path(&self) -> &str {
        &self.metadata_path
    }

    /// What operators may register.
    pub const fn registrations(&self) -> &RegistrationRules {
        &self.registrations
    }

    /// Whether a request for this place is one for the API.
    pub fn is_at(&self, authority: &Authority, path: &str) -> bool {
        let below = path.strip_prefix(self.base.as_str());
        *authority == self.authority
            && (path == self.metadata_path || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// What a challenge says of it.
    pub fn terms<'a>(&'a self, need: Need, algorithms: &'a [Algorithm]) -> Terms<'a> {
        let [read, write] = &self.scopes;
        Terms {
            audience: &self.audience,
            scopes: match need {
                Need::Read => read,
                Need::Write => write,
            },
            bearer: true,
            dpop: Some(algorithms),
            step_up: None,
            resource_metadata: Some(&self.metadata_url),
        }
    }

    /// What it says of itself to anybody (RFC 9728 §2).
    pub fn metadata<'a>(&'a self, issuer: &'a Issuer, algorithms: &[Algorithm]) -> ResourceMetadata<'a> {
        ResourceMetadata {
            resource: self.audience.as_str(),
            authorization_servers: [issuer.as_str()].into(),
            scopes_supported: [READ, WRITE].into(),
            bearer_methods_supported: ["header"],
            tls_client_certificate_bound_access_tokens: true,
            dpop_signing_alg_values_supported: algorithms.iter().map(|algorithm| algorithm.name()).collect(),
            dpop_bound_access_tokens_required: false,
        }
    }
}

/// The authority and the path that an identifier names.
fn place(identifier: &str) -> Option<(Authority, String)> {
    let url = Url::parse(identifier).ok().filter(|url| url.as_str() == identifier && url.scheme() == "https")?;
    let has_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some();
    let host = url.host_str()?;
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    };
    let path = url.path();
    let is_path = path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain));
    if has_more || !is_path { None } else { Some((Authority::parse(&authority).ok()?, path.to_owned())) }
}

/// Its audience and scopes, where nothing but it has that audience.
fn registered(identifier: &str, resources: &Resources) -> Result<(Audience, [Scope; 2]), AdministrationSettingsError> {
    use AdministrationSettingsError as Error;
    let own = || identifier.to_owned();
    let resource = resources.get(identifier).ok_or_else(|| Error::Unregistered(own()))?;
    let audience: Audience = identifier.parse().map_err(|_| Error::Url(own()))?;
    if resource.audiences != [audience.clone()] {
        return Err(Error::Audiences(own()));
    }
    let shared = |other: &&str| resources.get(other).is_some_and(|other| other.audiences.contains(&audience));
    if let Some(other) = resources.identifiers().filter(|other| *other != identifier).find(shared) {
        return Err(Error::Shared(own(), other.to_owned()));
    }
    let scopes = [READ, WRITE].map(|scope| scope.parse::<Scope>());
    let [Ok(read), Ok(write)] = scopes else { return Err(Error::Scopes(own())) };
    if !read.union(&write).is_subset(&resource.scopes) {
        return Err(Error::Scopes(own()));
    }
    Ok((audience, [read, write]))
}

/// Leave to look or to change. Made only by [`AuthorizationServer::admit_administrator`].
#[derive(Debug)]
pub struct AdmittedAdministrator {
    administrator: Arc<Administrator>,
    facts: TokenFacts,
    dpop_key: Option<Thumbprint>,
    dpop_nonce: Option<String>,
    at: Timestamp,
}

impl AdmittedAdministrator {
    /// Who it is.
    pub fn client_id(&self) -> &ClientId {
        &self.administrator.client_id
    }

    /// What their token says.
    pub const fn facts(&self) -> &TokenFacts {
        &self.facts
    }

    /// The key of the DPoP proof, if one came.
    pub const fn dpop_key(&self) -> Option<&Thumbprint> {
        self.dpop_key.as_ref()
    }

    /// When they were admitted.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The nonce for their next proof, where one is due.
    pub fn take_nonce(&mut self) -> Option<String> {
        self.dpop_nonce.take()
    }

    /// The store, in their hands: whatever is changed through it tells of them.
    pub fn store(&self, store: &Store) -> Store {
        store.in_hands_of(self.administrator.clone())
    }
}

impl AuthorizationServer {
    /// Admits a request for `path` of the administration API: its token is ours, stands, is bound and its presenter's, is for this API and has
    /// the scope, and its client is registered for both still.
    ///
    /// # Errors
    /// A challenge, a fault of ours, or 429 for too many requests of one client, or too many refusals of one address.
    pub async fn admit_administrator(
        &self,
        administration: &Administration,
        request: ResourceRequest<'_>,
        (path, need): (&str, Need),
        address: IpAddr,
        request_id: &RequestId,
    ) -> Result<AdmittedAdministrator, ResourceError> {
        let (now, monotonic) = (self.clock.now().map_err(OauthError::from)?, self.clock.monotonic());
        administration.refusals.check(address, None, monotonic).map_err(|wait| OauthError::Throttled(wait, None))?;
        let scheme = request.presented.as_ref().ok().and_then(Presented::scheme);
        let admitted = self.admit_proven(administration, request, (path, need), request_id, now).await;
        let admitted = admitted.map_err(|error| self.with_nonce(error, scheme, now));
        match admitted {
            // Asked for again with the nonce: nobody has guessed at anything.
            Err(ResourceError::Denied(Denied { answer: Answer::UseNonce(_), .. })) | Ok(_) => {}
            Err(_) => administration.refusals.failed(address, None, monotonic),
        }
        let admitted = admitted?;
        let client = admitted.client_id();
        administration.requests.succeeded(address, client, monotonic);
        let counted = administration.requests.check(address, Some(client), monotonic);
        counted.map_err(|wait| OauthError::Throttled(wait, Some(client.clone())))?;
        administration.requests.failed(address, Some(client), monotonic);
        Ok(admitted)
    }

    async fn admit_proven(
        &self,
        administration: &Administration,
        request: ResourceRequest<'_>,
        (path, need): (&str, Need),
        request_id: &RequestId,
        now: Timestamp,
    ) -> Result<AdmittedAdministrator, ResourceError> {
        let target = TargetUri::parse(&format!("https://{}{path}", administration.authority));
        let targets = target.map(|target| vec![target]).unwrap_or_default();
        // Whoever administers this server shows a key, whatever their registration says.
        let proven = self.prove_presented(request, &targets, Policy::Strict, now).await?;
        let facts = proven.facts().clone();
        if !facts.audience.contains(&administration.audience) {
            return Err(AdmitError::Audience.into());
        }
        let (Some(client_id), Some(subject)) = (facts.client_id.clone(), facts.subject.clone()) else {
            return Err(ResourceError::denied(NOT_VALID, Reason::TokenClaim));
        };
        let scope = match need {
            Need::Read => READ,
            Need::Write => WRITE,
        };
        if !facts.scope.contains(scope) {
            return Err(AdmitError::Scope.into());
        }
        // As it is registered now: what was taken from a client since its token was issued is gone.
        let client = self.clients.client(&client_id);
        let allows = |client: &crate::clients::Client| {
            client.scope.contains(scope) && client.resources.iter().any(|resource| resource == administration.audience.as_str())
        };
        if !client.as_deref().is_some_and(allows) {
            return Err(ResourceError::denied(Answer::Denied("This client is not served here"), Reason::ClientNotAllowed));
        }
        let administrator =
            Administrator { client_id, subject, token_id: facts.token_id.clone(), request_id: request_id.clone() };
        Ok(AdmittedAdministrator {
            administrator: Arc::new(administrator),
            facts,
            dpop_key: proven.proof().map(|proof| *proof.thumbprint()),
            dpop_nonce: self.next_nonce(proven.proof(), now),
            at: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_names_a_place_or_nothing() {
        let table = [
            ("https://admin.example/admin", Some(("admin.example", "/admin"))),
            ("https://localhost:9443/a/b", Some(("localhost:9443", "/a/b"))),
            ("https://admin.example", None),
            ("https://admin.example/", None),
            ("https://admin.example/admin/", None),
            ("https://admin.example/a//b", None),
            ("https://admin.example/a%20b", None),
            ("https://admin.example/a/../b", None),
            ("https://Admin.example/admin", None),
            ("https://admin.example:443/admin", None),
            ("https://me@admin.example/admin", None),
            ("https://admin.example/admin?x", None),
            ("http://admin.example/admin", None),
            ("urn:admin", None),
        ];
        for (identifier, expected) in table {
            let found = place(identifier);
            let found = found.as_ref().map(|(authority, path)| (authority.as_str(), path.as_str()));
            assert_eq!(found, expected, "{identifier}");
        }
    }
}
