//! A connect that the engine decides on.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use nix::errno::Errno;
use socket2::{Domain, SockRef};
use steer_core::address::{Family, canonical};
use steer_core::steered::{Answer, Flow, Refusal};
use steer_kernel::takeover::{Again, Joining};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::call::Asked;
use crate::holders::Holders;
use crate::name::Name;
use crate::notice::{Delivery, Notice};
use crate::office::{Office, lock};
use crate::own;
use crate::sys;
use crate::watch::{CHOICE, LOOK, Watch, are_gone, look};

/// A connect that the engine decides on. Dropped undecided, it is refused.
#[derive(Debug)]
pub(crate) struct Join {
    office: Arc<Office>,
    stage: Arc<Mutex<Stage>>,
    cookie: u64,
    /// What the program asked for, in its own bytes and as it is understood.
    name: Name,
    wanted: SocketAddr,
    /// Who waits for it.
    holders: Option<Arc<Holders>>,
    /// Told when nobody does any more.
    gone: Arc<Notify>,
    watch: AbortHandle,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// A nonblocking call waits for a moment: the engine may hand the connection over.
    Asked {
        notice: Notice,
        socket: OwnedFd,
        /// The engine has chosen, and the time for it is no more.
        chosen: bool,
    },
    /// A nonblocking call has its EINPROGRESS.
    Held { joining: Joining },
    /// A blocking call waits; none while a signal has ended it and it is not made again.
    Waits {
        notice: Option<Notice>,
        joining: Joining,
    },
    /// It is decided.
    Over,
}

impl Join {
    /// Begins; `None` where the call could be answered at once.
    pub(crate) fn begin(
        office: &Arc<Office>,
        notice: Notice,
        holders: Option<Holders>,
        socket: OwnedFd,
        name: Name,
        wanted: SocketAddr,
    ) -> Option<Self> {
        let cookie = SockRef::from(&socket).cookie().unwrap_or_default();
        let waits = !SockRef::from(&socket).nonblocking().unwrap_or(false);
        let mut limit = None;
        let stage = if waits {
            limit = SockRef::from(&socket).write_timeout().unwrap_or(None);
            match office.takeover.begin(socket, wanted) {
                Ok(joining) => Stage::Waits {
                    notice: Some(notice),
                    joining,
                },
                Err(errno) => {
                    let _ = notice.fail(errno);
                    return None;
                }
            }
        } else if office.hands_over && office.takeover.is_ours(socket.as_fd()) {
            limit = Some(CHOICE);
            Stage::Asked {
                notice,
                socket,
                chosen: false,
            }
        } else {
            hold(office, notice, socket, wanted)
        };
        if matches!(stage, Stage::Over) {
            return None;
        }
        let stage = Arc::new(Mutex::new(stage));
        if waits || limit.is_some() {
            lock(&office.choices).insert(cookie, Arc::downgrade(&stage));
        }
        let (gone, holders) = (Arc::new(Notify::new()), holders.map(Arc::new));
        let watch = Watch {
            office: Arc::clone(office),
            stage: Arc::clone(&stage),
            cookie,
            wanted,
            holders: holders.clone(),
            gone: Arc::clone(&gone),
        };
        let watch = office.runtime.spawn(watch.run(limit)).abort_handle();
        Some(Self {
            office: Arc::clone(office),
            stage,
            cookie,
            name,
            wanted,
            holders,
            gone,
            watch,
        })
    }

    /// Goes on with a call that a signal ended and that is made again: the engine has been asked.
    ///
    /// Gives the call back where there was none.
    pub(crate) fn again(office: &Office, cookie: u64, asked: Asked) -> Option<Asked> {
        let stage = lock(&office.choices).get(&cookie).and_then(Weak::upgrade);
        let Some(stage) = stage else {
            return Some(asked);
        };
        match &mut *lock(&stage) {
            Stage::Asked { notice, .. } => {
                // The one before is over.
                *notice = asked.notice;
                None
            }
            Stage::Waits { notice, .. } if notice.as_ref().is_none_or(|n| !n.is_waiting()) => {
                *notice = Some(asked.notice);
                None
            }
            Stage::Held { .. } | Stage::Waits { .. } | Stage::Over => Some(asked),
        }
    }

    /// The program's address, as far as its socket has one: the port is 0 until it is connected.
    pub(crate) fn client(&self) -> SocketAddr {
        match &*lock(&self.stage) {
            Stage::Held { joining } | Stage::Waits { joining, .. } => joining.local(),
            Stage::Asked { .. } | Stage::Over => {
                let family = Family::of(canonical(self.wanted).ip());
                SocketAddr::new(family.loopback(), 0)
            }
        }
    }

    fn take(&mut self) -> Stage {
        self.watch.abort();
        std::mem::replace(&mut *lock(&self.stage), Stage::Over)
    }

    /// Connects the program's socket to the engine.
    fn complete(&mut self) -> io::Result<std::net::TcpStream> {
        let canceled = || io::Error::from(Errno::ECANCELED);
        let mut stage = self.take();
        if let Stage::Asked { notice, socket, .. } = stage {
            stage = hold(&self.office, notice, socket, self.wanted);
        }
        match stage {
            Stage::Held { joining } => joining.complete(),
            Stage::Waits { notice, joining } => {
                let completed = joining.complete();
                let told = completed.as_ref().map(drop).map_err(errno);
                let delivery = notice.map_or(Delivery::Lost, |notice| notice.answer(told));
                if delivery == Delivery::Lost {
                    self.office.takeover.untold(self.cookie);
                }
                completed
            }
            Stage::Asked { .. } | Stage::Over => Err(canceled()),
        }
    }

    fn refuse(&mut self, errno: Errno) {
        match self.take() {
            Stage::Asked { notice, .. } => {
                let _ = notice.fail(errno);
            }
            Stage::Held { joining } => joining.fail(errno),
            Stage::Waits { notice, joining } => {
                joining.fail(errno);
                let _ = notice.map(|notice| notice.fail(errno));
            }
            Stage::Over => return,
        }
        self.office.over(self.cookie, Err(errno));
    }

    /// The first address as the program passed it, where it is that one.
    fn names(&self, socket: &OwnedFd, to: &[SocketAddr]) -> Vec<Name> {
        let of_v6 = matches!(SockRef::from(socket).domain(), Ok(Domain::IPV6));
        let wanted = canonical(self.wanted);
        to.iter()
            .map(|to| match canonical(*to) == wanted {
                true => self.name.clone(),
                false => Name::for_socket(*to, of_v6),
            })
            .collect()
    }
}

#[async_trait]
impl Answer for Join {
    fn dialling(&mut self) -> io::Result<()> {
        let mut stage = lock(&self.stage);
        *stage = match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Asked { notice, socket, .. } => hold(&self.office, notice, socket, self.wanted),
            other => other,
        };
        match *stage {
            Stage::Over => Err(Errno::ECANCELED.into()),
            _ => Ok(()),
        }
    }

    fn gone(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let gone = Arc::clone(&self.gone);
        Some(Box::pin(async move { gone.notified().await }))
    }

    async fn connected(&mut self, flow: &mut Flow) -> io::Result<()> {
        let completed = self.complete();
        let result = completed.as_ref().map(drop).map_err(errno);
        self.office.over(self.cookie, result);
        *flow = Flow::Tcp(TcpStream::from_std(completed?)?);
        Ok(())
    }

    fn can_hand_over(&self) -> bool {
        match &mut *lock(&self.stage) {
            // Whoever asks has chosen to hand over.
            Stage::Asked { chosen, .. } => {
                *chosen = true;
                true
            }
            Stage::Waits { .. } => self.office.hands_over,
            Stage::Held { .. } | Stage::Over => false,
        }
    }

    async fn hand_over(mut self: Box<Self>, to: &[SocketAddr]) -> io::Result<()> {
        match self.take() {
            Stage::Asked { notice, socket, .. } => {
                let name = self.names(&socket, to).into_iter().next();
                let name = name.unwrap_or_else(|| self.name.clone());
                let mut result = sys::connect(socket.as_fd(), name.bytes());
                if result == Err(Errno::EALREADY) {
                    result = Err(self.office.in_progress(self.cookie));
                }
                let delivery = notice.answer(result);
                if result == Err(Errno::EINPROGRESS) {
                    self.office.told_in_progress(self.cookie, delivery);
                }
                match result {
                    Err(errno) if errno != Errno::EINPROGRESS => Err(errno.into()),
                    _ => Ok(()),
                }
            }
            Stage::Waits { notice, joining } => {
                let socket = joining.abandon().ok_or(Errno::ECANCELED)?;
                let names = self.names(&socket, to);
                let mut notice = notice;
                let connecting = own::connect(socket, &names);
                tokio::pin!(connecting);
                let result = loop {
                    tokio::select! {
                        result = &mut connecting => break result,
                        () = tokio::time::sleep(LOOK) => {
                            look(&self.office, self.cookie, &mut notice);
                            if notice.is_none() && are_gone(self.holders.as_ref()) {
                                break Err(Errno::ECANCELED);
                            }
                        }
                    }
                };
                let _ = notice.map(|notice| notice.answer(result));
                self.office.over(self.cookie, result);
                Ok(result?)
            }
            // The time that the program has set ran out meanwhile.
            stage => {
                *lock(&self.stage) = stage;
                self.refuse(Errno::ECONNREFUSED);
                Err(Errno::ECONNREFUSED.into())
            }
        }
    }

    async fn failed(mut self: Box<Self>, _flow: Flow, why: Refusal) {
        self.refuse(why.errno());
    }
}

impl Drop for Join {
    fn drop(&mut self) {
        self.refuse(Errno::ECONNREFUSED);
        let mut choices = lock(&self.office.choices);
        let ours = choices.get(&self.cookie);
        if ours.is_some_and(|stage| stage.as_ptr() == Arc::as_ptr(&self.stage)) {
            choices.remove(&self.cookie);
        }
    }
}

/// Has the socket wait in SYN_SENT, and tells the program so.
pub(crate) fn hold(office: &Office, notice: Notice, socket: OwnedFd, wanted: SocketAddr) -> Stage {
    let cookie = SockRef::from(&socket).cookie().unwrap_or_default();
    // One at a time, until it is known whether the call has its answer: a call that a signal ended
    // may be here as well as the one that was made again.
    let one = lock(&office.holding);
    let known = office.takeover.again(&socket);
    if known != Again::New {
        drop(one);
        office.answer_again(cookie, notice, known);
        return Stage::Over;
    }
    match office.takeover.begin(socket, wanted) {
        Ok(joining) => {
            let delivery = notice.fail(Errno::EINPROGRESS);
            office.told_in_progress(cookie, delivery);
            Stage::Held { joining }
        }
        Err(errno) => {
            let _ = notice.fail(errno);
            Stage::Over
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::ECONNREFUSED as i32))
}
