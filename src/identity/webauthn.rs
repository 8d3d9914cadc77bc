//! What passkeys say, read and judged by `webauthn-rs`: this file alone knows it (W3C Web Authentication Level 3 §7.1, §7.2).
//!
//! User verification is asked for and demanded always, attestation never: of an authenticator nothing is known but what its own data say.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Host, Url};
use webauthn_rs::prelude::{
    AuthenticationResult, Credential, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Uuid, WebauthnError,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};

use super::fault::Fault;
use super::signed_in::Amr;
use crate::domain::{DeploymentId, Issuer, Lifetime, Subject};
use crate::event::Reason;
use crate::jose::digest::sha256;

/// The longest text of a browser about a passkey, in bytes.
const LONGEST_TEXT: usize = 16 * 1024;
/// The longest credential id, in bytes (Level 3 §7.1 step 25).
const LONGEST_ID: usize = 1023;
/// The longest domain name, in characters.
const LONGEST_DOMAIN: usize = 253;

/// Where passkeys belong: this server as a relying party.
#[derive(Clone, Debug)]
pub struct PasskeySite {
    webauthn: Webauthn,
    id: String,
}

/// Why there is no such relying party.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasskeySiteError {
    /// Web Authentication knows no addresses.
    #[error("`rp_id` cannot be given where the issuer's host is an address: passkeys belong to domain names alone")]
    Address,
    /// A browser would refuse it.
    #[error(
        "`rp_id` = \"{0}\" is neither the issuer's host nor a domain above it, in lower case and of two labels or more: browsers would refuse it"
    )]
    NotAbove(String),
}

/// What a browser said of a passkey was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasskeyRefused(Reason);

impl PasskeyRefused {
    /// The private reason.
    pub const fn reason(self) -> Reason {
        self.0
    }
}

impl From<WebauthnError> for PasskeyRefused {
    fn from(error: WebauthnError) -> Self {
        Self(match error {
            WebauthnError::MismatchedChallenge => Reason::PasskeyChallengeMismatch,
            WebauthnError::InvalidRPOrigin | WebauthnError::CredentialCrossOrigin => Reason::PasskeyOrigin,
            WebauthnError::InvalidRPIDHash => Reason::PasskeyRelyingParty,
            WebauthnError::UserNotPresent => Reason::PasskeyUserAbsent,
            WebauthnError::UserNotVerified => Reason::PasskeyUserUnverified,
            WebauthnError::AuthenticationFailure | WebauthnError::SignatureInvalid => Reason::PasskeySignature,
            WebauthnError::CredentialPossibleCompromise => Reason::PasskeyCounter,
            WebauthnError::CredentialBackupEligibilityInconsistent | WebauthnError::CredentialMayNotBeHardwareBound => {
                Reason::PasskeyBackup
            }
            WebauthnError::CredentialExcludedFromRequest => Reason::PasskeyTaken,
            // Whatever else cannot be read, is of another kind, or is encrypted in ways that nobody asked for.
            _ => Reason::PasskeyMalformed,
        })
    }
}

/// What a browser that makes a passkey is to be held to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Making(PasskeyRegistration);

/// What a browser that signs in with a passkey is to be held to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asking(DiscoverableAuthentication);

/// A passkey's public key, counter and flags, as its authenticator said them last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublicHalf(Passkey);

/// What a browser says that signs in with a passkey. Nothing of it is proven.
#[derive(Debug)]
pub struct Claimed(PublicKeyCredential);

/// A passkey that its person used just now.
#[derive(Debug)]
pub struct Signed {
    /// The same as before, with its counter and flags of now.
    pub half: PublicHalf,
    /// By what its person proved themselves.
    pub amr: Vec<Amr>,
}

impl PublicHalf {
    /// The credential's id.
    pub fn credential_id(&self) -> &[u8] {
        self.0.cred_id().as_slice()
    }

    /// The signature counter.
    pub fn sign_count(&self) -> u32 {
        self.credential().counter
    }

    /// Whether its key may be on more than one device (Level 3 §6.1.3, BE).
    pub fn is_synchronised(&self) -> bool {
        self.credential().backup_eligible
    }

    fn credential(&self) -> Credential {
        Credential::from(self.0.clone())
    }
}

impl Claimed {
    /// Reads what a browser sent.
    pub fn read(text: &str) -> Result<Self, PasskeyRefused> {
        let read: PublicKeyCredential = parse(text)?;
        check_id(&read.raw_id, &read.type_)?;
        Ok(Self(read))
    }

    /// The credential's id.
    pub fn credential_id(&self) -> &[u8] {
        &self.0.raw_id
    }

    /// Whether the authenticator names this person as the passkey's (Level 3 §7.2 step 6).
    pub fn is_of(&self, handle: UserHandle) -> bool {
        self.0.get_user_unique_id() == Some(handle.0.as_bytes().as_slice())
    }
}

/// What of the client data (Level 3 §5.8.1) the crate does not hold an assertion to.
#[derive(Deserialize)]
struct Place {
    #[serde(rename = "crossOrigin", default)]
    cross_origin: Option<bool>,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<Value>,
}

/// Our pages stand in nobody's frame, so that no passkey is used there within another's page (Level 3 §7.1 step 10, §7.2 step 14).
fn check_place(client_data: &[u8]) -> Result<(), PasskeyRefused> {
    let place: Place = serde_json::from_slice(client_data).map_err(|_| PasskeyRefused(Reason::PasskeyMalformed))?;
    let within_another = place.cross_origin == Some(true) || place.top_origin.is_some();
    if within_another { Err(PasskeyRefused(Reason::PasskeyOrigin)) } else { Ok(()) }
}

fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, PasskeyRefused> {
    let malformed = PasskeyRefused(Reason::PasskeyMalformed);
    if text.len() > LONGEST_TEXT {
        return Err(malformed);
    }
    serde_json::from_str(text).map_err(|_| malformed)
}

fn check_id(id: &[u8], kind: &str) -> Result<(), PasskeyRefused> {
    let fits = !id.is_empty() && id.len() <= LONGEST_ID && kind == "public-key";
    if fits { Ok(()) } else { Err(PasskeyRefused(Reason::PasskeyMalformed)) }
}

/// What authenticators know a person by: nothing that says who it is (Level 3 §14.6.1), and the same for all of their passkeys, so that an
/// authenticator keeps one for each account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserHandle(Uuid);

impl UserHandle {
    /// A person's, in this deployment.
    pub fn of(deployment: &DeploymentId, subject: &Subject) -> Self {
        let digest = sha256(format!("passkey user handle {deployment} {subject}").as_bytes());
        let mut bytes = [0u8; 16];
        bytes.iter_mut().zip(digest).for_each(|(byte, of_digest)| *byte = of_digest);
        Self(Uuid::from_bytes(bytes))
    }
}

impl PasskeySite {
    /// The relying party of an issuer: its host, or the domain above it that `id` names. Nothing where the host is an address, to which no
    /// passkey can belong (Level 3 §5.1.2: "valid domain string").
    ///
    /// # Errors
    /// An id that no browser would take.
    pub fn new(issuer: &Issuer, id: Option<&str>, name: &str, time: Lifetime) -> Result<Option<Self>, PasskeySiteError> {
        let origin = Url::parse(issuer.as_str()).ok();
        let host = origin.as_ref().and_then(Url::host);
        let (Some(origin), Some(Host::Domain(host))) = (&origin, host) else {
            return if id.is_some() { Err(PasskeySiteError::Address) } else { Ok(None) };
        };
        let id = id.unwrap_or(host);
        let not_above = || PasskeySiteError::NotAbove(id.to_owned());
        // What is above the host is its end at a dot; one label alone is nobody's (`com`).
        let is_above = id.contains('.') && host.strip_suffix(id).is_some_and(|rest| rest.ends_with('.'));
        let is_name = id.len() <= LONGEST_DOMAIN && !id.starts_with('.');
        if !is_name || !(id == host || is_above) {
            return Err(not_above());
        }
        let builder = WebauthnBuilder::new(id, origin).map_err(|_| not_above())?;
        let time = std::time::Duration::from_secs(time.seconds().into());
        let webauthn = builder.rp_name(name).timeout(time).build().map_err(|_| not_above())?;
        Ok(Some(Self { webauthn, id: id.to_owned() }))
    }

    /// The relying party's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What a browser is asked that is to make a passkey, and what it will be held to. `name` and `shown` are what the person reads when they
    /// choose among passkeys; `present` are the ids of those that they have.
    #[allow(clippy::disallowed_methods, reason = "the library draws its challenge by itself, of the system's randomness")]
    pub fn make(&self, handle: UserHandle, (name, shown): (&str, &str), present: Vec<Vec<u8>>) -> Result<(Value, Making), Fault> {
        let (asked, making) = self
            .webauthn
            .start_passkey_registration(handle.0, name, shown, Some(present))
            .map_err(|_| Fault::Defect(Reason::Defect))?;
        let mut options = to_json(&asked.public_key)?;
        if let Some(options) = options.as_object_mut() {
            // It must be found without a username.
            options.insert(
                "authenticatorSelection".to_owned(),
                json!({ "residentKey": "required", "requireResidentKey": true, "userVerification": "required" }),
            );
            options.remove("extensions");
        }
        Ok((options, Making(making)))
    }

    /// Judges a passkey that a browser has made (Level 3 §7.1).
    pub fn made(&self, making: &Making, text: &str) -> Result<PublicHalf, PasskeyRefused> {
        let read: RegisterPublicKeyCredential = parse(text)?;
        check_id(&read.raw_id, &read.type_)?;
        check_place(&read.response.client_data_json)?;
        let passkey = self.webauthn.finish_passkey_registration(&read, &making.0)?;
        // The authenticator's own word counts, and the two must be one.
        if passkey.cred_id().as_slice() != read.raw_id {
            return Err(PasskeyRefused(Reason::PasskeyMalformed));
        }
        check_id(passkey.cred_id().as_slice(), &read.type_)?;
        Ok(PublicHalf(passkey))
    }

    /// What a browser is asked whose person signs in with whichever passkey they choose, and what it will be held to.
    #[allow(clippy::disallowed_methods, reason = "the library draws its challenge by itself, of the system's randomness")]
    pub fn ask(&self) -> Result<(Value, Asking), Fault> {
        let (asked, asking) = self.webauthn.start_discoverable_authentication().map_err(|_| Fault::Defect(Reason::Defect))?;
        let mut options = to_json(&asked.public_key)?;
        if let Some(options) = options.as_object_mut() {
            options.remove("extensions");
        }
        Ok((options, Asking(asking)))
    }

    /// Judges what a browser says that signs in with a passkey, which is the one that `half` belongs to (Level 3 §7.2).
    ///
    /// The key is `swk` whatever the authenticator: without attestation nothing but its own word would say that the key is in hardware. User
    /// presence and verification are in what it signed, so that it is `user`, and two factors: the key, and what unlocks it.
    pub fn judge(&self, asking: Asking, claimed: &Claimed, mut half: PublicHalf) -> Result<Signed, PasskeyRefused> {
        check_place(&claimed.0.response.client_data_json)?;
        let result: AuthenticationResult = self.webauthn.finish_discoverable_authentication_v2(&claimed.0, asking.0, &half.0)?;
        if !result.user_verified() {
            return Err(PasskeyRefused(Reason::PasskeyUserUnverified));
        }
        half.0.update_credential(&result);
        Ok(Signed { half, amr: vec![Amr::SoftwareKey, Amr::UserPresence, Amr::MultiFactor] })
    }
}

fn to_json(value: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|_| Fault::Defect(Reason::Defect))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Lifetime = Lifetime::from_seconds(300);

    fn site(issuer: &str, id: Option<&str>) -> Result<Option<String>, PasskeySiteError> {
        let site = PasskeySite::new(&issuer.parse().expect("an issuer"), id, "Symbolon", TIME)?;
        Ok(site.map(|site| site.id().to_owned()))
    }

    #[test]
    fn a_passkey_belongs_to_the_issuers_host_or_a_domain_above_it() {
        for (issuer, id, expected) in [
            ("https://login.example.com", None, Some("login.example.com")),
            ("https://login.example.com:8443/tenant", None, Some("login.example.com")),
            ("https://login.example.com", Some("example.com"), Some("example.com")),
            ("https://login.example.com", Some("login.example.com"), Some("login.example.com")),
            ("https://localhost:9443", None, Some("localhost")),
            ("https://127.0.0.1:9443", None, None),
            ("https://[::1]", None, None),
        ] {
            assert_eq!(site(issuer, id), Ok(expected.map(str::to_owned)), "{issuer} {id:?}");
        }
        for id in [
            "com",
            "ample.com",
            "other.example",
            "sub.login.example.com",
            "Example.com",
            ".example.com",
            "",
            "https://example.com",
        ] {
            let refused = site("https://login.example.com", Some(id));
            assert_eq!(refused, Err(PasskeySiteError::NotAbove(id.to_owned())), "{id}");
        }
        assert_eq!(site("https://127.0.0.1", Some("127.0.0.1")), Err(PasskeySiteError::Address));
    }

    #[test]
    fn a_browser_is_asked_for_what_counts() {
        let issuer = "https://login.example.com".parse().expect("an issuer");
        let site = PasskeySite::new(&issuer, None, "Our house", TIME).expect("a site").expect("a name");
        let (deployment, alice) = ("deployment".parse().expect("an id"), "alice".parse().expect("a subject"));
        let handle = UserHandle::of(&deployment, &alice);
        assert_eq!(handle, UserHandle::of(&deployment, &alice));
        assert_ne!(handle, UserHandle::of(&deployment, &"bob".parse().expect("a subject")));
        let (options, _) = site.make(handle, ("alice", "Alice"), vec![vec![1, 2, 3]]).expect("options");
        assert_eq!(options["rp"], json!({ "id": "login.example.com", "name": "Our house" }));
        assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
        assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
        assert_eq!((&options["attestation"], &options["timeout"]), (&json!("none"), &json!(300_000)));
        assert_eq!(options["excludeCredentials"][0]["id"], "AQID");
        assert!(options["pubKeyCredParams"].as_array().expect("some").iter().any(|one| one["alg"] == -7), "ES256: {options}");
        let (first, _) = site.ask().expect("options");
        let (second, _) = site.ask().expect("options");
        assert_eq!((&first["rpId"], &first["userVerification"]), (&json!("login.example.com"), &json!("required")));
        assert_eq!(first["allowCredentials"], json!([]));
        assert_eq!(first["challenge"].as_str().map(str::len), Some(43), "32 bytes");
        assert_ne!(first["challenge"], second["challenge"]);
    }

    #[test]
    fn a_passkey_is_not_used_within_anothers_page() {
        for (client_data, refused) in [
            (r#"{"crossOrigin":false}"#, None),
            ("{}", None),
            (r#"{"crossOrigin":true}"#, Some(Reason::PasskeyOrigin)),
            (r#"{"crossOrigin":false,"topOrigin":"https://a.example"}"#, Some(Reason::PasskeyOrigin)),
            (r#"{"crossOrigin":true,"crossOrigin":false}"#, Some(Reason::PasskeyMalformed)),
            (r#"{"crossOrigin":"no"}"#, Some(Reason::PasskeyMalformed)),
            ("", Some(Reason::PasskeyMalformed)),
        ] {
            let checked = check_place(client_data.as_bytes());
            assert_eq!(checked.err().map(PasskeyRefused::reason), refused, "{client_data}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let long_id = "A".repeat(1_366);
        let with = |id: &str, kind: &str| {
            json!({ "id": id, "rawId": id, "type": kind, "response":
                { "authenticatorData": "", "clientDataJSON": "", "signature": "", "userHandle": null } })
            .to_string()
        };
        assert!(Claimed::read(&with("AQID", "public-key")).is_ok());
        let padded = format!("{}{}", with("AQID", "public-key"), " ".repeat(LONGEST_TEXT));
        for text in
            ["", "{}", "null", "[]", &with("", "public-key"), &with(&long_id, "public-key"), &with("AQID", "password"), &padded]
        {
            let refused = Claimed::read(text).map(|_| ()).expect_err("refused");
            assert_eq!(refused.reason(), Reason::PasskeyMalformed);
        }
    }
}
