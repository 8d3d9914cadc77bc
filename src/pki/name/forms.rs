//! The same name in other people's notations. [`DistinguishedName::parse`](super::DistinguishedName::parse) reads every one of them back,
//! but for slash forms that could be read in two ways.

use std::fmt::{self, Write as _};

use super::{
    Attribute, AttributeType, AttributeValue, DistinguishedName, attribute_type, tag_length_value, write_escaped, write_hex,
};

/// The attribute types that RFC 2253 §2.3 has names for.
const RFC_2253: [&str; 9] = ["CN", "L", "ST", "O", "OU", "C", "STREET", "DC", "UID"];
const UTF8_STRING: u8 = 12;

/// Writes one attribute in one notation.
type Writer = fn(&mut String, &Attribute) -> fmt::Result;

impl DistinguishedName {
    /// RFC 2253, the most specific part first: types that it has no name for by number, their values encoded.
    pub fn rfc_2253(&self) -> String {
        self.comma_separated(|out, attribute| match attribute_type::short_name(&attribute.oid) {
            Some(name) if RFC_2253.contains(&name) => write!(out, "{}", attribute.notation(name)),
            _ => write!(out, "{}", Encoded(attribute)),
        })
    }

    /// Every attribute type by number, the most specific part first.
    pub fn by_number(&self) -> String {
        self.comma_separated(|out, attribute| write!(out, "{}", attribute.notation(&attribute.oid)))
    }

    /// As `openssl x509 -nameopt compat` prints it: `/C=…/O=…/CN=…`, the most general part first, with slashes of values escaped.
    pub fn openssl(&self) -> String {
        let mut out = String::new();
        for attributes in &self.relative_names {
            for (position, attribute) in attributes.iter().enumerate() {
                let name = attribute_type::short_name(&attribute.oid).unwrap_or(&attribute.oid);
                let text = attribute.notation(name).to_string();
                out.push(if position == 0 { '/' } else { '+' });
                out.push_str(&text.replace('/', "\\/"));
            }
        }
        out
    }

    /// Every value of this type, in the order of the encoding; nothing when one of them is not text.
    pub fn texts(&self, kind: &AttributeType) -> Option<Vec<&str>> {
        let attributes = self.relative_names.iter().flatten().filter(|attribute| attribute.oid == kind.oid());
        let texts = attributes.map(|attribute| match &attribute.value {
            AttributeValue::Text(text) => Some(text.as_str()),
            AttributeValue::Der(_) => None,
        });
        texts.collect()
    }

    /// The most specific common name, where it is text.
    pub fn last_common_name(&self) -> Option<&str> {
        let attributes = self.relative_names.iter().rev().flatten();
        attributes.filter(|attribute| attribute_type::short_name(&attribute.oid) == Some("CN")).find_map(|attribute| {
            match &attribute.value {
                AttributeValue::Text(text) => Some(text.as_str()),
                AttributeValue::Der(_) => None,
            }
        })
    }

    fn comma_separated(&self, write: Writer) -> String {
        let mut out = String::new();
        for (position, attributes) in self.relative_names.iter().rev().enumerate() {
            for (inner, attribute) in attributes.iter().enumerate() {
                match (position, inner) {
                    (0, 0) => {}
                    (_, 0) => out.push(','),
                    _ => out.push('+'),
                }
                // A `String` takes everything.
                let _ = write(&mut out, attribute);
            }
        }
        out
    }
}

impl Attribute {
    fn notation<'a>(&'a self, name: &'a str) -> Named<'a> {
        Named(name, &self.value)
    }
}

struct Named<'a>(&'a str, &'a AttributeValue);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            AttributeValue::Text(text) => {
                write!(f, "{}=", self.0)?;
                write_escaped(f, text)
            }
            AttributeValue::Der(encoded) => write_hex(f, self.0, encoded),
        }
    }
}

struct Encoded<'a>(&'a Attribute);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.value {
            AttributeValue::Der(encoded) => write_hex(f, &self.0.oid, encoded),
            AttributeValue::Text(text) => write_hex(f, &self.0.oid, &tag_length_value(UTF8_STRING, text.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_notations_of_one_name() {
        let table = [
            (
                "CN=alice,O=Example,C=DE",
                "CN=alice,O=Example,C=DE",
                "/C=DE/O=Example/CN=alice",
                "2.5.4.3=alice,2.5.4.10=Example,2.5.4.6=DE",
            ),
            (
                "emailAddress=a@example,CN=a\\, b",
                "1.2.840.113549.1.9.1=#0c0961406578616d706c65,CN=a\\, b",
                "/CN=a\\, b/emailAddress=a@example",
                "1.2.840.113549.1.9.1=a@example,2.5.4.3=a\\, b",
            ),
            ("OU=y+CN=x/z,O=o", "OU=y+CN=x/z,O=o", "/O=o/OU=y+CN=x\\/z", "2.5.4.11=y+2.5.4.3=x/z,2.5.4.10=o"),
        ];
        for (text, rfc_2253, openssl, by_number) in table {
            let name = DistinguishedName::parse(text).expect(text);
            let sorted = |text: &str| DistinguishedName::parse(text).expect(text);
            for (written, expected) in [(name.rfc_2253(), rfc_2253), (name.openssl(), openssl), (name.by_number(), by_number)] {
                assert_eq!(sorted(&written), name, "{written}");
                assert_eq!(sorted(expected), name, "{expected}");
                assert_eq!(written.len(), expected.len(), "{written} is not {expected}");
            }
        }
    }
}
