//! What a browser carries for us, sealed.

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::domain::{SessionId, Subject, Thumbprint, Timestamp};

/// A session, as its cookie has it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Session {
    /// Our name for it.
    pub id: SessionId,
    /// Grows whenever its tokens are renewed.
    pub generation: u32,
    /// How many sessions in a row before it were over as soon as they had begun.
    pub turn: u32,
    /// `sub`.
    pub subject: Subject,
    /// The provider's `sid`.
    pub provider_session: Option<SessionId>,
    /// A name to greet the person with.
    pub name: Option<String>,
    /// When it was opened.
    pub begun: Timestamp,
    /// When it was used last, to within a minute.
    pub seen: Timestamp,
    /// The certificate that it was opened with, and is good with alone.
    pub certificate: Option<Thumbprint>,
    /// The access token.
    pub access_token: String,
    /// When that expires.
    pub expires: Timestamp,
    /// The refresh token.
    pub refresh_token: Option<String>,
    /// The ID token, for signing out.
    pub id_token: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.id_token.zeroize();
        if let Some(token) = &mut self.refresh_token {
            token.zeroize();
        }
    }
}

/// A sign-in that was begun.
#[derive(Clone, Serialize, Deserialize)]
pub struct SignIn {
    /// Comes back with the answer.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// PKCE (RFC 7636).
    pub verifier: String,
    /// Where the browser wanted to go: path and query.
    pub return_to: String,
    /// The certificate of the connection.
    pub certificate: Option<Thumbprint>,
    /// What the sign-in must be like: seconds since it, at most.
    pub max_age: Option<u32>,
    /// How many sessions in a row were over as soon as they had begun.
    pub turn: u32,
}

impl Drop for SignIn {
    fn drop(&mut self) {
        self.state.zeroize();
        self.nonce.zeroize();
        self.verifier.zeroize();
    }
}
