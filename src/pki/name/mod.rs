//! Distinguished names, compared by structure and printed as RFC 4514 has them.

mod attribute_type;
#[cfg(feature = "server")]
mod forms;
mod notation;

use std::fmt;
use std::str::FromStr;

use x509_parser::der_parser::asn1_rs::{Any, Class, FromDer, Tag};
use x509_parser::x509::X509Name;

#[cfg(feature = "server")]
pub use attribute_type::AttributeType;
pub use notation::NotationError;

/// The attribute type of a common name (RFC 4519 §2.3).
const COMMON_NAME: &str = "2.5.4.3";

/// A distinguished name (RFC 5280 §4.1.2.4).
///
/// Two names are equal when they have the same relative names in the same order, each a set of attributes; attributes are
/// equal when their types are, and their values as Unicode text, whatever string type carries them. Case matters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DistinguishedName {
    /// In the order of the encoding: the most general first, the reverse of RFC 4514's text. Each sorted.
    relative_names: Vec<Vec<Attribute>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Attribute {
    /// Dotted decimal.
    pub(super) oid: String,
    pub(super) value: AttributeValue,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum AttributeValue {
    Text(String),
    /// The whole encoding of a value that is not text.
    Der(Vec<u8>),
}

/// Why an encoded name cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A string that is not what its type demands.
    #[error("an attribute's value is not the text that its type says it is")]
    Text,
    /// A relative name without an attribute.
    #[error("a relative name is empty")]
    EmptyRelativeName,
    /// A value in an encoding that has no place in a name.
    #[error("an attribute's value has an encoding that is not supported")]
    Encoding,
}

impl DistinguishedName {
    pub(super) fn from_x509(name: &X509Name<'_>) -> Result<Self, NameError> {
        let mut relative_names = Vec::new();
        for relative_name in name.iter_rdn() {
            let mut attributes = Vec::new();
            for attribute in relative_name.iter() {
                let value = AttributeValue::from_any(attribute.attr_value())?;
                attributes.push(Attribute { oid: attribute.attr_type().to_id_string(), value });
            }
            relative_names.push(attributes);
        }
        Self::new(relative_names)
    }

    /// `relative_names` in the order of the encoding.
    pub(super) fn new(mut relative_names: Vec<Vec<Attribute>>) -> Result<Self, NameError> {
        for attributes in &mut relative_names {
            if attributes.is_empty() {
                return Err(NameError::EmptyRelativeName);
            }
            attributes.sort();
        }
        Ok(Self { relative_names })
    }

    /// Reads a name as people write it: RFC 4514, RFC 2253 with quotes and semicolons, OpenSSL's `/C=…/CN=…`, attribute types
    /// as short names in any case or as dotted object identifiers.
    ///
    /// # Errors
    /// What is none of these, or could be read in two ways; and the empty name, which says nothing about anybody.
    pub fn parse(text: &str) -> Result<Self, NotationError> {
        notation::parse(text)
    }

    /// The name that consists of a common name alone.
    pub fn common_name(text: &str) -> Self {
        let attribute = Attribute { oid: COMMON_NAME.to_owned(), value: AttributeValue::Text(text.to_owned()) };
        Self { relative_names: vec![vec![attribute]] }
    }

    /// Whether the name has no part at all.
    pub fn is_empty(&self) -> bool {
        self.relative_names.is_empty()
    }

    /// The same parts in the opposite order: to tell someone who wrote a name backwards, as OpenSSL's comma-separated output
    /// invites, what went wrong.
    pub fn reversed(&self) -> Self {
        Self { relative_names: self.relative_names.iter().rev().cloned().collect() }
    }

    #[cfg(feature = "server")]
    pub(super) fn relative_names(&self) -> &[Vec<Attribute>] {
        &self.relative_names
    }
}

impl FromStr for DistinguishedName {
    type Err = NotationError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl AttributeValue {
    fn from_any(any: &Any<'_>) -> Result<Self, NameError> {
        let bytes: &[u8] = any.data;
        let is_string = any.class() == Class::Universal && !any.header.is_constructed();
        let text = match any.tag() {
            Tag::Utf8String if is_string => Some(std::str::from_utf8(bytes).map_err(|_| NameError::Text)?.to_owned()),
            Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString if is_string => {
                if !bytes.is_ascii() {
                    return Err(NameError::Text);
                }
                Some(bytes.iter().copied().map(char::from).collect())
            }
            // T.61 beyond ASCII has no agreed reading: such a value equals nothing but its own encoding.
            Tag::T61String if is_string && bytes.is_ascii() => Some(bytes.iter().copied().map(char::from).collect()),
            Tag::BmpString if is_string => Some(utf16(bytes)?),
            Tag::UniversalString if is_string => Some(utf32(bytes)?),
            _ => None,
        };
        match text {
            Some(text) => Ok(Self::Text(text)),
            None => encoding(any).map(Self::Der),
        }
    }

    /// A value from its whole encoding, as after `#` in RFC 4514 §2.4.
    fn from_der(bytes: &[u8]) -> Result<Self, NameError> {
        match Any::from_der(bytes) {
            Ok(([], any)) => Self::from_any(&any),
            _ => Err(NameError::Encoding),
        }
    }
}

fn utf16(bytes: &[u8]) -> Result<String, NameError> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(NameError::Text);
    }
    char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit))).collect::<Result<_, _>>().map_err(|_| NameError::Text)
}

fn utf32(bytes: &[u8]) -> Result<String, NameError> {
    let (units, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(NameError::Text);
    }
    units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect::<Option<_>>().ok_or(NameError::Text)
}

/// The value's encoding, put together again from its parts.
fn encoding(any: &Any<'_>) -> Result<Vec<u8>, NameError> {
    let class = match any.class() {
        Class::Universal => 0x00,
        Class::Application => 0x40,
        Class::ContextSpecific => 0x80,
        Class::Private => 0xc0,
    };
    let number = u8::try_from(any.tag().0).ok().filter(|number| *number < 31).ok_or(NameError::Encoding)?;
    let constructed = if any.header.is_constructed() { 0x20 } else { 0 };
    Ok(tag_length_value(class | constructed | number, any.data))
}

fn tag_length_value(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag];
    match u8::try_from(value.len()) {
        Ok(length) if length < 0x80 => encoded.push(length),
        _ => {
            let length = value.len().to_be_bytes();
            let significant: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
            // At most eight bytes of length, so the count fits.
            encoded.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            encoded.extend(significant);
        }
    }
    encoded.extend_from_slice(value);
    encoded
}

/// RFC 4514, the most specific part first.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, attributes) in self.relative_names.iter().rev().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            for (position, attribute) in attributes.iter().enumerate() {
                if position > 0 {
                    f.write_str("+")?;
                }
                fmt::Display::fmt(attribute, f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UTF8_STRING: u8 = 12;
        match (attribute_type::short_name(&self.oid), &self.value) {
            (Some(name), AttributeValue::Text(text)) => {
                write!(f, "{name}=")?;
                write_escaped(f, text)
            }
            (name, AttributeValue::Der(encoded)) => write_hex(f, name.unwrap_or(&self.oid), encoded),
            // RFC 4514 §2.4: where the type is dotted decimal, the value is its encoding.
            (None, AttributeValue::Text(text)) => write_hex(f, &self.oid, &tag_length_value(UTF8_STRING, text.as_bytes())),
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, name: &str, encoded: &[u8]) -> fmt::Result {
    write!(f, "{name}=#")?;
    encoded.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// RFC 4514 §2.4; control characters and marks that turn the direction of writing are escaped too, since names go to terminals.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let last = text.chars().count().saturating_sub(1);
    for (position, character) in text.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => write!(f, "\\{character}")?,
            ' ' if position == 0 || position == last => f.write_str("\\ ")?,
            '#' if position == 0 => f.write_str("\\#")?,
            _ if must_be_hex(character) => {
                let mut buffer = [0u8; 4];
                character.encode_utf8(&mut buffer).bytes().try_for_each(|byte| write!(f, "\\{byte:02x}"))?;
            }
            _ => fmt::Write::write_char(f, character)?,
        }
    }
    Ok(())
}

/// Whether a character is seen by nobody, or changes how others are seen.
pub(crate) fn must_be_hex(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
