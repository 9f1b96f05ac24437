//! The README's first command: it steers a real program with nothing prepared.

use lab::Family;

use crate::site::Site;

/// The program of the README, from the root of the repository.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/fetch");

/// What the program prints, steered or not.
const PAGE: &str = "a page, fetched by a program that knows of no proxy\n";

#[test]
fn the_readme_names_this_program() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("there is a README");
    let command = "cargo run -q --release -- run --log /dev/stderr -- examples/fetch";
    assert!(readme.contains(command));
}

#[test]
fn the_example_program_is_steered_with_and_without_privilege() {
    lab::require!(Namespaces, Cgroup2, Program("curl"), Program("python3"));
    let site = Site::new("readme");
    let plain = site.app.program(PROGRAM).run().expect_success();
    assert_eq!(plain, PAGE);
    for (steer, method) in [(site.steer(), "tproxy"), (site.unprivileged(), "env")] {
        let run = steer.args(["run", "--log", "/dev/stderr", "--", PROGRAM]);
        let output = run.run();
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
