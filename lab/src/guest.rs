//! A virtual machine: another kernel, that knows nothing of the lab.

mod archive;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use crate::host::Host;
use crate::need::find_program;
use crate::program::Output;

use archive::Archive;

impl Host {
    /// Boots a virtual machine whose only network device is a port of this host's bridge, runs a
    /// script of BusyBox's shell in it to its end, and gives what it said; one machine at a time.
    ///
    /// The machine is emulated in software, has no disk, and is Debian's kernel as it is. Its device
    /// is `eth0`, up, with no address; `udhcpc` configures it by a script as distributions have it.
    /// Needs [`Need::Guest`](crate::Need::Guest).
    pub fn run_guest(&self, bridge: &str, script: &str) -> Output {
        let kernel = kernel().expect("the test has asked for `Guest`");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let image = folder.path().join("initrd");
        fs::write(&image, initrd(&kernel, script)).expect("a file in a new directory");
        self.ip(&["tuntap", "add", PORT, "mode", "tap", "vnet_hdr"]);
        self.ip(&["link", "set", PORT, "master", bridge, "up"]);
        let network = format!("tap,id=net,ifname={PORT},script=no,downscript=no");
        let qemu = self.program(QEMU).args(["-accel", "tcg", "-m", "160"]);
        let qemu = qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        let qemu = qemu.args(["-serial", "stdio", "-kernel"]);
        let qemu = qemu.arg(kernel.join("vmlinuz")).arg("-initrd").arg(&image);
        let qemu = qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
        let qemu = qemu.args(["-netdev", &network, "-device"]);
        let qemu = qemu.arg("virtio-net-pci,netdev=net,romfile=");
        let mut output = qemu.deadline(PATIENCE).run();
        self.ip(&["link", "del", PORT]);
        // A serial line ends lines as terminals do; the firmware speaks before the script.
        let said = output.stdout.replace('\r', "");
        output.stdout = match said.split_once(BEGIN) {
            Some((_, said)) => said.to_owned(),
            None => said,
        };
        output
    }
}

/// The folder with a kernel and its modules that `tests/run` makes, if all that a guest needs is there.
pub(crate) fn kernel() -> Option<PathBuf> {
    find_program(QEMU)?;
    find_program(BUSYBOX)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab-kernel");
    (folder.join("vmlinuz").exists() && Path::new("/dev/net/tun").exists()).then_some(folder)
}

/// All that the machine has: BusyBox, the drivers of its network device, and the script.
fn initrd(kernel: &Path, script: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "etc", "modules", "proc", "sys", "tmp"] {
        archive.folder(folder);
    }
    let busybox = find_program(BUSYBOX).expect("the test has asked for `Guest`");
    archive.file("bin/busybox", 0o755, &fs::read(busybox).expect("a program"));
    let order = MODULES.map(|module| format!("/modules/{module}.ko\n"));
    archive.file("modules/order", 0o644, order.concat().as_bytes());
    for module in MODULES {
        let name = format!("{module}.ko");
        match fs::read(kernel.join(&name)) {
            Ok(bytes) => archive.file(&format!("modules/{name}"), 0o644, &bytes),
            // Part of the kernel itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
    archive.file("lease", 0o755, LEASE.as_bytes());
    archive.file("script", 0o755, script.as_bytes());
    archive.file("init", 0o755, INIT.as_bytes());
    archive.bytes()
}

/// Each after those that it needs.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];

/// The first process.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do [ ! -e $module ] || insmod $module; done
ip link set lo up
ip link set eth0 up
echo BEGIN
sh /script 2>&1
poweroff -f
";

/// What `udhcpc` calls, as distributions have it.
const LEASE: &str = "#!/bin/sh
case $1 in
deconfig) ip -4 addr flush dev $interface ;;
bound | renew)
  ip addr add $ip/$mask dev $interface
  [ -z \"$mtu\" ] || ip link set $interface mtu $mtu
  ip route add default via $router dev $interface
  for server in $dns; do echo nameserver $server; done >/etc/resolv.conf
  ;;
esac
";

/// Where the script's own words begin.
const BEGIN: &str = "BEGIN\n";

const QEMU: &str = "qemu-system-x86_64";
const BUSYBOX: &str = "busybox";

/// The machine's end at the bridge.
const PORT: &str = "vm0";

/// Emulation is slow, and machines that check are loaded.
const PATIENCE: Duration = Duration::from_secs(300);
