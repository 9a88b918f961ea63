//! The run from the program's release to the exit status.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, umask};

use super::console::Console;
use super::launch::Launched;
use super::limits::Enforcement;
use super::options::Options;
use super::pty::Relay;
use super::publish::Published;
use super::report::{self, Report};
use super::status::{End, Reason};
use super::watch::{Verdict, Watch};
use super::{FAILED, complain, invariants};
use crate::abi::wait::Ended;
use crate::cage::{
    Cage, CageId, Descriptor, FdTable, FileKind, Files, FsContext, OpenFile, Thread, Tid,
};
use crate::dispatch::{Dispatcher, Plan};
use crate::platform::{Ending, Kind, Platform, Tracer};
use crate::posix::{Kernel, file_kind, host_label};
use crate::sys::{limits, memory, namespace, signal};

/// Serves a launched run to its end and says how that came about. `bounds` are the run's limits, and the caller where the
/// run shall not outlive it.
pub(super) fn serve(
    options: &Options,
    mut launched: Launched,
    published: Published,
    plan: Plan,
    kind: Kind,
    bounds: (&Arc<Enforcement>, Option<OwnedFd>),
) -> anyhow::Result<End> {
    let (bounds, caller) = bounds;
    signal::block().context("cannot block signals")?;
    namespace::own_fs_context();
    limits::raise_own_nofile();
    let cwd = open_place(launched.cwd.as_os_str().as_bytes())
        .with_context(|| format!("cannot open {}", launched.cwd.display()))?;
    let kernel = Kernel {
        cages: parking_lot::RwLock::default(),
        host_proc: launched
            .host_proc
            .try_clone()
            .context("cannot copy a descriptor")?,
        root: open_place(b"/").context("cannot open /")?,
        has_proc: launched.proc,
        private_mounts: std::mem::take(&mut launched.private_mounts),
        pairs: crate::cage::Pairs::default(),
        host_root: launched.host_root,
        credentials: std::mem::take(&mut launched.credentials),
        pids_limit: bounds.counted_pids(),
        // What the supervisor writes into memory would be counted as its own.
        keeps_files: kind == Kind::Fast && plan.mediates_data() && !bounds.bounds_memory(),
    };
    kernel
        .note_own_credentials()
        .context("cannot read /proc/self/status")?;
    let first = first_thread(&kernel, &launched, cwd, bounds.nofile())?;
    let target = memory::pidfd_open(launched.target).context("the program's process is gone")?;
    let platform = Platform::new(Dispatcher::new(kernel, plan), kind);
    platform.limit_fast(options.patches, options.spins);
    if options.check_invariants {
        let _ = platform.invariant_check.set(invariants::check);
    }
    platform
        .meter
        .weighs
        .store(bounds.weighs(), Ordering::Relaxed);
    let tracer = Tracer::attach(
        Arc::clone(&platform),
        first,
        launched.init,
        options.wait,
        options.check_invariants,
    )
    .context("cannot trace the program")?;
    for (address, port) in published.addresses().filter(|_| options.verbose > 0) {
        complain(&format!("{address} leads to port {port} of the run"));
    }
    published.start().context("cannot relay connections")?;
    let watch = Watch::start(&platform, bounds, launched.init, caller)
        .context("cannot watch over the run's limits")?;
    let mut console = match launched.pty.take() {
        Some(pty) => Console::Own(Relay::start(pty).context("cannot relay the run's terminal")?),
        None => Console::Lent(launched.terminal.take()),
    };
    if let Console::Lent(Some(terminal)) = &mut console {
        terminal
            .lend()
            .context("cannot give the program the terminal")?;
    }
    launched.release()?;
    let group = launched.target;
    let ending = tracer.serve(|number| match number {
        // The program was stopped: where it had the terminal, the shell gets it back, and this job stops as a whole.
        libc::SIGSTOP => {
            if console.suspend() {
                signal::stop_job();
                console.resume();
                signal::send_to_group_of(target.as_fd(), group, libc::SIGCONT);
            }
        }
        libc::SIGCONT => {
            console.resume();
            signal::send_to_group_of(target.as_fd(), group, libc::SIGCONT);
        }
        // The kernel tells the run of the new window itself.
        libc::SIGWINCH if console.resize() => {}
        number => {
            signal::send(target.as_fd(), number);
        }
    });
    let (verdict, polled_memory) = watch.map_or((None, 0), Watch::end);
    console.finish();
    platform.dispatcher.end();
    if options.verbose > 0 && ending.killed > 0 {
        complain(&format!(
            "killed {} processes that the program left behind",
            ending.killed
        ));
    }
    let failure = launched.failure();
    if let Some(message) = &failure {
        complain(message);
    }
    let remarks = platform.dispatcher.remarks.lock();
    let report = Report {
        platform: kind.name(),
        tally: &platform.dispatcher.tally,
        meter: &platform.meter,
        remarks: &remarks,
    };
    if let Some(format) = options.stats {
        eprint!("{}", report.render(format));
    }
    if !options.quiet {
        report::remarks(&remarks)
            .iter()
            .for_each(|line| complain(line));
    }
    let violations = platform.violations.lock();
    if !violations.is_empty() {
        for violation in violations.iter() {
            complain(&format!("invariant broken: {violation}"));
        }
        let message = violations.join("; ");
        return Ok(End::failed(FAILED, message));
    }
    let mut end = match (verdict_on(ending, verdict, options.wait), failure) {
        (Some(verdict), _) => End::ended_by(verdict),
        (None, Some(message)) => {
            End::failed(ending.first.map_or(FAILED, Ended::shell_code), message)
        }
        (None, None) => End::of_program(ending.first),
    };
    if bounds.groups.oom_kills() > 0 && matches!(end.reason, Reason::Exit | Reason::Signal) {
        // It may have come to an end of its own meanwhile, which is not the one that it would have come to.
        end = End::ended_by(Verdict::Memory);
    }
    let limit = match end.reason {
        Reason::Timeout => "--timeout",
        Reason::CpuTime => "--cpu-time",
        Reason::Oom => "--memory",
        _ => "",
    };
    if !limit.is_empty() && !options.quiet {
        complain(&format!("the run was killed: it reached its {limit}"));
    }
    if let Some(Ended::Killed(signal)) = ending.first {
        end.signal = Some(signal);
    }
    end.killed = ending.killed;
    end.counts = Some(report.json());
    end.measure(bounds, polled_memory, &platform);
    Ok(end)
}

/// A program that ended by itself at the moment when it was to be killed was not killed.
fn verdict_on(ending: Ending, verdict: Option<Verdict>, waits: bool) -> Option<Verdict> {
    let by_itself = ending
        .first
        .is_some_and(|how| how != Ended::Killed(libc::SIGKILL as u8));
    verdict.filter(|_| waits || !by_itself)
}

fn open_place(path: &[u8]) -> nix::Result<OwnedFd> {
    open(
        path,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// The entry of the run's first thread: the standard descriptors that it inherits, and its directory.
fn first_thread(
    kernel: &Kernel,
    launched: &Launched,
    cwd: OwnedFd,
    nofile: Option<u64>,
) -> anyhow::Result<Arc<Thread>> {
    let pidfd = memory::pidfd_open(launched.target).context("the program's process is gone")?;
    let mut table = FdTable::default();
    for &fd in &launched.descriptors {
        if let Ok(file) = memory::pidfd_getfd(pidfd.as_fd(), fd) {
            let label = host_label(kernel, &file);
            table.replace(
                fd,
                Descriptor {
                    file: Arc::new(OpenFile::new(file_kind(&file), label)),
                    cloexec: false,
                },
            );
        }
    }
    let mask = umask(Mode::empty());
    umask(mask);
    let label = launched.cwd.as_os_str().as_bytes().to_vec();
    let cwd = Arc::new(OpenFile::kept(FileKind::Place, label, cwd));
    let nofile = nofile
        .or_else(|| limits::nofile(launched.target))
        .unwrap_or(u64::MAX);
    let id = kernel.cages.write().next_id();
    debug_assert_eq!(id, CageId(1));
    let cage = Cage::new(id, None, Tid(launched.target), Some(pidfd), nofile);
    Ok(Arc::new(Thread::new(
        Tid(launched.target),
        Arc::new(cage),
        Files::new(table),
        Arc::new(FsContext::new(cwd, mask.bits())),
    )))
}
