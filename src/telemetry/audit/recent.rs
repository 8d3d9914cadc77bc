//! The refusals of the last while, for `symbolon explain`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use serde_json::Value;

/// Refusals that are remembered, and bytes of their events altogether: a stranger decides how long a path is. The audit trail keeps them all.
const REMEMBERED: usize = 1_024;
const REMEMBERED_BYTES: usize = 4 << 20;
/// Bytes of the certificates that were shown with them. These have a bound of their own: whoever shows large ones pushes out no events.
const REMEMBERED_CHAINS_BYTES: usize = 4 << 20;

/// A bounded memory. Only the writer's thread puts anything in, so that no request ever waits here.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    events: VecDeque<(String, Box<[u8]>)>,
    bytes: usize,
    chains: VecDeque<(String, Chain)>,
    chains_bytes: usize,
}

/// What a peer showed: its certificate, and what it sent after that.
pub(super) type Chain = Vec<CertificateDer<'static>>;

/// A refusal that is remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentRefusal {
    /// The event, as the audit trail has it.
    pub event: Value,
    /// The certificate that was shown, and what came with it: empty where none was, or where it is remembered no more.
    pub chain: Vec<CertificateDer<'static>>,
}

fn size(chain: &Chain) -> usize {
    chain.iter().map(|certificate| certificate.len()).sum()
}

impl Recent {
    pub(super) fn remember(&self, request_id: &str, line: &[u8], chain: Chain) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !chain.is_empty() {
            known.chains_bytes += size(&chain);
            known.chains.push_back((request_id.to_owned(), chain));
        }
        while known.chains.len() > REMEMBERED || known.chains_bytes > REMEMBERED_CHAINS_BYTES {
            let Some((_, oldest)) = known.chains.pop_front() else { break };
            known.chains_bytes = known.chains_bytes.saturating_sub(size(&oldest));
        }
        known.bytes += line.len();
        known.events.push_back((request_id.to_owned(), line.into()));
        while known.events.len() > REMEMBERED || known.bytes > REMEMBERED_BYTES {
            let Some((_, oldest)) = known.events.pop_front() else { break };
            known.bytes = known.bytes.saturating_sub(oldest.len());
        }
    }

    pub(super) fn find(&self, request_id: &str) -> Option<RecentRefusal> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, line) = known.events.iter().rev().find(|(known, _)| known == request_id)?;
        let chain = known.chains.iter().rev().find(|(known, _)| known == request_id);
        let chain = chain.map(|(_, chain)| chain.clone()).unwrap_or_default();
        Some(RecentRefusal { event: serde_json::from_slice(line).ok()?, chain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let recent = Recent::default();
        for number in 0..=REMEMBERED {
            recent.remember(&number.to_string(), format!("{{\"n\":{number}}}").as_bytes(), shown(8));
        }
        assert_eq!(recent.find("0"), None);
        let oldest = recent.find("1").expect("remembered");
        assert_eq!((oldest.event.get("n").and_then(Value::as_u64), oldest.chain), (Some(1), shown(8)));
        assert_eq!(recent.0.lock().expect("not poisoned").chains.len(), REMEMBERED);
        assert_eq!(recent.0.lock().expect("not poisoned").events.len(), REMEMBERED);
    }

    #[test]
    fn long_ones_are_fewer() {
        let recent = Recent::default();
        let long = format!("\"{}\"", "x".repeat(REMEMBERED_BYTES / 8));
        for number in 0..20 {
            recent.remember(&number.to_string(), long.as_bytes(), Chain::new());
        }
        assert!(recent.find("19").is_some() && recent.find("13").is_some() && recent.find("12").is_none());
        for number in 20..REMEMBERED + 20 {
            recent.remember(&number.to_string(), b"{}", Chain::new());
        }
        let known = recent.0.lock().expect("not poisoned");
        assert_eq!((known.events.len(), known.bytes), (REMEMBERED, 2 * REMEMBERED));
    }

    #[test]
    fn large_certificates_push_out_certificates_alone() {
        let recent = Recent::default();
        for number in 0..20 {
            recent.remember(&number.to_string(), b"{}", shown(REMEMBERED_CHAINS_BYTES / 8));
        }
        let chain = |number: usize| recent.find(&number.to_string()).expect("the event stays").chain;
        assert_eq!((chain(19).len(), chain(12).len(), chain(11).len(), chain(0).len()), (2, 2, 0, 0));
        assert_eq!(recent.0.lock().expect("not poisoned").chains_bytes, REMEMBERED_CHAINS_BYTES);
    }

    /// A chain of two with so many bytes together.
    fn shown(bytes: usize) -> Chain {
        vec![CertificateDer::from(vec![0; bytes / 2]), CertificateDer::from(vec![1; bytes - bytes / 2])]
    }
}
