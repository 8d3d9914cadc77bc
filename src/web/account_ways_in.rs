//! What is the same of everything that one signs in with, as it is taken away at one's own account.

use std::str::FromStr;

use axum::response::Response;

use super::account::{Sent, page};
use super::pages::{refused, see_other};
use super::reject::{PersonRefusal, Rejection, WebError, rejection_of};
use super::{Web, extract, path};
use crate::event::Reason;
use crate::oauth::error::{ErrorCode, Refusal};
use crate::store::Unlinked;

/// A field that names something of the person's.
#[derive(Clone, Copy)]
pub(super) struct Naming {
    /// The field.
    pub(super) field: &'static str,
    /// What is said when it names nothing of theirs.
    pub(super) absent: &'static str,
    /// What the account page is told when it is gone.
    pub(super) done: &'static str,
}

impl Naming {
    /// The name.
    pub(super) fn of<T: FromStr>(self, sent: &Sent) -> Result<T, WebError> {
        sent.parameters.get(self.field).and_then(|text| text.parse().ok()).ok_or_else(|| self.absent())
    }

    fn absent(self) -> WebError {
        extract::ExtractError::Refused(Refusal::new(ErrorCode::InvalidRequest, Reason::ParameterMalformed, self.absent)).into()
    }

    /// Tells what became of it.
    pub(super) async fn answer(self, web: &Web, sent: &Sent, unlinked: Unlinked) -> Result<Response, WebError> {
        match unlinked {
            Unlinked::Now(ended) => {
                web.server.sessions_ended(&ended);
                Ok(see_other(&format!("{}?done={}", web.pages.path(path::ACCOUNT), self.done)))
            }
            Unlinked::Absent => Err(self.absent()),
            Unlinked::LastWayIn => at_account(web, sent, rejection_of(&WebError::Person(PersonRefusal::LastWayIn))).await,
        }
    }
}

/// Says on the account page why something was not done.
pub(super) async fn at_account(web: &Web, sent: &Sent, rejection: Rejection) -> Result<Response, WebError> {
    let told = (None, Some(rejection.description.as_str()));
    let shown = page(web, &sent.headers, &sent.person, sent.now, told, rejection.status).await?;
    Ok(refused(shown, rejection))
}
