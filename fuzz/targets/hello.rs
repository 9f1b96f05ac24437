//! Fuzzes the first bytes of streams.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| steer_fuzz::hello(data));
