//! Credentials that programs have not got: they reach the server that proves its name, whichever
//! method brought the request, and whatever address the program chose.

use std::fs;

use lab::{End, Family, Service};
use steer_tests::{Mount, Rig, Setup, Stage, mounted};

use crate::site::{Site, TOKEN, request};

macro_rules! for_each_method {
    ($($module:ident $mount:ident)*) => {
        $(mod $module {
            #[test]
            fn a_secret_arrives_by_verified_tls_and_forged_names_get_nothing() {
                super::mounted(
                    super::Mount::$mount,
                    "a_secret_arrives_by_verified_tls_and_forged_names_get_nothing",
                    super::a_secret_arrives_by_verified_tls_and_forged_names_get_nothing,
                );
            }
        })*
    };
}

for_each_method! {
    redirect_nft RedirectNft
    redirect_iptables RedirectIptables
    redirect_legacy RedirectLegacy
    tproxy_nft TproxyNft
    tproxy_iptables TproxyIptables
    tproxy_legacy TproxyLegacy
    ebpf Ebpf
    tun Tun
    tap Tap
    env Env
    explicit_connect ExplicitConnect
    explicit_socks5 ExplicitSocks5
    dns_alone Dns
    netns Netns
    seccomp Seccomp
    preload Preload
}

fn a_secret_arrives_by_verified_tls_and_forged_names_get_nothing(mount: Mount) {
    lab::require!(Program("nginx"), Program("openssl"));
    let stage = Stage::new("secret");
    let site = Site::serve(&stage.app);
    // Whoever is at the address that the program goes to.
    let tls_port = if mount == Mount::Dns { 80 } else { 443 };
    let mut attackers = vec![stage.srv.serve(80, Service::Echo)];
    if tls_port != 80 {
        attackers.push(stage.srv.serve(tls_port, Service::Echo));
    }
    let rig = Rig::start(&stage.app, mount, &Setup::policy(site.policy()));

    let mut client = rig
        .connect(stage.at(Family::V4, 80))
        .expect("the engine takes it");
    client
        .send(request("/plain").as_bytes())
        .expect("the connection stands");
    let (answer, end) = client.receive_all();
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.ends_with("from nginx\n"), "{answer}");
    assert_eq!(end, End::Fin);
    let by_tls = rig
        .connect(stage.at(Family::V4, tls_port))
        .expect("the engine takes it");
    let opened = site.by_tls(&by_tls, &request("/opened"));
    assert!(opened.ends_with("from nginx\n"), "{opened}");
    drop(by_tls);

    for (line, path) in site.wait_noted(2).iter().zip(["/plain", "/opened"]) {
        let expected = format!("https {path} Bearer {TOKEN}");
        assert_eq!(line, &expected);
    }
    for attacker in &attackers {
        assert_eq!(attacker.seen(), [], "somebody else was asked");
    }
    let requests = rig.records().wait_for_requests(2);
    for (request, path) in requests.iter().zip(["/plain", "/opened"]) {
        assert_eq!(
            (&request["rule"], &request["status"], &request["path"]),
            (&"api".into(), &200.into(), &path.into())
        );
    }
    drop(client);
    let records = rig.records().wait_for(2);
    let opened_tls = records.iter().filter(|it| it["tls"] == "intercepted");
    assert_eq!(opened_tls.count(), 1, "{records:#?}");
    assert!(records.iter().all(|record| record["requests"] == 1));
    let folder = rig.folder();
    let said = rig.stop();
    let log = fs::read_to_string(folder.join("log.jsonl")).unwrap_or_default();
    for text in [&answer, &opened, &said, &log] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}
