//! Each direction of a connection ends as the other side ended it.

use lab::{Digest, End, Family, Pattern, Server, Service};
use steer_tests::{Mount, Rig, Setup, Stage};

pub(crate) fn half_close_from_the_client(mount: Mount) {
    for family in Family::BOTH {
        let (stage, server) = stage(Service::Digest);
        let rig = Rig::start(&stage.app, mount, &Setup::default());
        let mut client = rig.connect(stage.at(family, 7)).expect("the server listens");
        client
            .upload(Pattern(1), SOME)
            .expect("the connection stands");
        client.finish();
        // The server answers only after the end of what it receives.
        let answer = format!("{} {SOME}\n", Pattern(1).digest(SOME));
        assert_eq!(client.receive_all(), (answer.into_bytes(), End::Fin));
        assert_eq!(server.wait_ended(1)[0].end, End::Fin);
        let record = rig.records().wait_to(stage.at(family, 7));
        assert_eq!(record["outcome"], "ok");
        assert_eq!(record["sent"], SOME);
    }
}

pub(crate) fn half_close_from_the_server(mount: Mount) {
    for family in Family::BOTH {
        let (stage, server) = stage(Service::Source(Pattern(2), SOME));
        let rig = Rig::start(&stage.app, mount, &Setup::default());
        let mut client = rig.connect(stage.at(family, 7)).expect("the server listens");
        let download = client.download();
        assert_eq!(download.end, End::Fin);
        assert_eq!(download.digest, Pattern(2).digest(SOME));
        // The server has finished and listens on.
        client.send(b"and then?").expect("this side is open");
        server.wait_for(|seen| seen[0].received == 9);
        assert_eq!(server.seen()[0].end, End::Open);
        client.finish();
        let seen = server.wait_ended(1);
        assert_eq!((seen[0].text().as_str(), seen[0].end), ("and then?", End::Fin));
        let record = rig.records().wait_to(stage.at(family, 7));
        assert_eq!(record["outcome"], "ok");
        assert_eq!(record["received"], SOME);
    }
}

pub(crate) fn a_server_that_finishes_without_a_word_is_no_reset(mount: Mount) {
    let (stage, server) = stage(Service::Finish);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut client = rig.connect(stage.at(Family::V4, 7)).expect("the server listens");
    assert_eq!(client.receive_all(), (Vec::new(), End::Fin));
    client.finish();
    assert_eq!(server.wait_ended(1)[0].end, End::Fin);
    assert_eq!(rig.records().wait_for(1)[0]["outcome"], "ok");
}

pub(crate) fn a_reset_by_the_client_is_a_reset_for_the_server(mount: Mount) {
    for family in Family::BOTH {
        let (stage, server) = stage(Service::Echo);
        let rig = Rig::start(&stage.app, mount, &Setup::default());
        let mut client = rig.connect(stage.at(family, 7)).expect("the server listens");
        client.send(b"hello").expect("the connection stands");
        client.receive(5).expect("the echo");
        client.reset();
        assert_eq!(server.wait_ended(1)[0].end, End::Reset);
        let record = rig.records().wait_to(stage.at(family, 7));
        assert_eq!(record["outcome"], "reset");
        assert_eq!(record["error"], "reset by the client");
    }
}

pub(crate) fn a_reset_by_the_server_is_a_reset_for_the_client(mount: Mount) {
    for family in Family::BOTH {
        let (stage, server) = stage(Service::ResetOnFirstByte);
        let rig = Rig::start(&stage.app, mount, &Setup::default());
        let mut client = rig.connect(stage.at(family, 7)).expect("the server listens");
        client.send(b"x").expect("the connection stands");
        assert_eq!(client.receive_all(), (Vec::new(), End::Reset));
        server.wait_ended(1);
        let record = rig.records().wait_to(stage.at(family, 7));
        assert_eq!(record["outcome"], "reset");
        assert_eq!(record["error"], "reset by the upstream");
    }
}

/// Whoever has finished is still told of the other side's reset.
pub(crate) fn a_reset_reaches_a_side_that_has_finished(mount: Mount) {
    let (stage, server) = stage(Service::ResetOnFirstByte);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut client = rig
        .connect(stage.at(Family::V4, 7))
        .expect("the server listens");
    server.wait_for(|seen| seen.len() == 1);
    client.send(b"x").expect("the connection stands");
    client.finish();
    assert_eq!(client.receive_all(), (Vec::new(), End::Reset));

    let source = stage.srv.serve(8, Service::Source(Pattern(3), 1));
    let mut client = rig.connect(stage.at(Family::V4, 8)).expect("the server listens");
    let download = client.download();
    assert_eq!((download.end, download.digest), (End::Fin, Digest::of(&Pattern(3).bytes(1))));
    client.reset();
    assert_eq!(source.wait_ended(1)[0].end, End::Reset);
    for port in [7, 8] {
        let record = rig.records().wait_to(stage.at(Family::V4, port));
        assert_eq!(record["outcome"], "reset");
    }
}

fn stage(service: Service) -> (Stage, Server) {
    let stage = Stage::new("ends");
    let server = stage.srv.serve(7, service);
    (stage, server)
}

/// More than the buffers on the way hold, less than a bulk transfer.
const SOME: u64 = 700_001;
