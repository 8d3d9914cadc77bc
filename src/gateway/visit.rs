//! How browser sessions come into the story of a request.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, Version, header, request};

use super::body::Body;
use super::reject::{Form, Rejection};
use super::session::{self, Endpoint, Gone, Place, SessionError, Sessions, Visit};
use super::{Case, Gateway, Route, certificate};
use crate::domain::Thumbprint;
use crate::event::{AuditEvent, Reason, Trailed};
use crate::resource::{Admission, AdmitError, Granted, Moment, Presented, Refusal, VerifyError};
use crate::tls::PeerCertificate;
use crate::wire::{Arriving, Target};

/// Somebody opens a page, and can be led to another.
#[derive(Clone, Copy, Debug)]
struct Navigation;

/// Whether a browser opens a page with this request.
fn navigation(head: &request::Parts) -> Option<Navigation> {
    let says = |name: &str, wanted: &str| head.headers.get_all(name).iter().all(|value| value == wanted);
    let upgrades = head.version < Version::HTTP_2 && head.headers.contains_key(header::UPGRADE);
    let is_one = head.method == Method::GET
        && !upgrades
        && Form::wanted(&head.headers) == Form::Page
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document");
    is_one.then_some(Navigation)
}

fn target_of(head: &request::Parts, target: &Target) -> String {
    match head.uri.query() {
        None => target.path.as_str().to_owned(),
        Some(query) => format!("{}?{query}", target.path.as_str()),
    }
}

impl Case<'_> {
    /// The certificate that the caller's leave rests on: the one that the token is bound to, or its session.
    pub(super) fn rests_on(&self, admission: &Admission) -> Option<Thumbprint> {
        match &self.visitor {
            Some(visitor) => visitor.certificate(),
            None => admission.facts().certificate().copied(),
        }
    }

    fn place<'a>(&self, head: &'a request::Parts, target: &'a Target, moment: Moment) -> Result<Place<'a>, Rejection> {
        let certificate = self.connection.peer.as_ref().map_err(|error| Rejection::Certificate(error.clone()))?;
        // A thumbprint that a proxy tells has neither dates nor an authority: no session is opened with it, nor without it.
        if certificate.is_none() && self.connection.peer_thumbprint.is_some() {
            return Err(SessionError::CertificateAbsent.into());
        }
        Ok(Place {
            method: &head.method,
            version: head.version,
            headers: &head.headers,
            authority: &target.authority,
            certificate: certificate.as_deref().map(PeerCertificate::thumbprint),
            address: self.connection.peer_address.ip(),
            now: moment.wall,
        })
    }
}

impl Gateway {
    /// The endpoint of sessions that a request is for.
    pub(super) fn session_endpoint(&self, target: &Target) -> Option<Endpoint> {
        if !target.path.as_str().starts_with(session::PATH) {
            return None;
        }
        Endpoint::find(target.path.as_str(), self.routes.of(&target.authority).filter_map(|route| route.sessions.clone()))
    }

    /// Answers at an endpoint of sessions.
    pub(super) async fn serve_session(
        &self,
        endpoint: Endpoint,
        head: &request::Parts,
        target: &Target,
        body: Arriving,
        case: &mut Case<'_>,
    ) -> Result<Response<Body>, Rejection> {
        let method = endpoint.method();
        if head.method != method && !(method == Method::GET && head.method == Method::HEAD) {
            return Err(Rejection::SessionMethod(method));
        }
        let moment = Moment::read(self.clock.as_ref())?;
        let place = case.place(head, target, moment)?;
        let who = (&case.request_id, case.connection.peer_address);
        let served = endpoint.serve(&place, head.uri.query().unwrap_or_default(), body, moment, who).await?;
        if let Some(event) = served.event {
            let begins = matches!(event, AuditEvent::BrowserSessionBegun { .. });
            let told = self.audit.record(Trailed { time: moment.wall, event });
            // Ending one needs no leave.
            if begins {
                told?;
            }
        }
        case.cookies = served.cookies;
        Ok(served.response)
    }

    /// What a request without a token presents where the route takes sessions: the token of its session.
    pub(super) async fn token_of_session(
        &self,
        route: &Route,
        sessions: &Arc<Sessions>,
        (head, target): (&request::Parts, &Target),
        case: &mut Case<'_>,
    ) -> Result<Presented, Rejection> {
        let place = case.place(head, target, Moment::read(self.clock.as_ref())?)?;
        let demands = certificate::is_demanded(route, case.connection);
        match sessions.visit(&place).await? {
            // Anybody's good certificate would do beside it.
            Visit::Somebody(visitor) if demands && visitor.certificate().is_none() => {
                let why = (Reason::GatewaySessionAbsent, None);
                match navigation(head).filter(|_| place.certificate.is_some()) {
                    Some(Navigation) => Err(self.sign_in(route, sessions, &place, &target_of(head, target), why, case).await?),
                    None => Err(SessionError::CertificateAbsent.into()),
                }
            }
            Visit::Somebody(mut visitor) => {
                let token = visitor.token().map_err(Refusal::from)?;
                case.cookies = visitor.take_cookies();
                case.visitor = Some(visitor);
                Ok(Presented::Bearer(token))
            }
            Visit::Nobody(gone) => match (navigation(head), gone) {
                (Some(Navigation), gone) => {
                    let why = (gone.map_or(Reason::GatewaySessionAbsent, |gone| gone.reason), gone.as_ref());
                    Err(self.sign_in(route, sessions, &place, &target_of(head, target), why, case).await?)
                }
                (None, Some(gone)) => Err(match gone.reason {
                    Reason::GatewaySessionCertificateMismatch => SessionError::CertificateMismatch.into(),
                    reason => Rejection::NotSignedIn(reason),
                }),
                (None, None) => Ok(Presented::Nothing),
            },
        }
    }

    /// Leads a browser to its provider.
    async fn sign_in(
        &self,
        route: &Route,
        sessions: &Sessions,
        place: &Place<'_>,
        target: &str,
        (reason, gone): (Reason, Option<&Gone>),
        case: &mut Case<'_>,
    ) -> Result<Rejection, Rejection> {
        if place.certificate.is_none() && certificate::is_demanded(route, case.connection) {
            return Err(SessionError::CertificateAbsent.into());
        }
        let step_up = route.protection.requirements.step_up.as_ref();
        let begun = sessions.begin(place, target, step_up, gone).await;
        if matches!(begun, Err(SessionError::Circle)) {
            // Whoever tries again begins anew.
            case.cookies = sessions.cleared(place);
        }
        let (location, cookies): (HeaderValue, _) = begun?;
        case.cookies = cookies;
        Ok(Rejection::SignIn { location, reason })
    }

    /// What becomes of a refusal: where a browser's session is what was refused, and another sign-in may bring a better one, that.
    pub(super) async fn sign_in_again(
        &self,
        rejection: Rejection,
        route: &Route,
        (head, target): (&request::Parts, &Target),
        case: &mut Case<'_>,
    ) -> Rejection {
        let (Some(sessions), Some(visitor), Rejection::Refused(denied)) = (&route.sessions, &case.visitor, &rejection) else {
            return rejection;
        };
        let ends = matches!(
            denied.refusal,
            Refusal::Verify(VerifyError::Inactive)
                | Refusal::Admit(
                    AdmitError::Dates(_)
                        | AdmitError::Revoked(_)
                        | AdmitError::AuthenticationContext
                        | AdmitError::AuthenticationAge
                )
        );
        let reason = denied.refusal.reason();
        let Ok(moment) = Moment::read(self.clock.as_ref()) else { return rejection };
        let again = visitor.may_sign_in_again(moment.wall);
        let (true, Some(_), Some(Navigation), Ok(place)) = (ends, again, navigation(head), case.place(head, target, moment))
        else {
            return rejection;
        };
        match self.sign_in(route, sessions, &place, &target_of(head, target), (reason, None), case).await {
            Ok(led) | Err(led) => led,
        }
    }

    /// Makes an admission rest on the session that it came by.
    pub(super) fn resting(&self, granted: Granted, route: &Route, case: &Case<'_>) -> Granted {
        match (&route.sessions, &case.visitor) {
            (Some(sessions), Some(visitor)) => {
                Granted { admission: granted.admission.on_condition(sessions.standing(visitor)), ..granted }
            }
            _ => granted,
        }
    }
}
