//! Client authentication: one file per method, one entrance for every endpoint (RFC 6749 §2.3, RFC 7523 §2.2, RFC 8705 §2).
//!
//! ```text
//! ClientRequest -> presented (one mechanism) -> the registration -> throttle -> exactly the registered method -> RequestingClient
//! ```

mod assertion;
mod authorization;
mod client_secret;
mod client_secret_jwt;
mod presented;
mod private_key_jwt;
mod self_signed_tls_client_auth;
mod throttle;
mod tls_client_auth;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

pub use assertion::{AssertionError, AssertionRules, AudienceRule};
pub use authorization::{Authorization, BasicCredentials, Scheme};
pub use presented::JWT_BEARER;
pub(super) use presented::reason_of;
pub use throttle::{Throttle, ThrottleLimits, Throttled};

use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::parameters::Parameters;
use super::profiles::Rules;
use super::server::AuthorizationServer;
use crate::binding::replay::{Claim, Replay, ReplayKey};
use crate::clients::{Authentication, AuthenticationMethod, Client, Profile};
use crate::domain::{ClientId, Timestamp};
use crate::event::Reason;
use crate::tls::{PeerCertificate, PeerCertificateError};
use crate::trust::{AnchorSet, AnchorSets, PeerTrust};
use presented::{Assertion, Credentials, Presented};

/// What the connection says about who is calling.
#[derive(Clone, Copy, Debug)]
pub struct Presenter<'a> {
    /// The certificate of the connection: absent, unusable, or there with what is known of its path.
    pub certificate: Result<Option<&'a Arc<PeerTrust>>, &'a PeerCertificateError>,
    /// The anchor sets of the listener and the server name that were connected to.
    pub host_anchor_sets: &'a [String],
    /// Whether the server name that was connected to asks for certificates at all.
    pub certificate_requested: bool,
    /// Where the connection comes from.
    pub address: IpAddr,
}

/// Where a request's parameters came in. Credentials are never taken from a query (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// A form.
    Body,
    /// The request URI.
    Query,
}

/// A request, as every endpoint that authenticates clients takes it.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// Its parameters.
    pub parameters: &'a Parameters,
    /// Where they came in.
    pub carried: Carried,
    /// Its `Authorization` header.
    pub authorization: &'a Authorization,
    /// Its connection.
    pub presenter: Presenter<'a>,
    /// The path of the endpoint called, where a standard lets assertions name that endpoint as their audience (RFC 9126 §2).
    pub own_audience: Option<&'static str>,
}

/// A client that proved who it is, by exactly the method it is registered for. Made here alone.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    method: AuthenticationMethod,
    certificate: Option<Arc<PeerCertificate>>,
}

impl AuthenticatedClient {
    /// The registration.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// `client_id`.
    pub fn client_id(&self) -> &ClientId {
        &self.client.client_id
    }

    /// By which method.
    pub const fn method(&self) -> AuthenticationMethod {
        self.method
    }

    /// The certificate whose key the client proved to hold on this connection, whether or not it authenticates by it.
    pub fn certificate(&self) -> Option<&Arc<PeerCertificate>> {
        self.certificate.as_ref()
    }
}

/// A client that is registered to prove nothing (`none`, RFC 6749 §2.1): anybody may say that name. Made here alone.
#[derive(Clone, Debug)]
pub struct PublicClient {
    client: Arc<Client>,
    certificate: Option<Arc<PeerCertificate>>,
}

impl PublicClient {
    /// The registration.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// `client_id`.
    pub fn client_id(&self) -> &ClientId {
        &self.client.client_id
    }

    /// The certificate of the connection: its key was proven, whoever holds it.
    pub fn certificate(&self) -> Option<&Arc<PeerCertificate>> {
        self.certificate.as_ref()
    }
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub enum RequestingClient {
    /// A confidential client.
    Authenticated(AuthenticatedClient),
    /// A public one.
    Public(PublicClient),
}

impl RequestingClient {
    /// The registration.
    pub fn client(&self) -> &Arc<Client> {
        match self {
            Self::Authenticated(client) => client.client(),
            Self::Public(client) => client.client(),
        }
    }

    /// `client_id`.
    pub fn client_id(&self) -> &ClientId {
        &self.client().client_id
    }

    /// By which method it is registered to prove itself.
    pub const fn method(&self) -> AuthenticationMethod {
        match self {
            Self::Authenticated(client) => client.method(),
            Self::Public(_) => AuthenticationMethod::None,
        }
    }

    /// The certificate whose key was proven on this connection.
    pub fn certificate(&self) -> Option<&Arc<PeerCertificate>> {
        match self {
            Self::Authenticated(client) => client.certificate(),
            Self::Public(client) => client.certificate(),
        }
    }

    /// For what only confidential clients may do (RFC 6749 §4.4).
    ///
    /// # Errors
    /// `unauthorized_client` for a public client.
    pub fn confidential(self) -> Result<AuthenticatedClient, Refusal> {
        match self {
            Self::Authenticated(client) => Ok(client),
            Self::Public(client) => Err(Refusal::new(
                ErrorCode::UnauthorizedClient,
                Reason::ClientNotAllowed,
                "this is for clients that authenticate (RFC 6749 section 2.1)",
            )
            .of(client.client_id())),
        }
    }
}

impl AuthorizationServer {
    /// Finds out who makes a request. Every endpoint that serves clients begins here.
    ///
    /// Unknown client and failed proof are both `invalid_client` (RFC 6749 §5.2); the private reason tells them apart.
    pub async fn authenticate(&self, request: &ClientRequest<'_>, now: Timestamp) -> Result<RequestingClient, OauthError> {
        let presented = Presented::read(request)?;
        let client = presented.client_id.parse().ok().and_then(|client_id: ClientId| self.clients.client(&client_id));
        let client_id = client.as_ref().map(|client| &client.client_id);
        let (address, monotonic) = (request.presenter.address, self.clock.monotonic());
        self.throttle
            .check(address, client_id, monotonic)
            .map_err(|throttled| OauthError::Throttled(throttled, client_id.cloned()))?;
        let outcome = match &client {
            Some(client) => self.prove(request, &presented, client, now).await,
            None => Err(unknown(request, &presented).into()),
        };
        match (outcome, client_id) {
            (Ok(requesting), Some(client_id)) => {
                self.throttle.succeeded(address, client_id, monotonic);
                Ok(requesting)
            }
            (Err(OauthError::Refused(refusal)), _) if refusal.code == ErrorCode::InvalidClient => {
                self.throttle.failed(address, client_id, monotonic);
                let challenge = match request.authorization {
                    Authorization::Basic(scheme, _) => Some(scheme.clone()),
                    _ => refusal.challenge,
                };
                Err(Refusal { client_id: client_id.cloned(), challenge, ..refusal }.into())
            }
            (outcome, _) => outcome,
        }
    }

    /// The same, for endpoints that only confidential clients may use.
    pub async fn authenticate_confidential(
        &self,
        request: &ClientRequest<'_>,
        now: Timestamp,
    ) -> Result<AuthenticatedClient, OauthError> {
        Ok(self.authenticate(request, now).await?.confidential()?)
    }

    /// Checks the proof of exactly the registered method. What may have to fetch or to write does so on the heap: see
    /// [`token`](Self::token).
    async fn prove(
        &self,
        request: &ClientRequest<'_>,
        presented: &Presented<'_>,
        client: &Arc<Client>,
        now: Timestamp,
    ) -> Result<RequestingClient, OauthError> {
        let presenter = &request.presenter;
        let clock = &*self.clock;
        let rules = self.rules(client);
        if rules.profile >= Profile::Fapi2 && !client.authentication.method().is_strong() {
            return Err(failed(Reason::ClientMethodWeak).into());
        }
        match (&client.authentication, &presented.credentials) {
            (Authentication::TlsClientAuth(matcher), Credentials::Nothing) => {
                let peer = tls_client_auth::check(client, matcher, presenter, &self.anchors.load(), now)?;
                self.ending_certificates.note(&client.client_id, peer.leaf(), now);
            }
            (Authentication::SelfSignedTlsClientAuth(registered), Credentials::Nothing) => {
                Box::pin(self_signed_tls_client_auth::check(client, registered, &self.client_keys, presenter, clock, now))
                    .await?;
            }
            (Authentication::ClientSecretBasic(registered), Credentials::Basic(secret))
            | (Authentication::ClientSecretPost(registered), Credentials::Post(secret)) => {
                client_secret::check(registered, &client.client_id, secret, now)?;
            }
            (Authentication::PrivateKeyJwt { keys, algorithm }, Credentials::Assertion(Assertion::Signed(assertion))) => {
                if !rules.algorithms.contains(&assertion.algorithm()) {
                    return Err(failed(Reason::AssertionAlgorithm).into());
                }
                let verified = private_key_jwt::verify(assertion, client, keys, *algorithm, &self.client_keys, clock);
                let claims = Box::pin(verified).await?;
                Box::pin(self.use_assertion(&claims, client, &rules, request.own_audience, now)).await?;
            }
            (
                Authentication::ClientSecretJwt { secret, algorithm },
                Credentials::Assertion(Assertion::Authenticated(assertion)),
            ) => {
                let claims = client_secret_jwt::verify(assertion, secret, *algorithm, now)?;
                Box::pin(self.use_assertion(&claims, client, &rules, request.own_audience, now)).await?;
            }
            (
                Authentication::PrivateKeyJwt { .. } | Authentication::ClientSecretJwt { .. },
                Credentials::Assertion(Assertion::Incomplete(name)),
            ) => {
                let description = format!("the parameter {name} is missing (RFC 7521 section 4.2)");
                let refusal = Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterAbsent, description);
                return Err(refusal.of(&client.client_id).into());
            }
            (
                Authentication::PrivateKeyJwt { .. } | Authentication::ClientSecretJwt { .. },
                Credentials::Assertion(assertion),
            ) => return Err(failed(assertion.problem().unwrap_or(Reason::ClientMethodMismatch)).into()),
            (Authentication::None, Credentials::Nothing) => {}
            (_, Credentials::Nothing) => return Err(nothing_presented(presenter, Reason::ClientMethodMismatch).into()),
            _ => return Err(failed(Reason::ClientMethodMismatch).into()),
        }
        let certificate = match presenter.certificate {
            Ok(certificate) => certificate.map(|trust| self.unrevoked(trust.peer())).transpose()?,
            Err(error) => return Err(invalid_client(error.reason(), "the client certificate could not be read").into()),
        };
        let (client, method) = (client.clone(), client.authentication.method());
        Ok(match method {
            AuthenticationMethod::None => RequestingClient::Public(PublicClient { client, certificate }),
            _ => RequestingClient::Authenticated(AuthenticatedClient { client, method, certificate }),
        })
    }

    /// The certificate, unless a revocation rule names it: then it proves nothing, and no token is bound to it.
    fn unrevoked(&self, certificate: &Arc<PeerCertificate>) -> Result<Arc<PeerCertificate>, Refusal> {
        match self.revocations.load().check_certificate(certificate.leaf()) {
            Ok(()) => Ok(certificate.clone()),
            Err(revoked) => Err(certificate_revoked(revoked.reason())),
        }
    }

    /// Judges an assertion whose signature has verified, and uses it up.
    async fn use_assertion(
        &self,
        claims: &serde_json::Map<String, serde_json::Value>,
        client: &Client,
        rules: &Rules,
        own_path: Option<&str>,
        now: Timestamp,
    ) -> Result<(), OauthError> {
        // FAPI 2.0 Security Profile §5.3.2.1: "shall only accept its issuer identifier value ... as a string".
        let assertions = match rules.profile >= Profile::Fapi2 {
            true => Cow::Owned(self.assertions.for_issuer_alone()),
            false => Cow::Borrowed(&self.assertions),
        };
        let in_order = assertions
            .check_claims(claims, &client.client_id, own_path, now)
            .map_err(|error| Refusal::new(ErrorCode::InvalidClient, error.reason(), error.to_string()))?;
        let key = ReplayKey::client_assertion(&client.client_id, &in_order.token_id);
        match Replay::claim(&self.store, &key, in_order.until).await {
            Claim::First => Ok(()),
            Claim::Seen => {
                Err(invalid_client(Reason::AssertionReplayed, "client_assertion: this jti was used before (RFC 7523 section 3)")
                    .into())
            }
            Claim::Unavailable => Err(Fault::Unavailable(Reason::StoreUnavailable).into()),
        }
    }
}

/// For what is not for clients: credentials of theirs mean nothing there, and are not passed over in silence.
///
/// # Errors
/// `invalid_client` with the challenge of the scheme that was used, when there is an `Authorization` header.
pub fn refuse_credentials(authorization: &Authorization) -> Result<(), Refusal> {
    match authorization {
        Authorization::Absent => Ok(()),
        Authorization::Basic(scheme, _)
        | Authorization::Malformed(scheme)
        | Authorization::Other(scheme)
        | Authorization::Several(scheme) => {
            Err(Refusal { challenge: Some(scheme.clone()), ..failed(Reason::ClientMethodMismatch) })
        }
    }
}

fn invalid_client(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidClient, reason, description)
}

/// The answer to every proof that fails: it does not say which part of it did.
fn failed(reason: Reason) -> Refusal {
    invalid_client(reason, "client authentication failed")
}

/// The answer to a certificate that a revocation rule names, whenever it is found.
pub(super) fn certificate_revoked(reason: Reason) -> Refusal {
    failed(reason)
}

/// The answer to an unknown client is that of a known one that fails.
fn unknown(request: &ClientRequest<'_>, presented: &Presented<'_>) -> Refusal {
    match presented.credentials {
        Credentials::Nothing => nothing_presented(&request.presenter, Reason::ClientUnknown),
        _ => failed(Reason::ClientUnknown),
    }
}

/// Nothing was presented, or nothing but a certificate.
fn nothing_presented(presenter: &Presenter<'_>, reason: Reason) -> Refusal {
    match certificate_of(presenter) {
        Ok(_) => failed(reason),
        Err(refusal) => Refusal { reason, ..refusal },
    }
}

fn certificate_of<'a>(presenter: &Presenter<'a>) -> Result<&'a Arc<PeerTrust>, Refusal> {
    match presenter.certificate {
        Ok(Some(certificate)) => Ok(certificate),
        Ok(None) if !presenter.certificate_requested => Err(invalid_client(
            Reason::CertificateAbsent,
            "the request has no client authentication, and this host does not ask for certificates: \
             with one, use the endpoint in mtls_endpoint_aliases (RFC 8705 section 5)",
        )),
        Ok(None) => Err(invalid_client(
            Reason::CertificateAbsent,
            "the request has no client authentication: no client certificate, secret or assertion",
        )),
        Err(error) => Err(invalid_client(error.reason(), "the client certificate could not be read")),
    }
}

/// The anchor sets a certificate must satisfy, all of them: the listener's, the host's and the registration's.
fn anchor_sets<'a>(
    client: &Client,
    presenter: &Presenter<'_>,
    anchors: &'a AnchorSets,
) -> Result<Vec<&'a Arc<AnchorSet>>, Refusal> {
    let host = presenter.host_anchor_sets.iter();
    host.chain(&client.anchor_set).map(|name| anchors.get(name).ok_or_else(|| failed(Reason::CertificateNoAnchors))).collect()
}
