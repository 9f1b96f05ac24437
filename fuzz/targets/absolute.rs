//! Fuzzes what clients that speak HTTP send to the explicit port.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| steer_fuzz::absolute(data));
