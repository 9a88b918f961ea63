//! Builds the root that a run sees, as [`super::view`] lists it: a restricted copy of the host's mounts with covers on top.
//!
//! One tmpfs, the base, holds whatever is private to the run, so that its size is bounded once. Every mount point is named by
//! a descriptor below the new root, never by a path that the host could change meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat, umask};
use nix::unistd::symlinkat;

use super::filesystem::Opened;
use super::launch::LaunchError;
use super::mountinfo::Mount;
use super::view::{Cover, Shown, View};
use crate::sys::mount::{self, Walk, attr};

/// What `mount` shows as the source of the run's own file systems.
pub(super) const SOURCE: (&CStr, &CStr) = (c"source", c"cage");

pub(super) const HARMLESS: u64 = attr::NOSUID | attr::NODEV;

/// The new root, built but not entered yet.
#[derive(Debug)]
pub(super) struct World {
    pub(super) root: OwnedFd,
    pub(super) base: OwnedFd,
    /// Mounts on which everything is the run's own.
    private: HashSet<u64>,
    /// Mounts of the host's that the run may write to.
    writable: HashSet<u64>,
    /// All covers' mounts.
    covers: HashSet<u64>,
    /// The run's own devpts, where it has one.
    pub(super) terminals: Option<OwnedFd>,
}

/// Where the mount points below an entry are made: in this directory of the run's own, or nowhere since the host has them.
#[derive(Clone, Debug)]
enum Backing {
    Own(Rc<OwnedFd>),
    Host,
}

/// What the building of a root needs and the root does not.
struct Site<'a> {
    /// The host's root.
    host: OwnedFd,
    view: &'a View,
    /// File systems that were mounted outside.
    opened: &'a [Opened],
    /// Copies of the host's root, made while the base did not lie over it yet.
    whole: HashMap<PathBuf, OwnedFd>,
    backings: BTreeMap<PathBuf, Backing>,
    /// Mounts that become read-only when all mount points in them are made.
    sealed_later: Vec<OwnedFd>,
}

/// Whose the content of a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Run,
    WritableHost,
    Host,
}

pub(super) fn failed(what: &str, place: &Path) -> impl Fn(io::Error) -> LaunchError {
    let text = format!("cannot {what} {}", place.display());
    move |error| LaunchError::new(text.clone(), error)
}

pub(super) fn make_directory(base: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<()> {
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

pub(super) fn make_file(base: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat(base, path, flags, Mode::from_bits_truncate(mode)).map(drop)?)
}

impl World {
    /// Builds the root for `view`; the caller has left the host's namespaces.
    pub(super) fn build(view: &View, opened: &[Opened]) -> Result<Self, LaunchError> {
        let before = umask(Mode::empty());
        let built = Self::build_unmasked(view, opened);
        umask(before);
        built
    }

    fn build_unmasked(view: &View, opened: &[Opened]) -> Result<Self, LaunchError> {
        let slash = Path::new("/");
        mount::make_all_private().map_err(failed("cut mount propagation below", slash))?;
        let host = open(
            slash,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| failed("open", slash)(error.into()))?;
        // The base is stacked on the old root and carries the new one: both go away with the old root.
        let base = mount::new_filesystem(c"tmpfs", &[SOURCE, (c"mode", c"0755")], HARMLESS)
            .map_err(failed("mount a tmpfs on", slash))?;
        let setup = |error| failed("fill the run's own tmpfs for", slash)(error);
        make_directory(base.as_fd(), Path::new("root"), 0o755).map_err(setup)?;
        make_directory(base.as_fd(), Path::new("frame"), 0o755).map_err(setup)?;
        make_directory(base.as_fd(), Path::new("nothing"), 0o555).map_err(setup)?;
        make_file(base.as_fd(), Path::new("empty"), 0o000).map_err(setup)?;
        // What shows of the host is copied before the base lies over it.
        let shown = match view.covers.get(slash) {
            Some(Cover::Host(shown)) => shown.clone(),
            _ => Shown::read_only(slash, true),
        };
        let framed = matches!(view.covers.get(slash), Some(Cover::Frame));
        let copy = if framed {
            None
        } else {
            let copy = Self::copy_host(&host, slash, &shown);
            Some(copy.map_err(failed("copy the mounts below", &shown.source))?)
        };
        let mut whole = HashMap::new();
        for (place, cover) in &view.covers {
            if let Cover::Host(shown) = cover
                && shown.source == slash
                && place != slash
            {
                let copy = Self::copy_host(&host, place, shown);
                whole.insert(place.clone(), copy.map_err(failed("copy", slash))?);
            }
        }
        mount::attach(base.as_fd(), host.as_fd()).map_err(failed("mount a tmpfs on", slash))?;
        let root = match copy {
            Some(root) => root,
            None => mount::clone_tree(base.as_fd(), Path::new("frame"), false)
                .and_then(Self::read_only)
                .map_err(setup)?,
        };
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
            terminals: None,
        };
        let mut site = Site {
            host,
            view,
            opened,
            whole,
            backings: BTreeMap::new(),
            sealed_later: Vec::new(),
        };
        let root = world.root.try_clone().map_err(setup)?;
        if framed {
            let backing = world.own_directory(Path::new("frame")).map_err(setup)?;
            site.backings.insert(slash.to_owned(), backing);
            world.note(root.as_fd(), Owner::Host, slash)?;
        } else if shown.writable {
            world.note(root.as_fd(), Owner::WritableHost, slash)?;
        }
        for (number, (place, cover)) in view.covers.iter().enumerate() {
            if place != slash
                && let Some(backing) = world.cover(&mut site, place, cover, number)?
            {
                site.backings.insert(place.clone(), backing);
            }
        }
        for sealed in site.sealed_later {
            mount::restrict(sealed.as_fd(), attr::RDONLY, false)
                .map_err(failed("make read-only what is mounted below", slash))?;
        }
        Ok(world)
    }

    /// A directory of the base, as where mount points are made.
    fn own_directory(&self, place: &Path) -> io::Result<Backing> {
        let directory = mount::resolve(self.base.as_fd(), place, Walk::Canonical)?;
        Ok(Backing::Own(Rc::new(directory)))
    }

    /// Puts one cover in its place; `None` where the host has no place for it, and so nothing to cover.
    fn cover(
        &mut self,
        site: &mut Site<'_>,
        place: &Path,
        cover: &Cover,
        number: usize,
    ) -> Result<Option<Backing>, LaunchError> {
        let above = place
            .ancestors()
            .skip(1)
            .find_map(|above| Some((above, site.backings.get(above)?)));
        if let Some((above, Backing::Own(directory))) = above {
            let relative = place.strip_prefix(above).unwrap_or(place);
            Self::make_mount_point(directory.as_fd(), relative, cover)
                .map_err(failed("make a mount point for", place))?;
        }
        if matches!(cover, Cover::Link { .. }) {
            return Ok(None);
        }
        let target = match mount::resolve(self.root.as_fd(), place, Walk::Canonical) {
            Ok(target) => target,
            Err(error) => {
                let missing = error.kind() == io::ErrorKind::NotFound;
                return match site.view.explicit.get(place) {
                    Some(named) => Err(LaunchError::new(&named.flag, error).mend(
                        "the destination must exist there, without a symbolic link on the way",
                    )),
                    None if missing => Ok(None),
                    None => Err(failed("find", place)(error)),
                };
            }
        };
        let own = PathBuf::from(number.to_string());
        let base = self.base.as_fd();
        let copy_base = |name: &Path| mount::clone_tree(base, name, false);
        let mounted = match cover {
            Cover::Private { mode } => {
                make_directory(base, &own, *mode).and_then(|()| copy_base(&own))
            }
            Cover::Host(shown) => match site.whole.remove(place) {
                Some(copy) => Ok(copy),
                None => Self::copy_host(&site.host, place, shown),
            },
            Cover::Mask { directory } => {
                copy_base(Path::new(if *directory { "nothing" } else { "empty" }))
                    .and_then(Self::read_only)
            }
            Cover::Text(text) => Self::make_text(base, &own, text)
                .and_then(|()| copy_base(&own))
                .and_then(Self::read_only),
            Cover::Devices => {
                make_directory(base, &own, 0o755).and_then(|()| self.fill_devices(&site.host, &own))
            }
            Cover::Frame => make_directory(base, &own, 0o755)
                .and_then(|()| copy_base(&own))
                .and_then(Self::read_only),
            Cover::Sys { .. } => self.make_sys(&site.host),
            Cover::Mounted(filesystem) => {
                Ok(filesystem.mount(&site.host, base, &own, site.opened)?)
            }
            Cover::Link { .. } => return Ok(None),
        }
        .map_err(failed("prepare what covers", place))?;
        mount::attach(mounted.as_fd(), target.as_fd()).map_err(failed("mount over", place))?;
        let owner = match cover {
            Cover::Private { .. } => Owner::Run,
            Cover::Mounted(filesystem) if filesystem.is_written_outside() => Owner::WritableHost,
            Cover::Mounted(_) => Owner::Run,
            Cover::Host(Shown { writable: true, .. }) => Owner::WritableHost,
            _ => Owner::Host,
        };
        self.note(mounted.as_fd(), owner, place)?;
        let backing = match cover {
            Cover::Private { .. } | Cover::Devices | Cover::Frame => self
                .own_directory(&own)
                .map_err(failed("prepare what covers", place))?,
            Cover::Mounted(filesystem) if filesystem.is_own() => {
                let root = mounted.try_clone().map_err(failed("hold", place))?;
                Backing::Own(Rc::new(root))
            }
            _ => Backing::Host,
        };
        match cover {
            Cover::Devices => self.attach_devices(&site.host, place)?,
            Cover::Sys { own_network } => self.mask_sys(&site.host, place, *own_network)?,
            Cover::Mounted(filesystem) => {
                if filesystem.kind == "devpts" && place == Path::new("/dev/pts") {
                    let terminals = mounted.try_clone().map_err(failed("hold", place))?;
                    self.terminals = Some(terminals);
                }
                if filesystem.read_only {
                    site.sealed_later.push(mounted);
                }
            }
            _ => {}
        }
        Ok(Some(backing))
    }

    fn make_mount_point(directory: BorrowedFd<'_>, place: &Path, cover: &Cover) -> io::Result<()> {
        let there = mount::resolve(directory, place, Walk::Canonical).is_ok();
        if there && !matches!(cover, Cover::Link { .. }) {
            return Ok(());
        }
        let file = match cover {
            Cover::Host(Shown { directory, .. }) | Cover::Mask { directory } => !directory,
            Cover::Link { .. } | Cover::Text(_) => true,
            _ => false,
        };
        let top = Path::new("");
        if !file {
            return make_directories(directory, top, place);
        }
        make_directories(directory, top, place.parent().unwrap_or(top))?;
        if let Cover::Link { target } = cover {
            return match symlinkat(target, directory, place) {
                Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        make_file(directory, place, 0o000)
    }

    fn make_text(base: BorrowedFd<'_>, name: &Path, text: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(base, name, flags, Mode::from_bits_truncate(0o644))?;
        File::from(file).write_all(text)
    }

    /// A restricted copy of what the host has, for `place`.
    fn copy_host(host: &OwnedFd, place: &Path, shown: &Shown) -> io::Result<OwnedFd> {
        let source = mount::resolve(host.as_fd(), &shown.source, Walk::Canonical)?;
        let copy = mount::clone_tree(source.as_fd(), Path::new(""), true)?;
        // A device that is named by its path is wanted as a device.
        let nodev = if shown.source.starts_with("/dev") && place != Path::new("/") {
            0
        } else {
            attr::NODEV
        };
        let read_only = if shown.writable { 0 } else { attr::RDONLY };
        let noexec = if shown.noexec { attr::NOEXEC } else { 0 };
        mount::restrict(
            copy.as_fd(),
            attr::NOSUID | nodev | read_only | noexec,
            true,
        )?;
        Ok(copy)
    }

    pub(super) fn read_only(mounted: OwnedFd) -> io::Result<OwnedFd> {
        mount::restrict(mounted.as_fd(), attr::RDONLY, false)?;
        Ok(mounted)
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
