//! `symbolon demo`: the main job, end to end, on this machine: real sockets, real TLS, a real database, real certificates.

mod deployment;
mod exchange;
mod process;
mod story;

use std::net::TcpListener as StdListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;

use super::print;
use super::sample_upstream::Upstream;
use deployment::Deployment;
use process::Process;
use story::Story;

use crate::telemetry::log::Colour;

/// Show the whole story on this machine: a bound token, a gateway, a thief
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon demo                     tell the story and stay up until Ctrl-C
  symbolon demo --once              tell the story and exit: 0 if every step came out as told
  . symbolon-demo/demo.env          what scripts need: URLs, certificates, keys")]
pub struct Demo {
    /// Where certificates, configuration, database and demo.env go; what is there from an earlier run is used again
    #[arg(long, default_value = "symbolon-demo", value_name = "DIR")]
    dir: PathBuf,
    /// Use this port and the three after it, instead of free ones
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_532))]
    port_base: Option<u16>,
    /// Exit after the story
    #[arg(long)]
    once: bool,
    /// Show the log of server and gateway too
    #[arg(long, short)]
    verbose: bool,
}

/// The ports of one demonstration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    issuer: u16,
    mtls: u16,
    gateway: u16,
    upstream: u16,
}

impl Demo {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let ports = match self.port_base {
            Some(base) => fixed_ports(base)?,
            None => free_ports()?,
        };
        let deployment = Deployment::prepare(&self.dir, ports).await?;
        let (gateway, audience) = (deployment.gateway_url(), deployment.gateway_authority());
        let upstream =
            Arc::new(Upstream::new(&gateway, &deployment.path("ca.pem"), audience, "X-Symbolon-Assertion".to_owned())?);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", ports.upstream))
            .await
            .with_context(|| format!("port {} is taken: choose another with --port-base", ports.upstream))?;
        let upstream_task = tokio::spawn(upstream.clone().serve(listener));
        let mut server = Process::start("serve", &deployment.server_config(), self.verbose).await?;
        let mut gateway = Process::start("gateway", &deployment.gateway_config(), self.verbose).await?;

        let colour = Colour::on(&std::io::stdout());
        let told = Story::new(&deployment, &upstream, colour).tell().await;
        let outcome = match told {
            Ok(()) if self.once => Ok(()),
            Ok(()) => self.stay(&deployment, &mut server, &mut gateway).await,
            Err(error) => Err(error),
        };
        gateway.stop().await;
        server.stop().await;
        upstream_task.abort();
        outcome.map(|()| ExitCode::SUCCESS)
    }

    async fn stay(&self, deployment: &Deployment, server: &mut Process, gateway: &mut Process) -> anyhow::Result<()> {
        print(deployment.invitation())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.context("Ctrl-C"),
            problem = server.ended() => bail!("the authorization server ended: {problem}"),
            problem = gateway.ended() => bail!("the gateway ended: {problem}"),
        }
    }
}

fn fixed_ports(base: u16) -> anyhow::Result<Ports> {
    for port in base..=base + 3 {
        if let Err(error) = StdListener::bind(("127.0.0.1", port)) {
            bail!("port {port} cannot be used ({error}): free it, choose another --port-base, or leave --port-base away");
        }
    }
    Ok(Ports { issuer: base, mtls: base + 1, gateway: base + 2, upstream: base + 3 })
}

/// Four ports that are free now. Each is held until all are found, so that no two are the same.
fn free_ports() -> anyhow::Result<Ports> {
    let held: Vec<StdListener> =
        (0..4).map(|_| StdListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>().context("no free port on 127.0.0.1")?;
    let ports: Vec<u16> =
        held.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect::<Result<_, _>>()?;
    match ports[..] {
        [issuer, mtls, gateway, upstream] => Ok(Ports { issuer, mtls, gateway, upstream }),
        _ => bail!("no free port on 127.0.0.1"),
    }
}
