//! What the command line asked for, as plain data. No parsing and no meaning here.

use std::ffi::OsString;
use std::path::PathBuf;

/// A directory or file of the host that the run shall see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is, outside and inside.
    pub path: PathBuf,
    /// Whether the run may change it.
    pub writable: bool,
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
    /// `--bind` and `--ro-bind`, in the order given.
    pub binds: Vec<Bind>,
    /// Whether the whole environment is handed on.
    pub keep_env: bool,
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
    /// `--mediate`.
    pub mediate: Mediate,
}
