//! Starts a run: leaves the host's namespaces, builds the world, forks init and the program's process, and gives up privileges.
//!
//! The order matters and is the order of [`launch`]. What happens after the program is released lives elsewhere.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use super::command::{self, HostCommand, Resolved};
use super::filesystem;
use super::id_maps::Maps;
use super::identity::Who;
use super::init::{self, Message, Setup};
use super::limits::Enforcement;
use super::options::{Net, Options};
use super::own_network::OwnNetwork;
use super::pty::Pty;
use super::streams::Streams;
use super::terminal::Terminal;
use super::view::{Caller, View};
use super::world::World;
use crate::posix::credentials::Credentials;
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

    pub(super) fn said(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cause: None,
            mend: None,
        }
    }

    /// The error of the kernel's that is the reason.
    pub(super) fn cause(&self) -> Option<&io::Error> {
        self.cause.as_ref()
    }

    pub(super) fn mend(mut self, mend: &'static str) -> Self {
        self.mend = Some(mend);
        self
    }
}

/// An error's text as the C library says it, without Rust's `(os error N)`.
pub(super) fn describe(error: &io::Error) -> String {
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
    /// Whether `/proc` is there inside.
    pub proc: bool,
    /// The working directory of the program, inside the world.
    pub cwd: PathBuf,
    /// The descriptors that the program finds open.
    pub descriptors: Vec<RawFd>,
    /// Whether the host's root started the run.
    pub host_root: bool,
    /// Which ids there are inside, and what the program may do with them.
    pub credentials: Credentials,
    /// The terminal, where the supervisor had it in its foreground; to be lent before [`Launched::release`].
    pub terminal: Option<Terminal>,
    /// The terminal of the run's own, if it gets one; then none is lent.
    pub(super) pty: Option<Pty>,
    run: Run,
    failure: FailurePage,
    init_channel: Channel,
    program_channel: Option<Channel>,
}

impl Launched {
    /// Lets the program go on, once it is attached to.
    pub fn release(&mut self) -> Result<(), LaunchError> {
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
            (Step::Limits, _) => format!("cannot set what --rlimit asks for: {error}"),
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
pub(super) fn launch(
    options: &Options,
    streams: &Streams,
    plan: &FilterPlan,
    limits: &Enforcement,
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
    let caller = caller();
    let mut terminal = Terminal::open();
    let host_command = HostCommand::find(name, caller.cwd.as_deref());
    let who = Who::new(&options.identity, caller.root, host_proc.as_fd())?;
    let environment = command::environment(&options.environment, &who.environment);
    let opened = filesystem::open_devices(&options.entries, caller.root)?;
    if who.uids.becomes.is_some() || who.gids.becomes.is_some() {
        limits.groups.leave_removal_to_a_child().map_err(|error| {
            LaunchError::new("cannot fork who removes the control groups", error)
        })?;
    }
    let mut network = leave_host(&host_proc, &who, options)?;

    let view = View::new(options, &caller, &host_command)?;
    // Every thread would become somebody else; and /sys shows the network of who mounts it.
    if who.becomes_another() || view.shows_network() {
        network.enter()?;
    }
    // Only now: what the caller sees of the host decides what the run sees.
    become_who(&who)?;
    let world = World::build(&view, &opened).map_err(|error| match who.uids.becomes {
        Some(_) => {
            error.mend("by --uid-map the run is another user of the host's, who may not go there")
        }
        None => error,
    })?;
    drop(opened);
    network.enter()?;
    let pty = Pty::open(options, &world).map_err(|error| {
        LaunchError::new("cannot make a pseudo-terminal", error)
            .mend("--no-pty lends the run the caller's own")
    })?;
    if pty.is_some() {
        terminal = None;
    }

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
        proc: view.proc,
        chdir: options.chdir.as_deref(),
        cwd: caller.cwd.as_deref(),
        filter: plan,
        streams,
        privileges: who.privileges(),
        rlimits: &limits.rlimits(),
        failure: &failure,
        init: &init_end,
        program: &program_end,
        foreign: [
            init_channel.as_fd().as_raw_fd(),
            program_channel.as_fd().as_raw_fd(),
        ],
        pty: pty.as_ref(),
    };
    let init = namespace::fork_init(|| init::run(&setup))
        .map_err(|error| LaunchError::new("cannot make a pid namespace", error))?;
    drop((init_end, program_end));
    let run = Run::new(init)?;
    expect_ready(&init_channel)?;
    // Before it makes the program's process, which is born into the same groups.
    limits
        .groups
        .adopt(init)
        .map_err(|error| LaunchError::new("cannot put the run into its control groups", error))?;
    world.enter()?;
    let private_mounts = world.private_mounts(host_proc.as_fd())?;
    drop(world);
    init_channel
        .send(&Message::Ready.encode())
        .map_err(|error| LaunchError::new("cannot talk to the run's init", error))?;
    let (target, resolved, cwd) = expect_program(&program_channel, &init_channel)?;
    if let Some(terminal) = &mut terminal {
        terminal.set_group(target);
    }
    let removes_groups = caller.uid == 0 && !limits.groups.is_empty();
    give_up_privileges(&who, options.check_invariants, removes_groups)
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
        proc: view.proc,
        cwd,
        descriptors: streams.numbers(),
        host_root: caller.root,
        credentials: who.credentials(),
        terminal,
        pty,
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

/// Leaves the host's namespaces and sets up the new ones, but for mounts and for the network, which is only begun.
fn leave_host(
    host_proc: &OwnedFd,
    who: &Who,
    options: &Options,
) -> Result<OwnNetwork, LaunchError> {
    let maps = Maps::prepare(who, host_proc.as_fd())?;
    namespace::leave_host().map_err(no_namespaces)?;
    let network = match options.net {
        Net::None => {
            let low_ports = options.publish.iter().any(|publish| publish.cage < 1024);
            OwnNetwork::begin(host_proc, low_ports)?
        }
        Net::Host => OwnNetwork::none(),
    };
    maps.write()?;
    let hostname = options.hostname();
    namespace::set_hostname(hostname).map_err(|error| {
        LaunchError::new("cannot set the host name of the run", error).mend(RESTRICTED)
    })?;
    if options.net == Net::Host {
        // Their names belong to a network, so a shared one would lead to the host's.
        landlock::keep_to_own_abstract_sockets().map_err(|error| {
            LaunchError::new(
                "--net=host: cannot keep the host's abstract sockets out of reach",
                error,
            )
            .mend("Linux 6.12 with Landlock is needed; without it give --net=none")
        })?;
    }
    Ok(network)
}

/// Why there are no new namespaces.
pub(super) fn no_namespaces(error: io::Error) -> LaunchError {
    let mend = match error.raw_os_error() {
        Some(libc::ENOSPC) => "raise /proc/sys/user/max_user_namespaces and its like",
        Some(libc::EPERM) => {
            "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, and no chroot around this process"
        }
        Some(libc::EINVAL) => {
            "this kernel lacks a namespace that is needed: user, mount, network, IPC, UTS, cgroup"
        }
        _ => "check that user namespaces are allowed here",
    };
    LaunchError::new("cannot make new namespaces", error).mend(mend)
}

/// Takes the ids and groups inside that the supervisor has not by the map alone.
fn become_who(who: &Who) -> Result<(), LaunchError> {
    if !who.becomes_another() {
        return Ok(());
    }
    let (uid, gid) = (who.uids.becomes, who.gids.becomes);
    privilege::become_ids(uid, gid, who.groups.as_deref()).map_err(|error| {
        LaunchError::new(
            "cannot take the ids that --uid-map and --gid-map give",
            error,
        )
    })
}

pub(super) const RESTRICTED: &str = "user namespaces seem to be restricted: see sysctl kernel.apparmor_restrict_unprivileged_userns";

pub(super) fn expect_ready(channel: &Channel) -> Result<(), LaunchError> {
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

/// What the supervisor keeps, for the run's user namespace alone: to look into a cage that made itself undumpable; where the
/// program was given capabilities, those, and what it takes to act as the program for a call
/// (and with `checks` to list the descriptors of a cage that is another user's by then). With `groups`, which are control
/// groups to remove at the end: they may lie where not even root may write without a capability.
fn give_up_privileges(who: &Who, checks: bool, groups: bool) -> io::Result<()> {
    privilege::set_no_new_privs()?;
    let mut kept = Capability::SYS_PTRACE.bit();
    if who.is_capable() {
        kept |= who.capabilities | privilege::TO_ACT_FOR_OTHERS;
        if checks {
            kept |= Capability::DAC_READ_SEARCH.bit();
        }
    }
    if groups {
        kept |= Capability::DAC_OVERRIDE.bit();
    }
    privilege::keep_permitted(kept)?;
    privilege::set_dumpable(false)
}
