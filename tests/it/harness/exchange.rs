//! Requests of the `openidconnect` library, on our own TLS connections.

use openidconnect::{HttpRequest, HttpResponse};

use super::{Call, Caller};

/// Sends one as this caller.
pub async fn exchange(caller: Caller, request: HttpRequest) -> Result<HttpResponse, std::io::Error> {
    let (head, body) = request.into_parts();
    let uri = head.uri;
    let mut call = Call::new(head.method.as_str(), uri.path_and_query().map_or("/", |target| target.as_str())).body(body);
    for (name, value) in &head.headers {
        call = call.header(name.as_str(), value.to_str().expect("ASCII"));
    }
    let answer = caller.try_send(uri.authority().expect("an authority").as_str(), &call).await?;
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(answer.body).map_err(std::io::Error::other)
}
