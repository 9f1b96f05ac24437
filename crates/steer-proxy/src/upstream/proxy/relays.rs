//! Datagrams through a proxy.
use steer_core::address::Destination;
use steer_core::policy::UpstreamKind;
use tokio::time::timeout_at;

use super::{Call, Proxy, Reached};
use crate::error::{NoUdp, UpstreamError};
use crate::upstream::datagrams::{Control, Way};
use crate::upstream::socks5;

impl Proxy {
    /// Whether it carries datagrams.
    ///
    /// # Errors
    /// Which proxy on the way does not, and why.
    pub(crate) fn carries_datagrams(&self) -> Result<(), UpstreamError> {
        for hop in self.hops() {
            let why = match (hop.kind, &hop.sealing) {
                (UpstreamKind::Socks5, None) => continue,
                // They would go beside the TLS, in the clear.
                (UpstreamKind::Socks5, Some(_)) => NoUdp::Sealed,
                (UpstreamKind::Http, _) => NoUdp::Http,
                (UpstreamKind::Tcp, _) => NoUdp::Tcp,
            };
            return Err(UpstreamError::NoDatagrams {
                upstream: hop.name.clone(),
                why,
            });
        }
        Ok(())
    }

    /// The way of datagrams to a target: a relay at each proxy, each reached through the one before.
    pub(crate) async fn relay(
        &self,
        target: Destination,
        call: Call<'_>,
    ) -> Result<Way, UpstreamError> {
        self.carries_datagrams()?;
        let target = match self.resolved(&target, call).await? {
            // Datagrams are not answered, so there is no trying one after the other.
            Some(addresses) => addresses.first().copied().map_or(target, Destination::addr),
            None => target,
        };
        let mut hops: Vec<_> = self.hops().collect();
        hops.reverse();
        let mut controls = Vec::with_capacity(hops.len());
        for hop in hops {
            let Reached {
                mut dialled,
                endpoint,
                ..
            } = hop.reach(call).await?;
            let asked = socks5::associate(&mut dialled.stream, hop.login.as_ref());
            let at = match timeout_at(call.terms.deadline, asked).await {
                Ok(at) => at?,
                Err(_) => return Err(UpstreamError::Deadline(target)),
            };
            hop.standing.passed(endpoint);
            controls.push(Control {
                dialled,
                relay: own(at, hop.standing.address(endpoint)),
            });
        }
        call.dialler.relayed(controls, target, call.terms).await
    }
}

/// Where a relay is that says it is at `at`: an unspecified address means the proxy's own.
fn own(at: Destination, proxy: &Destination) -> Destination {
    match (&at, proxy) {
        (Destination::Addr(addr), _) if !addr.addr().ip().is_unspecified() => at,
        (Destination::Name { .. }, _) => at,
        (_, Destination::Addr(proxy)) => {
            let ip = proxy.addr().ip();
            Destination::addr((ip, at.port()).into())
        }
        (_, Destination::Name { host, .. }) => Destination::Name {
            host: host.clone(),
            port: at.port(),
        },
    }
}
