//! Symbolon: an OAuth 2.0 authorization server whose access tokens are bound to the client's certificate (RFC 8705) or its DPoP key
//! (RFC 9449), and the gateway that enforces the binding on every request.
//!
//! A *symbolon* was a token broken in two: whoever held the matching half was who they said they were. Here the authorization
//! server signs one half, an access token that names a certificate's thumbprint (`cnf.x5t#S256`); the client holds the other, the
//! certificate's private key; and the gateway lets a request through only when the two fit.
//!
//! # Ideas
//!
//! 1. A check leaves a type behind, and the next step demands it. No function answers `bool` for "may proceed".
//! 2. A request reads as one sentence in one place.
//! 3. Every requirement of a standard can be found from the standard, and back.
//! 4. The public answer and the private reason are two things ([`event::Reason`]).
//! 5. Pure in the middle, I/O at the rim: rules take the time and the randomness as parameters ([`domain::Clock`],
//!    [`domain::Randomness`]).
//!
//! # Rooms
//!
//! A room imports only rooms further down. `gateway`, `resource`, `trust`, `binding` and `token` never import `oauth`, `identity`,
//! `clients`, `keys` or `store`: their state is handed to them.
//!
//! | room | what it is |
//! |---|---|
//! | `cli` | one file per command |
//! | `app` | the composition root: configuration → servers, listeners, tasks, reload, shutdown |
//! | `admin` | the administration API: what the command line does, over HTTP |
//! | `web` | the authorization server over HTTP: `router` is the table of contents |
//! | `gateway` | proxying: routes, strip, assert, forward |
//! | `oauth` | the authorization server: one file per endpoint, `grant/`, `client_auth/` |
//! | `oidc` | what OpenID Connect adds: claims, ID tokens, the names of people |
//! | `identity` | people: accounts, passwords, sessions in browsers |
//! | `relying_party` | sign-in at an OpenID Provider, as a client of it |
//! | `clients` | what a client may be |
//! | `keys` | the life of signing keys |
//! | [`resource`] | what any protected resource does: presented → verified → proven → admitted → challenge |
//! | [`trust`] | anchor sets, judging a certificate, revocation rules |
//! | [`binding`] | THE rule: does this presenter hold this token's key? |
//! | [`token`] | what a token says |
//! | `store` | sqlx: SQLite and PostgreSQL through one SQL text; the change feed |
//! | [`fetch`] | every outbound HTTP request |
//! | `wire` | a request's authority and path in one spelling, or a refusal |
//! | [`tls`] | rustls: policies per server name, peer certificates, resumption epochs |
//! | [`pki`] | x509-parser and webpki: certificates, names, paths; the development authority |
//! | [`jose`] | aws-lc-rs and josekit: JWS, JWK |
//! | `seal` | XChaCha20-Poly1305: rows, opaque tokens, the key ring |
//! | `telemetry` | log, metrics, audit trail |
//! | `config` | settings as written |
//! | [`event`] | audit events and private reasons, closed enums |
//! | [`domain`] | the words that three rooms share |
//!
//! # Two flows, as types
//!
//! ```text
//! POST /token over mutual TLS
//!   tls      accept      handshake under limits, possession checked      -> PeerCertificate
//!   web      extract     form; duplicates refused                        -> Parameters
//!   oauth    grant       one variant per grant                           -> GrantType
//!   oauth    client_auth one mechanism, the registered one, judged now   -> RequestingClient (AuthenticatedClient | PublicClient)
//!   oauth    approve     pure                                            -> Approved
//!   oauth    dpop        the proof of this request, claimed once         -> ProvenDpop?
//!   binding  confirm     certificate and proof, or leave by policy       -> Binding (Confirmation | Unbound)
//!   oauth    mint        signed or sealed; not a row                     -> IssuedToken with its event
//!   telemetry audit      the event is queued, or 503
//!   web      render      no-store, JSON
//!
//! GET /authorize from a browser
//!   web      extract     query, or the form of a POST, kept and asked for again by GET -> Parameters
//!   oauth    unfold      the claims of a signed request in place of its parameters -> Parameters
//!   oauth    destination client and redirect URI belong together; refusals are pages until here -> Destination
//!   oauth    read        or a pushed request; refusals go to the client from here -> AuthorizationRequest
//!   identity current     the session of the cookie                       -> SignedIn?
//!   oauth    decide      pure: sign in, consent, or                      -> Granting
//!   store    issue_code  ends interaction and pushed request, with the event -> code
//!
//! request through the gateway
//!   tls      accept      or the word of a trusted proxy's header         -> PeerCertificate?
//!   wire     inspect     one reading of host, path and framing           -> Target
//!   gateway  route       host, the longest path, methods and fields      -> &Route
//!   gateway  session     a browser without token: who is signed in, or away to sign in -> Visitor?
//!   resource present     one token, with the Bearer or the DPoP scheme   -> Presented
//!   resource verify      issuer's keys (claims cached) or introspection  -> VerifiedToken
//!   binding  dpop        the proof of this request, claimed once         -> ProvenDpop?
//!   binding  prove       every request, from connection and proof        -> Proven<VerifiedToken>
//!   resource admit       audience, scope, dates, revocation              -> Admission
//!   gateway  strip       what a client may not say                       -> Stripped<Request>
//!   gateway  assert      the gateway's signed word
//!   gateway  forward     (Stripped<Request>, Admission, Upstream)        -> Response
//!
//! connection of a TCP route, which has no token
//!   tls      accept      under the policy of its server name             -> PeerCertificate?
//!   trust    judge       against every set that applies, now             -> Condition
//!   resource rest_on     for as long as certificate and rules stand      -> Standing
//!   gateway  connect     nothing is connected to before                  -> Outbound
//!   gateway  join        bytes both ways, until it stands no more
//! ```
//!
//! # Standards
//!
//! What those of machine clients ask for, one requirement a row, with the test of each: `docs/standards.md`.
//!
//! | standard | code | tests |
//! |---|---|---|
//! | RFC 6238, 4226 (one-time passwords), 8176 (`amr`) | `identity` | `tests/it/spec/rfc6238.rs`, `tests/it/flow/person_certificate.rs`, `tests/it/threat/second_factor.rs`, `person_certificate.rs`; beside the code |
//! | W3C Web Authentication Level 3 §5.1.2, §6.1, §7.1, §7.2, §14.6.1 (passkeys) | `identity`, `web::passkey_sign_in`, `web::account_passkeys` | `tests/it/flow/passkey.rs`, `browser_passkey.rs`, `tests/it/threat/passkey.rs`; beside the code |
//! | RFC 6749 (framework) | `oauth::token`, `oauth::parameters`, `oauth::error`, `web::reject` | `tests/it/spec/rfc6749.rs` |
//! | RFC 6749 §2.3.1 (client secrets) | `oauth::client_auth`, `clients::Secrets` | `tests/it/spec/rfc6749_client.rs` |
//! | RFC 6749 §3.1, §4.1, §6 (authorization, refresh) | `oauth::authorization`, `oauth::grant` | `tests/it/spec/rfc6749_authorization.rs` |
//! | RFC 6750 (bearer usage, challenges) | [`resource`] | `tests/it/spec/rfc6750.rs` |
//! | RFC 7009 (revocation) | `oauth::revoke` | `tests/it/spec/rfc7009.rs` |
//! | RFC 7515, 7517, 7518, 7519, 7638, 8037 (JOSE) | [`jose`] | beside the code; `tests/it/spec/rfc7517.rs` |
//! | RFC 7591, 7592, OpenID Connect Dynamic Client Registration | `clients`, `oauth::registration`, `oauth::software_statement`, `web::registration` | `tests/it/spec/oidc_registration.rs`, `rfc7591.rs`, `rfc7592.rs`; beside the code |
//! | RFC 7521, 7523 §2.2, §3 (client assertions) | `oauth::client_auth`, [`binding::replay`], `clients::ClientKeys` | `tests/it/spec/rfc7523.rs` |
//! | RFC 7521, 7523 §2.1 (assertions as grants) | `oauth::grant::jwt_bearer`, `oauth::assertion_issuers` | `tests/it/spec/rfc7523_grant.rs` |
//! | RFC 7636 (PKCE) | `oauth::pkce` | `tests/it/spec/rfc7636.rs` |
//! | RFC 7662 (introspection) | `oauth::introspect`, [`token::introspection`] | `tests/it/spec/rfc7662.rs` |
//! | RFC 7800, 8705 §3 (confirmation) | [`domain::Cnf`], [`binding`] | `tests/it/spec/rfc8705.rs` |
//! | RFC 8414 (metadata) | `oauth::metadata` | `tests/it/spec/rfc8414.rs`, `metadata.rs` |
//! | RFC 8628 (devices) | `oauth::device`, `oauth::grant::device_code`, `web::device` | `tests/it/spec/rfc8628.rs`, `tests/it/threat/device.rs` |
//! | RFC 8693 (token exchange) | `oauth::grant::token_exchange`, [`domain::Actors`] | `tests/it/spec/rfc8693.rs` |
//! | RFC 8705 §2 (mutual-TLS client authentication) | `oauth::client_auth` | `tests/it/spec/rfc8705.rs`, `tests/it/threat/inside_host.rs` |
//! | RFC 8705 §4 (certificates of public clients) | `oauth::grant` | `tests/it/threat/authorization.rs`, `rebinding.rs` |
//! | RFC 8707 (resource indicators) | `oauth::resources` | `tests/it/spec/rfc8707.rs` |
//! | RFC 9068 (JWT access tokens) | [`token::jwt`] | `tests/it/spec/rfc9068.rs` |
//! | RFC 7516 (JWE, to clients) | `jose::jwe`, `oauth::encryption` | `tests/it/spec/encryption.rs` |
//! | RFC 9101 (signed requests), JARM | `oauth::request_object`, `oauth::authorization::answer` | `tests/it/spec/rfc9101.rs`, `jarm.rs` |
//! | RFC 9126 (pushed requests), 9207 (`iss`) | `oauth::par`, `oauth::authorization::answer` | `tests/it/spec/rfc9126.rs`, `rfc9207.rs` |
//! | RFC 9110 §15.5.20 (misdirected request) | `tls::PolicySet`, `web::edge`, `gateway` | `tests/it/spec/rfc9110.rs` |
//! | RFC 9701 (signed introspection) | `oauth::introspect`, [`resource`] | `tests/it/spec/rfc9701.rs` |
//! | FAPI 2.0 Security Profile, Message Signing | `oauth::profiles`, `clients` | `tests/it/spec/fapi2` |
//! | RFC 6797 (HSTS), Fetch §3.2 (CORS), at the gateway | `gateway::answer_rules` | `tests/it/threat/route_limits.rs` |
//! | RFC 7301 (ALPN), PROXY protocol version 2, RFC 8446 §6.1 (truncation), at TCP routes | `gateway::tcp`, `wire::proxy_protocol` | `tests/it/flow/tcp_route.rs`, `tests/it/threat/tcp_route.rs` |
//! | RFC 9440 (Client-Cert) | `gateway::certificate_header`, [`pki::proxy_header`] | `tests/it/spec/rfc9440.rs`, `tests/it/threat/proxy_header.rs` |
//! | RFC 9449 (DPoP) | [`binding::dpop`], `oauth::dpop`, [`resource`] | `tests/it/spec/rfc9449.rs` |
//! | RFC 9470 (step-up) | [`resource`] | `tests/it/spec/rfc9470.rs` |
//! | RFC 9728 (protected resource metadata) | `gateway::metadata`, `admin::metadata`, [`resource`] | `tests/it/spec/rfc9728.rs`, `tests/it/flow/administration.rs` |
//! | RFC 8265 (usernames, passwords), 9106 (Argon2) | `identity`, `seal` | beside the code; `tests/it/threat/sign_in.rs` |
//! | OpenID Connect Core, Discovery, Form Post Response Mode | `oauth::authorization`, `oidc`, `oauth::userinfo`, `web::form_post` | `tests/it/spec/oidc_core.rs`, `oidc_discovery.rs` |
//! | OpenID Connect Core §3.1, RP-Initiated and Back-Channel Logout, as a relying party | `relying_party`, `gateway::session` | `tests/it/flow/browser_session.rs`, `tests/it/threat/browser_session.rs`; beside the code |
//! | OpenID Connect Core §3.1, RFC 9207, 9700 §4.4, at other providers that people sign in at | `relying_party`, `identity`, `web::provider_sign_in` | `tests/it/flow/identity_provider.rs`, `tests/it/threat/identity_provider.rs` |
//! | OpenID Connect RP-Initiated, Back-Channel and Front-Channel Logout | `oauth::logout`, `oidc::logout_token`, `web::end_session`, `web::sign_out`, `clients::LogoutMetadata` | `tests/it/spec/oidc_logout.rs` |
//! | RFC 4514 (names), 5280 (certificates, revocation lists) | [`pki`], [`trust`] | beside the code; `tests/it/threat/revocation_list.rs`, `distribution_point.rs` |
//! | RFC 6960 (OCSP) | `pki::ocsp`, `trust` | `tests/it/threat/ocsp.rs`, `ocsp_responder.rs`, `stapling.rs`; beside the code |
//! | draft-irtf-cfrg-xchacha (sealing) | `seal` | beside the code |

#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod admin;
#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod cli;

#[cfg(feature = "server")]
pub mod gateway;
#[cfg(feature = "server")]
pub mod web;

#[cfg(feature = "server")]
pub mod clients;
#[cfg(feature = "server")]
pub mod identity;
#[cfg(feature = "server")]
pub mod keys;
#[cfg(feature = "server")]
pub mod oauth;
#[cfg(feature = "server")]
pub mod oidc;
#[cfg(feature = "server")]
pub mod relying_party;

pub mod binding;
pub mod resource;
pub mod token;
pub mod trust;

#[cfg(feature = "server")]
pub mod config;
pub mod fetch;
pub mod jose;
pub mod pki;
#[cfg(feature = "server")]
pub mod seal;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
pub mod tls;
#[cfg(any(feature = "server", fuzzing))]
pub mod wire;

pub mod domain;
pub mod event;
