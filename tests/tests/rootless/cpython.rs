//! CPython's own tests of its sockets: those that are quick, by the script that runs all.

use std::path::Path;
use std::time::Duration;

use lab::{Program, Status};

/// Every test ends as it does unsteered, but for those whose difference is explained.
#[test]
fn the_socket_tests_of_cpython_see_no_difference() {
    lab::require!(Root, Path("/usr/bin/python3"), Program("unshare"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cpython");
    let output = Program::new(script)
        .args(MODULES)
        .env("STEER_BIN", steer_tests::steer())
        .deadline(PATIENCE)
        .run();
    assert_eq!(
        output.status,
        Status::Exited(0),
        "{}",
        output.stdout + &output.stderr
    );
}

/// Every way of using a socket that the suite has, in less than a minute.
const MODULES: [&str; 8] = [
    "test_socket",
    "test_socketserver",
    "test_select",
    "test_epoll",
    "test_urllib2_localnet",
    "test_asyncio.test_sock_lowlevel",
    "test_asyncio.test_server",
    "test_asyncio.test_streams",
];

const PATIENCE: Duration = Duration::from_secs(600);
