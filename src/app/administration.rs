//! The administration API, from its settings.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use http::request;

use super::server::registration_rules;
use crate::admin::{Admin, nothing, router};
use crate::config::Loaded;
use crate::config::settings::ServiceSetting;
use crate::domain::Issuer;
use crate::oauth::administration::Administration;
use crate::web::endpoint::Endpoint;
use crate::web::{Edge, Web};
use crate::wire;

/// The API as a service of listeners.
#[derive(Clone, Debug)]
pub struct AdminService {
    administration: Arc<Administration>,
    max_headers: usize,
    /// What answers at its place.
    pub edge: Edge,
    /// What answers beside it, where nothing else shares the listener.
    pub nowhere: Edge,
}

impl AdminService {
    /// The API of the server behind `web`; nothing where no listener has it.
    pub fn build(loaded: &Loaded, web: &Arc<Web>) -> anyhow::Result<Option<Self>> {
        let Some(administration) = checked(loaded, &web.server.issuer)? else { return Ok(None) };
        let administration = Arc::new(administration);
        let admin = Arc::new(Admin { web: web.clone(), administration: administration.clone() });
        let (edge, nowhere) = (Edge::of_admin(web.clone(), router(admin)), Edge::of_admin(web.clone(), nothing()));
        Ok(Some(Self { administration, max_headers: web.max_headers, edge, nowhere }))
    }

    /// Whether a request is for it, where other services share the listener.
    pub fn serves(&self, head: &request::Parts) -> bool {
        wire::inspect(head, self.max_headers)
            .is_ok_and(|target| self.administration.is_at(&target.authority, target.path.as_str()))
    }
}

/// The section, checked against the rest of the configuration; nothing where no listener has the service.
pub fn checked(loaded: &Loaded, issuer: &Issuer) -> anyhow::Result<Option<Administration>> {
    let settings = &loaded.settings;
    let is_served = settings.listener.iter().any(|listener| listener.services.contains(&ServiceSetting::Admin));
    match (is_served, &settings.admin.resource) {
        (false, None) => return Ok(None),
        (false, Some(_)) => {
            bail!("[admin]: no listener has the service `admin`: nobody could reach the API; add it, or take the section away")
        }
        (true, _) => {}
    }
    let registrations = registration_rules(loaded, "the server's configuration".to_owned())?;
    let is_taken = |path: &str| Endpoint::of(path, issuer.path()) != Endpoint::Other;
    let self_registered = &settings.registration.resources;
    let built =
        Administration::from_settings(&settings.admin, &settings.limits, registrations, self_registered, issuer, is_taken);
    built.map(Some).context("[admin]")
}

/// The API is of an authorization server in the same process.
pub fn check_place(serves_admin: bool, serves_server: bool) -> anyhow::Result<()> {
    if serves_admin && !serves_server {
        bail!(
            "a listener has the service `admin`, and none has `authorization_server`: the API administers an authorization server of the \
             same process, and a gateway has nothing to administer; add the service, or take `admin` away"
        );
    }
    Ok(())
}
