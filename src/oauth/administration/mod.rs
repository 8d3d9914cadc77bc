//! What operators do, on the command line and over HTTP: the same use cases for both.

mod certificate_rule;
mod registration;

pub use certificate_rule::{FOR_EVER, NamedCertificates};
pub use registration::{RegistrationError, RegistrationRules};
