//! One file per standard. Each test names the sentence it proves.

mod rfc8705;
