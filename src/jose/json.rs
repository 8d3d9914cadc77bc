//! JSON that has one meaning (RFC 8259, RFC 7493 §2.3).
//!
//! serde_json keeps the last of two members with one name, where another program keeps the first. Here the second is an error, at
//! any depth.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The deepest nesting: an object of scalars has depth 1.
pub const MAX_DEPTH: usize = 16;

/// Why bytes are not a JSON object that everybody reads alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON in UTF-8, or something after its end.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// One object has two members of this name.
    #[error("the member `{0}` appears twice")]
    DuplicateMember(String),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Reads one JSON object. The caller limits the length of `bytes`.
///
/// # Errors
/// See [`JsonError`].
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match parse(bytes)? {
        Value::Object(members) => Ok(members),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Reads one JSON value. The caller limits the length of `bytes`.
///
/// # Errors
/// See [`JsonError`].
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let problem = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0, problem: &problem }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| problem.into_inner().unwrap_or_else(|| JsonError::Syntax(error.to_string())))
}

/// Reads one value; the first problem that is not one of syntax is left in `problem`.
#[derive(Clone, Copy)]
struct Strict<'p> {
    depth: usize,
    problem: &'p RefCell<Option<JsonError>>,
}

impl Strict<'_> {
    fn fail<E: serde::de::Error>(&self, problem: JsonError) -> E {
        let error = E::custom(&problem);
        *self.problem.borrow_mut() = Some(problem);
        error
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fail(JsonError::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(self.fail(JsonError::DuplicateMember(name)));
            }
            let value = access.next_value_seed(inner)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_members_of_one_name_are_refused_at_any_depth() {
        let table = [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"a":1,"\u0061":2}"#, "a"),
            (r#"{"x":{"b":1,"c":2,"b":3}}"#, "b"),
            (r#"{"x":[{"y":[{"c":null,"c":null}]}]}"#, "c"),
            (r#"{"":1,"":2}"#, ""),
        ];
        for (text, name) in table {
            assert_eq!(parse_object(text.as_bytes()), Err(JsonError::DuplicateMember(name.into())), "{text}");
        }
        assert!(parse_object(br#"{"a":1,"A":1,"x":{"a":2}}"#).is_ok());
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in ["[]", "1", "null", r#""{}""#] {
            assert_eq!(parse_object(text.as_bytes()), Err(JsonError::NotAnObject), "{text}");
        }
        let broken: [&[u8]; 12] = [
            b"",
            b"{",
            b"{}{}",
            b"{} x",
            b"\xef\xbb\xbf{}",
            b"{'a':1}",
            b"{\"a\":1,}",
            b"{\"a\":01}",
            b"{\"a\":1e999}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":NaN}",
        ];
        for bytes in broken {
            assert!(matches!(parse_object(bytes), Err(JsonError::Syntax(_))), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse_object(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(parse_object(nested(MAX_DEPTH + 1).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(parse_object("{\"a\":".repeat(100_000).as_bytes()), Err(JsonError::TooDeep));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_was_written(value in json()) {
            prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(value));
        }

        #[test]
        fn never_reads_what_serde_json_refuses(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            match (parse(&bytes), serde_json::from_slice::<Value>(&bytes)) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                (Ok(_), Err(_)) => prop_assert!(false, "accepted what serde_json refuses"),
                (Err(_), _) => {}
            }
        }

        #[test]
        fn a_repeated_member_is_always_found(members in proptest::collection::btree_map("[a-z]{1,3}", any::<i64>(), 1..8), at in any::<prop::sample::Index>()) {
            let mut parts: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let again = parts[at.index(parts.len())].clone();
            parts.push(again);
            let text = format!("{{{}}}", parts.join(","));
            prop_assert!(matches!(parse_object(text.as_bytes()), Err(JsonError::DuplicateMember(_))));
        }
    }
}
