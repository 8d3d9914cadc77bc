//! Symbolon: an OAuth 2.0 authorization server whose access tokens are bound to the client's certificate (RFC 8705), and the
//! gateway that enforces the binding on every request.

#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod cli;

#[cfg(feature = "server")]
pub mod gateway;
#[cfg(feature = "server")]
pub mod web;

#[cfg(feature = "server")]
pub mod clients;
#[cfg(feature = "server")]
pub mod keys;
#[cfg(feature = "server")]
pub mod oauth;

pub mod binding;
pub mod resource;
pub mod token;
pub mod trust;

#[cfg(feature = "server")]
pub mod config;
pub mod fetch;
pub mod jose;
pub mod pki;
#[cfg(feature = "server")]
pub mod seal;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
pub mod tls;
#[cfg(feature = "server")]
pub mod wire;

pub mod domain;
pub mod event;
