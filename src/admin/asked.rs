//! One request: admitted, read within limits, answered, and told of.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts as _};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode, header};
use serde_json::{Map, Value};

use super::Admin;
use crate::binding::{Presenter, dpop};
use crate::domain::{RequestId, Timestamp};
use crate::event::{AccessDecision, AuditEvent, Reason, Trailed};
use crate::jose::json;
use crate::oauth::administration::{AdministrationError, AdmittedAdministrator, Need};
use crate::oauth::error::{Fault, OauthError};
use crate::oauth::parameters::Parameters;
use crate::oauth::protected_resource::{ResourceError, ResourceRequest};
use crate::resource;
use crate::store::Store;
use crate::telemetry::audit::Reservation;
use crate::web::challenge::{challenge, put_nonce};
use crate::web::edge::{no_store, no_store_json};
use crate::web::extract::{self, ExtractError};
use crate::web::reject::{Rejected, WebError};
use crate::web::{Peer, Web};

/// What audit events of this API have as their route.
const ROUTE: &str = "admin";
/// Items of a page where the request does not say, and at most.
const PAGE: u32 = 50;
const LONGEST_PAGE: u32 = 200;
/// Room for what most answers take.
const ROOM: usize = 2_048;

/// A request that nobody has looked at yet.
#[derive(Debug)]
pub struct Asked {
    admin: Arc<Admin>,
    peer: Arc<Peer>,
    request_id: RequestId,
    head: Parts,
    body: Body,
}

/// An answer that is no success.
#[derive(Debug)]
pub struct Refused(Box<Response>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

impl From<WebError> for Refused {
    fn from(error: WebError) -> Self {
        Self(Box::new(error.into_response()))
    }
}

impl FromRequest<Arc<Admin>> for Asked {
    type Rejection = WebError;

    async fn from_request(request: Request<Body>, admin: &Arc<Admin>) -> Result<Self, WebError> {
        let (mut head, body) = request.into_parts();
        let peer = Extension::<Arc<Peer>>::from_request_parts(&mut head, admin).await;
        let request_id = Extension::<RequestId>::from_request_parts(&mut head, admin).await;
        let (Ok(Extension(peer)), Ok(Extension(request_id))) = (peer, request_id) else { return Err(WebError::defect()) };
        Ok(Self { admin: admin.clone(), peer, request_id, head, body })
    }
}

impl Asked {
    /// Admits whoever asks, and takes the place in the audit trail that the answer will need.
    ///
    /// # Errors
    /// A challenge, a refusal, or a fault of ours.
    pub async fn admit(self, need: Need) -> Result<Call, Refused> {
        let Self { admin, peer, request_id, head, body } = self;
        let (server, facts) = (&admin.web.server, peer.facts());
        let certificate = facts.peer.as_ref().ok().and_then(Option::as_deref);
        let asked = ResourceRequest {
            method: head.method.as_str(),
            presented: resource::present(&head.headers, &head.uri),
            proof: dpop::presented(&head.headers),
            presenter: Presenter::known(certificate, facts.peer_thumbprint.as_ref()),
        };
        let (place, address) = ((head.uri.path(), need), facts.peer_address.ip());
        let admitted = server.admit_administrator(&admin.administration, asked, place, address, &request_id).await;
        let admitted = admitted.map_err(|error| match error {
            ResourceError::Failed(error) => Refused::from(WebError::from(error)),
            ResourceError::Denied(denied) => {
                let algorithms = server.dpop.rules().algorithms.as_slice();
                Refused(Box::new(challenge(denied, &admin.administration.terms(need, algorithms))))
            }
        })?;
        let unavailable = |_| WebError::Oauth(OauthError::Failed(Fault::Unavailable(Reason::AuditUnavailable)));
        let trail = server.audit.reserve().map_err(unavailable)?;
        Ok(Call { admin, peer, request_id, head, body: Mutex::new(body), admitted, trail })
    }
}

/// A request of an administrator who is admitted. The only way to an answer.
#[derive(Debug)]
pub struct Call {
    admin: Arc<Admin>,
    peer: Arc<Peer>,
    request_id: RequestId,
    head: Parts,
    /// A body cannot be shared between threads, what is lent across an await must be: nobody ever waits for this lock.
    body: Mutex<Body>,
    admitted: AdmittedAdministrator,
    trail: Reservation,
}

/// What is to be answered.
#[derive(Debug)]
pub struct Served {
    status: StatusCode,
    content: Option<Value>,
    etag: Option<String>,
}

impl Served {
    /// 200 with this.
    pub const fn ok(content: Value) -> Self {
        Self { status: StatusCode::OK, content: Some(content), etag: None }
    }

    /// 201 with this.
    pub const fn created(content: Value) -> Self {
        Self { status: StatusCode::CREATED, content: Some(content), etag: None }
    }

    /// 204.
    pub const fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, content: None, etag: None }
    }

    /// The same, of this version.
    pub fn tagged(self, etag: String) -> Self {
        Self { etag: Some(etag), ..self }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What comes before it; empty for the first.
    pub after: String,
    /// Items, at most.
    pub limit: u32,
}

impl Page {
    /// One more than fits, to know whether there is another page.
    pub const fn reach(&self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// The list with the place where the next page begins, where there is one.
    pub fn render<T>(&self, name: &str, mut items: Vec<T>, key: impl Fn(&T) -> String, shown: impl Fn(&T) -> Value) -> Value {
        let has_more = items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        let mut list = Map::new();
        list.insert(name.to_owned(), items.iter().map(shown).collect());
        if let Some(last) = items.last().filter(|_| has_more) {
            list.insert("next".to_owned(), Value::String(key(last)));
        }
        Value::Object(list)
    }
}

impl Call {
    /// The server.
    pub fn web(&self) -> &Web {
        &self.admin.web
    }

    /// What is administered.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// When it was admitted.
    pub const fn now(&self) -> Timestamp {
        self.admitted.at()
    }

    /// The store in this administrator's hands.
    pub fn store(&self) -> Store {
        self.admitted.store(&self.admin.web.server.store)
    }

    /// A header field that is there once, or not at all.
    ///
    /// # Errors
    /// When it is there twice, or is not ASCII.
    pub fn field(&self, name: header::HeaderName) -> Result<Option<&str>, WebError> {
        let mut values = self.head.headers.get_all(&name).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (None, _) => Ok(None),
            (Some(Ok(text)), None) => Ok(Some(text)),
            _ => Err(AdministrationError::invalid(format!("the field {name} is there twice, or is not text")).into()),
        }
    }

    /// Refuses a request with a precondition that nobody would look at.
    ///
    /// # Errors
    /// When there is one.
    pub fn no_preconditions(&self) -> Result<(), WebError> {
        let taken = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];
        match taken.iter().any(|name| self.head.headers.contains_key(name)) {
            true => Err(AdministrationError::Precondition.into()),
            false => Ok(()),
        }
    }

    /// The parameters of the query, of which only these are known.
    ///
    /// # Errors
    /// When it cannot be read, or has others.
    pub fn query(&self, known: &[&str]) -> Result<Parameters, WebError> {
        let parameters = Parameters::parse(self.head.uri.query().unwrap_or_default().as_bytes()).map_err(OauthError::from)?;
        let is_known = parameters.names().all(|name| known.contains(&name));
        match is_known {
            true => Ok(parameters),
            false => Err(AdministrationError::invalid(format!("the query may have {}", known.join(", "))).into()),
        }
    }

    /// The page that the query asks for.
    ///
    /// # Errors
    /// When `limit` is out of range.
    pub fn page(&self, parameters: &Parameters) -> Result<Page, WebError> {
        let limit = match parameters.get("limit") {
            None => Some(PAGE),
            Some(text) => text.parse().ok().filter(|limit| (1..=LONGEST_PAGE).contains(limit)),
        };
        let limit = limit.ok_or_else(|| AdministrationError::invalid(format!("limit is from 1 to {LONGEST_PAGE}")))?;
        Ok(Page { after: parameters.get("after").unwrap_or_default().to_owned(), limit })
    }

    /// The object in the request's body, read within the limits, of whose members only these are known.
    ///
    /// # Errors
    /// When it is of another type, too large, too slow, or no such object.
    pub async fn object(&mut self, known: &[&str]) -> Result<Map<String, Value>, WebError> {
        let members = self.document().await?;
        match members.keys().all(|name| known.contains(&name.as_str())) {
            true => Ok(members),
            false => Err(AdministrationError::invalid(format!("the object may have {}", known.join(", "))).into()),
        }
    }

    /// The object in the request's body, read within the limits.
    ///
    /// # Errors
    /// When it is of another type, too large, too slow, or no object.
    pub async fn document(&mut self) -> Result<Map<String, Value>, WebError> {
        let mut request = Request::new(std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner)));
        request.headers_mut().clone_from(&self.head.headers);
        let body = extract::json(request, self.admin.web.body_limits).await.map_err(|error| match error {
            ExtractError::NotJson => WebError::from(AdministrationError::ContentType),
            error => error.into(),
        })?;
        json::parse_object(&body).map_err(|error| AdministrationError::invalid(format!("the body is {error}")).into())
    }

    /// Answers, and tells the audit trail: of what was served by an event of its own, of what was not as every refusal is told.
    pub fn answer(mut self, served: Result<Served, WebError>) -> Response {
        let nonce = self.admitted.take_nonce();
        let mut response = match served {
            Ok(served) => {
                let mut response = match &served.content {
                    Some(content) => no_store_json(content, ROOM),
                    None => no_store(Response::new(Body::empty())),
                };
                *response.status_mut() = served.status;
                if let Some(etag) = served.etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
                    response.headers_mut().insert(header::ETAG, etag);
                }
                self.tell(response.status());
                response
            }
            Err(error) => {
                let mut response = error.into_response();
                if let Some(rejected) = response.extensions_mut().get_mut::<Rejected>() {
                    rejected.client_id = Some(self.admitted.client_id().clone());
                }
                response
            }
        };
        put_nonce(&mut response, nonce);
        response
    }

    fn tell(self, status: StatusCode) {
        let (facts, connection, head) = (self.admitted.facts(), self.peer.facts(), &self.head);
        let certificate = connection.peer.as_ref().ok().and_then(Option::as_ref).map(|certificate| certificate.thumbprint());
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let decision = AccessDecision {
            request_id: Some(self.request_id.clone()),
            route: Some(ROUTE.to_owned()),
            method: head.method.to_string(),
            authority: head.uri.authority().map_or(host.unwrap_or_default(), |authority| authority.as_str()).to_owned(),
            path: head.uri.path().to_owned(),
            peer_address: Some(connection.peer_address),
            certificate,
            certificate_origin: connection.certificate_origin.clone(),
            dpop_key: self.admitted.dpop_key().copied(),
            certificate_verdict: None,
            issuer: Some(facts.issuer.clone()),
            client_id: facts.client_id.clone(),
            subject: facts.subject.clone(),
            token_id: facts.token_id.clone(),
            cnf: facts.cnf,
            reason: None,
            status: status.as_u16(),
        };
        let time = self.admitted.at();
        self.trail.record(Trailed { time, event: AuditEvent::Access(decision) });
    }
}
