//! What tokens are issued for, and which of it a request means (RFC 8707).

use std::collections::HashMap;
use std::sync::Arc;

use url::Url;

use super::error::{ErrorCode, Refusal};
use crate::clients::{Client, LONGEST_TOKEN_LIFETIME};
use crate::config::settings::ResourceSettings;
use crate::domain::{Audience, ClientId, Lifetime, Scope};
use crate::event::{Reason, TokenFormat};
use crate::jose::Algorithm;
use crate::keys::KeyPlan;
use crate::oidc::claims;

/// The longest lifetime that a resource may give its access tokens, in seconds.
pub const LONGEST_LIFETIME_SECONDS: u32 = LONGEST_TOKEN_LIFETIME.seconds();

/// One protected resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The value of the `resource` parameter: an absolute URI without fragment (RFC 8707 §2).
    pub identifier: String,
    /// The values of `aud`.
    pub audiences: Vec<Audience>,
    /// Scopes that exist here.
    pub scopes: Scope,
    /// How long an access token lives.
    pub lifetime: Lifetime,
    /// How an access token travels.
    pub format: TokenFormat,
    /// What its JWTs are signed with.
    pub algorithm: Algorithm,
    /// Who may introspect its tokens.
    pub introspection_clients: Vec<ClientId>,
}

/// Why the configuration's resources cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The identifier is not an absolute URI without fragment.
    #[error("resource `{0}`: the identifier must be an absolute URI without fragment (RFC 8707 section 2)")]
    Identifier(String),
    /// Two resources have one identifier.
    #[error("resource `{0}` is configured twice")]
    Twice(String),
    /// An audience, scope or client id is malformed.
    #[error("resource `{resource}`: {what} `{value}` {problem}")]
    Value {
        /// Which resource.
        resource: String,
        /// Which key.
        what: &'static str,
        /// What was written.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Keys are kept for other algorithms alone.
    #[error(
        "resource `{resource}`: access_token_signing_alg `{algorithm}`: no keys are kept for it; add it to signing.more_algorithms"
    )]
    Algorithm {
        /// Which resource.
        resource: String,
        /// As written.
        algorithm: String,
    },
    /// The lifetime is zero or longer than a day.
    #[error("resource `{0}`: access_token_lifetime_seconds must be from 1 to {LONGEST_LIFETIME_SECONDS}")]
    Lifetime(String),
}

/// All resources, by identifier, and the userinfo endpoint, which is one without being configured.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    configured: HashMap<String, Arc<Resource>>,
    userinfo: Option<Userinfo>,
}

/// The userinfo endpoint as a resource.
#[derive(Clone, Debug)]
struct Userinfo {
    audience: Audience,
    algorithm: Algorithm,
}

/// How long an access token for the userinfo endpoint alone lives.
const USERINFO_LIFETIME: Lifetime = Lifetime::from_seconds(300);

impl Resources {
    /// Checks the configuration's section.
    pub fn from_settings(settings: &[ResourceSettings], keys: &KeyPlan) -> Result<Self, ResourceError> {
        let mut resources = HashMap::new();
        for written in settings {
            let resource = Resource::from_settings(written, keys)?;
            if resources.insert(written.identifier.clone(), Arc::new(resource)).is_some() {
                return Err(ResourceError::Twice(written.identifier.clone()));
            }
        }
        Ok(Self { configured: resources, userinfo: None })
    }

    /// With the userinfo endpoint of an issuer, whose tokens are signed with `algorithm` where they are for it alone.
    pub fn with_userinfo(self, audience: Audience, algorithm: Algorithm) -> Self {
        Self { userinfo: Some(Userinfo { audience, algorithm }), ..self }
    }

    /// The audience of the userinfo endpoint.
    pub fn userinfo(&self) -> Option<&Audience> {
        self.userinfo.as_ref().map(|userinfo| &userinfo.audience)
    }

    /// Whether a token with these audiences is for the userinfo endpoint too.
    pub fn userinfo_right(&self, audience: &[Audience]) -> Option<UserinfoRight> {
        let userinfo = self.userinfo.as_ref()?;
        audience.contains(&userinfo.audience).then_some(UserinfoRight(()))
    }

    /// The resource with this identifier, exactly as written.
    pub fn get(&self, identifier: &str) -> Option<&Arc<Resource>> {
        self.configured.get(identifier)
    }

    /// Every identifier, in no order.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        self.configured.keys().map(String::as_str)
    }

    /// The identifier of the resource that this names, by its identifier or by a value of `aud`.
    pub fn identifier_of(&self, name: &str) -> Option<&str> {
        let has_audience = |resource: &&Arc<Resource>| resource.audiences.iter().any(|audience| audience.as_str() == name);
        let by_audience =
            || self.configured.values().filter(has_audience).min_by(|one, other| one.identifier.cmp(&other.identifier));
        self.get(name).or_else(by_audience).map(|resource| resource.identifier.as_str())
    }

    /// Every scope of every resource.
    pub fn scopes(&self) -> Scope {
        self.configured.values().fold(Scope::default(), |all, resource| all.union(&resource.scopes))
    }

    /// Whether the client may introspect tokens with this audience: it is listed by a resource that the token is for.
    pub fn introspection_right(&self, client: &ClientId, audience: &[Audience]) -> Option<IntrospectionRight> {
        self.configured
            .values()
            .filter(|resource| resource.introspection_clients.contains(client))
            .any(|resource| resource.audiences.iter().any(|value| audience.contains(value)))
            .then_some(IntrospectionRight(()))
    }

    /// The resources that a person's grant means: with OpenID Connect the userinfo endpoint, and whatever [`Resources::select`] says. A
    /// client that is registered for no resource gets tokens for the userinfo endpoint alone.
    pub fn select_for_person<'a>(
        &self,
        client: &Client,
        requested: impl Iterator<Item = &'a str>,
        is_openid: bool,
    ) -> Result<Selected, Refusal> {
        let mut requested = requested.peekable();
        let userinfo = self.userinfo.as_ref().filter(|_| is_openid);
        let mut selected = match userinfo {
            Some(userinfo) if requested.peek().is_none() && client.resources.is_empty() => Selected {
                identifiers: Vec::new(),
                audience: Vec::new(),
                scopes: Scope::default(),
                lifetime: USERINFO_LIFETIME,
                format: client.access_token_format.unwrap_or(TokenFormat::Jwt),
                algorithm: userinfo.algorithm,
            },
            _ => self.select(client, requested)?,
        };
        if let Some(userinfo) = userinfo {
            selected.audience.push(userinfo.audience.clone());
            selected.scopes = selected.scopes.union(&claims::scopes());
        }
        Ok(selected)
    }

    /// The identifiers that [`Resources::select`] goes by, written out.
    pub fn meant<'a>(&self, client: &Client, requested: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut meant: Vec<String> = requested.map(str::to_owned).collect();
        if meant.is_empty() {
            meant.extend(client.resources.iter().find(|identifier| self.get(identifier).is_some()).cloned());
        }
        meant
    }

    /// The resources a token request means: those it names, all of which the client must be registered for; else the first one
    /// the client is registered for.
    pub fn select<'a>(&self, client: &Client, requested: impl Iterator<Item = &'a str>) -> Result<Selected, Refusal> {
        let target = |reason, description: &'static str| Refusal::new(ErrorCode::InvalidTarget, reason, description);
        let mut chosen: Vec<Arc<Resource>> = Vec::new();
        for identifier in requested {
            let resource = self
                .get(identifier)
                .filter(|_| client.resources.iter().any(|allowed| allowed == identifier))
                .ok_or_else(|| target(Reason::ResourceNotAllowed, "the resource is unknown or not allowed for this client"))?;
            if !chosen.iter().any(|known| known.identifier == resource.identifier) {
                chosen.push(resource.clone());
            }
        }
        if chosen.is_empty() {
            let default = client.resources.iter().find_map(|identifier| self.get(identifier));
            chosen.extend(default.cloned());
        }
        let mut resources = chosen.into_iter();
        let first =
            resources.next().ok_or_else(|| target(Reason::ResourceNotAllowed, "this client is registered for no resource"))?;
        let mut selected = Selected {
            identifiers: vec![first.identifier.clone()],
            audience: first.audiences.clone(),
            scopes: first.scopes.clone(),
            lifetime: first.lifetime,
            format: client.access_token_format.unwrap_or(first.format),
            algorithm: first.algorithm,
        };
        for resource in resources {
            let format = client.access_token_format.unwrap_or(resource.format);
            if (format, resource.algorithm) != (selected.format, selected.algorithm) {
                return Err(target(
                    Reason::ResourceNotAllowed,
                    "these resources take tokens of different formats or signature algorithms: ask for one token each",
                ));
            }
            selected.identifiers.push(resource.identifier.clone());
            for audience in &resource.audiences {
                if !selected.audience.contains(audience) {
                    selected.audience.push(audience.clone());
                }
            }
            selected.scopes = selected.scopes.union(&resource.scopes);
            selected.lifetime = selected.lifetime.min(resource.lifetime);
        }
        Ok(selected)
    }
}

/// Proof that a token is for the userinfo endpoint.
#[derive(Clone, Copy, Debug)]
pub struct UserinfoRight(());

/// Proof that a caller may be told about a token.
#[derive(Clone, Copy, Debug)]
pub struct IntrospectionRight(());

/// What one request's resources come to together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Their identifiers; none for the userinfo endpoint.
    pub identifiers: Vec<String>,
    /// The values of `aud`.
    pub audience: Vec<Audience>,
    /// Every scope that exists at one of them.
    pub scopes: Scope,
    /// The shortest of their lifetimes.
    pub lifetime: Lifetime,
    /// Their common format, or the client's own.
    pub format: TokenFormat,
    /// What a JWT for them is signed with.
    pub algorithm: Algorithm,
}

impl Resource {
    fn from_settings(written: &ResourceSettings, keys: &KeyPlan) -> Result<Self, ResourceError> {
        let identifier = &written.identifier;
        match Url::parse(identifier) {
            Ok(url) if url.fragment().is_none() && identifier.is_ascii() => {}
            _ => return Err(ResourceError::Identifier(identifier.clone())),
        }
        let value = |what, value: &str, problem: &dyn std::fmt::Display| ResourceError::Value {
            resource: identifier.clone(),
            what,
            value: value.to_owned(),
            problem: problem.to_string(),
        };
        let audiences = if written.audiences.is_empty() { std::slice::from_ref(identifier) } else { &written.audiences[..] };
        let audiences = audiences
            .iter()
            .map(|text| text.parse().map_err(|error| value("audience", text, &error)))
            .collect::<Result<_, _>>()?;
        let mut scopes = Scope::default();
        for text in &written.scopes {
            let scope: Scope = text.parse().map_err(|error| value("scope", text, &error))?;
            scopes = scopes.union(&scope);
        }
        let introspection_clients = written
            .introspection_clients
            .iter()
            .map(|text| text.parse().map_err(|error| value("client", text, &error)))
            .collect::<Result<_, _>>()?;
        let algorithm = match &written.access_token_signing_alg {
            None => keys.default,
            Some(name) => name
                .parse()
                .ok()
                .filter(|algorithm| keys.algorithms.contains(algorithm))
                .ok_or_else(|| ResourceError::Algorithm { resource: identifier.clone(), algorithm: name.clone() })?,
        };
        if !(1..=LONGEST_LIFETIME_SECONDS).contains(&written.access_token_lifetime_seconds) {
            return Err(ResourceError::Lifetime(identifier.clone()));
        }
        Ok(Self {
            identifier: identifier.clone(),
            audiences,
            scopes,
            lifetime: Lifetime::from_seconds(written.access_token_lifetime_seconds),
            format: written.access_token_format,
            algorithm,
            introspection_clients,
        })
    }
}
