//! Starts a run: leaves the host's namespaces, builds the world, forks init and the program's process, and gives up privileges.
//!
//! The order matters and is the order of [`launch`]. What happens after the program is released lives elsewhere.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid};

use super::command::{self, HostCommand, Resolved};
use super::init::{self, Message, Setup};
use super::options::{Net, Options};
use super::streams::Streams;
use super::terminal::Terminal;
use super::view::{Caller, View};
use super::world::World;
use crate::sys::privilege::{self, Capability};
use crate::sys::process::{self, Channel, FailurePage, Filter, Step};
use crate::sys::{landlock, namespace};

/// What the tracer installs in the program's process: see [`Filter`].
pub type FilterPlan = Filter;

/// Why a run could not be started; the text says what failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}{}", .cause.as_ref().map(|error| format!(": {}", describe(error))).unwrap_or_default(), .mend.map(|mend| format!(" ({mend})")).unwrap_or_default())]
pub struct LaunchError {
    what: String,
    /// Not a `source`: the text has it already.
    cause: Option<io::Error>,
    mend: Option<&'static str>,
}

impl LaunchError {
    pub(super) fn new(what: impl Into<String>, cause: io::Error) -> Self {
        Self {
            what: what.into(),
            cause: Some(cause),
            mend: None,
        }
    }

    fn said(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cause: None,
            mend: None,
        }
    }

    pub(super) fn mend(mut self, mend: &'static str) -> Self {
        self.mend = Some(mend);
        self
    }
}

/// An error's text as the C library says it, without Rust's `(os error N)`.
fn describe(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |errno| nix::Error::from_raw(errno).desc().to_lowercase(),
    )
}

/// A file of the supervisor's that is covered inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Where it shows.
    pub path: PathBuf,
}

/// A run whose program waits for [`Launched::release`].
#[derive(Debug)]
pub struct Launched {
    /// Pid 1 of the run, as the host counts.
    pub init: i32,
    /// The program's process, as the host counts.
    pub target: i32,
    /// The host's `/proc`, opened before it went out of sight.
    pub host_proc: OwnedFd,
    /// `STATX_MNT_ID` of every mount that is private to the run or bound read-write.
    pub private_mounts: HashSet<u64>,
    /// The supervisor's own files that are covered inside.
    pub shadowed: Vec<Shadow>,
    /// What the command resolved to inside the world.
    pub resolved: Resolved,
    /// The working directory of the program, inside the world.
    pub cwd: PathBuf,
    /// The descriptors that the program finds open.
    pub descriptors: Vec<RawFd>,
    /// Whether the run maps several ids: a run of root.
    pub several_ids: bool,
    /// The terminal, where the supervisor had it in its foreground; it is lent by [`Launched::release`].
    pub terminal: Option<Terminal>,
    run: Run,
    failure: FailurePage,
    init_channel: Channel,
    program_channel: Option<Channel>,
}

impl Launched {
    /// Lets the program go on, once it is attached to.
    pub fn release(&mut self) -> Result<(), LaunchError> {
        if let Some(terminal) = &mut self.terminal {
            terminal
                .lend()
                .map_err(|error| LaunchError::new("cannot give the program the terminal", error))?;
        }
        let Some(channel) = self.program_channel.take() else {
            return Ok(());
        };
        channel
            .send(&Message::Ready.encode())
            .map_err(|error| LaunchError::new("cannot release the program's process", error))
    }

    /// Why the program never ran, if its process got as far as trying: what to tell the user. The status is that process's own:
    /// 125, 126 or 127.
    pub fn failure(&self) -> Option<String> {
        let (step, error) = self.failure.read()?;
        let missing = error.kind() == io::ErrorKind::NotFound;
        let error = describe(&error);
        Some(match (step, &self.resolved) {
            (Step::Exec, Resolved::Found(path)) if missing => format!(
                "cannot execute {}: the loader or interpreter that it names is not there inside",
                path.display()
            ),
            (Step::Exec, Resolved::Found(path)) => {
                format!("cannot execute {}: {error}", path.display())
            }
            (Step::Exec, _) => format!("cannot execute the command: {error}"),
            (Step::Filter, _) => format!("cannot install the seccomp filter: {error}"),
            (Step::Descriptors, _) => {
                format!("cannot close the descriptors that the program must not have: {error}")
            }
        })
    }

    /// Waits for init to report the program's wait status. A tracer has it from its own wait and needs this only for comparison.
    pub fn wait_for_program(&self) -> Result<i32, LaunchError> {
        let lost = || LaunchError::said("the run's init ended before its program did");
        let (message, _) = self
            .init_channel
            .receive()
            .map_err(|error| LaunchError::new("cannot hear from the run's init", error))?;
        match Message::decode(&message) {
            Some(Message::Ended(status)) => Ok(status),
            Some(Message::Failed(text)) => Err(LaunchError::said(text)),
            _ => Err(lost()),
        }
    }

    /// Ends the run: kills whatever is left of it, and waits until it is gone.
    pub fn end(&self) {
        self.run.end();
    }
}

/// Starts the run of `options`; the calling process must be single threaded and becomes the supervisor.
pub fn launch(
    options: &Options,
    streams: &Streams,
    plan: &FilterPlan,
) -> Result<Launched, LaunchError> {
    let name = options
        .command
        .first()
        .ok_or_else(|| LaunchError::said("no command given"))?;
    let host_proc = open(
        "/proc",
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| {
        LaunchError::new("cannot open /proc", error.into()).mend("mount a proc file system there")
    })?;
    let mut caller = caller();
    let terminal = Terminal::open();
    let host_command = HostCommand::find(name, caller.cwd.as_deref());
    let environment = command::environment(&options.environment);
    caller.root = leave_host(host_proc.as_fd(), caller.root, options.net)?;

    let view = View::new(options, &caller, &host_command)?;
    let world = World::build(&view)?;

    let pipe = |error| LaunchError::new("cannot make a socket pair", error);
    let (init_channel, init_end) = Channel::pair().map_err(pipe)?;
    let (program_channel, program_end) = Channel::pair().map_err(pipe)?;
    let failure =
        FailurePage::new().map_err(|error| LaunchError::new("cannot map a page", error))?;
    let setup = Setup {
        world: &world,
        command: &options.command,
        environment: &environment,
        host_command: &host_command,
        cwd: caller.cwd.as_deref(),
        filter: plan,
        streams,
        failure: &failure,
        init: &init_end,
        program: &program_end,
        foreign: [
            init_channel.as_fd().as_raw_fd(),
            program_channel.as_fd().as_raw_fd(),
        ],
    };
    let init = namespace::fork_init(|| init::run(&setup))
        .map_err(|error| LaunchError::new("cannot make a pid namespace", error))?;
    drop((init_end, program_end));
    let run = Run::new(init)?;
    expect_ready(&init_channel)?;
    world.enter()?;
    let private_mounts = world.private_mounts(host_proc.as_fd())?;
    drop(world);
    init_channel
        .send(&Message::Ready.encode())
        .map_err(|error| LaunchError::new("cannot talk to the run's init", error))?;
    let (target, resolved, cwd) = expect_program(&program_channel, &init_channel)?;
    let mut terminal = terminal;
    if let Some(terminal) = &mut terminal {
        terminal.set_group(target);
    }
    give_up_privileges(caller.root)
        .map_err(|error| LaunchError::new("cannot drop the supervisor's privileges", error))?;
    Ok(Launched {
        init,
        run,
        target,
        host_proc,
        private_mounts,
        shadowed: view
            .shadows
            .into_iter()
            .map(|path| Shadow { path })
            .collect(),
        resolved,
        cwd,
        descriptors: streams.numbers(),
        several_ids: caller.root,
        terminal,
        failure,
        init_channel,
        program_channel: Some(program_channel),
    })
}

/// The processes of a run: killed when this is dropped, however that comes about.
#[derive(Debug)]
struct Run {
    init: i32,
    handle: OwnedFd,
}

impl Run {
    fn new(init: i32) -> Result<Self, LaunchError> {
        let handle = process::open_pidfd(init)
            .map_err(|error| LaunchError::new("cannot open a pidfd for the run's init", error))?;
        Ok(Self { init, handle })
    }

    fn end(&self) {
        process::kill(self.handle.as_fd());
        // Somebody may have reaped it already, in a loop that waits for any child.
        let _ = process::wait_for(self.init);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.end();
    }
}

fn caller() -> Caller {
    // A directory that was deleted, or lies outside our root, has no name that the run could use.
    let cwd = std::env::current_dir()
        .ok()
        .filter(|cwd| cwd.is_absolute() && cwd.is_dir());
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_absolute());
    let root = geteuid().is_root()
        && [Capability::SETUID, Capability::SETGID, Capability::SETFCAP]
            .into_iter()
            .all(privilege::has);
    Caller {
        uid: geteuid().as_raw(),
        root,
        cwd,
        home,
    }
}

/// Leaves the host's namespaces and sets up the new ones, but for mounts; returns whether all ids are mapped.
fn leave_host(host_proc: BorrowedFd<'_>, root: bool, net: Net) -> Result<bool, LaunchError> {
    let writer = if root {
        Some(IdMapWriter::fork(host_proc)?)
    } else {
        None
    };
    let (uid, gid) = (geteuid(), getegid());
    namespace::leave_host(net == Net::None).map_err(|error| {
        let mend = match error.raw_os_error() {
            Some(libc::ENOSPC) => "raise /proc/sys/user/max_user_namespaces and its like",
            Some(libc::EPERM) => "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, and no chroot around this process",
            Some(libc::EINVAL) => "this kernel lacks a namespace that is needed: user, mount, network, IPC, UTS, cgroup",
            _ => "check that user namespaces are allowed here",
        };
        LaunchError::new("cannot make new namespaces", error).mend(mend)
    })?;
    match writer {
        Some(writer) => writer.write()?,
        None => {
            let as_root = |error: LaunchError| {
                if uid.is_root() {
                    error.mend(WEAK_ROOT)
                } else {
                    error
                }
            };
            write_proc(host_proc, "self/setgroups", "deny")?;
            write_proc(host_proc, "self/uid_map", &format!("{uid} {uid} 1")).map_err(as_root)?;
            write_proc(host_proc, "self/gid_map", &format!("{gid} {gid} 1"))?;
        }
    }
    namespace::set_hostname("cage").map_err(|error| {
        LaunchError::new("cannot set the host name of the run", error).mend(RESTRICTED)
    })?;
    match net {
        Net::None => namespace::loopback_up().map_err(|error| {
            LaunchError::new("cannot bring up the loopback interface of the run", error)
                .mend(RESTRICTED)
        })?,
        // Their names belong to a network, so a shared one would lead to the host's.
        Net::Host => landlock::keep_to_own_abstract_sockets().map_err(|error| {
            LaunchError::new(
                "--net=host: cannot keep the host's abstract sockets out of reach",
                error,
            )
            .mend("Linux 6.12 with Landlock is needed; without it give --net=none")
        })?,
    }
    Ok(root)
}

const WEAK_ROOT: &str = "root needs CAP_SETUID, CAP_SETGID and CAP_SETFCAP to be root inside; run as an ordinary user otherwise";

const RESTRICTED: &str = "user namespaces seem to be restricted: see sysctl kernel.apparmor_restrict_unprivileged_userns";

fn write_proc(host_proc: BorrowedFd<'_>, name: &str, text: &str) -> Result<(), LaunchError> {
    openat(
        host_proc,
        name,
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(io::Error::from)
    .and_then(|file| fs::File::from(file).write_all(text.as_bytes()))
    .map_err(|error| LaunchError::new(format!("cannot write /proc/{name}"), error).mend(RESTRICTED))
}

/// A child that stays outside and maps all ids to themselves: only from there can more than one be mapped.
struct IdMapWriter {
    channel: Channel,
    pid: i32,
}

impl IdMapWriter {
    fn fork(host_proc: BorrowedFd<'_>) -> Result<Self, LaunchError> {
        let parent = std::process::id();
        let (channel, end) = Channel::pair()
            .map_err(|error| LaunchError::new("cannot make a socket pair", error))?;
        let ours = channel.as_fd().as_raw_fd();
        let pid = process::fork(|| {
            process::close_number(ours);
            if !matches!(end.receive(), Ok((message, _)) if Message::decode(&message) == Some(Message::Ready)) {
                process::exit_now(1);
            }
            let map = |kind: &str| {
                let name = format!("{parent}/{kind}_map");
                write_proc(host_proc, &name, &identity_map(host_proc, kind))
            };
            let reply = match map("uid").and_then(|()| map("gid")) {
                Ok(()) => Message::Ready,
                Err(error) => Message::Failed(error.to_string()),
            };
            let _ = end.send(&reply.encode());
            process::exit_now(0)
        })
        .map_err(|error| LaunchError::new("cannot fork", error))?;
        Ok(Self { channel, pid })
    }

    fn write(self) -> Result<(), LaunchError> {
        self.channel
            .send(&Message::Ready.encode())
            .map_err(|error| LaunchError::new("cannot talk to the writer of the id maps", error))?;
        let result = expect_ready(&self.channel);
        let _ = process::wait_for(self.pid);
        result
    }
}

/// All ids that exist here, each mapped to itself.
fn identity_map(host_proc: BorrowedFd<'_>, kind: &str) -> String {
    let all = || "0 0 4294967295".to_owned();
    let Ok(file) = openat(
        host_proc,
        format!("self/{kind}_map").as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    ) else {
        return all();
    };
    let Ok(text) = io::read_to_string(fs::File::from(file)) else {
        return all();
    };
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    let map: String = lines.collect();
    if map.is_empty() { all() } else { map }
}

fn expect_ready(channel: &Channel) -> Result<(), LaunchError> {
    let (message, _) = channel
        .receive()
        .map_err(|error| LaunchError::new("cannot hear from a child", error))?;
    match Message::decode(&message) {
        Some(Message::Ready) => Ok(()),
        Some(Message::Failed(text)) => Err(LaunchError::said(text)),
        _ => Err(LaunchError::said(
            "a child of the supervisor was killed while the run was being set up",
        )),
    }
}

fn expect_program(
    program: &Channel,
    init: &Channel,
) -> Result<(i32, Resolved, PathBuf), LaunchError> {
    let (message, pid) = program
        .receive()
        .map_err(|error| LaunchError::new("cannot hear from the program's process", error))?;
    match (Message::decode(&message), pid) {
        (Some(Message::Prepared(resolved, cwd)), Some(pid)) => Ok((pid, resolved, cwd)),
        (Some(Message::Failed(text)), _) => Err(LaunchError::said(text)),
        // Its process is gone: init may know why.
        _ => Err(expect_ready(init).err().unwrap_or_else(|| {
            LaunchError::said("the program's process was killed while it was being set up")
        })),
    }
}

fn give_up_privileges(several_ids: bool) -> io::Result<()> {
    privilege::set_no_new_privs()?;
    let kept: &[Capability] = if several_ids {
        &[
            Capability::SYS_PTRACE,
            Capability::SETUID,
            Capability::SETGID,
        ]
    } else {
        &[Capability::SYS_PTRACE]
    };
    privilege::keep_permitted(kept)?;
    privilege::set_dumpable(false)
}
