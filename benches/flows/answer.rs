//! What an answer must be. Every one is looked at; signatures, which cost as much to verify as a request, in one of many.

use anyhow::{Context as _, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// One signature in this many is verified, and the first of each connection.
const VERIFY_ONE_IN: u64 = 256;

/// The fixed parts of the signing floor's answers, around the signature.
pub const SIGNED: (&str, &str) = ("{\"signature\":\"", "\",\"padding\":\"");
/// A signature of ES256 in base64url.
pub const SIGNATURE_TEXT: usize = 86;

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub head: &'a [u8],
    pub body: &'a [u8],
}

/// An answer that is kept.
#[derive(Clone, Debug)]
pub struct OwnedAnswer {
    pub head: String,
    pub body: String,
}

impl Answer<'_> {
    /// Bytes over the wire.
    pub fn length(&self) -> usize {
        self.head.len() + self.body.len()
    }
    pub fn clone_owned(&self) -> OwnedAnswer {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        OwnedAnswer { head: text(self.head), body: text(self.body) }
    }
}

impl OwnedAnswer {
    pub fn length(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// What is expected, beside 200.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Expectation {
    /// Any answer: for the first one, which the others are compared with.
    Success,
    /// This body.
    Exactly(String),
    /// This many bytes over the wire.
    Length(usize),
    /// A new JWT each time, of this length over the wire, bound to this certificate, signed by this key.
    Jwt { length: usize, thumbprint: String, key: PublicKey },
    /// A new opaque token each time, of this length over the wire.
    Opaque { length: usize },
    /// A new signature each time over a payload of so many bytes.
    Signature { length: usize, payload: usize, key: PublicKey },
}

/// A point on P-256, uncompressed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublicKey(pub Vec<u8>);

impl PublicKey {
    fn verify(&self, message: &[u8], signature: &str) -> anyhow::Result<()> {
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0)
            .verify(message, &signature)
            .map_err(|_| anyhow::anyhow!("a signature that does not verify"))
    }
}

/// Checks the answers of one connection.
pub struct Checker {
    expectation: Expectation,
    previous: Vec<u8>,
    count: u64,
}

impl Checker {
    pub fn new(expectation: &Expectation) -> anyhow::Result<Self> {
        Ok(Self { expectation: expectation.clone(), previous: Vec::new(), count: 0 })
    }

    pub fn check(&mut self, answer: &Answer<'_>) -> anyhow::Result<()> {
        ensure!(
            answer.head.starts_with(b"HTTP/1.1 200 "),
            "{}{}",
            String::from_utf8_lossy(answer.head),
            String::from_utf8_lossy(answer.body)
        );
        let verify = self.count.is_multiple_of(VERIFY_ONE_IN);
        self.count += 1;
        match &self.expectation {
            Expectation::Success => {}
            Expectation::Exactly(body) => ensure!(answer.body == body.as_bytes(), "another body"),
            Expectation::Length(length) => ensure!(answer.length() == *length, "another length: {}", answer.length()),
            Expectation::Jwt { length, thumbprint, key } => {
                ensure!(answer.length() == *length, "another length: {}", answer.length());
                let token = token(answer.body, "{\"access_token\":\"eyJ", 3)?;
                let mut parts = token.rsplitn(2, '.');
                let signature = parts.next().context("a signature")?;
                let message = parts.next().context("a payload")?;
                let (_, payload) = message.split_once('.').context("a payload")?;
                let payload = URL_SAFE_NO_PAD.decode(payload)?;
                let bound = std::str::from_utf8(&payload)?.contains(thumbprint.as_str());
                ensure!(bound, "a token bound to another certificate");
                if verify {
                    key.verify(message.as_bytes(), signature)?;
                }
                self.new_one(token)?;
            }
            Expectation::Opaque { length } => {
                ensure!(answer.length() == *length, "another length: {}", answer.length());
                self.new_one(token(answer.body, "{\"access_token\":\"sy_at_", 6)?)?;
            }
            Expectation::Signature { length, payload, key } => {
                ensure!(answer.length() == *length, "another length: {}", answer.length());
                let signature = token(answer.body, SIGNED.0, 0)?;
                if verify {
                    key.verify(&vec![b'x'; *payload], signature)?;
                }
                self.new_one(signature)?;
            }
        }
        Ok(())
    }

    fn new_one(&mut self, text: &str) -> anyhow::Result<()> {
        ensure!(text.as_bytes() != self.previous, "the same answer as before");
        self.previous.clear();
        self.previous.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The text that begins with the last `kept` bytes of `prefix`, up to the next quotation mark.
pub fn token<'a>(body: &'a [u8], prefix: &str, kept: usize) -> anyhow::Result<&'a str> {
    let body = std::str::from_utf8(body)?;
    ensure!(body.starts_with(prefix), "{body}");
    let rest = body.get(prefix.len() - kept..).context("a token")?;
    rest.split('"').next().context("a token")
}
