//! The negative space: what thieves, forgers and broken peers try.
//!
//! Each test asserts the public answer, the private reason, that the upstream got no byte, and that the same request with the one
//! thing corrected goes through.

mod administration;
mod ambiguous_request;
mod audit_trail;
mod authorization;
mod blamed_upstream;
mod browser_session;
mod certificate;
mod corpus;
mod credentials;
mod cut_off;
mod device;
mod distribution_point;
mod dump;
mod ended_account;
mod forged_assertion;
mod forged_token;
mod forward_auth;
mod hostile_form;
mod identity_provider;
mod idle;
mod inside_host;
mod invented_token;
mod killed;
mod lying_upstream;
mod ocsp;
mod ocsp_responder;
mod openssl_peer;
mod outage;
mod outbound_reload;
mod own_account;
mod own_field;
mod passkey;
mod passthrough;
mod peer;
mod person_certificate;
mod planted_anchor;
mod proxy_header;
mod proxy_protocol;
pub mod rebinding;
mod resumption;
mod revocation_list;
mod route_limits;
mod route_match;
mod route_policy;
mod route_rules;
mod second_factor;
mod shared_connection;
mod sign_in;
mod single_use;
mod slow_reload;
mod spoofed_header;
mod stapling;
mod stolen_proof;
mod stolen_token;
mod tcp_route;
mod tls_policy;
mod tunnel;
mod vouched_name;
mod withdrawn_certificate;

use crate::harness::{Answer, Stack};

/// Refused with this status, code and private reason; nothing reached the upstream.
#[track_caller]
fn refused<'a>(
    stack: &'a Stack,
    answer: &'a Answer,
    status: u16,
    error: &'a str,
    reason: &'a str,
    what: impl std::fmt::Debug + 'a,
) -> impl Future<Output = ()> + 'a {
    let place = std::panic::Location::caller();
    async move {
        let verdict = stack.verdict(answer).await;
        let expected = (status, error.to_owned(), reason.to_owned());
        assert_eq!(verdict, expected, "{what:?} (from {place}): {}", answer.text());
        stack.upstream.assert_untouched();
    }
}

/// Went through to the upstream, which is then made to forget it.
#[track_caller]
fn passed(stack: &Stack, answer: &Answer, what: impl std::fmt::Debug) {
    assert_eq!(answer.status, 200, "{what:?}: {}", answer.text());
    assert_eq!(answer.json()["upstream"], true, "{what:?}");
    assert_eq!(stack.upstream.requests().len(), 1, "{what:?}");
    stack.upstream.forget();
}
