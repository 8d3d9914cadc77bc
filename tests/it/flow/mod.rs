//! Journeys, in numbered steps.

mod another_issuer;
mod change_feed;
mod command_line;
mod demo;
mod openid_client;
mod restart;
