//! Asking a proxy for a destination.
use std::net::SocketAddr;

use steer_core::address::Destination;
use steer_core::policy::{Resolving, UpstreamKind};
use tokio::time::timeout_at;

use super::{Call, Proxy, Reached, Tunnel};
use crate::error::UpstreamError;
use crate::upstream::{connect, socks5};

impl Proxy {
    /// Connects to a destination.
    pub(crate) async fn open(
        &self,
        target: &Destination,
        call: Call<'_>,
    ) -> Result<Tunnel, UpstreamError> {
        match self.resolved(target, call).await? {
            Some(addresses) => self.open_any(&addresses, call).await,
            None => {
                let reached = self.reach(call).await?;
                self.ask(reached, target, call).await
            }
        }
    }

    /// Connects to the first of the addresses that it reaches.
    pub(crate) async fn open_any(
        &self,
        addresses: &[SocketAddr],
        call: Call<'_>,
    ) -> Result<Tunnel, UpstreamError> {
        let mut last = UpstreamError::Deadline(self.standing.address(0).clone());
        for (index, address) in addresses.iter().enumerate() {
            let terms = call.terms.share(addresses.len() - index);
            let call = Call { terms, ..call };
            let reached = self.reach(call).await?;
            match self.ask(reached, &Destination::addr(*address), call).await {
                // The proxy works, so what it says is about the address.
                Err(
                    error @ (UpstreamError::Socks5(_)
                    | UpstreamError::Status(_)
                    | UpstreamError::Deadline(_)),
                ) => last = error,
                asked => return asked,
            }
        }
        Err(last)
    }

    /// The addresses of a destination that it is asked for by address alone.
    pub(crate) async fn resolved(
        &self,
        target: &Destination,
        call: Call<'_>,
    ) -> Result<Option<Vec<SocketAddr>>, UpstreamError> {
        match (self.standing.upstream().resolve, target) {
            (Resolving::Here, Destination::Name { host, port }) => {
                let found = call.dialler.resolve(host, *port, call.terms.deadline);
                found.await.map(Some)
            }
            (Resolving::Here | Resolving::Upstream, _) => Ok(None),
        }
    }

    /// Asks the endpoint that was reached for a destination; where it breaks off, the next ones.
    pub(crate) async fn ask(
        &self,
        reached: Reached,
        target: &Destination,
        call: Call<'_>,
    ) -> Result<Tunnel, UpstreamError> {
        let mut next = Some(reached);
        let mut left = Vec::new().into_iter();
        let mut last = None;
        loop {
            let Reached {
                mut dialled,
                endpoint,
                left: others,
            } = match next.take() {
                Some(reached) => reached,
                None => match self.reach_one(left, call).await {
                    Ok(reached) => reached,
                    Err(error) => return Err(last.unwrap_or(error)),
                },
            };
            let login = self.login.as_ref();
            let stream = &mut dialled.stream;
            let asked = async {
                match self.kind {
                    UpstreamKind::Socks5 => socks5::connect(stream, target, login).await,
                    UpstreamKind::Http => connect::connect(stream, target, login).await,
                    UpstreamKind::Tcp => Ok(Vec::new()),
                }
            };
            match timeout_at(call.terms.deadline, asked).await {
                Ok(Ok(prefix)) => {
                    self.standing.passed(endpoint);
                    return Ok(Tunnel { dialled, prefix });
                }
                Ok(Err(error @ (UpstreamError::Broken(_) | UpstreamError::Protocol { .. }))) => {
                    self.standing.failed(endpoint, &error);
                    if others.len() == 0 {
                        return Err(error);
                    }
                    last = Some(error);
                    left = others;
                }
                Ok(Err(error)) => {
                    self.standing.passed(endpoint);
                    return Err(error);
                }
                // Whether the proxy or the destination is silent cannot be told.
                Err(_) => {
                    return Err(UpstreamError::Deadline(
                        self.standing.address(endpoint).clone(),
                    ));
                }
            }
        }
    }
}
