//! The process that holds the namespaces.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::chdir;
use steer_core::driver::Lifeline;
use steer_core::instance::Instance;
use steer_core::intake::Sockets;
use steer_core::keeper::{EngageError, KeeperError};
use steer_core::listen;
use steer_core::object::{Listener, Namespace};
use steer_core::plan::Planned;

use super::mask::Masks;
use super::network::Settings;
use super::obstacle::{Obstacle, Stage};
use super::wire::{Reply, Request};
use super::{mask, network, sockets};
use crate::device::DeviceDriver;
use crate::drivers::Drivers;
use crate::keeper::fault::Fault;
use crate::keeper::process::{HOLDER, settle};
use crate::keeper::wire::{Tag, Wire, lifelines, tags};
use crate::nft::NftDriver;
use crate::route::RouteDriver;

/// The holder's life: it answers the engine until that is gone. Nothing has to be cleared up.
pub(crate) fn hold() -> io::Result<()> {
    let (wire, _life) = settle(HOLDER)?;
    let mut holder = Holder {
        masks: Masks::default(),
        drivers: Drivers::new(vec![
            Box::new(DeviceDriver::new()),
            Box::new(RouteDriver::new()),
            Box::new(NftDriver::new()),
        ]),
        settings: Settings::default(),
        wishes: None,
    };
    holder.serve(wire)
}

#[derive(Debug)]
struct Holder {
    masks: Masks,
    /// Of what can be inside.
    drivers: Drivers,
    /// Of the network outside.
    settings: Settings,
    /// By which sockets are asked for.
    wishes: Option<Wire>,
}

/// What goes back, with descriptors beside it.
type Answer = (Reply, Vec<OwnedFd>);

impl Holder {
    fn serve(&mut self, mut wire: Wire) -> io::Result<()> {
        loop {
            match self.next(&wire)? {
                Next::Request => {
                    let Some((request, fds)) = wire.receive::<Request>()? else {
                        return Ok(());
                    };
                    let (reply, beside) = self.answer(request, fds)?;
                    let numbers: Vec<RawFd> = beside.iter().map(AsRawFd::as_raw_fd).collect();
                    wire.send(&reply, &numbers)?;
                }
                Next::Mask => self.masks.renew(),
                Next::Wish => {
                    let open = self.wishes.as_mut().map(sockets::answer);
                    // The engine may go on without; one that is gone closes the other socket too.
                    if !matches!(open, Some(Ok(true))) {
                        self.wishes = None;
                    }
                }
            }
        }
    }

    fn next(&self, wire: &Wire) -> io::Result<Next> {
        let watched = [
            (Some(wire.as_fd()), Next::Request),
            (self.masks.as_fd(), Next::Mask),
            (self.wishes.as_ref().map(Wire::as_fd), Next::Wish),
        ];
        let (mut fds, nexts): (Vec<_>, Vec<_>) = watched
            .into_iter()
            .filter_map(|(fd, next)| Some((PollFd::new(fd?, PollFlags::POLLIN), next)))
            .unzip();
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            let ready = fds.iter().position(|fd| fd.any() != Some(false));
            if let Some(at) = ready {
                return Ok(nexts[at]);
            }
        }
    }

    fn answer(&mut self, request: Request, fds: Vec<OwnedFd>) -> io::Result<Answer> {
        let done = match request {
            Request::Unshare => {
                self.settings = Settings::read();
                leave()
            }
            Request::Furnish(namespace) => furnish(namespace, &self.settings).and_then(|masks| {
                self.masks = masks;
                self.open_up()
            }),
            Request::Join { lifelines, masked } => self.join(lifelines, masked, fds),
            Request::Listen(listener) => return listen(&listener),
            Request::Commit { instance, from, to } => match self.commit(&instance, &from, &to) {
                Ok(lines) => {
                    let (lifelines, _) = tags(&lines);
                    let fds = lines.into_iter().map(|line| line.fd).collect();
                    return Ok((Reply::Done { lifelines }, fds));
                }
                Err(error) => Err(Fault::of(&error)),
            },
        };
        Ok(done.unwrap_or_else(|fault| (Reply::Failed(fault), Vec::new())))
    }

    fn commit(
        &mut self,
        instance: &Instance,
        from: &[Planned],
        to: &[Planned],
    ) -> Result<Vec<Lifeline>, KeeperError> {
        let done = self.drivers.set_all(instance, from, to);
        done?;
        let lifelines = self.drivers.lifelines();
        lifelines.map_err(|source| KeeperError::Lost {
            what: "hand over its lifelines".to_owned(),
            source,
        })
    }

    /// Hands out the namespaces and the socket for wishes, and closes itself to looks.
    fn open_up(&mut self) -> Result<Answer, Fault> {
        let open = || -> io::Result<(Vec<OwnedFd>, Wire)> {
            let mut fds = Vec::new();
            for name in ["user", "net", "mnt"] {
                fds.push(File::open(format!("/proc/self/ns/{name}"))?.into());
            }
            let (ours, theirs) = UnixStream::pair()?;
            fds.push(theirs.into());
            // A process of the same user could trace it otherwise, and have its capabilities.
            nix::sys::prctl::set_dumpable(false)?;
            Ok((fds, Wire::new(ours)))
        };
        let (fds, wishes) = open().map_err(|error| used(&error))?;
        self.wishes = Some(wishes);
        let pid = std::process::id();
        Ok((Reply::Furnished { pid }, fds))
    }

    fn join(
        &mut self,
        tags: Vec<Tag>,
        masked: Vec<String>,
        fds: Vec<OwnedFd>,
    ) -> Result<Answer, Fault> {
        let kinds = [
            CloneFlags::CLONE_NEWUSER,
            CloneFlags::CLONE_NEWNET,
            CloneFlags::CLONE_NEWNS,
        ];
        let mut fds = fds.into_iter();
        for (kind, fd) in kinds.into_iter().zip(fds.by_ref()) {
            setns(fd, kind).map_err(|errno| used(&errno.into()))?;
        }
        chdir("/").map_err(|errno| used(&errno.into()))?;
        self.masks = Masks::cover(masked).map_err(|error| refused(&error, &error.source))?;
        for line in lifelines(tags, fds.collect()) {
            self.drivers.adopt(line);
        }
        self.open_up()
    }
}

#[derive(Clone, Copy)]
enum Next {
    /// The engine asks, or is gone.
    Request,
    /// Somebody wants a socket.
    Wish,
    /// Something has come that may have to be covered.
    Mask,
}

fn leave() -> Result<Answer, Fault> {
    let all = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(all).map_err(|errno| forbidden(Stage::Unshare, errno))?;
    let pid = std::process::id();
    Ok((Reply::Unshared { pid }, Vec::new()))
}

fn furnish(namespace: Namespace, settings: &Settings) -> Result<Masks, Fault> {
    let Namespace { addresses, masked } = namespace;
    mask::detach().map_err(|error| refused(&error, &error.source))?;
    settings.write();
    network::furnish(&addresses).map_err(|error| refused(&error, &error.source))?;
    Masks::cover(masked).map_err(|error| refused(&error, &error.source))
}

fn listen(listener: &Listener) -> io::Result<Answer> {
    Ok(match listen::listen(listener) {
        Ok((port, sockets)) => (Reply::Listening { port }, descriptors(sockets)),
        Err(EngageError::Listen {
            address, source, ..
        }) => {
            let errno = source.raw_os_error().unwrap_or(nix::libc::EINVAL);
            (Reply::NotListening { address, errno }, Vec::new())
        }
        Err(error) => {
            let fault = Fault::because(&error, error.help());
            (Reply::Failed(fault), Vec::new())
        }
    })
}

fn descriptors(sockets: Sockets) -> Vec<OwnedFd> {
    match sockets {
        Sockets::Tcp(sockets) => sockets.into_iter().map(OwnedFd::from).collect(),
        Sockets::Udp(sockets) => sockets.into_iter().map(OwnedFd::from).collect(),
        Sockets::Control(socket) => vec![socket.into()],
    }
}

/// As [`Obstacle`] tells it, also for what the engine does.
pub(super) fn forbidden(stage: Stage, errno: Errno) -> Fault {
    let obstacle = Obstacle::behind(stage, errno);
    Fault::new(
        format!("the command cannot have namespaces of its own: {obstacle}"),
        obstacle.help(),
    )
}

fn used(error: &io::Error) -> Fault {
    forbidden(Stage::Use, errno(error))
}

/// Something in the namespaces that the kernel refused: a sandbox, where it has no right to it.
fn refused(error: &dyn std::error::Error, source: &io::Error) -> Fault {
    let obstacle = Obstacle::behind(Stage::Use, errno(source));
    Fault::because(error, obstacle.help())
}

fn errno(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw)
}
