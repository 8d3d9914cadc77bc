//! `POST /sign-out`, `GET /signed-out`: the end of this browser's session, and what clients hear of it through the browser (OpenID
//! Connect Front-Channel Logout 1.0).

use std::sync::{Arc, LazyLock};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use url::Url;

use super::pages::{Leads, answer, see_other};
use super::reject::{PersonRefusal, WebError, rejection_of};
use super::{Web, extract, path};
use crate::domain::RequestId;
use crate::identity::{Form, Leave};
use crate::jose::digest::sha256;
use crate::oauth::logout::SignedOut;

/// Goes on as soon as every frame has loaded.
const SCRIPT: &str = "addEventListener(\"load\",()=>location.replace(document.getElementById(\"onward\").href))";
/// Seconds after which the browser goes on whatever became of the frames, also without JavaScript.
const PATIENCE_SECONDS: u32 = 4;
const REFRESH: HeaderName = HeaderName::from_static("refresh");

static SCRIPT_HASH: LazyLock<String> = LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(sha256(SCRIPT.as_bytes()))));

/// Ends the session. Whoever has none is signed out already.
pub async fn post(State(web): State<Arc<Web>>, Extension(id): Extension<RequestId>, request: Request<Body>) -> Response {
    match sign_out(&web, request).await {
        Ok(response) => response,
        Err(error) => web.pages.refusal(rejection_of(&error), id.as_str()),
    }
}

async fn sign_out(web: &Web, request: Request<Body>) -> Result<Response, WebError> {
    let headers = request.headers().clone();
    let parameters = extract::form(request, web.body_limits).await?;
    let now = web.server.clock.now().map_err(WebError::from_clock)?;
    let signed_out = match web.server.sessions.current(&headers, now).await? {
        None => None,
        Some(person) => {
            let token = parameters.get("csrf").unwrap_or_default();
            let form = web.server.sessions.check_form(Form::Account, &headers, token).map_err(PersonRefusal::from)?;
            Some(web.server.sign_out(Leave::Form(&form), &person, now).await?)
        }
    };
    Ok(done(web, signed_out, None))
}

/// Leads a browser on that is signed out: to `onward`, or to the page that says so; over a page with frames where clients are to hear of
/// it.
pub fn done(web: &Web, signed_out: Option<SignedOut>, onward: Option<String>) -> Response {
    let (cookie, frames) = signed_out.map_or((None, Vec::new()), |signed_out| (Some(signed_out.cookie), signed_out.frames));
    let mut response = match (frames.is_empty(), &onward) {
        (true, Some(onward)) => see_other(onward),
        (true, None) => see_other(&web.pages.path(path::SIGNED_OUT)),
        (false, onward) => with_frames(web, &frames, onward.as_deref()),
    };
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The page may load these frames, and nothing else from elsewhere.
fn with_frames(web: &Web, frames: &[Url], onward: Option<&str>) -> Response {
    let sources: Vec<&str> = frames.iter().map(Url::as_str).collect();
    let script = onward.map(|_| SCRIPT);
    let mut response = answer(web.pages.signing_out(&sources, onward, script), StatusCode::OK, Leads::Here);
    let mut origins: Vec<String> = frames.iter().map(|url| url.origin().ascii_serialization()).collect();
    origins.sort_unstable();
    origins.dedup();
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src {}; frame-src {}; form-action 'none'; base-uri 'none'; \
         frame-ancestors 'none'",
        *SCRIPT_HASH,
        origins.join(" ")
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let refresh = onward.map(|onward| HeaderValue::try_from(format!("{PATIENCE_SECONDS};url={onward}")));
    if let Some(Ok(refresh)) = refresh {
        response.headers_mut().insert(REFRESH, refresh);
    }
    response
}

/// Says that it is done.
pub async fn page(State(web): State<Arc<Web>>) -> Response {
    answer(web.pages.signed_out(), StatusCode::OK, Leads::Here)
}
