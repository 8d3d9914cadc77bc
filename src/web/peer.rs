//! What a handler knows of the connection a request came on.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::event::CertificateOrigin;
use crate::oauth::client_auth::Presenter;
use crate::tls::{ClientCertificateMode, ConnectionFacts, PeerCertificateError, PeerThumbprint, PolicySet};
use crate::trust::PeerTrust;

/// The request's host belongs to another TLS policy than its connection (RFC 9110 §15.5.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misdirected;

/// One connection: the facts of its handshake, and what has been verified of its certificate's path since.
#[derive(Debug)]
pub struct Peer {
    facts: Arc<ConnectionFacts>,
    policies: Arc<ArcSwap<PolicySet>>,
    trust: Option<Arc<PeerTrust>>,
    source: Source,
}

/// Where the client's certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The handshake of the connection.
    Handshake,
    /// A proxy in front.
    Proxy,
}

/// What a trusted proxy tells of its client's certificate.
#[derive(Clone, Debug)]
pub enum Told {
    /// That there is none.
    Nothing,
    /// Which it is, and no more.
    Thumbprint(PeerThumbprint),
    /// What it is, with what is known of its path.
    Certificate(Arc<PeerTrust>),
}

impl Peer {
    /// A connection whose handshake has finished.
    pub fn new(facts: Arc<ConnectionFacts>, policies: Arc<ArcSwap<PolicySet>>) -> Self {
        let trust = match &facts.peer {
            Ok(Some(certificate)) => Some(Arc::new(PeerTrust::new(certificate.clone()))),
            Ok(None) | Err(_) => None,
        };
        Self { facts, policies, trust, source: Source::Handshake }
    }

    /// The client of one request, behind a proxy that ends its TLS: with what the proxy tells of its certificate, and never with the
    /// proxy's own.
    pub fn behind_proxy(&self, told: Result<Told, PeerCertificateError>, origin: CertificateOrigin) -> Self {
        let (peer, trust, peer_thumbprint) = match told {
            Ok(Told::Nothing) => (Ok(None), None, None),
            Ok(Told::Thumbprint(thumbprint)) => (Ok(None), None, Some(thumbprint)),
            Ok(Told::Certificate(trust)) => (Ok(Some(trust.peer().clone())), Some(trust), None),
            Err(error) => (Err(error), None, None),
        };
        let facts = Arc::new(ConnectionFacts {
            peer,
            peer_thumbprint,
            certificate_origin: Some(origin),
            ..ConnectionFacts::clone(&self.facts)
        });
        Self { facts, policies: self.policies.clone(), trust, source: Source::Proxy }
    }

    /// The facts of the handshake.
    pub fn facts(&self) -> &Arc<ConnectionFacts> {
        &self.facts
    }

    /// What has been verified of the certificate's path, where there is a certificate.
    pub fn trust(&self) -> Option<&Arc<PeerTrust>> {
        self.trust.as_ref()
    }

    /// The policies of the listener, as they stand now.
    pub fn policies(&self) -> Arc<PolicySet> {
        self.policies.load_full()
    }

    /// Whether a request for `host` may come on this connection: the host's policy is the one this connection was made under.
    pub fn may_ask_for(&self, host: &str) -> Result<(), Misdirected> {
        let policies = self.policies.load();
        match policies.for_authority(host) {
            Some(policy) if policy.id() == self.facts.policy.id() => Ok(()),
            _ => Err(Misdirected),
        }
    }

    /// What client authentication needs to know.
    pub fn presenter(&self) -> Presenter<'_> {
        Presenter {
            certificate: match &self.facts.peer {
                Ok(_) => Ok(self.trust.as_ref()),
                Err(error) => Err(error),
            },
            host_anchor_sets: self.facts.policy.anchor_sets(),
            address: self.facts.peer_address.ip(),
            certificate_requested: self.source == Source::Proxy
                || self.facts.policy.client_certificate() != ClientCertificateMode::None,
        }
    }
}
