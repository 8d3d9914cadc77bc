//! The refusals of the administration API.

use axum::body::Body;
use axum::response::Response;
use http::{StatusCode, header};
use serde_json::json;

use super::{Rejected, Rejection, rejection};
use crate::domain::RequestId;
use crate::event::Reason;
use crate::oauth::administration::AdministrationError;
use crate::oauth::error::ErrorCode;

/// What an administrator reads, who may know everything.
pub(super) fn rejection_of(error: &AdministrationError) -> Rejection {
    let invalid = ErrorCode::InvalidRequest.as_str();
    match error {
        AdministrationError::Unknown { what, reason } => {
            rejection(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"), *reason)
        }
        AdministrationError::ClientExists => rejection(
            StatusCode::CONFLICT,
            "conflict",
            "there is a client of this name: change it with PUT",
            Reason::ClientExists,
        ),
        AdministrationError::ChangedMeanwhile => rejection(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            "the registration is not the one that the request goes by: look again",
            Reason::PreconditionFailed,
        ),
        AdministrationError::Precondition => rejection(
            StatusCode::BAD_REQUEST,
            invalid,
            "only PUT of a client takes a precondition: If-Match, or If-None-Match: *",
            Reason::PreconditionFailed,
        ),
        AdministrationError::ContentType => Rejection {
            body_unread: true,
            ..rejection(StatusCode::UNSUPPORTED_MEDIA_TYPE, invalid, "the body must be application/json", Reason::ContentType)
        },
        AdministrationError::Registration { description, reason } => {
            rejection(StatusCode::BAD_REQUEST, ErrorCode::InvalidClientMetadata.as_str(), description.clone(), *reason)
        }
        AdministrationError::Invalid(description) => {
            rejection(StatusCode::BAD_REQUEST, invalid, description.clone(), Reason::ParameterMalformed)
        }
    }
}

impl Rejected {
    /// The same answer with the request's id in its body too, for programs that keep bodies alone.
    pub fn tell_request(&self, response: &mut Response, request_id: &RequestId) {
        let Rejection { error, description, .. } = &self.rejection;
        let body = json!({ "error": error, "error_description": description, "request_id": request_id });
        // The router has measured the body that was there.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body.to_string());
    }
}
