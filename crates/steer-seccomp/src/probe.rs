//! Really trying the method: a thread of ours under a supervisor of ours.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::errno::Errno;
use steer_core::address::{Destination, Protocol};
use steer_core::intake::{Bound, Sockets};
use steer_core::intent::{Intent, Relay, Traffic};
use steer_core::listen;
use steer_core::method::Method;
use steer_core::object::{Binding, Listener};
use steer_core::plan::Netns;
use steer_core::steered::Refusal;
use steer_core::steerer::Evidence;
use steer_core::symbol::ListenerId;
use steer_kernel::seccomp::Supervision;

use crate::intake;

/// Whether a connect to a reserved address arrives as asked and gets the error that was chosen.
///
/// Filters are a thread's, so one that ends with the try is enough; nothing is sent.
pub(crate) async fn really(intent: &Intent) -> Evidence {
    match tokio::time::timeout(DEADLINE, attempt(intent)).await {
        Ok(Ok(())) => Evidence::Works,
        Ok(Err(error)) => fails(error.to_string()),
        Err(_) => fails("a call of our own was not answered in time".to_owned()),
    }
}

fn fails(why: String) -> Evidence {
    Evidence::Fails {
        why,
        remedy: "a filter around steer, or a security module, may forbid seccomp(2), \
                 pidfd_getfd(2) or process_vm_readv(2); use `-m netns` or `-m preload`"
            .to_owned(),
    }
}

async fn attempt(intent: &Intent) -> io::Result<()> {
    let listener = Listener {
        id: ListenerId("probe".to_owned()),
        method: Method::Seccomp,
        protocol: Protocol::Tcp,
        addresses: Vec::new(),
        port: None,
        to: None,
        binding: Binding::Control,
        app: None,
    };
    let (_, sockets) = listen::listen(&listener).map_err(io::Error::other)?;
    let name = control_name(&sockets)?;
    let bound = Bound {
        listener,
        netns: Netns::Here,
        sockets,
        inside: None,
        shared: Vec::new(),
    };
    let intent = Intent {
        traffic: Traffic::default(),
        relay: Some(Relay::Always),
        ..intent.clone()
    };
    let mut intake = intake::of(&intent, bound)?;
    let (done_tx, done) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("steer-probe".to_owned())
        .spawn(move || {
            // Whoever asked may have given up.
            let _ = done_tx.send(call(&name));
        })?;
    let wanted = Destination::addr(RESERVED);
    let engine = async {
        let steered = intake.next().await.ok_or(io::ErrorKind::BrokenPipe)?;
        let asked = steered.destination.clone();
        steered.answer.failed(steered.flow, Refusal::Denied).await;
        // The supervisor has to go on until the thread has its answer.
        Ok::<_, io::Error>((asked, intake))
    };
    tokio::pin!(done);
    let (asked, _intake) = tokio::select! {
        steered = engine => steered?,
        early = &mut done => {
            let early = early.map_err(io::Error::other)?;
            return Err(early.err().unwrap_or_else(|| io::Error::other("a call was not seen")));
        }
    };
    let got = done.await.map_err(io::Error::other)?;
    let denied = matches!(&got, Err(e) if e.raw_os_error() == Some(Errno::EACCES as i32));
    if denied && asked == wanted {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "asked for {wanted}, the supervisor was asked for {asked}; the call got {got:?}"
        )))
    }
}

fn call(control: &str) -> io::Result<()> {
    Supervision::by(control)?.begin()?;
    TcpStream::connect(RESERVED).map(drop)
}

fn control_name(sockets: &Sockets) -> io::Result<String> {
    use std::os::linux::net::SocketAddrExt;
    let Sockets::Control(socket) = sockets else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let address = socket.local_addr()?;
    let name = address.as_abstract_name().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// TEST-NET-1 (RFC 5737), which nobody has.
const RESERVED: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    443,
);

const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::instance::Instance;
    use steer_core::intent::Scope;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_method_works_where_the_kernel_has_it() {
        let intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        assert_eq!(really(&intent).await, Evidence::Works);
    }
}
