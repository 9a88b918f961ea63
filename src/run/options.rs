//! What the command line asked for, as plain data. No parsing and no meaning here.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A directory or file of the host that the run shall see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is outside; relative to the working directory.
    pub source: PathBuf,
    /// Where it shows inside, absolute; at its own path where nothing is said.
    pub target: Option<PathBuf>,
    /// Whether the run may change it.
    pub writable: bool,
    /// Whether a missing source is no failure.
    pub optional: bool,
    /// Whether nothing in it can be executed.
    pub noexec: bool,
}

/// A file system to mount inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// As mount(8) calls it: `tmpfs`, `proc`, `overlay`, …, or `bind`.
    pub kind: String,
    /// The device, or whatever the kind takes in its place; `none` for nothing.
    pub device: OsString,
    /// Where it shows inside, absolute.
    pub target: PathBuf,
    /// Options, `key` or `key=value`, in the order given.
    pub options: Vec<String>,
}

/// A symbolic link to make inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symlink {
    /// What it says.
    pub text: PathBuf,
    /// Where it lies inside, absolute.
    pub link: PathBuf,
}

/// Something that a flag puts into the world. Later ones lie over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `--bind`, `--ro-bind`.
    Bind(Bind),
    /// `--mount`; `--tmpfs` is one too.
    Mount(Mount),
    /// `--symlink`.
    Symlink(Symlink),
}

/// A range of ids: these of the host are those inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first outside.
    pub host: u32,
    /// The first inside.
    pub cage: u32,
    /// How many, never 0.
    pub count: u32,
}

/// One `--cap-add` or `--cap-drop`: these capabilities, bit N for capability number N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilityChange {
    /// The run has them inside.
    Add(u64),
    /// It has not.
    Drop(u64),
}

/// Who the program is inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `-u`: the caller appears as this user, a name or a number.
    pub user: Option<String>,
    /// `-g`: the caller's group appears as this one.
    pub group: Option<String>,
    /// `--uid-map`.
    pub uid_map: Vec<IdRange>,
    /// `--gid-map`.
    pub gid_map: Vec<IdRange>,
    /// `--noroot`: no privileges inside, ever.
    pub noroot: bool,
    /// `--cap-add` and `--cap-drop`, in the order given.
    pub capabilities: Vec<CapabilityChange>,
}

/// A change to the environment; they are made one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentChange {
    /// Everything that the caller has.
    KeepAll,
    /// Nothing.
    Clear,
    /// This name with this value.
    Set(OsString, OsString),
    /// This name as the caller has it, if it has it.
    Inherit(OsString),
    /// This name not.
    Unset(OsString),
}

/// Whether the run gets a pseudo-terminal of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PtyChoice {
    /// Where standard input and output are terminals.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: the caller's own terminal.
    Never,
}

/// Which network the run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Net {
    /// A loopback interface of its own.
    #[default]
    None,
    /// The host's.
    Host,
}

/// `--publish`: connections to an address outside reach a port inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where the supervisor listens.
    pub host: SocketAddr,
    /// The port of the run's loopback interface.
    pub cage: u16,
}

/// `--rlimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// As getrlimit(2) calls it, lower case, without `RLIMIT_`.
    pub name: &'static str,
    /// Its number.
    pub resource: u32,
    /// The soft limit; `u64::MAX` for none.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// What a run may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Wall time.
    pub timeout: Option<Duration>,
    /// CPU time of all processes together.
    pub cpu_time: Option<Duration>,
    /// Bytes of memory of all processes together.
    pub memory: Option<u64>,
    /// Thousandths of a CPU, of all processes together.
    pub cpus: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Limits of each process.
    pub rlimits: Vec<Rlimit>,
}

/// Files in place of the caller's standard streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stdio {
    /// `--stdin`.
    pub input: Option<PathBuf>,
    /// `--stdout`.
    pub output: Option<PathBuf>,
    /// `--stderr`.
    pub error: Option<PathBuf>,
}

/// How `--stats` is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How calls reach the dispatcher, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlatformChoice {
    /// The best that the kernel allows.
    #[default]
    Best,
    /// Stops and notifications.
    Hybrid,
    /// Stops only.
    Ptrace,
    /// Stops, notifications and a mailbox.
    Fast,
}

/// Which calls reach the dispatcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mediate {
    /// What names or makes something; data calls on granted descriptors run natively.
    #[default]
    Names,
    /// Every call that has a handler.
    All,
}

/// One run, as asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The command and its arguments; never empty.
    pub command: Vec<OsString>,
    /// What the flags put into the world, in the order given.
    pub entries: Vec<Entry>,
    /// `--hide`: patterns of absolute paths.
    pub hide: Vec<String>,
    /// `--root`: the world's root instead of the host's.
    pub root: Option<PathBuf>,
    /// `--chdir`: where the program starts, inside.
    pub chdir: Option<PathBuf>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--no-proc`: nothing at /proc.
    pub no_proc: bool,
    /// `--no-devfs`: nothing at /dev.
    pub no_devices: bool,
    /// `--sysfs`: a whole /sys, read-only.
    pub sysfs: bool,
    /// Who the program is.
    pub identity: Identity,
    /// Changes to the environment, in the order given.
    pub environment: Vec<EnvironmentChange>,
    /// `--pty`, `--no-pty`.
    pub pty: PtyChoice,
    /// `--net`.
    pub net: Net,
    /// `--publish`.
    pub publish: Vec<Publish>,
    /// `--pass-fd`.
    pub pass_fds: Vec<i32>,
    /// `--stdin`, `--stdout`, `--stderr`.
    pub stdio: Stdio,
    /// What the run may use.
    pub limits: Limits,
    /// `--status-fd`: where lines of JSON tell of the run's start and end.
    pub status_fd: Option<i32>,
    /// `--report`: a file for the same.
    pub report: Option<PathBuf>,
    /// `--die-with-parent`.
    pub die_with_parent: bool,
    /// `--strict`: what cannot be had is a failure.
    pub strict: bool,
    /// Whether the run lasts until its last process ends, not only its first.
    pub wait: bool,
    /// Whether the lines at the end are left out.
    pub quiet: bool,
    /// How much the supervisor says about itself.
    pub verbose: u8,
    /// Where it says it, instead of standard error.
    pub log: Option<PathBuf>,
    /// The audit file.
    pub output: Option<PathBuf>,
    /// Whether and how counters are printed.
    pub stats: Option<StatsFormat>,
    /// Whether the kernel's tables are compared with the virtual ones while the run goes on.
    pub check_invariants: bool,
    /// `--platform`.
    pub platform: PlatformChoice,
    /// Whether platform `fast` patches call sites; without `--no-patch`.
    pub patches: bool,
    /// Whether it looks at mailboxes without a pause; without `--no-spin`.
    pub spins: bool,
    /// `--mediate`.
    pub mediate: Mediate,
}

impl Options {
    /// The host name inside.
    #[must_use]
    pub fn hostname(&self) -> &str {
        self.hostname.as_deref().unwrap_or("cage")
    }
}
