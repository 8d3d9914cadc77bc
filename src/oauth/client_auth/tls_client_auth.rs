//! `tls_client_auth` (RFC 8705 §2.1): the certificate is trusted, and its subject is the registered one.

use std::sync::Arc;

use super::{Presenter, Registry, anchor_sets, certificate_of, invalid_client};
use crate::clients::{CertificateMatcher, Client};
use crate::oauth::error::Refusal;
use crate::tls::PeerCertificate;

pub(super) fn check(
    client: &Client,
    matcher: &CertificateMatcher,
    presenter: &Presenter<'_>,
    registry: &Registry<'_>,
) -> Result<Arc<PeerCertificate>, Refusal> {
    let presented = certificate_of(presenter)?;
    let sets = anchor_sets(client, presenter, registry.anchors)?;
    let trusted =
        presented.judge(&sets, registry.now).map_err(|error| invalid_client(error.reason(), "client authentication failed"))?;
    matcher
        .check(trusted.certificate().leaf())
        .map_err(|error| invalid_client(error.reason(), "client authentication failed"))?;
    Ok(presented.peer().clone())
}
