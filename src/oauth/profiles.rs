//! Profiles: what is demanded of an authorization, one list of rules each.
//!
//! A client is registered under a profile and the server may be put under one; the stricter of the two applies. A registration may
//! tighten a rule (`require_pushed_authorization_requests`), never loosen one.
//!
//! | rule | `openid` | `oauth2.1` | `fapi2` |
//! |---|---|---|---|
//! | PKCE (RFC 7636), always `S256` | public clients | every client | every client |
//! | pushed requests (RFC 9126) | if registered | if registered | always |
//! | sender-constrained tokens | unless registered otherwise | unless registered otherwise | always |
//! | public clients | yes | yes | no |
//! | `redirect_uri` may be left out where one is registered | no | yes, without OpenID | no |
//! | scopes beyond the registration | ignored | refused | refused |
//! | refresh tokens of public clients without a key are rotated | yes | yes | there are none |
//! | life of a code, at most | 600 s | 600 s | 60 s |

use crate::clients::{Client, Profile};
use crate::domain::Lifetime;

/// What to do with scopes that the client is not registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownScope {
    /// OpenID Connect Core §3.1.2.1: "Scope values used that are not understood by an implementation SHOULD be ignored."
    Ignored,
    /// `invalid_scope` (RFC 6749 §4.1.2.1).
    Refused,
}

/// Whether something must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It may be left out.
    Optional,
    /// Nothing goes without it.
    Required,
}

/// The rules of one client's authorizations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The profile they come from.
    pub profile: Profile,
    /// A code challenge.
    pub pkce: Demand,
    /// A pushed request.
    pub pushed_request: Demand,
    /// `redirect_uri`, where the client has one alone and OpenID is not asked for.
    pub redirect_uri: Demand,
    /// Scopes that the client is not registered for.
    pub unknown_scope: UnknownScope,
    /// The longest life of a code.
    pub longest_code_lifetime: Lifetime,
}

/// The rules of a client on a server that puts every client under `floor` at least.
pub fn rules(client: &Client, floor: Profile) -> Rules {
    let profile = client.authorization.profile.max(floor);
    let mut rules = match profile {
        Profile::Openid => Rules {
            profile,
            pkce: Demand::Optional,
            pushed_request: Demand::Optional,
            redirect_uri: Demand::Required,
            unknown_scope: UnknownScope::Ignored,
            longest_code_lifetime: Lifetime::from_seconds(600),
        },
        Profile::Oauth21 => Rules {
            profile,
            pkce: Demand::Required,
            pushed_request: Demand::Optional,
            redirect_uri: Demand::Optional,
            unknown_scope: UnknownScope::Refused,
            longest_code_lifetime: Lifetime::from_seconds(600),
        },
        Profile::Fapi2 => Rules {
            profile,
            pkce: Demand::Required,
            pushed_request: Demand::Required,
            redirect_uri: Demand::Required,
            unknown_scope: UnknownScope::Refused,
            longest_code_lifetime: Lifetime::from_seconds(60),
        },
    };
    if client.authorization.require_pushed_authorization_requests {
        rules.pushed_request = Demand::Required;
    }
    if !client.authentication.is_confidential() {
        rules.pkce = Demand::Required;
    }
    rules
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn client(more: Value) -> Client {
        let mut metadata = json!({
            "client_id": "app", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=app",
            "grant_types": ["authorization_code"], "redirect_uris": ["https://app.example/cb"],
        });
        metadata.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Client::from_metadata(metadata.to_string().as_bytes(), None).expect("a client")
    }

    #[test]
    fn the_stricter_of_client_and_server_applies() {
        use Profile::*;
        for (registered, floor, expected) in [
            ("openid", Openid, Openid),
            ("openid", Oauth21, Oauth21),
            ("openid", Fapi2, Fapi2),
            ("oauth2.1", Openid, Oauth21),
            ("fapi2", Openid, Fapi2),
            ("fapi2", Oauth21, Fapi2),
        ] {
            assert_eq!(rules(&client(json!({ "profile": registered })), floor).profile, expected, "{registered} {floor:?}");
        }
        assert_eq!(rules(&client(json!({})), Openid).profile, Oauth21, "what is left out is the safer one");
    }

    #[test]
    fn a_registration_tightens() {
        let pushed = |more| rules(&client(more), Profile::Openid).pushed_request;
        assert_eq!(pushed(json!({})), Demand::Optional);
        assert_eq!(pushed(json!({ "require_pushed_authorization_requests": true })), Demand::Required);
        assert_eq!(pushed(json!({ "profile": "fapi2", "require_pushed_authorization_requests": false })), Demand::Required);
    }

    #[test]
    fn no_rule_is_looser_in_a_stricter_profile() {
        let of = |name: &str| rules(&client(json!({ "profile": name })), Profile::Openid);
        let all = [of("openid"), of("oauth2.1"), of("fapi2")];
        for pair in all.windows(2) {
            let demand = |rule: fn(&Rules) -> Demand| (rule(&pair[0]) == Demand::Required, rule(&pair[1]) == Demand::Required);
            for (before, after) in [demand(|rules| rules.pkce), demand(|rules| rules.pushed_request)] {
                assert!(!before || after, "{:?}", pair[1].profile);
            }
            assert!(pair[1].longest_code_lifetime <= pair[0].longest_code_lifetime);
        }
    }
}
