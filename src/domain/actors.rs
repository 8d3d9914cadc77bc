//! The `act` claim (RFC 8693 §4.1).

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::Subject;

/// Who acts for the subject of a token: the current actor first, then those that acted before it, whom nobody asks when access is
/// decided (RFC 8693 §4.1). Empty for a token that its subject, or its client in its own name, uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Actors(Vec<Subject>);

/// Why an `act` claim cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActorsError {
    /// Not an object whose `sub` is an identifier, or one within is not.
    #[error("`act` is not an object with a `sub`")]
    Malformed,
    /// More than [`Actors::MAX`].
    #[error("`act` is nested more than {} deep", Actors::MAX)]
    TooDeep,
}

impl Actors {
    /// The most that one token may name.
    pub const MAX: usize = 8;

    /// Whether nobody acts for the subject.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &Subject> {
        self.0.iter()
    }

    /// With another current actor, for whom the present one acted before.
    ///
    /// # Errors
    /// When there are too many.
    pub fn followed_by(&self, actor: Subject) -> Result<Self, ActorsError> {
        if self.0.len() >= Self::MAX {
            return Err(ActorsError::TooDeep);
        }
        Ok(Self(std::iter::once(actor).chain(self.0.iter().cloned()).collect()))
    }

    /// The claim's value; nothing when nobody acts.
    pub fn to_json(&self) -> Option<Value> {
        self.0.iter().rev().fold(None, |inner, actor| {
            let mut members = Map::from_iter([("sub".to_owned(), json!(actor.as_str()))]);
            if let Some(inner) = inner {
                members.insert("act".to_owned(), inner);
            }
            Some(Value::Object(members))
        })
    }

    /// Reads the claim's value. Members beside `sub` and `act` say more about an actor and are passed over.
    ///
    /// # Errors
    /// See [`ActorsError`].
    pub fn from_json(value: &Value) -> Result<Self, ActorsError> {
        let mut actors = Vec::new();
        let mut next = Some(value);
        while let Some(value) = next {
            let members = value.as_object().ok_or(ActorsError::Malformed)?;
            let actor = members.get("sub").and_then(Value::as_str).and_then(|text| text.parse().ok());
            if actors.len() == Self::MAX {
                return Err(ActorsError::TooDeep);
            }
            actors.push(actor.ok_or(ActorsError::Malformed)?);
            next = members.get("act");
        }
        Ok(Self(actors))
    }
}

impl Serialize for Actors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8693 §4.1, Figure 6.
    #[test]
    fn nested_actors_are_read_and_written() {
        let figure = json!({
            "sub": "https://service16.example.com",
            "act": { "sub": "https://service77.example.com" },
        });
        let actors = Actors::from_json(&figure).expect("actors");
        let names: Vec<_> = actors.iter().map(Subject::as_str).collect();
        assert_eq!(names, ["https://service16.example.com", "https://service77.example.com"]);
        assert_eq!(actors.to_json(), Some(figure));
        let next = actors.followed_by("service1".parse().expect("a subject")).expect("room");
        assert_eq!(next.to_json().expect("a value")["act"]["act"]["sub"], "https://service77.example.com");
        assert_eq!(Actors::default().to_json(), None);
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        for value in [json!(null), json!("a"), json!({}), json!({ "sub": 1 }), json!({ "sub": "a", "act": "b" })] {
            assert_eq!(Actors::from_json(&value), Err(ActorsError::Malformed), "{value}");
        }
        let mut actors = Actors::default();
        for number in 0..Actors::MAX {
            actors = actors.followed_by(format!("s{number}").parse().expect("a subject")).expect("room");
        }
        assert_eq!(actors.followed_by("more".parse().expect("a subject")), Err(ActorsError::TooDeep));
        let deeper = json!({ "sub": "more", "act": actors.to_json() });
        assert_eq!(Actors::from_json(&deeper), Err(ActorsError::TooDeep));
    }
}
