//! Sending with an address, in every shape that the kernel takes one.

use std::net::UdpSocket;
use std::time::Duration;

use lab::require;
use steer_core::intent::Loopback;

use crate::c;
use crate::engine::{Engine, said};

#[tokio::test]
async fn what_is_sent_with_an_address_goes_nowhere_past_the_engine() {
    require!(Program("gcc"));
    let program = c::built("send", include_str!("send.c"));
    let engine = Engine::start(|intent| {
        intent.traffic.loopback = Some(Loopback::Steer);
    })
    .await;
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let mut command = engine.command(program.path());
    let out = said(command.arg(&port)).await;
    let expected = [
        "sendto -1 ECONNREFUSED",
        "sendto an address without a family -1 ECONNREFUSED",
        "sendmsg -1 ECONNREFUSED",
        "sendmsg with a long address -1 ECONNREFUSED",
        "sendmmsg -1 ECONNREFUSED",
        "sendmmsg with a long address -1 ECONNREFUSED",
        "sendmmsg half of which is there -1 ECONNREFUSED",
        "sendmmsg whose first goes to the resolver 1",
        "sendmmsg whose second address is not there -1 ECONNREFUSED",
        "sendmsg that is not there -1 EFAULT",
        "sendto an address that is not there -1 EFAULT",
        "connect to an address that is not there -1 EFAULT",
        "fast sendto 5 hello",
        "fast sendmsg 5 hello",
        "fast sendmmsg 1 hello, 5 of 5",
        "fast sendmmsg of two 1 hello, 5 of 5",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    assert_eq!(engine.asked(), vec![format!("127.0.0.1:{port}"); 4]);
    // What had been sent would be there before this.
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.send_to(b"ours", server.local_addr().unwrap()).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut bytes = [0; 16];
    let (length, _) = server.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"ours");
}
