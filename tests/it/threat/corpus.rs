//! Readers of what strangers write, tried out with inputs that are nearly right: those of tests/corpus, cut off at every byte, and altered at
//! random for a while. `SYMBOLON_TEST_MUTATION_SECONDS=600` makes it ten minutes for each reader.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use symbolon::pki::crl::CertificateRevocationList;
use symbolon::pki::proxy_header::{Notation, Said, decode};
use symbolon::pki::{Certificate, DistinguishedName, pem};
use symbolon::wire::proxy_protocol::{FIXED_BYTES, Fixed, Origin, REST_BYTES};

/// The first byte chooses the notation; the field stands before the first line break, and what follows it is the field with the chain.
/// Whatever is read as a certificate is read as the same one from its own bytes in the plainest notation.
fn proxy_header(data: &[u8]) {
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
fn name(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(name) = DistinguishedName::parse(text)
    {
        assert_eq!(DistinguishedName::parse(&name.to_string()).as_ref(), Ok(&name), "{name}");
    }
    let _ = Certificate::from_der(data.to_vec().into());
}

/// No bytes end the reader: not that of the envelope, whose signature comes first, nor that of the entries behind it. What nobody signed
/// is never a list.
fn revocation_list(data: &[u8]) {
    assert!(CertificateRevocationList::verified(data, std::iter::empty()).is_err());
    let _ = CertificateRevocationList::danger_unverified_length(data);
    let _ = pem::revocation_lists(data);
}

/// No bytes end the reader, it never asks for more than its limit, and a client is told of in headers alone that are long enough.
fn proxy_protocol(data: &[u8]) {
    let Some((fixed, rest)) = data.split_first_chunk::<FIXED_BYTES>() else { return };
    let Ok(fixed) = Fixed::parse(fixed) else { return };
    assert!(fixed.rest() <= REST_BYTES);
    if let Ok(Origin::Client(_)) = fixed.origin(rest) {
        assert!(rest.len() >= 12 && rest.len() == fixed.rest());
    }
}

const READERS: [(&str, fn(&[u8])); 4] =
    [("name", name), ("proxy_header", proxy_header), ("revocation_list", revocation_list), ("proxy_protocol", proxy_protocol)];

fn corpus(reader: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/corpus/{reader}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(&folder).expect("a corpus").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    assert!(paths.len() > 5, "{folder} has {}", paths.len());
    paths.iter().map(|path| std::fs::read(path).expect("an input")).collect()
}

/// Tells of the input that the property does not hold for, to be kept in the corpus.
fn hold(reader: &str, holds: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| holds(input))).is_err() {
        panic!("{reader}: add this to tests/corpus/{reader}: {}", STANDARD.encode(input));
    }
}

#[test]
fn every_input_keeps_its_property_whole_and_cut_off() {
    for (reader, holds) in READERS {
        for input in corpus(reader) {
            (0..=input.len().min(1_024)).chain([input.len()]).for_each(|length| hold(reader, holds, &input[..length]));
        }
    }
}

/// Xorshift: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("below")
    }
}

/// Bytes that mean something to one of the readers.
const WORDS: &[&[u8]] = &[
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"%",
    b"%2B",
    b"+",
    b"/",
    b"#",
    b"\n",
    b"\0",
    b"Cert=",
    b"Hash=",
    b"Chain=",
    b"CN=",
    b"2.5.4.3=",
    b"-----BEGIN CERTIFICATE-----",
    b"-----END CERTIFICATE-----",
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x01\x01",
    b"\x17\x0d",
    b"\xa0\x00",
    b"\x30\x00",
    b"\xff\xff",
    b"\x21\x11",
];

fn altered(numbers: &mut Numbers, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[numbers.below(inputs.len())].clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        let end = (at + numbers.below(24)).min(bytes.len());
        match numbers.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => drop(bytes.splice(at..at, WORDS[numbers.below(WORDS.len())].iter().copied())),
            5 => drop(bytes.splice(at..end, WORDS[numbers.below(WORDS.len())].iter().copied())),
            _ => {
                let other = &inputs[numbers.below(inputs.len())];
                let from = numbers.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn nothing_that_is_nearly_right_ends_a_reader() {
    let seconds = std::env::var("SYMBOLON_TEST_MUTATION_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = seconds.map_or(Duration::from_millis(500), Duration::from_secs);
    for (reader, holds) in READERS {
        let (inputs, mut numbers, started) = (corpus(reader), Numbers(0x9e37_79b9_7f4a_7c15), Instant::now());
        let mut tried = 0u64;
        while started.elapsed() < time {
            hold(reader, holds, &altered(&mut numbers, &inputs));
            tried += 1;
        }
        println!("{reader}: {tried} inputs");
        assert!(tried > 100, "{reader}: {tried}");
    }
}
