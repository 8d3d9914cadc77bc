//! X.509 as people really have it: certificates, names, PEM files, path building, and a development authority.
//!
//! Everything here is pure but [`pem`], which reads files. Nothing here decides whom to trust: a [`path`] is the fact that
//! signatures verify up to an authority that somebody else named.

#[cfg(feature = "server")]
pub mod authority;
mod certificate;
pub mod crl;
#[cfg(test)]
#[cfg(feature = "server")]
pub(crate) mod fixture;
mod key;
pub mod name;
#[cfg(feature = "server")]
pub mod ocsp;
pub mod path;
pub mod pem;
pub mod proxy_header;
mod subject_alt_names;

pub use certificate::{Certificate, CertificateError, DateError, KeyUsage};
pub use key::{KeyType, PublicKeyKind};
pub use name::DistinguishedName;
pub use subject_alt_names::{SubjectAltNameError, SubjectAltNames};
