//! What must hold for any bytes that a reader is given. The fuzz targets (`fuzz/`) hold the readers to the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use symbolon::pki::crl::CertificateRevocationList;
use symbolon::pki::proxy_header::{Notation, Said, decode};
use symbolon::pki::{Certificate, DistinguishedName, pem};
use symbolon::wire::proxy_protocol::{FIXED_BYTES, Fixed, Origin, REST_BYTES};

/// The first byte chooses the notation; the field stands before the first line break, and what follows it is the field with the chain.
/// Whatever is read as a certificate is read as the same one from its own bytes in the plainest notation.
pub fn proxy_header(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (value, chain) = match text.split_once('\n') {
        Some((value, chain)) => (value, Some(chain)),
        None => (text, None),
    };
    let notation = match choice % 3 {
        0 => Notation::Certificate,
        1 => Notation::CommaSeparated,
        _ => Notation::Xfcc,
    };
    if let Ok(Said::Certificate(said)) = decode(notation, value, chain) {
        let plain = format!(":{}:", STANDARD.encode(said.leaf.der()));
        match decode(Notation::Certificate, &plain, None) {
            Ok(Said::Certificate(again)) => assert_eq!(again.leaf, said.leaf),
            other => panic!("{other:?}"),
        }
    }
}

/// Every name that can be read is read as the same one from the way it is written; and no bytes end the reader of certificates.
pub fn name(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(name) = DistinguishedName::parse(text)
    {
        assert_eq!(DistinguishedName::parse(&name.to_string()).as_ref(), Ok(&name), "{name}");
    }
    let _ = Certificate::from_der(data.to_vec().into());
}

/// No bytes end the reader: not that of the envelope, whose signature comes first, nor that of the entries behind it. What nobody signed
/// is never a list.
pub fn revocation_list(data: &[u8]) {
    assert!(CertificateRevocationList::verified(data, std::iter::empty()).is_err());
    let _ = CertificateRevocationList::danger_unverified_length(data);
    let _ = pem::revocation_lists(data);
}

/// No bytes end the reader, it never asks for more than its limit, and a client is told of in headers alone that are long enough.
pub fn proxy_protocol(data: &[u8]) {
    let Some((fixed, rest)) = data.split_first_chunk::<FIXED_BYTES>() else { return };
    let Ok(fixed) = Fixed::parse(fixed) else { return };
    assert!(fixed.rest() <= REST_BYTES);
    if let Ok(Origin::Client(_)) = fixed.origin(rest) {
        assert!(rest.len() >= 12 && rest.len() == fixed.rest());
    }
}
