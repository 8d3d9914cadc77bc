//! Whether a caller may have a route, and what is said of the caller then: the same on every face of the gateway.

use std::sync::Arc;

use http::{HeaderValue, Method, request};

use super::answer_rules::FAPI_INTERACTION_ID;
use super::assertion::Asserted;
use super::certificate::{self, Verdict};
use super::certificate_header::{self, Fields, Shown};
use super::decision::{self, Admitted};
use super::reject::Rejection;
use super::template::Filling;
use super::{AccessToken, Case, Face, Gateway, Route, limits};
use crate::binding::Presenter;
use crate::binding::dpop;
use crate::domain::{Cnf, Timestamp};
use crate::event::Reason;
use crate::resource::{Admission, Asked, Granted, Moment, Presented, Refusal, present};
use crate::wire::Target;

/// A caller may have its route.
#[derive(Debug)]
pub(super) struct Passage {
    /// The proof.
    pub(super) admission: Admission,
    /// The nonce for the next DPoP proof.
    pub(super) dpop_nonce: Option<HeaderValue>,
    /// The `Authorization` to pass on, where the route does.
    pub(super) authorization: Option<HeaderValue>,
    /// When it was decided.
    pub(super) now: Timestamp,
}

impl Gateway {
    /// Whether this request may have this route. Its share of the rate limit is taken then.
    pub(super) async fn admit(
        &self,
        route: &Arc<Route>,
        (head, target): (&request::Parts, &Target),
        case: &mut Case<'_>,
    ) -> Result<Passage, Rejection> {
        case.route = Some(Arc::clone(route));
        case.decision.route = Some(route.name.clone());
        case.told = route.answer_rules.read(&head.headers, self.randomness.as_ref())?;

        route.admits_caller(&head.method, case.connection.peer_address.ip())?;
        let presented = present(&head.headers, &head.uri).map_err(Refusal::from)?;
        // What few requests come to stands in boxes, so that the others have no room for it to carry about.
        let presented = match (&route.sessions, presented, case.face) {
            (Some(sessions), Presented::Nothing, Face::Proxy) => {
                Box::pin(self.token_of_session(route, sessions, (head, target), case)).await?
            }
            (_, presented, _) => presented,
        };
        let authorization = match (presented.token(), route.access_token) {
            (Some(token), AccessToken::Passed) => Some(token.header_value()),
            _ => None,
        };
        let asked = Asked {
            method: head.method.as_str(),
            authority: target.authority.as_str(),
            path: target.path.as_str(),
            proof: dpop::presented(&head.headers),
        };
        let (granted, now) = match self.decide(route, presented, &asked, case).await {
            Ok(decided) => decided,
            Err(rejection) => return Err(Box::pin(self.sign_in_again(rejection, route, (head, target), case)).await),
        };
        let Granted { admission, dpop_key, dpop_nonce } = self.resting(granted, route, case);
        case.decision.dpop_key = dpop_key;
        decision::tell(&mut case.decision, admission.facts());
        if let Some(limit) = &route.rate_limit {
            let origin = case.visitor.as_ref().map_or(limits::Origin::Request, |_| limits::Origin::Session);
            limit.count(admission.facts(), case.vouched(admission.facts()), origin)?;
        }
        Ok(Passage { admission, dpop_nonce, authorization, now })
    }

    /// What is said of an admitted caller: the assertion, and the fields beside it.
    pub(super) fn said(
        &self,
        route: &Route,
        admission: &Admission,
        method: &Method,
        case: &Case<'_>,
        now: Timestamp,
    ) -> Result<(HeaderValue, Fields), Rejection> {
        let asserted = Asserted {
            index: route.index,
            route: &route.name,
            terms: &route.assertion,
            method,
            certificate: case.decision.certificate,
            cnf: match &case.visitor {
                Some(visitor) => visitor.certificate().map(Cnf::certificate),
                None => admission.facts().cnf,
            },
        };
        let assertion = self.asserter.assert(admission, &asserted, now, self.randomness.as_ref())?;
        let mut fields = self.fields(route, admission, case, now);
        fields.extend(case.told.interaction.clone().map(|name| (FAPI_INTERACTION_ID, name)));
        Ok((assertion, fields))
    }

    /// Takes the place in the audit trail without which nobody is let through.
    pub(super) fn begin(&self, case: &mut Case<'_>) -> Result<Admitted, Rejection> {
        let decision = std::mem::take(&mut case.decision);
        Admitted::begin(&self.audit, Arc::clone(&self.clock), decision).map_err(|(unavailable, decision)| {
            case.decision = *decision;
            Rejection::from(unavailable)
        })
    }

    /// What the upstream is told of the certificate, and the fields of the route's own.
    fn fields(&self, route: &Route, admission: &Admission, case: &Case<'_>, now: Timestamp) -> Fields {
        if route.certificate_headers.is_empty() && route.request_headers.is_empty() {
            return Fields::new();
        }
        let shown = Shown {
            peer: case.connection.peer.as_ref().ok().and_then(Option::as_deref),
            verdict: certificate::worth(admission, route, case.connection, case.trust, &self.anchors, now),
            bound: certificate::bound(
                admission,
                case.rests_on(admission),
                route,
                case.connection,
                case.trust,
                &self.anchors,
                now,
            ),
        };
        let mut fields: Fields =
            route.certificate_headers.iter().flat_map(|dialect| certificate_header::write(*dialect, &shown)).collect();
        let facts = admission.facts();
        let filling = Filling { shown, facts, request_id: &case.request_id, route: &route.name, now };
        let filled = route.request_headers.iter().filter_map(|(name, template)| Some((name.clone(), template.fill(&filling)?)));
        fields.extend(filled);
        fields
    }

    /// Whether this caller may have this route: from the live connection, on every request.
    async fn decide(
        &self,
        route: &Route,
        presented: Presented,
        asked: &Asked<'_>,
        case: &mut Case<'_>,
    ) -> Result<(Granted, Timestamp), Rejection> {
        let moment = Moment::read(self.clock.as_ref())?;
        let certificate = case.connection.peer.as_ref().map_err(|error| Rejection::Certificate(error.clone()))?;
        let own = route.sessions.as_ref().filter(|_| case.visitor.is_some()).and_then(|sessions| sessions.own_certificate());
        let presenter = match (&case.visitor, &route.sessions) {
            // The token is ours; what the browser has proven was held against its session.
            (Some(_), Some(_)) => Presenter::ourselves(own.as_deref()),
            _ => Presenter::known(certificate.as_deref(), case.connection.peer_thumbprint.as_ref()),
        };
        let issuer = presented.token().and_then(|token| route.protection.issuer_of(token.as_str()).ok());
        let verdict = route.protection.decide(presented, &presenter, asked, moment).await;
        if let Some(issuer) = issuer {
            decision::count_introspection(&issuer.name, &verdict);
        }
        match verdict {
            Ok(Granted { admission, dpop_key, dpop_nonce }) => {
                let facts = Arc::clone(admission.facts());
                let rests_on = case.rests_on(&admission);
                match certificate::judge(admission, rests_on, route, case.connection, case.trust, &self.anchors, moment.wall) {
                    Ok((admission, verdict)) => {
                        case.verdict = verdict;
                        case.decision.certificate_verdict = verdict.map(Verdict::text);
                        Ok((Granted { admission, dpop_key, dpop_nonce }, moment.wall))
                    }
                    Err(reason) => {
                        decision::tell(&mut case.decision, &facts);
                        Err(match reason {
                            Reason::PolicyCertificate => Rejection::CertificateRule,
                            reason => Rejection::Untrusted(reason),
                        })
                    }
                }
            }
            Err(denied) => {
                if let Some(facts) = &denied.facts {
                    decision::tell(&mut case.decision, facts);
                }
                Err(denied.into())
            }
        }
    }
}
