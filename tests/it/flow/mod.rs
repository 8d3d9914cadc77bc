//! Journeys, in numbered steps.

mod another_issuer;
mod change_feed;
mod command_line;
mod compose;
mod demo;
mod openid_client;
mod operations;
mod readme;
mod reload;
mod restart;
mod signing_keys;
