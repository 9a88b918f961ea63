//! Ends a run that is over its limits, or whose caller is gone: one thread beside the tracer, only where there is something
//! to watch. It sleeps until a limit can be reached at the earliest, and kills the run's init, which takes all else along.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::limits::Enforcement;
use super::mountinfo::Mount;
use crate::platform::Platform;
use crate::sys::{descriptor, event, privilege, process, procfs, usage};

/// How often memory is looked at by the supervisor itself.
const MEMORY_TICK: Duration = Duration::from_millis(10);
/// How often the kernel is asked whether it killed for want of memory.
const OOM_TICK: Duration = Duration::from_millis(50);
/// The shortest sleep before CPU time is looked at again.
const CPU_TICK: Duration = Duration::from_millis(2);
/// A longer wait is made again.
const LONGEST: Duration = Duration::from_secs(60);

/// Why a run was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wall time.
    Timeout,
    /// CPU time.
    CpuTime,
    /// Memory.
    Memory,
    /// The caller is gone.
    Parent,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Timeout, Self::CpuTime, Self::Memory, Self::Parent];
}

/// What the watching thread leaves for the others.
#[derive(Debug, Default)]
struct Findings {
    /// The place in [`Verdict::ALL`], counted from 1.
    verdict: AtomicU8,
    peak_memory: AtomicU64,
}

/// The watch over a run.
#[derive(Debug)]
pub(super) struct Watch {
    findings: Arc<Findings>,
    /// Written to when the run is over.
    bell: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

struct Watcher {
    platform: Arc<Platform>,
    limits: Arc<Enforcement>,
    init: OwnedFd,
    /// The caller, where the run shall not outlive it.
    parent: Option<OwnedFd>,
    bell: OwnedFd,
    deadline: Option<Instant>,
    findings: Arc<Findings>,
    cpus: u32,
    /// Looked at where the supervisor bounds memory itself.
    files: Vec<Growing>,
}

/// The caller's process, as a descriptor: readable once it is gone, also where that was before anybody looked.
///
/// # Errors
/// Where there is nobody to watch.
pub(super) fn caller() -> io::Result<OwnedFd> {
    let parent = nix::unistd::getppid();
    let handle = process::open_pidfd(parent.as_raw())?;
    // Another may have its number by now.
    if nix::unistd::getppid() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(handle)
}

impl Watch {
    /// Starts to watch the run whose pid 1 is `init`; nothing happens where there is nothing to watch. The time limit runs
    /// from here.
    ///
    /// # Errors
    /// Where there is no descriptor or thread to be had.
    pub(super) fn start(
        platform: &Arc<Platform>,
        limits: &Arc<Enforcement>,
        init: i32,
        parent: Option<OwnedFd>,
    ) -> io::Result<Option<Self>> {
        let asked = &limits.limits;
        if asked.timeout.is_none()
            && asked.cpu_time.is_none()
            && asked.memory.is_none()
            && parent.is_none()
        {
            return Ok(None);
        }
        let errno = |errno: crate::abi::Errno| io::Error::from_raw_os_error(errno.into_raw());
        let bell = event::eventfd(0, 0).map_err(errno)?;
        let findings = Arc::new(Findings::default());
        let cpus = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
        let watcher = Watcher {
            platform: Arc::clone(platform),
            limits: Arc::clone(limits),
            init: process::open_pidfd(init)?,
            parent,
            bell: descriptor::copy(bell.as_fd()).map_err(errno)?,
            deadline: asked
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
            findings: Arc::clone(&findings),
            files: match limits.polled_memory() {
                Some(_) => Growing::all(platform.dispatcher.kernel.host_proc.as_fd()),
                None => Vec::new(),
            },
            cpus: cpus
                .ok()
                .flatten()
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(1)
                .max(1),
        };
        let thread = std::thread::Builder::new()
            .name("limits".to_owned())
            .spawn(move || watcher.watch())?;
        Ok(Some(Self {
            findings,
            bell,
            thread: Some(thread),
        }))
    }

    /// Ends the watch, and says why the run was ended, where it was.
    pub(super) fn end(mut self) -> (Option<Verdict>, u64) {
        self.stop();
        let verdict = usize::from(self.findings.verdict.load(Ordering::Acquire));
        let verdict = verdict
            .checked_sub(1)
            .and_then(|place| Verdict::ALL.get(place).copied());
        (verdict, self.findings.peak_memory.load(Ordering::Relaxed))
    }

    fn stop(&mut self) {
        // An eventfd takes a number at any time but when it is full, and nobody else writes to it.
        let _ = nix::unistd::write(&self.bell, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // What it found is in the findings, whether it ended well or not.
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Watcher {
    fn watch(&self) {
        loop {
            let rest = match self.look() {
                Ok(rest) => rest.min(LONGEST),
                Err(verdict) => return self.end_run(verdict),
            };
            // Rounded up: a limit is never found not quite reached, over and over.
            let millis = u16::try_from(rest.as_nanos().div_ceil(1_000_000)).unwrap_or(u16::MAX);
            let listen = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut ears = vec![(None, listen(self.bell.as_fd()))];
            let more = [
                (Verdict::Memory, &self.limits.out_of_memory),
                (Verdict::Parent, &self.parent),
            ];
            for (verdict, fd) in more {
                ears.extend(fd.as_ref().map(|fd| (Some(verdict), listen(fd.as_fd()))));
            }
            let mut fds: Vec<PollFd<'_>> = ears.iter().map(|(_, fd)| fd.clone()).collect();
            // A signal cannot interrupt it, all are blocked; any other failure makes the next look come early.
            let _ = poll(&mut fds, PollTimeout::from(millis));
            let mut heard = ears
                .iter()
                .zip(&fds)
                .filter(|(_, fd)| fd.revents().is_some_and(|events| !events.is_empty()))
                .map(|((verdict, _), _)| *verdict);
            match heard.next() {
                Some(Some(verdict)) => return self.end_run(verdict),
                Some(None) => return,
                None => {}
            }
        }
    }

    fn end_run(&self, verdict: Verdict) {
        let place = Verdict::ALL.iter().position(|&other| other == verdict);
        let place = place.and_then(|place| u8::try_from(place + 1).ok());
        self.findings
            .verdict
            .store(place.unwrap_or(0), Ordering::Release);
        self.limits.groups.kill();
        process::kill(self.init.as_fd());
    }

    /// How long until the next look, or why the run must end.
    fn look(&self) -> Result<Duration, Verdict> {
        let mut rest = LONGEST;
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Verdict::Timeout);
            }
            rest = rest.min(left);
        }
        if let Some(limit) = self.limits.limits.cpu_time {
            let left = limit.saturating_sub(self.cpu_time());
            if left.is_zero() {
                return Err(Verdict::CpuTime);
            }
            // All CPUs at work cannot use it up sooner.
            rest = rest.min((left / self.cpus).max(CPU_TICK));
        }
        if let Some(limit) = self.limits.polled_memory() {
            let began = Instant::now();
            let used = self.memory(limit);
            self.findings.peak_memory.fetch_max(used, Ordering::Relaxed);
            if used > limit {
                return Err(Verdict::Memory);
            }
            // A run of many large processes takes long to look at; no more than a fifth of a CPU goes into it.
            rest = rest.min(MEMORY_TICK.max(began.elapsed() * 4));
        } else if self.limits.limits.memory.is_some() {
            if self.limits.groups.oom_kills() > 0 {
                return Err(Verdict::Memory);
            }
            rest = rest.min(OOM_TICK);
        }
        Ok(rest)
    }

    fn processes(&self) -> HashSet<i32> {
        let cages = self.platform.dispatcher.kernel.cages.read();
        cages.threads().map(|thread| thread.cage.tgid.0).collect()
    }

    /// CPU time of all processes that the run has and had.
    fn cpu_time(&self) -> Duration {
        if !self.limits.sums_cpu_time() {
            return self.limits.groups.cpu_time().unwrap_or_default();
        }
        // The ended ones first: one that ends meanwhile is missed once rather than counted twice.
        let ended = self.platform.meter.ended_cpu.load(Ordering::Acquire);
        let live = self.processes().into_iter().filter_map(usage::cpu_time);
        Duration::from_nanos(live.fold(ended, u64::saturating_add))
    }

    /// Memory of all processes, and of the files in the run's own file systems, in bytes. Exact only where it may be over
    /// the limit: to share out what several processes have in common is dear.
    fn memory(&self, limit: u64) -> u64 {
        let files = self.files.iter().map(Growing::grown);
        let files = files.fold(0, u64::saturating_add);
        let processes = self.processes();
        let resident = processes.iter().filter_map(|&pid| self.resident(pid));
        let at_most = resident.fold(files, u64::saturating_add);
        if at_most <= limit {
            return at_most;
        }
        let mut own = 0_u64;
        let mut shared = 0_u64;
        for pid in processes {
            let share = self.share(pid).unwrap_or_default();
            own = own.saturating_add(share.0);
            shared = shared.saturating_add(share.1);
        }
        // Files of the run's that are mapped are among the shared ones.
        own.saturating_add(shared.max(files))
    }

    fn read(&self, name: &str) -> Option<String> {
        let proc = self.platform.dispatcher.kernel.host_proc.as_fd();
        let text = procfs::read(proc, name)
            .or_else(|_| privilege::with_ptrace(|| procfs::read(proc, name)));
        Some(String::from_utf8_lossy(&text.ok()?).into_owned())
    }

    fn resident(&self, pid: i32) -> Option<u64> {
        let text = self.read(&format!("{pid}/statm"))?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages.saturating_mul(4096))
    }

    /// A process's share of anonymous memory, and of shared memory. What it maps of files can be had again from them.
    fn share(&self, pid: i32) -> Option<(u64, u64)> {
        let text = self.read(&format!("{pid}/smaps_rollup"))?;
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kilobytes.saturating_mul(1024))
        };
        Some((field("Pss_Anon:")?, field("Pss_Shmem:")?))
    }
}

/// A file system in memory that the run can write to, and what was in it before.
struct Growing {
    root: OwnedFd,
    before: u64,
}

impl Growing {
    fn used(root: &OwnedFd) -> Option<u64> {
        let found = nix::sys::statvfs::fstatvfs(root).ok()?;
        let blocks = found.blocks().saturating_sub(found.blocks_free());
        Some(blocks.saturating_mul(found.fragment_size()))
    }

    /// Bytes that came since.
    fn grown(&self) -> u64 {
        Self::used(&self.root)
            .unwrap_or(0)
            .saturating_sub(self.before)
    }

    /// All of them. Nobody in a run can mount, so there will be no more.
    fn all(host_proc: BorrowedFd<'_>) -> Vec<Self> {
        use nix::sys::statvfs::{FsFlags, fstatvfs};
        let table = procfs::read(host_proc, "self/mountinfo").unwrap_or_default();
        let table = String::from_utf8_lossy(&table);
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for mount in table.lines().filter_map(Mount::parse) {
            if mount.filesystem != "tmpfs" {
                continue;
            }
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let Ok(root) = open(&mount.place, flags, Mode::empty()) else {
                continue;
            };
            if let Ok(found) = fstatvfs(&root)
                && !found.flags().contains(FsFlags::ST_RDONLY)
                && seen.insert(found.filesystem_id())
                && let Some(before) = Self::used(&root)
            {
                all.push(Self { root, before });
            }
        }
        all
    }
}
