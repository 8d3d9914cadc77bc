//! A token for the tests of this room and others, and the round trip of its claims.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The certificate thumbprint of RFC 8705 Appendix A.
pub(crate) const APPENDIX_A: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";

/// Issued at 1000, expires at 1300, bound to the certificate of RFC 8705 Appendix A.
pub(crate) fn access_token() -> AccessToken {
    AccessToken {
        issuer: "https://as.example".parse().expect("valid"),
        subject: "alice".parse().expect("valid"),
        client_id: "client-a".parse().expect("valid"),
        token_id: "jti-1".parse().expect("valid"),
        family: "family-1".parse().expect("valid"),
        audience: vec!["https://rs.example".parse().expect("valid")],
        scope: "read write".parse().expect("valid"),
        issued_at: Timestamp::from_seconds(1000),
        expires: Timestamp::from_seconds(1300),
        cnf: Some(Cnf::certificate(APPENDIX_A.parse().expect("valid"))),
    }
}
