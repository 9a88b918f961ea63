//! Builds the root that a run sees, as [`super::view`] lists it: a restricted copy of the host's mounts with covers on top.
//!
//! One tmpfs, the base, holds whatever is private to the run, so that its size is bounded once. Every mount point is named by
//! a descriptor below the new root, never by a path that the host could change meanwhile.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat, umask};
use nix::unistd::symlinkat;

use super::launch::LaunchError;
use super::mountinfo::Mount;
use super::view::{Cover, View};
use crate::sys::mount::{self, Walk, attr};

/// Device nodes of the minimal `/dev`.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links of the minimal `/dev`.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

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

/// What `mount` shows as the source of the run's own file systems.
const SOURCE: (&CStr, &CStr) = (c"source", c"cage");

const HARMLESS: u64 = attr::NOSUID | attr::NODEV;

/// The new root, built but not entered yet.
#[derive(Debug)]
pub(super) struct World {
    pub(super) root: OwnedFd,
    base: OwnedFd,
    /// Mounts on which everything is the run's own.
    private: HashSet<u64>,
    /// Mounts of the host's that the run may write to.
    writable: HashSet<u64>,
    /// All covers' mounts.
    covers: HashSet<u64>,
}

/// Where the mount points below an entry are made: in the base, or nowhere since the host has them.
#[derive(Clone, Debug)]
enum Backing {
    Base(PathBuf),
    Host,
}

/// Whose the content of a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Run,
    WritableHost,
    Host,
}

fn failed(what: &str, place: &Path) -> impl Fn(io::Error) -> LaunchError {
    let text = format!("cannot {what} {}", place.display());
    move |error| LaunchError::new(text.clone(), error)
}

fn make_directory(base: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<()> {
    match mkdirat(base, path, Mode::from_bits_truncate(mode)) {
        Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn make_directories(base: BorrowedFd<'_>, below: &Path, path: &Path) -> io::Result<()> {
    let mut place = below.to_owned();
    for part in path.components() {
        place.push(part);
        make_directory(base, &place, 0o755)?;
    }
    Ok(())
}

fn make_file(base: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat(base, path, flags, Mode::from_bits_truncate(mode)).map(drop)?)
}

impl World {
    /// Builds the root for `view`; the caller has left the host's namespaces.
    pub(super) fn build(view: &View) -> Result<Self, LaunchError> {
        let before = umask(Mode::empty());
        let built = Self::build_unmasked(view);
        umask(before);
        built
    }

    fn build_unmasked(view: &View) -> Result<Self, LaunchError> {
        let slash = Path::new("/");
        mount::make_all_private().map_err(failed("cut mount propagation below", slash))?;
        let host = open(
            slash,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| failed("open", slash)(error.into()))?;
        let root = mount::clone_tree(host.as_fd(), Path::new(""), true)
            .map_err(failed("copy the mounts below", slash))?;
        let read_only = if matches!(
            view.covers.get(slash),
            Some(Cover::Host { writable: true, .. })
        ) {
            0
        } else {
            attr::RDONLY
        };
        mount::restrict(root.as_fd(), HARMLESS | read_only, true)
            .map_err(failed("make read-only", slash))?;

        // The base is stacked on the old root and carries the new one: both go away with the old root.
        let base = mount::new_filesystem(c"tmpfs", &[SOURCE, (c"mode", c"0755")], HARMLESS)
            .map_err(failed("mount a tmpfs on", slash))?;
        mount::attach(base.as_fd(), host.as_fd()).map_err(failed("mount a tmpfs on", slash))?;
        let setup = |error| failed("fill the run's own tmpfs for", slash)(error);
        make_directory(base.as_fd(), Path::new("root"), 0o755).map_err(setup)?;
        make_directory(base.as_fd(), Path::new("nothing"), 0o000).map_err(setup)?;
        make_file(base.as_fd(), Path::new("empty"), 0o000).map_err(setup)?;
        let place =
            mount::resolve(base.as_fd(), Path::new("root"), Walk::Canonical).map_err(setup)?;
        mount::attach(root.as_fd(), place.as_fd())
            .map_err(failed("mount the new root over", slash))?;

        let mut world = Self {
            root,
            base,
            private: HashSet::new(),
            writable: HashSet::new(),
            covers: HashSet::new(),
        };
        if read_only == 0 {
            let id = mount::mount_id(world.root.as_fd())
                .map_err(failed("ask for the mount id of", slash))?;
            world.writable.insert(id);
            world.covers.insert(id);
        }
        let mut backings = HashMap::new();
        for (number, (place, cover)) in view.covers.iter().enumerate() {
            if place != slash
                && let Some(backing) = world.cover(&host, place, cover, number, &backings)?
            {
                backings.insert(place.clone(), backing);
            }
        }
        Ok(world)
    }

    /// Puts one cover in its place; `None` where the host has no place for it, and so nothing to cover.
    fn cover(
        &mut self,
        host: &OwnedFd,
        place: &Path,
        cover: &Cover,
        number: usize,
        backings: &HashMap<PathBuf, Backing>,
    ) -> Result<Option<Backing>, LaunchError> {
        let above = place
            .ancestors()
            .skip(1)
            .find_map(|above| Some((above, backings.get(above)?)));
        if let Some((above, Backing::Base(directory))) = above {
            let relative = place.strip_prefix(above).unwrap_or(place);
            self.make_mount_point(directory, relative, cover)
                .map_err(failed("make a mount point for", place))?;
        }
        if matches!(cover, Cover::Link { .. }) {
            return Ok(None);
        }
        let target = match mount::resolve(self.root.as_fd(), place, Walk::Canonical) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("find", place)(error)),
        };
        let own = PathBuf::from(number.to_string());
        let base = self.base.as_fd();
        let copy_base = |name: &Path| mount::clone_tree(base, name, false);
        let mounted = match cover {
            Cover::Private { mode } => {
                make_directory(base, &own, *mode).and_then(|()| copy_base(&own))
            }
            Cover::Host { writable, .. } => Self::copy_host(host, place, *writable),
            Cover::Mask { directory } => {
                copy_base(Path::new(if *directory { "nothing" } else { "empty" }))
                    .and_then(Self::read_only)
            }
            Cover::Devices => {
                make_directory(base, &own, 0o755).and_then(|()| self.fill_devices(host, &own))
            }
            Cover::Frame => make_directory(base, &own, 0o755)
                .and_then(|()| copy_base(&own))
                .and_then(Self::read_only),
            Cover::Link { .. } => return Ok(None),
        }
        .map_err(failed("prepare what covers", place))?;
        mount::attach(mounted.as_fd(), target.as_fd()).map_err(failed("mount over", place))?;
        let (backing, owner) = match cover {
            Cover::Private { .. } => (Backing::Base(own), Owner::Run),
            Cover::Host { writable: true, .. } => (Backing::Host, Owner::WritableHost),
            Cover::Devices | Cover::Frame => (Backing::Base(own), Owner::Host),
            _ => (Backing::Host, Owner::Host),
        };
        self.note(mounted.as_fd(), owner, place)?;
        if matches!(cover, Cover::Devices) {
            self.attach_devices(host, place)?;
        }
        Ok(Some(backing))
    }

    fn make_mount_point(&self, directory: &Path, relative: &Path, cover: &Cover) -> io::Result<()> {
        let base = self.base.as_fd();
        let place = directory.join(relative);
        let file = match cover {
            Cover::Host { directory, .. } | Cover::Mask { directory } => !directory,
            Cover::Link { .. } => true,
            _ => false,
        };
        if !file {
            return make_directories(base, directory, relative);
        }
        make_directories(base, directory, relative.parent().unwrap_or(Path::new("")))?;
        if let Cover::Link { target } = cover {
            return match symlinkat(target, base, &place) {
                Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        make_file(base, &place, 0o000)
    }

    fn copy_host(host: &OwnedFd, place: &Path, writable: bool) -> io::Result<OwnedFd> {
        let source = mount::resolve(host.as_fd(), place, Walk::Canonical)?;
        let copy = mount::clone_tree(source.as_fd(), Path::new(""), true)?;
        // A device that is named by its path is wanted as a device.
        let nodev = if place.starts_with("/dev") {
            0
        } else {
            attr::NODEV
        };
        let read_only = if writable { 0 } else { attr::RDONLY };
        mount::restrict(copy.as_fd(), attr::NOSUID | nodev | read_only, true)?;
        Ok(copy)
    }

    fn read_only(mounted: OwnedFd) -> io::Result<OwnedFd> {
        mount::restrict(mounted.as_fd(), attr::RDONLY, false)?;
        Ok(mounted)
    }

    fn fill_devices(&self, host: &OwnedFd, own: &Path) -> io::Result<OwnedFd> {
        let base = self.base.as_fd();
        for node in NODES {
            if mount::resolve(host.as_fd(), &Path::new("/dev").join(node), Walk::Canonical).is_ok()
            {
                make_file(base, &own.join(node), 0o666)?;
            }
        }
        for (name, target) in DEVICE_LINKS {
            symlinkat(target, base, &own.join(name))?;
        }
        make_directory(base, &own.join("pts"), 0o755)?;
        Self::read_only(mount::clone_tree(base, own, false)?)
    }

    fn attach_devices(&mut self, host: &OwnedFd, place: &Path) -> Result<(), LaunchError> {
        for node in NODES {
            let node = place.join(node);
            let Ok(target) = mount::resolve(self.root.as_fd(), &node, Walk::Canonical) else {
                continue;
            };
            mount::resolve(host.as_fd(), &node, Walk::Canonical)
                .and_then(|source| mount::clone_tree(source.as_fd(), Path::new(""), false))
                .and_then(|copy| mount::restrict(copy.as_fd(), attr::NOSUID, false).map(|()| copy))
                .and_then(|copy| mount::attach(copy.as_fd(), target.as_fd()))
                .map_err(failed("bring in", &node))?;
        }
        let pts = place.join("pts");
        let options: [(&CStr, &CStr); 3] = [SOURCE, (c"ptmxmode", c"0666"), (c"mode", c"0620")];
        let terminals = mount::new_filesystem(c"devpts", &options, attr::NOSUID)
            .map_err(failed("mount a devpts on", &pts))?;
        let target = mount::resolve(self.root.as_fd(), &pts, Walk::Canonical)
            .map_err(failed("find", &pts))?;
        mount::attach(terminals.as_fd(), target.as_fd()).map_err(failed("mount a devpts on", &pts))
    }

    fn note(
        &mut self,
        mounted: BorrowedFd<'_>,
        owner: Owner,
        place: &Path,
    ) -> Result<(), LaunchError> {
        let id = mount::mount_id(mounted).map_err(failed("ask for the mount id of", place))?;
        self.covers.insert(id);
        match owner {
            Owner::Run => self.private.insert(id),
            Owner::WritableHost => self.writable.insert(id),
            Owner::Host => false,
        };
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
            Self::cover_proc(&proc, name, |entry| {
                Self::read_only(mount::clone_tree(entry, Path::new(""), false)?)
            })?;
        }
        for name in PROC_MASKED {
            Self::cover_proc(&proc, name, |_| {
                Self::read_only(mount::clone_tree(
                    self.base.as_fd(),
                    Path::new("empty"),
                    false,
                )?)
            })?;
        }
        Ok(())
    }

    fn cover_proc(
        proc: &OwnedFd,
        name: &str,
        make: impl Fn(BorrowedFd<'_>) -> io::Result<OwnedFd>,
    ) -> Result<(), LaunchError> {
        let place = Path::new("/proc").join(name);
        match mount::resolve(proc.as_fd(), Path::new(name), Walk::Canonical) {
            Ok(entry) => make(entry.as_fd())
                .and_then(|cover| mount::attach(cover.as_fd(), entry.as_fd()))
                .map_err(failed("protect", &place)),
            // Not every kernel has every one of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("find", &place)(error)),
        }
    }

    /// Enters the world for good: every process of this mount namespace has the new root afterwards.
    pub(super) fn enter(&self) -> Result<(), LaunchError> {
        mount::pivot_into(self.root.as_fd(), 1).map_err(failed("make the new root", Path::new("/")))
    }

    /// The ids of all mounts on which nothing belongs to the host, or which the run was given for writing.
    pub(super) fn private_mounts(
        &self,
        host_proc: BorrowedFd<'_>,
    ) -> Result<HashSet<u64>, LaunchError> {
        let mut ids: HashSet<u64> = self.private.union(&self.writable).copied().collect();
        if self.writable.is_empty() {
            return Ok(ids);
        }
        let name = Path::new("self/mountinfo");
        let table = openat(
            host_proc,
            name,
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(io::Error::from);
        let mut text = Vec::new();
        table
            .and_then(|table| File::from(table).read_to_end(&mut text))
            .map_err(failed("read", name))?;
        let text = String::from_utf8_lossy(&text);
        // A bind brings the mounts below it along, whose ids only the kernel knows.
        let parents: HashMap<u64, u64> = text
            .lines()
            .filter_map(Mount::parse)
            .map(|mount| (mount.id, mount.parent))
            .collect();
        for start in parents.keys() {
            let mut id = *start;
            for _ in 0..parents.len() {
                if self.covers.contains(&id) {
                    if self.writable.contains(&id) {
                        ids.insert(*start);
                    }
                    break;
                }
                match parents.get(&id) {
                    Some(parent) => id = *parent,
                    None => break,
                }
            }
        }
        Ok(ids)
    }
}
