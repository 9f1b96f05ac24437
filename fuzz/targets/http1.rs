//! Fuzzes heads and sessions of HTTP/1.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| steer_fuzz::http1(data));
