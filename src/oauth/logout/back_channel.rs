//! Telling clients by a request of ours that a session has ended (OpenID Connect Back-Channel Logout 1.0).
//!
//! A notice is a row that committed with the end of its session. Whoever takes it has it for a while; when a process dies, another one,
//! or the next, takes it again. A client may thus be told twice, and never not at all: until it has failed [`MOST_ATTEMPTS`] times.

use futures_util::StreamExt as _;
use futures_util::stream;
use http::StatusCode;

use crate::clients::{Client, Message, SecureUri};
use crate::domain::{Lifetime, Timestamp, TokenId};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::jose::jwe::Content;
use crate::keys::TokenType;
use crate::oauth::error::{Fault, OauthError};
use crate::oauth::server::AuthorizationServer;
use crate::oidc::logout_token::{LIFETIME_SECONDS, LogoutToken};
use crate::store::{LogoutNotice, StoreError};

/// Notices that are read at once.
const PAGE: u32 = 64;
/// Clients that are told at once.
const AT_ONCE: usize = 16;
/// How much longer than a request may take a notice is kept from others.
const MARGIN_SECONDS: u32 = 30;
/// How often a client is tried: over about 35 minutes.
const MOST_ATTEMPTS: i64 = 12;
/// The pause after the first failure; each failure doubles it.
const FIRST_PAUSE_SECONDS: u32 = 2;
/// The longest pause.
const LONGEST_PAUSE_SECONDS: u32 = 600;

impl AuthorizationServer {
    /// Tells clients what is due. Gives whether there may be more.
    ///
    /// # Errors
    /// When the database does not answer: what is due stays due.
    pub async fn tell_clients(&self) -> Result<bool, OauthError> {
        let now = self.clock.now()?;
        let due = self.store.due_logout_notices(now, PAGE).await?;
        let is_full = due.len() == PAGE as usize;
        let told = stream::iter(due).map(|notice| self.tell_client(notice, now)).buffer_unordered(AT_ONCE);
        let failed = told.filter_map(|outcome| std::future::ready(outcome.err())).collect::<Vec<_>>().await;
        match failed.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(is_full),
        }
    }

    async fn tell_client(&self, notice: LogoutNotice, now: Timestamp) -> Result<(), StoreError> {
        let client = self.clients.client(&notice.client_id);
        let Some((client, uri)) = client.as_ref().and_then(|client| Some((client, client.logout.back_channel.as_ref()?))) else {
            return self.store.end_logout_notice(&notice, None).await;
        };
        let limits = self.logouts.outbound.as_ref().map(crate::fetch::Client::limits);
        let seconds = limits.map_or(0, |limits| limits.total_seconds).saturating_add(MARGIN_SECONDS);
        let Some(notice) = self.store.take_logout_notice(&notice, now.plus(Lifetime::from_seconds(seconds))).await? else {
            return Ok(());
        };
        let LogoutNotice { client_id, session_id, attempts, .. } = notice.clone();
        let problem = match self.post_logout_token(client, uri, &notice).await {
            Ok(()) => {
                let event = AuditEvent::LogoutTold { client_id, session_id, attempts };
                return self.store.end_logout_notice(&notice, Some(&Trailed { time: self.time_or(now), event })).await;
            }
            Err(problem) => problem,
        };
        tracing::warn!(%client_id, attempts, problem, "a client could not be told that a session ended");
        let now = self.time_or(now);
        if attempts >= MOST_ATTEMPTS {
            let event = AuditEvent::LogoutLost { client_id, session_id, attempts, problem };
            return self.store.end_logout_notice(&notice, Some(&Trailed { time: now, event })).await;
        }
        self.store.postpone_logout_notice(&notice, now.plus(pause(attempts))).await
    }

    /// Sends one logout token (§2.5). The client is to answer 200; some frameworks make 204 of it (§2.8).
    async fn post_logout_token(&self, client: &Client, uri: &SecureUri, notice: &LogoutNotice) -> Result<(), String> {
        let outbound = self.logouts.outbound.as_ref().ok_or("nothing is sent: name whom to trust in [outbound]")?;
        let failed = |fault: Fault| fault.reason().to_string();
        let signed = self.logout_token(client, notice).map_err(failed)?;
        // Encrypted like the client's ID tokens (§2.6).
        let token = self.encrypted(client, Message::IdToken, Content::Jwt, signed).await.map_err(failed)?;
        let answer = outbound.post_form(uri.url(), &[("logout_token", &token)]).await.map_err(|error| error.to_string())?;
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            status => Err(format!("the client answered with {}", status.as_u16())),
        }
    }

    /// Signed like the client's ID tokens (§2.4).
    fn logout_token(&self, client: &Client, notice: &LogoutNotice) -> Result<String, Fault> {
        let unavailable = Fault::Unavailable;
        let now = self.clock.now().map_err(|_| unavailable(Reason::ClockUnreadable))?;
        let token_id = TokenId::random(&*self.randomness).map_err(|_| unavailable(Reason::RandomnessUnavailable))?;
        let algorithm = self.id_token_algorithm(client).ok_or(unavailable(Reason::SigningKeyAbsent))?;
        let keys = self.keys.load();
        let signer = keys.signer(algorithm, TokenType::LogoutToken).ok_or(unavailable(Reason::SigningKeyAbsent))?;
        let token = LogoutToken {
            issuer: &self.issuer,
            subject: &self.subject_for(client, &notice.subject)?,
            client_id: &client.client_id,
            issued_at: now,
            expires: now.plus(Lifetime::from_seconds(LIFETIME_SECONDS)),
            token_id: &token_id,
            session_id: &notice.session_id,
        };
        token.sign(signer).map_err(|error| Fault::Defect(error.reason()))
    }

    fn time_or(&self, before: Timestamp) -> Timestamp {
        self.clock.now().unwrap_or(before)
    }
}

/// The pause after so many failures.
fn pause(attempts: i64) -> Lifetime {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    Lifetime::from_seconds(FIRST_PAUSE_SECONDS.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST_PAUSE_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_all_of_them_are_about_35_minutes() {
        assert_eq!([1, 2, 3, 9, 10, i64::MAX].map(|attempts| pause(attempts).seconds()), [2, 4, 8, 512, 600, 600]);
        let all: u32 = (1..MOST_ATTEMPTS).map(|attempts| pause(attempts).seconds()).sum();
        assert_eq!(all, 2_222);
    }
}
