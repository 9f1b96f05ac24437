//! The keys of records and the list of them for readers are the same.
use steer_core::address::ClientAddr;
use steer_core::method::Method;
use steer_core::steered::Identity;

use super::{ConnectionId, Record, RequestRecord};

/// The keys in the table below a heading, in order.
fn listed(heading: &str) -> Vec<String> {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/records.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, section) = docs.split_once(&format!("\n{heading}\n")).unwrap();
    let rows = section.lines().take_while(|line| !line.starts_with('#'));
    let first = rows.filter_map(|row| row.strip_prefix("| `")?.split(" |").next());
    first
        .flat_map(|cell| cell.split(", "))
        .map(|key| key.trim_matches('`').to_owned())
        .collect()
}

/// The keys of a line, in order: every value of these lines is null, a text, a number or a list.
fn keys(line: &str) -> Vec<String> {
    let parts = line.split('"').collect::<Vec<_>>();
    let pairs = parts.windows(2).enumerate();
    pairs
        .filter(|(at, pair)| at % 2 == 1 && pair[1].starts_with(':'))
        .map(|(_, pair)| pair[0].to_owned())
        .collect()
}

#[test]
fn every_key_of_a_connection_is_listed_in_its_order() {
    let client = ClientAddr("192.0.2.1:4".parse().unwrap());
    let destination = "192.0.2.2:5".parse().unwrap();
    let record = Record::new(Method::Tun, client, &destination, &Identity::default());
    let line = serde_json::to_string(&record).unwrap();
    assert_eq!(keys(&line), listed("### Connections"));
}

#[test]
fn every_key_of_a_request_is_listed_in_its_order() {
    let record = RequestRecord::new(ConnectionId(1), "GET", None, None);
    let line = serde_json::to_string(&record).unwrap();
    assert_eq!(keys(&line), listed("### Requests"));
}
