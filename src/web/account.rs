//! `/account`: what is known of oneself, where one is signed in, one's password.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, header};
use time::OffsetDateTime;

use super::account_pages::{AccountApplication, AccountCertificate, AccountPage, AccountPasskey, AccountPerson, AccountSession};
use super::consent::meaning_of;
use super::pages::{Leads, answer, refused, see_other};
use super::reject::{PersonRefusal, Rejected, WebError, rejection_of};
use super::{Peer, Web, extract, path};
use crate::domain::{RequestId, Timestamp};
use crate::event::Reason;
use crate::identity::{self, CertificateLink, Form, FormChecked, Fresh, PasskeyView, PersonClaims, SessionView, SignedIn};
use crate::oauth::Application;
use crate::oauth::error::{ErrorCode, Refusal};
use crate::oauth::parameters::Parameters;
use crate::seal::Password;

/// What was done, as `?done=` of the page has it: words of ours, whatever the address says.
const DONE: [(&str, &str); 10] = [
    ("application", "This application may do nothing in your name any more."),
    ("password", "Your password is changed. You are signed out everywhere else."),
    ("sessions", "Signed out there."),
    ("totp", "Two-step sign-in is off."),
    ("certificate", "You can sign in with this certificate now."),
    ("passkey", "You can sign in with this passkey now."),
    ("passkey-removed", "The passkey is removed here. Remove it from your device too. You are signed out everywhere else."),
    ("linked", "You can sign in with this account now."),
    ("unlinked", "The account is linked no more. You are signed out everywhere else."),
    ("certificate-removed", "The certificate is removed. You are signed out everywhere else."),
];

/// Shows the page; whoever is not signed in is led to do so.
pub async fn get(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    match show(&web, request.headers().clone(), extract::query(&request)).await {
        Ok(response) => response,
        Err(error) => web.pages.refusal(rejection_of(&error), id.as_str()),
    }
}

async fn show(web: &Web, headers: HeaderMap, query: Result<Parameters, extract::ExtractError>) -> Result<Response, WebError> {
    let parameters = query?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let Some(person) = web.server.sessions.current(&headers, now).await? else {
        return Ok(see_other(&web.pages.path(path::SIGN_IN)));
    };
    let done = parameters.get("done");
    let notice = DONE.into_iter().find(|(name, _)| done == Some(name)).map(|(_, words)| words);
    page(web, &headers, &person, now, (notice, None), StatusCode::OK).await
}

pub(super) async fn page(
    web: &Web,
    headers: &HeaderMap,
    person: &SignedIn,
    now: Timestamp,
    (notice, problem): (Option<&str>, Option<&str>),
    status: StatusCode,
) -> Result<Response, WebError> {
    let claims = web.server.people.claims(&person.subject).await?.unwrap_or_default();
    let sessions = web.server.sessions.list(person, now).await?;
    let Some((token, _)) = web.server.sessions.form_token(Form::Account, headers)? else { return Err(WebError::defect()) };
    let certificates = match &web.server.person_certificates {
        None => None,
        Some(_) => Some(web.server.people.certificates(&person.subject).await.map_err(identity::Fault::from)?),
    };
    let passkeys = match web.server.people.has_passkeys() {
        false => None,
        true => Some(web.server.people.passkeys(&person.subject).await.map_err(identity::Fault::from)?),
    };
    let applications = web.server.applications(person, now).await?;
    let page = AccountPage {
        csrf: token.as_str(),
        person: shown_person(claims),
        sessions: sessions.into_iter().map(shown_session).collect(),
        min_length: web.min_password_length,
        applications: applications.into_iter().map(shown_application).collect(),
        deletion: web.allows_deletion,
        certificates: certificates.map(|links| links.into_iter().map(shown_certificate).collect()),
        passkeys: passkeys.map(|passkeys| passkeys.into_iter().map(shown_passkey).collect()),
        links: super::account_links::shown(web, &person.subject).await?,
        second_factor: web.server.people.recovery_codes_left(&person.subject).await?,
        notice,
        problem,
    };
    Ok(answer(web.pages.account(&page), status, Leads::Here))
}

fn shown_person(claims: PersonClaims) -> AccountPerson {
    AccountPerson {
        username: claims.preferred_username.unwrap_or_default(),
        name: claims.name,
        email: claims.email,
        email_verified: claims.email_verified.unwrap_or(false),
        phone_number: claims.phone_number,
        groups: claims.groups,
    }
}

fn shown_application(application: Application) -> AccountApplication {
    let mut allowed: Vec<String> = application.scopes.iter().map(|scope| meaning_of(scope).title.to_owned()).collect();
    allowed.extend(application.claims);
    let since = application.since.map(moment);
    AccountApplication { id: application.client_id.as_str().to_owned(), name: application.name, allowed, since }
}

fn shown_certificate(CertificateLink { link, created, label }: CertificateLink) -> AccountCertificate {
    let until = label.not_after.map(moment);
    AccountCertificate { id: link.as_str().to_owned(), title: label.title, until, since: moment(created) }
}

fn shown_passkey(view: PasskeyView) -> AccountPasskey {
    AccountPasskey {
        id: view.passkey.as_str().to_owned(),
        name: view.name,
        is_synchronised: view.is_synchronised,
        since: moment(view.created),
        used: (view.used > view.created).then(|| moment(view.used)),
    }
}

fn shown_session(view: SessionView) -> AccountSession {
    AccountSession {
        browser: browser_name(&view.user_agent),
        address: view.address.to_string(),
        since: moment(view.auth_time),
        used: moment(view.used),
        is_current: view.is_current,
        id: view.session_id.as_str().to_owned(),
    }
}

/// `22 November 2026, 21:46 UTC`.
pub(super) fn moment(at: Timestamp) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(at.seconds()) else { return at.to_string() };
    format!("{} {} {}, {:02}:{:02} UTC", time.day(), time.month(), time.year(), time.hour(), time.minute())
}

/// What a `User-Agent` most likely is, for a person to recognize. Browsers name each other, so the order counts.
fn browser_name(user_agent: &str) -> String {
    let first = |known: &[(&str, &'static str)]| known.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name);
    let browsers = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("Chrom", "Chrome"),
        ("CriOS/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    match (first(&browsers), first(&systems)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, Some(system)) => format!("A program on {system}"),
        (None, None) => "An unknown program".to_owned(),
    }
}

/// Somebody who is signed in sent a form of ours.
pub(super) struct Sent {
    pub(super) person: SignedIn,
    pub(super) form: FormChecked,
    pub(super) parameters: Parameters,
    pub(super) headers: HeaderMap,
    pub(super) now: Timestamp,
}

/// Takes a form of the account page; nothing when nobody is signed in any more.
pub(super) async fn sent(web: &Web, request: Request<Body>) -> Result<Option<Sent>, WebError> {
    let headers = request.headers().clone();
    let parameters = extract::form(request, web.body_limits).await?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let Some(person) = web.server.sessions.current(&headers, now).await? else { return Ok(None) };
    let token = parameters.get("csrf").unwrap_or_default();
    let form = web.server.sessions.check_form(Form::Account, &headers, token).map_err(PersonRefusal::from)?;
    Ok(Some(Sent { person, form, parameters, headers, now }))
}

/// That whoever sent a form signed in a short while ago; else the answer that leads them to do so once more.
pub(super) fn fresh(web: &Web, sent: &Sent) -> Result<Fresh, Box<Response>> {
    web.server.sessions.fresh(&sent.person, sent.now).map_err(|stale| {
        let mut rejection = rejection_of(&WebError::Person(PersonRefusal::Stale(stale)));
        let mut response = see_other(&format!("{}?again=yes", web.pages.path(path::SIGN_IN)));
        rejection.status = response.status();
        response.extensions_mut().insert(Rejected { rejection, client_id: None });
        Box::new(response)
    })
}

/// Ends the session that `session` names, or all `others`.
pub async fn end_sessions(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    match end(&web, request).await {
        Ok(response) => response,
        Err(error) => web.pages.refusal(rejection_of(&error), id.as_str()),
    }
}

async fn end(web: &Web, request: Request<Body>) -> Result<Response, WebError> {
    let Some(sent) = sent(web, request).await? else { return Ok(see_other(&web.pages.path(path::SIGN_IN))) };
    let malformed = || Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, "`session` names no session");
    let which = match sent.parameters.get("session") {
        Some("others") => None,
        Some(text) => Some(text.parse().map_err(|_| extract::ExtractError::Refused(malformed()))?),
        None => return Err(extract::ExtractError::Refused(malformed()).into()),
    };
    let ended = web.server.sessions.end_other(&sent.form, &sent.person, which.as_ref(), sent.now).await?;
    web.server.sessions_ended(&ended);
    Ok(see_other(&format!("{}?done=sessions", web.pages.path(path::ACCOUNT))))
}

/// Changes the password, or shows the page again with the reason why not.
pub async fn change_password(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    let outcome = match sent(&web, request).await {
        Ok(Some(sent)) => change(&web, &peer, sent).await,
        Ok(None) => Ok(see_other(&web.pages.path(path::SIGN_IN))),
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| web.pages.refusal(rejection_of(&error), id.as_str()))
}

async fn change(web: &Web, peer: &Peer, sent: Sent) -> Result<Response, WebError> {
    let field = |name| sent.parameters.get(name).unwrap_or_default();
    let peer_address = peer.facts().peer_address;
    let changed = async {
        if field("new_password") != field("repeated_password") {
            return Err(PersonRefusal::Repeated);
        }
        let new = Password::prepare(field("new_password")).map_err(PersonRefusal::Unusable)?;
        let at = (peer_address.ip(), web.server.clock.monotonic(), sent.now);
        let current = field("current_password");
        Ok(web.server.people.change_password(&sent.form, &sent.person, current, &new, at).await?)
    };
    match changed.await {
        Ok(()) => {
            let cookie = web.server.sessions.renew_cookie(&sent.person, &sent.headers, sent.now).await?;
            let mut response = see_other(&format!("{}?done=password", web.pages.path(path::ACCOUNT)));
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(refusal) => {
            let rejection = rejection_of(&WebError::Person(refusal));
            let told = (None, Some(rejection.description.as_str()));
            let shown = page(web, &sent.headers, &sent.person, sent.now, told, rejection.status).await?;
            Ok(refused(shown, rejection))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_as_people_know_them() {
        for (user_agent, name) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1",
                "Safari on iPhone",
            ),
            ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/142.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
            ("curl/8.5.0", "curl"),
            ("<script>", "An unknown program"),
            ("", "An unknown program"),
        ] {
            assert_eq!(browser_name(user_agent), name);
        }
        assert_eq!(moment(Timestamp::from_seconds(1_800_000_000)), "15 January 2027, 08:00 UTC");
    }
}
