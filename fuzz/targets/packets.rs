//! Fuzzes the path that packets of a device take.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| steer_fuzz::packets(data));
