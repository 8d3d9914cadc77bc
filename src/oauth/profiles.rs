//! Profiles: what is demanded of an authorization, one list of rules each.
//!
//! A client is registered under a profile and the server may be put under one; the stricter of the two applies. A registration may
//! tighten a rule (`require_pushed_authorization_requests`), never loosen one.
//!
//! | rule | `openid` | `oauth2.1` | `fapi2` | `fapi2-message-signing` |
//! |---|---|---|---|---|
//! | PKCE (RFC 7636), always `S256` | public clients | every client | every client | every client |
//! | pushed requests (RFC 9126) | if registered | if registered | always | always |
//! | signed requests (RFC 9101) | if registered | if registered | if registered | always |
//! | parameters beside a request object | fill its gaps (OpenID Connect Core §6) | ignored (RFC 9101 §6.3) | ignored | ignored |
//! | unsigned request objects (`none`) | unless registered otherwise | no | no | no |
//! | request objects name audience and dates | may | may | `aud`, `exp`, `nbf`, within an hour | the same |
//! | algorithms of assertions, request objects and answers | all | all | ES256, PS256, EdDSA | the same |
//! | client authentication | any | any | TLS certificate, `private_key_jwt` | the same |
//! | sender-constrained tokens | unless registered otherwise | unless registered otherwise | always | always |
//! | public clients | yes | yes | no | no |
//! | devices without a browser (RFC 8628) | yes | yes | no | no |
//! | `redirect_uri` may be left out where one is registered | no | yes, without OpenID | no | no |
//! | scopes beyond the registration | ignored | refused | refused | refused |
//! | refresh tokens of public clients without a key are rotated | yes | yes | there are none | there are none |
//! | life of a code, at most | 600 s | 600 s | 60 s | 60 s |

use crate::clients::{Client, Profile};
use crate::domain::Lifetime;
use crate::jose::Algorithm;

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

/// What counts beside a request object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutsideParameters {
    /// What the object does not say (OpenID Connect Core §6.1).
    FillGaps,
    /// Nothing: "The authorization server MUST only use the parameters in the Request Object" (RFC 9101 §6.3).
    Ignored,
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
    /// A signed request object.
    pub signed_request: Demand,
    /// What counts beside one.
    pub outside_parameters: OutsideParameters,
    /// That a request object says for whom and for how long it is (FAPI 2.0 Message Signing §5.3.1).
    pub request_object_bounds: Demand,
    /// That access tokens are bound to a key.
    pub sender_constrained: Demand,
    /// What assertions, request objects and answers are signed with.
    pub algorithms: &'static [Algorithm],
}

/// The rules of a client on a server that puts every client under `floor` at least.
pub fn rules(client: &Client, floor: Profile) -> Rules {
    let profile = client.authorization.profile.max(floor);
    let algorithms = profile.algorithms();
    let mut rules = match profile {
        Profile::Openid => Rules {
            profile,
            pkce: Demand::Optional,
            pushed_request: Demand::Optional,
            redirect_uri: Demand::Required,
            unknown_scope: UnknownScope::Ignored,
            longest_code_lifetime: Lifetime::from_seconds(600),
            signed_request: Demand::Optional,
            outside_parameters: OutsideParameters::FillGaps,
            request_object_bounds: Demand::Optional,
            sender_constrained: Demand::Optional,
            algorithms,
        },
        Profile::Oauth21 => Rules {
            profile,
            pkce: Demand::Required,
            pushed_request: Demand::Optional,
            redirect_uri: Demand::Optional,
            unknown_scope: UnknownScope::Refused,
            longest_code_lifetime: Lifetime::from_seconds(600),
            signed_request: Demand::Optional,
            outside_parameters: OutsideParameters::Ignored,
            request_object_bounds: Demand::Optional,
            sender_constrained: Demand::Optional,
            algorithms,
        },
        Profile::Fapi2 | Profile::Fapi2MessageSigning => Rules {
            profile,
            pkce: Demand::Required,
            pushed_request: Demand::Required,
            redirect_uri: Demand::Required,
            unknown_scope: UnknownScope::Refused,
            longest_code_lifetime: Lifetime::from_seconds(60),
            signed_request: if profile == Profile::Fapi2 { Demand::Optional } else { Demand::Required },
            outside_parameters: OutsideParameters::Ignored,
            request_object_bounds: Demand::Required,
            sender_constrained: Demand::Required,
            algorithms,
        },
    };
    if client.authorization.require_pushed_authorization_requests {
        rules.pushed_request = Demand::Required;
    }
    if client.messages.require_signed_request_object {
        rules.signed_request = Demand::Required;
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
        Client::from_text(metadata.to_string().as_bytes()).expect("a client")
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
            ("fapi2", Fapi2MessageSigning, Fapi2MessageSigning),
            ("fapi2-message-signing", Fapi2, Fapi2MessageSigning),
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
        let signed = |more| rules(&client(more), Profile::Openid).signed_request;
        assert_eq!(signed(json!({ "profile": "fapi2" })), Demand::Optional);
        assert_eq!(signed(json!({ "require_signed_request_object": true })), Demand::Required);
        assert_eq!(
            signed(json!({ "profile": "fapi2-message-signing", "require_signed_request_object": false })),
            Demand::Required
        );
    }

    /// FAPI 2.0 Security Profile §5.3.2.1: "shall only issue sender-constrained access tokens".
    #[test]
    fn a_servers_profile_binds_the_tokens_of_clients_registered_under_a_looser_one() {
        let bearer = client(json!({ "profile": "openid", "tls_client_certificate_bound_access_tokens": false }));
        let demanded = Profile::ALL.map(|floor| rules(&bearer, floor).sender_constrained);
        assert_eq!(demanded, [Demand::Optional, Demand::Optional, Demand::Required, Demand::Required]);
    }

    #[test]
    fn no_rule_is_looser_in_a_stricter_profile() {
        let of = |name: &str| rules(&client(json!({ "profile": name })), Profile::Openid);
        let all = Profile::ALL.map(|profile| of(profile.name()));
        for pair in all.windows(2) {
            let demand = |rule: fn(&Rules) -> Demand| (rule(&pair[0]) == Demand::Required, rule(&pair[1]) == Demand::Required);
            for (before, after) in [
                demand(|rules| rules.pkce),
                demand(|rules| rules.pushed_request),
                demand(|rules| rules.signed_request),
                demand(|rules| rules.request_object_bounds),
                demand(|rules| rules.sender_constrained),
            ] {
                assert!(!before || after, "{:?}", pair[1].profile);
            }
            assert!(pair[1].longest_code_lifetime <= pair[0].longest_code_lifetime);
            assert!(pair[1].algorithms.iter().all(|algorithm| pair[0].algorithms.contains(algorithm)));
        }
    }
}
