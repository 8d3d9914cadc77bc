//! The refusals of the last while, for `symbolon explain`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Refusals that are remembered. The audit trail keeps them all.
const REMEMBERED: usize = 1_024;

/// A bounded memory. Only the writer's thread puts anything in, so that no request ever waits here.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<(String, Box<[u8]>)>>);

impl Recent {
    pub(super) fn remember(&self, request_id: &str, line: &[u8]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == REMEMBERED {
            known.pop_front();
        }
        known.push_back((request_id.to_owned(), line.into()));
    }

    pub(super) fn find(&self, request_id: &str) -> Option<Value> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, line) = known.iter().rev().find(|(known, _)| known == request_id)?;
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let recent = Recent::default();
        for number in 0..=REMEMBERED {
            recent.remember(&number.to_string(), format!("{{\"n\":{number}}}").as_bytes());
        }
        assert_eq!(recent.find("0"), None);
        assert_eq!(recent.find("1").and_then(|event| event.get("n").and_then(Value::as_u64)), Some(1));
        assert_eq!(recent.0.lock().expect("not poisoned").len(), REMEMBERED);
    }
}
