//! A client, a session and its servers, joined by streams in memory.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, client, server};
use http::{HeaderMap, Request, Response};
use steer_http::{
    Connected, End, Gateway, Limits, Refused, SessionError, Verdict, gateway::Stream, http2,
};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

type Served = Pin<Box<dyn Future<Output = ()> + Send>>;
type Serve = Arc<dyn Fn(Request<RecvStream>, SendResponse<Bytes>) -> Served + Send + Sync>;
type Decide = Box<dyn Fn(&mut steer_http::Request) -> Verdict<u8> + Send + Sync>;
type Edit = Box<dyn Fn(&mut steer_http::Response) + Send + Sync>;
pub(crate) type Dial = Box<dyn Fn(u8) -> Result<Box<dyn Stream>, Refused> + Send + Sync>;

/// The gateway of a session, and what it saw.
pub(crate) struct Desk {
    pub(crate) decide: Decide,
    pub(crate) edit: Edit,
    pub(crate) dial: Dial,
    pub(crate) dialled: AtomicUsize,
    ended: UnboundedSender<(String, End)>,
}

impl Gateway for Desk {
    type Way = u8;
    type Exchange = String;

    async fn request(&self, request: &mut steer_http::Request) -> (String, Verdict<u8>) {
        let path = request.target.clone();
        (path, (self.decide)(request))
    }

    async fn connect(&self, way: &u8) -> Result<Connected, Refused> {
        self.dialled.fetch_add(1, Ordering::SeqCst);
        (self.dial)(*way).map(|stream| Connected {
            stream,
            absolute: false,
        })
    }

    async fn response(&self, _: &mut String, response: &mut steer_http::Response) {
        (self.edit)(response);
    }

    fn ended(&self, exchange: String, end: &End) {
        let _ = self.ended.send((exchange, end.clone()));
    }
}

/// What a session is made of.
pub(crate) struct Plan {
    pub(crate) decide: Decide,
    pub(crate) edit: Edit,
    pub(crate) dial: Dial,
    pub(crate) limits: Limits,
    pub(crate) prefix: Vec<u8>,
    pub(crate) client: client::Builder,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            decide: Box::new(|_| Verdict::Forward(0)),
            edit: Box::new(|_| {}),
            dial: Box::new(|_| Err(Refused::plain(502, "there is no server"))),
            limits: Limits::default(),
            prefix: Vec::new(),
            client: client::Builder::new(),
        }
    }
}

impl Plan {
    /// A session whose connections to servers are made by a function.
    pub(crate) fn dialled(dial: Dial) -> Self {
        Self {
            dial,
            ..Self::default()
        }
    }

    /// A session whose server handles each stream by a function.
    pub(crate) fn served<F>(
        serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::served_by(server::Builder::new(), serve)
    }

    /// The same, with a server that was set up.
    pub(crate) fn served_by<F>(
        builder: server::Builder,
        serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let serve: Serve = Arc::new(move |request, respond| Box::pin(serve(request, respond)));
        Self {
            dial: Box::new(move |_| {
                let (ours, theirs) = duplex(64 * 1024);
                tokio::spawn(serve_all(builder.clone(), theirs, serve.clone()));
                Ok(Box::new(ours))
            }),
            ..Self::default()
        }
    }

    /// Begins the session.
    pub(crate) async fn begin(self) -> Rig {
        let builder = self.client.clone();
        let (ours, running) = self.begin_raw();
        let (requests, connection) = builder.handshake(ours).await.expect("a handshake");
        let connection = tokio::spawn(connection);
        Rig {
            requests,
            connection,
            running,
        }
    }

    /// Begins the session, whose client's bytes are the test's.
    pub(crate) fn begin_raw(self) -> (DuplexStream, Running) {
        let (ours, theirs) = duplex(64 * 1024);
        let (ended, ends) = unbounded_channel();
        let desk = Arc::new(Desk {
            decide: self.decide,
            edit: self.edit,
            dial: self.dial,
            dialled: AtomicUsize::new(0),
            ended,
        });
        let (drain, drained) = oneshot::channel();
        let drained = async move {
            if drained.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let prefix = self.prefix;
        let session = http2::serve_until(theirs, prefix, desk.clone(), self.limits, drained);
        let session = tokio::spawn(session);
        let running = Running {
            desk,
            ends,
            session,
            drain: Some(drain),
        };
        (ours, running)
    }
}

/// Serves a connection's streams, each in a task.
pub(crate) async fn serve_all(builder: server::Builder, stream: impl Stream, serve: Serve) {
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(serve(request, respond));
    }
}

/// A session that runs.
pub(crate) struct Running {
    pub(crate) desk: Arc<Desk>,
    ends: UnboundedReceiver<(String, End)>,
    session: JoinHandle<Result<(), SessionError>>,
    drain: Option<oneshot::Sender<()>>,
}

impl Running {
    /// The next exchange that ends.
    pub(crate) async fn ended(&mut self) -> (String, End) {
        let next = timeout(DEADLINE, self.ends.recv());
        next.await.expect("in time").expect("an end")
    }

    /// Has the session take no more streams.
    pub(crate) fn drain(&mut self) {
        let drain = self.drain.take().expect("it is drained once");
        drain.send(()).expect("a session");
    }

    /// How the session ends.
    pub(crate) async fn over(self) -> Result<(), SessionError> {
        let over = timeout(DEADLINE, self.session);
        over.await.expect("in time").expect("no panic")
    }
}

/// A client with a session before it.
pub(crate) struct Rig {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
    pub(crate) running: Running,
}

impl Rig {
    /// A client's stream, with its request's head sent.
    pub(crate) async fn open(
        &self,
        request: Request<()>,
        end: bool,
    ) -> (client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut ready = self.requests.clone().ready().await.expect("ready");
        ready.send_request(request, end).expect("sent")
    }

    /// A whole exchange without a request body.
    pub(crate) async fn get(&self, path: &str) -> Result<Whole, h2::Error> {
        let (response, _) = self.open(get(path), true).await;
        within(whole(response)).await
    }
}

/// A response with all that belongs to it.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Reads a response to its end.
pub(crate) async fn whole(response: client::ResponseFuture) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = response.await?.into_parts();
    let (body, trailers) = drain(&mut stream).await?;
    Ok(Whole {
        head: Response::from_parts(parts, ()),
        body,
        trailers,
    })
}

/// Reads a body to its end.
pub(crate) async fn drain(
    stream: &mut RecvStream,
) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        body.extend_from_slice(&chunk);
        stream.flow_control().release_capacity(chunk.len())?;
    }
    Ok((body, stream.trailers().await?))
}

/// A request's head.
pub(crate) fn get(path: &str) -> Request<()> {
    let uri = format!("http://example.com{path}");
    Request::get(uri).body(()).expect("a request")
}

/// A request's head with a method.
pub(crate) fn with(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://example.com{path}");
    let builder = Request::builder().method(method).uri(uri);
    builder.body(()).expect("a request")
}

/// An answer with a status and no body.
pub(crate) fn status(code: u16) -> Response<()> {
    Response::builder().status(code).body(()).expect("a head")
}

/// Waits for something that is to happen.
pub(crate) async fn within<T>(something: impl Future<Output = T>) -> T {
    timeout(DEADLINE, something).await.expect("in time")
}

/// The fields of a map, each name with its values in order.
pub(crate) fn per_name(map: &HeaderMap) -> HashMap<String, Vec<Vec<u8>>> {
    let mut fields: HashMap<_, Vec<_>> = HashMap::new();
    for (name, value) in map {
        let values = fields.entry(name.as_str().to_owned()).or_default();
        values.push(value.as_bytes().to_vec());
    }
    fields
}

/// The reason of an error.
pub(crate) fn reason(error: &h2::Error) -> Option<Reason> {
    error.reason()
}

const DEADLINE: Duration = Duration::from_secs(20);
