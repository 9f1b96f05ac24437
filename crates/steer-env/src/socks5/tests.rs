use proptest::prelude::*;
use steer_core::policy::{Credentials, Secret};

use super::*;

fn ann() -> Login {
    Login::read(&Credentials {
        username: "ann".to_owned(),
        password: Secret::Literal("pw".to_owned()),
    })
    .unwrap()
}

/// Runs the server over the client's bytes, cut at the given places, and gives its result, what
/// it said and what it left unread.
async fn run(
    bytes: &[u8],
    cuts: &[usize],
    login: Option<&Login>,
) -> (Result<Request, End>, Vec<u8>, Vec<u8>) {
    let (mut client, mut server) = tokio::io::duplex(1 << 16);
    let write = async {
        let mut start = 0;
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            let cut = cut.clamp(start, bytes.len());
            client.write_all(&bytes[start..cut]).await.unwrap();
            tokio::task::yield_now().await;
            start = cut;
        }
        client.shutdown().await.unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        said
    };
    let serve = async {
        let result = request(&mut server, login).await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        drop(server);
        (result, rest)
    };
    let (said, (result, rest)) = tokio::join!(write, serve);
    (result, said, rest)
}

fn connected(result: Result<Request, End>) -> String {
    match result {
        Ok(Request::Connect(to)) => to.to_string(),
        other => panic!("{other:?}"),
    }
}

fn words(result: Result<Request, End>) -> Vec<u8> {
    match result {
        Err(End::Words(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_kind_of_address_is_read_and_nothing_behind_it() {
    for (request, expected) in [
        (&b"\x01\xcb\x00\x71\x07\x01\xbb"[..], "203.0.113.7:443"),
        (b"\x03\x0bExample.com\x00\x50", "example.com:80"),
        (b"\x03\x09192.0.2.1\x00\x50", "192.0.2.1:80"),
        (
            b"\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
            "[2001:db8::1]:80",
        ),
        (
            b"\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\x00\x50",
            "127.0.0.1:80",
        ),
    ] {
        let bytes = [b"\x05\x01\x00\x05\x01\x00", request, b"early"].concat();
        let (result, said, rest) = run(&bytes, &[], None).await;
        assert_eq!(connected(result), expected);
        assert_eq!(said, b"\x05\x00");
        assert_eq!(rest, b"early");
    }
}

#[tokio::test]
async fn what_is_not_served_gets_its_reply_code() {
    let target = b"\x00\x01\x7f\0\0\x01\x00\x50";
    for (command, code) in [(2, 7), (4, 7), (0, 7), (0xf0, 7)] {
        let bytes = [&b"\x05\x01\x00\x05"[..], &[command], target].concat();
        let (result, _, _) = run(&bytes, &[], None).await;
        assert_eq!(words(result)[..2], [5, code]);
    }
    for (request, code) in [
        (&b"\x02\x7f\0\0\x01\x00\x50"[..], 8),
        (b"\x01\x7f\0\0\x01\x00\x00", 1),
        (b"\x03\x00\x00\x50", 1),
        (b"\x03\x04a b.\x00\x50", 1),
        (b"\x03\x02\xff\xfe\x00\x50", 1),
    ] {
        let bytes = [b"\x05\x01\x00\x05\x01\x00", request].concat();
        let (result, _, _) = run(&bytes, &[], None).await;
        assert_eq!(words(result)[..2], [5, code], "{request:02x?}");
    }
}

#[tokio::test]
async fn a_udp_port_is_asked_for_with_the_address_that_will_be_sent_from_or_none() {
    for (request, claim) in [
        (
            &b"\x01\xcb\x00\x71\x07\x01\xbb"[..],
            Some("203.0.113.7:443"),
        ),
        (b"\x01\0\0\0\0\x01\xbb", Some("0.0.0.0:443")),
        (b"\x01\xcb\x00\x71\x07\0\0", None),
        (b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", None),
        (b"\x03\x04here\x01\xbb", None),
        (b"\x03\x00\0\0", None),
    ] {
        let bytes = [b"\x05\x01\x00\x05\x03\x00", request, b"early"].concat();
        let (result, _, rest) = run(&bytes, &[], None).await;
        let claim = claim.map(|claim| claim.parse().unwrap());
        assert_eq!(result.unwrap(), Request::Associate(claim), "{request:02x?}");
        assert_eq!(rest, b"early");
    }
}

#[test]
fn a_udp_port_is_told_in_its_own_family() {
    let at = |text: &str| associated(text.parse().unwrap());
    assert_eq!(at("192.0.2.1:258"), b"\x05\0\0\x01\xc0\0\x02\x01\x01\x02");
    let v6 = b"\x05\0\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x02";
    assert_eq!(at("[2001:db8::1]:258"), v6);
}

#[tokio::test]
async fn a_login_is_asked_for_checked_and_needed() {
    let target = b"\x05\x01\x00\x01\x7f\0\0\x01\x00\x50";
    let good = [&b"\x05\x02\x00\x02\x01\x03ann\x02pw"[..], target].concat();
    let (result, said, _) = run(&good, &[], Some(&ann())).await;
    assert_eq!(connected(result), "127.0.0.1:80");
    assert_eq!(said, b"\x05\x02\x01\x00");

    let wrong = [&b"\x05\x01\x02\x01\x03ann\x02no"[..], target].concat();
    let (result, said, _) = run(&wrong, &[], Some(&ann())).await;
    assert_eq!(words(result), b"\x01\x01");
    assert_eq!(said, b"\x05\x02");

    let none = [&b"\x05\x01\x00"[..], target].concat();
    let (result, said, _) = run(&none, &[], Some(&ann())).await;
    assert_eq!(words(result), b"\x05\xff");
    assert_eq!(said, b"");
}

#[tokio::test]
async fn a_client_that_insists_on_a_login_may_give_any_where_none_is_wanted() {
    let bytes = b"\x05\x01\x02\x01\x01a\x01b\x05\x01\x00\x01\x7f\0\0\x01\x00\x50";
    let (result, said, _) = run(bytes, &[], None).await;
    assert!(result.is_ok());
    assert_eq!(said, b"\x05\x02\x01\x00");
}

#[test]
fn every_refusal_has_the_reply_code_that_comes_nearest() {
    for (why, code) in [
        (Refusal::Refused, 5),
        (Refusal::Reset, 1),
        (Refusal::TimedOut, 4),
        (Refusal::HostUnreachable, 4),
        (Refusal::NetworkUnreachable, 3),
        (Refusal::NoSuchHost, 4),
        (Refusal::Denied, 2),
        (Refusal::Loop, 2),
        (Refusal::Upstream, 1),
        (Refusal::Busy, 1),
        (Refusal::Other, 1),
    ] {
        assert_eq!(reply(Code::of(why))[1], code, "{why:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        name in "[a-z]{1,40}",
        port in 1..=u16::MAX,
        cuts in proptest::collection::btree_set(0_usize..80, 0..20),
    ) {
        let mut bytes = b"\x05\x03\x00\x01\x02\x01\x03ann\x02pw\x05\x01\x00\x03".to_vec();
        bytes.push(u8::try_from(name.len()).unwrap());
        bytes.extend(name.as_bytes());
        bytes.extend(port.to_be_bytes());
        bytes.extend(b"\x05tail");
        let cuts: Vec<_> = cuts.into_iter().collect();
        let (result, said, rest) = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(run(&bytes, &cuts, Some(&ann())));
        prop_assert_eq!(connected(result), format!("{name}:{port}"));
        prop_assert_eq!(said, b"\x05\x02\x01\x00");
        prop_assert_eq!(rest, b"\x05tail");
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [&[5], &bytes[..]].concat();
        let (result, _, _) = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(run(&bytes, &[], None));
        if let Ok(Request::Connect(to)) = result {
            prop_assert!(to.port() > 0);
        }
    }
}
