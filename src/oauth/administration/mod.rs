//! What operators do, on the command line and over HTTP: the same use cases for both.

mod certificate_rule;
mod error;
mod registration;
mod service;

pub use certificate_rule::{FOR_EVER, NamedCertificates};
pub use error::AdministrationError;
pub use registration::{RegistrationError, RegistrationRules};
pub use service::{Administration, AdministrationSettingsError, AdmittedAdministrator, Need};
