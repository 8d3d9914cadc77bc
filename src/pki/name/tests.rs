use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> DistinguishedName {
    DistinguishedName::parse(text).expect(text)
}

#[test]
fn reads_what_people_write_and_prints_rfc_4514() {
    let table = [
        // RFC 4514 §4.
        ("UID=jsmith,DC=example,DC=net", "UID=jsmith,DC=example,DC=net"),
        ("OU=Sales+CN=J.  Smith,DC=example,DC=net", "OU=Sales+CN=J.  Smith,DC=example,DC=net"),
        ("CN=James \\\"Jim\\\" Smith\\, III,DC=example,DC=net", "CN=James \\\"Jim\\\" Smith\\, III,DC=example,DC=net"),
        ("CN=Before\\0dAfter,DC=example,DC=net", "CN=Before\\0dAfter,DC=example,DC=net"),
        ("1.3.6.1.4.1.1466.0=#04024869", "1.3.6.1.4.1.1466.0=#04024869"),
        ("CN=Lu\\C4\\8Di\\C4\\87", "CN=Lučić"),
        // RFC 2253 §4 and §5.
        ("CN=L. Eagle,O=\"Sue, Grabbit and Runn\",C=GB", "CN=L. Eagle,O=Sue\\, Grabbit and Runn,C=GB"),
        ("CN=L. Eagle ; O=Isode Limited ; C=GB", "CN=L. Eagle,O=Isode Limited,C=GB"),
        ("OID.2.5.4.3=a", "CN=a"),
        // By number, and by encoding: UTF8String and IA5String.
        ("2.5.4.3=a", "CN=a"),
        ("2.5.4.3=#0c0161", "CN=a"),
        ("CN=#160161", "CN=a"),
        ("2.5.4.97=#0c03414243,C=BR", "organizationIdentifier=ABC,C=BR"),
        ("1.2.3.4=text", "1.2.3.4=#0c0474657874"),
        // OpenSSL's slash form runs the other way.
        ("/C=DE/O=Example/CN=a", "CN=a,O=Example,C=DE"),
        ("/O=a\\/b/CN=x+OU=y", "OU=y+CN=x,O=a/b"),
        // Spaces, case, other programs' short names.
        ("CN = a, O = Example", "CN=a,O=Example"),
        (" cn=a,o=Example", "CN=a,O=Example"),
        ("EMAIL=a@example,S=Bayern,E=b@example", "emailAddress=a@example,ST=Bayern,emailAddress=b@example"),
        // The edges of escaping.
        ("CN=", "CN="),
        ("CN=\\ a\\ ", "CN=\\ a\\ "),
        ("CN=\\ ", "CN=\\ "),
        ("CN=\\#a", "CN=\\#a"),
        ("CN=a#b=c", "CN=a#b=c"),
        ("CN= a  b ", "CN=a  b"),
        ("CN=a\\00b", "CN=a\\00b"),
        ("CN=\u{202e}a", "CN=\\e2\\80\\aea"),
    ];
    for (text, expected) in table {
        assert_eq!(parse(text).to_string(), expected, "{text}");
    }
}

#[test]
fn refuses_what_could_be_read_in_two_ways() {
    use NotationError as E;
    let table = [
        ("", E::Empty),
        ("   ", E::Empty),
        ("alice", E::NoEquals("alice".into())),
        ("CN=a,", E::NoEquals(String::new())),
        ("CN=a,,O=b", E::NoEquals(String::new())),
        ("CN=a,b", E::NoEquals("b".into())),
        ("XX=a", E::UnknownType("XX".into())),
        ("1.=a", E::UnknownType("1.".into())),
        ("9.2=a", E::UnknownType("9.2".into())),
        ("2.05.4=a", E::UnknownType("2.05.4".into())),
        ("subject=C = DE, CN = a", E::UnknownType("subject".into())),
        ("CN=a\\", E::Escape),
        ("CN=a\\zz", E::Escape),
        ("CN=a\\0", E::Escape),
        ("CN=a<b", E::Unescaped('<')),
        ("CN=a\"b", E::Unescaped('"')),
        ("CN=\"a", E::Quotes),
        ("CN=\"a\"b", E::Quotes),
        ("CN=#0c", E::Hexadecimal),
        ("CN=#0c016", E::Hexadecimal),
        ("CN=#0c0161ff", E::Hexadecimal),
        ("CN=#zz", E::Hexadecimal),
        ("CN=\\ff", E::Utf8),
        ("CN=a\nb", E::Control),
        ("/CN=a/b", E::Slash("b".into())),
        ("/CN=a\\x41", E::Escape),
        ("/", E::Slash(String::new())),
    ];
    for (text, expected) in table {
        assert_eq!(DistinguishedName::parse(text), Err(expected), "{text}");
    }
    assert_eq!(DistinguishedName::parse(&"CN=a,".repeat(2_000)), Err(E::TooLong));
    let unnamed = |length: usize| format!("/1.2.3.4={}", "a".repeat(length));
    assert!(DistinguishedName::parse(&unnamed(4_000)).is_ok());
    assert_eq!(DistinguishedName::parse(&unnamed(5_000)), Err(E::TooLong), "it could not be read again");
}

#[test]
fn equality_is_of_structure_and_text() {
    let equal = [
        ("CN=a+OU=b,O=c", "OU=b+CN=a,O=c"),
        ("CN=#0c0161", "CN=#130161"),
        ("CN=#1e020061", "CN=a"),
        ("CN=#1c0400000061", "CN=a"),
        ("CN=#140161", "CN=a"),
    ];
    for (left, right) in equal {
        assert_eq!(parse(left), parse(right), "{left} {right}");
    }
    let different = [
        ("CN=a,O=b", "O=b,CN=a"),
        ("CN=a", "CN=A"),
        ("CN=a", "OU=a"),
        ("CN=a", "CN=a,O=b"),
        ("CN=a+OU=b", "CN=a,OU=b"),
        // One value that looks like two parts.
        ("CN=a\\,O=b", "CN=a,O=b"),
        // Composed and decomposed: text is compared as it is.
        ("CN=\u{e9}", "CN=e\u{301}"),
        // Beyond ASCII, T.61 has no agreed reading.
        ("CN=#1401e9", "CN=\u{e9}"),
    ];
    for (left, right) in different {
        assert_ne!(parse(left), parse(right), "{left} {right}");
    }
    assert_eq!(parse("CN=a,O=b").reversed(), parse("O=b,CN=a"));
}

#[test]
fn a_string_that_is_not_what_it_says_is_refused() {
    let table: [(&str, NameError); 5] = [
        ("0c01ff", NameError::Text),
        ("1301e9", NameError::Text),
        ("1e0161", NameError::Text),
        ("1e02d800", NameError::Text),
        ("1c0400110000", NameError::Text),
    ];
    for (hex, expected) in table {
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
        assert_eq!(AttributeValue::from_der(&bytes).err(), Some(expected), "{hex}");
    }
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let oid = prop_oneof![Just("2.5.4.3"), Just("2.5.4.10"), Just("1.2.840.113549.1.9.1"), Just("1.2.3.99999")];
    (oid, any::<String>()).prop_map(|(oid, text)| Attribute { oid: oid.to_owned(), value: AttributeValue::Text(text) })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(names in prop::collection::vec(prop::collection::vec(attribute(), 1..3), 1..4)) {
        let name = DistinguishedName::new(names).expect("no empty part");
        prop_assert_eq!(DistinguishedName::parse(&name.to_string()), Ok(name));
    }

    #[test]
    fn no_text_makes_the_reader_fail(text in "\\PC*") {
        if let Ok(name) = DistinguishedName::parse(&text) {
            prop_assert_eq!(DistinguishedName::parse(&name.to_string()), Ok(name));
        }
    }

    #[test]
    fn no_near_miss_makes_the_reader_fail(text in "[/]?((CN|O|1\\.2|x)?[=+,;/\\\\\"# a0f]){0,12}") {
        if let Ok(name) = DistinguishedName::parse(&text) {
            prop_assert_eq!(DistinguishedName::parse(&name.to_string()), Ok(name));
        }
    }
}
