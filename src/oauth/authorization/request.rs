//! An authorization request, read (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1).
//!
//! In two steps, because of what may be said to whom: before client and `redirect_uri` are known to belong together, nothing is sent
//! anywhere ([`destination`]); after that, every refusal goes back to the client ([`read`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::clients::ResponseMode;
use crate::clients::{AcceptedRedirectUri, Client, Directory, GrantType};
use crate::domain::{ClientId, Scope, Subject, Thumbprint};
use crate::event::Reason;
use crate::oauth::error::{ErrorCode, Refusal};
use crate::oauth::parameters::Parameters;
use crate::oauth::pkce::{self, CodeChallenge};
use crate::oauth::profiles::{Demand, Rules, UnknownScope};
use crate::oauth::resources::Resources;
use crate::oidc::ClaimsRequest;

/// The longest value of a parameter that is kept, in bytes.
const LONGEST_VALUE: usize = 4_096;
/// The most values of a parameter that is a list.
const MOST_VALUES: usize = 16;

/// What a request wants to be asked of the person (`prompt`, OpenID Connect Core §3.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Nothing.
    None,
    /// To sign in again.
    Login,
    /// To consent again.
    Consent,
    /// To choose who they are: here, to sign in again.
    SelectAccount,
}

impl Prompt {
    /// Every value there is.
    pub const ALL: [Self; 4] = [Self::None, Self::Login, Self::Consent, Self::SelectAccount];

    /// The value of `prompt`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::Consent => "consent",
            Self::SelectAccount => "select_account",
        }
    }
}

/// Where the answer to a request goes: the client is known, and the redirect URI is one of its own.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The client.
    pub client: Arc<Client>,
    /// Where answers go.
    pub redirect_uri: AcceptedRedirectUri,
    /// Whether the request named it; then the token request must name it too (RFC 6749 §4.1.3).
    pub redirect_uri_named: bool,
    /// How they are sent.
    pub response_mode: ResponseMode,
    /// `state`, which the answer repeats.
    pub state: Option<String>,
}

/// A request that can be put to a person. It is kept sealed while that takes time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// The client.
    pub client_id: ClientId,
    /// Where the answer goes, as the request wrote it. It is held against the registration again before anything is sent.
    pub redirect_uri: String,
    /// Whether the request named it.
    pub redirect_uri_named: bool,
    /// How the answer is sent.
    pub response_mode: ResponseMode,
    /// `state`.
    pub state: Option<String>,
    /// What is asked for.
    pub scope: Scope,
    /// `resource` (RFC 8707 §2.1).
    pub resources: Vec<String>,
    /// `code_challenge`.
    pub code_challenge: Option<CodeChallenge>,
    /// `dpop_jkt`: the DPoP key that alone may redeem the code (RFC 9449 §10).
    pub dpop_jkt: Option<Thumbprint>,
    /// `nonce`.
    pub nonce: Option<String>,
    /// `prompt`.
    pub prompt: Vec<Prompt>,
    /// Seconds since the person signed in, at most: `max_age`, or the registration's.
    pub max_age: Option<u32>,
    /// `acr_values`.
    pub acr_values: Vec<String>,
    /// `claims`.
    pub claims: ClaimsRequest,
    /// `login_hint`.
    pub login_hint: Option<String>,
    /// `ui_locales`.
    pub ui_locales: Option<String>,
    /// The person that `id_token_hint` speaks of, as this client knows them.
    pub hinted_subject: Option<Subject>,
}

impl AuthorizationRequest {
    /// Whether OpenID Connect is spoken: an ID token is wanted.
    pub fn is_openid(&self) -> bool {
        self.scope.contains("openid")
    }

    /// Whether the request has this `prompt`.
    pub fn prompts(&self, prompt: Prompt) -> bool {
        self.prompt.contains(&prompt)
    }
}

fn invalid(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, reason, description)
}

/// Finds the client of a request.
pub fn client(parameters: &Parameters, clients: &Directory) -> Result<Arc<Client>, Refusal> {
    let named = parameters.require("client_id")?;
    let unknown = || invalid(Reason::ClientUnknown, "there is no such client");
    let client_id: ClientId = named.parse().map_err(|_| unknown())?;
    let client = clients.client(&client_id).ok_or_else(unknown)?;
    if !client.grant_types.contains(&GrantType::AuthorizationCode) {
        let refusal = Refusal::new(
            ErrorCode::UnauthorizedClient,
            Reason::GrantNotAllowed,
            "this client may not use the authorization endpoint",
        );
        return Err(refusal.of(&client_id));
    }
    Ok(client.clone())
}

/// Finds out where the answer goes. Its refusals must not be sent there.
pub fn destination(parameters: &Parameters, client: Arc<Client>, rules: &Rules) -> Result<Destination, Refusal> {
    let of = |refusal: Refusal| refusal.of(&client.client_id);
    let is_openid = parameters.get("scope").is_some_and(|scope| scope.split(' ').any(|token| token == "openid"));
    let registered = &client.authorization.redirect_uris;
    let named = parameters.get("redirect_uri");
    let redirect_uri = match (named, registered.as_slice()) {
        (Some(named), _) => registered
            .iter()
            .find_map(|registered| registered.accept(named))
            .ok_or_else(|| of(invalid(Reason::RedirectUriMismatch, "redirect_uri is not one that this client registered")))?,
        (None, [one]) if rules.redirect_uri == Demand::Optional && !is_openid => {
            one.accept(one.as_str()).ok_or_else(|| of(invalid(Reason::RedirectUriMismatch, "redirect_uri is missing")))?
        }
        (None, _) => return Err(of(invalid(Reason::RedirectUriAbsent, "redirect_uri is missing"))),
    };
    let response_mode = match parameters.get("response_mode") {
        None => ResponseMode::default(),
        Some(written) => ResponseMode::ALL
            .into_iter()
            .find(|mode| mode.name() == written)
            // How to tell it is what is not known.
            .ok_or_else(|| of(invalid(Reason::ResponseModeUnsupported, "this response_mode is not supported")))?,
    };
    if !client.messages.allows(response_mode) {
        let description = "this response_mode is none of those that this client is registered for";
        return Err(of(invalid(Reason::ResponseModeUnsupported, description)));
    }
    let state = match parameters.get("state") {
        Some(state) if state.len() > LONGEST_VALUE => {
            return Err(of(invalid(Reason::ParameterMalformed, "state is longer than this server keeps")));
        }
        state => state.map(str::to_owned),
    };
    Ok(Destination { redirect_uri, redirect_uri_named: named.is_some(), response_mode, state, client })
}

/// What `id_token_hint` is read with: the caller verifies the signature, which takes keys.
pub trait Hints {
    /// The subject of an ID token of ours for this client, expired or not.
    fn subject(&self, id_token: &str, client: &Client) -> Result<Subject, Reason>;
}

/// Reads everything else. Its refusals may be sent to the destination.
pub fn read(
    parameters: &Parameters,
    destination: &Destination,
    rules: &Rules,
    resources: &Resources,
    hints: &dyn Hints,
) -> Result<AuthorizationRequest, Refusal> {
    read_all(parameters, destination, rules, resources, hints).map_err(|refusal| refusal.of(&destination.client.client_id))
}

fn read_all(
    parameters: &Parameters,
    destination: &Destination,
    rules: &Rules,
    resources: &Resources,
    hints: &dyn Hints,
) -> Result<AuthorizationRequest, Refusal> {
    let client = &destination.client;
    refuse_unsupported(parameters)?;
    match parameters.require("response_type")? {
        "code" => {}
        _ => {
            return Err(Refusal::new(
                ErrorCode::UnsupportedResponseType,
                Reason::ResponseTypeUnsupported,
                "response_type must be code (RFC 9700 section 2.1.2)",
            ));
        }
    }
    let code_challenge = pkce::challenge(parameters, rules.pkce)?;
    let (scope, resources) = scope_within_registration(parameters, client, rules, resources)?;
    let is_openid = scope.contains("openid");
    let prompt = prompts(parameters)?;
    let max_age = match parameters.get("max_age") {
        None => client.authorization.default_max_age,
        Some(written) => {
            let digits = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
            let seconds = written.parse::<u64>().ok().filter(|_| digits);
            let seconds = seconds.ok_or_else(|| invalid(Reason::ParameterMalformed, "max_age is not a number of seconds"))?;
            Some(u32::try_from(seconds).unwrap_or(u32::MAX))
        }
    };
    let claims = match parameters.get("claims") {
        Some(written) if is_openid => ClaimsRequest::parse(written)
            .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, error.to_string()))?,
        _ => ClaimsRequest::default(),
    };
    let hinted_subject = match parameters.get("id_token_hint") {
        None => None,
        Some(hint) => Some(hints.subject(hint, client).map_err(|_| {
            invalid(Reason::IdTokenHint, "id_token_hint is not an ID token that this server issued to this client")
        })?),
    };
    Ok(AuthorizationRequest {
        client_id: client.client_id.clone(),
        redirect_uri: destination.redirect_uri.as_str().to_owned(),
        redirect_uri_named: destination.redirect_uri_named,
        response_mode: destination.response_mode,
        state: destination.state.clone(),
        scope,
        // The default too, so that no refresh goes beyond what was granted.
        resources,
        code_challenge,
        dpop_jkt: match parameters.get("dpop_jkt") {
            None => None,
            Some(written) => Some(written.parse().map_err(|_| {
                invalid(Reason::ParameterMalformed, "dpop_jkt is not a SHA-256 thumbprint (RFC 9449 section 10)")
            })?),
        },
        nonce: kept(parameters, "nonce")?,
        prompt,
        max_age,
        acr_values: match list(parameters, "acr_values")? {
            none if none.is_empty() => client.about.default_acr_values(),
            named => named,
        },
        claims,
        login_hint: kept(parameters, "login_hint")?,
        ui_locales: kept(parameters, "ui_locales")?,
        hinted_subject,
    })
}

/// `scope` and `resource` (RFC 8707 §2.1): what is asked for, of what the client is registered for, and at which resources, written out.
pub fn scope_within_registration(
    parameters: &Parameters,
    client: &Client,
    rules: &Rules,
    resources: &Resources,
) -> Result<(Scope, Vec<String>), Refusal> {
    let written: Vec<String> = parameters.all("resource").map(str::to_owned).collect();
    let asked = asked_scope(parameters, client, rules)?;
    let is_openid = asked.as_ref().is_some_and(|scope| scope.contains("openid"));
    let selected = resources.select_for_person(client, written.iter().map(String::as_str), is_openid)?;
    let scope = match asked {
        None => client.scope.intersection(&selected.scopes),
        Some(scope) if scope.is_subset(&selected.scopes) => scope,
        Some(scope) => match rules.unknown_scope {
            UnknownScope::Ignored => scope.intersection(&selected.scopes),
            UnknownScope::Refused => return Err(scope_refused()),
        },
    };
    Ok((scope, selected.identifiers))
}

/// What would change the meaning of the rest, and is not understood.
fn refuse_unsupported(parameters: &Parameters) -> Result<(), Refusal> {
    match parameters.get("registration") {
        None => Ok(()),
        Some(_) => Err(Refusal::new(
            ErrorCode::RegistrationNotSupported,
            Reason::RequestUnsupported,
            "the parameter registration is not supported",
        )),
    }
}

/// What the request asks for, of what the client is registered for.
fn asked_scope(parameters: &Parameters, client: &Client, rules: &Rules) -> Result<Option<Scope>, Refusal> {
    let Some(written) = parameters.get("scope") else { return Ok(None) };
    let asked: Scope = written.parse().map_err(|_| {
        Refusal::new(ErrorCode::InvalidScope, Reason::ParameterMalformed, "scope is malformed (RFC 6749 section 3.3)")
    })?;
    if asked.is_subset(&client.scope) {
        return Ok(Some(asked));
    }
    match rules.unknown_scope {
        UnknownScope::Ignored => Ok(Some(asked.intersection(&client.scope))),
        UnknownScope::Refused => Err(scope_refused()),
    }
}

fn scope_refused() -> Refusal {
    Refusal::new(
        ErrorCode::InvalidScope,
        Reason::ScopeNotAllowed,
        "the scope is unknown at this resource or not allowed for this client",
    )
}

fn prompts(parameters: &Parameters) -> Result<Vec<Prompt>, Refusal> {
    let mut prompts = Vec::new();
    for written in list(parameters, "prompt")? {
        let prompt = Prompt::ALL.into_iter().find(|prompt| prompt.name() == written);
        prompts.push(prompt.ok_or_else(|| invalid(Reason::ParameterMalformed, "prompt has a value that is not supported"))?);
    }
    if prompts.contains(&Prompt::None) && prompts.len() > 1 {
        return Err(invalid(Reason::ParameterMalformed, "prompt none excludes every other value"));
    }
    Ok(prompts)
}

/// A parameter that is kept as it is.
fn kept(parameters: &Parameters, name: &'static str) -> Result<Option<String>, Refusal> {
    match parameters.get(name) {
        Some(value) if value.len() > LONGEST_VALUE => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            Reason::ParameterMalformed,
            format!("{name} is longer than this server keeps"),
        )),
        value => Ok(value.map(str::to_owned)),
    }
}

/// A parameter that is a list of words.
fn list(parameters: &Parameters, name: &'static str) -> Result<Vec<String>, Refusal> {
    let words: Vec<String> = kept(parameters, name)?
        .map(|value| value.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
        .unwrap_or_default();
    if words.len() > MOST_VALUES {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            Reason::ParameterMalformed,
            format!("{name} has more values than this server reads"),
        ));
    }
    Ok(words)
}

#[cfg(test)]
mod tests;
