//! A container of a real container engine, with the network of a host of the lab.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::hierarchy::Hierarchy;
use crate::host::Host;
use crate::namespace::abandoned;
use crate::program::Program;

/// A container that podman runs, whose only programs are those of a static busybox.
///
/// Everything of it, the engine's own store too, lies in a folder of its own, so that tests see
/// neither each other nor the containers of the machine. It is removed on drop.
#[derive(Debug)]
pub struct Container {
    folder: PathBuf,
    name: String,
    id: String,
    pid: i32,
}

impl Container {
    /// Starts a container that idles, in the network namespace of the host. Needs `podman`,
    /// `runc` and a static `busybox`.
    pub fn start(host: &Host, label: &str) -> Self {
        Self::start_below(host, label, None)
    }

    /// The same, with its cgroups in the hierarchy of this process's own.
    pub fn start_in_hierarchy(host: &Host, label: &str) -> Self {
        let parent = Hierarchy::own().path().file_name();
        let parent = parent
            .and_then(|name| name.to_str())
            .expect("made from text");
        Self::start_below(host, label, Some(parent))
    }

    fn start_below(host: &Host, label: &str, parent: Option<&str>) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lab-{label}-{}-{counter}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        let root = folder.join("root");
        furnish(&folder, &root).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let network = format!("ns:{}", host.namespace_path().display());
        let mut container = Self {
            folder,
            name,
            id: String::new(),
            pid: 0,
        };
        let run = [
            "run",
            "--detach",
            "--name",
            &container.name,
            "--network",
            &network,
        ];
        // The machine's kernel may know calls that the engine's filter does not.
        let open = ["--security-opt", "seccomp=unconfined", "--rootfs"];
        let below = parent.map(|parent| format!("--cgroup-parent=/{parent}"));
        let started = container.podman().args(run).args(below);
        let started = started.args(open).arg(&root);
        let said = started
            .args(["/bin/sleep", "100000"])
            .run()
            .expect_success();
        said.trim_end().clone_into(&mut container.id);
        let asked = ["inspect", "--format", "{{.State.Pid}}", &container.name];
        let said = container.podman().args(asked).run().expect_success();
        container.pid = said.trim_end().parse().expect("a process id");
        container
    }

    /// Its name, as the engine knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The process id of its first process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The variables with which the engine's own commands find it.
    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        variables(&self.folder)
    }

    /// A program to run inside, as `podman exec` starts it; the programs there are busybox's.
    pub fn program<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Program {
        let exec = self.podman().args(["exec", "--interactive", &self.name]);
        exec.args(words)
    }

    fn podman(&self) -> Program {
        podman(&self.folder)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Lays out the container's root, and the engine's settings beside it.
fn furnish(folder: &Path, root: &Path) -> std::io::Result<()> {
    for below in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(below))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    let at = folder.display();
    fs::write(
        folder.join(SETTINGS),
        "[containers]\ndefault_ulimits=[]\n\
         [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"none\"\nruntime=\"runc\"\n",
    )?;
    fs::write(
        folder.join(STORE),
        format!("[storage]\ndriver=\"vfs\"\nrunroot=\"{at}/run\"\ngraphroot=\"{at}/store\"\n"),
    )
}

fn variables(folder: &Path) -> [(&'static str, PathBuf); 2] {
    [
        ("CONTAINERS_CONF", folder.join(SETTINGS)),
        ("CONTAINERS_STORAGE_CONF", folder.join(STORE)),
    ]
}

fn podman(folder: &Path) -> Program {
    let mut program = Program::new("podman");
    for (name, value) in variables(folder) {
        program = program.env(name, value);
    }
    program
}

/// Removes the containers of tests whose process is dead.
fn sweep() {
    let folder = std::env::temp_dir();
    let abandoned = abandoned(&folder);
    abandoned.iter().for_each(|name| remove(&folder.join(name)));
}

fn remove(folder: &Path) {
    if folder.join(SETTINGS).exists() {
        let all = podman(folder)
            .args(["rm", "--all", "--force", "--time", "0"])
            .run();
        if all.status != crate::Status::Exited(0) {
            eprintln!("lab: a container stays: {all:#?}");
        }
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("lab: {} stays: {error}", folder.display());
    }
}

/// Where Debian's package busybox-static has it.
const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: [&str; 6] = ["cat", "ip", "nc", "nslookup", "sleep", "wget"];
const SETTINGS: &str = "containers.conf";
const STORE: &str = "storage.conf";
