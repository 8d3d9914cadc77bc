//! The clients of the deployment, as the data plane looks them up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Authentication, Client, MetadataError, Published, RegisteredCertificate};
use crate::domain::{ClientId, Lifetime, Thumbprint, Timestamp};
use crate::event::Reason;
use crate::store::{ChangeKind, Changes, Store, StoreError};

/// Why the clients could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ClientsError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Store(error) => error.reason(),
        }
    }
}

/// A registered certificate that ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndingCertificate {
    /// Whose it is.
    pub client_id: ClientId,
    /// Which one.
    pub certificate: Thumbprint,
    /// Its last moment.
    pub not_after: Timestamp,
    /// How many other certificates of this client end later.
    pub later: usize,
}

/// Every client at one moment; immutable.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    clients: HashMap<ClientId, Arc<Client>>,
    /// The origins of their redirect URIs, with how many clients have one there.
    origins: HashMap<String, usize>,
    unusable: HashMap<ClientId, MetadataError>,
}

impl Directory {
    /// Reads every client. One whose metadata is not understood, say because a newer program wrote it, is unknown to this process and
    /// told by [`Directory::unusable`]; the others are served.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(store: &Store) -> Result<Self, ClientsError> {
        let mut directory = Self::default();
        for record in store.clients().await? {
            let client = Client::from_record(&record);
            directory.put(record.client_id, Some(client));
        }
        Ok(directory)
    }

    /// The client of this name.
    pub fn client(&self, client_id: &ClientId) -> Option<&Arc<Client>> {
        self.clients.get(client_id)
    }

    /// Whether a client has a redirect URI at this origin.
    pub fn has_origin(&self, origin: &str) -> bool {
        self.origins.contains_key(origin)
    }

    /// Every client, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.values()
    }

    /// Registered certificates that have ended at `now` or end within `soon`, by client. Those that clients publish themselves
    /// (`jwks_uri`) are theirs to look after.
    pub fn ending_certificates(&self, now: Timestamp, soon: Lifetime) -> Vec<EndingCertificate> {
        let mut found = Vec::new();
        for client in self.clients.values() {
            let Authentication::SelfSignedTlsClientAuth(Published::Here(registered)) = &client.authentication else { continue };
            for certificate in registered.iter().map(RegisteredCertificate::certificate) {
                let not_after = certificate.not_after();
                if not_after > now.plus(soon) {
                    continue;
                }
                found.push(EndingCertificate {
                    client_id: client.client_id.clone(),
                    certificate: certificate.thumbprint(),
                    not_after,
                    later: registered.iter().filter(|other| other.certificate().not_after() > not_after).count(),
                });
            }
        }
        found
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is no client.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Registrations that are not understood, and why.
    pub fn unusable(&self) -> impl Iterator<Item = (&ClientId, &MetadataError)> {
        self.unusable.iter()
    }

    fn put(&mut self, client_id: ClientId, client: Option<Result<Client, MetadataError>>) {
        if let Some(before) = self.clients.remove(&client_id) {
            for origin in origins(&before) {
                match self.origins.get_mut(&origin) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(self.origins.remove(&origin)),
                }
            }
        }
        self.unusable.remove(&client_id);
        match client {
            None => {}
            Some(Ok(client)) => {
                for origin in origins(&client) {
                    *self.origins.entry(origin).or_default() += 1;
                }
                self.clients.insert(client_id, Arc::new(client));
            }
            Some(Err(problem)) => {
                tracing::error!(%client_id, %problem, "this client is refused: register it again");
                self.unusable.insert(client_id, problem);
            }
        }
    }
}

/// The origins of a client's redirect URIs, each once.
fn origins(client: &Client) -> BTreeSet<String> {
    client.authorization.redirect_uris.iter().filter_map(super::RedirectUri::origin).collect()
}

/// The clients as they are now: a [`Directory`] that is replaced as the change feed tells.
#[derive(Debug)]
pub struct Clients {
    current: ArcSwap<Directory>,
}

impl Clients {
    /// Reads every client.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(store: &Store) -> Result<Self, ClientsError> {
        Ok(Self { current: ArcSwap::from_pointee(Directory::load(store).await?) })
    }

    /// The present snapshot. Take it once for one request, and not across a wait: see [`arc_swap::Guard`].
    pub fn current(&self) -> arc_swap::Guard<Arc<Directory>> {
        self.current.load()
    }

    /// The client of this name now.
    pub fn client(&self, client_id: &ClientId) -> Option<Arc<Client>> {
        self.current.load().client(client_id).cloned()
    }

    /// Applies changes that the feed handed out. Called by one task alone.
    ///
    /// # Errors
    /// When the store fails; the old snapshot stays. Then read everything anew with [`Clients::reload`].
    pub async fn apply(&self, store: &Store, changes: &Changes) -> Result<(), ClientsError> {
        let changes = match changes {
            Changes::Forgotten => return self.reload(store).await,
            Changes::Next(changes) => changes,
        };
        let keys: BTreeSet<&str> =
            changes.iter().filter(|change| change.kind == ChangeKind::Client).map(|change| change.key.as_str()).collect();
        let mut next: Option<Directory> = None;
        for key in keys {
            // A key that is no client's name names no client.
            let Ok(client_id) = key.parse::<ClientId>() else { continue };
            let client = store.client(&client_id).await?.map(|record| Client::from_record(&record));
            next.get_or_insert_with(|| Directory::clone(&self.current.load())).put(client_id, client);
        }
        if let Some(next) = next {
            self.current.store(Arc::new(next));
        }
        Ok(())
    }

    /// Reads every client anew.
    ///
    /// # Errors
    /// When the store fails; the old snapshot stays.
    pub async fn reload(&self, store: &Store) -> Result<(), ClientsError> {
        self.current.store(Arc::new(Directory::load(store).await?));
        Ok(())
    }
}
