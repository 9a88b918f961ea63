//! The flags: their names, values and help. What they mean is decided elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Parser, ValueEnum};

use super::{quantities, values};
use crate::run::options::{Bind, EnvironmentChange, IdRange, Mount, Publish, Rlimit, Symlink};

/// A parser of a value that may be any bytes.
fn bytes<T: Clone + Send + Sync + 'static>(
    parse: impl Fn(OsString) -> Result<T, String> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(parse)
}

/// Run an unmodified Linux program in cages: every system call mediated, every process in its own virtual POSIX
#[derive(Debug, Parser)]
#[command(
    name = "cage-trace",
    version,
    override_usage = "cage-trace [OPTIONS] [--] COMMAND [ARG]...\n       cage-trace doctor | man | completions SHELL | syscalls [--json|--markdown]"
)]
#[command(
    after_help = "Exit status: that of COMMAND; 128+N if signal N killed it; 124 if its time was over; 125 if cage-trace failed, 126 if COMMAND cannot be executed, 127 if it was not found."
)]
pub(super) struct Arguments {
    /// Appear as USER inside, a name or a number
    #[arg(short, long, value_name = "USER", help_heading = "Identity")]
    pub(super) user: Option<String>,
    /// Appear as GROUP inside
    #[arg(short, long, value_name = "GROUP", help_heading = "Identity")]
    pub(super) group: Option<String>,
    /// Map a range of the host's user ids to ids inside
    #[arg(long, value_name = "HOST:CAGE:COUNT", value_parser = values::id_range, help_heading = "Identity")]
    pub(super) uid_map: Vec<IdRange>,
    /// Map a range of the host's group ids to ids inside
    #[arg(long, value_name = "HOST:CAGE:COUNT", value_parser = values::id_range, help_heading = "Identity")]
    pub(super) gid_map: Vec<IdRange>,
    /// No privileges inside, even for user 0
    #[arg(long, conflicts_with = "cap_add", help_heading = "Identity")]
    pub(super) noroot: bool,
    /// Give the run a capability inside its user namespace, or ALL
    #[arg(long, value_name = "CAP", value_parser = values::capability, help_heading = "Identity")]
    pub(super) cap_add: Vec<u64>,
    /// Take a capability away again, or ALL
    #[arg(long, value_name = "CAP", value_parser = values::capability, help_heading = "Identity")]
    pub(super) cap_drop: Vec<u64>,

    /// Let the run read and write a directory or file of the host; OPTS: ro, rw, try, noexec
    #[arg(short, long, value_name = "SRC[:DEST[:OPTS]]", value_parser = bytes(|text| values::bind(text, true)), help_heading = "Files")]
    pub(super) bind: Vec<Bind>,
    /// Let the run read a directory or file of the host
    #[arg(long, alias = "ro", value_name = "SRC[:DEST[:OPTS]]", value_parser = bytes(|text| values::bind(text, false)), help_heading = "Files")]
    pub(super) ro_bind: Vec<Bind>,
    /// Mount a file system: tmpfs, proc, devpts, mqueue, overlay, bind; as root others too
    #[arg(short, long, value_name = "TYPE:DEVICE:DIR[:OPTIONS]", value_parser = bytes(values::mount), help_heading = "Files")]
    pub(super) mount: Vec<Mount>,
    /// Limit the tmpfs at /tmp, or mount one at DIR
    #[arg(short, long, value_name = "SIZE|/DIR[:size=SIZE]", value_parser = bytes(values::tmpfs), help_heading = "Files")]
    pub(super) tmpfs: Vec<Mount>,
    /// Make a symbolic link LINK that says TARGET
    #[arg(long, value_name = "TARGET:LINK", value_parser = bytes(values::symlink), help_heading = "Files")]
    pub(super) symlink: Vec<Symlink>,
    /// Hide what matches GLOB
    #[arg(long, value_name = "GLOB", aliases = ["mask", "blacklist"], value_parser = values::pattern, help_heading = "Files")]
    pub(super) hide: Vec<String>,
    /// Use DIR as the root of the world instead of the host's
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub(super) root: Option<PathBuf>,
    /// Start in DIR, a directory inside
    #[arg(short = 'w', long, value_name = "DIR", aliases = ["cwd", "workdir"], value_parser = bytes(values::place), help_heading = "Files")]
    pub(super) chdir: Option<PathBuf>,
    /// Mount a fresh /proc (the default)
    #[arg(long, overrides_with = "no_proc", help_heading = "Files")]
    pub(super) proc: bool,
    /// Leave /proc empty
    #[arg(long, help_heading = "Files")]
    pub(super) no_proc: bool,
    /// Make a minimal /dev (the default)
    #[arg(long, overrides_with = "no_devfs", help_heading = "Files")]
    pub(super) devfs: bool,
    /// Leave /dev empty
    #[arg(long, help_heading = "Files")]
    pub(super) no_devfs: bool,
    /// Show a whole /sys, read-only
    #[arg(long, help_heading = "Files")]
    pub(super) sysfs: bool,

    /// Set a variable, or hand one on
    #[arg(long, short_alias = 'E', value_name = "VAR[=VALUE]", value_parser = bytes(values::environment), help_heading = "Environment")]
    pub(super) env: Vec<EnvironmentChange>,
    /// The same as --env
    #[arg(short = 'e', value_name = "VAR[=VALUE]", value_parser = bytes(values::short_environment), help_heading = "Environment")]
    pub(super) short_env: Vec<EnvironmentChange>,
    /// Leave a variable out
    #[arg(long, value_name = "VAR", help_heading = "Environment")]
    pub(super) unset_env: Vec<OsString>,
    /// Begin with an empty environment
    #[arg(long, help_heading = "Environment")]
    pub(super) clear_env: bool,
    /// Hand on the whole environment
    #[arg(long, conflicts_with = "clear_env", help_heading = "Environment")]
    pub(super) keep_env: bool,
    /// The host name inside [default: cage]
    #[arg(long, value_name = "NAME", value_parser = values::hostname, help_heading = "Environment")]
    pub(super) hostname: Option<String>,

    /// Which network the run has [default: none]
    #[arg(long, value_name = "NET", alias = "network", help_heading = "Network")]
    pub(super) net: Option<NetArgument>,
    /// The same as --net=none
    #[arg(long, conflicts_with_all = ["net", "share_net"], help_heading = "Network")]
    pub(super) unshare_net: bool,
    /// The same as --net=host
    #[arg(long, conflicts_with = "net", help_heading = "Network")]
    pub(super) share_net: bool,
    /// Let connections to a port outside reach one inside
    #[arg(long, value_name = "[ADDR:]HOST:CAGE", value_parser = values::publish, help_heading = "Network")]
    pub(super) publish: Vec<Publish>,

    /// Give the run a pseudo-terminal of its own [default: where input and output are terminals]
    #[arg(long, conflicts_with = "no_pty", help_heading = "Streams")]
    pub(super) pty: bool,
    /// Let the run use the caller's terminal
    #[arg(long, help_heading = "Streams")]
    pub(super) no_pty: bool,
    /// Read standard input from FILE
    #[arg(long, value_name = "FILE", help_heading = "Streams")]
    pub(super) stdin: Option<PathBuf>,
    /// Write standard output to FILE
    #[arg(long, value_name = "FILE", help_heading = "Streams")]
    pub(super) stdout: Option<PathBuf>,
    /// Write standard error to FILE
    #[arg(long, value_name = "FILE", help_heading = "Streams")]
    pub(super) stderr: Option<PathBuf>,
    /// Hand on descriptor N
    #[arg(long, value_name = "N", value_parser = values::descriptor, help_heading = "Streams")]
    pub(super) pass_fd: Vec<i32>,

    /// End the run after this time (exit status 124)
    #[arg(long, value_name = "TIME", value_parser = quantities::duration, help_heading = "Limits")]
    pub(super) timeout: Option<Duration>,
    /// End the run when it has used this much CPU time
    #[arg(long, value_name = "TIME", value_parser = quantities::duration, help_heading = "Limits")]
    pub(super) cpu_time: Option<Duration>,
    /// Let the run have this much memory
    #[arg(long, value_name = "SIZE", value_parser = quantities::size, help_heading = "Limits")]
    pub(super) memory: Option<u64>,
    /// Let the run use this many CPUs' time
    #[arg(long, value_name = "N", value_parser = quantities::cpus, help_heading = "Limits")]
    pub(super) cpus: Option<u32>,
    /// Let the run have this many processes and threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Limits")]
    pub(super) pids_limit: Option<u64>,
    /// Set a limit of each process (getrlimit(2))
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = quantities::rlimit, help_heading = "Limits")]
    pub(super) rlimit: Vec<Rlimit>,

    /// Write a line for every system call to FILE (.jsonl)
    #[arg(short = 'o', value_name = "FILE", help_heading = "Record")]
    pub(super) output: Option<PathBuf>,
    /// Print counters at the end
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text", help_heading = "Record")]
    pub(super) stats: Option<Stats>,
    /// Write lines of JSON about the run's start and end to descriptor N
    #[arg(long, value_name = "N", value_parser = values::descriptor, help_heading = "Record")]
    pub(super) status_fd: Option<i32>,
    /// Write them to FILE
    #[arg(long, value_name = "FILE", help_heading = "Record")]
    pub(super) report: Option<PathBuf>,

    /// Take flags from a profile: default, strict, build, bench, or a file of TOML
    #[arg(long, value_name = "NAME|FILE", alias = "config", help_heading = "Run")]
    pub(super) profile: Option<OsString>,
    /// Wait for all processes of the run, not only for the first
    #[arg(long, help_heading = "Run")]
    pub(super) wait: bool,
    /// End the run when the caller of cage-trace ends
    #[arg(long, help_heading = "Run")]
    pub(super) die_with_parent: bool,
    /// Fail where something that was asked for cannot be had in full
    #[arg(long, help_heading = "Run")]
    pub(super) strict: bool,
    /// Leave out the remarks at the end
    #[arg(short, long, help_heading = "Run")]
    pub(super) quiet: bool,
    /// Say what the supervisor does; twice for more
    #[arg(short, long, action = ArgAction::Count, help_heading = "Run")]
    pub(super) verbose: u8,
    /// Write what the supervisor says about itself to FILE
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub(super) log: Option<PathBuf>,
    /// How system calls reach the supervisor [default: the best that the kernel allows]
    #[arg(long, value_name = "PLATFORM", help_heading = "Run")]
    pub(super) platform: Option<Platform>,
    /// Patch no call site: with --platform=fast nothing goes by the mailbox then
    #[arg(long, help_heading = "Run")]
    pub(super) no_patch: bool,
    /// Never look at a mailbox without a pause: calls from patched sites are made natively then
    #[arg(long, help_heading = "Run")]
    pub(super) no_spin: bool,
    /// Which system calls reach the supervisor
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "names",
        help_heading = "Run"
    )]
    pub(super) mediate: MediateArgument,
    /// Compare the kernel's tables with the virtual ones during the run
    #[arg(long, help_heading = "Run")]
    pub(super) check_invariants: bool,

    /// The program to run, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub(super) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Stats {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Platform {
    Hybrid,
    Fast,
    Ptrace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum NetArgument {
    /// A loopback interface of its own
    None,
    /// The host's network
    Host,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum MediateArgument {
    /// What names or makes something
    Names,
    /// All that have a handler
    All,
}
