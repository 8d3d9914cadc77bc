//! Accounts that are made when somebody signs in at a provider for the first time, and that go on telling what it tells.
//!
//! What is taken from a provider goes into an account of its own. It never becomes a name that somebody else has here, and no account that
//! is there already is touched.

use serde_json::{Map, Value};

use super::at_provider::{AtProvider, known_by};
use super::claims::PersonClaims;
use super::fault::Fault;
use super::linked_account::AccountLabel;
use super::people::{People, SignInError, to_json};
use super::provider::IdentityProvider;
use super::username::Username;
use crate::domain::{AccountLinkId, Subject, Timestamp};
use crate::event::Reason;
use crate::seal::PersonKey;
use crate::store::{AccountChange, AddedLinked, NewAccount, NewAccountLink};

/// Usernames that are tried, one after the other.
const MOST_NAMES: u32 = 50;
/// The longest text that is taken from a provider, in characters.
const LONGEST: usize = 200;
/// Groups that are taken from a provider, at most.
const MOST_GROUPS: usize = 200;

/// Whose accounts a provider opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Admits {
    /// Those of people who have linked theirs.
    #[default]
    Linked,
    /// Also new ones, made of what it tells.
    Everybody(ClaimNames),
}

/// Which claims of a provider tell what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// What the username is derived from.
    pub username: String,
    /// The whole name.
    pub name: String,
    /// The address; `email_verified` tells whether it is theirs.
    pub email: String,
    /// The groups there, where they count.
    pub groups: Option<String>,
    /// What a group there is called here. Others do not count.
    pub group_names: std::collections::BTreeMap<String, String>,
}

impl ClaimNames {
    /// The claims that are looked for.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        [&self.username, &self.name, &self.email].into_iter().chain(&self.groups).map(String::as_str)
    }

    /// What is taken from a provider's claims.
    pub(super) fn read(&self, claims: &Map<String, Value>) -> Told {
        let text = |name: &str| {
            let text = claims.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())?;
            let is_good = text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
            is_good.then(|| text.to_owned())
        };
        let told = self.groups.as_ref().and_then(|groups| claims.get(groups));
        let there: Vec<&str> = match told {
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).take(MOST_GROUPS).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        };
        let mut groups: Vec<String> = there.iter().filter_map(|group| self.group_names.get(*group)).cloned().collect();
        groups.sort_unstable();
        groups.dedup();
        let email = text(&self.email);
        let verified = claims.get("email_verified").and_then(Value::as_bool).unwrap_or(false);
        Told {
            username: text(&self.username),
            name: text(&self.name),
            email_verified: email.as_ref().map(|_| verified),
            email,
            groups: self.groups.as_ref().map(|_| groups),
        }
    }
}

/// What is taken of what a provider tells of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    username: Option<String>,
    name: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    /// Nothing where nobody asks for them.
    groups: Option<Vec<String>>,
}

impl Told {
    fn claims(self) -> PersonClaims {
        let Self { name, email, email_verified, groups, .. } = self;
        PersonClaims { name, email, email_verified, groups: groups.unwrap_or_default(), ..PersonClaims::default() }
    }

    /// The same person, as they are told now. What the provider is not asked about stays, and so do groups where no claim of its names them.
    fn onto(self, known: PersonClaims) -> PersonClaims {
        let Self { name, email, email_verified, groups, .. } = self;
        let groups = groups.unwrap_or_else(|| known.groups.clone());
        PersonClaims { name, email, email_verified, groups, ..known }
    }

    /// Usernames that may be tried, the best first: what it says, or what stands before the `@` of the address, or a word; then with
    /// numbers.
    fn usernames(&self) -> impl Iterator<Item = Username> + use<> {
        let local = self.email.as_deref().and_then(|email| email.split('@').next());
        let wished = [self.username.as_deref(), local].into_iter().flatten().filter_map(fitting).next();
        let base = wished.unwrap_or_else(|| "person".to_owned());
        (1..=MOST_NAMES).filter_map(move |number| {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            Username::normalize(&name).ok()
        })
    }
}

/// What of a text may stand in a username.
fn fitting(text: &str) -> Option<String> {
    let known = |c: &char| c.is_alphanumeric() || ".-_@+'".contains(*c);
    let name: String = text.chars().filter(known).skip_while(|c| !c.is_alphanumeric()).take(64).collect();
    Username::normalize(&name).ok().map(|name| name.as_str().to_owned())
}

impl People {
    /// Makes an account for somebody who signed in at a provider and has none. Of two sign-ins at once one makes it, and both have it.
    pub(super) async fn sign_up(
        &self,
        provider: &IdentityProvider,
        there: &AtProvider,
        told: Told,
        now: Timestamp,
    ) -> Result<Subject, SignInError> {
        let subject = Subject::random(&*self.randomness).map_err(Fault::from)?;
        let link = AccountLinkId::random(&*self.randomness).map_err(Fault::from)?;
        let key = PersonKey::random(&*self.randomness).map_err(Fault::from)?;
        // The key first: an account without one could not be used.
        let sealed = self.keys.seal_key(&subject, &key).map_err(Fault::from)?;
        self.keys.add(&sealed, now).await.map_err(Fault::from)?;
        let known_by = known_by(provider, &there.subject);
        let label = serde_json::to_vec(&AccountLabel::of(provider, &there.subject, &there.title, true));
        let label = label.map_err(|_| Fault::Defect(Reason::Defect))?;
        for username in told.usernames() {
            let claims = PersonClaims {
                preferred_username: Some(username.as_str().to_owned()),
                updated_at: Some(now),
                ..told.clone().claims()
            };
            let profile = to_json(&claims)?;
            let account = NewAccount { subject: &subject, username: username.as_str(), profile: &profile, password: None };
            let new = NewAccountLink {
                link: &link,
                subject: &subject,
                session: None,
                provider: provider.name(),
                known_by: &known_by,
                label: &label,
                most: 1,
            };
            // When the commit's answer is lost the account may be there: its key stays, and is in nobody's way.
            match self.store.add_linked_account(&account, &new, &key, now).await.map_err(Fault::from)? {
                AddedLinked::Added => return Ok(subject),
                AddedLinked::NameTaken => {}
                AddedLinked::Linked => {
                    self.keys.delete(&subject).await.map_err(Fault::from)?;
                    let other = self.store.account_linked_to(&known_by).await.map_err(Fault::from)?;
                    return other.ok_or(SignInError::Wrong(Reason::LinkedAccountUnknown));
                }
            }
        }
        self.keys.delete(&subject).await.map_err(Fault::from)?;
        Err(SignInError::Wrong(Reason::UsernamesTaken))
    }

    /// Takes over what a provider tells now of a person whose account was made of what it told. Accounts that were there before keep what is
    /// known of them.
    pub(super) async fn keep_in_step(
        &self,
        subject: &Subject,
        link_of: &str,
        told: Told,
        now: Timestamp,
    ) -> Result<(), SignInError> {
        let made = self.linked_accounts(subject).await.map_err(Fault::from)?;
        if !made.iter().any(|link| link.label.made && link.label.known_by() == link_of) {
            return Ok(());
        }
        let Some(known) = self.claims(subject).await? else { return Ok(()) };
        let claims = told.onto(known.clone());
        if claims == known {
            return Ok(());
        }
        let Some(key) = self.keys.key(subject).await.map_err(Fault::from)? else { return Ok(()) };
        let profile = to_json(&PersonClaims { updated_at: Some(now), ..claims })?;
        self.store.change_account(subject, AccountChange::Profile(&profile), &key, now).await.map_err(Fault::from)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> ClaimNames {
        let group_names = [("there-staff", "staff"), ("there-it", "it"), ("also-it", "it")];
        ClaimNames {
            username: "preferred_username".into(),
            name: "name".into(),
            email: "email".into(),
            groups: Some("roles".into()),
            group_names: group_names.map(|(there, here)| (there.to_owned(), here.to_owned())).into(),
        }
    }

    fn read(claims: &Value) -> Told {
        names().read(claims.as_object().expect("an object"))
    }

    #[test]
    fn what_is_told_is_taken_as_far_as_it_is_mapped() {
        let told = read(&json!({
            "preferred_username": " Alice ", "name": "Alice\u{7}", "email": "a@example.org", "email_verified": "true",
            "roles": ["there-it", "admin", "also-it", "there-staff", 7], "phone_number": "+1",
        }));
        assert_eq!((told.username.as_deref(), told.name.as_deref()), (Some("Alice"), None), "no control characters");
        assert_eq!((told.email.as_deref(), told.email_verified), (Some("a@example.org"), Some(false)), "not in so many words");
        assert_eq!(
            told.groups.as_deref(),
            Some(&["it".to_owned(), "staff".to_owned()][..]),
            "those that are named, and no others"
        );
        assert_eq!(read(&json!({ "roles": "there-staff" })).groups, Some(vec!["staff".to_owned()]));
        assert_eq!(
            read(&json!({ "name": "n".repeat(201), "email_verified": true })),
            Told { groups: Some(vec![]), ..Told::default() }
        );
    }

    #[test]
    fn groups_that_nobody_asks_for_stay() {
        let known = || PersonClaims {
            name: Some("Before".into()),
            phone_number: Some("+1".into()),
            groups: vec!["ours".into()],
            ..PersonClaims::default()
        };
        let claims = json!({ "name": "After", "roles": ["there-it"] });
        let asked = read(&claims).onto(known());
        assert_eq!(
            (asked.name.as_deref(), asked.phone_number.as_deref(), asked.groups),
            (Some("After"), Some("+1"), vec!["it".into()])
        );
        let unasked = ClaimNames { groups: None, ..names() }.read(claims.as_object().expect("an object")).onto(known());
        assert_eq!((unasked.name.as_deref(), unasked.groups), (Some("After"), vec!["ours".to_owned()]));
        // Asked for, and there is none any more.
        assert_eq!(read(&json!({})).onto(known()).groups, Vec::<String>::new());
    }

    #[test]
    fn a_username_is_made_of_what_there_is() {
        for (claims, expected) in [
            (json!({ "preferred_username": "Alice" }), ["alice", "alice-2"]),
            (json!({ "preferred_username": "-a b<c>!" }), ["abc", "abc-2"]),
            (json!({ "preferred_username": "!!", "email": "Alice.L@example.org" }), ["alice.l", "alice.l-2"]),
            (json!({ "email": "@example.org" }), ["person", "person-2"]),
            (json!({}), ["person", "person-2"]),
        ] {
            let names: Vec<_> = read(&claims).usernames().take(2).map(|name| name.as_str().to_owned()).collect();
            assert_eq!(names, expected, "{claims}");
        }
        assert_eq!(read(&json!({})).usernames().count(), MOST_NAMES as usize);
    }
}
