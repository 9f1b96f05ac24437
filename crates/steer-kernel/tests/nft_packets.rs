//! What the nf_tables driver's rules do to packets, and how long its tables live.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use lab::{Cgroup, Client, Failure, Host, Lab, Service, Snapshot, eventually, require};
use steer_core::address::{Family, Protocol};
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::object::Object;
use steer_core::plan::Netns;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::{CgroupRef, PortRef};
use steer_kernel::nft::NftDriver;

/// A driver at work in a host of the lab.
struct Steering {
    driver: NftDriver,
    netns: Netns,
    from: Vec<Object>,
}

impl Steering {
    fn on(host: &Host) -> Self {
        let path = host.namespace_path();
        Self {
            driver: NftDriver::new(),
            netns: Netns::Path(path.to_str().unwrap().to_owned()),
            from: Vec::new(),
        }
    }

    fn set(&mut self, to: &[Ruleset]) -> Result<(), DriverError> {
        let to: Vec<Object> = to.iter().cloned().map(Object::Nft).collect();
        self.driver.set(&Change {
            instance: &main(),
            netns: &self.netns,
            from: &self.from,
            to: &to,
        })?;
        self.from = to;
        Ok(())
    }
}

fn main() -> Instance {
    Instance::new("main").unwrap()
}

fn ruleset(role: Role, kind: ChainKind, families: &[Family], rules: Vec<Rule>) -> Ruleset {
    let (name, priority) = match kind {
        ChainKind::Nat => ("steered", -101),
        ChainKind::Filter | ChainKind::Route => ("guarded", 0),
    };
    Ruleset {
        role,
        families: families.to_vec(),
        chains: vec![Chain {
            name: name.to_owned(),
            base: Some(Base {
                kind,
                hook: Hook::Output,
                priority,
            }),
            rules,
        }],
    }
}

/// Every TCP connection that starts goes to a port, if the further tests hold.
fn redirect(port: u16, tests: impl IntoIterator<Item = Test>) -> Ruleset {
    let mut all = vec![Test::Protocol(Protocol::Tcp), Test::Opening];
    all.extend(tests);
    let rule = Rule::new(
        all,
        Verdict::Redirect(PortRef::Fixed(port)),
        "a test steers",
    );
    ruleset(Role::Steer, ChainKind::Nat, &Family::ALL, vec![rule])
}

fn guard(families: &[Family], verdict: Verdict) -> Ruleset {
    let tests = match verdict {
        // A reset passes this hook too, and must not be refused in turn.
        Verdict::Reset => vec![Test::Opening],
        _ => Vec::new(),
    };
    let rule = Rule::new(tests, verdict, "a test refuses");
    ruleset(Role::Guard, ChainKind::Filter, families, vec![rule])
}

/// Two linked hosts, and a server with a greeting of its own on each.
fn pair() -> (Host, Host, lab::Server, lab::Server) {
    let lab = Lab::new("nftpkt");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let there = srv.serve(80, Service::Banner(b"there".to_vec()));
    let here = app.serve(15001, Service::Banner(b"here!".to_vec()));
    (app, srv, here, there)
}

fn greeting(client: Result<Client, Failure>) -> Result<String, Failure> {
    let hello = client?.receive(5).expect("both servers speak first");
    Ok(String::from_utf8(hello).unwrap())
}

fn list(host: &Host) -> String {
    host.program("nft")
        .args(["list", "ruleset"])
        .run()
        .expect_success()
}

#[test]
fn connections_of_both_families_are_redirected_and_direct_again_afterwards() {
    require!(Root, Program("nft"));
    let (app, srv, _here, _there) = pair();
    let before = Snapshot::take(&app).of_host_only();
    let mut steering = Steering::on(&app);
    for family in [lab::Family::V4, lab::Family::V6] {
        let at = srv.at(family, 80);
        steering.set(&[redirect(15001, [])]).unwrap();
        assert_eq!(greeting(app.connect(at)).unwrap(), "here!", "{family:?}");
        steering.set(&[]).unwrap();
        assert_eq!(greeting(app.connect(at)).unwrap(), "there", "{family:?}");
    }
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn a_cgroup_is_steered_with_those_below_it_and_no_other() {
    require!(Root, Program("nft"), Program("python3"));
    let (app, srv, _here, _there) = pair();
    let (inside, outside) = (Cgroup::new("in"), Cgroup::new("out"));
    let mut steering = Steering::on(&app);
    let path = CgroupRef::Path(inside.name().to_owned());
    steering
        .set(&[redirect(15001, [Test::Cgroup(path)])])
        .unwrap();
    let at = srv.at(lab::Family::V4, 80);
    let greeting_in = |cgroup: &Cgroup| {
        let read = format!(
            "import socket; print(socket.create_connection(('{}', 80)).recv(5).decode())",
            at.ip()
        );
        app.program("python3")
            .args(["-c", &read])
            .cgroup(cgroup)
            .run()
            .expect_success()
    };
    assert_eq!(greeting_in(&inside).trim(), "here!");
    assert_eq!(greeting_in(&outside).trim(), "there");
    let below = inside.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let procs = below.join("cgroup.procs");
    let script = format!(
        "import os,socket; open('{}','w').write(str(os.getpid())); print(socket.create_connection(('{}', 80)).recv(5).decode())",
        procs.display(),
        at.ip()
    );
    let text = app
        .program("python3")
        .args(["-c", &script])
        .run()
        .expect_success();
    assert_eq!(text.trim(), "here!");
}

#[test]
fn a_user_is_steered_and_its_neighbour_is_not() {
    require!(Root, Program("nft"), Program("python3"));
    let (app, srv, _here, _there) = pair();
    let mut steering = Steering::on(&app);
    let uid = Test::Uid(vec![
        "60000-60010".parse().unwrap(),
        "65534".parse().unwrap(),
    ]);
    steering.set(&[redirect(15001, [uid])]).unwrap();
    let ip = srv.at(lab::Family::V6, 80).ip();
    for (user, expected) in [
        (60_005, "here!"),
        (65_534, "here!"),
        (60_011, "there"),
        (0, "there"),
    ] {
        let read = format!(
            "import socket; print(socket.create_connection(('{ip}', 80)).recv(5).decode())"
        );
        let text = app
            .program("python3")
            .args(["-c", &read])
            .user(user)
            .run()
            .expect_success();
        assert_eq!(text.trim(), expected, "uid {user}");
    }
}

#[test]
fn a_guard_refuses_its_family_at_once_and_leaves_the_other() {
    require!(Root, Program("nft"));
    let (app, srv, _here, _there) = pair();
    let mut steering = Steering::on(&app);
    let (v4, v6) = (srv.at(lab::Family::V4, 80), srv.at(lab::Family::V6, 80));
    steering
        .set(&[guard(&[Family::V6], Verdict::Reset)])
        .unwrap();
    assert_eq!(greeting(app.connect(v6)), Err(Failure::Refused));
    assert_eq!(greeting(app.connect(v4)).unwrap(), "there");

    steering
        .set(&[guard(&Family::ALL, Verdict::Prohibit)])
        .unwrap();
    for at in [v4, v6] {
        // Both kernels report "administratively prohibited" as unreachable or forbidden.
        let refused = app.ask_udp(at, b"x", Duration::from_secs(5)).unwrap_err();
        assert!(
            matches!(refused, Failure::Unreachable | Failure::Denied),
            "{refused:?}"
        );
    }
}

#[test]
fn retired_rules_let_established_flows_go_on_and_take_no_further_one() {
    require!(Root, Program("nft"));
    let (app, srv, here, _there) = pair();
    let at = srv.at(lab::Family::V4, 80);
    let mut steering = Steering::on(&app);
    let rules = redirect(15001, []);
    steering.set(std::slice::from_ref(&rules)).unwrap();
    let mut live = app.connect(at).unwrap();
    assert_eq!(live.receive(5).unwrap(), b"here!");

    steering.set(&[rules.retired()]).unwrap();
    assert_eq!(greeting(app.connect(at)).unwrap(), "there");
    live.send(b"again").unwrap();
    assert_eq!(live.receive(5).unwrap(), b"again");
    here.wait_for(|seen| seen[0].received == 5);

    steering.set(std::slice::from_ref(&rules)).unwrap();
    live.send(b"still").unwrap();
    assert_eq!(live.receive(5).unwrap(), b"still");
    assert_eq!(greeting(app.connect(at)).unwrap(), "here!");
}

#[test]
fn what_steers_lives_as_long_as_its_lifeline_and_a_guard_longer() {
    require!(Root, Program("nft"));
    let (app, _srv, _here, _there) = pair();
    let mut steering = Steering::on(&app);
    let both = [redirect(15001, []), guard(&[Family::V4], Verdict::Prohibit)];
    steering.set(&both).unwrap();
    app.program("nft")
        .args(["flush", "ruleset"])
        .run()
        .expect_success();
    assert!(
        list(&app).contains("table inet steer_main {"),
        "flushed by a neighbour"
    );

    steering.set(&both).unwrap();
    let mut lifelines = steering.driver.lifelines().unwrap();
    drop(steering.driver);
    assert!(
        list(&app).contains("table inet steer_main {"),
        "a lifeline is open"
    );

    // An heir takes the lifeline over and can change what it finds.
    steering.driver = NftDriver::new();
    steering
        .driver
        .adopt(lifelines.pop().expect("one namespace"));
    steering
        .set(&[redirect(15002, []), both[1].clone()])
        .unwrap();
    assert!(list(&app).contains(":15002"));
    drop(steering);
    eventually("the table is gone", || {
        let text = list(&app);
        let guarded = text.contains("table inet steer_main_guard {");
        (guarded && !text.contains("table inet steer_main {")).then_some(())
    });
}

#[test]
fn a_guard_that_a_crash_left_is_found_replaced_and_removed() {
    require!(Root, Program("nft"));
    let (app, srv, _here, _there) = pair();
    let before = Snapshot::take(&app).of_host_only();
    let mut crashed = Steering::on(&app);
    crashed.set(&[guard(&Family::ALL, Verdict::Reset)]).unwrap();
    drop(crashed);
    let at = srv.at(lab::Family::V4, 80);
    assert_eq!(greeting(app.connect(at)), Err(Failure::Refused));

    let mut next = Steering::on(&app);
    next.set(&[redirect(15001, [])]).unwrap();
    assert_eq!(greeting(app.connect(at)).unwrap(), "here!");
    next.set(&[guard(&Family::ALL, Verdict::Reset)]).unwrap();

    let mut cleaner = NftDriver::new();
    let found = cleaner.observe(&next.netns).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].what, "nft table inet steer_main_guard");
    assert_eq!(
        (found[0].instance.clone(), found[0].role),
        (main(), Some(Role::Guard))
    );
    cleaner.remove(&found[0]).unwrap();
    cleaner.remove(&found[0]).unwrap();
    assert_eq!(cleaner.observe(&next.netns).unwrap(), []);
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn a_foreign_table_of_our_name_is_named_and_left_alone() {
    require!(Root, Program("nft"));
    let (app, _srv, _here, _there) = pair();
    let foreign = "table inet steer_main { chain theirs { tcp dport 1 accept; }; }";
    app.program("nft").arg(foreign).run().expect_success();
    let before = Snapshot::take(&app).of_host_only();
    let mut steering = Steering::on(&app);
    let error = steering.set(&[redirect(15001, [])]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("table inet steer_main belongs to another program"),
        "{error}"
    );
    assert!(
        error.help().contains("nft list table inet steer_main"),
        "{}",
        error.help()
    );
    steering.set(&[]).unwrap();
    assert_eq!(steering.driver.observe(&steering.netns).unwrap(), []);
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn the_table_of_a_running_process_is_refused_to_others() {
    require!(Root, Program("nft"));
    let (app, _srv, _here, _there) = pair();
    let mut first = Steering::on(&app);
    first.set(&[redirect(15001, [])]).unwrap();
    let before = Snapshot::take(&app).of_host_only();
    let mut second = Steering::on(&app);
    let error = second.set(&[redirect(15002, [])]).unwrap_err();
    assert!(
        error.to_string().contains("belongs to a process that runs"),
        "{error}"
    );
    let found = second.driver.observe(&second.netns).unwrap();
    assert!(second.driver.remove(&found[0]).is_err());
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn without_the_privilege_the_error_names_it_and_nothing_changes() {
    require!(Root, Program("nft"));
    let (app, _srv, _here, _there) = pair();
    let before = Snapshot::take(&app).of_host_only();
    // Another user may not be able to reach the folder that this test was built in.
    let copy = std::env::temp_dir().join(format!("steer-nobody-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = app
        .program(&copy)
        .args(["--ignored", "--exact", "as_nobody", "--nocapture"])
        .current_dir("/")
        .user(65_534)
        .run();
    std::fs::remove_file(&copy).unwrap();
    let text = output.expect_success();
    assert!(text.contains("CAP_NET_ADMIN"), "{text}");
    assert!(text.contains("help: run as root"), "{text}");
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
#[ignore = "is run as another user by the test above"]
fn as_nobody() {
    let error = NftDriver::new().set(&Change {
        instance: &main(),
        netns: &Netns::Here,
        from: &[],
        to: &[Object::Nft(redirect(15001, []))],
    });
    let error = error.unwrap_err();
    println!("{error}\nhelp: {}", error.help());
}
