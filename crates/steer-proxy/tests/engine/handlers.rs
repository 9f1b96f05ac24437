//! Code of an embedder between programs and rules.
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use steer_core::policy::{Policy, ValueSource};
use steer_proxy::engine::Engine;
use steer_proxy::handler::{
    About, Act, BoxStream, Handler, Interest, Next, Refused, Request, Response,
};
use steer_proxy::record::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Bench, broken, closed_port, server, soon};
use crate::web::{Web, World, Zone, about, ask, get, sets};

/// Writes its name into what passes, and remembers what it saw.
#[derive(Default)]
struct Scribe {
    name: &'static str,
    saw: Mutex<Vec<String>>,
}

impl Scribe {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            ..Self::default()
        })
    }

    fn saw(&self) -> Vec<String> {
        self.saw.lock().unwrap().clone()
    }
}

#[async_trait]
impl Handler for Scribe {
    async fn connection(&self, _about: &About) -> Interest {
        Interest::Requests
    }

    async fn request(&self, about: &About, request: &mut Request) -> Act {
        let fields = request.fields.iter();
        let fields: Vec<_> = fields
            .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        let seen = format!("{} {} {fields:?}", about.request, request.target);
        self.saw.lock().unwrap().push(seen);
        match request.path() {
            Some("/blocked") => Act::Reject,
            Some("/answered") => Act::Respond(Refused::plain(202, "from a handler")),
            Some("/broken") => panic!("a handler of a test that fails"),
            _ => {
                request.fields.add("x-by", self.name);
                Act::Continue
            }
        }
    }

    async fn response(&self, _about: &About, response: &mut Response) {
        response.fields.add("x-through", self.name);
    }
}

#[tokio::test]
async fn handlers_see_requests_in_order_and_responses_the_other_way_round() {
    let mut web = Web::plain().await;
    let (first, second) = (Scribe::new("first"), Scribe::new("second"));
    let builder = Engine::builder(Policy::default())
        .handler(first.clone())
        .handler(second.clone());
    let mut bench = Bench::with(builder);
    let mut program = bench.program(web.address).await;
    let (head, _) = ask(&mut program, &get("a.example", "/")).await;
    assert!(
        head.ends_with("x-through: second\r\nx-through: first\r\n\r\n"),
        "{head}"
    );
    let got = web.head().await;
    assert!(
        got.ends_with("x-by: first\r\nx-by: second\r\n\r\n"),
        "{got}"
    );
    assert_eq!(first.saw(), [r#"1 / ["Host=a.example"]"#]);
    assert_eq!(second.saw(), [r#"1 / ["Host=a.example", "x-by=first"]"#]);
    assert_eq!(bench.request().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_handler_answers_and_refuses_requests() {
    let mut web = Web::plain().await;
    let scribe = Scribe::new("one");
    let mut bench = Bench::with(Engine::builder(Policy::default()).handler(scribe));
    let mut program = bench.program(web.address).await;
    let (head, body) = ask(&mut program, &get("a.example", "/answered")).await;
    assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
    assert_eq!(body, "from a handler\n");
    let (head, _) = ask(&mut program, &get("a.example", "/blocked")).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(bench.request().await.status, Some(202));
    assert_eq!(bench.request().await.outcome, Outcome::Denied);
    ask(&mut program, &get("a.example", "/")).await;
    assert!(web.head().await.starts_with("GET / "));
}

#[tokio::test]
async fn a_handler_is_not_shown_what_rules_put_in() {
    let world = World::new();
    let mut api = Web::tls(world.server("api.example", &[])).await;
    let token = world.file("token", "hunter2-9d1f");
    let secret = sets("authorization", ValueSource::File(token));
    let scribe = Scribe::new("one");
    let builder = Engine::builder(world.policy(vec![about("api.example", secret)]))
        .resolver(Zone::of(&[("api.example", api.address)]))
        .handler(scribe.clone());
    let bench = Bench::with(builder);
    let mut program = bench.program("192.0.2.1:80").await;
    ask(&mut program, &get("api.example", "/")).await;
    let got = api.head().await;
    assert!(got.contains("authorization: hunter2-9d1f\r\n"), "{got}");
    assert_eq!(scribe.saw(), [r#"1 / ["Host=api.example"]"#]);
}

#[tokio::test]
async fn a_panic_of_a_handler_ends_its_connection_alone() {
    let mut web = Web::plain().await;
    let mut bench = Bench::with(Engine::builder(Policy::default()).handler(Scribe::new("one")));
    let mut other = bench.program(web.address).await;
    ask(&mut other, &get("a.example", "/")).await;
    web.head().await;
    let mut program = bench.program(web.address).await;
    let request = get("a.example", "/broken");
    program.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(broken(&mut program).await, io::ErrorKind::ConnectionReset);
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Error);
    ask(&mut other, &get("a.example", "/again")).await;
    assert!(web.head().await.starts_with("GET /again "));
    assert_eq!(bench.engine.live(), 1);
}

/// Turns what programs say into capital letters.
struct Loud;

#[async_trait]
impl Handler for Loud {
    async fn connection(&self, _about: &About) -> Interest {
        Interest::Bytes
    }

    async fn stream(&self, _about: &About, client: BoxStream, next: Next<'_>) -> io::Result<()> {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (mut from, mut to) = tokio::io::split(client);
        let (mut back, mut forth) = tokio::io::split(ours);
        let shout = async {
            let mut bytes = [0; 64];
            loop {
                match from.read(&mut bytes).await? {
                    0 => return forth.shutdown().await,
                    read => forth.write_all(&bytes[..read].to_ascii_uppercase()).await?,
                }
            }
        };
        let answer = async {
            tokio::io::copy(&mut back, &mut to).await?;
            to.shutdown().await
        };
        let (shouted, answered, ended) = tokio::join!(shout, answer, next.run(Box::new(theirs)));
        shouted.and(answered).and(ended)
    }
}

#[tokio::test]
async fn a_handler_of_bytes_changes_them_and_the_rest_goes_by_what_it_gives() {
    let (listener, address) = server().await;
    let mut bench = Bench::with(
        Engine::builder(Policy::default())
            .handler(Arc::new(Loud))
            .handler(Arc::new(Loud)),
    );
    let mut program = bench.program(address).await;
    program.write_all(b"quiet words").await.unwrap();
    program.shutdown().await.unwrap();
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut heard = String::new();
    soon(stream.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "QUIET WORDS");
    stream.write_all(b"answer").await.unwrap();
    drop(stream);
    let mut answer = String::new();
    soon(program.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "answer");
    let record = bench.record().await;
    assert_eq!((record.outcome, record.error), (Outcome::Ok, None));
    assert_eq!((record.sent, record.received), (Some(11), Some(6)));
    assert_eq!(record.upstream, "direct");
}

/// Is the server itself, or nobody.
struct Instead(bool);

#[async_trait]
impl Handler for Instead {
    async fn connection(&self, about: &About) -> Interest {
        match about.destination.port() {
            9 => Interest::Reject,
            _ => Interest::Bytes,
        }
    }

    async fn stream(&self, about: &About, client: BoxStream, _next: Next<'_>) -> io::Result<()> {
        let mut client = client;
        if !self.0 {
            return Err(io::Error::other("not today"));
        }
        let greeting = format!("instead of {}\n", about.destination);
        client.write_all(greeting.as_bytes()).await?;
        client.shutdown().await
    }
}

#[tokio::test]
async fn a_handler_of_bytes_can_be_the_server_or_refuse() {
    let mut bench =
        Bench::with(Engine::builder(Policy::default()).handler(Arc::new(Instead(true))));
    let (_held, closed) = closed_port();
    let mut program = bench.program(closed).await;
    let mut said = String::new();
    soon(program.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, format!("instead of {closed}\n"));
    let record = bench.record().await;
    assert_eq!(
        (record.outcome, record.upstream.as_str()),
        (Outcome::Ok, "none")
    );
    let mut program = bench.program("192.0.2.1:9").await;
    assert_eq!(broken(&mut program).await, io::ErrorKind::ConnectionReset);
    assert_eq!(bench.record().await.outcome, Outcome::Denied);

    let mut bench =
        Bench::with(Engine::builder(Policy::default()).handler(Arc::new(Instead(false))));
    let mut program = bench.program(closed).await;
    assert_eq!(broken(&mut program).await, io::ErrorKind::ConnectionReset);
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::Error);
    assert!(record.error.unwrap().contains("not today"));
}
