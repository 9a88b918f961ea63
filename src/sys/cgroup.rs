//! A control group as a directory: made, written to, read, removed. Which ones a run has is decided above.
//!
//! Everything is named by a descriptor: the host's /sys is out of sight while a run goes on.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// No file of a group that is read here is longer.
const MOST: u64 = 1 << 20;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Opens the directory of a group that is there.
///
/// # Errors
/// Those of open(2).
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, DIRECTORY, Mode::empty())?)
}

/// Reads a file of a group.
///
/// # Errors
/// Those of openat(2) and read(2).
pub fn read(group: BorrowedFd<'_>, file: &str) -> io::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = File::from(openat(group, file, flags, Mode::empty())?);
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file of a group, in one write as the kernel wants it.
///
/// # Errors
/// Those of openat(2) and write(2).
pub fn write(group: BorrowedFd<'_>, file: &str, text: &str) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(group, file, flags, Mode::empty())?);
    file.write_all(text.as_bytes())
}

/// The names of the groups in a group.
///
/// # Errors
/// Those of open(2) and getdents(2).
pub fn children(group: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut directory = Dir::openat(group, ".", DIRECTORY, Mode::empty())?;
    Ok(directory
        .iter()
        .flatten()
        .filter(|entry| entry.file_type() == Some(nix::dir::Type::Directory))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "." && name != "..")
        .collect())
}

/// Removes an empty group in a group.
///
/// # Errors
/// `EBUSY` while a process is in it; the others of unlinkat(2).
pub fn remove(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    Ok(unlinkat(parent, name, UnlinkatFlags::RemoveDir)?)
}

/// A group of our own making.
#[derive(Debug)]
pub struct Group {
    parent: OwnedFd,
    name: String,
    directory: OwnedFd,
    /// Opened early: what the kernel lets a writer move depends on who opened it, and in which namespace.
    members: File,
}

impl Group {
    /// Makes a group in `parent`.
    ///
    /// # Errors
    /// Where the kernel refuses; nothing is left then.
    pub fn make(parent: OwnedFd, name: &str) -> io::Result<Self> {
        mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?;
        let opened = openat(&parent, name, DIRECTORY, Mode::empty()).and_then(|directory| {
            let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let members = openat(&directory, "cgroup.procs", flags, Mode::empty())?;
            Ok((directory, File::from(members)))
        });
        match opened {
            Ok((directory, members)) => Ok(Self {
                parent,
                name: name.to_owned(),
                directory,
                members,
            }),
            Err(error) => {
                // It was made a moment ago and is empty; where it cannot be removed the first error says more.
                let _ = remove(parent.as_fd(), name);
                Err(error.into())
            }
        }
    }

    /// Puts a process into the group; its children to come are born there.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn adopt(&self, pid: i32) -> io::Result<()> {
        (&self.members).write_all(pid.to_string().as_bytes())
    }

    /// Reads one of the group's files.
    ///
    /// # Errors
    /// Those of openat(2) and read(2).
    pub fn read(&self, file: &str) -> io::Result<String> {
        read(self.directory.as_fd(), file)
    }

    /// Writes one of the group's files.
    ///
    /// # Errors
    /// Those of openat(2) and write(2).
    pub fn write(&self, file: &str, text: &str) -> io::Result<()> {
        write(self.directory.as_fd(), file, text)
    }

    /// The directory that it is removed from.
    #[must_use]
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// Has the kernel ring when one of the group's files changes, which version 1 does for a few; also when the group is
    /// removed.
    ///
    /// # Errors
    /// Where the kernel does not ring for this file.
    pub fn bell(&self, file: &str) -> io::Result<OwnedFd> {
        let errno = |errno: crate::abi::Errno| io::Error::from_raw_os_error(errno.into_raw());
        let bell = super::event::eventfd(0, 0).map_err(errno)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.directory, file, flags, Mode::empty())?;
        let ask = format!("{} {}", bell.as_raw_fd(), file.as_raw_fd());
        self.write("cgroup.event_control", &ask)?;
        Ok(bell)
    }

    /// Removes the group.
    ///
    /// # Errors
    /// `EBUSY` while a process is in it.
    pub fn remove(&self) -> io::Result<()> {
        remove(self.parent.as_fd(), &self.name)
    }
}
