//! What a handler knows of the connection a request came on.

use std::sync::Arc;

use crate::oauth::client_auth::Presenter;
use crate::tls::{ClientCertificate, ConnectionFacts};
use crate::trust::PeerTrust;

/// One connection: the facts of its handshake, and what has been verified of its certificate's path since.
#[derive(Debug)]
pub struct Peer {
    facts: Arc<ConnectionFacts>,
    trust: Option<Arc<PeerTrust>>,
}

impl Peer {
    /// A connection whose handshake has finished.
    pub fn new(facts: Arc<ConnectionFacts>) -> Self {
        let trust = match &facts.peer {
            Ok(Some(certificate)) => Some(Arc::new(PeerTrust::new(certificate.clone()))),
            Ok(None) | Err(_) => None,
        };
        Self { facts, trust }
    }

    /// The facts of the handshake.
    pub fn facts(&self) -> &Arc<ConnectionFacts> {
        &self.facts
    }

    /// What client authentication needs to know.
    pub fn presenter(&self) -> Presenter<'_> {
        Presenter {
            certificate: match &self.facts.peer {
                Ok(_) => Ok(self.trust.as_ref()),
                Err(error) => Err(error),
            },
            host_anchor_set: self.facts.policy.anchor_set.as_deref(),
            certificate_requested: !matches!(self.facts.policy.client_certificate, ClientCertificate::None),
        }
    }
}
