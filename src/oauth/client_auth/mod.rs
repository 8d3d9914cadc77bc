//! Client authentication: one file per method, one entrance for every endpoint (RFC 6749 §2.3, RFC 8705 §2).

mod self_signed_tls_client_auth;
mod tls_client_auth;

use std::sync::Arc;

use super::error::{ErrorCode, Refusal};
use super::parameters::Parameters;
use super::server::AuthorizationServer;
use crate::clients::{Authentication, Client, Directory};
use crate::domain::{ClientId, Timestamp};
use crate::event::Reason;
use crate::tls::{PeerCertificate, PeerCertificateError};
use crate::trust::revocation::RevocationRules;
use crate::trust::{AnchorSet, AnchorSets, PeerTrust};

/// What the connection says about who is calling.
#[derive(Clone, Copy, Debug)]
pub struct Presenter<'a> {
    /// The certificate of the connection: absent, unusable, or there with what is known of its path.
    pub certificate: Result<Option<&'a Arc<PeerTrust>>, &'a PeerCertificateError>,
    /// The anchor sets of the listener and the server name that were connected to.
    pub host_anchor_sets: &'a [String],
    /// Whether the server name that was connected to asks for certificates at all.
    pub certificate_requested: bool,
}

/// A client that proved who it is, by exactly the method it is registered for. Made here alone.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    certificate: Arc<PeerCertificate>,
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

    /// The certificate whose key the client proved to hold on this connection.
    pub fn certificate(&self) -> &Arc<PeerCertificate> {
        &self.certificate
    }
}

/// Who a client may be, and which authorities vouch for it, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Registry<'a> {
    /// All clients.
    pub clients: &'a Directory,
    /// All anchor sets.
    pub anchors: &'a AnchorSets,
    /// What has been revoked.
    pub revocations: &'a RevocationRules,
    /// Now.
    pub now: Timestamp,
}

impl AuthorizationServer {
    /// Authenticates the client of a request against the snapshots in force.
    ///
    /// # Errors
    /// As [`authenticate`].
    pub fn authenticate(
        &self,
        parameters: &Parameters,
        presenter: &Presenter<'_>,
        now: Timestamp,
    ) -> Result<AuthenticatedClient, Refusal> {
        let (clients, anchors, revocations) = (self.clients.current(), self.anchors.load(), self.revocations.load());
        authenticate(parameters, presenter, &Registry { clients: &clients, anchors: &anchors, revocations: &revocations, now })
    }
}

/// Authenticates the client of a request.
///
/// Unknown client and failed proof are both `invalid_client` (RFC 6749 §5.2); the private reason tells them apart.
pub fn authenticate(
    parameters: &Parameters,
    presenter: &Presenter<'_>,
    registry: &Registry<'_>,
) -> Result<AuthenticatedClient, Refusal> {
    let client_id = parameters.get("client_id").ok_or_else(|| {
        invalid_client(Reason::ClientIdAbsent, "client_id is required with mutual-TLS client authentication (RFC 8705 section 2)")
    })?;
    for other in ["client_secret", "client_assertion", "client_assertion_type"] {
        if parameters.get(other).is_some() {
            let named = client_id.parse().ok().filter(|client_id| registry.clients.client(client_id).is_some());
            return Err(Refusal { client_id: named, ..refuse_authorization_header() });
        }
    }
    // Without a certificate nobody is told whether there is a client of this name: the answer is the same.
    let unknown = || match certificate_of(presenter) {
        Ok(_) => invalid_client(Reason::ClientUnknown, "client authentication failed"),
        Err(refusal) => Refusal { reason: Reason::ClientUnknown, ..refusal },
    };
    let client_id: ClientId = client_id.parse().map_err(|_| unknown())?;
    let client = registry.clients.client(&client_id).ok_or_else(unknown)?;
    let authenticated = match &client.authentication {
        Authentication::TlsClientAuth(matcher) => tls_client_auth::check(client, matcher, presenter, registry),
        Authentication::SelfSignedTlsClientAuth(registered) => {
            self_signed_tls_client_auth::check(registered, presenter, registry.now)
        }
    };
    let certificate =
        authenticated.and_then(|certificate| unrevoked(certificate, registry)).map_err(|error| error.of(&client_id))?;
    Ok(AuthenticatedClient { client: client.clone(), certificate })
}

/// The certificate, unless a revocation rule names it.
fn unrevoked(certificate: Arc<PeerCertificate>, registry: &Registry<'_>) -> Result<Arc<PeerCertificate>, Refusal> {
    match registry.revocations.check_certificate(certificate.thumbprint()) {
        Ok(()) => Ok(certificate),
        Err(revoked) => Err(invalid_client(revoked.reason(), "client authentication failed")),
    }
}

/// Credentials in an `Authorization` header belong to methods that no client is registered for.
pub fn refuse_authorization_header() -> Refusal {
    invalid_client(Reason::ClientMethodMismatch, "the request carries credentials of a method this client is not registered for")
}

fn invalid_client(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidClient, reason, description)
}

fn certificate_of<'a>(presenter: &Presenter<'a>) -> Result<&'a Arc<PeerTrust>, Refusal> {
    match presenter.certificate {
        Ok(Some(certificate)) => Ok(certificate),
        Ok(None) if !presenter.certificate_requested => Err(invalid_client(
            Reason::CertificateAbsent,
            "this host does not ask for certificates: use the endpoint in mtls_endpoint_aliases (RFC 8705 section 5)",
        )),
        Ok(None) => Err(invalid_client(Reason::CertificateAbsent, "the connection carries no client certificate")),
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
    host.chain(&client.anchor_set)
        .map(|name| anchors.get(name).ok_or_else(|| invalid_client(Reason::CertificateNoAnchors, "client authentication failed")))
        .collect()
}
