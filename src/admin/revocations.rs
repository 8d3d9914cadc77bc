//! Revocation rules: of a token, a grant, a client, a subject; and of certificates as `symbolon cert revoke` and `restore` have them.

use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};

use super::asked::{Asked, Call, Refused, Served};
use crate::clients::{LONGEST_TOKEN_LIFETIME, removal_window};
use crate::domain::{ClientId, FamilyId, RevocationRule, RuleKind, Subject, Thumbprint, TokenId};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::oauth::administration::{AdministrationError, NamedCertificates, Need};
use crate::oauth::error::OauthError;
use crate::pki::DistinguishedName;
use crate::pki::crl::Serial;
use crate::store::NewRule;
use crate::web::reject::WebError;

/// Characters of a note.
const LONGEST_NOTE: usize = 500;

/// `GET …/revocations`: a page of rules, the oldest first.
pub async fn list(asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Read).await?;
    let served = listed(&call).await;
    Ok(call.answer(served))
}

async fn listed(call: &Call) -> Result<Served, WebError> {
    let page = call.page(&call.query(&["after", "limit"])?)?;
    let after = match page.after.as_str() {
        "" => 0,
        text => text.parse::<i64>().map_err(|_| AdministrationError::invalid("after is the sequence of a rule"))?,
    };
    let rules = call.web().server.store.revocation_rules(after, page.reach().into()).await.map_err(OauthError::from)?;
    Ok(Served::ok(page.render("revocations", rules, |rule| rule.sequence.to_string(), |rule| json!(rule))))
}

/// What a request names.
enum Named {
    Token(TokenId),
    Family(FamilyId),
    Client(ClientId),
    Subject(Subject),
    Certificates(NamedCertificates),
}

impl Named {
    fn read(kind: &str, value: &str) -> Option<Self> {
        Some(match kind.parse().ok()? {
            RuleKind::TokenId => Self::Token(value.parse().ok()?),
            RuleKind::Family => Self::Family(value.parse().ok()?),
            RuleKind::Client => Self::Client(value.parse().ok()?),
            RuleKind::Subject => Self::Subject(value.parse().ok()?),
            RuleKind::Certificate => Self::Certificates(NamedCertificates::by_thumbprint(&value.parse::<Thumbprint>().ok()?)),
            RuleKind::CertificateKey => Self::Certificates(NamedCertificates::by_key(&value.parse::<Thumbprint>().ok()?)),
            RuleKind::CertificateSerial => {
                let (serial, issuer) = value.split_once('@')?;
                let issuer = DistinguishedName::parse(issuer).ok()?;
                Self::Certificates(NamedCertificates::by_serial(Serial::from_hex(serial)?, &issuer))
            }
            // A key is revoked where keys are: another one takes its place.
            RuleKind::Key => return None,
        })
    }
}

/// `POST …/revocations`: makes a rule.
pub async fn add(asked: Asked) -> Result<Response, Refused> {
    let mut call = asked.admit(Need::Write).await?;
    let served = added(&mut call).await;
    Ok(call.answer(served))
}

async fn added(call: &mut Call) -> Result<Served, WebError> {
    call.no_preconditions()?;
    let members = call.object(&["kind", "value", "note"]).await?;
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
    let named = Named::read(text("kind"), text("value")).ok_or_else(|| {
        // The common mistakes with thumbprints are named.
        let is_thumbprint = matches!(text("kind").parse(), Ok(RuleKind::Certificate | RuleKind::CertificateKey));
        if let Some(error) = text("value").parse::<Thumbprint>().err().filter(|_| is_thumbprint) {
            return AdministrationError::invalid(format!("value: {error}"));
        }
        AdministrationError::invalid(
            "kind and value: one of token_id, family, client, subject, certificate (its thumbprint), certificate_key (that of its \
             SubjectPublicKeyInfo) and certificate_serial (NUMBER@ISSUER), with what it names",
        )
    })?;
    let note = match members.get("note") {
        None => None,
        Some(Value::String(note)) if note.chars().count() <= LONGEST_NOTE && !note.chars().any(char::is_control) => {
            Some(note.clone())
        }
        Some(_) => {
            return Err(AdministrationError::invalid(format!("note has at most {LONGEST_NOTE} characters, in one line")).into());
        }
    };
    let made = revoke(call, named, note).await?;
    call.web().server.revocations.update(|rules| rules.with(made.clone()));
    Ok(Served::created(json!({ "revocations": made })))
}

async fn revoke(call: &Call, named: Named, note: Option<String>) -> Result<Vec<RevocationRule>, WebError> {
    let (store, now) = (call.store(), call.now());
    // How long the tokens live that it hits is not known: as long as any.
    let window = removal_window(now, LONGEST_TOKEN_LIFETIME);
    let event = |kind, value: &str| Trailed {
        time: now,
        event: AuditEvent::TokensRevoked { kind, value: value.to_owned(), note: note.clone() },
    };
    let made = match &named {
        Named::Token(token_id) => {
            let rule = NewRule { kind: RuleKind::TokenId, value: token_id.to_string(), window };
            store.revoke(&rule, &event(RuleKind::TokenId, token_id.as_str())).await.map(|rule| vec![rule])
        }
        Named::Family(family) => store.end_family(family, window, &event(RuleKind::Family, family.as_str())).await,
        Named::Client(client_id) => store.revoke_of_client(client_id, window, &event(RuleKind::Client, client_id.as_str())).await,
        Named::Subject(subject) => store.revoke_of_subject(subject, window, &event(RuleKind::Subject, subject.as_str())).await,
        Named::Certificates(named) => named.revoke(&store, note.clone(), now).await,
    };
    Ok(made.map_err(OauthError::from)?)
}

/// `DELETE …/revocations/{sequence}`: takes back a rule on certificates, and what was made for it.
pub async fn take_back(Path(sequence): Path<String>, asked: Asked) -> Result<Response, Refused> {
    let call = asked.admit(Need::Write).await?;
    let served = taken_back(&call, &sequence).await;
    Ok(call.answer(served))
}

async fn taken_back(call: &Call, sequence: &str) -> Result<Served, WebError> {
    call.no_preconditions()?;
    let unknown =
        || WebError::from(AdministrationError::Unknown { what: "rule in force", reason: Reason::RevocationRuleUnknown });
    let sequence: i64 = sequence.parse().ok().filter(|sequence| *sequence > 0).ok_or_else(unknown)?;
    let store = call.store();
    let found = store.revocation_rules(sequence - 1, 1).await.map_err(OauthError::from)?.pop();
    let rule = found.filter(|rule| rule.sequence == sequence && !rule.lifted).ok_or_else(unknown)?;
    let Some(Named::Certificates(named)) = Named::read(rule.kind.name(), &rule.value) else {
        return Err(AdministrationError::invalid("only a revocation of certificates can be taken back").into());
    };
    let lifted = named.restore(&store, None, call.now()).await.map_err(OauthError::from)?.ok_or_else(unknown)?;
    call.web().server.revocations.update(|rules| rules.with(lifted.clone()));
    Ok(Served::ok(json!({ "revocations": lifted })))
}
