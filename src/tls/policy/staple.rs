//! An OCSP answer about our own certificate, shown in the handshake to clients that ask for it (RFC 6066 §8, RFC 8446 §4.4.2.1).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::domain::{Clock, Timestamp};

/// The certificate that a host shows, with an answer about it for as long as that holds.
pub(super) struct OwnKey {
    plain: Arc<CertifiedKey>,
    stapled: ArcSwapOption<Stapled>,
    clock: Arc<dyn Clock>,
}

#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server asks responders"))]
struct Stapled {
    key: Arc<CertifiedKey>,
    until: Timestamp,
}

impl OwnKey {
    pub(super) fn new(key: CertifiedKey, clock: Arc<dyn Clock>) -> Self {
        Self { plain: Arc::new(key), stapled: ArcSwapOption::empty(), clock }
    }

    #[cfg(feature = "server")]
    pub(super) fn staple(&self, staple: Option<&Staple>) {
        self.stapled.store(staple.map(|staple| {
            let key = CertifiedKey { ocsp: Some(staple.response.clone()), ..CertifiedKey::clone(&self.plain) };
            Arc::new(Stapled { key: Arc::new(key), until: staple.until })
        }));
    }
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnKey").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for OwnKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let stapled = self.stapled.load();
        let holds = stapled.as_ref().filter(|stapled| self.clock.now().is_ok_and(|now| now <= stapled.until));
        Some(holds.map_or_else(|| self.plain.clone(), |stapled| stapled.key.clone()))
    }
}

#[cfg(feature = "server")]
pub use asking::{Staple, StapleError, Stapling};

#[cfg(feature = "server")]
mod asking {
    use crate::domain::Timestamp;
    use crate::pki::Certificate;
    use crate::pki::ocsp::{OcspError, OcspQuestion, OcspStatus};

    /// An answer that may be shown: about our certificate, `good`, and signed by whom its issuer lets sign.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Staple {
        pub(super) response: Vec<u8>,
        pub(super) until: Timestamp,
    }

    impl Staple {
        /// The last second at which it is shown.
        pub fn until(&self) -> Timestamp {
            self.until
        }
    }

    /// Why there is nothing to show.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum StapleError {
        /// The responder was not reached.
        #[error("the responder was not reached: {0}")]
        Fetch(String),
        /// The answer is of no use.
        #[error("{0}")]
        Answer(#[from] OcspError),
        /// The certificate has been revoked.
        #[error("the responder says that it has been revoked ({0})")]
        Revoked(&'static str),
    }

    /// Whom to ask about a certificate of ours, and what.
    #[derive(Clone, Debug)]
    pub struct Stapling {
        certificate: Certificate,
        issuer: Certificate,
        question: OcspQuestion,
        url: String,
    }

    impl Stapling {
        /// For a chain as it is shown: the certificate names its responder, and its issuer's certificate comes next.
        ///
        /// # Errors
        /// What is missing.
        pub fn of(chain: &[Certificate]) -> Result<Self, &'static str> {
            let [certificate, issuer, ..] = chain else {
                return Err("its issuer's certificate must follow it in `certificate_file`");
            };
            if !certificate.is_signed_by(issuer) {
                return Err("what follows it in `certificate_file` is not its issuer's certificate");
            }
            let is_url = |url: &&String| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
            let url = certificate.ocsp_responders().iter().find(is_url);
            let url = url.ok_or("the certificate names no OCSP responder with `http` or `https`")?.clone();
            let serial = certificate.serial().ok_or("its serial number is too long")?;
            let question = OcspQuestion::new(issuer, serial).map_err(|_| "its issuer's certificate cannot be read")?;
            Ok(Self { certificate: certificate.clone(), issuer: issuer.clone(), question, url })
        }

        /// The certificate.
        pub fn certificate(&self) -> &Certificate {
            &self.certificate
        }

        /// The responder.
        pub fn url(&self) -> &str {
            &self.url
        }

        /// What it is asked, in DER.
        ///
        /// # Errors
        /// When it cannot be encoded.
        pub fn request(&self) -> Result<Vec<u8>, OcspError> {
            self.question.request()
        }

        /// Reads what came.
        ///
        /// # Errors
        /// Why it is not shown.
        pub fn read(&self, answer: Result<Vec<u8>, String>, now: Timestamp) -> Result<Staple, StapleError> {
            let response = answer.map_err(StapleError::Fetch)?;
            let said = self.question.answer(&response, &self.issuer, now)?;
            match said.status {
                OcspStatus::Good => Ok(Staple { response, until: said.next_update }),
                OcspStatus::Revoked { reason, .. } => Err(StapleError::Revoked(reason.name())),
            }
        }
    }
}
