//! Encryption to a client's public key (RFC 7516, RFC 7518 §4, §5): josekit's, with an allow list of algorithms. Nothing is decrypted
//! here, and nothing is compressed.

use std::fmt;

use josekit::jwe::{ECDH_ES, ECDH_ES_A128KW, ECDH_ES_A256KW, JweContext, JweEncrypter, JweHeader, RSA_OAEP_256};
use josekit::jwk::Jwk;
use serde_json::Value;

use super::jwk::PublicJwk;

/// How the content encryption key reaches the recipient (RFC 7518 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyManagement {
    /// RSAES-OAEP with SHA-256.
    RsaOaep256,
    /// ECDH-ES, whose secret is the key.
    EcdhEs,
    /// ECDH-ES with AES-128 key wrap.
    EcdhEsA128kw,
    /// ECDH-ES with AES-256 key wrap.
    EcdhEsA256kw,
}

impl KeyManagement {
    /// Every algorithm there is.
    pub const ALL: [Self; 4] = [Self::RsaOaep256, Self::EcdhEs, Self::EcdhEsA128kw, Self::EcdhEsA256kw];

    /// The name in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::EcdhEs => "ECDH-ES",
            Self::EcdhEsA128kw => "ECDH-ES+A128KW",
            Self::EcdhEsA256kw => "ECDH-ES+A256KW",
        }
    }

    fn encrypter(self, key: &Jwk) -> Result<Box<dyn JweEncrypter>, EncryptError> {
        let refused = |_| EncryptError::Key;
        Ok(match self {
            Self::RsaOaep256 => Box::new(RSA_OAEP_256.encrypter_from_jwk(key).map_err(refused)?),
            Self::EcdhEs => Box::new(ECDH_ES.encrypter_from_jwk(key).map_err(refused)?),
            Self::EcdhEsA128kw => Box::new(ECDH_ES_A128KW.encrypter_from_jwk(key).map_err(refused)?),
            Self::EcdhEsA256kw => Box::new(ECDH_ES_A256KW.encrypter_from_jwk(key).map_err(refused)?),
        })
    }
}

impl fmt::Display for KeyManagement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the content is encrypted (RFC 7518 §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentEncryption {
    /// AES-128-CBC with HMAC-SHA-256: what OpenID Connect Registration §2 has by default.
    #[default]
    A128CbcHs256,
    /// AES-256-CBC with HMAC-SHA-512.
    A256CbcHs512,
    /// AES-128-GCM.
    A128Gcm,
    /// AES-256-GCM.
    A256Gcm,
}

impl ContentEncryption {
    /// Every algorithm there is.
    pub const ALL: [Self; 4] = [Self::A128CbcHs256, Self::A256CbcHs512, Self::A128Gcm, Self::A256Gcm];

    /// The name in `enc`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128CbcHs256 => "A128CBC-HS256",
            Self::A256CbcHs512 => "A256CBC-HS512",
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
        }
    }
}

/// What is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A signed JWT: `cty` says so (RFC 7519 §5.2).
    Jwt,
    /// The claims themselves.
    Claims,
}

/// Why nothing was encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The key is for another algorithm, or for something else.
    #[error("the key does not serve this algorithm")]
    Key,
    /// The encryption failed.
    #[error("the encryption failed")]
    Failed,
}

/// Encrypts `payload` to `key` and writes the compact serialization, with `alg`, `enc` and the key's `kid` in the header.
///
/// # Errors
/// See [`EncryptError`].
pub fn encrypt(
    payload: &[u8],
    content: Content,
    key: &PublicJwk,
    alg: KeyManagement,
    enc: ContentEncryption,
) -> Result<String, EncryptError> {
    if !key.encrypts(alg) {
        return Err(EncryptError::Key);
    }
    // Use, operations and algorithm of the key are judged above, as this server reads them.
    let mut members = key.to_members();
    members.retain(|name, _| matches!(name.as_str(), "kty" | "crv" | "x" | "y" | "n" | "e" | "kid"));
    let jwk = Jwk::from_map(members).map_err(|_| EncryptError::Key)?;
    let encrypter = alg.encrypter(&jwk)?;
    let mut header = JweHeader::new();
    header.set_content_encryption(enc.name());
    if content == Content::Jwt {
        header.set_claim("cty", Some(Value::from("JWT"))).map_err(|_| EncryptError::Failed)?;
    }
    let mut context = JweContext::new();
    context.remove_compression("DEF");
    context.serialize_compact(payload, &header, &*encrypter).map_err(|_| EncryptError::Failed)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
    use josekit::jwe;
    use josekit::jwk::alg::ec::EcCurve;
    use serde_json::json;

    use super::*;
    use crate::jose::base64url;

    fn public(jwk: &Jwk) -> PublicJwk {
        let mut members = serde_json::to_value(jwk.to_public_key().expect("public").as_ref()).expect("JSON");
        members["kid"] = json!("k1");
        members["use"] = json!("enc");
        PublicJwk::from_json(members.to_string().as_bytes()).expect("a key")
    }

    #[test]
    fn every_algorithm_reaches_the_holder_of_the_key_alone() {
        let rsa = Jwk::generate_rsa_key(2048).expect("a key");
        let curves = [EcCurve::P256, EcCurve::P384, EcCurve::P521].map(|curve| Jwk::generate_ec_key(curve).expect("a key"));
        for alg in KeyManagement::ALL {
            let keys = if alg == KeyManagement::RsaOaep256 { std::slice::from_ref(&rsa) } else { &curves[..] };
            for (key, enc) in keys.iter().flat_map(|key| ContentEncryption::ALL.map(|enc| (key, enc))) {
                let text = encrypt(b"e30.e30.x", Content::Jwt, &public(key), alg, enc).expect("encrypted");
                let decrypter: Box<dyn jwe::JweDecrypter> = match alg {
                    KeyManagement::RsaOaep256 => Box::new(RSA_OAEP_256.decrypter_from_jwk(key).expect("a decrypter")),
                    KeyManagement::EcdhEs => Box::new(ECDH_ES.decrypter_from_jwk(key).expect("a decrypter")),
                    KeyManagement::EcdhEsA128kw => Box::new(ECDH_ES_A128KW.decrypter_from_jwk(key).expect("a decrypter")),
                    KeyManagement::EcdhEsA256kw => Box::new(ECDH_ES_A256KW.decrypter_from_jwk(key).expect("a decrypter")),
                };
                let (payload, header) = jwe::deserialize_compact(&text, &*decrypter).expect("decrypted");
                assert_eq!(payload, b"e30.e30.x");
                assert_eq!((header.algorithm(), header.content_encryption()), (Some(alg.name()), Some(enc.name())));
                assert_eq!((header.key_id(), header.content_type(), header.compression()), (Some("k1"), Some("JWT"), None));
            }
        }
        for (key, alg) in [(&rsa, KeyManagement::EcdhEs), (&curves[0], KeyManagement::RsaOaep256)] {
            let refused = encrypt(b"", Content::Jwt, &public(key), alg, ContentEncryption::A128Gcm);
            assert_eq!(refused, Err(EncryptError::Key));
        }
    }

    /// The same text, opened by another implementation (RFC 7516 §5.2, step by step).
    #[test]
    fn another_implementation_reads_it() {
        use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().expect("DER");
        let pair = josekit::jwk::alg::rsa::RsaKeyPair::from_der(
            aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&private).expect("DER").as_ref(),
        )
        .expect("a pair");
        assert!(!der.as_ref().is_empty());
        let key = public(&pair.to_jwk_private_key());
        let text =
            encrypt(b"{}", Content::Claims, &key, KeyManagement::RsaOaep256, ContentEncryption::A256Gcm).expect("encrypted");
        let parts: Vec<&str> = text.split('.').collect();
        let [header, encrypted_key, iv, ciphertext, tag] = parts[..] else { panic!("five parts: {text}") };
        let bytes = |part: &str| base64url::decode(part).expect("base64url");
        let oaep = OaepPrivateDecryptingKey::new(private).expect("a key");
        let mut room = vec![0u8; oaep.min_output_size()];
        let content_key = oaep.decrypt(&OAEP_SHA256_MGF1SHA256, &bytes(encrypted_key), &mut room, None).expect("unwrapped");
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, content_key).expect("a key"));
        let nonce = Nonce::try_assume_unique_for_key(&bytes(iv)).expect("a nonce");
        let mut sealed = [bytes(ciphertext), bytes(tag)].concat();
        let opened = aead.open_in_place(nonce, Aad::from(header.as_bytes()), &mut sealed).expect("opened");
        assert_eq!(opened, b"{}");
        assert!(!String::from_utf8(bytes(header)).expect("UTF-8").contains("cty"));
    }
}
