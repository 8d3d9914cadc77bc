use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use proptest::prelude::*;

use super::*;
use crate::domain::{DeploymentId, Redacted, Timestamp};
use crate::jose::base64url;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn master(first: u8) -> Redacted<[u8; 32]> {
    Redacted::new(std::array::from_fn(|index| first.wrapping_add(index as u8)))
}

fn ring(keys: &[(&str, u8)]) -> KeyRing {
    KeyRing::from_keys(keys.iter().map(|(id, first)| (id.parse().expect("valid"), master(*first))).collect()).expect("valid")
}

fn masters(keys: &[(&str, u8)]) -> MasterKeys {
    MasterKeys::from_keys(keys.iter().map(|(id, first)| (id.parse().expect("valid"), master(*first))).collect()).expect("valid")
}

fn lasting() -> DataKey {
    DataKey { id: "lasting".parse().expect("valid"), key: master(9) }
}

fn deployment(text: &str) -> DeploymentId {
    text.parse().expect("valid")
}

fn nonce() -> XNonce {
    XNonce::from(std::array::from_fn(|index| 0x40 + index as u8))
}

const BEARER: BearerContext<'static> = BearerContext { purpose: Purpose::AccessToken, issuer: "https://as.example" };
const AUDIENCE: &str = "https://rs.example";
const EXPIRES: Timestamp = Timestamp::from_seconds(1300);

/// draft-irtf-cfrg-xchacha-03 A.3.1: the cipher is the one we mean.
#[test]
fn the_example_of_the_draft() {
    let plaintext =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let sealed = hex(concat!(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452",
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e",
        "c0875924c1c7987947deafd8780acf49",
    ));
    let cipher = XChaCha20Poly1305::new(master(0x80).expose().into());
    let payload = Payload { msg: &sealed, aad: &aad };
    assert_eq!(cipher.decrypt(&nonce(), payload).expect("opens"), plaintext);
}

/// The format, pinned: these values were computed from the description in this room's documentation by another program.
#[test]
fn the_format_is_what_the_documentation_says() {
    let document = include_str!("../../docs/sealing.md");
    let key = DataKey { id: "one".parse().expect("valid"), key: master(0) };
    let lasting = DataKey { id: "lasting".parse().expect("valid"), key: master(0) };
    let ring = KeyRing::new(&key, &[], &lasting);
    let deployment = deployment("deployment");
    let context = RowContext { deployment: &deployment, table: "signing_key", column: "private", row: "key-1" };
    let row = hex(concat!(
        "0101036f6e65",
        "404142434445464748494a4b4c4d4e4f5051525354555657",
        "11e32b4bcd11e35df843597ceb4754f4c6a605d8b65e",
    ));
    assert_eq!(ring.seal_row_with(&context, b"secret", &nonce()), Ok(row.clone()));
    assert_eq!(ring.open_row(&context, &row).expect("opens").as_slice(), b"secret");
    assert!(document.contains(&in_hex(&row)));

    let wrapped = hex(concat!(
        "0104036f6e65",
        "404142434445464748494a4b4c4d4e4f5051525354555657",
        "d2624a12e7ee80af758ad387844b33355afe0b97d8ee",
    ));
    let context = RowContext { deployment: &deployment, table: "seal_key", column: "wrapped_sealed", row: "key-1" };
    assert_eq!(masters(&[("one", 0)]).unwrap(&context, &wrapped).expect("opens").as_slice(), b"secret");
    assert!(document.contains(&in_hex(&wrapped)));

    let bearer = "AQIDb25lAQAAAAAAAAUUNy7fZSYeLNVZR0dtT584gUBBQkNERUZHSElKS0xNTk9QUVJTVFVWV7sYQil6xn_aVn3JCw3uYVZ-b6xzm8k";
    assert_eq!(ring.seal_bearer_with(&BEARER, AUDIENCE, EXPIRES, b"secret", &nonce()).as_deref(), Ok(bearer));
    let opened = ring.open_bearer(&BEARER, bearer).expect("opens");
    assert_eq!((opened.plaintext.as_slice(), opened.expires, opened.key_id.as_str()), (&b"secret"[..], EXPIRES, "one"));
    assert!(ring.audience_matches(&BEARER, &opened, AUDIENCE));
    assert!(!ring.audience_matches(&BEARER, &opened, "https://other.example"));

    let index = hex("f7299d87eb7c8ba082cb1ec3da5b37a80aa312cda8d769e579b0965ddadc260a");
    assert_eq!(ring.blind_index("email", b"a@example").as_slice(), index);
    assert!(document.contains(bearer) && document.contains(&in_hex(&index)));
    assert_ne!(ring.blind_index("emaila", b"@example").as_slice(), index);
    let person = RowContext { deployment: &deployment, table: "account", column: "profile_sealed", row: "alice" };
    let own =
        hex(concat!("0103", "404142434445464748494a4b4c4d4e4f5051525354555657", "a75c6602b5943f3278fa8a2c8a803412601f40825b14",));
    let key = PersonKey::from_bytes(master(0).expose()).expect("32 bytes");
    assert_eq!(key.seal_with(&person, b"secret", &nonce()), Ok(own.clone()));
    assert_eq!(key.open(&person, &own).expect("opens").as_slice(), b"secret");
    assert!(document.contains(&in_hex(&own)));
    // Every kind is described and has a vector, and there is no other: what is documented is what was looked at here.
    let kinds = ["row      01 01", "bearer   01 02", "person   01 03", "named    01 05", "wrapped  01 04"];
    let described: Vec<&str> =
        document.lines().filter(|line| line.get(9..).is_some_and(|rest| rest.starts_with("01 0"))).collect();
    assert_eq!(described.len(), kinds.len(), "{described:?}");
    for (line, kind) in described.iter().zip(kinds) {
        assert!(line.starts_with(kind), "{line}");
    }
    let named = hex(&format!("010505616c696365{}", in_hex(&own)));
    assert_eq!(name_person("alice", &own), Ok(named.clone()));
    assert_eq!(named_person(&named), Some(("alice", own.as_slice())));
    assert_eq!(named_person(&named[..7]), None, "cut short");
    // The last one is looked at where clients' secrets are.
    let of_a_client = "04c0baec6432446ff938551108c3a09597954db68aaae596b5b088eb07962937e7".to_owned();
    let vectors = [in_hex(&row), in_hex(&wrapped), bearer.to_owned(), in_hex(&own), in_hex(&named), in_hex(&index), of_a_client];
    let (_, printed) = document.split_once("## Vectors").expect("a section");
    let printed: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("| | `")?.strip_suffix("` |")).collect();
    assert_eq!(printed, vectors, "every vector of the document, in its order");
    let listed = document.lines().filter(|line| line.starts_with("| 0")).count();
    assert_eq!(listed, Purpose::ALL.len(), "purposes that are listed");
    for purpose in Purpose::ALL {
        let line = format!("| {:02x} | `{}` |", purpose.code(), purpose.label());
        assert!(document.contains(&line), "{line}");
    }
}

#[test]
fn a_row_opens_only_where_it_belongs() {
    let ring = ring(&[("one", 0)]);
    let (here, elsewhere) = (deployment("a"), deployment("b"));
    let context = RowContext { deployment: &here, table: "t", column: "c", row: "r" };
    let sealed = ring.seal_row(&context, b"secret").expect("sealed");
    let others = [
        RowContext { deployment: &elsewhere, ..context },
        RowContext { table: "t2", ..context },
        RowContext { column: "c2", ..context },
        RowContext { row: "r2", ..context },
        RowContext { row: "", ..context },
        // The same letters, divided differently.
        RowContext { table: "tc", column: "", ..context },
        RowContext { table: "", column: "tc", ..context },
        RowContext { column: "cr", row: "", ..context },
        RowContext { table: "c", column: "t", ..context },
    ];
    for other in others {
        assert_eq!(ring.open_row(&other, &sealed), Err(SealError::Broken("one".parse().expect("valid"))), "{other:?}");
    }
    assert_eq!(ring.open_row(&context, &sealed).expect("opens").as_slice(), b"secret");
}

#[test]
fn a_bearer_opens_only_for_its_purpose_and_issuer() {
    let ring = ring(&[("one", 0)]);
    let text = ring.seal_bearer(&BEARER, AUDIENCE, EXPIRES, b"secret").expect("sealed");
    let broken = SealError::Broken("one".parse().expect("valid"));
    let issuer = BearerContext { issuer: "https://as2.example", ..BEARER };
    assert_eq!(ring.open_bearer(&issuer, &text).err(), Some(broken.clone()));
    let purpose = BearerContext { purpose: Purpose::RefreshToken, ..BEARER };
    assert_eq!(ring.open_bearer(&purpose, &text).err(), Some(SealError::Malformed));
    // The purpose's byte rewritten to what is asked for: key and associated data still differ.
    let mut bytes = base64url::decode(&text).expect("base64url");
    bytes[6] = 2;
    assert_eq!(ring.open_bearer(&purpose, &base64url::encode(&bytes)).err(), Some(broken));
}

/// Every purpose against every other: as it is, with its byte rewritten, and as a row of any kind.
#[test]
fn no_purpose_opens_as_another() {
    let ring = ring(&[("one", 0)]);
    let deployment = deployment("https://as.example");
    let place = RowContext { deployment: &deployment, table: "", column: "", row: "" };
    let codes: std::collections::BTreeSet<u8> = Purpose::ALL.iter().map(|purpose| purpose.code()).collect();
    let labels: std::collections::BTreeSet<&str> = Purpose::ALL.iter().map(|purpose| purpose.label()).collect();
    assert_eq!((codes.len(), labels.len()), (Purpose::ALL.len(), Purpose::ALL.len()), "no two share a byte or a key");
    let contexts = Purpose::ALL.map(|purpose| BearerContext { purpose, ..BEARER });
    let row = ring.seal_row(&place, &[7; 100]).expect("sealed");
    let person = PersonKey::from_bytes(master(0).expose()).expect("32 bytes");
    let own = person.seal(&place, &[7; 100]).expect("sealed");
    let mut pairs = 0;
    for sealed_for in &contexts {
        let text = ring.seal_bearer(sealed_for, AUDIENCE, EXPIRES, b"secret").expect("sealed");
        let bytes = base64url::decode(&text).expect("base64url");
        for asked in &contexts {
            let mut rewritten = bytes.clone();
            rewritten[6] = asked.purpose.code();
            let fits = asked.purpose == sealed_for.purpose;
            assert_eq!(ring.open_bearer(asked, &text).is_ok(), fits, "{sealed_for:?} as {asked:?}");
            let opened = ring.open_bearer(asked, &base64url::encode(&rewritten));
            assert_eq!(opened.is_ok(), fits, "{sealed_for:?} rewritten as {asked:?}");
            pairs += 1;
        }
        for kind in 0..=5 {
            let mut as_row = bytes.clone();
            as_row[1] = kind;
            assert!(ring.open_row(&place, &as_row).is_err(), "{sealed_for:?} as a row of kind {kind}");
            assert!(masters(&[("one", 0)]).unwrap(&place, &as_row).is_err(), "{sealed_for:?} as wrapped, kind {kind}");
            assert!(person.open(&place, &as_row).is_err(), "{sealed_for:?} as a person's, kind {kind}");
            for value in [&row, &own] {
                let mut as_bearer = value.clone();
                (as_bearer[1], as_bearer[6]) = (kind, sealed_for.purpose.code());
                assert!(ring.open_bearer(sealed_for, &base64url::encode(&as_bearer)).is_err(), "kind {kind} as {sealed_for:?}");
            }
        }
    }
    assert_eq!(pairs, Purpose::ALL.len() * Purpose::ALL.len());
}

#[test]
fn neither_kind_opens_as_the_other() {
    let ring = ring(&[("one", 0)]);
    let deployment = deployment("https://as.example");
    let context = RowContext { deployment: &deployment, table: "", column: "", row: "" };
    let row = ring.seal_row(&context, &[7u8; 100]).expect("sealed");
    let bearer =
        base64url::decode(ring.seal_bearer(&BEARER, AUDIENCE, EXPIRES, &[7u8; 100]).expect("sealed")).expect("base64url");
    assert_eq!(ring.open_row(&context, &bearer), Err(SealError::Malformed));
    assert_eq!(ring.open_bearer(&BEARER, &base64url::encode(&row)).err(), Some(SealError::Malformed));
    // Not even with the kind's byte rewritten, and with a purpose that fits.
    let (mut as_row, mut as_bearer) = (bearer, row);
    as_row[1] = 1;
    assert!(ring.open_row(&context, &as_row).is_err());
    as_bearer[1] = 2;
    as_bearer[6] = 1;
    assert!(ring.open_bearer(&BEARER, &base64url::encode(&as_bearer)).is_err());
}

#[test]
fn keys_change_and_old_values_still_open() {
    let deployment = deployment("a");
    let context = RowContext { deployment: &deployment, table: "t", column: "c", row: "r" };
    let key = |id: &str, first| DataKey { id: id.parse().expect("valid"), key: master(first) };
    let (one, two) = (key("one", 0), key("two", 50));
    let ring_of_one = KeyRing::new(&one, &[], &lasting());
    let sealed = ring_of_one.seal_row(&context, b"secret").expect("sealed");
    let index = ring_of_one.blind_index("email", b"a");
    assert!(sealed.starts_with(&ring_of_one.row_prefix()));

    let changed = KeyRing::new(&one, &[], &lasting());
    changed.replace(&two, std::slice::from_ref(&one));
    assert_eq!(changed.open_row(&context, &sealed).expect("opens").as_slice(), b"secret");
    let again = changed.seal_row(&context, b"secret").expect("sealed");
    assert!(again.starts_with(&changed.row_prefix()) && !sealed.starts_with(&changed.row_prefix()));
    assert_eq!(row_key_id(&again[..changed.row_prefix().len()]), Some(two.id.clone()));
    assert_eq!(changed.key_ids().iter().map(SealKeyId::as_str).collect::<Vec<_>>(), ["two", "one"]);
    assert_eq!(changed.blind_index("email", b"a"), index, "what was stored before is found");

    // What the lasting key sealed opens as before, and nothing else seals with it.
    let kept = ring_of_one.seal_lasting_row(&context, b"kept").expect("sealed");
    assert_eq!(changed.open_row(&context, &kept).expect("opens").as_slice(), b"kept");
    assert_eq!(row_key_id(&kept), Some(lasting().id));
    assert_eq!(changed.purpose_keys("nonce")[0].expose(), ring_of_one.purpose_keys("nonce")[0].expose());

    changed.replace(&two, &[]);
    assert_eq!(changed.open_row(&context, &sealed), Err(SealError::KeyUnknown(one.id.clone())));
    // Another key under the old name.
    assert_eq!(ring(&[("one", 1)]).open_row(&context, &sealed), Err(SealError::Broken(one.id)));
}

#[test]
fn a_key_knows_how_long_its_bearers_live() {
    let key = |id: &str, first| DataKey { id: id.parse().expect("valid"), key: master(first) };
    let ring = KeyRing::new(&key("one", 0), &[], &lasting());
    assert_eq!(ring.bearers_expire(), []);
    for expires in [1300, 1200] {
        ring.seal_bearer(&BEARER, AUDIENCE, Timestamp::from_seconds(expires), b"secret").expect("sealed");
    }
    assert_eq!(ring.bearers_expire(), [("one".parse().expect("valid"), Timestamp::from_seconds(1300))]);
    ring.replace(&key("two", 1), &[key("one", 0)]);
    assert_eq!(ring.bearers_expire(), [("one".parse().expect("valid"), Timestamp::from_seconds(1300))], "also once it is old");
}

#[test]
fn a_master_key_is_changed_by_naming_both() {
    let deployment = deployment("a");
    let context = RowContext { deployment: &deployment, table: "t", column: "c", row: "r" };
    let wrapped = masters(&[("one", 0)]).wrap(&context, b"secret").expect("wrapped");
    let both = masters(&[("two", 50), ("one", 0)]);
    assert!(both.needs_rewrap(&wrapped) && !masters(&[("one", 0)]).needs_rewrap(&wrapped));
    assert_eq!(both.unwrap(&context, &wrapped).expect("opens").as_slice(), b"secret");
    assert!(!both.needs_rewrap(&both.wrap(&context, b"secret").expect("wrapped")));
    let one: SealKeyId = "one".parse().expect("valid");
    assert_eq!(masters(&[("two", 50)]).unwrap(&context, &wrapped), Err(SealError::KeyUnknown(one.clone())));
    assert_eq!(masters(&[("one", 1)]).unwrap(&context, &wrapped), Err(SealError::Broken(one.clone())));
    let elsewhere = RowContext { row: "r2", ..context };
    assert_eq!(both.unwrap(&elsewhere, &wrapped), Err(SealError::Broken(one.clone())));
    // The same bytes as master key and as ring key, under the same name: neither opens what the other closed.
    let ring = ring(&[("one", 0)]);
    assert_eq!(ring.open_row(&context, &wrapped), Err(SealError::Malformed));
    let mut row = ring.seal_row(&context, b"secret").expect("sealed");
    assert_eq!(both.unwrap(&context, &row), Err(SealError::Malformed));
    row[1] = 4;
    assert_eq!(both.unwrap(&context, &row), Err(SealError::Broken(one)));
}

#[test]
fn master_keys_are_distinct() {
    let key = |id: &str| (id.parse().expect("valid"), master(0));
    assert!(matches!(MasterKeys::from_keys(Vec::new()), Err(MasterKeysError::Empty)));
    assert!(matches!(MasterKeys::from_keys(vec![key("a"), key("a")]), Err(MasterKeysError::DuplicateName(_))));
    for name in ["", "A", "a_b", "a b", "ä", &"a".repeat(33)] {
        assert_eq!(name.parse::<SealKeyId>(), Err(SealKeyIdError), "{name:?}");
    }
    let random = SealKeyId::random(&crate::jose::random::SystemRandomness).expect("random");
    assert_eq!((random.as_str().len(), random.as_str().parse()), (SealKeyId::RANDOM_LENGTH, Ok(random.clone())));
}

#[test]
fn nothing_secret_is_printed() {
    let ring = ring(&[("one", 0)]);
    let opened = ring.open_bearer(&BEARER, &ring.seal_bearer(&BEARER, AUDIENCE, EXPIRES, b"secret").expect("sealed"));
    let printed = format!("{ring:?} {opened:?} {:?}", master(0));
    assert!(!printed.contains("secret") && !printed.contains("115, 101") && !printed.contains("0, 1, 2"), "{printed}");
}

#[test]
fn each_object_has_a_nonce_of_its_own() {
    let ring = ring(&[("one", 0)]);
    let seal = || ring.seal_bearer(&BEARER, AUDIENCE, EXPIRES, b"secret").expect("sealed");
    assert_ne!(seal(), seal());
}

proptest! {
    #[test]
    fn a_row_with_any_bit_changed_does_not_open(plaintext in proptest::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let ring = ring(&[("one", 0), ("two", 9)]);
        let deployment = deployment("a");
        let context = RowContext { deployment: &deployment, table: "t", column: "c", row: "r" };
        let mut sealed = ring.seal_row(&context, &plaintext).expect("sealed");
        let opened = ring.open_row(&context, &sealed).expect("opens");
        prop_assert_eq!(opened.as_slice(), &plaintext[..]);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(ring.open_row(&context, &sealed).is_err());
    }

    #[test]
    fn a_bearer_with_any_bit_changed_does_not_open(plaintext in proptest::collection::vec(any::<u8>(), 0..40), expires in any::<i64>(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let ring = ring(&[("one", 0), ("two", 9)]);
        let text = ring.seal_bearer(&BEARER, AUDIENCE, Timestamp::from_seconds(expires), &plaintext).expect("sealed");
        let opened = ring.open_bearer(&BEARER, &text).expect("opens");
        prop_assert_eq!((opened.plaintext.as_slice(), opened.expires.seconds()), (&plaintext[..], expires));
        let mut bytes = base64url::decode(&text).expect("base64url");
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(ring.open_bearer(&BEARER, &base64url::encode(&bytes)).is_err());
    }

    #[test]
    fn a_value_cut_short_or_lengthened_does_not_open(plaintext in proptest::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>()) {
        let ring = ring(&[("one", 0)]);
        let deployment = deployment("a");
        let context = RowContext { deployment: &deployment, table: "t", column: "c", row: "r" };
        let mut sealed = ring.seal_row(&context, &plaintext).expect("sealed");
        prop_assert!(ring.open_row(&context, &sealed[..at.index(sealed.len())]).is_err());
        sealed.push(0);
        prop_assert!(ring.open_row(&context, &sealed).is_err());
    }

    #[test]
    fn opening_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), text in "[A-Za-z0-9_=-]{0,120}") {
        let ring = ring(&[("one", 0)]);
        let deployment = deployment("a");
        let context = RowContext { deployment: &deployment, table: "t", column: "c", row: "r" };
        prop_assert!(ring.open_row(&context, &bytes).is_err());
        prop_assert!(ring.open_bearer(&BEARER, &text).is_err());
        let mut bytes = bytes;
        bytes.splice(0..0, [1, 2, 3, b'o', b'n', b'e']);
        prop_assert!(ring.open_bearer(&BEARER, &base64url::encode(&bytes)).is_err());
    }
}
