//! Signing in with a certificate, and the certificates that are linked to an account.
//!
//! The issuer's own host asks nobody for a certificate, so that no browser shows a prompt there. The browser goes to a host that does, and
//! comes back:
//!
//! ```text
//! issuer            form                  -> errand   sealed, for the browser whose cookie the form stands on; five minutes
//! certificate host  handshake, judgement  -> answer   sealed, with what the certificate says; one minute
//! issuer            answer, its browser   -> Proven   once
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::fault::Fault;
use super::form::{FormChecked, FormToken};
use super::fresh::Fresh;
use super::people::{Authenticated, People, PersonError, Proven, SignInError};
use super::second_factor::FirstFactor;
use super::signed_in::{Amr, SignedIn};
use super::username::Username;
use crate::clients::session_window;
use crate::domain::{CertificateLinkId, Lifetime, RuleKind, SessionId, Subject, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::jose::base64url;
use crate::pki::Certificate;
use crate::pki::name::AttributeType;
use crate::seal::{BearerContext, Purpose};
use crate::store::{AccountState, Claimed, Linked, NewCertificateLink, SessionCertificate, StoreError, Unlinked, Unlinking};
use crate::trust::TrustedCertificate;
use crate::trust::revocation::certificate_value;

/// How long somebody may take to choose a certificate.
const ERRAND: Lifetime = Lifetime::from_seconds(300);
/// How long the way back may take.
const ANSWER: Lifetime = Lifetime::from_seconds(60);
/// How long a used answer is remembered: longer than any answer to the same errand is taken.
const MEMORY: Lifetime = Lifetime::from_seconds(600);
/// Among what an answer is used once.
const USED: &str = "certificate-answer";
/// Certificates that one person may have linked.
const MOST: u32 = 20;
/// Names in a certificate that are looked up at most, and the longest of them, in bytes.
const MOST_NAMES: usize = 8;
const LONGEST_NAME: usize = 255;
/// What is shown of a certificate's subject, in characters.
const SHOWN_SUBJECT: usize = 300;

/// What certificates of people are worth, and what in them names an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePolicy {
    name_field: Option<NameField>,
    amr: Vec<Amr>,
}

/// The part of a certificate that names an account.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NameField {
    /// `rfc822Name`.
    Email,
    /// `uniformResourceIdentifier`.
    Uri,
    /// An attribute of the subject.
    Subject(AttributeType),
}

/// Why people cannot sign in with certificates in this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificatePolicyError {
    /// Not a part of a certificate.
    #[error("`name_field` = \"{0}\": write `san_email`, `san_uri`, or `subject:TYPE` with an attribute type such as `UID`")]
    NameField(String),
    /// Not a method that a certificate can stand for.
    #[error("`amr`: `{0}` is none of `swk`, `hwk`, `sc`, `pin`, `mfa` (RFC 8176)")]
    Method(String),
    /// It does not say what proves the key.
    #[error("`amr` names exactly one of `swk` (a key in software) and `hwk` (a key in hardware)")]
    NoKey,
}

impl CertificatePolicy {
    /// From the settings.
    ///
    /// # Errors
    /// Words that mean nothing here.
    pub fn new(name_field: Option<&str>, amr: &[String]) -> Result<Self, CertificatePolicyError> {
        let name_field = name_field
            .map(|text| {
                let unknown = || CertificatePolicyError::NameField(text.to_owned());
                match text.split_once(':') {
                    None if text == "san_email" => Ok(NameField::Email),
                    None if text == "san_uri" => Ok(NameField::Uri),
                    Some(("subject", kind)) => AttributeType::parse(kind).map(NameField::Subject).ok_or_else(unknown),
                    _ => Err(unknown()),
                }
            })
            .transpose()?;
        let known = [Amr::SoftwareKey, Amr::HardwareKey, Amr::SmartCard, Amr::Pin, Amr::MultiFactor];
        let method = |text: &String| known.into_iter().find(|method| method.as_str() == text);
        let amr = amr
            .iter()
            .map(|text| method(text).ok_or_else(|| CertificatePolicyError::Method(text.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        if amr.iter().filter(|method| matches!(method, Amr::SoftwareKey | Amr::HardwareKey)).count() != 1 {
            return Err(CertificatePolicyError::NoKey);
        }
        Ok(Self { name_field, amr })
    }

    /// The names in a certificate that may be an account's. A certificate with more than can be looked up, or with one that cannot be read
    /// in one way, names nobody.
    fn names(&self, certificate: &Certificate) -> Result<Vec<String>, Reason> {
        let found: Vec<&str> = match &self.name_field {
            None => Vec::new(),
            Some(NameField::Email) => certificate.sans().email.iter().map(String::as_str).collect(),
            Some(NameField::Uri) => certificate.sans().uri.iter().map(String::as_str).collect(),
            Some(NameField::Subject(kind)) => certificate.subject().texts(kind).ok_or(Reason::CertificateAmbiguous)?,
        };
        if found.len() > MOST_NAMES || found.iter().any(|name| name.len() > LONGEST_NAME) {
            return Err(Reason::CertificateAmbiguous);
        }
        Ok(found.into_iter().map(str::to_owned).collect())
    }
}

/// What a browser goes to the other host for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// To sign in.
    SignIn,
    /// To link a certificate to the account that it is signed in to.
    Link,
}

/// A browser is on its way to a host that asks for certificates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Errand {
    nonce: String,
    /// The token, in this browser, of the form that sent it.
    form: String,
    aim: Aim,
    interaction: Option<String>,
    device: Option<String>,
}

impl Errand {
    /// What for.
    pub const fn aim(&self) -> Aim {
        self.aim
    }

    /// The token of the form that sent it.
    pub fn form(&self) -> &str {
        &self.form
    }

    /// The authorization request that waits for it.
    pub fn interaction(&self) -> Option<&str> {
        self.interaction.as_deref()
    }

    /// The code of a device that waits for it.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }
}

/// The certificate that somebody signed in with, and what rules on certificates would name of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownCertificate {
    thumbprint: Thumbprint,
    key: Thumbprint,
    serial: Option<String>,
}

impl ShownCertificate {
    /// Its thumbprint.
    pub const fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// For the session that it opens.
    pub(super) fn of_session(&self) -> SessionCertificate {
        let (certificate, key) = (self.thumbprint.to_string(), self.key.to_string());
        SessionCertificate { certificate, key, serial: self.serial.clone() }
    }
}

/// What a certificate said whose key a browser proved to hold, and that was judged then.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Shown {
    certificate: ShownCertificate,
    names: Vec<String>,
    subject: String,
    not_after: Timestamp,
}

/// A browser came back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CertificateAnswer {
    errand: Errand,
    shown: Shown,
}

impl CertificateAnswer {
    /// What it had gone for.
    pub const fn errand(&self) -> &Errand {
        &self.errand
    }

    /// The certificate's subject, for its person to read.
    pub fn subject(&self) -> &str {
        &self.shown.subject
    }

    /// The certificate's last second.
    pub const fn not_after(&self) -> Timestamp {
        self.shown.not_after
    }
}

/// What a linked certificate is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// Its key (SHA-256 of the SubjectPublicKeyInfo), also when it is renewed.
    Key(Thumbprint),
    /// Itself (SHA-256).
    Certificate(Thumbprint),
    /// A name in `name_field`, character by character.
    Name(String),
}

impl KnownBy {
    fn text(&self) -> String {
        match self {
            Self::Key(key) => format!("key {}", key.to_hex()),
            Self::Certificate(thumbprint) => format!("certificate {}", thumbprint.to_hex()),
            Self::Name(name) => format!("name {name}"),
        }
    }

    const fn what(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Certificate(_) => "certificate",
            Self::Name(_) => "name",
        }
    }
}

/// What is sealed of a link, and what its person and an operator read of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateLabel {
    /// `key`, `certificate` or `name`: what it is known by.
    pub by: String,
    /// The certificate's subject, or the name.
    pub title: String,
    /// The last second of the certificate that was shown when it was linked.
    pub not_after: Option<Timestamp>,
}

/// A linked certificate.
#[derive(Clone, Debug)]
pub struct CertificateLink {
    /// Its name.
    pub link: CertificateLinkId,
    /// Since when.
    pub created: Timestamp,
    /// What there is to read of it.
    pub label: CertificateLabel,
}

fn shown_subject(certificate: &Certificate) -> String {
    certificate.subject().to_string().chars().take(SHOWN_SUBJECT).collect()
}

impl People {
    /// The same people, who may sign in with certificates.
    #[must_use]
    pub fn with_certificates(mut self, policy: CertificatePolicy) -> Self {
        self.certificates = Some(policy);
        self
    }

    fn certificate_policy(&self) -> Result<&CertificatePolicy, Fault> {
        self.certificates.as_ref().ok_or(Fault::Defect(Reason::Defect))
    }

    fn certificate_context(&self) -> BearerContext<'_> {
        BearerContext { purpose: Purpose::CertificateSignIn, issuer: self.store.deployment().as_str() }
    }

    fn seal_for_browser(&self, what: &str, value: &impl Serialize, expires: Timestamp) -> Result<String, Fault> {
        let json = serde_json::to_vec(value).map(Zeroizing::new).map_err(|_| Fault::Defect(Reason::Defect))?;
        let sealed = self.store.ring().seal_bearer(&self.certificate_context(), what, expires, &json);
        sealed.map_err(|error| Fault::Unavailable(error.reason()))
    }

    fn open_from_browser<T: for<'de> Deserialize<'de>>(&self, what: &str, sealed: &str, now: Timestamp) -> Option<T> {
        let (ring, context) = (self.store.ring(), self.certificate_context());
        let opened = ring.open_bearer(&context, sealed).ok()?;
        let is_ours = ring.audience_matches(&context, &opened, what) && now < opened.expires;
        let json: Zeroizing<Vec<u8>> = opened.plaintext.into();
        if is_ours { serde_json::from_slice(&json).ok() } else { None }
    }

    /// Sends a browser for its certificate. `token` is the one that its return is to be held against; what waits for a sign-in goes along.
    pub fn send_for_certificate(
        &self,
        _form: &FormChecked,
        token: &FormToken,
        aim: Aim,
        (interaction, device): (Option<&str>, Option<&str>),
        now: Timestamp,
    ) -> Result<String, Fault> {
        let mut nonce = [0u8; 16];
        self.randomness.fill(&mut nonce)?;
        let errand = Errand {
            nonce: base64url::encode(nonce),
            form: token.as_str().to_owned(),
            aim,
            interaction: interaction.map(str::to_owned),
            device: device.map(str::to_owned),
        };
        self.seal_for_browser("errand", &errand, now.plus(ERRAND))
    }

    /// What a browser was sent for; nothing when it took too long, or was not sent by us.
    pub fn errand(&self, sealed: &str, now: Timestamp) -> Option<Errand> {
        self.open_from_browser("errand", sealed, now)
    }

    /// Sends the browser back with what its certificate says.
    pub fn certificate_answer(
        &self,
        errand: Errand,
        trusted: &TrustedCertificate,
        now: Timestamp,
    ) -> Result<String, SignInError> {
        let certificate = trusted.certificate().leaf();
        let names = self.certificate_policy()?.names(certificate).map_err(SignInError::Wrong)?;
        let shown = Shown {
            certificate: ShownCertificate {
                thumbprint: certificate.thumbprint(),
                key: certificate.spki_sha256(),
                serial: certificate_value(RuleKind::CertificateSerial, certificate),
            },
            names,
            subject: shown_subject(certificate),
            not_after: certificate.not_after(),
        };
        let expires = now.plus(ANSWER).min(trusted.not_after());
        Ok(self.seal_for_browser("answer", &CertificateAnswer { errand, shown }, expires)?)
    }

    /// Reads what a browser brings back. It proves nothing yet: it must be the browser that was sent.
    pub fn open_certificate_answer(&self, sealed: &str, aim: Aim, now: Timestamp) -> Result<CertificateAnswer, SignInError> {
        let answer: Option<CertificateAnswer> = self.open_from_browser("answer", sealed, now);
        answer.filter(|answer| answer.errand.aim == aim).ok_or(SignInError::Wrong(Reason::SignInOver))
    }

    /// Of all who bring an answer to one errand, at any replica, one is first.
    async fn use_up(&self, answer: &CertificateAnswer, now: Timestamp) -> Result<(), SignInError> {
        let claimed = self.store.claim(USED, answer.errand.nonce.as_bytes(), now.plus(MEMORY)).await.map_err(Fault::from)?;
        match claimed {
            Claimed::First => Ok(()),
            Claimed::Seen => Err(SignInError::Wrong(Reason::CertificateAnswerReplayed)),
        }
    }

    /// Uses an answer up that another browser brought than was sent: it is in the wrong hands, and worth nothing to anybody any more.
    pub async fn void_certificate_answer(&self, answer: &CertificateAnswer, now: Timestamp) -> Result<(), SignInError> {
        match self.use_up(answer, now).await {
            Ok(()) | Err(SignInError::Wrong(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Everybody whom a certificate names: by its key, itself, or a name in it.
    async fn named_by(&self, shown: &Shown) -> Result<BTreeSet<Subject>, Fault> {
        let mut known = vec![KnownBy::Key(shown.certificate.key), KnownBy::Certificate(shown.certificate.thumbprint)];
        known.extend(shown.names.iter().cloned().map(KnownBy::Name));
        let mut named = BTreeSet::new();
        for known in &known {
            named.extend(self.store.linked_account(&known.text()).await?);
        }
        for name in &shown.names {
            // As it is written: what would have to be made lower case first is another name.
            let username = Username::normalize(name).ok().filter(|username| username.as_str() == name);
            if let Some(username) = username {
                named.extend(self.store.account_named(username.as_str()).await?.map(|account| account.subject));
            }
        }
        Ok(named)
    }

    /// Proves that an account is one's own, by a certificate. `_form` proves that the browser is the one that was sent for it. An account
    /// with a second factor asks for that too, unless certificates stand for two. Attempts are counted like those with a password, by the
    /// certificate's key in place of a username.
    pub async fn by_certificate(
        &self,
        _form: &FormChecked,
        answer: &CertificateAnswer,
        (address, monotonic): (IpAddr, Duration),
        now: Timestamp,
    ) -> Result<Proven, SignInError> {
        let policy = self.certificate_policy()?;
        self.use_up(answer, now).await?;
        // No username begins like this.
        let counted_as = format!("\0{}", answer.shown.certificate.key.to_hex());
        let counted = self.throttle.count(&counted_as, address, monotonic).map_err(|throttled| SignInError::TooMany {
            retry_after_seconds: throttled.retry_after.as_secs().saturating_add(1),
        })?;
        let mut named = self.named_by(&answer.shown).await?.into_iter();
        let subject = match (named.next(), named.next()) {
            (Some(subject), None) => subject,
            (None, _) => return Err(SignInError::Wrong(Reason::CertificateUnlinked)),
            (Some(_), Some(_)) => return Err(SignInError::Wrong(Reason::CertificateAmbiguous)),
        };
        let account = self.store.account(&subject).await.map_err(Fault::from)?;
        let account = account.ok_or(SignInError::Wrong(Reason::AccountUnknown))?;
        // Once more, now that it is known when the account was changed last: what was unlinked before that opens nothing.
        if !self.named_by(&answer.shown).await?.contains(&subject) {
            return Err(SignInError::Wrong(Reason::CertificateUnlinked));
        }
        if account.state == AccountState::Disabled {
            return Err(SignInError::Wrong(Reason::AccountDisabled));
        }
        if self.keys.find(&subject).await.map_err(Fault::from)?.is_none() {
            return Err(SignInError::Wrong(Reason::PersonKeyAbsent));
        }
        let amr = policy.amr.clone();
        let asks_for_more = !amr.contains(&Amr::MultiFactor) && self.store.totp(&subject).await.map_err(Fault::from)?.is_some();
        self.throttle.forgive(counted);
        let shown = Some(answer.shown.certificate.clone());
        Ok(match asks_for_more {
            true => Proven::First(FirstFactor::by(subject, account.changed, amr).with(shown)),
            false => Proven::Whole(Authenticated::by(subject, amr).unless_changed_since(account.changed).with(shown)),
        })
    }

    /// Links the certificate that a browser showed to the account that it is signed in to. `_returned` proves that it is the browser that was
    /// sent for it, and `_form` that the person said so after having seen which one it is.
    pub async fn link_certificate(
        &self,
        (_returned, _form): (&FormChecked, &FormChecked),
        _fresh: &Fresh,
        person: &SignedIn,
        answer: &CertificateAnswer,
        now: Timestamp,
    ) -> Result<(), SignInError> {
        self.use_up(answer, now).await?;
        let shown = &answer.shown;
        if self.named_by(shown).await?.iter().any(|subject| *subject != person.subject) {
            return Err(SignInError::Wrong(Reason::CertificateAmbiguous));
        }
        let linked = self
            .link_within(
                Some(&person.session_id),
                &person.subject,
                &KnownBy::Key(shown.certificate.key),
                (&shown.subject, Some(shown.not_after)),
                now,
            )
            .await;
        let linked = linked.map_err(|error| match error {
            PersonError::Failed(fault) => fault,
            PersonError::Store(error) => error.into(),
            _ => Fault::Defect(Reason::Defect),
        });
        match linked? {
            Linked::Now => Ok(()),
            Linked::Taken => Err(SignInError::Wrong(Reason::CertificateAmbiguous)),
            Linked::TooMany => Err(SignInError::Wrong(Reason::CertificatesTooMany)),
            Linked::NoAccount => Err(SignInError::Wrong(Reason::AccountUnknown)),
        }
    }

    /// Links a certificate to an account, as an operator does.
    pub async fn link(
        &self,
        subject: &Subject,
        known_by: &KnownBy,
        title: &str,
        not_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Linked, PersonError> {
        self.link_within(None, subject, known_by, (title, not_after), now).await
    }

    /// The same, in a session that must be there still.
    async fn link_within(
        &self,
        session: Option<&SessionId>,
        subject: &Subject,
        known_by: &KnownBy,
        (title, not_after): (&str, Option<Timestamp>),
        now: Timestamp,
    ) -> Result<Linked, PersonError> {
        let key = self.keys.key(subject).await?.ok_or(PersonError::Unknown)?;
        let link = CertificateLinkId::random(&*self.randomness).map_err(Fault::from)?;
        let label = CertificateLabel { by: known_by.what().to_owned(), title: title.to_owned(), not_after };
        let label = serde_json::to_vec(&label).map_err(|_| Fault::Defect(Reason::Defect))?;
        let known_by = known_by.text();
        let new = NewCertificateLink { link: &link, subject, session, known_by: &known_by, label: &label, most: MOST };
        Ok(self.store.link_certificate(&new, &key, now).await?)
    }

    /// A person's linked certificates, the oldest first.
    pub async fn certificates(&self, subject: &Subject) -> Result<Vec<CertificateLink>, StoreError> {
        let Some(key) = self.keys.key(subject).await? else { return Ok(Vec::new()) };
        let records = self.store.certificate_links(subject).await?;
        let opened = records.into_iter().map(|record| {
            let json = self.store.open_certificate_link(&record, &key)?;
            let broken = |error| StoreError::Corrupt(format!("account_certificate {}: its label: {error}", record.link));
            let label = serde_json::from_slice(&json).map_err(broken)?;
            Ok(CertificateLink { link: record.link, created: record.created, label })
        });
        opened.collect()
    }

    /// Takes one's own linked certificate away: every other session ends.
    pub async fn unlink_certificate(
        &self,
        _form: &FormChecked,
        _fresh: &Fresh,
        person: &SignedIn,
        link: &CertificateLinkId,
        now: Timestamp,
    ) -> Result<Unlinked, Fault> {
        Ok(self.unlink(&person.subject, link, Unlinking::Person(&person.session_id), now).await?)
    }

    /// Takes a linked certificate away, as an operator does, or the person.
    pub async fn unlink(
        &self,
        subject: &Subject,
        link: &CertificateLinkId,
        by: Unlinking<'_>,
        now: Timestamp,
    ) -> Result<Unlinked, StoreError> {
        self.store.unlink_certificate(link, subject, by, session_window(now), now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_what_is_proven_and_what_names_an_account() {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let good = [
            (None, &["swk"][..]),
            (Some("san_email"), &["hwk"]),
            (Some("san_uri"), &["hwk", "sc", "pin", "mfa"]),
            (Some("subject:UID"), &["swk", "mfa"]),
            (Some("subject:0.9.2342.19200300.100.1.1"), &["swk"]),
        ];
        for (field, amr) in good {
            let policy = CertificatePolicy::new(field, &text(amr)).expect("a policy");
            assert_eq!(policy.amr.iter().map(|method| method.as_str()).collect::<Vec<_>>(), amr);
        }
        for (field, amr) in [
            (Some("email"), &["swk"][..]),
            (Some("subject"), &["swk"]),
            (Some("subject:"), &["swk"]),
            (Some("subject:nothing"), &["swk"]),
            (Some("subject:.*"), &["swk"]),
            (None, &[]),
            (None, &["mfa"]),
            (None, &["pwd"]),
            (None, &["swk", "hwk"]),
            (None, &["swk", "SC"]),
        ] {
            CertificatePolicy::new(field, &text(amr)).expect_err("no policy");
        }
    }
}
