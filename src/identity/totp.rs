//! One-time passwords by time (RFC 6238, RFC 4226), and recovery codes.
//!
//! SHA-1, six digits and thirty seconds: what every authenticator reads.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::domain::{Randomness, RandomnessUnavailable, Timestamp};
use crate::jose::digest::hmac_sha1;

/// Bytes of a secret: as long as the hash (RFC 4226 §4 R6: "RECOMMENDs a shared secret length of 160 bits").
const SECRET_LENGTH: usize = 20;
/// Digits of a code.
const DIGITS: usize = 6;
/// Seconds of a time step.
const STEP_SECONDS: i64 = 30;
/// Steps before and after the present one whose code is taken (RFC 6238 §5.2 recommends at most one before).
const DRIFT: i64 = 1;
/// Recovery codes that a person gets.
const RECOVERY_CODES: usize = 10;
/// Bytes of one: 80 bits, so that their keyed hash needs no stretching.
const RECOVERY_LENGTH: usize = 10;
/// RFC 4648 §6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A secret that a person's authenticator shares with us.
#[derive(Clone)]
pub struct TotpSecret(Zeroizing<Vec<u8>>);

/// The time step of a code that is right. That it is the first time is seen when it is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotpStep(pub(super) i64);

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret([redacted])")
    }
}

impl TotpSecret {
    /// A fresh one.
    pub fn random(randomness: &dyn Randomness) -> Result<Self, RandomnessUnavailable> {
        let mut bytes = Zeroizing::new(vec![0u8; SECRET_LENGTH]);
        randomness.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(super) const fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As a person types it.
    pub fn to_base32(&self) -> Zeroizing<String> {
        Zeroizing::new(base32(&self.0))
    }

    /// The same in groups of four.
    pub fn to_grouped(&self) -> Zeroizing<String> {
        Zeroizing::new(grouped(&self.to_base32()).replace('-', " "))
    }

    /// What an authenticator on the same device opens.
    pub fn to_uri(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let encode = |text: &str| {
            text.bytes().fold(String::new(), |mut encoded, byte| {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
                    other => encoded.push_str(&format!("%{other:02X}")),
                }
                encoded
            })
        };
        let (issuer, account, secret) = (encode(issuer), encode(account), self.to_base32());
        Zeroizing::new(format!("otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}", *secret))
    }

    /// The code of a time step, cut to `digits` (RFC 4226 §5.3).
    fn code(&self, step: i64, digits: usize) -> String {
        let mac = hmac_sha1(&self.0, &step.to_be_bytes());
        let offset = usize::from(mac.last().copied().unwrap_or_default() & 0x0f);
        let bytes: [u8; 4] = mac.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        let number = u32::from_be_bytes(bytes) & 0x7fff_ffff;
        let modulus = 10u32.pow(u32::try_from(digits).unwrap_or_default());
        format!("{:0digits$}", number % modulus)
    }

    /// Holds a typed code against the steps around `now`.
    pub fn check(&self, typed: &str, now: Timestamp) -> Option<TotpStep> {
        let present = now.seconds().div_euclid(STEP_SECONDS);
        let mut found = None;
        for step in present - DRIFT..=present + DRIFT {
            if bool::from(self.code(step, DIGITS).as_bytes().ct_eq(typed.as_bytes())) {
                found = Some(TotpStep(step));
            }
        }
        found
    }
}

/// What somebody typed as their second factor.
#[derive(Clone, PartialEq, Eq)]
pub enum TypedCode {
    /// Six digits.
    OneTime(String),
    /// A recovery code, normalized.
    Recovery(String),
}

impl TypedCode {
    /// Reads it, whatever its case and whatever stands between its characters.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let code: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
        if code.len() == DIGITS && code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::OneTime(code));
        }
        let is_recovery = code.len() == RECOVERY_LENGTH * 8 / 5 && code.bytes().all(|byte| BASE32.contains(&byte));
        is_recovery.then_some(Self::Recovery(code))
    }
}

/// Fresh recovery codes, normalized.
pub fn recovery_codes(randomness: &dyn Randomness) -> Result<Vec<String>, RandomnessUnavailable> {
    let mut codes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let mut bytes = Zeroizing::new([0u8; RECOVERY_LENGTH]);
        randomness.fill(&mut *bytes)?;
        codes.push(base32(&*bytes));
    }
    Ok(codes)
}

/// A code in groups of four, to be read and typed.
pub fn grouped(code: &str) -> String {
    let characters: Vec<char> = code.chars().collect();
    characters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

fn base32(bytes: &[u8]) -> String {
    let (mut text, mut buffer, mut bits) = (String::with_capacity(bytes.len() * 8 / 5 + 1), 0u32, 0u32);
    let letter = |index: u32| BASE32.get((index & 31) as usize).copied().map_or('A', char::from);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(letter(buffer >> bits));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(letter(buffer << (5 - bits)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::random::SystemRandomness;

    fn secret(bytes: &[u8]) -> TotpSecret {
        TotpSecret::from_bytes(Zeroizing::new(bytes.to_vec()))
    }

    /// RFC 6238 Appendix B, the rows of SHA-1, and RFC 4226 Appendix D.
    #[test]
    fn the_vectors_of_the_standards() {
        let secret = secret(b"12345678901234567890");
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(secret.code(seconds / STEP_SECONDS, 8), code, "{seconds}");
        }
        let counted: Vec<String> = (0..10).map(|counter| secret.code(counter, 6)).collect();
        let expected = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        assert_eq!(counted, expected);
    }

    /// RFC 4648 §10, without padding.
    #[test]
    fn base32_is_the_standards() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_code_is_taken_in_its_own_step_and_its_neighbours() {
        let secret = secret(b"12345678901234567890");
        // Counter 5 of RFC 4226: from 150 to 179 seconds.
        for (seconds, taken) in [(119, false), (120, true), (150, true), (179, true), (209, true), (210, false)] {
            let found = secret.check("254676", Timestamp::from_seconds(seconds));
            assert_eq!(found, taken.then_some(TotpStep(5)), "{seconds}");
        }
        assert_eq!(secret.check("25467", Timestamp::from_seconds(150)), None);
        assert_eq!(secret.check("", Timestamp::from_seconds(150)), None);
    }

    #[test]
    fn codes_are_read_however_they_are_typed() {
        assert!(TypedCode::read(" 254 676 ") == Some(TypedCode::OneTime("254676".into())));
        let codes = recovery_codes(&SystemRandomness).expect("random");
        assert_eq!(codes.iter().collect::<std::collections::BTreeSet<_>>().len(), RECOVERY_CODES);
        for code in &codes {
            assert_eq!(grouped(code).len(), 19);
            assert!(TypedCode::read(&grouped(code).to_lowercase()) == Some(TypedCode::Recovery(code.clone())));
        }
        for typed in ["", "12345", "1234567", "ABCD-EFGH-IJKL-MNO", "ABCD-EFGH-IJKL-MNO1", &"A".repeat(65)] {
            assert!(TypedCode::read(typed).is_none(), "{typed}");
        }
    }

    #[test]
    fn an_authenticator_reads_the_uri() {
        let uri = secret(b"12345678901234567890").to_uri("Our house", "alice@example.com");
        let expected =
            "otpauth://totp/Our%20house:alice%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Our%20house";
        assert_eq!(*uri, expected);
    }
}
