//! Several addresses of one destination: connecting to whichever answers first (RFC 8305).
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use steer_core::address::{Destination, Family};
use tokio::time::{Instant, sleep_until};

use super::direct::{Dialled, Dialler, Terms};
use crate::error::UpstreamError;

/// How long an attempt has the field to itself (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A dial that may be one of several.
type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Dialled, UpstreamError>> + Send + 'a>>;

impl Dialler {
    /// Connects to one of the addresses: the families take turns, the next attempt begins when one
    /// has failed or had its time alone, and the first that is connected ends the others.
    pub(crate) async fn dial_any(
        &self,
        addresses: &[SocketAddr],
        to: &Destination,
        terms: Terms,
    ) -> Result<Dialled, UpstreamError> {
        if let [only] = addresses {
            return self.dial_address(*only, to, terms).await;
        }
        let mut waiting = interleaved(addresses).into_iter();
        let mut attempts: Vec<Attempt<'_>> = Vec::new();
        let mut first_error = None;
        let mut alone = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            loop {
                let mut failed = false;
                let mut index = 0;
                while let Some(attempt) = attempts.get_mut(index) {
                    match attempt.as_mut().poll(cx) {
                        Poll::Ready(Ok(dialled)) => return Poll::Ready(Ok(dialled)),
                        Poll::Ready(Err(error)) => {
                            drop(attempts.remove(index));
                            // What the address that is liked best says tells most.
                            first_error.get_or_insert(error);
                            failed = true;
                        }
                        Poll::Pending => index += 1,
                    }
                }
                let due = failed || attempts.is_empty() || alone.as_mut().poll(cx).is_ready();
                if !due {
                    return Poll::Pending;
                }
                match waiting.next() {
                    Some(address) => {
                        attempts.push(Box::pin(self.dial_address(address, to, terms)));
                        alone.as_mut().reset(Instant::now() + ATTEMPT_DELAY);
                    }
                    None if attempts.is_empty() => {
                        let none = || UpstreamError::Deadline(to.clone());
                        return Poll::Ready(Err(first_error.take().unwrap_or_else(none)));
                    }
                    None => return Poll::Pending,
                }
            }
        })
        .await
    }
}

/// The addresses with the families taking turns, beginning with that of the first; the order within
/// a family is the resolver's.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let family = |address: &SocketAddr| Family::of(address.ip());
    let Some(first) = addresses.first().map(family) else {
        return Vec::new();
    };
    let mut ours = addresses.iter().filter(|address| family(address) == first);
    let mut others = addresses.iter().filter(|address| family(address) != first);
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(ours.next());
        order.extend(others.next());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_keep_their_order() {
        let parsed = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = [
            "[2001:db8::1]:1",
            "[2001:db8::2]:1",
            "192.0.2.1:1",
            "[2001:db8::3]:1",
        ];
        let order = [
            "[2001:db8::1]:1",
            "192.0.2.1:1",
            "[2001:db8::2]:1",
            "[2001:db8::3]:1",
        ];
        assert_eq!(interleaved(&parsed(&found)), parsed(&order));
        assert_eq!(interleaved(&[]), []);
    }
}
