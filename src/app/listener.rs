//! Listeners: an address, the TLS policies of its server names, and what is served there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use tokio::net::TcpListener;

use crate::config::settings::{LimitSettings, ListenerSettings, ServiceSetting};
use crate::domain::Clock;
use crate::tls::{AcceptLimits, Acceptor, PolicySet};
use crate::trust::AnchorSets;

/// The epoch of the policies that a process starts with.
pub const FIRST_EPOCH: u64 = 1;

/// One bound address.
#[derive(Debug)]
pub struct Listener {
    /// For logs and metrics.
    pub name: String,
    /// The bound socket.
    pub socket: TcpListener,
    /// What is served here.
    pub services: BTreeSet<Service>,
    /// How TLS is spoken; absent on a plain listener for metrics.
    pub tls: Option<ListenerTls>,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The endpoints of the authorization server.
    AuthorizationServer,
    /// The resource gateway.
    Gateway,
    /// `/metrics`, `/livez`, `/readyz`.
    Metrics,
}

/// The TLS side of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// The policies in force; swapped by a reload.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Shakes hands under them.
    pub acceptor: Acceptor,
}

impl Listener {
    /// Reads the files a listener needs and binds its address.
    pub async fn bind(
        written: &ListenerSettings,
        limits: &LimitSettings,
        base: &Path,
        anchors: &AnchorSets,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let services: BTreeSet<_> = written.services.iter().map(service).collect();
        if services.is_empty() {
            bail!("listener `{}`: `services` is empty: name what is served at {}", written.name, written.address);
        }
        let tls = match policies(written, base, anchors, FIRST_EPOCH, clock)? {
            Some(policies) => {
                let policies = Arc::new(ArcSwap::from_pointee(policies));
                let acceptor = Acceptor::new(policies.clone(), AcceptLimits::from(limits));
                Some(ListenerTls { policies, acceptor })
            }
            None if services.iter().all(|service| *service == Service::Metrics) => None,
            None => bail!(
                "listener `{}`: `host` is empty: only metrics can be served without TLS; name a certificate for the rest",
                written.name
            ),
        };
        let socket = bind(written.address)
            .await
            .with_context(|| format!("listener `{}`: cannot listen on {}", written.name, written.address))?;
        Ok(Self { name: written.name.clone(), socket, services, tls })
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("port {} is taken: stop the program that holds it, or choose another port", address.port())
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {} may not be used by this user: choose one above 1023", address.port())
        }
        std::io::ErrorKind::AddrNotAvailable => anyhow::anyhow!("{} is not an address of this machine", address.ip()),
        _ => error.into(),
    })
}

/// The TLS policies of a listener, from its settings and the files they name.
///
/// `epoch` counts the readings: TLS sessions of one epoch are not resumed in another.
pub fn policies(
    written: &ListenerSettings,
    base: &Path,
    anchors: &AnchorSets,
    epoch: u64,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<PolicySet>> {
    if written.host.is_empty() {
        return Ok(None);
    }
    let policies = PolicySet::load(&written.host, base, &anchors.hints(), epoch, clock)
        .with_context(|| format!("listener `{}`", written.name))?;
    Ok(Some(policies))
}

const fn service(written: &ServiceSetting) -> Service {
    match written {
        ServiceSetting::AuthorizationServer => Service::AuthorizationServer,
        ServiceSetting::Gateway => Service::Gateway,
        ServiceSetting::Metrics => Service::Metrics,
    }
}
