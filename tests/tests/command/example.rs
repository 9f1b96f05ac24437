//! The README's first command: it steers a real program with nothing prepared.

use lab::{Family, Program};

use crate::site::Site;

/// The script of the README.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/try");

/// What the program prints, steered or not.
const PAGE: &str = "a page, fetched by a program that knows of no proxy\n";

#[test]
fn the_readme_names_this_script() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("there is a README");
    assert!(readme.contains("\n    ./examples/try\n"));
}

#[test]
fn the_example_program_is_steered_with_and_without_privilege() {
    lab::require!(Namespaces, Cgroup2, Program("curl"), Program("python3"));
    let site = Site::new("readme");
    // A user without privileges may not be let into the folder of this checkout.
    let script = site.path("try");
    Program::new("cp")
        .args([SCRIPT.as_ref(), script.as_os_str()])
        .run()
        .expect_success();
    let root = site.app.program(&script).env("STEER", steer_tests::steer());
    let user = site.app.program(&script).without_privileges();
    let user = user.env("STEER", site.unprivileged_copy());
    for (script, method) in [(root, "tproxy"), (user, "netns")] {
        let output = script.run();
        let record = format!("\"method\":\"{method}\"");
        assert!(output.stderr.contains(&record), "{output:#?}");
        let address = site.app.address(Family::V4).to_string();
        let destination = format!("\"destination\":\"{address}:");
        assert!(output.stderr.contains(&destination), "{output:#?}");
        assert_eq!(output.expect_success(), PAGE);
    }
    site.assert_untouched();
}

#[test]
fn the_readme_s_config_is_right() {
    lab::require!(Namespaces);
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("there is a README");
    let (_, after) = readme.split_once("```yaml\n").expect("it shows a config");
    let (config, _) = after.split_once("```").expect("the config ends");
    let site = Site::new("readmecfg");
    let path = site.write("steer.yaml", config);
    let said = site.steer().args(["check", "-c"]).arg(&path).run();
    assert!(said.expect_success().contains("right; method auto"));
}
