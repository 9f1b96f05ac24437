//! The kernel side: programs and maps by name, and the object that holds them.

/// The compiled programs (`object/steer.toml` says of which source).
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../object/steer.o");

/// A program of the object and the place in the kernel where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Its name.
    pub(crate) program: &'static str,
    /// The number of the place (`enum bpf_attach_type`).
    pub(crate) kind: u32,
    /// The first kernel that has all that it needs.
    pub(crate) since: &'static str,
}

/// The programs that a cgroup gets. What translates comes before what takes, so that nothing is
/// taken that would not be told the address which it asked for.
pub(crate) const AT_CGROUPS: [Hook; 12] = [
    hook("release_socket", 34, "5.9"),
    hook("keep_in", 1, "5.8"),
    hook("note_sockops", 3, "5.8"),
    hook("give_recvmsg4", 19, "5.2"),
    hook("give_recvmsg6", 20, "5.2"),
    hook("give_getpeername4", 29, "5.8"),
    hook("give_getpeername6", 30, "5.8"),
    hook("refuse_socket", 2, "4.10"),
    hook("take_sendmsg4", 14, "6.1"),
    hook("take_sendmsg6", 15, "6.1"),
    hook("take_connect4", 10, "6.1"),
    hook("take_connect6", 11, "6.1"),
];

/// The program by which other proxies are told original destinations; at the root.
pub(crate) const ANSWERS: Hook = hook("answer_getsockopt", 21, "5.8");

/// The program at a network namespace.
pub(crate) const LOOKS_UP: Hook = hook("look_up", 36, "5.9");

/// All of them.
pub(crate) fn hooks() -> impl Iterator<Item = Hook> {
    AT_CGROUPS.into_iter().chain([ANSWERS, LOOKS_UP])
}

/// The hook of a program.
pub(crate) fn hook_of(program: &str) -> Option<Hook> {
    hooks().find(|hook| hook.program == program)
}

const fn hook(program: &'static str, kind: u32, since: &'static str) -> Hook {
    Hook {
        program,
        kind,
        since,
    }
}

/// The map that says whose the others are.
pub(crate) const OWNER: &str = "OWNER";
/// The map of listeners by network namespace.
pub(crate) const PLACES: &str = "PLACES";

/// The maps of one configuration with its generations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables {
    /// The entry of each generation.
    pub(crate) config: &'static str,
    /// The number of the generation that holds.
    pub(crate) active: &'static str,
    /// Its ports.
    pub(crate) ports: &'static str,
    /// Its networks.
    pub(crate) nets: &'static str,
}

/// Those of what programs send.
pub(crate) const OUTBOUND: Tables = Tables {
    config: "CONFIG",
    active: "ACTIVE",
    ports: "PORTS",
    nets: "NETS",
};

/// Those of what comes to a namespace.
pub(crate) const INBOUND: Tables = Tables {
    config: "INBOUND",
    active: "INBOUND_ACTIVE",
    ports: "INBOUND_PORTS",
    nets: "INBOUND_NETS",
};
