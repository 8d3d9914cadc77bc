//! Asking the person (OpenID Connect Core §3.1.2.4).

use super::answer::form_target;
use super::decision::{ConsentSource, Consented, Granting, Next};
use super::interaction::{self, InteractionId};
use super::request::AuthorizationRequest;
use super::{Outcome, Underway, decision, from_json, to_json};
use crate::clients::Client;
use crate::domain::{RequestId, Timestamp};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::identity::{FormChecked, SignedIn};
use crate::oauth::error::{ErrorCode, OauthError, Refusal};
use crate::oauth::server::AuthorizationServer;
use crate::seal::Plaintext;
use crate::store::{Finished, Finishes};

/// What the page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentPage {
    /// The client's name, for people.
    pub client_name: String,
    /// The host or scheme that the answer goes to.
    pub destination: String,
    /// The scopes that are asked for, sorted.
    pub scopes: Vec<String>,
    /// Claims beyond what the scopes mean, sorted.
    pub claims: Vec<String>,
    /// Pages of the client's, by what they are.
    pub links: Vec<(&'static str, String)>,
    /// The place that the form leads to in the end, for the page's `form-action` policy.
    pub form_target: Option<String>,
}

/// What the person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

impl Decided {
    /// The value of the form's field `decision`.
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "allow" => Some(Self::Allow),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }
}

/// Proof that a person has just said yes on our own page. Made here alone.
#[derive(Debug)]
pub(super) struct Allowed(());

impl AuthorizationServer {
    /// The page for an interaction, or whatever comes first: to sign in, or to go on without asking.
    ///
    /// # Errors
    /// An interaction that is unknown or over.
    pub async fn consent_page(
        &self,
        id: &InteractionId,
        login: Option<&SignedIn>,
        request_id: &RequestId,
    ) -> Result<Result<ConsentPage, Outcome>, OauthError> {
        match self.resume(id, login, request_id).await? {
            Outcome::Consent(_) => {}
            other => return Ok(Err(other)),
        }
        let now = self.clock.now()?;
        let requested = self.restore(&self.interaction(id, now).await?)?;
        let (client, asked) = (&requested.destination.client, Consented::asked_by(&requested.request));
        let target = form_target(&requested.request.redirect_uri);
        Ok(Ok(ConsentPage {
            client_name: client.name.clone().unwrap_or_else(|| client.client_id.as_str().to_owned()),
            destination: target.clone().unwrap_or_default(),
            scopes: asked.scope.tokens().map(str::to_owned).collect(),
            claims: asked.claims,
            links: [
                ("Home page", client.about.client_uri()),
                ("Logo", client.about.logo_uri()),
                ("Privacy policy", client.about.policy_uri()),
                ("Terms of service", client.about.tos_uri()),
            ]
            .into_iter()
            .filter_map(|(title, uri)| Some((title, uri?.to_owned())))
            .collect(),
            form_target: target,
        }))
    }

    /// Goes on with what the person said. `_form` proves that they said it on our own page.
    ///
    /// # Errors
    /// An interaction that is unknown or over.
    pub async fn decide_consent(
        &self,
        id: &InteractionId,
        decided: Decided,
        _form: &FormChecked,
        login: Option<&SignedIn>,
        request_id: &RequestId,
    ) -> Result<Outcome, OauthError> {
        let now = self.clock.now()?;
        let interaction = self.interaction(id, now).await?;
        let requested = self.restore(&interaction)?;
        let progress = interaction.progress();
        if decided == Decided::Allow {
            let given = Allowed(());
            let underway = Underway { requested: &requested, interaction: Some(id), progress, given: Some(&given) };
            return self.proceed(&underway, login, now, request_id).await;
        }
        // Whoever would have to sign in first cannot say no in somebody's name.
        let request = &requested.request;
        let login = match (login, decision::decide(request, login, |_| true, progress, ConsentSource::AskedEachTime, now)) {
            (Some(login), Ok(Next::Consent)) => login,
            _ => {
                let underway = Underway { requested: &requested, interaction: Some(id), progress, given: None };
                return self.proceed(&underway, login, now, request_id).await;
            }
        };
        let finishes = Finishes { interaction: Some(id.as_str()), pushed_request: requested.pushed.as_deref() };
        let event = AuditEvent::AuthorizationDenied {
            request_id: request_id.clone(),
            client_id: request.client_id.clone(),
            subject: login.subject.clone(),
            session_id: login.session_id.clone(),
        };
        match self.store.end_authorization(&finishes, &Trailed { time: now, event }).await? {
            Finished::Before => Err(interaction::over().of(&request.client_id).into()),
            Finished::Now => {
                let refusal = Refusal::new(ErrorCode::AccessDenied, Reason::ConsentDenied, "the person said no");
                let refusal = refusal.of(&request.client_id);
                self.refuse(&requested.destination, refusal, now).await
            }
        }
    }

    /// Remembers what was allowed, together with what was allowed before and not taken back.
    ///
    /// # Errors
    /// An account that has ended meanwhile, and its session with it.
    pub(super) async fn remember(
        &self,
        granting: &Granting,
        client: &Client,
        request: &AuthorizationRequest,
        _allowed: &Allowed,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<(), OauthError> {
        let asked = Consented::asked_by(request);
        let subject = &granting.login().subject;
        let allow = |remembered: Option<Plaintext>| -> Result<_, OauthError> {
            let remembered: Option<Consented> = remembered.map(|state| from_json(&state)).transpose()?;
            let together = remembered.as_ref().map_or_else(|| asked.clone(), |remembered| remembered.with(&asked));
            if remembered.as_ref() == Some(&together) {
                return Ok(None);
            }
            let event = AuditEvent::ConsentGiven {
                request_id: request_id.clone(),
                client_id: client.client_id.clone(),
                subject: subject.clone(),
                scope: together.scope.clone(),
            };
            Ok(Some((to_json(&together)?, Trailed { time: now, event })))
        };
        match self.store.put_consent(subject, &client.client_id, allow).await? {
            true => Ok(()),
            false => Err(interaction::over().of(&client.client_id).into()),
        }
    }
}
