//! Journeys, in numbered steps.

mod another_issuer;
mod change_feed;
mod command_line;
mod compose;
mod demo;
mod federation;
mod openid_client;
mod operations;
mod people;
mod readme;
mod reload;
mod restart;
mod signing_keys;
