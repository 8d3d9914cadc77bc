//! Finds secrets in what is left behind. Used by the integration tests and, by path, by the store's own tests; it therefore names nothing of
//! the crate.

use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// Finds secrets: as they are, in hex, in both alphabets of base64 at each of three alignments, URL-encoded.
pub struct Search {
    /// By their last eight bytes: tokens of one kind begin alike.
    patterns: HashMap<[u8; 8], Vec<(String, Vec<u8>)>>,
    /// The last two bytes of each, to pass over most places quickly.
    ends: Vec<bool>,
}

fn end(of: &[u8; 8]) -> usize {
    usize::from(of[6]) << 8 | usize::from(of[7])
}

impl Search {
    pub fn new(secrets: &[(String, Vec<u8>)]) -> Self {
        let mut search = Self { patterns: HashMap::new(), ends: vec![false; 1 << 16] };
        for (name, secret) in secrets {
            search.add(name, "as it is", secret.clone());
            let hex = |upper: bool| {
                secret.iter().fold(String::new(), |mut text, byte| {
                    let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
                    text
                })
            };
            search.add(name, "in hex", hex(false).into());
            search.add(name, "in hex", hex(true).into());
            let url: String = url::form_urlencoded::byte_serialize(secret).collect();
            search.add(name, "URL-encoded", url.to_ascii_lowercase().into());
            search.add(name, "URL-encoded", url.into());
            for engine in [&STANDARD, &URL_SAFE] {
                for shift in 0..3 {
                    let text = engine.encode([vec![0; shift], secret.clone()].concat());
                    // Only what is the same whatever stands before and after.
                    let (start, end) = ((shift * 8).div_ceil(6), (shift + secret.len()) * 8 / 6);
                    search.add(name, "in base64", text.as_bytes()[start..end].to_vec());
                }
            }
        }
        search
    }

    fn add(&mut self, name: &str, how: &str, pattern: Vec<u8>) {
        if let Some(last) = pattern.last_chunk::<8>() {
            self.ends[end(last)] = true;
            let patterns = self.patterns.entry(*last).or_default();
            if patterns.iter().all(|(_, known)| *known != pattern) {
                patterns.push((format!("{name} {how}"), pattern));
            }
        }
    }

    /// What is found in these bytes, each once.
    pub fn find(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for at in 8..=bytes.len() {
            if !self.ends[usize::from(bytes[at - 2]) << 8 | usize::from(bytes[at - 1])] {
                continue;
            }
            let Some(candidates) = bytes[..at].last_chunk::<8>().and_then(|last| self.patterns.get(last)) else { continue };
            for (name, pattern) in candidates {
                if bytes[..at].ends_with(pattern) && !found.contains(name) {
                    found.push(name.clone());
                }
            }
        }
        found
    }
}

#[test]
fn every_spelling_is_found() {
    let secret = b"s3cret+/token~?\xff".to_vec();
    let search = Search::new(&[("it".into(), secret.clone())]);
    assert_eq!(search.find(b"nothing of the kind, s3cret, token"), Vec::<String>::new());
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let url: String = url::form_urlencoded::byte_serialize(&secret).collect();
    for text in [hex.clone(), hex.to_uppercase(), url.clone(), url.to_lowercase()] {
        assert_eq!(search.find(format!("before {text} after").as_bytes()).len(), 1, "{text}");
    }
    assert_eq!(search.find(&[b"x".as_slice(), &secret, b"y"].concat()), ["it as it is"]);
    for before in 0..4 {
        for after in 0..4 {
            let bytes = [vec![b'a'; before], secret.clone(), vec![b'z'; after]].concat();
            for text in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)] {
                assert_eq!(search.find(text.as_bytes()), ["it in base64"], "{before} {after}");
            }
        }
    }
}
