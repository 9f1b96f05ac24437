//! What a service manager is told of a reload.

use std::os::unix::net::UnixDatagram;

use lab::{DEADLINE, Status};

use crate::site::{Means, Site};

#[test]
fn a_service_manager_is_told_when_a_reload_begins_and_what_came_of_it() {
    lab::require!(Namespaces);
    let site = Site::new("manager");
    let socket = UnixDatagram::bind(site.path("notify")).expect("our directory");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let told = || {
        let mut room = [0; 4096];
        let length = socket.recv(&mut room).expect("it is told");
        String::from_utf8_lossy(&room[..length]).into_owned()
    };
    let config = format!("{}scope: {{ host: true }}\n", Means::RedirectNft);
    let up = site.up(&config).env("NOTIFY_SOCKET", site.path("notify"));
    let up = up.spawn();
    let ready = told();
    let status = ready.strip_prefix("READY=1\nSTATUS=").expect(&ready);
    assert!(
        status.ends_with("in force by redirect") && !status.contains('\n'),
        "{status}"
    );
    let mut last = 0;
    for (text, outcome) in [
        (config.clone(), "as the config says"),
        ("rulez: []\n".to_owned(), "as it was before"),
        (config, "as the config says"),
    ] {
        site.write("config.yaml", &format!("name: {}\n{text}", site.name));
        up.signal(lab::Signal::SIGHUP);
        let begins = told();
        let time = begins.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let time: u64 = time.and_then(|time| time.parse().ok()).expect(&begins);
        assert!(time > last, "{time} after {last}");
        last = time;
        let ends = told();
        let mut lines = ends.lines();
        assert_eq!(lines.next(), Some("READY=1"));
        let status = lines.next().and_then(|line| line.strip_prefix("STATUS="));
        assert!(status.is_some_and(|line| line.contains(outcome)), "{ends}");
        assert_eq!(lines.next(), None, "{ends}");
    }
    up.signal(lab::Signal::SIGTERM);
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(up.wait(), Status::Exited(0));
    site.assert_untouched();
}

#[test]
fn a_service_manager_that_watches_hears_of_it_again_and_again() {
    lab::require!(Namespaces);
    let site = Site::new("watchdog");
    let socket = UnixDatagram::bind(site.path("notify")).expect("our directory");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let config = format!("{}scope: {{ host: true }}\n", Means::RedirectNft);
    let up = site.up(&config).env("NOTIFY_SOCKET", site.path("notify"));
    let up = up.env("WATCHDOG_USEC", "200000").spawn();
    let told = || {
        let mut room = [0; 4096];
        let length = socket.recv(&mut room).expect("it is told");
        String::from_utf8_lossy(&room[..length]).into_owned()
    };
    assert!(told().starts_with("READY=1"));
    for _ in 0..3 {
        assert_eq!(told(), "WATCHDOG=1");
    }
    up.signal(lab::Signal::SIGTERM);
    while told() != "STOPPING=1" {}
    assert_eq!(up.wait(), Status::Exited(0));
    site.assert_untouched();
}
