//! `self_signed_tls_client_auth` (RFC 8705 §2.2): the certificate is one of those registered, or published at `jwks_uri`. No path is
//! built and no authority asked, but its dates count.

use std::sync::Arc;

use super::{Presenter, certificate_of, failed, invalid_client};
use crate::clients::{Client, ClientKeys, ClientKeysError, Published, RegisteredCertificates};
use crate::domain::{Clock, Timestamp};
use crate::event::Reason;
use crate::oauth::error::Refusal;
use crate::tls::PeerCertificate;

pub(super) async fn check(
    client: &Client,
    registered: &Published<RegisteredCertificates>,
    fetched: &ClientKeys,
    presenter: &Presenter<'_>,
    clock: &dyn Clock,
    now: Timestamp,
) -> Result<Arc<PeerCertificate>, Refusal> {
    let certificate = certificate_of(presenter)?.peer();
    let matched = match registered {
        Published::Here(registered) => registered.check(certificate.leaf(), now).map_err(ClientKeysError::from),
        Published::At(uri) => fetched.check_certificate(&client.client_id, uri, certificate.leaf(), now, clock.monotonic()).await,
    };
    match matched {
        Ok(_) => Ok(certificate.clone()),
        Err(ClientKeysError::Certificate(problem)) => Err(failed(problem.reason())),
        Err(ClientKeysError::Unavailable(problem)) => {
            tracing::warn!(client_id = %client.client_id, %problem, "cannot fetch the certificates of a client");
            Err(invalid_client(Reason::ClientKeysUnavailable, "the keys at the jwks_uri of this client could not be fetched"))
        }
        Err(ClientKeysError::Jws(_)) => Err(failed(Reason::Defect)),
    }
}
