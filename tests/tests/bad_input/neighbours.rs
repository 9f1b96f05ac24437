//! What others on the host do with marks, rules and priorities: seen, and named by `plan`.

use lab::{Family, Output, Service, Signal, Status};

use crate::assert_refuses;
use crate::site::{Site, echoes};

/// What `plan` says with a config, on either stream.
fn plan(site: &Site, method: &str, text: &str) -> Output {
    let path = site.write("plan.yaml", text);
    site.steer()
        .args(["plan", "-m", method, "-c"])
        .arg(path)
        .run()
}

#[track_caller]
fn assert_names(output: &Output, words: &[&str]) {
    assert_eq!(output.status, Status::Exited(0), "{output:#?}");
    let said = format!("{}{}", output.stdout, output.stderr);
    for word in words {
        assert!(said.contains(word), "{word:?} is not said: {said}");
    }
}

fn nft(site: &Site, text: &str) {
    let nft = site.app.program("nft").args(["-f", "-"]);
    nft.input(text).run().expect_success();
}

/// What another program does on a host.
type Change<'a> = &'a dyn Fn(&Site);

const HOST: &str = "scope: { host: true }\n";

/// Our marks, used by a rule of routing, by nft and by iptables: an error, with other bits to take.
#[test]
fn a_foreign_use_of_our_marks_is_refused_and_named() {
    lab::require!(Namespaces, Program("nft"), Program("iptables"));
    let by_rule = |site: &Site| {
        let rule = [
            "rule",
            "add",
            "priority",
            "5000",
            "fwmark",
            "0x80000000/0xf0000000",
        ];
        site.app.ip(&[&rule[..], &["lookup", "100"]].concat());
    };
    let by_nft = |site: &Site| {
        nft(
            site,
            "table inet theirs { chain out { type filter hook output priority 7; \
                   meta mark set 0x80000000; }; }\n",
        );
    };
    let by_iptables = |site: &Site| {
        let rule = [
            "-t",
            "mangle",
            "-A",
            "PREROUTING",
            "-p",
            "tcp",
            "-j",
            "MARK",
            "--set-xmark",
        ];
        let iptables = site
            .app
            .program("iptables")
            .args(rule)
            .arg("0x80000000/0xf0000000");
        iptables.run().expect_success();
    };
    let all: [(Change<'_>, &str); 3] = [
        (&by_rule, "5000"),
        (&by_nft, "theirs"),
        (&by_iptables, "PREROUTING"),
    ];
    for (change, named) in all {
        let site = Site::new("mark");
        change(&site);
        let output = plan(&site, "tproxy", HOST);
        assert_refuses(&output, &["mark", named, "0x80000000", "mark: { steer:"]);
        // What is suggested works.
        let (_, rest) = output
            .stderr
            .split_once("mark: { steer: ")
            .expect("it was said");
        let (mark, _) = rest.split_once(" }").expect("a mapping");
        let chosen = format!("{HOST}mark: {{ steer: \"{}\" }}\n", mark.trim_matches('"'));
        assert_names(&plan(&site, "tproxy", &chosen), &["tproxy"]);
        // A method without that mark is not disturbed.
        assert_names(&plan(&site, "redirect", HOST), &["redirect"]);
    }
}

/// The mark of the engine's own sockets is everybody's business.
#[test]
fn a_foreign_use_of_the_bypass_mark_is_refused_and_named() {
    lab::require!(Namespaces, Program("nft"));
    let site = Site::new("bypass");
    nft(
        &site,
        "table inet theirs { chain out { type route hook output priority 7; \
                tcp dport 7 meta mark set 0x10000000; }; }\n",
    );
    for method in ["redirect", "tproxy"] {
        let output = plan(&site, method, HOST);
        assert_refuses(
            &output,
            &["mark", "theirs", "0x10000000", "mark: { bypass:"],
        );
    }
}

#[test]
fn a_foreign_chain_at_our_priority_is_named() {
    lab::require!(Namespaces, Program("nft"));
    let site = Site::new("priority");
    nft(
        &site,
        "table inet theirs {\n\
         chain first { type route hook output priority -151; };\n\
         chain second { type filter hook prerouting priority -151; };\n\
         chain third { type nat hook output priority -101; };\n}\n",
    );
    assert_names(&plan(&site, "tproxy", HOST), &["theirs", "-151", "first"]);
    assert_names(&plan(&site, "redirect", HOST), &["theirs", "-101", "third"]);
}

#[test]
fn a_foreign_rule_at_our_priority_is_named_and_one_that_takes_all_is_refused() {
    lab::require!(Namespaces);
    let site = Site::new("iprule");
    let foreign = [
        "rule", "add", "priority", "1500", "fwmark", "0x5", "lookup", "100",
    ];
    site.app.ip(&foreign);
    assert_names(&plan(&site, "tproxy", HOST), &["1500", "fwmark 0x5"]);
    for family in ["-4", "-6"] {
        let site = Site::new("ipall");
        site.app
            .ip(&[family, "rule", "add", "priority", "1000", "lookup", "main"]);
        let output = plan(&site, "tproxy", HOST);
        assert_refuses(&output, &["1000", "stands before it", "redirect"]);
        assert_names(&plan(&site, "redirect", HOST), &["redirect"]);
    }
}

/// Marks that count where the source of a packet is checked: what is steered for others is steered
/// all the same, and where that is impossible it is said.
#[test]
fn marks_that_count_at_the_source_are_named_and_do_no_harm() {
    lab::require!(Namespaces, Cgroup2);
    let (site, client, _) = Site::routing("validmark");
    for name in ["all", "eth0", "eth1"] {
        site.app
            .set_sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "1");
        site.app
            .set_sysctl(&format!("net/ipv4/conf/{name}/src_valid_mark"), "1");
    }
    let config = "scope: { interface: [eth0] }\non_failure: closed\n";
    assert_names(&plan(&site, "tproxy", config), &["src_valid_mark"]);
    let kept = plan(&site, "tproxy", &format!("{config}source: client\n"));
    assert_refuses(&kept, &["src_valid_mark", "source: client", "sysctl"]);

    let server = site.srv.serve(7, Service::Echo);
    let udp = site.srv.serve_udp(7);
    for backend in ["nft", "iptables"] {
        let up = site
            .up(&format!("method: tproxy\nbackend: {backend}\n{config}"))
            .spawn();
        up.wait_line(|line| line.contains("in force"));
        for family in Family::BOTH {
            let to = site.srv.at(family, 7);
            let mut steered = client.connect(to).expect("it is steered");
            assert!(echoes(&mut steered, b"steered"));
            assert!(server.seen().iter().all(|one| one.peer != steered.local()));
            assert_eq!(
                client.udp(family).ask(to, b"hello"),
                Ok((b"hello".to_vec(), to))
            );
            let own = client.address(family);
            assert!(
                udp.seen().iter().all(|it| it.peer.ip() != own),
                "it was not steered"
            );
        }
        up.signal(Signal::SIGTERM);
        assert_eq!(up.wait(), Status::Exited(0), "{}", up.stderr());
    }
}
