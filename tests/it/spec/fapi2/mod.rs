//! FAPI 2.0 Security Profile and FAPI 2.0 Message Signing, final, at an authorization server.
//!
//! | requirement | test |
//! |---|---|
//! | Security Profile §5.3.2.1: discovery metadata | `the_metadata_is_that_of_the_profile` |
//! | no resource owner password credentials grant | `weaker_clients_are_not_served` |
//! | confidential clients only | `weaker_clients_are_not_served` |
//! | sender-constrained tokens only, by certificate or DPoP | `every_kind_of_client_goes_through`, `no_registration_brings_a_bearer_token`, `a_code_is_redeemed_once_by_its_client_with_its_keys`; registration: `clients::tests` |
//! | clients authenticate by certificate or `private_key_jwt` | `every_kind_of_client_goes_through`, `weaker_clients_are_not_served` |
//! | no open redirector | `what_cannot_be_pushed`, `rfc6749_authorization::what_cannot_be_sent_safely_is_a_page` |
//! | issuer alone, as a string, as audience of assertions | `assertions_are_made_for_this_issuer_now` |
//! | no rotation of refresh tokens | `every_kind_of_client_goes_through` |
//! | DPoP nonces | `rfc9449::the_authorization_server_hands_out_nonces` |
//! | codes of at most 60 s | `oauth::profiles::tests`, `codes_and_request_uris_end` |
//! | code binding to a DPoP key | `a_code_may_be_bound_to_a_key` |
//! | 10 s in the future accepted, more than 60 s refused | `assertions_are_made_for_this_issuer_now`, `the_resource_asks_for_the_key`, `message_signing::what_is_not_a_good_request_object_is_refused` |
//! | §5.3.2.2: the code flow, and no other | `every_kind_of_client_goes_through`, `what_cannot_be_pushed` |
//! | pushed requests, authenticated; none without | `every_kind_of_client_goes_through`, `what_cannot_be_pushed` |
//! | PKCE with S256 | `what_cannot_be_pushed`, `a_code_is_redeemed_once_by_its_client_with_its_keys` |
//! | `redirect_uri` in the pushed request | `what_cannot_be_pushed` |
//! | `iss` in the answer | `every_kind_of_client_goes_through` |
//! | no unencrypted redirect URI | `clients::redirect_uri::tests` |
//! | a code once | `a_code_is_redeemed_once_by_its_client_with_its_keys` |
//! | no 307; 303 | `every_kind_of_client_goes_through` |
//! | `request_uri` ends before 600 s | `every_kind_of_client_goes_through`, `codes_and_request_uris_end` |
//! | §5.3.3 at the resource: bearer header, key of the token, expiry, revocation | `the_resource_asks_for_the_key`, `rfc6750`, `threat::stolen_token` |
//! | §5.4.1: PS256, ES256, EdDSA; no `none`; no RSA1_5 | `assertions_are_made_for_this_issuer_now`, `the_metadata_is_that_of_the_profile`, `clients::tests` |
//! | §5.6: no `kid` twice | `the_metadata_is_that_of_the_profile` |
//! | Message Signing §5.3.1: signed requests, required, verified | `message_signing::*` |
//! | §5.3.1: `aud`, `nbf`, `exp` | `message_signing::what_is_not_a_good_request_object_is_refused` |
//! | §5.3.1, RFC 9101 §6.3: nothing from outside the object | `message_signing::what_stands_outside_is_not_used` |
//! | §5.4.1: JARM; §5.4.3 `response_modes` | `jarm::*`, `message_signing::answers_are_signed_as_registered` |
//! | §5.5.1: signed introspection | `rfc9701::*`, `message_signing::answers_are_signed_as_registered` |

mod actor;
mod message_signing;
mod security_profile;
