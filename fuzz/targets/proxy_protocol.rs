//! Fuzzes PROXY protocol headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| steer_fuzz::proxy_protocol(data));
