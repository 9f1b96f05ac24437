//! Looks after a connect while the engine decides: the time that its call may take, signals, and
//! whether anybody still waits for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::holders::Holders;
use crate::joining::{Stage, hold};
use crate::notice::{Delivery, Notice};
use crate::office::{Office, lock};

/// Looks after a connect while the engine decides.
pub(crate) struct Watch {
    pub(crate) office: Arc<Office>,
    pub(crate) stage: Arc<Mutex<Stage>>,
    pub(crate) cookie: u64,
    pub(crate) wanted: std::net::SocketAddr,
    pub(crate) holders: Option<Arc<Holders>>,
    /// Told when nobody waits for it any more.
    pub(crate) gone: Arc<Notify>,
}

impl Watch {
    /// A nonblocking call waits for the engine's choice alone, a blocking one as long as the
    /// program has set it (SO_SNDTIMEO, which connect(2) answers with EINPROGRESS), or until a
    /// signal comes.
    pub(crate) async fn run(self, limit: Option<Duration>) {
        let mut end = limit.map(|limit| Instant::now() + limit);
        loop {
            let next = Instant::now() + LOOK;
            tokio::time::sleep_until(end.map_or(next, |end| end.min(next))).await;
            if end.is_some_and(|end| end <= Instant::now()) {
                end = None;
                self.over();
            } else if self.look() {
                return;
            }
        }
    }

    /// The time of the call is over; its connect goes on.
    fn over(&self) {
        let mut stage = lock(&self.stage);
        *stage = match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Asked {
                notice,
                socket,
                chosen: false,
            } => hold(&self.office, notice, socket, self.wanted),
            Stage::Waits {
                notice,
                mut joining,
            } => match joining.hold() {
                Ok(()) => {
                    let notice = notice.map(|notice| notice.fail(Errno::EINPROGRESS));
                    let delivery = notice.unwrap_or(Delivery::Lost);
                    self.office.told_in_progress(self.cookie, delivery);
                    Stage::Held { joining }
                }
                Err(_) => {
                    joining.fail(Errno::ETIMEDOUT);
                    let _ = notice.map(|notice| notice.fail(Errno::ETIMEDOUT));
                    self.office.over(self.cookie, Err(Errno::ETIMEDOUT));
                    Stage::Over
                }
            },
            other => other,
        };
    }

    /// Whether there is nothing left to look after.
    fn look(&self) -> bool {
        let mut stage = lock(&self.stage);
        let waits = match &mut *stage {
            Stage::Over => return true,
            Stage::Asked { .. } => true,
            Stage::Held { .. } => {
                self.office.look_for_signals(self.cookie);
                false
            }
            Stage::Waits { notice, .. } => {
                look(&self.office, self.cookie, notice);
                notice.is_some()
            }
        };
        if waits || !are_gone(self.holders.as_ref()) {
            return false;
        }
        // Dropped undecided, it is refused.
        *stage = Stage::Over;
        drop(stage);
        self.office.over(self.cookie, Err(Errno::ECONNREFUSED));
        self.gone.notify_one();
        true
    }
}

/// Lets calls that wait end where a signal waits for their thread; none is left where it is over.
pub(crate) fn look(office: &Office, cookie: u64, notice: &mut Option<Notice>) {
    if notice.as_ref().is_some_and(Notice::is_signalled)
        && let Some(notice) = notice.take()
    {
        notice.interrupt();
    }
    // It was ended by something else: its process was killed.
    notice.take_if(|notice| !notice.is_waiting());
    office.look_for_signals(cookie);
}

/// Whether nobody has the socket any more.
pub(crate) fn are_gone(holders: Option<&Arc<Holders>>) -> bool {
    holders.is_some_and(|holders| holders.are_gone())
}

/// As long as a nonblocking call may take: the engine chooses in much less, unless it has to look
/// at the first bytes or to resolve a name.
pub(crate) const CHOICE: Duration = Duration::from_millis(5);

/// How often a call is looked at for a signal that would end it.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
