//! Steering in the socket layer: eBPF programs send what a program connects to the engine.

pub mod abi;
