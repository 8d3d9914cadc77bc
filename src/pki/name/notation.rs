//! Names as people write them.

use super::{Attribute, AttributeValue, DistinguishedName, attribute_type};

/// Longest text that is read as a name, in bytes.
const LIMIT_BYTES: usize = 8_192;

/// Why a text is not a distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    /// Nothing, or only spaces.
    #[error("the name is empty")]
    Empty,
    /// Longer than 8192 bytes, as it is written or as it would be printed.
    #[error("the name is longer than {LIMIT_BYTES} bytes")]
    TooLong,
    /// A part without `=`.
    #[error("`{0}` has no `=`: a name is written as `CN=…,O=…` (RFC 4514)")]
    NoEquals(String),
    /// A type that is neither a known short name nor an object identifier.
    #[error("`{0}` is not a known attribute type: write its object identifier, such as `2.5.4.3`")]
    UnknownType(String),
    /// A backslash before something that it cannot escape.
    #[error("a backslash must be followed by a special character or two hexadecimal digits")]
    Escape,
    /// A character that must be escaped.
    #[error("`{0}` must be escaped with a backslash (RFC 4514 §2.4)")]
    Unescaped(char),
    /// A quotation mark without its pair, or text after the closing one.
    #[error("a quoted value must end with a quotation mark and nothing after it")]
    Quotes,
    /// After `#`, no encoding of a value in hexadecimal.
    #[error("after `#` comes the DER encoding of the value in hexadecimal")]
    Hexadecimal,
    /// Escaped bytes that are not UTF-8.
    #[error("the escaped bytes are not UTF-8")]
    Utf8,
    /// A control character.
    #[error("a control character must be escaped with a backslash and two hexadecimal digits")]
    Control,
    /// In the slash form, a slash that could be part of a value or the beginning of a part.
    #[error("`/{0}` can be read in two ways: write the name as RFC 4514 has it, `CN=…,O=…`")]
    Slash(String),
}

pub(super) fn parse(text: &str) -> Result<DistinguishedName, NotationError> {
    if text.len() > LIMIT_BYTES {
        return Err(NotationError::TooLong);
    }
    let trimmed = text.trim_start_matches(' ');
    if trimmed.is_empty() {
        return Err(NotationError::Empty);
    }
    let relative_names = match trimmed.strip_prefix('/') {
        Some(parts) => slash_form(parts)?,
        None => {
            let mut reversed = Reader::new(trimmed).name()?;
            reversed.reverse();
            reversed
        }
    };
    let name = DistinguishedName::new(relative_names).map_err(|_| NotationError::Empty)?;
    // Values of types without a name are printed in hexadecimal: what is printed must be read again.
    if name.to_string().len() > LIMIT_BYTES {
        return Err(NotationError::TooLong);
    }
    Ok(name)
}

struct Reader<'a> {
    characters: std::iter::Peekable<std::str::Chars<'a>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { characters: text.chars().peekable() }
    }

    /// RFC 4514 §3 `distinguishedName`, with RFC 2253 §4's semicolons and spaces around separators.
    fn name(mut self) -> Result<Vec<Vec<Attribute>>, NotationError> {
        let mut relative_names = Vec::new();
        let mut attributes = Vec::new();
        loop {
            attributes.push(self.attribute()?);
            match self.characters.next() {
                Some('+') => {}
                Some(',' | ';') => relative_names.push(std::mem::take(&mut attributes)),
                None => {
                    relative_names.push(attributes);
                    return Ok(relative_names);
                }
                // `value` stops only at the separators and the end.
                Some(other) => return Err(NotationError::Unescaped(other)),
            }
        }
    }

    fn attribute(&mut self) -> Result<Attribute, NotationError> {
        let mut written = String::new();
        loop {
            match self.characters.next() {
                Some('=') => break,
                Some(character) if !matches!(character, ',' | ';' | '+') => written.push(character),
                _ => return Err(NotationError::NoEquals(excerpt(written.trim()))),
            }
        }
        let written = written.trim_matches(' ');
        let oid = attribute_type::oid(written).ok_or_else(|| NotationError::UnknownType(excerpt(written)))?;
        Ok(Attribute { oid, value: self.value()? })
    }

    fn value(&mut self) -> Result<AttributeValue, NotationError> {
        self.spaces();
        match self.characters.peek() {
            Some('#') => self.hexadecimal(),
            Some('"') => self.quoted().map(AttributeValue::Text),
            _ => self.plain().map(AttributeValue::Text),
        }
    }

    fn spaces(&mut self) {
        while self.characters.next_if_eq(&' ').is_some() {}
    }

    fn hexadecimal(&mut self) -> Result<AttributeValue, NotationError> {
        self.characters.next();
        let mut bytes = Vec::new();
        while let Some(first) = self.characters.next_if(char::is_ascii_hexdigit) {
            let second = self.characters.next().ok_or(NotationError::Hexadecimal)?;
            bytes.push(hex_pair(first, second).ok_or(NotationError::Hexadecimal)?);
        }
        self.spaces();
        match self.characters.peek() {
            None | Some(',' | ';' | '+') => AttributeValue::from_der(&bytes).map_err(|_| NotationError::Hexadecimal),
            Some(_) => Err(NotationError::Hexadecimal),
        }
    }

    /// RFC 2253 §4: within quotation marks only the mark and the backslash are special.
    fn quoted(&mut self) -> Result<String, NotationError> {
        self.characters.next();
        let mut bytes = Vec::new();
        loop {
            match self.characters.next() {
                Some('"') => break,
                Some('\\') => self.escape(&mut bytes)?,
                Some(character) => push(&mut bytes, character)?,
                None => return Err(NotationError::Quotes),
            }
        }
        self.spaces();
        match self.characters.peek() {
            None | Some(',' | ';' | '+') => String::from_utf8(bytes).map_err(|_| NotationError::Utf8),
            Some(_) => Err(NotationError::Quotes),
        }
    }

    fn plain(&mut self) -> Result<String, NotationError> {
        let mut bytes = Vec::new();
        // Spaces before a separator are not part of the value unless they were escaped.
        let mut kept = 0;
        while let Some(character) = self.characters.next_if(|character| !matches!(character, ',' | ';' | '+')) {
            match character {
                '\\' => self.escape(&mut bytes)?,
                '"' | '<' | '>' => return Err(NotationError::Unescaped(character)),
                ' ' => {
                    bytes.push(b' ');
                    continue;
                }
                _ => push(&mut bytes, character)?,
            }
            kept = bytes.len();
        }
        bytes.truncate(kept);
        String::from_utf8(bytes).map_err(|_| NotationError::Utf8)
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), NotationError> {
        match self.characters.next() {
            Some(special @ (' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\')) => push(bytes, special),
            Some(first) => {
                let second = self.characters.next().ok_or(NotationError::Escape)?;
                bytes.push(hex_pair(first, second).ok_or(NotationError::Escape)?);
                Ok(())
            }
            None => Err(NotationError::Escape),
        }
    }
}

fn push(bytes: &mut Vec<u8>, character: char) -> Result<(), NotationError> {
    if character.is_control() {
        return Err(NotationError::Control);
    }
    bytes.extend_from_slice(character.encode_utf8(&mut [0u8; 4]).as_bytes());
    Ok(())
}

fn hex_pair(first: char, second: char) -> Option<u8> {
    let digit = |character: char| character.to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(first)? << 4 | digit(second)?)
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(40).collect()
}

/// OpenSSL's `/C=DE/O=Example/CN=a`: in the order of the encoding. A backslash escapes `/`, `+` and itself, as `openssl req -subj`
/// has it; a slash that is not followed by a known type and `=` is refused, since `openssl x509 -subject` escapes nothing.
fn slash_form(text: &str) -> Result<Vec<Vec<Attribute>>, NotationError> {
    let mut relative_names = Vec::new();
    for part in split_unescaped(text, '/')? {
        let mut attributes = Vec::new();
        for attribute in split_unescaped(&part, '+')? {
            let (written, value) = attribute.split_once('=').ok_or_else(|| NotationError::Slash(excerpt(&part)))?;
            let oid = attribute_type::oid(written).ok_or_else(|| NotationError::UnknownType(excerpt(written)))?;
            let mut bytes = Vec::new();
            let mut characters = value.chars();
            while let Some(character) = characters.next() {
                let character = if character == '\\' { characters.next().ok_or(NotationError::Escape)? } else { character };
                push(&mut bytes, character)?;
            }
            let text = String::from_utf8(bytes).map_err(|_| NotationError::Utf8)?;
            attributes.push(Attribute { oid, value: AttributeValue::Text(text) });
        }
        relative_names.push(attributes);
    }
    Ok(relative_names)
}

/// Splits at `separator` where no backslash stands before it; the parts keep their backslashes.
fn split_unescaped(text: &str, separator: char) -> Result<Vec<String>, NotationError> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == separator {
            parts.push(String::new());
            continue;
        }
        let Some(part) = parts.last_mut() else { return Err(NotationError::Empty) };
        part.push(character);
        if character == '\\' {
            match characters.next() {
                Some(special @ ('/' | '+' | '\\' | ',' | '=' | '"')) => part.push(special),
                // `\x41` and the like are one program's output and another's letters.
                _ => return Err(NotationError::Escape),
            }
        }
    }
    Ok(parts)
}
