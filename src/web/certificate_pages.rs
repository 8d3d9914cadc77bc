//! The pages of certificates that people sign in with.

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;

use super::pages::{PageError, Pages};
use super::path;

/// What the page shows that asks whether to link a certificate.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AddCertificatePage<'a> {
    /// The value of `csrf`.
    pub csrf: &'a str,
    /// What the browser brought back, sealed.
    pub answer: &'a str,
    /// The certificate's subject.
    pub subject: &'a str,
    /// Its last moment.
    pub until: &'a str,
}

/// What the page shows on which a certificate is refused.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CertificateRefusedPage<'a> {
    /// Why.
    pub problem: &'a str,
    /// Where to go on without it.
    pub back: &'a str,
    /// The id of the request.
    pub request_id: &'a str,
}

impl Pages {
    /// Leads to the host that asks for certificates.
    pub fn choose_certificate(&self, place: &str) -> Result<String, PageError> {
        self.render("certificate_choose.html", context! { place, account_path => self.path(path::ACCOUNT) })
    }

    /// Whether to link a certificate.
    pub fn add_certificate(&self, page: &AddCertificatePage<'_>) -> Result<String, PageError> {
        let (action, account_path) = (self.path(path::ACCOUNT_CERTIFICATES_ADD), self.path(path::ACCOUNT));
        self.render("certificate_add.html", context! { action, account_path, ..Value::from(Serde(page)) })
    }

    /// A certificate that does not do.
    pub fn certificate_refused(&self, page: &CertificateRefusedPage<'_>) -> Result<String, PageError> {
        self.render("certificate_refused.html", Value::from(Serde(page)))
    }

    /// Renders each once, as at the start.
    pub(super) fn try_certificates(&self) -> Result<(), PageError> {
        self.choose_certificate("https://a.example")?;
        self.add_certificate(&AddCertificatePage { csrf: "c", answer: "a", subject: "s", until: "u" })?;
        self.certificate_refused(&CertificateRefusedPage { problem: "p", back: "b", request_id: "r" })?;
        Ok(())
    }
}
