//! Python: its HTTP client, and its sockets blocking and not.

use lab::Family;

use crate::column::Column;
use crate::errand::{Errand, Promise, Visit};
use crate::ground::{Ground, NAME};

pub(crate) fn urllib_gets_the_same_bytes(column: Column) {
    lab::require!(Root, Path("/usr/bin/python3"), Program("dnsmasq"));
    let ground = Ground::new("urllib");
    let script = ground.write("download.py", include_str!("programs/download.py"));
    let words = ["/usr/bin/python3".to_owned(), script.display().to_string()];
    let words = words.into_iter().chain(ground.urls(""));
    Errand::new(words, Visit::all(&ground, 80, 8080)).hold(&ground, column);
}

/// A program that looks closely: names of both ends, half-close, a connect that does not block.
pub(crate) fn sockets_see_no_difference(column: Column) {
    of_sockets("sockets", include_str!("programs/sockets.py"), column);
}

pub(crate) fn asyncio_sees_no_difference(column: Column) {
    of_sockets("asyncio", include_str!("programs/streams.py"), column);
}

fn of_sockets(label: &str, script: &str, column: Column) {
    lab::require!(Root, Path("/usr/bin/python3"), Program("dnsmasq"));
    let ground = Ground::new(label);
    let script = ground.write("script.py", script);
    let mut words = vec!["/usr/bin/python3".to_owned(), script.display().to_string()];
    for family in Family::BOTH {
        words.extend([ground.srv.address(family).to_string(), "7".to_owned()]);
    }
    words.extend([NAME.to_owned(), "8007".to_owned()]);
    Errand::new(words, Visit::all(&ground, 7, 8007))
        .except(Column::Env, Promise::Caught)
        .hold(&ground, column);
}
