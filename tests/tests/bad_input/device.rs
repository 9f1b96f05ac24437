//! Devices that cannot be made, or are none.

use std::fs;

use lab::{Output, Program};
use steer_tests::steer;

use crate::assert_refuses;
use crate::site::Site;

/// Runs `up` with a config in the site's host.
fn up(site: &Site, config: &str) -> Output {
    let path = site.write("c.yaml", config);
    let up = site.steer().args(["up", "--name", &site.name, "-c"]);
    up.arg(&path).run()
}

#[test]
fn a_device_that_cannot_be_is_refused_with_what_would_be_right() {
    lab::require!(Namespaces);
    let site = Site::new("nodevice");
    let cases: [(&str, &[&str]); 5] = [
        (
            "method: tun\nscope: { host: true }\ndevice: { mtu: 576 }",
            &["576", "device.mtu", "1280 to 65520", "^^^"],
        ),
        (
            "method: tap\ndevice: { bridge: br7, gateway: 10.9.0.1/24 }",
            &["the bridge br7", "ip link add br7 type bridge"],
        ),
        (
            "method: tap\ndevice: { bridge: lo, gateway: 10.9.0.1/24 }",
            &["the bridge lo", "that interface is none"],
        ),
        (
            "method: tun\ndevice: { bridge: br7, gateway: 10.9.0.1/24 }",
            &["tun", "device.bridge", "remove the key"],
        ),
        (
            "method: tun\ndevice: { fd: 9 }",
            &["descriptor 9", "nothing is open there", "TUNSETIFF"],
        ),
    ];
    for (config, words) in cases {
        assert_refuses(&up(&site, config), words);
    }
    site.assert_untouched();
}

#[test]
fn a_descriptor_of_something_else_is_refused_before_anything_is_done() {
    lab::require!(Namespaces);
    let site = Site::new("notun");
    let script = format!(
        "exec {} up -m tun --tun-fd 7 7</dev/null",
        steer().display()
    );
    let output = site
        .app
        .program("sh")
        .args(["-c", &script])
        .env("STEER_RUN_DIR", site.path("run"))
        .run();
    assert_refuses(
        &output,
        &["descriptor 7", "it is of something else", "TUNSETIFF"],
    );
    site.assert_untouched();
}

#[test]
fn a_name_that_another_device_has_is_not_taken_from_it() {
    lab::require!(Namespaces);
    let site = Site::new("taken");
    let name = format!("tun-{}", site.name);
    site.app.ip(&["link", "add", &name, "type", "veth"]);
    let output = up(&site, "method: tun\nscope: { host: true }");
    assert_refuses(
        &output,
        &[&name, "another program", "another instance name"],
    );
    let left = site.app.ip(&["-d", "link", "show", "dev", &name]);
    assert!(left.contains("veth"), "{left}");
    site.app.ip(&["link", "del", &name]);
    site.assert_untouched();
}

#[test]
fn without_the_file_of_devices_the_method_says_how_to_make_it() {
    lab::require!(Namespaces, Program("unshare"));
    let site = Site::new("nofile");
    let empty = site.path("empty");
    fs::create_dir_all(&empty).expect("our directory can be written");
    let without = |words: &str| -> Program {
        let script = format!(
            "mount --bind {} /dev/net && exec {} {words}",
            empty.display(),
            steer().display()
        );
        let program = site.app.program("unshare");
        let program = program.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        program.env("STEER_RUN_DIR", site.path("run"))
    };
    let output = without("run -m tun -- echo never").run();
    assert_refuses(
        &output,
        &["there is no /dev/net/tun", "mknod /dev/net/tun", "--device"],
    );
    let path = site.write("c.yaml", "scope: { host: true }\ndevice: { mtu: 9000 }\n");
    let output = without(&format!("up -c {}", path.display())).run();
    assert_refuses(
        &output,
        &[
            "not tun",
            "there is no /dev/net/tun",
            "not tproxy",
            "device.mtu",
        ],
    );
    site.assert_untouched();
}
