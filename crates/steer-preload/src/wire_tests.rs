use proptest::prelude::*;

use crate::wire::{Address, Ask, REPLY, REQUEST, Reply, Request};

fn address() -> impl Strategy<Value = Address> {
    let version = prop::sample::select(vec![0_u8, 4, 6]);
    (version, any::<u16>(), any::<u32>(), any::<[u8; 16]>()).prop_map(
        |(version, port, scope, ip)| Address {
            version,
            port,
            scope,
            ip,
        },
    )
}

fn ask() -> impl Strategy<Value = Ask> {
    prop::sample::select(vec![
        Ask::Connect,
        Ask::Outcome,
        Ask::Pend,
        Ask::Peer,
        Ask::Failure,
        Ask::Resolve,
        Ask::Forget,
    ])
}

proptest! {
    #[test]
    fn a_question_comes_back_as_it_was(
        ask in ask(),
        nonblocking: bool,
        address in address(),
        errno: i32,
        name in 0..=255_u16,
    ) {
        let request = Request { ask, nonblocking, address, errno, name };
        prop_assert_eq!(Request::decode(&request.encode()), Some(request));
    }

    #[test]
    fn an_answer_comes_back_as_it_was(address in address(), errno: i32) {
        for reply in [Reply::Errno(errno), Reply::Own(address), Reply::Address(address)] {
            prop_assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }
    }

    #[test]
    fn no_bytes_are_mistaken_for_a_longer_name(bytes in any::<[u8; REQUEST]>()) {
        if let Some(request) = Request::decode(&bytes) {
            prop_assert!(request.name <= 255);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in any::<[u8; REPLY]>()) {
        let _ = Reply::decode(&bytes);
    }
}
