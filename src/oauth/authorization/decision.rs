//! What a request still needs of the person: to sign in, to consent, or nothing any more.

use serde::{Deserialize, Serialize};

use super::request::{AuthorizationRequest, Prompt};
use crate::domain::{Scope, SessionId, Timestamp};
use crate::event::Reason;
use crate::identity::{Acr, SignedIn};
use crate::oauth::error::{ErrorCode, Refusal};

/// Who was signed in when an interaction began. Signing in again is seen by the difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prior {
    /// In which session.
    pub session_id: SessionId,
    /// How often they had signed in in it.
    pub sign_ins: u32,
}

impl Prior {
    /// What is to be remembered of a session.
    pub fn of(login: &SignedIn) -> Self {
        Self { session_id: login.session_id.clone(), sign_ins: login.sign_ins }
    }
}

/// What has happened since the request arrived.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// Nothing: it has just arrived.
    Arrived,
    /// The person was sent away to sign in or to consent, at this moment, when this session, or none, was there.
    Interacted(Option<&'a Prior>, Timestamp),
}

/// What the person has allowed the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consented {
    /// These scopes.
    pub scope: Scope,
    /// These claims, beyond what the scopes mean.
    #[serde(default)]
    pub claims: Vec<String>,
}

impl Consented {
    /// What a request asks to be allowed.
    pub fn asked_by(request: &AuthorizationRequest) -> Self {
        let mut claims: Vec<String> = request.claims.names().map(str::to_owned).collect();
        claims.sort_unstable();
        claims.dedup();
        Self { scope: request.scope.clone(), claims }
    }

    /// Whether it covers what is asked.
    fn covers(&self, asked: &Self) -> bool {
        asked.scope.is_subset(&self.scope) && asked.claims.iter().all(|claim| self.claims.contains(claim))
    }

    /// Both together.
    pub fn with(&self, other: &Self) -> Self {
        let mut claims = [self.claims.as_slice(), other.claims.as_slice()].concat();
        claims.sort_unstable();
        claims.dedup();
        Self { scope: self.scope.union(&other.scope), claims }
    }
}

/// Where the consent that a grant rests on comes from.
#[derive(Clone, Copy, Debug)]
pub enum ConsentSource<'a> {
    /// What was allowed before, if anything; the client's answers reach that client alone.
    Remembered(Option<&'a Consented>),
    /// What was allowed before cannot be relied upon: another program could pose as this client (RFC 8252 §8.6).
    AskedEachTime,
    /// The person has just allowed it on our page.
    Given,
}

/// What is to happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The person signs in, and comes back.
    SignIn,
    /// The person is asked, and comes back.
    Consent,
    /// The client gets its code.
    Grant(Granting),
}

/// Leave to grant: signed in as the request wants it, and allowed. Made by [`decide`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granting(SignedIn);

impl Granting {
    /// Who grants.
    pub fn login(&self) -> &SignedIn {
        &self.0
    }
}

/// Decides. `hinted` tells whether the person who is signed in is the one `id_token_hint` speaks of.
pub fn decide(
    request: &AuthorizationRequest,
    login: Option<&SignedIn>,
    is_hinted: impl FnOnce(&SignedIn) -> bool,
    progress: Progress<'_>,
    consent: ConsentSource<'_>,
    now: Timestamp,
) -> Result<Next, Refusal> {
    let silent = request.prompts(Prompt::None);
    let sign_in = || match silent {
        false => Ok(Next::SignIn),
        true => Err(Refusal::new(ErrorCode::LoginRequired, Reason::LoginRequired, "the person would have to sign in")),
    };
    let Some(login) = login else { return sign_in() };
    let is_fresh = match progress {
        Progress::Arrived => false,
        Progress::Interacted(Some(prior), _) if prior.session_id == login.session_id => login.sign_ins > prior.sign_ins,
        // Another session than was there, or the first: one that is older than the request is only shown now, and proves nothing.
        Progress::Interacted(_, begun) => login.signed_in >= begun,
    };
    // Whoever came by another provider may have proven long ago who they are.
    let proven_since = |begun| login.auth_time == login.signed_in || login.auth_time >= begun;
    let has_proven = is_fresh && matches!(progress, Progress::Interacted(_, begun) if proven_since(begun));
    let again = request.prompts(Prompt::Login) || request.prompts(Prompt::SelectAccount);
    // A sign-in on our page for this very request is as recent as it can be.
    let too_old = request.max_age.is_some_and(|seconds| now.seconds_since(login.auth_time) > u64::from(seconds) || seconds == 0);
    if (again || too_old) && !has_proven {
        return sign_in();
    }
    if request.hinted_subject.is_some() && !is_hinted(login) {
        return match is_fresh {
            false => sign_in(),
            true => {
                let description = "another person signed in than the one id_token_hint names";
                Err(Refusal::new(ErrorCode::LoginRequired, Reason::LoginRequired, description))
            }
        };
    }
    // `acr_values` is a wish (OpenID Connect Core §3.1.2.1): whoever is not to be asked, or has just signed in, goes on as they are.
    if !is_fresh && !silent && needs_more(request, login) {
        return sign_in();
    }
    check_essential_acr(request, login)?;
    let asked = Consented::asked_by(request);
    let allowed = match consent {
        ConsentSource::Given => true,
        ConsentSource::AskedEachTime => false,
        ConsentSource::Remembered(remembered) => {
            !request.prompts(Prompt::Consent) && remembered.is_some_and(|remembered| remembered.covers(&asked))
        }
    };
    match (allowed, silent) {
        (true, _) => Ok(Next::Grant(Granting(login.clone()))),
        (false, false) => Ok(Next::Consent),
        (false, true) => {
            Err(Refusal::new(ErrorCode::ConsentRequired, Reason::ConsentRequired, "the person would have to consent"))
        }
    }
}

/// The classes that a request wishes for, the best first: those of an essential or voluntary claim, else `acr_values`.
fn wished(request: &AuthorizationRequest) -> Vec<Acr> {
    let claim = request.claims.id_token.get("acr").filter(|wish| !wish.values.is_empty());
    match claim {
        Some(wish) => wish.values.iter().filter_map(|value| value.as_str()).filter_map(Acr::from_name).collect(),
        None => request.acr_values.iter().filter_map(|name| Acr::from_name(name)).collect(),
    }
}

/// Whether another sign-in might reach a class that is wished for, and this one did not.
fn needs_more(request: &AuthorizationRequest, login: &SignedIn) -> bool {
    let wished = wished(request);
    !wished.is_empty() && !wished.iter().any(|wish| login.acr >= Some(*wish))
}

/// The class that the client is told: the first that it wishes for and that was reached, else the one that was reached.
pub fn told_acr(request: &AuthorizationRequest, login: &SignedIn) -> Option<Acr> {
    wished(request).into_iter().find(|wish| login.acr >= Some(*wish)).or(login.acr)
}

/// An `acr` that is essential, with values, must be one of them (OpenID Connect Core §5.5.1.1). `acr_values` is a wish.
fn check_essential_acr(request: &AuthorizationRequest, login: &SignedIn) -> Result<(), Refusal> {
    let Some(wish) = request.claims.id_token.get("acr").filter(|wish| wish.essential && !wish.values.is_empty()) else {
        return Ok(());
    };
    let reaches = |name: &str| Acr::from_name(name).is_some_and(|class| login.acr >= Some(class));
    if wish.values.iter().any(|value| value.as_str().is_some_and(reaches)) {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::UnmetAuthenticationRequirements,
        Reason::AcrUnmet,
        "the person did not sign in in the way that the request demands",
    ))
}

#[cfg(test)]
mod tests;
