//! Fuzzes what clients that speak SOCKS send to the explicit port.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| steer_fuzz::socks(data));
