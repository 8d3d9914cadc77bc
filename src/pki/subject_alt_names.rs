use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, SubjectAlternativeName};

use super::name::DistinguishedName;

/// The subject alternative names of a certificate (RFC 5280 §4.2.1.6), as written in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    /// `dNSName`.
    pub dns: Vec<String>,
    /// `uniformResourceIdentifier`.
    pub uri: Vec<String>,
    /// `iPAddress`.
    pub ip: Vec<IpAddr>,
    /// `rfc822Name`.
    pub email: Vec<String>,
    /// `directoryName`.
    pub directory: Vec<DistinguishedName>,
    /// How many names there are of kinds that nothing here reads (`otherName`, `registeredID`, …).
    pub unread: usize,
}

/// Why a subject alternative name is refused, and its certificate with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectAltNameError {
    /// Not encoded as its kind demands.
    #[error("a name is malformed")]
    Malformed,
    /// An empty list or an empty name.
    #[error("a name is empty")]
    Empty,
    /// NUL, a control character, a space, or a character outside ASCII.
    #[error("a {0} has a NUL, a control character, a space or a character outside ASCII")]
    Character(&'static str),
    /// A DNS name with something other than letters, digits, `-`, `_`, `.`, or a `*` that is not the whole first label.
    #[error("a dNSName is not a DNS name")]
    Dns,
    /// An address of neither 4 nor 16 bytes.
    #[error("an iPAddress has neither 4 nor 16 bytes")]
    Ip,
}

impl SubjectAltNames {
    pub(super) fn from_x509(names: &SubjectAlternativeName<'_>) -> Result<Self, SubjectAltNameError> {
        if names.general_names.is_empty() {
            return Err(SubjectAltNameError::Empty);
        }
        let mut read = Self::default();
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(text) => read.dns.push(dns(text)?),
                GeneralName::URI(text) => read.uri.push(printable(text, "uniformResourceIdentifier")?),
                GeneralName::RFC822Name(text) => read.email.push(printable(text, "rfc822Name")?),
                GeneralName::IPAddress(bytes) => read.ip.push(ip(bytes)?),
                GeneralName::DirectoryName(name) => {
                    read.directory.push(DistinguishedName::from_x509(name).map_err(|_| SubjectAltNameError::Malformed)?);
                }
                GeneralName::Invalid(..) => return Err(SubjectAltNameError::Malformed),
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::RegisteredID(_) => read.unread = read.unread.saturating_add(1),
            }
        }
        Ok(read)
    }

    /// Whether there is no name at all, not even of a kind that is not read.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn printable(text: &str, kind: &'static str) -> Result<String, SubjectAltNameError> {
    match text {
        "" => Err(SubjectAltNameError::Empty),
        _ if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err(SubjectAltNameError::Character(kind)),
    }
}

fn dns(text: &str) -> Result<String, SubjectAltNameError> {
    let name = printable(text, "dNSName")?;
    let labels = name.strip_prefix("*.").unwrap_or(&name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() <= 253 && labels.split('.').all(is_label) { Ok(name) } else { Err(SubjectAltNameError::Dns) }
}

fn ip(bytes: &[u8]) -> Result<IpAddr, SubjectAltNameError> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        Ok(IpAddr::from(four))
    } else if let Ok(sixteen) = <[u8; 16]>::try_from(bytes) {
        Ok(IpAddr::from(sixteen))
    } else {
        Err(SubjectAltNameError::Ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_misread_is_refused() {
        use GeneralName::{DNSName, IPAddress, Invalid, RFC822Name, URI};
        use SubjectAltNameError as E;
        let table = [
            (DNSName("b\0.evil.example"), E::Character("dNSName")),
            (DNSName("bücher.example"), E::Character("dNSName")),
            (DNSName("a b.example"), E::Character("dNSName")),
            (DNSName("a/b.example"), E::Dns),
            (DNSName("a*.example"), E::Dns),
            (DNSName("*"), E::Dns),
            (DNSName("a..example"), E::Dns),
            (DNSName("a.example."), E::Dns),
            (DNSName("a@example"), E::Dns),
            (DNSName(""), E::Empty),
            (URI("https://a\0.example"), E::Character("uniformResourceIdentifier")),
            (URI("spiffe://exa\u{301}mple/a"), E::Character("uniformResourceIdentifier")),
            (RFC822Name("a\n@example"), E::Character("rfc822Name")),
            (RFC822Name(""), E::Empty),
            (IPAddress(&[127, 0, 0]), E::Ip),
            (IPAddress(&[127, 0, 0, 0, 255, 0, 0, 0]), E::Ip),
            (Invalid(x509_parser::der_parser::asn1_rs::Tag(2), b"\xff"), E::Malformed),
        ];
        for (name, expected) in table {
            let text = format!("{name:?}");
            let names = SubjectAlternativeName { general_names: vec![name] };
            assert_eq!(SubjectAltNames::from_x509(&names), Err(expected), "{text}");
        }
        let none = SubjectAlternativeName { general_names: vec![] };
        assert_eq!(SubjectAltNames::from_x509(&none), Err(E::Empty));
    }

    #[test]
    fn names_are_kept_as_written() {
        let names = SubjectAlternativeName {
            general_names: vec![
                GeneralName::DNSName("*.A.example"),
                GeneralName::DNSName("_tls.localhost"),
                GeneralName::URI("spiffe://example/A"),
                GeneralName::RFC822Name("Alice@Example"),
                GeneralName::IPAddress(&[127, 0, 0, 1]),
                GeneralName::IPAddress(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ],
        };
        let read = SubjectAltNames::from_x509(&names).expect("well-formed");
        assert_eq!(read.dns, ["*.A.example", "_tls.localhost"]);
        assert_eq!(read.uri, ["spiffe://example/A"]);
        assert_eq!(read.email, ["Alice@Example"]);
        assert_eq!(read.ip, ["127.0.0.1".parse::<IpAddr>().expect("v4"), "::1".parse::<IpAddr>().expect("v6")]);
        assert_eq!(read.unread, 0);
    }
}
