//! The connection's certificate in the dialects that upstreams expect.
//!
//! A dialect that has no word for what a certificate is worth carries one only when every anchor set that applies accepts it: anybody
//! can write any name into a certificate. Where no anchor set applies at all, dialects of the bare certificate carry the one that the
//! token is bound to, and nobody's names.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use time::OffsetDateTime;

use super::certificate::Verdict;
use crate::config::settings::CertificateHeaderSetting;
use crate::domain::Timestamp;
use crate::jose::digest::legacy_sha1;
use crate::pki::Certificate;
use crate::tls::PeerCertificate;

/// Header fields to set.
pub type Fields = Vec<(HeaderName, HeaderValue)>;

/// What is known of the connection's certificate when headers are written.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The certificate, where one was shown.
    pub peer: Option<&'a PeerCertificate>,
    /// What it is worth.
    pub verdict: Verdict,
    /// Whether the token is bound to it.
    pub bound: Bound,
}

/// Whether a certificate that no anchor set is asked about is the one that the token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is not, or anchor sets apply.
    No,
    /// It is, within its dates and not revoked.
    Yes,
}

impl<'a> Shown<'a> {
    /// The certificate, where an authority stands for what it says.
    pub fn vouched(&self) -> Option<&'a PeerCertificate> {
        self.peer.filter(|_| self.verdict == Verdict::Success)
    }

    /// The certificate, where it may stand without a word about its worth and without its names.
    pub fn bare(&self) -> Option<&'a PeerCertificate> {
        self.peer.filter(|_| self.verdict == Verdict::Success || self.bound == Bound::Yes)
    }
}

/// The fields that a dialect may set.
pub const fn names(dialect: CertificateHeaderSetting) -> &'static [&'static str] {
    use CertificateHeaderSetting::*;
    match dialect {
        Rfc9440 => &["client-cert"],
        Rfc9440WithChain => &["client-cert", "client-cert-chain"],
        Xfcc => &["x-forwarded-client-cert"],
        Nginx => &[
            "ssl-client-verify",
            "ssl-client-cert",
            "ssl-client-subject-dn",
            "ssl-client-issuer-dn",
            "ssl-client-serial",
            "ssl-client-fingerprint",
        ],
        Traefik => &["x-forwarded-tls-client-cert", "x-forwarded-tls-client-cert-info"],
        Alb => &[
            "x-amzn-mtls-clientcert-serial-number",
            "x-amzn-mtls-clientcert-issuer",
            "x-amzn-mtls-clientcert-subject",
            "x-amzn-mtls-clientcert-validity",
            "x-amzn-mtls-clientcert-leaf",
        ],
        XSslClientCert => &["x-ssl-client-cert"],
    }
}

/// Writes the fields of one dialect.
pub fn write(dialect: CertificateHeaderSetting, shown: &Shown<'_>) -> Fields {
    use CertificateHeaderSetting::*;
    let mut fields = Fields::new();
    let mut put = |name: &'static str, value: String| {
        if let Ok(mut value) = HeaderValue::try_from(value) {
            value.set_sensitive(true);
            fields.push((HeaderName::from_static(name), value));
        }
    };
    if dialect == Nginx {
        put("ssl-client-verify", shown.verdict.text());
        let Some(leaf) = shown.peer.map(PeerCertificate::leaf) else { return fields };
        put("ssl-client-cert", escaped_pem(leaf));
        put("ssl-client-subject-dn", leaf.subject().rfc_2253());
        put("ssl-client-issuer-dn", leaf.issuer().rfc_2253());
        put("ssl-client-serial", leaf.serial_hex().to_uppercase());
        put("ssl-client-fingerprint", sha1_hex(leaf));
        return fields;
    }
    let peer = match dialect {
        Rfc9440 | Rfc9440WithChain | XSslClientCert => shown.bare(),
        Nginx | Xfcc | Traefik | Alb => shown.vouched(),
    };
    let Some(peer) = peer else { return fields };
    let leaf = peer.leaf();
    let der = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    match dialect {
        Rfc9440 => put("client-cert", der(leaf.der())),
        Rfc9440WithChain => {
            put("client-cert", der(leaf.der()));
            // What a client sends beside its certificate is nothing that a token is bound to.
            if shown.verdict == Verdict::Success && !peer.chain().is_empty() {
                put("client-cert-chain", peer.chain().iter().map(|one| der(one)).collect::<Vec<_>>().join(", "));
            }
        }
        Xfcc => put("x-forwarded-client-cert", xfcc(leaf)),
        Traefik => {
            let all = std::iter::once(leaf.der()).chain(peer.chain()).map(|der| STANDARD.encode(der)).collect::<Vec<_>>();
            put("x-forwarded-tls-client-cert", all.join(","));
            let info = format!("Subject=\"{}\";Issuer=\"{}\"", leaf.subject().rfc_2253(), leaf.issuer().rfc_2253());
            put("x-forwarded-tls-client-cert-info", percent_encoded(&info, ""));
        }
        Alb => {
            put("x-amzn-mtls-clientcert-serial-number", leaf.serial_hex().to_uppercase());
            put("x-amzn-mtls-clientcert-issuer", leaf.issuer().rfc_2253());
            put("x-amzn-mtls-clientcert-subject", leaf.subject().rfc_2253());
            if let Some((from, to)) = rfc_3339(leaf.not_before()).zip(rfc_3339(leaf.not_after())) {
                put("x-amzn-mtls-clientcert-validity", format!("NotBefore={from};NotAfter={to}"));
            }
            put("x-amzn-mtls-clientcert-leaf", percent_encoded(&pem(leaf), "+=/"));
        }
        XSslClientCert => put("x-ssl-client-cert", escaped_pem(leaf)),
        Nginx => {}
    }
    fields
}

/// The certificate in PEM, as OpenSSL writes it.
pub fn pem(certificate: &Certificate) -> String {
    let encoded = STANDARD.encode(certificate.der());
    let mut text = String::with_capacity(encoded.len() + 80);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// PEM with everything but unreserved characters encoded (RFC 3986 §2.1), as nginx writes `$ssl_client_escaped_cert`.
pub fn escaped_pem(certificate: &Certificate) -> String {
    percent_encoded(&pem(certificate), "")
}

/// The SHA-1 of the certificate in hexadecimal, as nginx writes `$ssl_client_fingerprint`.
pub fn sha1_hex(certificate: &Certificate) -> String {
    hex(&legacy_sha1(certificate.der()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn percent_encoded(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 8);
    for byte in text.bytes() {
        let is_kept =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || kept.as_bytes().contains(&byte);
        if is_kept {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// One element, since there is one hop: what a client sent is removed.
fn xfcc(leaf: &Certificate) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let plain_or_quoted = |text: &str| if text.contains([',', ';', '=', '"']) { quoted(text) } else { text.to_owned() };
    let mut pairs = vec![
        format!("Hash={}", hex(leaf.thumbprint().as_bytes())),
        format!("Cert={}", quoted(&escaped_pem(leaf))),
        format!("Subject={}", quoted(&leaf.subject().rfc_2253())),
    ];
    pairs.extend(leaf.sans().uri.iter().map(|uri| format!("URI={}", plain_or_quoted(uri))));
    pairs.extend(leaf.sans().dns.iter().map(|dns| format!("DNS={}", plain_or_quoted(dns))));
    pairs.join(";")
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The date with the numbers of its month and day.
fn date(at: Timestamp) -> Option<(OffsetDateTime, u8, u8)> {
    let at = OffsetDateTime::from_unix_timestamp(at.seconds()).ok()?;
    Some((at, at.month().into(), at.day()))
}

fn rfc_3339(at: Timestamp) -> Option<String> {
    let (at, month, day) = date(at)?;
    let (hour, minute, second) = at.to_hms();
    Some(format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", at.year()))
}

/// As OpenSSL prints dates, and nginx `$ssl_client_v_start`: `Sep  2 12:00:00 2026 GMT`.
pub fn openssl_date(at: Timestamp) -> Option<String> {
    let (at, month, day) = date(at)?;
    let (hour, minute, second) = at.to_hms();
    let month = MONTHS.get(usize::from(month).checked_sub(1)?)?;
    Some(format!("{month} {day:2} {hour:02}:{minute:02}:{second:02} {} GMT", at.year()))
}

/// `YYYYMMDDHHmmSS`, as Azion writes dates.
pub fn compact_date(at: Timestamp) -> Option<String> {
    let (at, month, day) = date(at)?;
    let (hour, minute, second) = at.to_hms();
    Some(format!("{:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}", at.year()))
}

#[cfg(test)]
mod tests;
