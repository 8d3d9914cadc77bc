#![no_main]

#[path = "../../tests/it/threat/corpus/readers.rs"]
#[allow(dead_code)]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::name(data));
