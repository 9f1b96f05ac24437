//! What is done with requests by the real command.

#[path = "l7/clients.rs"]
mod clients;
#[path = "l7/secrets.rs"]
mod secrets;
#[path = "l7/sessions.rs"]
mod sessions;
#[path = "l7/site.rs"]
mod site;
#[path = "l7/streams.rs"]
mod streams;

/// The client inside the steered program; does nothing in an ordinary run.
#[test]
fn agent() {
    lab::serve_agent();
}
