use proptest::prelude::*;
use steer_core::policy::{Credentials, Secret};

use super::*;
use crate::pieces::{Pieces, now};

/// What the server makes of a client's bytes, and what it leaves unread.
fn run(bytes: &[u8], cuts: &[usize], login: Option<&Login>) -> (Result<String, Vec<u8>>, Vec<u8>) {
    let mut client = Pieces::new(bytes, cuts);
    let result = match now(request(&mut client, login)) {
        Ok(destination) => Ok(destination.to_string()),
        Err(End::Words(words)) => Err(words),
        // What the client would not understand, or does not wait for.
        Err(End::Gone(_) | End::Silent(_)) => Err(Vec::new()),
    };
    (result, client.rest())
}

#[test]
fn an_address_and_a_name_are_read_and_nothing_behind_them() {
    for (request, expected) in [
        (
            &b"\x04\x01\x01\xbb\xcb\x00\x71\x07\0"[..],
            "203.0.113.7:443",
        ),
        (b"\x04\x01\x01\xbb\xcb\x00\x71\x07root\0", "203.0.113.7:443"),
        (
            b"\x04\x01\x00\x50\0\0\0\x01\0Example.com\0",
            "example.com:80",
        ),
        (
            b"\x04\x01\x00\x50\0\0\0\xffann\x00192.0.2.1\0",
            "192.0.2.1:80",
        ),
        (
            b"\x04\x01\x00\x50\0\0\0\x01\x002001:db8::1\0",
            "[2001:db8::1]:80",
        ),
        // Not the name's: that has a last byte.
        (b"\x04\x01\x00\x50\0\0\0\0\0", "0.0.0.0:80"),
        (b"\x04\x01\x00\x50\0\0\x01\x01\0", "0.0.1.1:80"),
    ] {
        let bytes = [request, b"early"].concat();
        let (result, rest) = run(&bytes, &[], None);
        assert_eq!(result.as_deref(), Ok(expected), "{request:02x?}");
        assert_eq!(rest, b"early");
    }
}

#[test]
fn what_is_not_served_is_rejected() {
    let long = [&b"\x04\x01\0\x50\x7f\0\0\x01"[..], &[b'a'; 256], b"\0"].concat();
    let long_name = [&b"\x04\x01\0\x50\0\0\0\x01\0"[..], &[b'a'; 256], b"\0"].concat();
    for request in [
        &b"\x04\x02\0\x50\x7f\0\0\x01\0"[..],
        b"\x04\x00\0\x50\x7f\0\0\x01\0",
        b"\x04\x03\0\x50\x7f\0\0\x01\0",
        b"\x04\x01\0\0\x7f\0\0\x01\0",
        b"\x04\x01\0\x50\0\0\0\x01\0\0",
        b"\x04\x01\0\x50\0\0\0\x01\0a b.\0",
        b"\x04\x01\0\x50\0\0\0\x01\0\xff\xfe\0",
        &long,
        &long_name,
    ] {
        let (result, _) = run(request, &[], None);
        assert_eq!(
            result,
            Err(b"\0\x5b\0\0\0\0\0\0".to_vec()),
            "{request:02x?}"
        );
    }
}

#[test]
fn where_a_login_is_wanted_no_user_id_is_one() {
    let ann = Login::read(&Credentials {
        username: "ann".to_owned(),
        password: Secret::Literal("pw".to_owned()),
    })
    .unwrap();
    for request in [
        &b"\x04\x01\0\x50\x7f\0\0\x01ann\0"[..],
        b"\x04\x01\0\x50\0\0\0\x01ann\0example.com\0",
        b"\x04\x02\0\x50\x7f\0\0\x01ann\0",
    ] {
        let (result, rest) = run(request, &[], Some(&ann));
        assert_eq!(result, Err(b"\0\x5d\0\0\0\0\0\0".to_vec()));
        assert_eq!(rest, b"");
    }
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        head in proptest::collection::vec(any::<u8>(), 0..7),
        name in "[a-z\0]{0,300}",
        cuts in proptest::collection::btree_set(0_usize..80, 0..20),
    ) {
        let bytes = [&[4, 1][..], &head, name.as_bytes(), b"\0tail"].concat();
        let cuts: Vec<_> = cuts.into_iter().collect();
        prop_assert_eq!(run(&bytes, &cuts, None), run(&bytes, &[], None));
    }
}
