//! What is encrypted to a client (OpenID Connect Core §10.2, JARM §2.2, RFC 9701 §5): after it was signed, under the client's own key.

use super::error::Fault;
use super::server::AuthorizationServer;
use crate::clients::{Client, Message, Published};
use crate::event::Reason;
use crate::jose::jwe::{self, Content};

impl AuthorizationServer {
    /// The message as the client is registered for it: as it is, or encrypted to its key.
    ///
    /// # Errors
    /// A key that cannot be had: then the message is not sent at all.
    pub(super) async fn encrypted(
        &self,
        client: &Client,
        message: Message,
        content: Content,
        text: String,
    ) -> Result<String, Fault> {
        let Some(encryption) = client.messages.encryption.get(&message) else { return Ok(text) };
        let absent = Fault::Unavailable(Reason::ClientKeysUnavailable);
        let key = match client.keys().ok_or(absent)? {
            Published::Here(keys) => keys.encryption_key(encryption.alg).cloned(),
            Published::At(uri) => {
                let monotonic = self.clock.monotonic();
                let found = self.client_keys.encryption_key(&client.client_id, uri, encryption.alg, monotonic).await;
                found.map_err(|problem| {
                    tracing::warn!(client_id = %client.client_id, %problem, "cannot fetch the keys of a client");
                    absent
                })?
            }
        };
        let key = key.ok_or(absent)?;
        jwe::encrypt(text.as_bytes(), content, &key, encryption.alg, encryption.enc).map_err(|problem| {
            tracing::error!(client_id = %client.client_id, %problem, "cannot encrypt to a client");
            Fault::Defect(Reason::Defect)
        })
    }
}
