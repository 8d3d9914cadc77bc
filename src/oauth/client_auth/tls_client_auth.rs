//! `tls_client_auth` (RFC 8705 §2.1): the certificate is trusted, and its subject is the registered one.

use std::sync::Arc;

use super::{Presenter, anchor_sets, certificate_of, failed};
use crate::clients::{CertificateMatcher, Client};
use crate::domain::Timestamp;
use crate::oauth::error::Refusal;
use crate::tls::PeerCertificate;
use crate::trust::AnchorSets;

pub(super) fn check(
    client: &Client,
    matcher: &CertificateMatcher,
    presenter: &Presenter<'_>,
    anchors: &AnchorSets,
    now: Timestamp,
) -> Result<Arc<PeerCertificate>, Refusal> {
    let presented = certificate_of(presenter)?;
    let sets = anchor_sets(client, presenter, anchors)?;
    let trusted = presented.judge(&sets, now).map_err(|error| failed(error.reason()))?;
    matcher.check(trusted.certificate().leaf()).map_err(|error| failed(error.reason()))?;
    Ok(presented.peer().clone())
}
