//! A client's certificate in the header field of a proxy that has ended the client's TLS: one tolerant decoder for what proxies write.
//!
//! What is read here is only as good as the word of the proxy: whoever calls it has made sure who that is.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD as STANDARD_ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::CertificateDer;
use x509_parser::der_parser::asn1_rs::{Any, FromDer as _};

use super::{Certificate, CertificateError};
use crate::domain::Thumbprint;
use crate::jose::digest::sha256;

/// Standard base64, with or without padding.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD_ALPHABET, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// How a proxy writes certificates down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// One certificate as a byte sequence of structured fields (RFC 9440 §2.1), base64 of DER, or PEM, percent-encoded or with spaces in
    /// the place of line breaks; in PEM its chain may follow.
    Certificate,
    /// Certificates in base64 of DER, with commas between them: the client's first.
    CommaSeparated,
    /// Envoy's `X-Forwarded-Client-Cert`: the last element is the nearest proxy's.
    Xfcc,
}

/// What a header field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCertificate {
    /// The client's certificate.
    pub leaf: Certificate,
    /// What comes with it: perhaps intermediates, perhaps anything.
    pub chain: Vec<CertificateDer<'static>>,
}

/// What header fields say of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// That there is none.
    Nothing,
    /// SHA-256 of it, and not what it is.
    Thumbprint(Thumbprint),
    /// What it is.
    Certificate(HeaderCertificate),
}

/// Why a header field says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// More than one field, where one is expected.
    #[error("the header field is there more than once")]
    Several,
    /// A chain without the certificate that it belongs to (RFC 9440 §2.3).
    #[error("there is a chain, and no certificate")]
    ChainAlone,
    /// Not ASCII text.
    #[error("the header field is not text")]
    Text,
    /// A percent sign without two digits.
    #[error("the percent-encoding is broken")]
    Percent,
    /// Not base64, or nothing in it.
    #[error("a certificate is not base64")]
    Base64,
    /// PEM without an end, or with something between certificates.
    #[error("the PEM text is broken")]
    Pem,
    /// Envoy's syntax.
    #[error("X-Forwarded-Client-Cert is malformed: {0}")]
    Xfcc(&'static str),
    /// The certificate cannot be read.
    #[error("the certificate is malformed: {0}")]
    Certificate(#[from] CertificateError),
}

/// Reads a field's value, and the value of the field that carries the chain.
///
/// # Errors
/// A value that is no certificate, and a chain that belongs to none.
pub fn decode(notation: Notation, value: &str, chain: Option<&str>) -> Result<Said, HeaderError> {
    let chain = chain.map(|chain| unquoted(chain.trim())).filter(|chain| !chain.is_empty());
    // HAProxy quotes (`%{+Q}`). Where there is none Apache writes `(null)`, and an empty byte sequence is what Caddy can write. In Envoy's
    // syntax a quotation mark at either end may be a client's own.
    let value = match notation {
        Notation::Xfcc => value.trim(),
        Notation::Certificate | Notation::CommaSeparated => unquoted(value.trim()),
    };
    let said = match notation {
        _ if matches!(value, "" | "(null)" | "::") => Found::Nothing,
        Notation::Certificate => Found::Certificates(one(value)?),
        Notation::CommaSeparated => Found::Certificates(list(value)?),
        Notation::Xfcc => xfcc(value)?,
    };
    let mut certificates = match said {
        Found::Certificates(certificates) => certificates,
        Found::Nothing | Found::Thumbprint(_) if chain.is_some() => return Err(HeaderError::ChainAlone),
        Found::Nothing => return Ok(Said::Nothing),
        Found::Thumbprint(thumbprint) => return Ok(Said::Thumbprint(thumbprint)),
    };
    if let Some(chain) = chain {
        certificates.extend(list(chain)?);
    }
    let mut certificates = certificates.into_iter();
    let leaf = Certificate::from_der(certificates.next().ok_or(HeaderError::Base64)?.into())?;
    Ok(Said::Certificate(HeaderCertificate { leaf, chain: certificates.map(CertificateDer::from).collect() }))
}

/// What stands in a field, as bytes.
enum Found {
    Nothing,
    Thumbprint(Thumbprint),
    /// The client's first.
    Certificates(Vec<Vec<u8>>),
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).map_or(value, str::trim)
}

fn one(value: &str) -> Result<Vec<Vec<u8>>, HeaderError> {
    let value = &*percent_decoded(value)?;
    if value.starts_with("-----") {
        return pem(value);
    }
    let der = base64(value)?;
    // The client's alone: what follows it would be read by nobody else.
    Ok(vec![der])
}

/// A list over one or several lines (RFC 9440 §2.2), each element one certificate, or several one behind another as HAProxy has them.
fn list(value: &str) -> Result<Vec<Vec<u8>>, HeaderError> {
    let value = &*percent_decoded(value)?;
    if value.starts_with("-----") {
        return pem(value);
    }
    let mut certificates = Vec::new();
    for element in value.split(',').map(str::trim).filter(|element| !element.is_empty()) {
        let der = base64(element)?;
        let mut rest: &[u8] = &der;
        while !rest.is_empty() {
            let (after, _) = Any::from_der(rest).map_err(|_| CertificateError::Der)?;
            let (certificate, next) = rest.split_at(rest.len().saturating_sub(after.len()));
            certificates.push(certificate.to_vec());
            rest = next;
        }
    }
    Ok(certificates)
}

/// With the colons of structured fields, or without; white space does not count.
fn base64(value: &str) -> Result<Vec<u8>, HeaderError> {
    let value = match value.strip_prefix(':') {
        Some(rest) => rest.strip_suffix(':').ok_or(HeaderError::Base64)?,
        None => value,
    };
    let text: String = value.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    match BASE64.decode(text) {
        Ok(der) if !der.is_empty() => Ok(der),
        _ => Err(HeaderError::Base64),
    }
}

/// PEM whose line breaks may have become spaces or tabs, or nothing. A plus sign is itself: AWS leaves it as it is.
fn pem(text: &str) -> Result<Vec<Vec<u8>>, HeaderError> {
    let mut rest = text.trim();
    let mut certificates = Vec::new();
    while !rest.is_empty() {
        let inside = rest.strip_prefix(BEGIN).ok_or(HeaderError::Pem)?;
        let (encoded, after) = inside.split_once(END).ok_or(HeaderError::Pem)?;
        if encoded.contains(':') {
            return Err(HeaderError::Pem);
        }
        certificates.push(base64(encoded)?);
        rest = after.trim();
    }
    if certificates.is_empty() { Err(HeaderError::Pem) } else { Ok(certificates) }
}

fn percent_decoded(text: &str) -> Result<Cow<'_, str>, HeaderError> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(HeaderError::Percent)?;
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        match digits {
            [high, low] => bytes.push(digit(*high).ok_or(HeaderError::Percent)? << 4 | digit(*low).ok_or(HeaderError::Percent)?),
            _ => return Err(HeaderError::Percent),
        }
        rest = after;
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| HeaderError::Text)
}

/// The last element is the one that the nearest proxy wrote: those before it are hearsay, and are not read.
fn xfcc(value: &str) -> Result<Found, HeaderError> {
    let nearest = elements(value)?.pop().ok_or(HeaderError::Xfcc("no element"))?;
    let (mut certificate, mut chain, mut hash) = (None, None, None);
    for (key, value) in nearest {
        let slot = match key.to_ascii_lowercase().as_str() {
            "cert" => &mut certificate,
            "chain" => &mut chain,
            "hash" => &mut hash,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(HeaderError::Xfcc("a key twice"));
        }
    }
    let read = |text: String| pem(&percent_decoded(&text)?);
    let hash = match hash.filter(|text| !text.is_empty()) {
        Some(hash) => Some(Thumbprint::parse_hex(&hash).ok_or(HeaderError::Xfcc("Hash is not SHA-256 in hexadecimal"))?),
        None => None,
    };
    let Some(certificate) = certificate.filter(|text| !text.is_empty()) else {
        if chain.is_some_and(|text| !text.is_empty()) {
            return Err(HeaderError::ChainAlone);
        }
        return Ok(hash.map_or(Found::Nothing, Found::Thumbprint));
    };
    let mut certificates = read(certificate)?;
    if certificates.len() != 1 {
        return Err(HeaderError::Xfcc("Cert is not one certificate"));
    }
    if let (Some(hash), Some(der)) = (hash, certificates.first())
        && hash != Thumbprint::from_bytes(sha256(der))
    {
        return Err(HeaderError::Xfcc("Hash is not the certificate's"));
    }
    if let Some(chain) = chain.filter(|text| !text.is_empty()) {
        // Envoy's chain begins with the client's certificate.
        certificates.extend(read(chain)?.into_iter().skip(1));
    }
    Ok(Found::Certificates(certificates))
}

/// The elements, each of keys and values. A quotation mark opens a value at its very beginning and closes it at its very end, nowhere else,
/// in hearsay too: a client that leaves one open swallows what the proxy appends, and is found out where the proxy's own would have to close it.
fn elements(text: &str) -> Result<Vec<Vec<(&str, String)>>, HeaderError> {
    let (mut elements, mut pairs, mut rest) = (Vec::new(), Vec::new(), text);
    loop {
        let (key, after) = rest.split_once('=').ok_or(HeaderError::Xfcc("a pair without `=`"))?;
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(HeaderError::Xfcc("a key is no word"));
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(inside) => quoted(inside)?,
            None => {
                let (value, after) = after.split_at(after.find([';', ',']).unwrap_or(after.len()));
                if value.contains('"') {
                    return Err(HeaderError::Xfcc("a quotation mark within a value"));
                }
                (value.trim().to_owned(), after)
            }
        };
        pairs.push((key, value));
        let mut characters = after.chars();
        match characters.next() {
            None => {
                elements.push(pairs);
                return Ok(elements);
            }
            Some(';') => {}
            Some(',') => elements.push(std::mem::take(&mut pairs)),
            Some(_) => return Err(HeaderError::Xfcc("something follows a closing quotation mark")),
        }
        rest = characters.as_str();
    }
}

/// What stands up to the closing quotation mark, unescaped, and what follows it.
fn quoted(inside: &str) -> Result<(String, &str), HeaderError> {
    let mut text = String::new();
    let mut characters = inside.chars();
    loop {
        match characters.next() {
            Some('"') => return Ok((text, characters.as_str())),
            Some('\\') => text.extend(characters.next()),
            Some(other) => text.push(other),
            None => return Err(HeaderError::Xfcc("a quotation mark is open")),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::pki::fixture::Authority;

    struct Made {
        leaf: Certificate,
        ca: Certificate,
    }

    fn made() -> &'static Made {
        static MADE: std::sync::OnceLock<Made> = std::sync::OnceLock::new();
        MADE.get_or_init(|| {
            let ca = Authority::new("CA");
            Made { leaf: ca.client("alice").certificate, ca: ca.certificate }
        })
    }

    fn pem_of(certificate: &Certificate) -> String {
        let encoded = STANDARD.encode(certificate.der());
        let lines: Vec<_> = encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
    }

    fn percent(text: &str, kept: &str) -> String {
        let one = |byte: u8| {
            let character = char::from(byte);
            let is_kept = byte.is_ascii_alphanumeric() || "-._~".contains(character) || kept.contains(character);
            if is_kept { character.to_string() } else { format!("%{byte:02X}") }
        };
        text.bytes().map(one).collect()
    }

    /// What each proxy writes.
    #[test]
    fn every_spelling_of_one_certificate() {
        let Made { leaf, ca } = made();
        let (pem, base) = (pem_of(leaf), STANDARD.encode(leaf.der()));
        let both = format!("{pem}{}", pem_of(ca));
        let hash: String = leaf.thumbprint().to_hex();
        use Notation::{Certificate as One, CommaSeparated as List, Xfcc};
        let table: Vec<(&str, Notation, String, Option<String>, usize)> = vec![
            ("RFC 9440", One, format!(":{base}:"), None, 0),
            ("RFC 9440 with chain", One, format!(":{base}:"), Some(format!(":{0}:, :{0}:", STANDARD.encode(ca.der()))), 2),
            ("nginx", One, percent(&pem, ""), None, 0),
            ("AWS verifies", One, percent(&pem, "+=/"), None, 0),
            ("AWS passes on", One, percent(&both, "+=/"), None, 1),
            ("HAProxy", One, format!("\"{base}\""), Some(STANDARD.encode([&ca.der()[..], ca.der()].concat())), 2),
            ("Apache", One, pem.replace('\n', " "), None, 0),
            ("tabs", One, pem.replace('\n', "\t"), None, 0),
            ("no line breaks", One, pem.replace('\n', ""), None, 0),
            ("Azure, Cloudflare, Caddy", One, base.clone(), None, 0),
            ("without padding", One, base.trim_end_matches('=').to_owned(), None, 0),
            ("Traefik", List, base.clone(), None, 0),
            ("Traefik escapes", List, percent(&base, ""), None, 0),
            ("Traefik with chain", List, format!("{base},{}", STANDARD.encode(ca.der())), None, 1),
            ("Envoy", Xfcc, format!("Hash={hash};Cert=\"{}\";Subject=\"\";URI=", percent(&pem, "")), None, 0),
            (
                "Envoy with chain",
                Xfcc,
                format!("By=spiffe://a/b;Hash={hash};Cert=\"{}\";Chain=\"{}\"", percent(&pem, ""), percent(&both, "")),
                None,
                1,
            ),
            (
                "Envoy appends",
                Xfcc,
                format!("Cert=forged;Subject=\"CN=\\\"a,b;c\\\"\",Cert=\"{}\";Subject=\"CN=a,O=b\"", percent(&pem, "")),
                None,
                0,
            ),
        ];
        for (what, notation, value, chain, above) in &table {
            let Said::Certificate(read) = decode(*notation, value, chain.as_deref()).expect(what) else { panic!("{what}") };
            assert_eq!((&read.leaf, read.chain.len()), (leaf, *above), "{what}");
            assert!(read.chain.iter().all(|der| der == ca.der()), "{what}");
        }
        for (notation, value) in
            [(One, ""), (One, "\"\""), (One, "(null)"), (One, "::"), (List, " "), (Xfcc, "By=spiffe://a;Subject=\"\"")]
        {
            assert_eq!(decode(notation, value, None), Ok(Said::Nothing), "{value}");
            assert_eq!(decode(notation, value, Some(&base)), Err(HeaderError::ChainAlone), "{value}");
        }
        // A hash says which certificate it was, and not what it says.
        for value in [format!("Hash={hash}"), format!("Hash=forged,By=a;hash=\"{}\";Cert=\"\"", hash.to_uppercase())] {
            assert_eq!(decode(Xfcc, &value, None), Ok(Said::Thumbprint(leaf.thumbprint())), "{value}");
        }
        // A client's own quotation marks do not swallow what Envoy appends, nor make its element another's.
        let (own, forged) = (percent(&pem_of(ca), ""), percent(&pem, ""));
        for hearsay in [
            format!("\"Cert={forged};By="),
            format!("\"Cert=\"{forged}\";By=\""),
            format!("Cert=\"{forged}\";By=\""),
            format!("Cert=\"{forged}\";x=\""),
            format!("Cert=\"{forged}\";By=\"\\"),
            format!("Cert={forged}\";By="),
            format!("\"Hash={hash};By="),
        ] {
            for appended in [
                format!("By=spiffe://a;Hash={};Cert=\"{own}\"", ca.thumbprint().to_hex()),
                format!("By=spiffe://a;Cert=\"{own}\";Subject=\"CN=\\\"a\\\"\""),
                format!("Subject=\"\";Cert=\"{own}\""),
            ] {
                let value = format!("{hearsay},{appended}");
                assert!(
                    matches!(decode(Xfcc, &value, None), Err(HeaderError::Xfcc(_))),
                    "{value}: {:?}",
                    decode(Xfcc, &value, None)
                );
                assert!(decode(Xfcc, &format!("{value}\""), None).is_err(), "{value}");
            }
        }
        // Cut off, altered, or too much.
        let refused = [
            (One, format!(":{base}"), HeaderError::Base64),
            (One, format!(":{base}:, :{base}:"), HeaderError::Base64),
            (One, format!("{base},{base}"), HeaderError::Base64),
            (One, base[..100].to_owned(), HeaderError::Certificate(CertificateError::Der)),
            (One, format!("{pem}x"), HeaderError::Pem),
            (One, pem.replace(END, ""), HeaderError::Pem),
            (One, format!("{}%2", percent(&pem, "")), HeaderError::Percent),
            (One, "%zz".into(), HeaderError::Percent),
            (One, format!("-----BEGIN PRIVATE KEY-----{base}-----END PRIVATE KEY-----"), HeaderError::Pem),
            (Xfcc, format!("Cert=\"{}", percent(&pem, "")), HeaderError::Xfcc("a quotation mark is open")),
            (Xfcc, format!("Cert=\"{0}\";Cert=\"{0}\"", percent(&pem, "")), HeaderError::Xfcc("a key twice")),
            (Xfcc, format!("Cert=\"{}\"", percent(&both, "")), HeaderError::Xfcc("Cert is not one certificate")),
            (
                Xfcc,
                format!("Hash={};Cert=\"{}\"", "0".repeat(64), percent(&pem, "")),
                HeaderError::Xfcc("Hash is not the certificate's"),
            ),
            (Xfcc, format!("Hash={}", &hash[..62]), HeaderError::Xfcc("Hash is not SHA-256 in hexadecimal")),
            (Xfcc, format!("Hash={hash};Chain=\"{}\"", percent(&both, "")), HeaderError::ChainAlone),
            (Xfcc, "Cert".into(), HeaderError::Xfcc("a pair without `=`")),
        ];
        for (notation, value, error) in refused {
            assert_eq!(decode(notation, &value, None), Err(error), "{value}");
        }
        // Wherever it is cut, within an escape or not.
        let escaped = percent(&pem, "");
        for length in 1..escaped.len() - 3 {
            assert!(decode(One, &escaped[..length], None).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_decoder_fail(value in "[ -~]{0,200}", chain in proptest::option::of("[ -~]{0,80}")) {
            for notation in [Notation::Certificate, Notation::CommaSeparated, Notation::Xfcc] {
                let _ = decode(notation, &value, chain.as_deref());
            }
        }

        /// One altered character is no certificate, or it is another one, or it does not count; never a failure.
        #[test]
        fn no_altered_character_makes_the_decoder_fail(place in 0usize..900, character in proptest::char::range(' ', '~')) {
            let pem = percent(&pem_of(&made().leaf), "");
            for text in [pem.clone(), format!("Hash=00;Cert=\"{pem}\""), format!(":{}:", STANDARD.encode(made().leaf.der()))] {
                let mut characters: Vec<char> = text.chars().collect();
                if let Some(one) = characters.get_mut(place) {
                    *one = character;
                }
                let altered: String = characters.into_iter().collect();
                for notation in [Notation::Certificate, Notation::CommaSeparated, Notation::Xfcc] {
                    let _ = decode(notation, &altered, None);
                }
            }
        }
    }
}
