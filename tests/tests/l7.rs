//! What is done with requests by the real command.

#[path = "l7/clients.rs"]
mod clients;
