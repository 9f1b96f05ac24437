//! iperf3 with datagrams: a real program whose numbers tell of every one that was lost.

use std::net::IpAddr;

use crate::host::Host;
use crate::proc::Proc;
use crate::program::Program;

/// What iperf3 counted of a run over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iperf {
    /// How many datagrams the client sent.
    pub sent: u64,
    /// How many of them the server got.
    pub received: u64,
    /// How many it missed.
    pub lost: u64,
}

impl Host {
    /// An iperf3 server for one run, at its usual port.
    pub fn serve_iperf(&self) -> Proc {
        let server = self
            .program("iperf3")
            .args(["--server", "--one-off", "--forceflush"]);
        let server = server.spawn();
        server.wait_line(|line| line.starts_with("Server listening"));
        server
    }

    /// A program that sends 1 MB of datagrams to an iperf3 server at 20 Mbit/s; [`Iperf::of`] reads
    /// what it says.
    ///
    /// A loaded machine loses some of them by itself.
    pub fn iperf_udp(&self, server: IpAddr) -> Program {
        let words = "--udp --bitrate 20M --bytes 1M --length 1200 --forceflush";
        self.program("iperf3")
            .args(["--client", &server.to_string()])
            .args(words.split(' '))
    }
}

impl Iperf {
    /// What both sides say, by the words of the program of [`Host::iperf_udp`].
    pub fn of(said: &str) -> Self {
        count(said).unwrap_or_else(|| panic!("iperf3 says nothing of datagrams: {said}"))
    }
}

/// Reads the last lines, in which each side tells `LOST/TOTAL` of what was sent and received.
fn count(said: &str) -> Option<Iperf> {
    let totals = |side: &str| {
        let line = said.lines().rfind(|line| line.trim_end().ends_with(side))?;
        let (lost, all) = line.split_whitespace().find_map(|word| {
            word.split_once('/')
                .filter(|it| it.0.parse::<u64>().is_ok() && it.1.parse::<u64>().is_ok())
        })?;
        Some((lost.parse::<u64>().ok()?, all.parse::<u64>().ok()?))
    };
    let (_, sent) = totals("sender")?;
    let (lost, all) = totals("receiver")?;
    Some(Iperf {
        sent,
        received: all.saturating_sub(lost),
        lost: lost + sent.saturating_sub(all),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_both_sides_are_counted() {
        let said = "\
[  5]   0.00-0.32   sec  4.00 MBytes   105 Mbits/sec  0.000 ms  0/3496 (0%)  sender
[  5]   0.00-0.33   sec  3.99 MBytes   101 Mbits/sec  0.010 ms  6/3496 (0.17%)  receiver
";
        let counted = Iperf {
            sent: 3496,
            received: 3490,
            lost: 6,
        };
        assert_eq!(count(said), Some(counted));
        assert_eq!(count("iperf Done."), None);
    }
}
