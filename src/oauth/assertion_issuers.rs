//! Whose assertions are taken as authorization grants (RFC 7523 §2.1), for whom, and what their subjects are called here.

use std::collections::{BTreeMap, HashMap};

use crate::clients::{JwksUriError, Published, RegisteredKeys};
use crate::config::settings::AssertionIssuerSettings;
use crate::domain::{ClientId, IdentifierError, Lifetime, Scope, ScopeError, Subject};

/// The longest that an assertion may live, in seconds.
const LONGEST_SECONDS: u32 = 3_600;

/// One issuer of assertions.
#[derive(Clone, Debug)]
pub struct AssertionIssuer {
    /// `iss`.
    pub issuer: String,
    /// What its assertions are signed with.
    pub keys: Published<RegisteredKeys>,
    /// The most that is granted for its word.
    pub scope: Scope,
    /// How far away `exp` may be.
    pub longest: Lifetime,
    clients: Vec<ClientId>,
    subjects: Subjects,
}

/// What an issuer's subjects are called here.
#[derive(Clone, Debug)]
enum Subjects {
    /// This, and its own name for them.
    Prefixed(String),
    /// These alone.
    Listed(BTreeMap<String, Subject>),
}

impl AssertionIssuer {
    /// The name here of whom the issuer calls `sub`, if it may speak of them.
    pub fn subject(&self, sub: &str) -> Option<Subject> {
        match &self.subjects {
            Subjects::Prefixed(_) if sub.is_empty() => None,
            Subjects::Prefixed(prefix) => format!("{prefix}{sub}").parse().ok(),
            Subjects::Listed(subjects) => subjects.get(sub).cloned(),
        }
    }
}

/// All of them, by `iss`.
#[derive(Clone, Debug, Default)]
pub struct AssertionIssuers(HashMap<String, AssertionIssuer>);

/// Why an issuer cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum AssertionIssuerError {
    /// No name.
    #[error("`issuer` is missing: the `iss` of its assertions")]
    Absent,
    /// Two have one name.
    #[error("`{0}` is configured twice")]
    Twice(String),
    /// Neither or both places for keys.
    #[error("`{0}`: exactly one of `jwks_file` and `jwks_uri` says what its assertions are signed with")]
    Keys(String),
    /// The place of its keys is malformed.
    #[error("`{0}`: `jwks_uri` {1}")]
    JwksUri(String, JwksUriError),
    /// Its keys cannot be read.
    #[error("`{0}`: jwks_file: {1}")]
    JwksFile(String, String),
    /// Nobody may present its assertions.
    #[error("`{0}`: `clients` is empty: name the clients that may present its assertions")]
    Clients(String),
    /// A name is malformed.
    #[error("`{0}`: `{1}` {2}")]
    Name(String, String, IdentifierError),
    /// Neither or both ways to name its subjects.
    #[error("`{0}`: exactly one of `subject_prefix` and `[[assertion_issuer.subject]]` says what its subjects are called here")]
    Subjects(String),
    /// Its scope is malformed.
    #[error("`{0}`: scope: {1}")]
    Scope(String, ScopeError),
    /// The life of its assertions is out of range.
    #[error("`{0}`: max_lifetime_seconds must be from 1 to {LONGEST_SECONDS}")]
    Lifetime(String),
}

impl AssertionIssuers {
    /// Checks the configuration's section. `read` gives the contents of a file that it names.
    ///
    /// # Errors
    /// See [`AssertionIssuerError`].
    pub fn from_settings(
        settings: &[AssertionIssuerSettings],
        read: impl Fn(&std::path::Path) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, AssertionIssuerError> {
        let mut issuers = HashMap::new();
        for written in settings {
            let issuer = checked(written, &read)?;
            if let Some(known) = issuers.insert(issuer.issuer.clone(), issuer) {
                return Err(AssertionIssuerError::Twice(known.issuer));
            }
        }
        Ok(Self(issuers))
    }

    /// Whether there is none, so that the grant does not exist here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issuer of this name, if this client may present its assertions.
    pub fn get(&self, issuer: &str, client_id: &ClientId) -> Option<&AssertionIssuer> {
        self.0.get(issuer).filter(|issuer| issuer.clients.contains(client_id))
    }
}

fn checked(
    written: &AssertionIssuerSettings,
    read: impl Fn(&std::path::Path) -> std::io::Result<Vec<u8>>,
) -> Result<AssertionIssuer, AssertionIssuerError> {
    use AssertionIssuerError as Error;
    let issuer = written.issuer.clone();
    if issuer.is_empty() {
        return Err(Error::Absent);
    }
    let keys = match (&written.jwks_file, &written.jwks_uri) {
        (Some(file), None) => {
            let broken = |problem: String| Error::JwksFile(issuer.clone(), format!("{}: {problem}", file.display()));
            let text = read(file).map_err(|problem| broken(problem.to_string()))?;
            let set = crate::jose::jwk::JwkSet::from_json(&text).map_err(|problem| broken(problem.to_string()))?;
            let keys = RegisteredKeys::of(set).ok_or_else(|| {
                broken(format!("a JWK Set with 1 to {} keys that verify signatures is wanted", RegisteredKeys::MAX))
            })?;
            Published::Here(keys)
        }
        (None, Some(uri)) => Published::At(uri.parse().map_err(|problem| Error::JwksUri(issuer.clone(), problem))?),
        _ => return Err(Error::Keys(issuer)),
    };
    let name = |text: &str| {
        let (issuer, text) = (written.issuer.clone(), text.to_owned());
        move |problem| Error::Name(issuer, text, problem)
    };
    let clients: Vec<ClientId> = written.clients.iter().map(|text| text.parse().map_err(name(text))).collect::<Result<_, _>>()?;
    if clients.is_empty() {
        return Err(Error::Clients(issuer));
    }
    let subjects = match (&written.subject_prefix, written.subject.is_empty()) {
        (Some(prefix), true) if !prefix.is_empty() => Subjects::Prefixed(prefix.clone()),
        (None, false) => {
            let listed = written.subject.iter().map(|one| Ok((one.sub.clone(), one.name.parse().map_err(name(&one.name))?)));
            Subjects::Listed(listed.collect::<Result<_, _>>()?)
        }
        _ => return Err(Error::Subjects(issuer)),
    };
    if !(1..=LONGEST_SECONDS).contains(&written.max_lifetime_seconds) {
        return Err(Error::Lifetime(issuer));
    }
    Ok(AssertionIssuer {
        scope: written.scope.parse().map_err(|problem| Error::Scope(issuer.clone(), problem))?,
        longest: Lifetime::from_seconds(written.max_lifetime_seconds),
        issuer,
        keys,
        clients,
        subjects,
    })
}
