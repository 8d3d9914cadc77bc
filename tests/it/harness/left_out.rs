//! What is said where it is seen, whether a test passes or not: what this machine cannot show, and the log of long runs.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says that something is left out, and why. Not by `println!`: the test runner keeps to itself what a test that passes prints.
pub fn left_out(why: &str) {
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(why.to_owned()) {
        tell(&format!("left out: {why}"));
    }
}

/// Writes a line of a run's log.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
