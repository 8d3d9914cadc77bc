//! Another OpenID Provider that people sign in at, and what its word is worth here.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::certificate::Aim;
use super::sign_up::{Admits, ClaimNames};
use super::signed_in::Amr;
use crate::domain::{Issuer, Lifetime};
use crate::relying_party::{Prompt, Provider, Room, Turn};

/// Sign-ins that are under way at all providers at once.
const AT_ONCE: usize = 64;

/// What a provider says of how people prove themselves there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// What is so for everybody there, by the operator's word.
    pub always: Vec<Amr>,
    /// Whether what the provider says in `amr` counts too.
    pub told: bool,
}

impl Methods {
    /// How a person proved themselves; nothing where nobody says so.
    fn of(&self, claims: &Map<String, Value>) -> Vec<Amr> {
        let mut methods = self.always.clone();
        let told = claims.get("amr").and_then(Value::as_array).filter(|_| self.told);
        for name in told.into_iter().flatten().filter_map(Value::as_str) {
            if let Some(method) = Amr::from_name(name).filter(|method| !methods.contains(method)) {
                methods.push(method);
            }
        }
        methods
    }
}

/// A claim that must have one of these values, or be a list with one of them in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredClaim {
    /// Its name.
    pub claim: String,
    /// The values, as text.
    pub values: Vec<String>,
}

impl RequiredClaim {
    fn is_met_by(&self, claims: &Map<String, Value>) -> bool {
        let is_one = |value: &Value| match value {
            Value::String(text) => self.values.contains(text),
            Value::Bool(_) | Value::Number(_) => self.values.contains(&value.to_string()),
            _ => false,
        };
        match claims.get(&self.claim) {
            Some(Value::Array(several)) => several.iter().any(is_one),
            Some(one) => is_one(one),
            None => false,
        }
    }
}

/// What a provider is made of here.
#[derive(Clone, Debug)]
pub struct IdentityProviderSpec {
    /// Its name in our URLs.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// It, as we are its client.
    pub provider: Arc<Provider>,
    /// Where it sends browsers back to; no other provider does.
    pub redirect_uri: String,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// What it must say of everybody who signs in.
    pub required: Vec<RequiredClaim>,
    /// How people prove themselves there.
    pub methods: Methods,
    /// Whose accounts it opens.
    pub admits: Admits,
}

/// One provider.
#[derive(Debug)]
pub struct IdentityProvider(IdentityProviderSpec);

impl IdentityProvider {
    /// Its name in our URLs.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    pub(super) fn issuer(&self) -> &Issuer {
        self.0.provider.issuer()
    }

    pub(super) fn provider(&self) -> &Arc<Provider> {
        &self.0.provider
    }

    pub(super) fn redirect_uri(&self) -> &str {
        &self.0.redirect_uri
    }

    pub(super) fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    /// What new accounts are made of, where they are.
    pub(super) fn claim_names(&self) -> Option<&ClaimNames> {
        match &self.0.admits {
            Admits::Linked => None,
            Admits::Everybody(names) => Some(names),
        }
    }

    pub(super) fn methods(&self, claims: &Map<String, Value>) -> Vec<Amr> {
        self.0.methods.of(claims)
    }

    /// The first claim that has none of the values that are asked for.
    pub(super) fn unmet(&self, claims: &Map<String, Value>) -> Option<&str> {
        self.0.required.iter().find(|required| !required.is_met_by(claims)).map(|required| required.claim.as_str())
    }

    /// Whether the ID token leaves open what must be known, so that userinfo is asked too. Whoever links an account brings no claims.
    pub(super) fn asks_for_more(&self, claims: &Map<String, Value>, aim: Aim) -> bool {
        let names = self.claim_names().filter(|_| aim == Aim::SignIn);
        let mapped = names.into_iter().flat_map(ClaimNames::all);
        let required = self.0.required.iter().map(|required| required.claim.as_str());
        required.chain(mapped).any(|claim| !claims.contains_key(claim))
    }
}

/// All providers that people sign in at, in the order of the configuration.
#[derive(Debug)]
pub struct IdentityProviders {
    providers: Vec<IdentityProvider>,
    room: Arc<Room>,
}

impl IdentityProviders {
    /// These.
    pub fn new(providers: Vec<IdentityProviderSpec>) -> Self {
        Self { providers: providers.into_iter().map(IdentityProvider).collect(), room: Room::new(AT_ONCE) }
    }

    /// The provider of this name.
    pub fn named(&self, name: &str) -> Option<&IdentityProvider> {
        self.providers.iter().find(|provider| provider.name() == name)
    }

    /// All of them.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &IdentityProvider> {
        self.providers.iter()
    }

    /// Room for something under way at a provider, for this address; nothing when there is none.
    pub fn turn(&self, address: IpAddr) -> Option<Turn> {
        self.room.take(address)
    }
}

/// What a sign-in at a provider must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// What the provider is to ask, whoever is signed in there.
    pub prompt: Option<Prompt>,
    /// How long ago they may have proven themselves there, at most. Zero: not before they are sent there.
    pub max_age: Option<Lifetime>,
}

impl Demand {
    /// That they prove themselves now.
    pub const NOW: Self = Self { prompt: Some(Prompt::Login), max_age: Some(Lifetime::from_seconds(0)) };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_required_claim_has_one_of_its_values() {
        let required = RequiredClaim { claim: "hd".into(), values: vec!["example.com".into(), "true".into(), "7".into()] };
        for (claims, met) in [
            (json!({ "hd": "example.com" }), true),
            (json!({ "hd": ["other", "example.com"] }), true),
            (json!({ "hd": true }), true),
            (json!({ "hd": 7 }), true),
            (json!({ "hd": "Example.com" }), false),
            (json!({ "hd": "example.com.evil" }), false),
            (json!({ "hd": ["other"] }), false),
            (json!({ "hd": { "example.com": "example.com" } }), false),
            (json!({ "hd": [["example.com"]] }), false),
            (json!({ "hd": null }), false),
            (json!({}), false),
        ] {
            assert_eq!(required.is_met_by(claims.as_object().expect("an object")), met, "{claims}");
        }
    }

    /// Nothing is said of how somebody proved themselves whom nobody says it of.
    #[test]
    fn methods_are_the_operators_word_or_the_providers_where_that_counts() {
        let claims = json!({ "amr": ["pwd", "face", "mfa", 7] });
        let claims = claims.as_object().expect("an object");
        for (always, told, expected) in [
            (vec![], false, vec![]),
            (vec![Amr::Password], false, vec![Amr::Password]),
            (vec![], true, vec![Amr::Password, Amr::MultiFactor]),
            (vec![Amr::Password], true, vec![Amr::Password, Amr::MultiFactor]),
        ] {
            assert_eq!(Methods { always, told }.of(claims), expected);
        }
        assert!(Methods { always: vec![], told: true }.of(&Map::new()).is_empty());
    }
}
