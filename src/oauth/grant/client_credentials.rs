//! The client credentials grant (RFC 6749 §4.4): the client asks for itself. Never with a refresh token (§4.4.3).

use super::Approved;
use crate::clients::{Client, GrantType};
use crate::domain::{Actors, FamilyId, Scope, Subject};
use crate::event::Reason;
use crate::oauth::client_auth::RequestingClient;
use crate::oauth::error::{ErrorCode, Refusal};
use crate::oauth::parameters::Parameters;
use crate::oauth::resources::{Resources, Selected};

/// Decides what a client gets for itself, which only a confidential one may ask (RFC 6749 §4.4). `family` is the fresh id that revocation of this grant goes by.
pub fn approve(
    requesting: &RequestingClient,
    parameters: &Parameters,
    resources: &Resources,
    family: FamilyId,
) -> Result<Approved, Refusal> {
    let client = requesting.client();
    match requesting {
        RequestingClient::Authenticated(_) => {}
        RequestingClient::Public(public) => return Err(not_allowed().of(public.client_id())),
    }
    decide(client, parameters, resources)
        .map(|(subject, scope, selected)| Approved {
            grant: GrantType::ClientCredentials,
            subject,
            family,
            scope,
            selected,
            actors: Actors::default(),
            exchanged: None,
            lasting: None,
        })
        .map_err(|refusal| refusal.of(&client.client_id))
}

fn not_allowed() -> Refusal {
    Refusal::new(ErrorCode::UnauthorizedClient, Reason::GrantNotAllowed, "this client may not use the client_credentials grant")
}

fn decide(client: &Client, parameters: &Parameters, resources: &Resources) -> Result<(Subject, Scope, Selected), Refusal> {
    if !client.grant_types.contains(&GrantType::ClientCredentials) {
        return Err(not_allowed());
    }
    let selected = resources.select(client, parameters.all("resource"))?;
    let scope = match parameters.get("scope") {
        None => client.scope.intersection(&selected.scopes),
        Some(text) => {
            let requested: Scope = text.parse().map_err(|_| {
                Refusal::new(ErrorCode::InvalidScope, Reason::ParameterMalformed, "scope is malformed (RFC 6749 section 3.3)")
            })?;
            if !requested.is_subset(&client.scope) || !requested.is_subset(&selected.scopes) {
                return Err(Refusal::new(
                    ErrorCode::InvalidScope,
                    Reason::ScopeNotAllowed,
                    "the scope is unknown at this resource or not allowed for this client",
                ));
            }
            requested
        }
    };
    // With no person in sight, the subject is the client itself (RFC 9068 §2.2).
    let subject =
        client.client_id.as_str().parse::<Subject>().map_err(|_| {
            Refusal::new(ErrorCode::InvalidRequest, Reason::Defect, "this client cannot be the subject of a token")
        })?;
    Ok((subject, scope, selected))
}
