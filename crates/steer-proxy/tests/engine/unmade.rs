//! Connections that are not there before the answer, and those that pass the engine by.
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use steer_core::address::ClientAddr;
use steer_core::method::Method;
use steer_core::policy::{Action, Condition, Policy, UpstreamKind};
use steer_core::steered::{Answer, Flow, Identity, Refusal, Steered, reset_on_close};
use steer_proxy::engine::Engine;
use steer_proxy::record::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::bench::{Bench, Target, broken, closed_port, rule, server, socks5_proxy, soon, through};

/// What the program was told.
#[derive(Debug)]
enum Word {
    /// It is connected to the engine by this.
    Joined(TcpStream),
    /// It has to connect there by itself.
    Own(Vec<SocketAddr>),
    Refused(Refusal),
}

/// Makes the program's connection when it is answered.
#[derive(Debug)]
struct Joins {
    word_tx: mpsc::UnboundedSender<Word>,
    /// What the program's own connect would say; none where it has to pass the engine.
    own: Option<Result<(), ErrorKind>>,
    /// Told when the program is gone.
    gone: Arc<Notify>,
}

#[async_trait]
impl Answer for Joins {
    fn gone(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let gone = Arc::clone(&self.gone);
        Some(Box::pin(async move { gone.notified().await }))
    }

    fn can_hand_over(&self) -> bool {
        self.own.is_some()
    }

    async fn connected(&mut self, flow: &mut Flow) -> io::Result<()> {
        let (listener, address) = server().await;
        let (program, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _) = accepted?;
        reset_on_close(&stream)?;
        *flow = Flow::Tcp(stream);
        self.word_tx.send(Word::Joined(program?)).unwrap();
        Ok(())
    }

    async fn hand_over(self: Box<Self>, to: &[SocketAddr]) -> io::Result<()> {
        self.word_tx.send(Word::Own(to.to_vec())).unwrap();
        Ok(self.own.expect("it was offered")?)
    }

    async fn failed(self: Box<Self>, flow: Flow, why: Refusal) {
        assert!(matches!(flow, Flow::Unmade), "nothing was made");
        self.word_tx.send(Word::Refused(why)).unwrap();
    }
}

/// A connect that the engine is asked for.
fn ask(
    bench: &Bench,
    to: impl Into<Target>,
    own: Option<Result<(), ErrorKind>>,
) -> mpsc::UnboundedReceiver<Word> {
    ask_as(bench, "127.0.0.1:0".parse().unwrap(), to, own).0
}

fn ask_as(
    bench: &Bench,
    client: SocketAddr,
    to: impl Into<Target>,
    own: Option<Result<(), ErrorKind>>,
) -> (mpsc::UnboundedReceiver<Word>, Arc<Notify>) {
    let (word_tx, words) = mpsc::unbounded_channel();
    let gone = Arc::new(Notify::new());
    let answer = Joins {
        word_tx,
        own,
        gone: Arc::clone(&gone),
    };
    let steered = Steered {
        flow: Flow::Unmade,
        client: ClientAddr(client),
        destination: to.into().destination(),
        identity: Identity::default(),
        via: Method::Seccomp,
        upstream: None,
        app: None,
        inside: None,
        answer: Box::new(answer),
    };
    bench.steered_tx.send(steered).unwrap();
    (words, gone)
}

async fn joined(mut words: mpsc::UnboundedReceiver<Word>) -> TcpStream {
    match soon(words.recv()).await {
        Some(Word::Joined(stream)) => stream,
        other => panic!("not joined: {other:?}"),
    }
}

#[tokio::test]
async fn a_connection_is_made_when_its_upstream_is_there() {
    let mut bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    let words = ask(&bench, address, None);
    let (mut upstream, _) = soon(listener.accept()).await.unwrap();
    let mut program = joined(words).await;
    program.write_all(b"ping").await.unwrap();
    let mut said = [0; 4];
    soon(upstream.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"ping");
    upstream.write_all(b"pong!").await.unwrap();
    drop(upstream);
    let mut answer = String::new();
    soon(program.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "pong!");
    drop(program);
    let record = bench.record().await;
    assert_eq!((record.sent, record.received), (Some(4), Some(5)));
}

#[tokio::test]
async fn a_connection_without_an_upstream_is_never_made() {
    let mut bench = Bench::new(Policy::default());
    let (_kept, closed) = closed_port();
    let mut words = ask(&bench, closed, None);
    let word = soon(words.recv()).await;
    assert!(
        matches!(word, Some(Word::Refused(Refusal::Refused))),
        "{word:?}"
    );
    assert_eq!(bench.record().await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_connection_is_made_before_its_first_bytes_are_asked_for() {
    let condition = Condition {
        host: vec!["*.blocked.example".parse().unwrap()],
        ..Condition::default()
    };
    let policy = through_rules(rule("blocked", condition, Action::Reject));
    let mut bench = Bench::new(policy);
    let words = ask(&bench, "192.0.2.1:80", Some(Ok(())));
    let mut program = joined(words).await;
    let request = b"GET / HTTP/1.1\r\nHost: a.blocked.example\r\n\r\n";
    program.write_all(request).await.unwrap();
    assert_eq!(broken(&mut program).await, ErrorKind::ConnectionReset);
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Denied);
    assert_eq!(record.rule.as_deref(), Some("blocked"));
}

fn through_rules(first: steer_core::policy::Rule) -> Policy {
    Policy {
        rules: vec![first],
        ..Policy::default()
    }
}

#[tokio::test]
async fn a_program_gets_a_connection_of_its_own_where_nothing_has_to_be_seen() {
    let mut bench = Bench::new(Policy::default());
    let (_listener, address) = server().await;
    let mut words = ask(&bench, address, Some(Ok(())));
    let word = soon(words.recv()).await;
    assert!(
        matches!(&word, Some(Word::Own(to)) if *to == [address]),
        "{word:?}"
    );
    let record = bench.record().await;
    assert_eq!((record.sent, record.received), (None, None));
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Ok, "direct")
    );
    assert_eq!(record.destination, address.to_string());
}

#[tokio::test]
async fn a_name_is_looked_up_before_it_is_handed_over() {
    let bench = Bench::new(Policy::default());
    let mut words = ask(&bench, "localhost:9", Some(Ok(())));
    let word = soon(words.recv()).await;
    let all_loopback = |to: &[SocketAddr]| to.iter().all(|to| to.ip().is_loopback());
    assert!(
        matches!(&word, Some(Word::Own(to)) if !to.is_empty() && all_loopback(to)),
        "{word:?}"
    );
}

#[tokio::test]
async fn a_connection_of_the_program_s_own_that_fails_is_recorded_as_that() {
    let mut bench = Bench::new(Policy::default());
    let refused = ErrorKind::ConnectionRefused;
    let mut words = ask(&bench, "192.0.2.1:80", Some(Err(refused)));
    assert!(matches!(soon(words.recv()).await, Some(Word::Own(_))));
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Refused);
    assert_eq!((record.sent, record.received), (None, None));
}

#[tokio::test]
async fn what_takes_another_way_or_is_rejected_is_not_handed_over() {
    let (address, asked) = socks5_proxy().await;
    let bench = Bench::new(through("corp", UpstreamKind::Socks5, address, None));
    let words = ask(&bench, "192.0.2.1:80", Some(Ok(())));
    let _program = joined(words).await;
    assert_eq!(soon(asked).await.unwrap().0, "192.0.2.1:80");

    let policy = through_rules(rule("none", Condition::default(), Action::Reject));
    let bench = Bench::new(policy);
    let mut words = ask(&bench, "192.0.2.1:80", Some(Ok(())));
    let word = soon(words.recv()).await;
    assert!(
        matches!(word, Some(Word::Refused(Refusal::Denied))),
        "{word:?}"
    );
}

#[tokio::test]
async fn a_client_with_the_address_of_a_dial_is_no_dial_that_came_back() {
    let bench = Bench::new(Policy::default());
    let (listener, address) = server().await;
    let first = ask(&bench, address, None);
    let (_dialled, from) = soon(listener.accept()).await.unwrap();
    let _first = joined(first).await;

    let (second, _) = ask_as(&bench, from, address, None);
    let accepted = soon(listener.accept());
    let (_second, accepted) = tokio::join!(joined(second), accepted);
    accepted.unwrap();
}

#[tokio::test]
async fn nobody_is_dialled_for_a_program_that_is_gone() {
    let (proxy, address) = server().await;
    let mut bench = Bench::new(through("proxy", UpstreamKind::Socks5, address, None));
    let client = "127.0.0.1:0".parse().unwrap();
    let to: SocketAddr = "203.0.113.7:443".parse().unwrap();
    let (mut words, gone) = ask_as(&bench, client, to, None);
    // It says nothing, ever.
    let (_silent, _) = soon(proxy.accept()).await.unwrap();
    gone.notify_one();
    assert!(matches!(soon(words.recv()).await, Some(Word::Refused(_))));
    assert_eq!(bench.record().await.outcome, Outcome::Reset);
}

#[tokio::test]
async fn a_way_back_to_the_engine_is_not_handed_over() {
    let ours: SocketAddr = "127.0.0.1:15001".parse().unwrap();
    let mut bench = Bench::with(Engine::builder(Policy::default()).listener(ours));
    let mut words = ask(&bench, ours, Some(Ok(())));
    let word = soon(words.recv()).await;
    assert!(
        matches!(word, Some(Word::Refused(Refusal::Loop))),
        "{word:?}"
    );
    assert_eq!(bench.record().await.outcome, Outcome::Loop);
}
