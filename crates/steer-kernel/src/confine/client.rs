//! The engine's side of the process that holds namespaces.

use std::io::{self, PipeReader};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steer_core::address::Protocol;
use steer_core::driver::{DriverError, Lifeline};
use steer_core::intake::{Shared, Sockets as Opened};
use steer_core::keeper::{EngageError, Job, Keeper, KeeperError, Released};
use steer_core::netns::MakeSockets;
use steer_core::object::{Binding, Domain, Listener, Namespace};
use steer_core::plan::{Netns, Planned};

use super::entrance::Entrance;
use super::holder::forbidden;
use super::obstacle::Stage;
use super::sockets::Sockets;
use super::users;
use super::wire::{Reply, Request};
use crate::keeper::client::{WORK_PATIENCE, ended};
use crate::keeper::process::{HOLD_START, HOLDER};
use crate::keeper::start::{START_IT, Started, lost, start};
use crate::keeper::wire::{Wire, lifelines, tags};

/// A keeper of plans whose objects are in namespaces of the command's own
/// ([`Netns::New`]); it needs no privilege.
///
/// The caller calls [`keeper::entry`](crate::keeper::entry) first in `main`: the process that
/// holds the namespaces is the program itself, executed again. It is started by
/// [`Keeper::make`].
///
/// # Errors
/// None at present; a process that cannot be started is an error of [`Keeper::make`].
pub fn spawn() -> Result<Box<dyn Keeper>, KeeperError> {
    Ok(Box::new(Confined::new()))
}

/// A keeper whose process holds namespaces and is gone with the caller.
///
/// The caller holds the namespaces and the lifelines of the rules inside as well. When the process
/// dies first, nothing changes, and [`Keeper::restore`] has another one join them.
#[derive(Debug, Default)]
pub struct Confined {
    link: Option<Link>,
    entrance: Option<Arc<Entrance>>,
    /// For a successor of the holder.
    masked: Vec<String>,
    sockets: Arc<Sockets>,
    lifelines: Vec<Lifeline>,
    job: Option<Job>,
    /// What is in force inside.
    standing: Vec<Planned>,
}

/// The connection to one holder.
#[derive(Debug)]
struct Link {
    wire: Wire,
    /// Ends with the holder.
    life: PipeReader,
    /// Known once the namespaces are.
    pid: Option<u32>,
}

impl Confined {
    /// As [`spawn`], with the type.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn link(&mut self) -> Result<&mut Link, KeeperError> {
        self.link.as_mut().ok_or(KeeperError::NoNamespaces)
    }

    /// Has these objects in force, and asks a successor where the holder is gone.
    fn set(&mut self, job: &Job, objects: Vec<Planned>) -> Result<(), KeeperError> {
        const WHAT: &str = "put the job in force";
        let to = inside(objects)?;
        if to.is_empty() && self.standing.is_empty() {
            return Ok(());
        }
        let request = Request::Commit {
            instance: job.instance().clone(),
            from: self.standing.clone(),
            to: to.clone(),
        };
        let answer = match self.link()?.ask(&request, &[], WHAT) {
            Err(KeeperError::Lost { .. }) if self.is_alone()? => {
                self.succeed()?;
                tracing::warn!("the holder of the namespaces was gone; another one has taken over");
                self.link()?.ask(&request, &[], WHAT)
            }
            answer => answer,
        };
        match answer? {
            (Reply::Done { lifelines: tags }, fds) => {
                self.lifelines = lifelines(tags, fds);
                self.standing = to;
                Ok(())
            }
            _ => Err(unexpected(WHAT)),
        }
    }

    /// Removes devices, so that whoever reads them reads their end: all else goes with the namespaces.
    fn remove_devices(&mut self) -> Result<(), KeeperError> {
        let is_device = |planned: &Planned| planned.object.domain() == Domain::Device;
        let reachable = matches!(self.is_alone(), Ok(false)) && self.link.is_some();
        match self.job.take() {
            Some(job) if reachable && self.standing.iter().any(is_device) => {
                self.set(&job, Vec::new())
            }
            _ => Ok(()),
        }
    }

    /// Whether there was a holder, and is none.
    fn is_alone(&self) -> Result<bool, KeeperError> {
        self.link
            .as_ref()
            .map_or(Ok(false), |link| ended(&link.life))
    }

    /// Starts another holder, which joins the namespaces as they stand.
    fn succeed(&mut self) -> Result<(), KeeperError> {
        const WHAT: &str = "join the namespaces";
        let Some(entrance) = &self.entrance else {
            return Err(KeeperError::NoNamespaces);
        };
        let mut fds: Vec<RawFd> = [entrance.user(), entrance.network(), entrance.mounts()]
            .iter()
            .map(AsRawFd::as_raw_fd)
            .collect();
        let (lifelines, beside) = tags(&self.lifelines);
        fds.extend(beside);
        let request = Request::Join {
            lifelines,
            masked: self.masked.clone(),
        };
        // The spawner goes on to know the namespaces by the number of the first holder.
        let (link, Furnished { wishes, .. }) =
            Link::start(|link| link.furnish(&request, &fds, WHAT))?;
        self.sockets.connect(wishes).map_err(|e| lost(WHAT, e))?;
        self.link = Some(link);
        Ok(())
    }
}

/// What a holder hands out.
#[derive(Debug)]
struct Furnished {
    pid: u32,
    entrance: Entrance,
    wishes: OwnedFd,
}

impl Keeper for Confined {
    fn make(&mut self, namespace: &Namespace) -> Result<u32, KeeperError> {
        const WHAT: &str = "make the namespaces";
        let (link, furnished) = Link::start(|link| {
            let (Reply::Unshared { pid }, _) = link.ask(&Request::Unshare, &[], WHAT)? else {
                return Err(unexpected(WHAT));
            };
            users::map(pid).map_err(|error| {
                let errno = error.raw_os_error().unwrap_or_default();
                KeeperError::from(forbidden(Stage::Map, Errno::from_raw(errno)))
            })?;
            link.furnish(&Request::Furnish(namespace.clone()), &[], WHAT)
        })?;
        let Furnished {
            pid,
            entrance,
            wishes,
        } = furnished;
        let entrance = Arc::new(entrance);
        entrance.publish(pid);
        self.sockets.connect(wishes).map_err(|e| lost(WHAT, e))?;
        self.entrance = Some(entrance);
        self.masked.clone_from(&namespace.masked);
        self.link = Some(link);
        Ok(pid)
    }

    fn listen(&mut self, listener: &Listener) -> Result<(u16, Opened), EngageError> {
        const WHAT: &str = "open a listener";
        let request = Request::Listen(Box::new(listener.clone()));
        match self.link()?.ask(&request, &[], WHAT)? {
            (Reply::Listening { port }, fds) => {
                let opened = opened(listener, fds).ok_or_else(|| unexpected(WHAT))?;
                Ok((port, opened))
            }
            (Reply::NotListening { address, errno }, _) => Err(EngageError::Listen {
                id: listener.id.to_string(),
                address,
                source: io::Error::from_raw_os_error(errno),
            }),
            _ => Err(unexpected(WHAT).into()),
        }
    }

    fn sockets(&self) -> Option<Arc<dyn MakeSockets>> {
        self.link.as_ref()?;
        Some(Arc::<Sockets>::clone(&self.sockets))
    }

    fn commit(&mut self, job: &Job) -> Result<(), KeeperError> {
        self.set(job, job.objects.clone())?;
        self.job = Some(job.clone());
        Ok(())
    }

    fn shared(&self) -> io::Result<Vec<Shared>> {
        let of_devices = |line: &&Lifeline| line.domain == Domain::Device;
        let duplicate = |line: &Lifeline| {
            Ok(Shared {
                label: line.label.clone(),
                fd: line.fd.try_clone()?,
            })
        };
        let lines = self.lifelines.iter().filter(of_devices);
        lines.map(duplicate).collect()
    }

    fn retire(&mut self) -> Result<(), KeeperError> {
        match self.job.take() {
            Some(job) => {
                let done = self.set(&job, job.retired());
                self.job = Some(job);
                done
            }
            None => Ok(()),
        }
    }

    fn release(&mut self) -> Result<Released, KeeperError> {
        let removed = self.remove_devices();
        let Self {
            link,
            entrance,
            masked: _,
            sockets,
            lifelines,
            job,
            standing,
        } = self;
        sockets.close();
        (*entrance, *job) = (None, None);
        lifelines.clear();
        standing.clear();
        let ended = match link.take() {
            Some(link) => link.end(),
            None => Ok(()),
        };
        removed.and(ended).map(|()| Released::Clean)
    }

    fn lost(&self) -> io::Result<Option<PipeReader>> {
        let life = self.link.as_ref().map(|link| &link.life);
        life.map(PipeReader::try_clone).transpose()
    }

    fn restore(&mut self) -> Result<(), KeeperError> {
        match self.is_alone()? {
            true => self.succeed(),
            // Whoever asks may have learnt late of one that has been replaced since.
            false => Ok(()),
        }
    }
}

impl Link {
    /// Starts a holder and has it prepared, which comes before its first stage is waited for.
    fn start<T>(
        prepare: impl FnOnce(&mut Self) -> Result<T, KeeperError>,
    ) -> Result<(Self, T), KeeperError> {
        let Started {
            wire,
            life,
            mut first,
        } = start(HOLD_START, HOLDER)?;
        let mut link = Self {
            wire,
            life,
            pid: None,
        };
        let prepared = prepare(&mut link);
        first.settle(!matches!(prepared, Err(KeeperError::Lost { .. })));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // What it has made goes with it.
                let _ = link.end();
                return Err(error);
            }
        };
        link.wire
            .patience(WORK_PATIENCE)
            .map_err(|e| lost(START_IT, e))?;
        Ok((link, prepared))
    }

    fn ask(
        &mut self,
        request: &Request,
        fds: &[RawFd],
        what: &str,
    ) -> Result<(Reply, Vec<OwnedFd>), KeeperError> {
        let answer = self
            .wire
            .send(request, fds)
            .and_then(|()| self.wire.receive::<Reply>());
        match answer {
            Ok(Some((Reply::Failed(fault), _))) => Err(fault.into()),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(lost(what, io::ErrorKind::UnexpectedEof.into())),
            Err(source) => Err(lost(what, source)),
        }
    }

    /// Has the namespaces made ready, or entered.
    fn furnish(
        &mut self,
        request: &Request,
        fds: &[RawFd],
        what: &str,
    ) -> Result<Furnished, KeeperError> {
        let (Reply::Furnished { pid }, fds) = self.ask(request, fds, what)? else {
            return Err(unexpected(what));
        };
        self.pid = Some(pid);
        let [user, network, mounts, wishes] =
            <[OwnedFd; 4]>::try_from(fds).map_err(|_| unexpected(what))?;
        Ok(Furnished {
            pid,
            entrance: Entrance::new(user, network, mounts),
            wishes,
        })
    }

    /// Waits until the holder is gone, which the end of its socket makes it.
    fn end(self) -> Result<(), KeeperError> {
        const WHAT: &str = "end the holder of the namespaces";
        let Self { wire, life, pid } = self;
        drop(wire);
        if wait(&life, END_PATIENCE).map_err(|e| lost(WHAT, e.into()))? {
            return Ok(());
        }
        // It is stopped: its number is its own while the pipe is open.
        let Some(Ok(pid)) = pid.map(i32::try_from) else {
            return Err(lost(WHAT, Errno::ETIMEDOUT.into()));
        };
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(lost(WHAT, errno.into())),
        }
    }
}

/// Whether the pipe ends within the time.
fn wait(life: &PipeReader, time: Duration) -> Result<bool, Errno> {
    let patience = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, patience) {
            Err(Errno::EINTR) => {}
            ready => return ready.map(|ready| ready > 0),
        }
    }
}

/// The objects, all of which have to be rules of nf_tables, devices or routes in the namespaces.
fn inside(objects: Vec<Planned>) -> Result<Vec<Planned>, KeeperError> {
    let own = |planned: Planned| match (&planned.netns, planned.object.domain()) {
        (Netns::New, Domain::Nft | Domain::Device | Domain::Route) => Ok(planned),
        (_, domain) => Err(KeeperError::Driver(DriverError::new(
            domain,
            format!("namespaces of the command's own cannot hold {planned}"),
            "this is a mistake in the method; please report the plan",
        ))),
    };
    objects.into_iter().map(own).collect()
}

/// The sockets of a listener, from their descriptors.
fn opened(listener: &Listener, fds: Vec<OwnedFd>) -> Option<Opened> {
    let complete = fds.len() == listener.addresses.len();
    match (listener.binding, listener.protocol) {
        (Binding::Control, _) => {
            let [socket] = <[OwnedFd; 1]>::try_from(fds).ok()?;
            Some(Opened::Control(UnixListener::from(socket)))
        }
        (_, Protocol::Tcp) => {
            complete.then(|| Opened::Tcp(fds.into_iter().map(TcpListener::from).collect()))
        }
        (_, Protocol::Udp) => {
            complete.then(|| Opened::Udp(fds.into_iter().map(UdpSocket::from).collect()))
        }
    }
}

fn unexpected(what: &str) -> KeeperError {
    lost(what, io::ErrorKind::InvalidData.into())
}

/// How long a holder may take to see that nobody is there any more.
const END_PATIENCE: Duration = Duration::from_secs(2);
