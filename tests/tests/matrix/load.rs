//! Many bytes and many connections.

use std::thread;
use std::time::Duration;

use lab::{End, Family, Pattern, Service};
use steer_tests::{Mount, Rig, Setup, Stage};

pub(crate) fn a_large_download_arrives_whole(mount: Mount) {
    let stage = Stage::new("down");
    let (server, to) = stage.serve(7, Service::Source(Pattern(4), LARGE));
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut client = rig.connect(to).expect("the server listens");
    let download = client.download();
    assert_eq!((download.digest.length(), download.end), (LARGE, End::Fin));
    assert_eq!(download.digest, Pattern(4).digest(LARGE));
    client.finish();
    assert_eq!(server.wait_ended(1)[0].sent, LARGE);
    let record = rig.records().wait_to(to);
    assert_eq!((&record["sent"], &record["received"]), (&0.into(), &LARGE.into()));
}

pub(crate) fn a_large_upload_arrives_whole(mount: Mount) {
    let stage = Stage::new("up");
    let server = stage.srv.serve(7, Service::Digest);
    let to = stage.at(Family::V6, 7);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut client = rig.connect(to).expect("the server listens");
    client
        .upload(Pattern(5), LARGE)
        .expect("the connection stands");
    client.finish();
    let answer = format!("{} {LARGE}\n", Pattern(5).digest(LARGE));
    assert_eq!(client.receive_all(), (answer.into_bytes(), End::Fin));
    assert_eq!(server.wait_ended(1)[0].received, LARGE);
    assert_eq!(rig.records().wait_to(to)["sent"], LARGE);
}

/// Both directions at once in bulk, then single words: what moves bulk must not sit on words.
pub(crate) fn a_bulk_transfer_both_ways_is_followed_by_small_words(mount: Mount) {
    let stage = Stage::new("both");
    let (_server, to) = stage.serve(7, Service::Echo);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut client = rig.connect(to).expect("the server listens");
    for round in 0..2 {
        let mut writing = client.duplicate();
        let writer = thread::spawn(move || writing.upload(Pattern(round), BULK));
        let mut offset = 0;
        let mut expected = vec![0; 64 * 1024];
        while offset < BULK {
            let part = client.receive(expected.len()).expect("the echo");
            Pattern(round).fill(offset, &mut expected);
            assert!(part == expected, "wrong bytes after {offset}");
            offset += part.len() as u64;
        }
        assert_eq!(writer.join().expect("the writer"), Ok(()));
        for word in ["a", "few", "small", "words"] {
            client.send(word.as_bytes()).expect("the connection stands");
            let echo = client.receive(word.len()).expect("the echo");
            assert_eq!(echo, word.as_bytes());
        }
    }
    client.finish();
    assert_eq!(client.receive_all(), (Vec::new(), End::Fin));
    assert_eq!(rig.records().wait_to(to)["outcome"], "ok");
}

/// Between a client and a server that does not read lie buffers, which are bounded.
pub(crate) fn a_server_that_does_not_read_holds_the_client_back(mount: Mount) {
    let stage = Stage::new("stalled");
    let (server, to) = stage.serve(7, Service::Stalled);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let mut client = rig.connect(to).expect("the server listens");
    client.patience(Duration::from_secs(1));
    assert_eq!(client.upload(Pattern(6), ENDLESS), Err(End::Open));
    let resident = resident(rig.proc().pid());
    assert!(resident < LARGE, "the engine holds {resident} bytes");
    // What nobody reads does not keep the end from being told.
    client.reset();
    assert_eq!(server.wait_ended(1)[0].end, End::Reset);
    assert_eq!(rig.records().wait_to(to)["outcome"], "reset");
}

/// How much memory of its own a process holds, in bytes.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kibibytes: u64 = number.expect("a size").parse().expect("a number");
    kibibytes * 1024
}

/// All of them stand at once before the first one speaks.
pub(crate) fn a_thousand_connections_at_once_are_each_served(mount: Mount) {
    let stage = Stage::new("thousand");
    let (server, to) = stage.serve(7, Service::Echo);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let clients = rig.connect_many(THOUSAND, to);
    server.wait_for(|seen| seen.len() == THOUSAND);
    for (index, mut client) in clients.into_iter().enumerate() {
        let word = format!("connection {index}");
        client.send(word.as_bytes()).expect("the connection stands");
        let echo = client.receive(word.len()).expect("the echo");
        assert_eq!(echo, word.as_bytes());
        client.finish();
        assert_eq!(client.receive_all(), (Vec::new(), End::Fin));
    }
    let records = rig.records().wait_for(THOUSAND);
    assert_eq!(records.len(), THOUSAND);
    assert!(records.iter().all(|record| record["outcome"] == "ok"));
}

pub(crate) fn five_hundred_idle_connections_leave_room_for_another(mount: Mount) {
    let stage = Stage::new("idle");
    let (server, to) = stage.serve(7, Service::Echo);
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    let idle = rig.connect_many(IDLE, to);
    server.wait_for(|seen| seen.len() == IDLE);
    let mut another = rig.connect(to).expect("the server listens");
    another.send(b"hello").expect("the connection stands");
    assert_eq!(another.receive(5).as_deref(), Ok(&b"hello"[..]));
    assert!(server.seen().iter().all(|one| one.end == End::Open));
    drop((idle, another));
    rig.records().wait_for(IDLE + 1);
}

const LARGE: u64 = 64 << 20;
/// More than all the buffers of any kernel on the way.
const ENDLESS: u64 = 1 << 30;
const BULK: u64 = 8 << 20;
const THOUSAND: usize = 1000;
const IDLE: usize = 500;
