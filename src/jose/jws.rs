//! The JWS compact serialization (RFC 7515 §3.1, §7.1), read before any key is looked at.

use serde_json::{Map, Value};

use super::json::{self, JsonError};
use super::{Algorithm, base64url};
use crate::event::Reason;

/// Why a text is not a JWS that we accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`Compact::MAX_LENGTH`].
    #[error("longer than {} bytes", Compact::MAX_LENGTH)]
    TooLong,
    /// Not three parts between two dots. Five parts are an encrypted token (RFC 7516), which we do not take.
    #[error("not three parts between dots (RFC 7515 §7.1)")]
    Parts,
    /// A part that is not base64url without padding.
    #[error("the {0} is not base64url without padding (RFC 7515 §2)")]
    Encoding(Part),
    /// A header that is not strict JSON.
    #[error("the header is {0}")]
    Header(JsonError),
    /// A header parameter of the wrong type.
    #[error("the header parameter `{0}` is not a string")]
    HeaderParameter(&'static str),
    /// No `alg`.
    #[error("the header has no `alg` (RFC 7515 §4.1.1)")]
    AlgorithmAbsent,
    /// An `alg` that we do not use: `none`, a symmetric one, or an unknown one.
    #[error("the header's `alg` is not one we use")]
    AlgorithmUnknown,
    /// An `alg` that this key, or this issuer, does not sign with.
    #[error("{0} is not what this key signs with")]
    AlgorithmMismatch(Algorithm),
    /// A `crit` parameter. We implement no extension, so none can be understood (RFC 7515 §4.1.11).
    #[error("the header has `crit` (RFC 7515 §4.1.11)")]
    Critical,
    /// A `b64` parameter (RFC 7797).
    #[error("the header has `b64` (RFC 7797)")]
    UnencodedPayload,
    /// No key fits `kid` and `alg`.
    #[error("no key fits the header's `kid` and `alg`")]
    KeyUnknown,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// A payload that is not strict JSON. Only looked at after the signature has verified.
    #[error("the payload is {0}")]
    Payload(JsonError),
}

impl JwsError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooLong
            | Self::Parts
            | Self::Encoding(_)
            | Self::Header(_)
            | Self::HeaderParameter(_)
            | Self::AlgorithmAbsent
            | Self::Payload(_) => Reason::TokenMalformed,
            Self::AlgorithmUnknown | Self::AlgorithmMismatch(_) => Reason::TokenAlgorithm,
            Self::Critical | Self::UnencodedPayload => Reason::TokenCritical,
            Self::KeyUnknown => Reason::TokenKeyUnknown,
            Self::Signature => Reason::TokenSignature,
        }
    }
}

/// One of the three parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The JOSE header.
    Header,
    /// The payload.
    Payload,
    /// The signature.
    Signature,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// What a compact serialization is made of, whatever family of algorithms it belongs to.
pub(super) struct Parts<'a, A> {
    pub(super) algorithm: A,
    pub(super) header: Map<String, Value>,
    pub(super) signing_input: &'a str,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl<'a, A: std::str::FromStr> Parts<'a, A> {
    pub(super) fn parse(text: &'a str) -> Result<Self, JwsError> {
        if text.len() > Compact::MAX_LENGTH {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsError::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Parts)?;
        if payload.contains('.') {
            return Err(JwsError::Parts);
        }
        let header = base64url::decode(header).map_err(|_| JwsError::Encoding(Part::Header))?;
        let header = json::parse_object(&header).map_err(JwsError::Header)?;
        // `crit` first: whoever writes it says that the rest must not be read without understanding it.
        if header.contains_key("crit") {
            return Err(JwsError::Critical);
        }
        if header.contains_key("b64") {
            return Err(JwsError::UnencodedPayload);
        }
        for name in ["alg", "kid", "typ", "cty"] {
            if header.get(name).is_some_and(|value| !value.is_string()) {
                return Err(JwsError::HeaderParameter(name));
            }
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(JwsError::AlgorithmAbsent)?;
        let algorithm = algorithm.parse().map_err(|_| JwsError::AlgorithmUnknown)?;
        let payload = base64url::decode(payload).map_err(|_| JwsError::Encoding(Part::Payload))?;
        let signature = base64url::decode(signature).map_err(|_| JwsError::Encoding(Part::Signature))?;
        Ok(Self { algorithm, header, signing_input, payload, signature })
    }
}

/// A JWS whose syntax has been checked and whose signature has not. Nothing it says may be believed.
#[derive(Clone, Debug)]
pub struct Compact<'a> {
    algorithm: Algorithm,
    header: Map<String, Value>,
    signing_input: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// The longest text that is looked at, in bytes.
    pub const MAX_LENGTH: usize = 16 * 1024;

    /// Reads the three parts and the header.
    ///
    /// Header parameters that point to keys (`jwk`, `jku`, `x5u`, `x5c`, `x5t`) are read and never used to find one.
    ///
    /// # Errors
    /// Everything in [`JwsError`] but what needs a key.
    pub fn parse(text: &'a str) -> Result<Self, JwsError> {
        let Parts { algorithm, header, signing_input, payload, signature } = Parts::parse(text)?;
        Ok(Self { algorithm, header, signing_input, payload, signature })
    }

    /// `alg`.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// `typ`.
    pub fn typ(&self) -> Option<&str> {
        self.header.get("typ").and_then(Value::as_str)
    }

    /// All header parameters.
    pub fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// The payload, believed by nobody yet.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// What is signed: header and payload as they were written.
    pub fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// `alg` `none` (RFC 7518 §3.6).
struct Nothing;

impl std::str::FromStr for Nothing {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self) } else { Err(()) }
    }
}

/// A JWT that nobody has signed (RFC 7519 §6), for the one place where a standard knows such: request objects of OpenID Connect Core
/// §6.1. Of a type of its own, so that it never passes for a signed one.
#[derive(Clone, Debug)]
pub struct Unsigned {
    header: Map<String, Value>,
    payload: Vec<u8>,
}

impl Unsigned {
    /// Reads the parts and the header. There is no signature: not even an empty one of something.
    ///
    /// # Errors
    /// Everything in [`JwsError`] but what needs a key; [`JwsError::Signature`] when there is one.
    pub fn parse(text: &str) -> Result<Self, JwsError> {
        let Parts { algorithm: Nothing, header, payload, signature, .. } = Parts::parse(text)?;
        if signature.is_empty() { Ok(Self { header, payload }) } else { Err(JwsError::Signature) }
    }

    /// All header parameters.
    pub fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// The claims, which whoever brought them may have written.
    ///
    /// # Errors
    /// [`JwsError::Payload`].
    pub fn unverified_claims(&self) -> Result<Map<String, Value>, JwsError> {
        json::parse_object(&self.payload).map_err(JwsError::Payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn with_header(header: &str) -> String {
        format!("{}.{}.{}", base64url::encode(header), base64url::encode("{}"), base64url::encode([0u8; 64]))
    }

    #[test]
    fn headers_that_are_refused() {
        let table = [
            (r#"{}"#, JwsError::AlgorithmAbsent),
            (r#"{"alg":"none"}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":"None"}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":"nOnE"}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":""}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":"HS256"}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":"HS512"}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":"es256"}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":"ES256K"}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":"RS1"}"#, JwsError::AlgorithmUnknown),
            (r#"{"alg":["ES256"]}"#, JwsError::HeaderParameter("alg")),
            (r#"{"alg":null}"#, JwsError::HeaderParameter("alg")),
            (r#"{"alg":"ES256","kid":1}"#, JwsError::HeaderParameter("kid")),
            (r#"{"alg":"ES256","kid":null}"#, JwsError::HeaderParameter("kid")),
            (r#"{"alg":"ES256","typ":{}}"#, JwsError::HeaderParameter("typ")),
            (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, JwsError::Critical),
            (r#"{"alg":"ES256","crit":[]}"#, JwsError::Critical),
            (r#"{"alg":"ES256","crit":null}"#, JwsError::Critical),
            (r#"{"alg":"none","crit":["b64"],"b64":false}"#, JwsError::Critical),
            (r#"{"alg":"ES256","b64":false}"#, JwsError::UnencodedPayload),
            (r#"{"alg":"ES256","b64":true}"#, JwsError::UnencodedPayload),
            (r#"{"alg":"none","alg":"ES256"}"#, JwsError::Header(JsonError::DuplicateMember("alg".into()))),
            (r#"{"alg":"ES256","\u0061lg":"ES256"}"#, JwsError::Header(JsonError::DuplicateMember("alg".into()))),
            (r#"["ES256"]"#, JwsError::Header(JsonError::NotAnObject)),
        ];
        for (header, expected) in table {
            assert_eq!(Compact::parse(&with_header(header)).err(), Some(expected), "{header}");
        }
        assert!(matches!(Compact::parse(&with_header("{\"alg\":\"ES256\"} x")), Err(JwsError::Header(JsonError::Syntax(_)))));
    }

    #[test]
    fn shapes_that_are_refused() {
        let good = with_header(r#"{"alg":"ES256"}"#);
        assert!(Compact::parse(&good).is_ok());
        let (header, rest) = good.split_once('.').expect("three parts");
        let (payload, signature) = rest.split_once('.').expect("three parts");
        let table = [
            (String::new(), JwsError::Parts),
            (header.to_owned(), JwsError::Parts),
            (format!("{header}.{payload}"), JwsError::Parts),
            (format!("{good}."), JwsError::Parts),
            (format!("{good}.AAAA.AAAA"), JwsError::Parts),
            (
                format!(".{payload}.{signature}"),
                JwsError::Header(JsonError::Syntax("EOF while parsing a value at line 1 column 0".into())),
            ),
            (format!("{header}=.{payload}.{signature}"), JwsError::Encoding(Part::Header)),
            (format!("{header}.{payload}=.{signature}"), JwsError::Encoding(Part::Payload)),
            (format!("{header}.{payload}.{signature}=="), JwsError::Encoding(Part::Signature)),
            (format!("{good}\n"), JwsError::Encoding(Part::Signature)),
            (format!(" {good}"), JwsError::Encoding(Part::Header)),
            // 64 bytes of zero end in `A`; `B` has trailing bits that mean nothing.
            (format!("{header}.{payload}.{}B", &signature[..signature.len() - 1]), JwsError::Encoding(Part::Signature)),
            (format!("{header}.{payload}.{}+", &signature[..signature.len() - 1]), JwsError::Encoding(Part::Signature)),
            (format!("{header}.{}.{signature}", "A".repeat(Compact::MAX_LENGTH)), JwsError::TooLong),
        ];
        for (text, expected) in table {
            assert_eq!(Compact::parse(&text).err(), Some(expected), "{text:.80}");
        }
    }

    #[test]
    fn what_is_unsigned_is_never_taken_for_signed() {
        let text =
            |header: &str, signature: &str| format!("{}.{}.{signature}", base64url::encode(header), base64url::encode("{}"));
        assert!(Unsigned::parse(&text(r#"{"alg":"none"}"#, "")).is_ok_and(|jwt| jwt.unverified_claims() == Ok(Map::new())));
        assert_eq!(Compact::parse(&text(r#"{"alg":"none"}"#, "")).err(), Some(JwsError::AlgorithmUnknown));
        for (header, signature, expected) in [
            (r#"{"alg":"none"}"#, "AAAA", JwsError::Signature),
            (r#"{"alg":"None"}"#, "", JwsError::AlgorithmUnknown),
            (r#"{"alg":"ES256"}"#, "", JwsError::AlgorithmUnknown),
            (r#"{"alg":"none","crit":[]}"#, "", JwsError::Critical),
            (r#"{}"#, "", JwsError::AlgorithmAbsent),
        ] {
            assert_eq!(Unsigned::parse(&text(header, signature)).err(), Some(expected), "{header}");
        }
    }

    #[test]
    fn the_parts_come_back() {
        let text = with_header(&json!({"alg": "PS256", "kid": "k", "typ": "at+jwt", "jku": "https://evil.example"}).to_string());
        let compact = Compact::parse(&text).expect("well formed");
        assert_eq!((compact.algorithm(), compact.key_id(), compact.typ()), (Algorithm::PS256, Some("k"), Some("at+jwt")));
        assert_eq!((compact.unverified_payload(), compact.signature()), (&b"{}"[..], &[0u8; 64][..]));
        assert!(text.starts_with(compact.signing_input()));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[A-Za-z0-9_.=-]{0,64}") {
            let _ = Compact::parse(&text);
        }

        #[test]
        fn what_parses_has_one_spelling(payload in proptest::collection::vec(any::<u8>(), 0..64), signature in proptest::collection::vec(any::<u8>(), 0..80)) {
            let header = base64url::encode(r#"{"alg":"EdDSA"}"#);
            let text = format!("{header}.{}.{}", base64url::encode(&payload), base64url::encode(&signature));
            let compact = Compact::parse(&text).expect("well formed");
            prop_assert_eq!(compact.unverified_payload(), &payload[..]);
            prop_assert_eq!(compact.signature(), &signature[..]);
            prop_assert_eq!(format!("{}.{}", compact.signing_input(), base64url::encode(compact.signature())), text);
        }
    }
}
