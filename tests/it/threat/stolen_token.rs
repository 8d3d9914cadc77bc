//! A token in other hands than its client's.

use super::{passed, refused};
use crate::harness::stack::PROTOCOLS;
use crate::harness::{Call, Http, Stack};

const MISMATCH: &str = "binding_certificate_mismatch";
const ABSENT: &str = "binding_certificate_absent";

/// RFC 8705 §3: "If they do not match, the resource server MUST reject the request with HTTP 401 and `invalid_token`".
#[tokio::test]
async fn a_stolen_token_opens_nothing_in_any_protocol_before_or_after_its_owner_used_it() {
    let stack = Stack::start().await;
    for (tls, http) in PROTOCOLS {
        for target in ["/accounts", "/reports"] {
            let token = match target {
                "/accounts" => stack.token(&stack.alice).await,
                _ => stack.opaque_token(&stack.alice).await,
            };
            let call = Call::get(target).bearer(&token);
            let what = (tls, http, target);
            let alice = stack.caller(&stack.alice).tls(tls).http(http);
            let mallory = stack.caller(&stack.mallory).tls(tls).http(http);
            let nobody = stack.nobody().tls(tls).http(http);
            for cache in ["cold", "warm"] {
                for (thief, reason) in [(&mallory, MISMATCH), (&nobody, ABSENT)] {
                    let answer = thief.send(&stack.gateway_authority, &call).await;
                    refused(&stack, &answer, 401, "invalid_token", reason, (what, cache)).await;
                    assert!(answer.challenge().contains("error=\"invalid_token\""), "{}", answer.challenge());
                }
                let answer = alice.send(&stack.gateway_authority, &call).await;
                passed(&stack, &answer, (what, cache));
            }
        }
    }
}

/// The verdict belongs to the request, not to the connection and not to the token.
#[tokio::test]
async fn one_connection_carries_good_and_stolen_tokens_apart() {
    let stack = Stack::start().await;
    let (hers, his) = (stack.token(&stack.alice).await, stack.token(&stack.mallory).await);
    for (tls, http) in PROTOCOLS {
        let mut connection =
            stack.caller(&stack.mallory).tls(tls).http(http).connect(&stack.gateway_authority).await.expect("a connection");
        for round in 0..2 {
            let answer = connection.send(&Call::get("/accounts").bearer(&his)).await;
            passed(&stack, &answer, (tls, http, round));
            let answer = connection.send(&Call::get("/accounts").bearer(&hers)).await;
            refused(&stack, &answer, 401, "invalid_token", MISMATCH, (tls, http, round)).await;
        }
        let mut connection =
            stack.caller(&stack.alice).tls(tls).http(http).connect(&stack.gateway_authority).await.expect("a connection");
        let answer = connection.send(&Call::get("/accounts").bearer(&hers)).await;
        passed(&stack, &answer, (tls, http));
    }
}

/// On a host that never asks for certificates nothing can be proven, and a policy that admits unbound tokens does not unbind bound
/// ones.
#[tokio::test]
async fn a_laxer_host_or_route_does_not_unbind_a_token() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let alice = stack.caller(&stack.alice);
    let answer = alice.send(&stack.public_authority, &Call::get("/accounts").bearer(&token)).await;
    refused(&stack, &answer, 401, "invalid_token", ABSENT, "a host without certificates").await;
    for (thief, reason) in [(stack.caller(&stack.mallory), MISMATCH), (stack.nobody(), ABSENT)] {
        let answer = thief.send(&stack.gateway_authority, &Call::get("/optional").bearer(&token)).await;
        refused(&stack, &answer, 401, "invalid_token", reason, "a route that admits unbound tokens").await;
    }
    let answer = alice.send(&stack.gateway_authority, &Call::get("/optional").bearer(&token)).await;
    passed(&stack, &answer, "the owner");
    let answer = alice.send(&stack.gateway_authority, &Call::get("/accounts").bearer(&token)).await;
    passed(&stack, &answer, "the owner, where certificates are asked for");
}

/// RFC 8705 §3.1: the thumbprint is of the certificate, so a renewed one with the same name is another.
#[tokio::test]
async fn a_certificate_of_the_same_name_is_another_certificate() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice).await;
    let renewed = stack.client_ca.issue(crate::harness::Leaf::client("alice"));
    // The true certificate further down the chain proves nothing.
    let mut padded = renewed.clone();
    padded.chain.push(stack.alice.chain[0].clone());
    for identity in [&renewed, &padded] {
        let answer = stack.at_gateway(identity, &token).await;
        refused(&stack, &answer, 401, "invalid_token", MISMATCH, identity.chain.len()).await;
    }
    let answer = stack.at_gateway(&stack.alice, &token).await;
    passed(&stack, &answer, "hers");
    // The new one is good for a new token.
    let fresh = stack.token(&renewed).await;
    let answer = stack.at_gateway(&renewed, &fresh).await;
    passed(&stack, &answer, "the renewed one");
}

/// Two requests at once on one HTTP/2 connection are two decisions.
#[tokio::test]
async fn requests_side_by_side_are_judged_apart() {
    let stack = Stack::start().await;
    let (hers, his) = (stack.token(&stack.alice).await, stack.token(&stack.mallory).await);
    let caller = stack.caller(&stack.alice).http(Http::V2);
    let ask = |token: &str| {
        let (caller, call, authority) = (caller.clone(), Call::get("/accounts").bearer(token), stack.gateway_authority.clone());
        async move { caller.send(&authority, &call).await }
    };
    let answers = tokio::join!(ask(&hers), ask(&his), ask(&hers), ask(&his));
    assert_eq!([answers.0.status, answers.1.status, answers.2.status, answers.3.status], [200, 401, 200, 401]);
    assert_eq!(stack.reason_of(answers.1.request_id()).await, MISMATCH);
    assert_eq!(stack.upstream.requests().len(), 2);
}
