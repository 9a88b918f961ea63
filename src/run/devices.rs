//! The minimal `/dev`: a few of the host's nodes, links, and terminals of the run's own.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::unistd::symlinkat;

use super::launch::LaunchError;
use super::world::{SOURCE, World, failed, make_directory, make_file};
use crate::sys::mount::{self, Walk, attr};
use crate::sys::terminal;

/// Device nodes of the minimal `/dev`.
pub(super) const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links of the minimal `/dev`.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

impl World {
    pub(super) fn fill_devices(&self, host: &OwnedFd, own: &Path) -> io::Result<OwnedFd> {
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

    pub(super) fn attach_devices(
        &mut self,
        host: &OwnedFd,
        place: &Path,
    ) -> Result<(), LaunchError> {
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
        let terminals = Self::new_terminals().map_err(failed("mount a devpts on", &pts))?;
        let target = mount::resolve(self.root.as_fd(), &pts, Walk::Canonical)
            .map_err(failed("find", &pts))?;
        mount::attach(terminals.as_fd(), target.as_fd())
            .map_err(failed("mount a devpts on", &pts))?;
        self.terminals = Some(terminals);
        Ok(())
    }

    fn new_terminals() -> io::Result<OwnedFd> {
        let options: [(&CStr, &CStr); 3] = [SOURCE, (c"ptmxmode", c"0666"), (c"mode", c"0620")];
        mount::new_filesystem(c"devpts", &options, attr::NOSUID)
    }

    /// Makes a pseudo-terminal for the run, of its own devpts; of one that is mounted nowhere where it has none, or one
    /// that a flag made such that nobody may. Gives its master and its slave.
    pub(super) fn open_terminal(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let own = self.terminals.as_ref();
        match own.map(|terminals| terminal::open_pair(terminals.as_fd())) {
            Some(Ok(pair)) => Ok(pair),
            _ => terminal::open_pair(Self::new_terminals()?.as_fd()),
        }
    }
}
