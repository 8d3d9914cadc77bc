//! By which name a client knows a person (OpenID Connect Core §8).

use crate::clients::{Client, SubjectType};
use crate::domain::{Redacted, Subject};
use crate::jose::base64url;
use crate::jose::digest::hmac_sha256;

/// Makes pairwise names: HMAC-SHA256 of sector and subject under a secret of the deployment, so that they last as long as the
/// deployment, and nobody outside can compute or connect them (OpenID Connect Core §8.1).
#[derive(Clone, Debug)]
pub struct SubjectNames(Redacted<[u8; 32]>);

impl SubjectNames {
    /// Names under the deployment's secret.
    pub fn new(secret: Redacted<[u8; 32]>) -> Self {
        Self(secret)
    }

    /// `sub` for this client. `None` when it is registered for pairwise names without a sector, which registration refuses.
    pub fn for_client(&self, client: &Client, subject: &Subject) -> Option<Subject> {
        match client.authorization.subject_type {
            SubjectType::Public => Some(subject.clone()),
            SubjectType::Pairwise => {
                let sector = client.authorization.sector()?;
                let mut message = (sector.len() as u64).to_be_bytes().to_vec();
                message.extend_from_slice(sector.as_bytes());
                message.extend_from_slice(subject.as_str().as_bytes());
                base64url::encode(hmac_sha256(self.0.expose(), &message)).parse().ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(subject_type: &str, redirect_uri: &str) -> Client {
        let metadata = serde_json::json!({
            "client_id": "app", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=app",
            "grant_types": ["authorization_code"], "redirect_uris": [redirect_uri], "subject_type": subject_type,
        });
        Client::from_text(metadata.to_string().as_bytes()).expect("a client")
    }

    #[test]
    fn clients_of_one_sector_know_a_person_by_one_name() {
        let names = SubjectNames::new(Redacted::new([7; 32]));
        let bob: Subject = "bob".parse().expect("a subject");
        let carol: Subject = "carol".parse().expect("a subject");
        let name = |client: &Client, subject| names.for_client(client, subject).expect("a name");
        let public = client("public", "https://a.example/cb");
        assert_eq!(name(&public, &bob), bob);
        let one = client("pairwise", "https://a.example/cb");
        let same = client("pairwise", "https://a.example/other");
        let other = client("pairwise", "https://b.example/cb");
        assert_eq!(name(&one, &bob), name(&same, &bob));
        assert_ne!(name(&one, &bob), name(&other, &bob));
        assert_ne!(name(&one, &bob), name(&one, &carol));
        assert_ne!(name(&one, &bob), bob);
        let elsewhere = SubjectNames::new(Redacted::new([8; 32]));
        assert_ne!(elsewhere.for_client(&one, &bob), names.for_client(&one, &bob));
    }
}
