//! One file per standard. Each test names the sentence it proves.

mod rfc6749;
mod rfc6750;
mod rfc8705;
