//! `self_signed_tls_client_auth` (RFC 8705 §2.2): the certificate is one of those registered. No path is built and no
//! authority asked, but its dates count.

use std::sync::Arc;

use super::{Presenter, certificate_of, invalid_client};
use crate::clients::RegisteredCertificates;
use crate::domain::Timestamp;
use crate::oauth::error::Refusal;
use crate::tls::PeerCertificate;

pub(super) fn check(
    registered: &RegisteredCertificates,
    presenter: &Presenter<'_>,
    now: Timestamp,
) -> Result<Arc<PeerCertificate>, Refusal> {
    let certificate = certificate_of(presenter)?.peer();
    registered.check(certificate.leaf(), now).map_err(|error| invalid_client(error.reason(), "client authentication failed"))?;
    Ok(certificate.clone())
}
