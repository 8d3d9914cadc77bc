//! The refusals of the last while, for `symbolon explain`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Refusals that are remembered, and bytes of their events altogether: a stranger decides how long a path is. The audit trail keeps them all.
const REMEMBERED: usize = 1_024;
const REMEMBERED_BYTES: usize = 4 << 20;

/// A bounded memory. Only the writer's thread puts anything in, so that no request ever waits here.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    events: VecDeque<(String, Box<[u8]>)>,
    bytes: usize,
}

impl Recent {
    pub(super) fn remember(&self, request_id: &str, line: &[u8]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.bytes += line.len();
        known.events.push_back((request_id.to_owned(), line.into()));
        while known.events.len() > REMEMBERED || known.bytes > REMEMBERED_BYTES {
            let Some((_, oldest)) = known.events.pop_front() else { break };
            known.bytes = known.bytes.saturating_sub(oldest.len());
        }
    }

    pub(super) fn find(&self, request_id: &str) -> Option<Value> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, line) = known.events.iter().rev().find(|(known, _)| known == request_id)?;
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
        assert_eq!(recent.0.lock().expect("not poisoned").events.len(), REMEMBERED);
    }

    #[test]
    fn long_ones_are_fewer() {
        let recent = Recent::default();
        let long = format!("\"{}\"", "x".repeat(REMEMBERED_BYTES / 8));
        for number in 0..20 {
            recent.remember(&number.to_string(), long.as_bytes());
        }
        assert!(recent.find("19").is_some() && recent.find("13").is_some() && recent.find("12").is_none());
        for number in 20..REMEMBERED + 20 {
            recent.remember(&number.to_string(), b"{}");
        }
        let known = recent.0.lock().expect("not poisoned");
        assert_eq!((known.events.len(), known.bytes), (REMEMBERED, 2 * REMEMBERED));
    }
}
