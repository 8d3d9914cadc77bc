//! Readers of what strangers write, tried out with inputs that are nearly right: those of tests/corpus, cut off at every byte, and altered at
//! random for a while. `SYMBOLON_TEST_MUTATION_SECONDS=600` makes it ten minutes for each reader.

mod readers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use readers::{name, proxy_header, proxy_protocol, revocation_list};

const READERS: [(&str, fn(&[u8])); 4] =
    [("name", name), ("proxy_header", proxy_header), ("revocation_list", revocation_list), ("proxy_protocol", proxy_protocol)];

/// What fuzzing has found begins so: such an input is shortened already.
const FOUND: &str = "found-";

fn corpus(reader: &str, is_found: bool) -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/corpus/{reader}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(&folder).expect("a corpus").flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FOUND)) == is_found);
    paths.sort();
    assert!(paths.len() > 5, "{folder} has {}", paths.len());
    paths.iter().map(|path| std::fs::read(path).expect("an input")).collect()
}

/// Tells of the input that the property does not hold for, to be kept in the corpus.
fn hold(reader: &str, holds: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| holds(input))).is_err() {
        panic!("{reader}: add this to tests/corpus/{reader}: {}", STANDARD.encode(input));
    }
}

#[test]
fn every_input_keeps_its_property_whole_and_cut_off() {
    for (reader, holds) in READERS {
        for input in corpus(reader, true) {
            hold(reader, holds, &input);
        }
        for input in corpus(reader, false) {
            (0..=input.len().min(1_024)).chain([input.len()]).for_each(|length| hold(reader, holds, &input[..length]));
        }
    }
}

/// Xorshift: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("below")
    }
}

/// Bytes that mean something to one of the readers.
const WORDS: &[&[u8]] = &[
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"%",
    b"%2B",
    b"+",
    b"/",
    b"#",
    b"\n",
    b"\0",
    b"Cert=",
    b"Hash=",
    b"Chain=",
    b"CN=",
    b"2.5.4.3=",
    b"-----BEGIN CERTIFICATE-----",
    b"-----END CERTIFICATE-----",
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x01\x01",
    b"\x17\x0d",
    b"\xa0\x00",
    b"\x30\x00",
    b"\xff\xff",
    b"\x21\x11",
];

fn altered(numbers: &mut Numbers, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[numbers.below(inputs.len())].clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        let end = (at + numbers.below(24)).min(bytes.len());
        match numbers.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => drop(bytes.splice(at..at, WORDS[numbers.below(WORDS.len())].iter().copied())),
            5 => drop(bytes.splice(at..end, WORDS[numbers.below(WORDS.len())].iter().copied())),
            _ => {
                let other = &inputs[numbers.below(inputs.len())];
                let from = numbers.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn nothing_that_is_nearly_right_ends_a_reader() {
    let seconds = std::env::var("SYMBOLON_TEST_MUTATION_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = seconds.map_or(Duration::from_millis(500), Duration::from_secs);
    for (reader, holds) in READERS {
        let (inputs, mut numbers, started) = (corpus(reader, false), Numbers(0x9e37_79b9_7f4a_7c15), Instant::now());
        let mut tried = 0u64;
        while started.elapsed() < time {
            hold(reader, holds, &altered(&mut numbers, &inputs));
            tried += 1;
        }
        println!("{reader}: {tried} inputs");
        assert!(tried > 100, "{reader}: {tried}");
    }
}
