//! Where a path leads, for every call that takes one. A name that means the same to everybody is given to the host's
//! kernel whole (one call); one that means the caller (`/proc/self`, `/dev/fd`, …) is walked by `walk.rs`.
//! Nothing here opens for contents, changes or answers anything itself.

mod walk;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::Ctx;
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::{DirFd, Fd};
use crate::sys;

/// Longer labels than this are cut: they only describe.
const LABEL_MAX: usize = 8192;

/// What becomes of a symbolic link in the last place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// It is followed.
    Follow,
    /// It is meant itself.
    Keep,
    /// It is meant itself even before a slash: what the call makes, moves or removes.
    Entry,
}

/// Where a path starts.
#[derive(Debug, Clone)]
pub(crate) struct Start(Option<Arc<OpenFile>>);

impl Start {
    /// Where this path starts: an absolute one at the world's root, others at the directory.
    ///
    /// # Errors
    /// `EBADF`, `ENOTDIR`.
    pub(crate) fn of(cx: &Ctx<'_>, dirfd: DirFd, path: &[u8]) -> Result<Self, Errno> {
        if path.first() == Some(&b'/') {
            return Ok(Self(None));
        }
        if dirfd == DirFd::CWD {
            return Ok(Self(Some(cx.fs().cwd())));
        }
        let file = cx.descriptor(Fd(dirfd.0))?.file;
        match file.kind() {
            FileKind::Directory | FileKind::Place if file.host().is_some() => Ok(Self(Some(file))),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn fd<'s>(&'s self, cx: &'s Ctx<'_>) -> BorrowedFd<'s> {
        self.0
            .as_ref()
            .and_then(|file| file.host())
            .unwrap_or_else(|| cx.kernel.root.as_fd())
    }

    fn is_on_procfs(&self) -> bool {
        self.0.as_ref().is_some_and(|file| file.is_on_procfs())
    }

    /// The absolute path, as far as it can be told without looking.
    fn label(&self, path: &[u8]) -> Vec<u8> {
        match &self.0 {
            Some(file) => normal(&[file.label(), b"/", path].concat()),
            None => normal(path),
        }
    }
}

/// What a [`Target`]'s name stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// An ordinary name: whether a link in the last place is followed is the call's business.
    Name,
    /// One of the supervisor's own descriptors, which must be followed: a magic link led here.
    Object(&'a Object),
    /// A link that means the caller and is not to be followed: its text. The name may not exist for the host.
    Link(&'a [u8]),
    /// A file of /proc whose content is not the host's.
    Doctored(&'a [u8]),
    /// A file of /proc that is not to be opened.
    Refused(Errno),
}

/// What a magic link led to.
#[derive(Debug)]
pub(crate) struct Object {
    /// A copy of the file.
    pub(crate) file: OwnedFd,
    /// Its label.
    pub(crate) label: Vec<u8>,
}

/// A directory and a name for one of the host's calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The directory.
    pub(crate) dir: BorrowedFd<'a>,
    /// The name, with slashes perhaps.
    pub(crate) name: &'a CStr,
    /// What it is.
    pub(crate) kind: Kind<'a>,
}

impl<'a> Target<'a> {
    /// Directory and name.
    pub(crate) fn pair(&self) -> (BorrowedFd<'a>, &'a CStr) {
        (self.dir, self.name)
    }

    /// Whether the name must be followed.
    pub(crate) fn is_object(&self) -> bool {
        matches!(self.kind, Kind::Object(_))
    }

    /// The call's flags, without the one that keeps a link where the name must be followed.
    pub(crate) fn flags(&self, flags: i32, nofollow: i32) -> i32 {
        if self.is_object() {
            flags & !nofollow
        } else {
            flags
        }
    }
}

/// What a walk came to.
#[derive(Debug)]
pub(crate) enum Reached {
    /// An ordinary name in a directory.
    Name(OwnedFd, CString),
    /// The object behind a magic link, and its name below the host's /proc.
    Object(Object, CString),
    /// A virtual link, kept: its text, and the host's name for it.
    Link(Vec<u8>, OwnedFd, CString),
    /// A doctored file: its content, and the host's name for it.
    Doctored(Vec<u8>, OwnedFd, CString),
    /// A file that is not to be opened, and the host's name for it.
    Refused(Errno, OwnedFd, CString),
}

impl Reached {
    /// What one of the host's calls can be made on.
    pub(crate) fn target<'s>(&'s self, cx: &'s Ctx<'_>) -> Target<'s> {
        let (dir, name, kind) = match self {
            Self::Name(dir, name) => (dir.as_fd(), name, Kind::Name),
            Self::Object(object, name) => (cx.kernel.host_proc.as_fd(), name, Kind::Object(object)),
            Self::Link(text, dir, name) => (dir.as_fd(), name, Kind::Link(text)),
            Self::Doctored(content, dir, name) => (dir.as_fd(), name, Kind::Doctored(content)),
            Self::Refused(errno, dir, name) => (dir.as_fd(), name, Kind::Refused(*errno)),
        };
        Target { dir, name, kind }
    }

    /// An object that the supervisor holds, to be reached by its own name below the host's /proc.
    pub(crate) fn object(file: OwnedFd, label: Vec<u8>) -> Self {
        let name = sys::fs::own_name(file.as_raw_fd());
        Self::Object(Object { file, label }, name)
    }
}

/// A path of a call, ready to be tried.
#[derive(Debug)]
pub(crate) struct Path {
    start: Start,
    text: CString,
    last: Last,
    magic: bool,
}

impl Path {
    /// The path from this directory.
    ///
    /// # Errors
    /// `ENOENT` where it is empty, `EBADF`, `ENOTDIR`.
    pub(crate) fn new(
        cx: &Ctx<'_>,
        dirfd: DirFd,
        bytes: Vec<u8>,
        last: Last,
    ) -> Result<Self, Errno> {
        if bytes.is_empty() {
            return Err(Errno::ENOENT);
        }
        let start = Start::of(cx, dirfd, &bytes)?;
        let text = CString::new(bytes).map_err(|_| Errno::ENOENT)?;
        let path = Self {
            start,
            text,
            last,
            magic: true,
        };
        cx.note_path(path.label());
        Ok(path)
    }

    /// The path below this directory, whatever it begins with, as `RESOLVE_IN_ROOT` reads it.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub(crate) fn rooted(cx: &Ctx<'_>, dirfd: DirFd, bytes: Vec<u8>) -> Result<Self, Errno> {
        let start = Start::of(cx, dirfd, b"")?;
        let text = CString::new(bytes).map_err(|_| Errno::ENOENT)?;
        let path = Self {
            start,
            text,
            last: Last::Follow,
            magic: false,
        };
        cx.note_path(path.label());
        Ok(path)
    }

    /// Refuses magic links, as `RESOLVE_NO_MAGICLINKS` does.
    pub(crate) fn without_magic(mut self) -> Self {
        self.magic = false;
        self
    }

    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The absolute path, as far as it can be told without looking.
    pub(crate) fn label(&self) -> Vec<u8> {
        self.start.label(self.bytes())
    }

    /// The start and the whole path, for a call that resolves all of it.
    pub(crate) fn whole<'s>(&'s self, cx: &'s Ctx<'_>) -> Target<'s> {
        Target {
            dir: self.start.fd(cx),
            name: &self.text,
            kind: Kind::Name,
        }
    }

    /// Whether the name means the caller, by its looks.
    pub(crate) fn means_caller(&self) -> bool {
        self.start.is_on_procfs() || looks_virtual(self.bytes())
    }

    /// Whether this failure of the whole path may be a symbolic link's that means the caller.
    pub(crate) fn may_be_virtual(&self, cx: &Ctx<'_>, errno: Errno) -> bool {
        match errno {
            Errno::ELOOP => true,
            // A miss without any link on the way is a miss; to know it costs one call.
            Errno::ENOENT | Errno::EACCES => {
                meets_a_link(self.start.fd(cx), &self.text)
                    && self
                        .past_first_link(cx)
                        .is_none_or(|(root, path)| meets_a_link(root, &path))
            }
            _ => false,
        }
    }

    /// The path with a link in its first place read: `/lib` is `usr/lib` on most systems, and misses below it are many.
    fn past_first_link<'s>(&self, cx: &'s Ctx<'_>) -> Option<(BorrowedFd<'s>, CString)> {
        let path = self.bytes().strip_prefix(b"/")?;
        let end = path.iter().position(|&b| b == b'/')?;
        let (first, rest) = path.split_at(end);
        let root = cx.kernel.root.as_fd();
        let mut text = sys::fs::readlink(root, &CString::new(first).ok()?).ok()?;
        text.extend_from_slice(rest);
        Some((root, CString::new(text).ok()?))
    }

    /// Walks the path component by component.
    ///
    /// # Errors
    /// Those of path resolution.
    pub(crate) fn walk(&self, cx: &Ctx<'_>) -> Result<Reached, Errno> {
        walk::walk(cx, self)
    }

    /// Runs a call on what the path means: whole where it can be, after a walk where it must be.
    ///
    /// # Errors
    /// Those of path resolution, and those of the call.
    pub(crate) fn run<T>(
        &self,
        cx: &Ctx<'_>,
        act: impl Fn(Target<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if !self.means_caller() {
            match act(self.whole(cx)) {
                Err(errno) if self.may_be_virtual(cx, errno) => {}
                result => return result,
            }
        }
        let reached = self.walk(cx)?;
        act(reached.target(cx))
    }
}

/// Runs a call on what two paths mean.
///
/// # Errors
/// Those of path resolution, and those of the call.
pub(crate) fn run_pair<T>(
    cx: &Ctx<'_>,
    from: &Path,
    to: &Path,
    act: impl Fn(Target<'_>, Target<'_>) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if !from.means_caller() && !to.means_caller() {
        match act(from.whole(cx), to.whole(cx)) {
            Err(errno) if from.may_be_virtual(cx, errno) || to.may_be_virtual(cx, errno) => {}
            result => return result,
        }
    }
    let (from, to) = (from.walk(cx)?, to.walk(cx)?);
    act(from.target(cx), to.target(cx))
}

/// Whether a symbolic link lies on the way of a path.
fn meets_a_link(dir: BorrowedFd<'_>, path: &CStr) -> bool {
    sys::fs::probe_without_symlinks(dir, path) == Err(Errno::ELOOP)
}

/// Whether a path may name something that depends on the caller: below a `proc` what is named for a process or leads
/// there, `dev/fd` and the standard streams.
fn looks_virtual(path: &[u8]) -> bool {
    let mut before: &[u8] = b"";
    path.split(|&b| b == b'/')
        .filter(|part| !part.is_empty())
        .any(|part| {
            let hit = match before {
                b"proc" => {
                    matches!(
                        part,
                        b"self" | b"thread-self" | b"net" | b"mounts" | b"." | b".."
                    ) || part.first().is_some_and(u8::is_ascii_digit)
                }
                b"dev" => matches!(
                    part,
                    b"fd" | b"stdin" | b"stdout" | b"stderr" | b"." | b".."
                ),
                _ => false,
            };
            before = part;
            hit
        })
}

/// A path without `.`, doubled slashes and, as far as can be told lexically, `..`.
pub(crate) fn normal(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut label = Vec::with_capacity(path.len() + 1);
    for part in &parts {
        label.push(b'/');
        label.extend_from_slice(part);
    }
    if label.is_empty() {
        label.push(b'/');
    }
    label.truncate(LABEL_MAX);
    label
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod looks {
    use super::*;

    #[test]
    fn names_that_mean_the_caller_are_known_by_their_looks() {
        for path in [
            "/proc/self",
            "//proc/./self/fd",
            "proc/12/exe",
            "../proc/thread-self",
            "/proc/mounts",
            "/proc/../proc/self",
            "/dev/fd/3",
            "/dev/stdin",
        ] {
            assert!(looks_virtual(path.as_bytes()), "{path}");
        }
        for path in [
            "/proc",
            "/proc/meminfo",
            "/dev/null",
            "/etc/passwd",
            "self",
            "fd/3",
        ] {
            assert!(!looks_virtual(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn labels_are_absolute_and_short() {
        assert_eq!(normal(b"/a//b/./c/../d"), b"/a/b/d");
        assert_eq!(normal(b"/../.."), b"/");
        assert_eq!(normal(&b"/x".repeat(10_000)).len(), LABEL_MAX);
    }
}
