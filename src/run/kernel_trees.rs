//! The kernel's own trees: `/proc` and `/sys`, with what concerns the whole machine read-only or empty.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;

use super::launch::LaunchError;
use super::world::{HARMLESS, SOURCE, World, failed};
use crate::sys::mount::{self, Walk, attr};

/// What `/proc` has for the whole machine: to be read, never written, whatever the kernel thinks of uid 0.
const PROC_READ_ONLY: [&str; 16] = [
    "sys",
    "sysrq-trigger",
    "irq",
    "bus",
    "fs",
    "acpi",
    "mtrr",
    "scsi",
    "asound",
    "driver",
    "dynamic_debug",
    "pressure",
    "tty",
    "latency_stats",
    "slabinfo",
    "sysvipc",
];

/// What nobody in a run has a use for.
const PROC_MASKED: [&str; 9] = [
    "kcore",
    "keys",
    "timer_list",
    "sched_debug",
    "kmsg",
    "timer_stats",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
];

/// What of `/sys` is about the machine and not for a run: firmware, other kernel file systems, the meter of power.
const SYS_MASKED: [&str; 12] = [
    "firmware",
    "devices/virtual/powercap",
    "kernel/debug",
    "kernel/tracing",
    "kernel/security",
    "kernel/config",
    "kernel/slab",
    "kernel/notes",
    "fs/bpf",
    "fs/cgroup",
    "fs/pstore",
    "fs/selinux",
];

impl World {
    /// The whole `/sys`: a new one, which shows the run's own network, or the host's where the kernel refuses that.
    pub(super) fn make_sys(&self, host: &OwnedFd) -> io::Result<OwnedFd> {
        let attributes = HARMLESS | attr::RDONLY;
        match mount::new_filesystem(c"sysfs", &[SOURCE], attributes) {
            // A part of the host's is covered, or the network is the host's own.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EBUSY)) => {
                let source = mount::resolve(host.as_fd(), Path::new("/sys"), Walk::Canonical)?;
                let copy = mount::clone_tree(source.as_fd(), Path::new(""), true)?;
                mount::restrict(copy.as_fd(), attributes, true)?;
                Ok(copy)
            }
            made => made,
        }
    }

    /// Covers what of `/sys` no run should see; where it is the host's, its network too.
    pub(super) fn mask_sys(
        &self,
        host: &OwnedFd,
        place: &Path,
        own_network: bool,
    ) -> Result<(), LaunchError> {
        let sys = mount::resolve(self.root.as_fd(), place, Walk::Canonical)
            .map_err(failed("find", place))?;
        let device = |place: BorrowedFd<'_>| fstat(place).map(|stat| stat.st_dev);
        let hosts = mount::resolve(host.as_fd(), Path::new("/sys"), Walk::Canonical)
            .ok()
            .and_then(|host| device(host.as_fd()).ok());
        let mut masked: Vec<PathBuf> = SYS_MASKED.iter().map(PathBuf::from).collect();
        if own_network && hosts.is_some() && device(sys.as_fd()).ok() == hosts {
            masked.extend(network_directories());
        }
        for name in masked {
            let empty = |entry: BorrowedFd<'_>| {
                let directory = fstat(entry)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
                let name = if directory { "nothing" } else { "empty" };
                let base = self.base.as_fd();
                Self::read_only(mount::clone_tree(base, Path::new(name), false)?)
            };
            Self::cover_entry(&sys, place, &name, empty)?;
        }
        Ok(())
    }

    /// Mounts the fresh `/proc` of the calling process's pid namespace, with what concerns the whole machine read-only or empty.
    /// The host's own `/proc` must still be there, or the kernel refuses.
    pub(super) fn mount_proc(&self) -> Result<(), LaunchError> {
        let place = Path::new("/proc");
        let target = mount::resolve(self.root.as_fd(), place, Walk::Canonical)
            .map_err(failed("find", place))?;
        let proc = mount::new_filesystem(c"proc", &[SOURCE], HARMLESS).map_err(|error| {
            failed("mount a new", place)(error).mend("the kernel refuses where a part of the host's /proc is covered, as in most containers")
        })?;
        mount::attach(proc.as_fd(), target.as_fd()).map_err(failed("mount over", place))?;
        for name in PROC_READ_ONLY {
            Self::cover_entry(&proc, place, Path::new(name), |entry| {
                Self::read_only(mount::clone_tree(entry, Path::new(""), false)?)
            })?;
        }
        for name in PROC_MASKED {
            Self::cover_entry(&proc, place, Path::new(name), |_| {
                Self::read_only(mount::clone_tree(
                    self.base.as_fd(),
                    Path::new("empty"),
                    false,
                )?)
            })?;
        }
        Ok(())
    }

    fn cover_entry(
        tree: &OwnedFd,
        place: &Path,
        name: &Path,
        make: impl Fn(BorrowedFd<'_>) -> io::Result<OwnedFd>,
    ) -> Result<(), LaunchError> {
        let place = place.join(name);
        match mount::resolve(tree.as_fd(), name, Walk::Canonical) {
            Ok(entry) => make(entry.as_fd())
                .and_then(|cover| mount::attach(cover.as_fd(), entry.as_fd()))
                .map_err(failed("protect", &place)),
            // Not every kernel has every one of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("find", &place)(error)),
        }
    }
}

/// Where the host's network devices show in `/sys`, relative to it.
fn network_directories() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("class/net")];
    for device in fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
    {
        let place = fs::canonicalize(device.path()).ok();
        let directory = place.as_deref().and_then(Path::parent);
        if let Some(below) = directory.and_then(|directory| directory.strip_prefix("/sys").ok())
            && !found.iter().any(|known| known == below)
        {
            found.push(below.to_owned());
        }
    }
    found
}
