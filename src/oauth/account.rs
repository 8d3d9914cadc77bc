//! What people see and end of what applications may do in their name, and how they leave.

use super::authorization::decision::Consented;
use super::authorization::from_json;
use super::error::OauthError;
use super::resources::LONGEST_LIFETIME_SECONDS;
use super::server::AuthorizationServer;
use crate::clients::removal_window;
use crate::domain::{ClientId, Lifetime, RequestId, Timestamp};
use crate::event::{AuditEvent, Trailed};
use crate::identity::{FormChecked, Fresh, PersonError, SignedIn};

/// An application that a person has allowed something, or that holds a grant of theirs.
#[derive(Clone, Debug)]
pub struct Application {
    /// Which.
    pub client_id: ClientId,
    /// Its name, for people.
    pub name: String,
    /// The scopes that it need not ask for again.
    pub scopes: Vec<String>,
    /// Claims beyond them.
    pub claims: Vec<String>,
    /// Since when it is allowed anything; nothing where no consent is remembered, as for devices.
    pub since: Option<Timestamp>,
}

impl AuthorizationServer {
    /// The applications of a person, by name.
    pub async fn applications(&self, person: &SignedIn, now: Timestamp) -> Result<Vec<Application>, OauthError> {
        let name = |client_id: &ClientId| {
            let client = self.clients.client(client_id);
            client.and_then(|client| client.name.clone()).unwrap_or_else(|| client_id.as_str().to_owned())
        };
        let mut applications = Vec::new();
        for (client_id, since, state) in self.store.consents(&person.subject).await? {
            let Consented { scope, claims } = from_json(&state)?;
            let scopes = scope.tokens().map(str::to_owned).collect();
            applications.push(Application { name: name(&client_id), client_id, scopes, claims, since: Some(since) });
        }
        for client_id in self.store.granted_clients(&person.subject, now).await? {
            if applications.iter().all(|known| known.client_id != client_id) {
                let (scopes, claims) = (Vec::new(), Vec::new());
                applications.push(Application { name: name(&client_id), client_id, scopes, claims, since: None });
            }
        }
        applications.sort_by(|one, other| (&one.name, &one.client_id).cmp(&(&other.name, &other.client_id)));
        Ok(applications)
    }

    /// Takes back what a person has allowed an application, and ends its grants of theirs, with every token and code that came of them.
    /// Gives whether there was anything.
    pub async fn withdraw(
        &self,
        _form: &FormChecked,
        person: &SignedIn,
        client_id: &ClientId,
        request_id: &RequestId,
        now: Timestamp,
    ) -> Result<bool, OauthError> {
        let (subject, client_id, request_id) = (person.subject.clone(), client_id.clone(), request_id.clone());
        let event = AuditEvent::ConsentWithdrawn { request_id, client_id: client_id.clone(), subject };
        let window = removal_window(now, Lifetime::from_seconds(LONGEST_LIFETIME_SECONDS));
        let trailed = Trailed { time: now, event };
        let Some(rules) = self.store.withdraw_consent(&person.subject, &client_id, window, &trailed).await? else {
            return Ok(false);
        };
        self.revocations.update(|revoked| revoked.with(rules.clone()));
        Ok(true)
    }

    /// Removes a person's own account, as an operator does: sessions and grants end, tokens are revoked, the key of their data is deleted.
    /// `typed` is the username, as a word that nobody types by mistake.
    pub async fn leave(
        &self,
        form: &FormChecked,
        fresh: &Fresh,
        person: &SignedIn,
        typed: &str,
        now: Timestamp,
    ) -> Result<(), PersonError> {
        let window = removal_window(now, Lifetime::from_seconds(LONGEST_LIFETIME_SECONDS));
        let ended = self.people.close(form, fresh, person, typed, window, now).await?;
        // Before anything else can fail: the tokens are worth nothing here from now on, and whoever is to hear of it hears of it.
        self.sessions_ended(&ended);
        self.people.remove(&person.subject, window, now).await
    }
}
