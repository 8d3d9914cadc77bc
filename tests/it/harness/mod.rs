//! What the integration tests stand on.
//!
//! ```no_run
//! let stack = Stack::start().await;                       // server and gateway as processes, alice, mallory and gateway registered
//! let token = stack.token(&stack.alice).await;            // a JWT for the resource `accounts`
//! let answer = stack.at_gateway(&stack.mallory, &token).await;
//! assert_eq!(answer.status, 401);
//! assert_eq!(stack.reason_of(answer.request_id()).await, "binding_certificate_mismatch");
//! stack.upstream.assert_untouched();
//! ```
//!
//! - [`Stack`]: a deployment. `Stack::start()`, `Stack::start_on(engine)`, or `Setup { .. }.start()` for anything else.
//! - [`Authority`], [`Leaf`], [`Identity`]: certificates of every kind, also bad ones.
//! - [`Caller`]: how to connect (certificate, key, TLS version, HTTP version, server name); [`Connection`]: several requests on one
//!   connection; [`Call`]: one request, spelled exactly as given over HTTP/1.1; [`Answer`].
//! - [`Prover`]: a client's DPoP key, and proofs of every kind, also bad ones.
//! - [`browser::Browser`]: cookies and forms of a person.
//! - [`Person`]: somebody who signs in at the gateway, at an authorization server that is its provider.
//! - [`App`]: an application that people sign in to.
//! - [`wire`]: every caller of a [`Stack`] notes the secrets it sends and receives; [`search::Search`] looks for them.
//! - [`browser::Browser`]: cookies and forms of a person.
//! - [`Prover`]: a client's DPoP key, and proofs of every kind, also bad ones.
//! - [`proxy::Proxy`]: nginx, HAProxy or Apache, where they are installed.
//! - [`chromium::Chromium`]: a real browser, by keyboard, with pictures.
//! - [`administration`]: the administration API, and whoever may use it.
//! - [`Upstream`]: records every byte it receives; [`TcpUpstream`] too, and speaks no HTTP.
//! - [`TcpPlace`]: a deployment with a TCP route at `as.example`.

#![allow(unused_imports, reason = "the harness offers more than one file uses")]

pub mod administration;
pub mod app;
pub mod assertion;
pub mod authority;
pub mod browser;
pub mod call;
pub mod certified;
pub mod chromium;
pub mod client;
pub mod command;
pub mod configuration;
pub mod dpop;
pub mod exchange;
pub mod foreign;
pub mod own_account;
pub mod passkey;
pub mod person;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod publisher;
pub mod search;
pub mod stack;
pub mod tcp_route;
pub mod tcp_upstream;
pub mod token;
pub mod totp;
pub mod upstream;
pub mod wire;

pub use app::App;
pub use authority::{Authority, Identity, Leaf};
pub use call::{Answer, Call};
pub use client::{Caller, Connection, Http, Tls};
pub use dpop::Prover;
pub use exchange::exchange;
pub use person::Person;
pub use postgres::left_out;
pub use postgres::left_out::tell;
pub use publisher::Publisher;
pub use stack::{Engine, Setup, Stack};
pub use tcp_route::TcpPlace;
pub use tcp_upstream::TcpUpstream;
pub use upstream::Upstream;
