//! How a client of a provider authenticates there, from its settings.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;

use crate::config::settings::ServerClientAuthSetting;
use crate::domain::{Randomness, Redacted};
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;
use crate::pki::pem::{self, PemFileError};
use crate::resource::ClientAuthentication;

/// What the settings offer for it. Paths are resolved.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// `client_auth`.
    pub method: ServerClientAuthSetting,
    /// `client_secret_file`.
    pub secret_file: Option<&'a Path>,
    /// `client_key_file`.
    pub key_file: Option<&'a Path>,
    /// Whether connections have a certificate of ours.
    pub certificate: bool,
}

/// A setting of them is wrong.
#[derive(Debug, thiserror::Error)]
#[error("`{member}`: {problem}")]
pub struct CredentialError {
    /// Which.
    pub member: &'static str,
    /// What is wrong with it.
    pub problem: CredentialProblem,
}

/// What is wrong with a setting of credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialProblem {
    /// It says nothing that can be used.
    #[error("{0}")]
    Unfit(String),
    /// Its file.
    #[error(transparent)]
    Pem(#[from] PemFileError),
}

impl Credentials<'_> {
    /// Reads the files. Nothing where the method is a certificate's and there is none.
    ///
    /// # Errors
    /// A file that is missing, superfluous, or not what it should be.
    pub fn load(&self, randomness: &Arc<dyn Randomness>) -> Result<Option<ClientAuthentication>, CredentialError> {
        use ServerClientAuthSetting::*;
        let unfit = |member, problem: &str| CredentialError { member, problem: CredentialProblem::Unfit(problem.to_owned()) };
        let method = self.method;
        let used = [
            ("client_secret_file", self.secret_file, matches!(method, ClientSecretBasic | ClientSecretPost)),
            ("client_key_file", self.key_file, method == PrivateKeyJwt),
        ];
        for (member, file, is_used) in used {
            match file {
                Some(_) if !is_used => {
                    return Err(unfit(member, "is not used by `client_auth`: one of the two is a mistake"));
                }
                None if is_used => return Err(unfit(member, "is missing, and `client_auth` needs it")),
                _ => {}
            }
        }
        match (method, self.secret_file, self.key_file) {
            (TlsClientAuth | SelfSignedTlsClientAuth, ..) => Ok(self.certificate.then_some(ClientAuthentication::Certificate)),
            (PrivateKeyJwt, _, Some(file)) => {
                let key = load_signing_key(file).map_err(|problem| CredentialError { member: "client_key_file", problem })?;
                Ok(Some(ClientAuthentication::Assertion(Arc::new(key), Arc::clone(randomness))))
            }
            (ClientSecretBasic | ClientSecretPost, Some(file), _) => {
                let member = "client_secret_file";
                let bytes = pem::load_secret(file).map_err(|error| CredentialError { member, problem: error.into() })?;
                let text = std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\r', '\n'])).unwrap_or_default();
                if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                    return Err(unfit(member, "must hold the secret and nothing else, in ASCII"));
                }
                let secret = Redacted::new(text.to_owned());
                Ok(Some(match method {
                    ClientSecretBasic => ClientAuthentication::SecretInHeader(secret),
                    _ => ClientAuthentication::SecretInForm(secret),
                }))
            }
            (PrivateKeyJwt | ClientSecretBasic | ClientSecretPost, ..) => Ok(None),
        }
    }
}

/// A key to sign with, of a kind that every verifier knows.
///
/// # Errors
/// A file that cannot be read, or holds another kind of key.
pub fn load_signing_key(path: &Path) -> Result<SigningKey, CredentialProblem> {
    let key = pem::load_private_key(path)?;
    let unfit = || {
        let path = path.display();
        CredentialProblem::Unfit(format!("`{path}` must hold a P-256, P-384 or Ed25519 key in PKCS #8: `BEGIN PRIVATE KEY`"))
    };
    let PrivateKeyDer::Pkcs8(der) = &key else { return Err(unfit()) };
    [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
        .into_iter()
        .find_map(|algorithm| SigningKey::from_pkcs8(der.secret_pkcs8_der(), algorithm).ok())
        .ok_or_else(unfit)
}
