//! One intake for a listener of the plan and its like in other network namespaces.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use steer_core::intake::Intake;
use steer_core::netns::MakeSockets;
use steer_core::steered::Steered;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::chores::Chores;
use super::maps::Maps;
use super::places::{Opened, Places, Want};
use super::take;

/// What comes to the listener, here and elsewhere.
pub(super) struct Everywhere {
    here: Box<dyn Intake>,
    want: Want,
    maps: Maps,
    /// Sockets in further namespaces; none where programs of others are not meant.
    opened: Option<mpsc::UnboundedReceiver<Opened>>,
    steered_tx: mpsc::Sender<Steered>,
    steered: mpsc::Receiver<Steered>,
    /// One task a namespace; they end with this.
    others: JoinSet<()>,
    _places: Arc<Places>,
    _chores: Option<Chores>,
}

impl Everywhere {
    pub(super) fn new(
        here: Box<dyn Intake>,
        want: Want,
        maps: Maps,
        places: &Arc<Places>,
        chores: Option<Chores>,
    ) -> Self {
        let (steered_tx, steered) = mpsc::channel(WAITING_MOST);
        let opened = places.are_meant().then(|| places.want(want.clone()));
        Self {
            here,
            want,
            maps,
            opened,
            steered_tx,
            steered,
            others: JoinSet::new(),
            _places: Arc::clone(places),
            _chores: chores,
        }
    }

    fn serve(&mut self, opened: Opened) -> io::Result<()> {
        let Opened {
            sockets,
            inside,
            mut stay,
        } = opened;
        let mut intake = take(&self.want, &self.maps, sockets, &inside)?;
        let dials = self.want.dials_inside;
        let inside = dials.then(|| Arc::new(inside) as Arc<dyn MakeSockets>);
        let steered_tx = self.steered_tx.clone();
        self.others.spawn(async move {
            loop {
                let next = tokio::select! {
                    next = intake.next() => next,
                    // Fails when the namespace is forgotten.
                    Err(_) = stay.changed() => return,
                };
                let Some(mut steered) = next else { return };
                steered.inside.clone_from(&inside);
                if steered_tx.send(steered).await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

#[async_trait]
impl Intake for Everywhere {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            let Self {
                here,
                opened,
                steered,
                others,
                ..
            } = self;
            let further = async {
                match opened {
                    Some(opened) => opened.recv().await,
                    None => None,
                }
            };
            let opened = tokio::select! {
                next = here.next() => return next,
                Some(next) = steered.recv() => return Some(next),
                Some(_) = others.join_next() => continue,
                Some(opened) = further => opened,
            };
            if let Err(error) = self.serve(opened) {
                tracing::warn!(
                    %error,
                    help = "check `ulimit -n`",
                    "nothing can be taken in another network namespace"
                );
            }
        }
    }

    /// The hooks look for the listener at each datagram, and leave one to itself where it is gone.
    fn stays(&self) -> bool {
        true
    }
}

impl fmt::Debug for Everywhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Everywhere")
            .field("here", &self.here)
            .field("others", &self.others.len())
            .finish_non_exhaustive()
    }
}

/// Connections of other namespaces that wait for the engine.
const WAITING_MOST: usize = 16;
