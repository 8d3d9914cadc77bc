//! Journeys, in numbered steps.

mod another_issuer;
mod assertion;
mod browser;
mod change_feed;
mod client_changes;
mod command_line;
mod compose;
mod cross_origin;
mod database;
mod database_tls;
mod demo;
mod explain;
mod federation;
mod introspection_client;
mod one_truth;
mod openid_client;
mod operations;
mod people;
mod readme;
mod reload;
mod replicas;
mod restart;
mod seal_keys;
mod signing_keys;
mod streaming;
mod upstream_identity;
