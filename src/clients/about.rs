//! What a client says of itself, for people and for other programs: kept, shown, and never a reason to decide anything but for its
//! `default_acr_values` (RFC 7591 §2, OpenID Connect Registration §2).

use serde_json::{Map, Value};
use url::Url;

use super::MetadataError;
use super::metadata::{strings, text};

const CLIENT_URI: &str = "client_uri";
const LOGO_URI: &str = "logo_uri";
const POLICY_URI: &str = "policy_uri";
const TOS_URI: &str = "tos_uri";
const INITIATE_LOGIN_URI: &str = "initiate_login_uri";
const SOFTWARE_ID: &str = "software_id";
const SOFTWARE_VERSION: &str = "software_version";
const CONTACTS: &str = "contacts";
const DEFAULT_ACR_VALUES: &str = "default_acr_values";

const PAGES: [&str; 4] = [CLIENT_URI, LOGO_URI, POLICY_URI, TOS_URI];
/// RFC 7591 §2.3: as it came. What it says stands beside it.
const SOFTWARE_STATEMENT: &str = "software_statement";

const TEXTS: [&str; 2] = [SOFTWARE_ID, SOFTWARE_VERSION];
const LISTS: [&str; 2] = [CONTACTS, DEFAULT_ACR_VALUES];

/// The members that are read here.
pub(super) const NAMES: [&str; 10] = [
    CLIENT_URI,
    LOGO_URI,
    POLICY_URI,
    TOS_URI,
    INITIATE_LOGIN_URI,
    SOFTWARE_ID,
    SOFTWARE_VERSION,
    SOFTWARE_STATEMENT,
    CONTACTS,
    DEFAULT_ACR_VALUES,
];

/// The longest text, in bytes.
const LONGEST: usize = 2_000;
/// The longest software statement, in bytes.
const LONGEST_STATEMENT: usize = 16_384;

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AboutMetadata(Map<String, Value>);

impl AboutMetadata {
    /// Its home page.
    pub fn client_uri(&self) -> Option<&str> {
        self.get(CLIENT_URI)
    }

    /// Its logo.
    pub fn logo_uri(&self) -> Option<&str> {
        self.get(LOGO_URI)
    }

    /// What it does with what it is told.
    pub fn policy_uri(&self) -> Option<&str> {
        self.get(POLICY_URI)
    }

    /// Its terms of service.
    pub fn tos_uri(&self) -> Option<&str> {
        self.get(TOS_URI)
    }

    /// `acr_values` of a request that names none.
    pub fn default_acr_values(&self) -> Vec<String> {
        let values = self.0.get(DEFAULT_ACR_VALUES).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    /// The software statement it was registered with.
    pub fn software_statement(&self) -> Option<&str> {
        self.get(SOFTWARE_STATEMENT)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

pub(super) fn read(members: &Map<String, Value>) -> Result<AboutMetadata, MetadataError> {
    let mut about = Map::new();
    for (name, schemes) in
        PAGES.map(|name| (name, &["https", "http"][..])).into_iter().chain([(INITIATE_LOGIN_URI, &["https"][..])])
    {
        let Some(written) = text(members, name)? else { continue };
        let is_page = Url::parse(written).is_ok_and(|url| schemes.contains(&url.scheme()) && url.username().is_empty());
        if !is_page || written.len() > LONGEST {
            return Err(MetadataError::Page { name, schemes: if schemes.len() > 1 { "`https` or `http`" } else { "`https`" } });
        }
        about.insert(name.to_owned(), written.into());
    }
    for name in TEXTS {
        match text(members, name)? {
            Some(written) if written.len() > LONGEST => {
                return Err(MetadataError::Type { name, wanted: "a text of at most 2000 bytes" });
            }
            Some(written) => drop(about.insert(name.to_owned(), written.into())),
            None => {}
        }
    }
    match text(members, SOFTWARE_STATEMENT)? {
        Some(written) if written.len() > LONGEST_STATEMENT => {
            return Err(MetadataError::Type { name: SOFTWARE_STATEMENT, wanted: "a text of at most 16384 bytes" });
        }
        Some(written) => drop(about.insert(SOFTWARE_STATEMENT.to_owned(), written.into())),
        None => {}
    }
    for name in LISTS {
        if let Some(values) = strings(members, name)? {
            if values.iter().any(|value| value.len() > LONGEST) {
                return Err(MetadataError::Type { name, wanted: "an array of texts of at most 2000 bytes" });
            }
            about.insert(name.to_owned(), values.into());
        }
    }
    Ok(AboutMetadata(about))
}

pub(super) fn write(about: &AboutMetadata, mut put: impl FnMut(&str, Value)) {
    for (name, value) in &about.0 {
        put(name, value.clone());
    }
}
