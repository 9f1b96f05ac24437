//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use steer::core::address::PortRange;
use steer::core::config::MethodChoice;
use steer::core::instance::Instance;
use steer::core::intent::{Backend, Loopback, OnFailure, Publish};

/// Force a program's network traffic through a proxy, by whichever method fits this host.
#[derive(Debug, Parser)]
#[command(name = "steer", version, propagate_version = true)]
pub(crate) struct Cli {
    /// Say more on stderr; twice for every connection. STEER_LOG takes tracing filters.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Steer one program and its children; its exit status is passed on.
    Run(Run),
    /// Steer what the config says, in the foreground, until a signal comes; SIGHUP has it read again.
    Up(Up),
    /// Print what would be installed; changes nothing and needs no privilege.
    Plan(Plan),
    /// Say whether a config is right.
    Check(Check),
    /// Print the variables that bring programs to an explicit port: eval "$(steer env)".
    Env(Env),
    /// Remove what a crash left behind; needs no config.
    Clean(Clean),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) steering: Steering,

    /// Count what leaves past the engine and say so in the end. If anything did, it is listed and
    /// the exit status is 124, unless the command itself failed.
    #[arg(long)]
    pub(crate) verify: bool,

    /// Start the program although it, or one that it starts, would get past the method.
    #[arg(long)]
    pub(crate) allow_unsteered: bool,

    /// The program and its arguments.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) steering: Steering,

    /// Reset the TCP connections that programs in scope have already and that would be steered, so
    /// that they come back steered; for the method ebpf.
    #[arg(long)]
    pub(crate) reset: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) steering: Steering,

    /// Plan for the host described in FILE instead of this one.
    #[arg(long, value_name = "FILE")]
    pub(crate) host: Option<PathBuf>,

    /// Write the description of this host to FILE, for `--host` elsewhere; `-` is stdout.
    #[arg(long, value_name = "FILE", conflicts_with = "host")]
    pub(crate) save_host: Option<PathBuf>,

    /// Print the plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// Plan for `steer run` although the config names a scope; the default without a config.
    #[arg(long)]
    pub(crate) run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The config.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Env {
    /// The address of the port; that of the config or of `steer up -m explicit` by default.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,

    /// The config of the `steer up` that has the port, also for its login.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The language to print.
    #[arg(long, value_enum, default_value = "sh")]
    pub(crate) shell: ShellArg,

    /// Print what removes the variables instead.
    #[arg(long, conflicts_with_all = ["listen", "config"])]
    pub(crate) unset: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ShellArg {
    /// sh, bash, zsh and their kin, for `eval`.
    Sh,
    /// fish, for `steer env --shell fish | source`.
    Fish,
    /// A JSON object.
    Json,
    /// Lines `NAME=VALUE` for .env files.
    Dotenv,
}

#[derive(Debug, Args)]
pub(crate) struct Clean {
    /// Stop instances that are in force, too.
    #[arg(long)]
    pub(crate) force: bool,
}

/// What can be said on the command line instead of in the config.
#[derive(Debug, Args)]
pub(crate) struct Steering {
    /// The method, or several in order of preference, separated by commas; `auto` by default.
    #[arg(short, long, value_name = "METHOD")]
    pub(crate) method: Option<MethodChoice>,

    /// The config.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Send everything through this proxy (socks5://, http://) unless a rule says otherwise. A
    /// login in the URL can be seen in `ps`: put it into a config instead.
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,

    /// Append a JSON line for each connection to FILE; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// The name of this steering.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<Instance>,

    /// The packet filter to write rules for.
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendArg>,

    /// What in-scope traffic does after a crash: go direct, or be refused.
    #[arg(long, value_enum)]
    pub(crate) on_failure: Option<OnFailureArg>,

    /// What to do with traffic to 127.0.0.0/8 and ::1.
    #[arg(long, value_enum)]
    pub(crate) loopback: Option<LoopbackArg>,

    /// Ports of this host's loopback that the command reaches where it has no server itself, for
    /// methods with namespaces of their own; all of them without a value.
    #[arg(
        long,
        value_name = "PORTS",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = "1-65535"
    )]
    pub(crate) host_loopback: Vec<PortRange>,

    /// A TCP port of the command that others reach at this host, for methods with namespaces of
    /// their own; at 127.0.0.1 where no address is given.
    #[arg(long, value_name = "[ADDR:]PORT[:INNER]")]
    pub(crate) publish: Vec<Publish>,

    /// The open descriptor of a TUN or TAP device that the caller made, for the methods tun and tap:
    /// whatever comes by it is meant, and needs no scope.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    pub(crate) tun_fd: Option<i32>,

    /// The address of the explicit proxy port.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BackendArg {
    /// nf_tables, spoken by steer itself.
    Nft,
    /// The iptables programs, over nf_tables where there is a choice.
    Iptables,
    /// The iptables programs over the kernel's older x_tables.
    IptablesLegacy,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OnFailureArg {
    /// Direct connections work again.
    Open,
    /// Refused at once.
    Closed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LoopbackArg {
    /// Leave it alone.
    Skip,
    /// Steer it like all else.
    Steer,
}

impl From<BackendArg> for Backend {
    fn from(arg: BackendArg) -> Self {
        match arg {
            BackendArg::Nft => Self::Nft,
            BackendArg::Iptables => Self::Iptables,
            BackendArg::IptablesLegacy => Self::IptablesLegacy,
        }
    }
}

impl From<OnFailureArg> for OnFailure {
    fn from(arg: OnFailureArg) -> Self {
        match arg {
            OnFailureArg::Open => Self::Open,
            OnFailureArg::Closed => Self::Closed,
        }
    }
}

impl From<LoopbackArg> for Loopback {
    fn from(arg: LoopbackArg) -> Self {
        match arg {
            LoopbackArg::Skip => Self::Skip,
            LoopbackArg::Steer => Self::Steer,
        }
    }
}
