//! A person as an operator is shown one: what is known of them, and by what they sign in. No secret of theirs is in it.

use serde_json::{Map, Value, json};

use super::people::{People, Person};
use crate::store::StoreError;

impl Person {
    /// What is known of them, and how their account stands.
    pub fn to_members(&self) -> Map<String, Value> {
        let mut shown = match serde_json::to_value(&self.claims) {
            Ok(Value::Object(claims)) => claims,
            _ => Map::new(),
        };
        shown.insert("sub".into(), json!(self.subject));
        shown.insert("state".into(), json!(self.state.name()));
        shown.insert("password".into(), json!(self.has_password));
        shown.insert("created".into(), json!(self.created));
        shown
    }
}

impl People {
    /// The same, with what they sign in with: certificates, passkeys, accounts elsewhere.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn described(&self, person: &Person) -> Result<Map<String, Value>, StoreError> {
        let subject = &person.subject;
        let certificates = self.certificates(subject).await?.into_iter().map(|link| {
            let label = &link.label;
            json!({
                "link": link.link, "by": label.by, "title": label.title, "not_after": label.not_after, "created": link.created,
            })
        });
        let passkeys = self.passkeys(subject).await?.into_iter().map(|one| {
            json!({
                "passkey": one.passkey, "name": one.name, "synchronised": one.is_synchronised, "created": one.created,
                "used": one.used,
            })
        });
        let linked = self.linked_accounts(subject).await?.into_iter().map(|link| {
            let label = &link.label;
            json!({
                "link": link.link, "provider": label.provider, "issuer": label.issuer, "sub": label.sub, "title": label.title,
                "created": link.created,
            })
        });
        let mut shown = person.to_members();
        shown.insert("certificates".into(), certificates.collect());
        shown.insert("passkeys".into(), passkeys.collect());
        shown.insert("linked_accounts".into(), linked.collect());
        Ok(shown)
    }
}
