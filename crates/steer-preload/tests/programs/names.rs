//! Names that programs look up.

use lab::require;
use steer_core::intent::FakeIp;

use crate::engine::{Engine, said};

#[tokio::test]
async fn an_upstream_gets_the_name_that_a_program_looked_up() {
    require!(Program("python3"));
    let engine = Engine::start(|intent| intent.proxied = true).await;
    let text = "
import socket
s = socket.create_connection(('www.nowhere.example', 80)); s.sendall(b'hi'); print(s.recv(9))
print(socket.gethostbyname('other.example'), socket.gethostbyname('other.example'))
print(socket.getaddrinfo('other.example', 443, socket.AF_INET6)[0][4][0])
print(socket.getaddrinfo('other.example', 'https', 0, 0, 0, socket.AI_CANONNAME)[0][3:])
print(socket.gethostbyname('127.0.0.1'), socket.gethostbyname('localhost'))
s = socket.socket(); print(s.connect_ex(('198.18.9.9', 80)))
";
    let said = engine.python(text).await;
    let expected = [
        "b'hi'",
        "198.18.0.3 198.18.0.3",
        "fd5e:7ee2:0:f8e1::3",
        "('other.example', ('198.18.0.3', 443))",
        "127.0.0.1 127.0.0.1",
        "113",
    ];
    assert_eq!(said, expected.join("\n"));
    assert_eq!(engine.asked(), ["www.nowhere.example:80"]);
}

#[tokio::test]
async fn chosen_names_are_made_up_and_numbers_are_not() {
    require!(Program("curl"));
    let engine = Engine::start(|intent| {
        intent.resolve.fake = Some(FakeIp {
            pools: FakeIp::default_pools(),
            names: vec!["*.corp".parse().unwrap()],
            except: Vec::new(),
            file: None,
        });
    })
    .await;
    let mut curl = engine.command("curl");
    let hello = said(curl.args(["-sS", "http://db.corp/", "http://203.0.113.7/"])).await;
    assert_eq!(hello, "hello\nhello");
    assert_eq!(engine.asked(), ["db.corp:80", "203.0.113.7:80"]);
}

#[tokio::test]
async fn a_name_for_which_there_is_no_address_left_is_not_found_for_now() {
    require!(Program("python3"));
    let engine = Engine::start(|intent| {
        intent.resolve.fake = Some(FakeIp {
            pools: vec!["198.18.0.0/29".parse().unwrap()],
            names: Vec::new(),
            except: Vec::new(),
            file: None,
        });
    })
    .await;
    let text = "
import socket
for n in list(range(6)) + [0]:
    try: print(socket.getaddrinfo('n%d.example' % n, 80)[0][4][0])
    except socket.gaierror as e: print(e.errno == socket.EAI_AGAIN)
";
    let expected = "198.18.0.2\n198.18.0.3\n198.18.0.4\n198.18.0.5\n198.18.0.6\nTrue\n198.18.0.2";
    assert_eq!(engine.python(text).await, expected);
}
