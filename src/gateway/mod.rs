//! The resource gateway: a reverse proxy that lets a request through only when its token is bound to the certificate of the
//! connection it came on.

pub mod authority;
pub mod path;
pub mod route;
pub mod sanity;
pub mod strip;
