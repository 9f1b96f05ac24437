//! Two hosts, and commands of a user on the first.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use lab::{Host, Program, Resolver};
use steer_tests::{Records, Stage, steer};

/// Root, and a user without privilege.
pub(crate) const USERS: [u32; 2] = [0, 65_534];

/// Two hosts, and a folder that everybody may write.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) user: u32,
    dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(label: &str, user: u32) -> Self {
        let stage = Stage::new(&format!("{label}{user}"));
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).expect("our directory");
        let scene = Self { stage, user, dir };
        // The folder of the build may be closed to others. Another process copies it: a descriptor
        // for writing here would be inherited by what other tests start, and the copy be busy.
        let cp = Program::new("cp").arg(steer()).arg(scene.path("steer"));
        cp.run().expect_success();
        scene
    }

    pub(crate) fn app(&self) -> &Host {
        &self.stage.app
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Answers DNS at an address of a host, and has the user's programs ask `nameserver`.
    pub(crate) fn resolve(&self, host: &Host, at: &str, records: &[&str]) -> Resolver {
        let text = format!("nameserver {at}\noptions timeout:2 attempts:1\n");
        self.ask(&text);
        host.resolve(&[at.parse().expect("an address")], records)
    }

    /// Has the user's programs look names up as this resolv.conf says.
    pub(crate) fn ask(&self, text: &str) {
        fs::write(self.path("resolv.conf"), text).expect("our directory can be written");
        let hosts = "passwd: files\ngroup: files\nhosts: files dns\n";
        fs::write(self.path("nsswitch.conf"), hosts).expect("our directory can be written");
    }

    /// A program of the user on the first host; `/run` is empty there and may be written, and what
    /// [`Self::resolve`] has written is in `/etc`.
    pub(crate) fn program(&self, words: &[&str]) -> Program {
        // The mounts are seen by this program alone.
        const ENTER: &str = "\
mount -t tmpfs -o mode=777 tmpfs /run; mkdir -m 777 /run/nscd /run/dbus
for name in resolv.conf nsswitch.conf; do
  if test -e \"$1/$name\"; then mount --bind \"$1/$name\" /etc/$name; fi
done
cd \"$1\"; user=$2; shift 2
if test $user = 0; then exec \"$@\"; fi
exec setpriv --reuid $user --regid $user --clear-groups \"$@\"";
        self.app()
            .program("unshare")
            .args(["--mount", "sh", "-ec", ENTER, "sh"])
            .arg(self.dir.path())
            .arg(self.user.to_string())
            .args(words)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .deadline(3 * lab::DEADLINE)
    }

    /// `steer run` with these flags.
    pub(crate) fn run(&self, flags: &[&str], command: &[&str]) -> Program {
        self.program(&self.words(flags, command))
    }

    /// The words of `steer run` with these flags.
    pub(crate) fn words<'a>(&self, flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
        let steer = ["./steer", "run", "-m", "netns", "--log", LOG];
        [&steer, flags, &["--"], command].concat()
    }

    /// A Python script as the command.
    pub(crate) fn python(&self, flags: &[&str], script: &str) -> Program {
        self.run(flags, &["python3", "-c", script])
    }

    /// What was recorded.
    pub(crate) fn records(&self) -> Records {
        Records::of(self.path(LOG))
    }
}

/// Runs a test as each user.
pub(crate) fn as_each_user(label: &str, test: impl Fn(&Scene)) {
    for user in USERS {
        test(&Scene::new(label, user));
    }
}

const LOG: &str = "records.json";
