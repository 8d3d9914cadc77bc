//! Why an administrator was not served what they asked for.

use super::registration::RegistrationError;
use crate::event::Reason;

/// The administrator's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdministrationError {
    /// There is no such thing.
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// The private reason.
        reason: Reason,
    },
    /// There is a client of this name.
    ClientExists,
    /// The registration is not the one that the request goes by (RFC 9110 §13.1).
    ChangedMeanwhile,
    /// A precondition where none is taken.
    Precondition,
    /// The request's body is not `application/json`.
    ContentType,
    /// Not a registration, or not one that can be served.
    Registration {
        /// What is wrong, in plain words.
        description: String,
        /// The private reason.
        reason: Reason,
    },
    /// Anything else in the request.
    Invalid(String),
}

impl AdministrationError {
    /// Something in the request is not what it must be.
    pub fn invalid(description: impl Into<String>) -> Self {
        Self::Invalid(description.into())
    }
}

impl From<RegistrationError> for AdministrationError {
    fn from(error: RegistrationError) -> Self {
        let reason = match &error {
            RegistrationError::Metadata(error) => error.reason(),
            RegistrationError::Resource { .. } => Reason::ResourceNotAllowed,
            RegistrationError::JwksUri { .. } | RegistrationError::AnchorSet { .. } => Reason::ParameterMalformed,
        };
        Self::Registration { description: error.to_string(), reason }
    }
}
