//! Fuzzes the first datagrams of QUIC.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| steer_fuzz::quic(data));
