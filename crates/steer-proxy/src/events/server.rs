//! Tells events at a unix socket, to its user and root alone.
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as Bound;
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Counters, Event, Events, line};
use crate::upstream::UpstreamState;

/// What a subscriber is told beside the events.
pub trait Watched: fmt::Debug + Send + Sync + 'static {
    /// What is counted.
    fn counters(&self) -> Counters;

    /// How the upstreams stand.
    fn upstreams(&self) -> Vec<UpstreamState>;
}

/// A socket that events cannot be told at.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody serves it.
    #[error("events cannot be told at {path}: somebody else does", path = .0.display())]
    Taken(PathBuf),
    /// Something else than a socket is there.
    #[error("events cannot be told at {path}: it is no socket", path = .0.display())]
    NoSocket(PathBuf),
    /// It could not be made.
    #[error("events cannot be told at {path}", path = path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ServerError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Taken(_) => {
                "write another path in events.listen: each steering has a socket of its own"
                    .to_owned()
            }
            Self::NoSocket(path) => format!(
                "write another path in events.listen, or remove {}",
                path.display()
            ),
            Self::Bind { path, .. } => {
                let folder = path.parent().unwrap_or(path);
                format!(
                    "make the folder and see that you can write to it: mkdir -p {}",
                    folder.display()
                )
            }
        }
    }
}

/// A socket that is bound, and not yet served. Dropping it, or what serves it, removes it.
#[derive(Debug)]
pub struct Server {
    listener: Bound,
    socket: Socket,
}

/// The file of a socket, while it is ours.
#[derive(Debug)]
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Whoever has removed it already has done what is wanted.
        let _ = fs::remove_file(&self.0);
    }
}

impl Server {
    /// Makes the socket, in the place of one that nobody serves any more.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Bind {
            path: path.to_owned(),
            source,
        };
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(ServerError::NoSocket(path.to_owned()));
            }
            Ok(_) if Probe::connect(path).is_ok() => {
                return Err(ServerError::Taken(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = Bound::bind(path).map_err(failed)?;
        let socket = Socket(path.to_owned());
        // Who connects before that is asked who it is, like everybody.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener, socket })
    }

    /// Serves subscribers until it is dropped.
    ///
    /// # Errors
    /// It is called outside of a runtime that does IO.
    pub async fn serve(self, events: Events, watched: Arc<dyn Watched>) -> io::Result<()> {
        let Self {
            listener,
            socket: _socket,
        } = self;
        let listener = UnixListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
        let mut subscribers = tokio::task::JoinSet::new();
        loop {
            let accepted = listener.accept().await;
            while subscribers.try_join_next().is_some() {}
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "no subscriber was accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            if !is_ours(&stream) {
                tracing::warn!("somebody else's program asked for events, and was refused");
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let (events, watched) = (events.clone(), Arc::clone(&watched));
            subscribers.spawn(async move {
                if let Err(error) = tell_all(stream, &events, watched.as_ref()).await {
                    tracing::debug!(%error, "a subscriber of events has gone");
                }
                drop(place);
            });
        }
    }
}

/// Whether it is a program of our own user's, or of root.
fn is_ours(stream: &UnixStream) -> bool {
    let ours = nix::unistd::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == ours || peer.uid() == 0)
}

/// Tells one subscriber everything, until it goes or is too slow.
async fn tell_all(stream: UnixStream, events: &Events, watched: &dyn Watched) -> io::Result<()> {
    let (mut from, mut to) = stream.into_split();
    let mut told = events.subscribe();
    write(&mut to, &line(&Event::hello())).await?;
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Known::default();
    let mut said = [0; 64];
    let mut silent = false;
    loop {
        tokio::select! {
            event = told.recv() => match event {
                Ok(event) => write(&mut to, &event).await?,
                Err(RecvError::Lagged(missed)) => {
                    return write(&mut to, &line(&Event::lost(missed))).await;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = beat.tick() => {
                if silent && has_gone(&to).await? {
                    return Ok(());
                }
                for line in known.changes(watched) {
                    write(&mut to, &line).await?;
                }
            }
            // It has nothing to say; what matters is that it goes.
            read = from.read(&mut said), if !silent => silent = read? == 0,
        }
    }
}

/// Whether a subscriber that says no more does not listen either.
async fn has_gone(to: &OwnedWriteHalf) -> io::Result<bool> {
    match timeout(PATIENCE, to.ready(Interest::WRITABLE)).await {
        Ok(ready) => Ok(ready?.is_write_closed()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn write(to: &mut OwnedWriteHalf, line: &str) -> io::Result<()> {
    match timeout(PATIENCE, to.write_all(line.as_bytes())).await {
        Ok(written) => written,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// What a subscriber knows of what is asked for and not told.
#[derive(Debug, Default)]
struct Known {
    counters: Option<Counters>,
    /// Upstreams, their addresses, and whether connections are sent there.
    endpoints: Vec<(String, String, bool)>,
}

impl Known {
    fn changes(&mut self, watched: &dyn Watched) -> Vec<String> {
        let mut lines = Vec::new();
        let mut endpoints = Vec::new();
        for UpstreamState {
            name,
            endpoints: places,
            ..
        } in watched.upstreams()
        {
            let places = places.into_iter();
            endpoints.extend(places.map(|it| (name.clone(), it.address.to_string(), it.up)));
        }
        for endpoint in &endpoints {
            if !self.endpoints.contains(endpoint) {
                let (upstream, place, up) = endpoint;
                lines.push(line(&Event::endpoint(upstream, place, *up)));
            }
        }
        self.endpoints = endpoints;
        let counters = watched.counters();
        if self.counters != Some(counters) {
            lines.push(line(&Event::counters(counters)));
            self.counters = Some(counters);
        }
        lines
    }
}

/// Subscribers at a time.
const MOST_AT_ONCE: usize = 16;

/// How long a subscriber that reads nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often is looked for what nobody tells.
const BEAT: Duration = Duration::from_secs(1);

/// How long accepting rests after a failure: descriptors come back in their own time.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
