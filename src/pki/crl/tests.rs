use super::*;
use crate::domain::Lifetime;
use crate::pki::fixture::{Authority, NOW, der, extension};

const DELTA: &[u8] = &[0x55, 0x1d, 0x1b];
const POINT: &[u8] = &[0x55, 0x1d, 0x1c];
const ENTRY_ISSUER: &[u8] = &[0x55, 0x1d, 0x1d];
const NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
const SHA1_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05];

fn read(list: &[u8], authorities: &[&Authority]) -> Result<(CertificateRevocationList, Thumbprint), CrlError> {
    CertificateRevocationList::verified(list, authorities.iter().map(|authority| &authority.certificate))
}

/// `IssuingDistributionPoint` with one member of this tag and value.
fn point(tag: u8, value: &[u8]) -> Vec<u8> {
    extension(POINT, true, &der(0x30, [&der(tag, [value])[..]]))
}

fn point_of_uris(uris: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = uris.iter().flat_map(|uri| der(0x86, [uri.as_bytes()])).collect();
    point(0xa0, &der(0xa0, [&names[..]]))
}

#[test]
fn a_list_says_who_is_revoked() {
    let ca = Authority::new("CA");
    let (alice, bob, carol) = (ca.client("alice"), ca.client("bob"), ca.client("carol"));
    let list = ca.revocation_list(|list| {
        list.revoke(&bob.certificate, Some(1));
        list.revoke(&alice.certificate, None);
        list.revoked.push((vec![0x00, 0x80], Some(6), vec![]));
        list.extensions.push(extension(NUMBER, false, &der(0x02, [&[7][..]])));
    });
    let (list, signer) = read(&list, &[&ca]).expect("a list");
    assert_eq!((signer, list.len(), list.number()), (ca.certificate.spki_sha256(), 3, Some("7")));
    assert_eq!(*list.issuer(), *ca.certificate.subject());
    let reason = |serial: Option<Serial>| list.find(serial.expect("short")).map(|revoked| revoked.reason().name());
    assert_eq!(reason(alice.certificate.serial()), Some("unspecified"));
    assert_eq!(reason(bob.certificate.serial()), Some("keyCompromise"));
    assert_eq!(reason(carol.certificate.serial()), None);
    assert_eq!(reason(Serial::from_der_octets(&[0x80])), Some("certificateHold"), "a sign octet is no part of the number");
    let seconds = Lifetime::from_seconds;
    let table = [
        (NOW.minus(seconds(101)), false),
        (NOW.minus(seconds(100)), true),
        (NOW.plus(seconds(1_000)), true),
        (NOW.plus(seconds(1_001)), false),
    ];
    for (moment, is_current) in table {
        assert_eq!(list.is_current(moment), is_current, "{moment}");
    }
    let (empty, _) = read(&ca.revocation_list(|_| {}), &[&ca]).expect("a list");
    assert!(empty.is_empty());
}

/// An entry takes less than 40 bytes.
#[test]
fn entries_are_small() {
    assert!(size_of::<Revoked>() <= 32, "{}", size_of::<Revoked>());
}

#[test]
fn serial_numbers_of_twenty_octets_at_most() {
    let serial = |octets: &[u8]| Serial::from_der_octets(octets).map(|serial| serial.to_string());
    assert_eq!(serial(&[]).as_deref(), Some("0"));
    assert_eq!(serial(&[0x0a, 0xbc]).as_deref(), Some("abc"));
    assert_eq!(serial(&[0xff; 20]), Some("ff".repeat(20)));
    assert_eq!(serial(&[&[0][..], &[0xff; 20]].concat()), Some("ff".repeat(20)));
    assert_eq!(serial(&[0xff; 21]), None);
}

/// Every list that cannot be taken at its word is refused, and says why.
#[test]
fn lists_that_are_refused() {
    let ca = Authority::new("CA");
    let all = |_: &mut _| {};
    let made = |change: &dyn Fn(&mut crate::pki::fixture::ListParams)| ca.revocation_list(change);
    let good = made(&all);
    read(&good, &[&ca]).expect("the same list with nothing wrong");
    let with = |extension: Vec<u8>| made(&|list| list.extensions.push(extension.clone()));
    let entry_with = |extension: Vec<u8>| made(&|list| list.revoked.push((vec![5], None, vec![extension.clone()])));
    // Entries that are no entries: one parser takes these for no entries at all.
    let broken = |authority: &Authority| {
        authority.revocation_list(|list: &mut crate::pki::fixture::ListParams| {
            list.serial_tag = 0x05;
            list.revoked.push((vec![5], None, vec![]));
        })
    };
    let mut flipped = good.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    let number = der(0x02, [&[1][..]]);
    let table: Vec<(&str, Vec<u8>, CrlError)> = vec![
        ("no DER", b"garbage".to_vec(), CrlError::Der),
        ("cut", good[..good.len() - 1].to_vec(), CrlError::Der),
        ("a certificate", ca.certificate.der().to_vec(), CrlError::Der),
        ("trailing", [&good[..], b"x"].concat(), CrlError::TrailingBytes(1)),
        ("entries", broken(&ca), CrlError::Der),
        // Nobody here signed this: what is wrong with its entries is not even looked at.
        ("another's entries", broken(&Authority::new("CA")), CrlError::Signature("CN=CA".into())),
        ("signature", flipped, CrlError::Signature("CN=CA".into())),
        ("no end", made(&|list| list.next_update = None), CrlError::NextUpdateAbsent),
        ("delta", with(extension(DELTA, true, &number)), CrlError::Delta),
        ("delta, not critical", with(extension(DELTA, false, &number)), CrlError::Delta),
        ("indirect", with(point(0x84, &[0xff])), CrlError::Indirect),
        ("another's entry", entry_with(extension(ENTRY_ISSUER, true, &der(0x30, []))), CrlError::Indirect),
        ("reasons", with(point(0x83, &[0x06, 0x40])), CrlError::SomeReasons),
        ("attributes", with(point(0x85, &[0xff])), CrlError::AttributeCertificates),
        ("a point by name", with(point(0xa0, &der(0xa1, []))), CrlError::DistributionPoint),
        ("a point of no URI", with(point(0xa0, &der(0xa0, [&der(0x82, [&b"ca.example"[..]])[..]]))), CrlError::DistributionPoint),
        ("an unknown member", with(point(0x86, &[0xff])), CrlError::Extension("2.5.29.28".into())),
        ("critical", with(extension(&[0x2a, 0x03], true, &number)), CrlError::CriticalExtension("1.2.3".into())),
        (
            "critical in an entry",
            entry_with(extension(&[0x2a, 0x03], true, &number)),
            CrlError::CriticalExtension("1.2.3".into()),
        ),
        (
            "SHA-1",
            made(&|list| list.algorithm = SHA1_WITH_RSA.into()),
            CrlError::SignatureAlgorithm("1.2.840.113549.1.1.5".into()),
        ),
        (
            "two algorithms",
            made(&|list| list.outer_algorithm = Some(SHA1_WITH_RSA.into())),
            CrlError::SignatureAlgorithm("1.2.840.113549.1.1.5".into()),
        ),
        ("long serial", made(&|list| list.revoked.push((vec![0x7f; 21], None, vec![]))), CrlError::Serial),
    ];
    for (what, list, expected) in table {
        assert_eq!(read(&list, &[&ca]).map(|_| ()), Err(expected), "{what}");
    }
    read(&with(extension(&[0x2a, 0x03], false, &number)), &[&ca]).expect("an unknown extension that is not critical");
}

#[test]
fn only_an_authoritys_own_key_signs_its_list() {
    let (ca, twin, other) = (Authority::new("CA"), Authority::new("CA"), Authority::new("Other"));
    let list = ca.revocation_list(|_| {});
    assert_eq!(read(&list, &[&twin]).map(|_| ()), Err(CrlError::Signature("CN=CA".into())));
    assert_eq!(read(&list, &[&other]).map(|_| ()), Err(CrlError::UnknownIssuer("CN=CA".into())));
    // Both accepted: the list is its own authority's, in whichever order they stand.
    for authorities in [[&twin, &ca], [&ca, &twin]] {
        assert_eq!(read(&list, &authorities).expect("a list").1, ca.certificate.spki_sha256());
    }
    let mute = Authority::with("Mute", |params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]);
    let refused = read(&mute.revocation_list(|_| {}), &[&mute]).map(|_| ());
    assert_eq!(refused, Err(CrlError::KeyUsage("CN=Mute".into())));
}

#[test]
fn what_a_list_speaks_of() {
    let ca = Authority::new("CA");
    let scope = |extension: Vec<u8>| {
        read(&ca.revocation_list(|list| list.extensions.push(extension)), &[&ca]).expect("a list").0.scope().clone()
    };
    let (a, b) = ("http://ca.example/a.crl".to_owned(), "http://ca.example/b.crl".to_owned());
    let users = scope(point(0x81, &[0xff]));
    assert!(users.covers(false, &[]) && !users.covers(true, &[]));
    let authorities = scope(point(0x82, &[0xff]));
    assert!(!authorities.covers(false, &[]) && authorities.covers(true, &[]));
    let part = scope(point_of_uris(&[&a]));
    assert_eq!(part.points, std::slice::from_ref(&a));
    assert!(part.covers(false, std::slice::from_ref(&a)) && part.covers(false, &[b.clone(), a.clone()]));
    assert!(!part.covers(false, std::slice::from_ref(&b)) && !part.covers(false, &[]), "another part of the certificates");
    assert!(CrlScope::default().covers(true, &[]) && CrlScope::default().covers(false, &[b]));
}

#[test]
fn numbers_are_read_as_people_copy_them() {
    let same = ["1a2b", "1A:2B", "0x1a2b", "00:1a:2b", " 1a 2b ", "01a2b"];
    for text in same {
        assert_eq!(Serial::from_hex(text).map(|serial| serial.to_string()).as_deref(), Some("1a2b"), "{text}");
    }
    assert_eq!(Serial::from_hex("0").map(|serial| serial.to_string()).as_deref(), Some("0"));
    for text in ["", "0x", "1g", "-1", &"f".repeat(41)] {
        assert_eq!(Serial::from_hex(text), None, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = CertificateRevocationList::verified(&bytes, std::iter::empty());
        let _ = crate::pki::pem::revocation_lists(&bytes);
    }

    /// Whatever byte of a list is altered, it is another list that nobody has signed, or none.
    #[test]
    fn no_altered_byte_passes(position in 0usize..500, value in 0u8..=255) {
        static EXAMPLE: std::sync::OnceLock<(Certificate, Vec<u8>)> = std::sync::OnceLock::new();
        let (ca, good) = EXAMPLE.get_or_init(|| {
            let ca = Authority::new("CA");
            let list = ca.revocation_list(|list| list.revoke(&ca.certificate, Some(1)));
            (ca.certificate, list)
        });
        let mut list = good.clone();
        if let Some(byte) = list.get_mut(position) {
            *byte = value;
        }
        let read = CertificateRevocationList::verified(&list, [ca].into_iter());
        proptest::prop_assert_eq!(read.is_ok(), list == *good);
    }
}

/// What stands around the part that is signed has one spelling too: each of its octets, by every other.
#[test]
fn no_altered_byte_around_what_is_signed_passes() {
    let ca = Authority::new("CA");
    let good = ca.revocation_list(|list| list.revoke(&ca.certificate, Some(1)));
    let verified = |list: &[u8]| CertificateRevocationList::verified(list, [&ca.certificate].into_iter()).is_ok();
    assert!(verified(&good));
    let (_, tbs) = Any::from_der(Any::from_der(&good).expect("DER").1.data).expect("DER");
    let header = tbs.data.as_ptr().addr() - good.as_ptr().addr();
    for position in (0..header).chain(header + tbs.data.len()..good.len()) {
        for value in (0..=255u8).filter(|value| *value != good[position]) {
            let mut list = good.clone();
            list[position] = value;
            assert!(!verified(&list), "octet {position} is {value:#04x}");
        }
    }
}
