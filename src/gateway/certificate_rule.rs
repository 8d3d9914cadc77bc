//! Which certificates a route is for, beside those that tokens are bound to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::domain::Thumbprint;
use crate::pki::Certificate;
use crate::pki::name::DistinguishedName;

/// A name that a certificate may have, as `dns:host`, `uri:…`, `email:…` or `ip:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// `dNSName`, without regard to case.
    Dns(String),
    /// `uniformResourceIdentifier`, byte for byte.
    Uri(String),
    /// `rfc822Name`, byte for byte.
    Email(String),
    /// `iPAddress`.
    Ip(IpAddr),
}

/// The text names no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not `dns:`, `uri:`, `email:` or `ip:` and a name")]
pub struct CertificateNameError;

impl FromStr for CertificateName {
    type Err = CertificateNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once(':').ok_or(CertificateNameError)?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CertificateNameError);
        }
        match kind {
            "dns" => Ok(Self::Dns(name.to_ascii_lowercase())),
            "uri" => Ok(Self::Uri(name.to_owned())),
            "email" => Ok(Self::Email(name.to_owned())),
            "ip" => name.parse().map(Self::Ip).map_err(|_| CertificateNameError),
            _ => Err(CertificateNameError),
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(name) => write!(f, "uri:{name}"),
            Self::Email(name) => write!(f, "email:{name}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
        }
    }
}

impl CertificateName {
    fn stands_in(&self, certificate: &Certificate) -> Option<Fits> {
        let names = certificate.sans();
        let fits = match self {
            Self::Dns(name) => names.dns.iter().any(|one| one.eq_ignore_ascii_case(name)),
            Self::Uri(name) => names.uri.contains(name),
            Self::Email(name) => names.email.contains(name),
            Self::Ip(address) => names.ip.contains(address),
        };
        fits.then_some(Fits)
    }
}

/// What a route asks of certificates. Each list that is not empty must have one that fits.
#[derive(Clone, Debug, Default)]
pub struct CertificateRules {
    /// Names.
    pub names: Vec<CertificateName>,
    /// Subjects of the certificate's issuer.
    pub issuers: Vec<DistinguishedName>,
    /// SHA-256 of public keys.
    pub keys: Vec<Thumbprint>,
}

/// A certificate is one that the route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fits;

impl CertificateRules {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.issuers.is_empty() && self.keys.is_empty()
    }

    /// Whether something is asked that anybody can write into a certificate: it says nothing unless an authority has signed it.
    pub fn rests_on_an_authority(&self) -> bool {
        !self.names.is_empty() || !self.issuers.is_empty()
    }

    /// Holds a certificate against the rules.
    pub fn check(&self, certificate: &Certificate) -> Option<Fits> {
        self.unmet(certificate).next().is_none().then_some(Fits)
    }

    /// The settings that have something, and nothing that fits.
    pub fn unmet(&self, certificate: &Certificate) -> impl Iterator<Item = &'static str> {
        let key = certificate.spki_sha256();
        let table = [
            ("certificate_names", self.names.is_empty(), self.names.iter().any(|name| name.stands_in(certificate).is_some())),
            ("certificate_issuers", self.issuers.is_empty(), self.issuers.contains(certificate.issuer())),
            ("certificate_keys", self.keys.is_empty(), self.keys.iter().any(|one| one.matches(&key))),
        ];
        table.into_iter().filter(|(_, empty, found)| !empty && !found).map(|(setting, ..)| setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["dns:a.example", "uri:spiffe://a.example/x", "email:A@a.example", "ip:192.0.2.1", "ip:2001:db8::1"] {
            let name: CertificateName = text.parse().expect(text);
            assert_eq!(name.to_string(), text);
        }
        for text in ["", "dns:", "a.example", "dn:x", "ip:a", "uri:a b", "DNS:a"] {
            assert_eq!(text.parse::<CertificateName>(), Err(CertificateNameError), "{text}");
        }
    }
}
