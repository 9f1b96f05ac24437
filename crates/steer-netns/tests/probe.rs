//! Really trying the method, as root and as a user without privilege.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails the test"
)]

use std::process::ExitCode;

use lab::{Need, Program, require};
use steer_core::instance::Instance;
use steer_core::intent::{Intent, Scope};
use steer_core::steerer::Steerer;
use steer_kernel::drivers::Drivers;
use steer_kernel::keeper;
use steer_netns::Netns;

/// The process that holds the namespaces is this program again, so that it needs a `main` of its
/// own.
fn main() -> ExitCode {
    keeper::entry_with(|| Drivers::new(Netns.drivers()));
    if std::env::args().any(|argument| argument == ROLE) {
        return probe();
    }
    if std::env::args().any(|argument| argument == "--list") {
        println!("the_method_works_where_it_says_so: test");
        return ExitCode::SUCCESS;
    }
    if require(&[Need::Root]) {
        the_method_works_where_it_says_so();
        println!("test result: ok");
    }
    ExitCode::SUCCESS
}

fn probe() -> ExitCode {
    let intent = Intent::new(Instance::new("demo").unwrap(), Scope::command());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!("{:?}", runtime.block_on(Netns.probe(&intent)));
    ExitCode::SUCCESS
}

fn the_method_works_where_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("probe");
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    // The folder of the build may be closed to others.
    let exe = std::env::current_exe().unwrap();
    Program::new("cp")
        .arg(exe)
        .arg(&copy)
        .run()
        .expect_success();
    for user in [0, 65_534] {
        // In a network of the test's own, so that nothing of it is seen elsewhere.
        let id = user.to_string();
        let enter = [
            "-n",
            "setpriv",
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
        ];
        let tried = || Program::new("unshare").args(enter).arg(&copy).arg(ROLE);
        assert_eq!(
            tried().run().expect_success().trim(),
            "Works",
            "user {user}"
        );
    }
    // A limit of none for everybody in a user namespace: nobody can make one there.
    let forbidden = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"";
    let tried = Program::new("unshare").args(["-r", "-n", "sh", "-c", forbidden, "sh"]);
    let said = tried.arg(&copy).arg(ROLE).run().expect_success();
    assert!(said.contains("Fails"), "{said}");
    assert!(said.contains("max_user_namespaces"), "{said}");
}

const ROLE: &str = "--probe";
