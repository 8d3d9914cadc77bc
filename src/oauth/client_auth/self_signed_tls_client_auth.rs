//! `self_signed_tls_client_auth` (RFC 8705 §2.2): the certificate is one of those registered. No path is built and no
//! authority asked, but its dates count.

use std::sync::Arc;

use super::{Presenter, certificate_of, invalid_client};
use crate::clients::RegisteredCertificate;
use crate::domain::Timestamp;
use crate::event::Reason;
use crate::oauth::error::Refusal;
use crate::tls::PeerCertificate;

pub(super) fn check(
    registered: &[RegisteredCertificate],
    presenter: &Presenter<'_>,
    now: Timestamp,
) -> Result<Arc<PeerCertificate>, Refusal> {
    let refuse = |reason| invalid_client(reason, "client authentication failed");
    let certificate = certificate_of(presenter)?.peer();
    let presented = certificate.thumbprint();
    if !registered.iter().any(|known| known.thumbprint().matches(&presented)) {
        return Err(refuse(Reason::CertificateNotRegistered));
    }
    certificate.leaf().check_dates(now).map_err(|error| refuse(error.reason()))?;
    Ok(certificate.clone())
}
