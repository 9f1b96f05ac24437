//! The example of a proxy of one's own, really steering.

use std::path::PathBuf;

use lab::{Family, Lab, Service, Signal, Snapshot, Status};

/// Beside the test executables, where cargo puts examples.
fn example() -> PathBuf {
    let mut path = std::env::current_exe().expect("the test knows its own path");
    path.pop();
    path.pop();
    path.join("examples/own_proxy")
}

#[test]
fn a_program_with_one_method_crate_gets_connections_with_their_destinations() {
    lab::require!(Root, Program("python3"));
    let lab = Lab::new("own");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let server = srv.serve(7, Service::Echo);
    let runs = tempfile::tempdir().unwrap();
    let before = Snapshot::take(&app).of_host_only();
    let proxy = app
        .program(example())
        .args(["65534"])
        .env("STEER_RUN_DIR", runs.path())
        .spawn();
    proxy.wait_line(|line| line == "ready");

    for family in Family::BOTH {
        let to = srv.at(family, 7);
        let script = "import socket,sys\n\
             s = socket.create_connection((sys.argv[1], 7))\n\
             s.sendall(b'hello'); print(s.recv(5))";
        let said = app
            .program("python3")
            .args(["-c", script, &to.ip().to_string()])
            .user(65534)
            .run()
            .expect_success();
        assert_eq!(said, "b'hello'\n");
        proxy.wait_line(|line| line.ends_with(&format!(" wants {to}")));
    }
    assert_eq!(server.seen().len(), 2);

    // Somebody else is none of its business.
    let mut client = app.connect(srv.at(Family::V4, 7)).unwrap();
    client.send(b"x").unwrap();
    server.wait_for(|seen| seen.len() == 3 && seen[2].peer == client.local());
    drop(client);

    proxy.signal(Signal::SIGINT);
    assert_eq!(proxy.wait(), Status::Exited(0));
    Snapshot::wait_same(&app, &before, Snapshot::of_host_only);
}
