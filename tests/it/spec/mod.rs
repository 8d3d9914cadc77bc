//! One file per standard. Each test names the sentence it proves.

mod oidc_conformance;
mod oidc_core;
mod oidc_discovery;
mod oidc_logout;
mod oidc_registration;
mod rfc6749;
mod rfc6749_authorization;
mod rfc6749_client;
mod rfc6750;
mod rfc7009;
mod rfc7517;
mod rfc7523;
mod rfc7523_grant;
mod rfc7636;
mod rfc7662;
mod rfc8414;
mod rfc8693;
mod rfc8705;
mod rfc8707;
mod rfc9068;
mod rfc9110;
mod rfc9126;
mod rfc9207;
mod rfc9449;
