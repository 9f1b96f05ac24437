//! What a policy keeps from the command that it is for.

use lab::Program;

use crate::site::Site;

/// Shows the variable, and tries to read that of `steer`, whose process is the shell's parent.
const LOOK: &str = "echo \"own=$STEER_SECRET\"; tr '\\0' '\\n' < /proc/$PPID/environ";

#[test]
fn a_command_finds_no_secret_in_its_environment_nor_in_that_of_steer() {
    lab::require!(Namespaces, Program("unshare"));
    let site = Site::new("secrets");
    let rule = "match: { host: api.example.com }, http: { request: { set: ";
    let open = site.write("open.yaml", "rules: { match: { port: 1 }, action: reject }");
    let text = format!("rules: {{ {rule} {{ x-token: {{ env: STEER_SECRET }} }} }} }} }}");
    let secret = site.write("secret.yaml", &text);
    for method in ["env", "preload", "netns", "seccomp"] {
        let run = |config| {
            let run = site.unprivileged().args(["run", "-m", method, "-c"]);
            let run: Program = run.arg(config).args(["--", "sh", "-c", LOOK]);
            run.env("STEER_RUN_DIR", site.path("run"))
                .env("STEER_SECRET", "hunter2")
                .run()
        };
        // What it is kept from is there to be found; who has namespaces of users of its own is
        // kept from looking anyway.
        let output = run(&open);
        let found = output.stdout.matches("hunter2").count();
        let expected = if method == "netns" { 1 } else { 2 };
        assert_eq!(found, expected, "{method}: {output:?}");
        let output = run(&secret);
        assert!(output.stdout.starts_with("own=\n"), "{method}: {output:?}");
        let said = format!("{output:?}");
        assert!(!said.contains("hunter2"), "{method}: {said}");
        assert!(said.contains("Permission denied"), "{method}: {said}");
    }
}
