//! Tokens that nobody will use any more.

use std::fs;
use std::io;
use std::time::Duration;

use super::tokens::Tokens;
use crate::abi::{KEY_UDP, TOKENS_MOST, Token, TokenKey};

/// Removes the tokens that are over at this time, and tells how many those were.
pub(super) fn sweep(tokens: &mut Tokens, now: Duration) -> io::Result<usize> {
    let most = usize::try_from(TOKENS_MOST).unwrap_or(usize::MAX);
    let mut removed = 0;
    let keys = tokens.keys(most.saturating_mul(2));
    let patience = if keys.len() < most / 2 {
        UNUSED
    } else {
        UNUSED_BESIDE_MANY
    };
    for key in keys {
        // What one was when the list was made, another may be by now.
        let over = tokens
            .get(key)?
            .is_some_and(|token| is_over(key, &token, now, patience));
        if over && tokens.remove(key)? {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a token is over: of TCP, one that led to no connection for as long as `unused` says, or
/// whose client has closed for a minute; of UDP, one whose socket was closed, or that was silent for
/// longer than any flow lives.
fn is_over(key: TokenKey, token: &Token, now: Duration, unused: Duration) -> bool {
    let passed =
        |since: u64, patience: Duration| now.saturating_sub(Duration::from_nanos(since)) > patience;
    match (key & KEY_UDP != 0, token.closed) {
        (true, 0) => token.last != u64::MAX && passed(token.last.max(token.made), SILENT),
        (true, closed) => passed(closed, UNREAD),
        (false, 0) => token.source_port == 0 && passed(token.made, unused),
        (false, closed) => passed(closed, UNACCEPTED),
    }
}

/// The time since boot, suspension included.
pub(super) fn now() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().and_then(|s| s.parse().ok());
    let seconds: f64 = seconds.ok_or(io::ErrorKind::InvalidData)?;
    Duration::try_from_secs_f64(seconds).map_err(io::Error::other)
}

/// How long a token of TCP may wait for its connection: one that begins with data (TCP_FASTOPEN_CONNECT
/// of tcp(7)) does so with the first write.
const UNUSED: Duration = Duration::from_secs(600);

/// The same where half of all tokens are in use.
const UNUSED_BESIDE_MANY: Duration = Duration::from_secs(60);

/// How long a token of TCP stays after its client has closed.
const UNACCEPTED: Duration = Duration::from_secs(60);

/// How long a token of UDP stays after its socket: what was sent may wait for the engine.
const UNREAD: Duration = Duration::from_secs(10);

/// How long a token of UDP may be silent: longer than a flow without traffic is kept.
const SILENT: Duration = Duration::from_secs(360);

#[cfg(test)]
mod tests {
    use super::super::tokens::tests::token;
    use super::*;

    #[test]
    fn only_what_nobody_will_use_is_over() {
        let second = 1_000_000_000;
        let live = Token {
            made: 100 * second,
            ..token("203.0.113.7:443", "127.0.0.1:40000")
        };
        let over = |key, token: Token, at| is_over(key, &token, Duration::from_secs(at), UNUSED);
        assert!(
            !over(1, live, 100_000),
            "a connection that waits to be accepted"
        );
        let unused = Token {
            source_port: 0,
            ..live
        };
        assert!(!over(1, unused, 700) && over(1, unused, 701));
        let at = Duration::from_secs(161);
        assert!(is_over(1, &unused, at, UNUSED_BESIDE_MANY));
        let closed = Token {
            closed: 200 * second,
            ..live
        };
        assert!(!over(1, closed, 260) && over(1, closed, 261));
        assert!(!over(KEY_UDP, closed, 210) && over(KEY_UDP, closed, 211));
        let silent = Token {
            last: 200 * second,
            ..live
        };
        assert!(!over(KEY_UDP, silent, 560) && over(KEY_UDP, silent, 561));
        let connected = Token {
            last: u64::MAX,
            ..live
        };
        assert!(!over(KEY_UDP, connected, 1_000_000));
        assert!(!over(1, live, 0), "a clock that is behind");
    }
}
