//! The slow walk: component by component, every link expanded here, so that what /proc shows of a process is the
//! cage's virtual view ([`proc::view`]) and never the supervisor's or the kernel's own. Nothing is opened for contents.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{Last, Path, Reached};
use crate::abi::Errno;
use crate::abi::layout::Stat;
use crate::guest::{Fd, PATH_MAX};
use crate::posix::Ctx;
use crate::posix::proc::{self, View, Who};
use crate::sys;

/// As many links as Linux follows.
const LINKS_MAX: usize = 40;
/// The inode of a proc file system's root.
const PROC_ROOT_INO: u64 = 1;
/// How deep below its root a directory of /proc can lie.
const PROC_DEPTH: usize = 16;

/// A place in a proc file system.
#[derive(Debug, Clone)]
struct Spot {
    /// Below whose directory; `None` in the root and below what belongs to no process.
    who: Option<Who>,
    /// The names from there on.
    names: Vec<Vec<u8>>,
}

impl Spot {
    const ROOT: Self = Self {
        who: None,
        names: Vec::new(),
    };

    fn is_root(&self) -> bool {
        self.who.is_none() && self.names.is_empty()
    }

    /// The spot of a path below a proc file system's root.
    fn of(cx: &Ctx<'_>, mut names: Vec<Vec<u8>>) -> Self {
        let pid = names.first().and_then(|name| number(name));
        if pid.is_some() {
            names.remove(0);
        }
        Self {
            who: pid.map(|pid| process(cx, pid)),
            names,
        }
    }

    fn below(&self, name: &[u8]) -> Self {
        let mut below = self.clone();
        below.names.push(name.to_vec());
        below
    }
}

fn process(cx: &Ctx<'_>, pid: i32) -> Who {
    if pid == proc::inner_pid(cx) {
        Who::Own
    } else {
        Who::Pid(pid)
    }
}

/// A process's number as /proc spells it.
fn number(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    canonical.then(|| text.parse().ok()).flatten()
}

/// One component.
struct Part {
    name: Vec<u8>,
    after: Vec<u8>,
    /// Nothing but slashes comes after it.
    last: bool,
    /// A slash comes after it.
    slashes: bool,
}

/// What a step found.
enum Step {
    /// Go on.
    On,
    /// The end.
    End(Reached),
}

struct Walk<'w, 'c> {
    cx: &'w Ctx<'c>,
    dir: OwnedFd,
    spot: Option<Spot>,
    rest: Vec<u8>,
    links: usize,
    last: Last,
    magic: bool,
}

/// Walks a path.
pub(super) fn walk(cx: &Ctx<'_>, path: &Path) -> Result<Reached, Errno> {
    let dir = copy(path.start.fd(cx))?;
    let spot = if path.start.is_on_procfs() {
        locate(cx, &dir)
    } else {
        None
    };
    let mut walk = Walk {
        cx,
        dir,
        spot,
        rest: path.bytes().to_vec(),
        links: 0,
        last: path.last,
        magic: path.magic,
    };
    // Each step takes a component off or counts a link, so this ends.
    loop {
        if let Step::End(reached) = walk.step()? {
            return Ok(reached);
        }
    }
}

fn copy(file: impl AsFd) -> Result<OwnedFd, Errno> {
    file.as_fd()
        .try_clone_to_owned()
        .map_err(|error| Errno::from_io_error(error).unwrap_or(Errno::ENFILE))
}

fn name_of(part: &[u8], slashes: bool) -> Result<CString, Errno> {
    let mut name = part.to_vec();
    if slashes {
        name.push(b'/');
    }
    CString::new(name).map_err(|_| Errno::ENOENT)
}

fn is_root_of_proc(dir: &OwnedFd, stat: &Stat) -> bool {
    stat.ino == PROC_ROOT_INO && stat.kind() == libc::S_IFDIR && sys::fs::is_on_procfs(dir.as_fd())
}

/// Where in a proc file system a directory lies: its distance from the root counts the names at its path's end.
fn locate(cx: &Ctx<'_>, dir: &OwnedFd) -> Option<Spot> {
    if !sys::fs::is_on_procfs(dir.as_fd()) {
        return None;
    }
    let mut at = copy(dir).ok()?;
    let mut depth = 0;
    while sys::fs::fstat(at.as_fd()).ok()?.ino != PROC_ROOT_INO {
        at = sys::fs::open_place(at.as_fd(), c"..", libc::O_DIRECTORY).ok()?;
        depth += 1;
        if depth > PROC_DEPTH {
            return None;
        }
    }
    let name = sys::fs::own_name(dir.as_raw_fd());
    let path = sys::fs::readlink(cx.kernel.host_proc.as_fd(), &name).ok()?;
    let mut names: Vec<Vec<u8>> = path
        .rsplit(|&b| b == b'/')
        .take(depth)
        .map(<[u8]>::to_vec)
        .collect();
    names.reverse();
    Some(Spot::of(cx, names))
}

impl Walk<'_, '_> {
    fn step(&mut self) -> Result<Step, Errno> {
        if self.rest.first() == Some(&b'/') {
            self.dir = copy(&self.cx.kernel.root)?;
            self.spot = None;
            let slashes = self.rest.iter().take_while(|&&b| b == b'/').count();
            self.rest.drain(..slashes);
        }
        let part = self.take_part();
        match part.name.as_slice() {
            b"" => self.end_at(b"."),
            name @ (b"." | b"..") if part.last => self.end_at(name),
            b"." => {
                self.rest = part.after;
                Ok(Step::On)
            }
            b".." => self.climb(part),
            _ => self.enter(part),
        }
    }

    fn take_part(&self) -> Part {
        let end = self
            .rest
            .iter()
            .position(|&b| b == b'/')
            .unwrap_or(self.rest.len());
        let (name, after) = self.rest.split_at(end);
        let slashes = after.iter().take_while(|&&b| b == b'/').count();
        let after = after.get(slashes..).unwrap_or_default();
        Part {
            name: name.to_vec(),
            after: after.to_vec(),
            last: after.is_empty(),
            slashes: slashes > 0,
        }
    }

    fn end_at(&self, name: &[u8]) -> Result<Step, Errno> {
        let name = name_of(name, false)?;
        Ok(Step::End(Reached::Name(copy(&self.dir)?, name)))
    }

    fn climb(&mut self, part: Part) -> Result<Step, Errno> {
        self.dir = sys::fs::open_place(self.dir.as_fd(), c"..", libc::O_DIRECTORY)?;
        self.spot = match self.spot.take() {
            Some(mut spot) if !spot.names.is_empty() => {
                spot.names.pop();
                Some(spot)
            }
            Some(spot) if spot.who.is_some() => Some(Spot::ROOT),
            _ => None,
        };
        self.rest = part.after;
        Ok(Step::On)
    }

    fn enter(&mut self, part: Part) -> Result<Step, Errno> {
        let Some(spot) = self.spot.clone() else {
            return self.ordinary(part, None);
        };
        let (who, next) = match (spot.who, spot.is_root()) {
            (Some(who), _) => (who, spot.below(&part.name)),
            (None, false) => return self.ordinary(part, Some(spot.below(b"*"))),
            (None, true) => match (part.name.as_slice(), number(&part.name)) {
                (b"self", _) => (Who::Own, Spot::ROOT),
                (b"thread-self", _) => (Who::OwnThread, Spot::ROOT),
                (_, Some(pid)) => {
                    let who = process(self.cx, pid);
                    let next = Spot {
                        who: Some(who),
                        names: Vec::new(),
                    };
                    if who == Who::Own {
                        return self.ordinary(part, Some(next));
                    }
                    (who, next)
                }
                (name, None) => {
                    let next = spot.below(name);
                    return self.ordinary(part, Some(next));
                }
            },
        };
        let names: Vec<&[u8]> = next.names.iter().map(Vec::as_slice).collect();
        match proc::view(self.cx, who, &names)? {
            View::Host => self.ordinary(part, Some(next)),
            View::Refused(errno) => self.refused(&part, errno),
            View::Link(text) if self.keeps(&part) => self.kept(&part, text),
            // `net:[…]`: no path, the host's own magic; who follows it learns which it is and opens nothing.
            View::Link(text) if text.windows(2).any(|pair| pair == b":[") => {
                if !self.magic {
                    return Err(Errno::ELOOP);
                }
                match self.ordinary(part, Some(next))? {
                    Step::End(Reached::Name(dir, name)) => {
                        Ok(Step::End(Reached::Refused(Errno::EACCES, dir, name)))
                    }
                    step => Ok(step),
                }
            }
            View::Link(text) => self.expand(&part, &text),
            View::Place(_, label) if self.keeps(&part) => self.kept(&part, label),
            View::Place(file, label) => self.jump(part, file, label),
            View::Descriptor(pid, fd) => {
                let (file, label) = descriptor(self.cx, pid, fd)?;
                if self.keeps(&part) {
                    let text = link_text(self.cx, &file, &label);
                    return self.kept(&part, text);
                }
                self.jump(part, file, label)
            }
            View::Doctored { .. } if !part.last || part.slashes => Err(Errno::ENOTDIR),
            View::Doctored { content, .. } => {
                let name = name_of(&part.name, false)?;
                let dir = copy(&self.dir)?;
                Ok(Step::End(Reached::Doctored(content, dir, name)))
            }
        }
    }

    /// Whether a link here is meant itself.
    fn keeps(&self, part: &Part) -> bool {
        part.last
            && match self.last {
                Last::Follow => false,
                Last::Keep => !part.slashes,
                Last::Entry => true,
            }
    }

    /// What must not be opened may still be asked about, unless that would follow a link.
    fn refused(&self, part: &Part, errno: Errno) -> Result<Step, Errno> {
        if !part.last || part.slashes {
            return Err(errno);
        }
        let name = name_of(&part.name, false)?;
        let stat = sys::fs::stat(self.dir.as_fd(), &name, libc::AT_SYMLINK_NOFOLLOW)?;
        if stat.kind() == libc::S_IFLNK && !self.keeps(part) {
            return Err(errno);
        }
        let dir = copy(&self.dir)?;
        Ok(Step::End(Reached::Refused(errno, dir, name)))
    }

    fn kept(&self, part: &Part, text: Vec<u8>) -> Result<Step, Errno> {
        let name = name_of(&part.name, part.slashes)?;
        Ok(Step::End(Reached::Link(text, copy(&self.dir)?, name)))
    }

    /// In a sticky directory that all may write to, only one's own links are followed, and the directory's owner's
    /// (fs.protected_symlinks).
    fn may_follow(&self, link: &Stat) -> Result<(), Errno> {
        const OPEN_TO_ALL: u32 = libc::S_ISVTX | libc::S_IWOTH;
        let dir = sys::fs::fstat(self.dir.as_fd())?;
        let own = link.uid == nix::unistd::geteuid().as_raw() || link.uid == dir.uid;
        if own || dir.mode & OPEN_TO_ALL != OPEN_TO_ALL {
            return Ok(());
        }
        let proc = self.cx.kernel.host_proc.as_fd();
        match sys::procfs::read(proc, "sys/fs/protected_symlinks") {
            Ok(text) if text.first() == Some(&b'0') => Ok(()),
            _ => Err(Errno::EACCES),
        }
    }

    fn count_link(&mut self) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        Ok(())
    }

    fn expand(&mut self, part: &Part, text: &[u8]) -> Result<Step, Errno> {
        self.count_link()?;
        if text.is_empty() || text.len() >= PATH_MAX {
            return Err(Errno::ENOENT);
        }
        let mut rest = text.to_vec();
        if part.slashes {
            rest.push(b'/');
        }
        rest.extend_from_slice(&part.after);
        self.rest = rest;
        Ok(Step::On)
    }

    /// Goes on from what a magic link leads to.
    fn jump(&mut self, part: Part, file: OwnedFd, label: Vec<u8>) -> Result<Step, Errno> {
        if !self.magic {
            return Err(Errno::ELOOP);
        }
        self.count_link()?;
        if part.last && !part.slashes {
            return Ok(Step::End(Reached::object(file, label)));
        }
        if sys::fs::fstat(file.as_fd())?.kind() != libc::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        self.spot = locate(self.cx, &file);
        self.dir = file;
        if part.last {
            return self.end_at(b".");
        }
        self.rest = part.after;
        Ok(Step::On)
    }

    /// A component that means the same to everybody.
    fn ordinary(&mut self, part: Part, next: Option<Spot>) -> Result<Step, Errno> {
        let whole = name_of(&part.name, part.last && part.slashes)?;
        if self.keeps(&part) {
            return Ok(Step::End(Reached::Name(copy(&self.dir)?, whole)));
        }
        let name = name_of(&part.name, false)?;
        let place = match sys::fs::open_place(self.dir.as_fd(), &name, libc::O_NOFOLLOW) {
            // What is not there may be about to be made.
            Err(Errno::ENOENT) if part.last => {
                return Ok(Step::End(Reached::Name(copy(&self.dir)?, whole)));
            }
            place => place?,
        };
        let stat = sys::fs::fstat(place.as_fd())?;
        if stat.kind() == libc::S_IFLNK {
            // Links below a process's directory that are not the view's business are magic: the host follows them.
            let magic = next.as_ref().is_some_and(|spot| spot.who.is_some());
            if !magic {
                self.may_follow(&stat)?;
                let text = sys::fs::readlink(place.as_fd(), c"")?;
                return self.expand(&part, &text);
            }
            if !part.last {
                return Err(Errno::EACCES);
            }
        }
        if part.last {
            return Ok(Step::End(Reached::Name(copy(&self.dir)?, whole)));
        }
        if stat.kind() != libc::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        self.spot = match next {
            Some(spot) => Some(spot),
            None if is_root_of_proc(&place, &stat) => Some(Spot::ROOT),
            None => None,
        };
        self.dir = place;
        self.rest = part.after;
        Ok(Step::On)
    }
}

/// A copy of a cage's open file, and its label.
fn descriptor(cx: &Ctx<'_>, pid: i32, fd: i32) -> Result<(OwnedFd, Vec<u8>), Errno> {
    if pid == proc::inner_pid(cx) {
        let descriptor = cx.descriptor(Fd(fd)).map_err(|_| Errno::ENOENT)?;
        let file = cx
            .with_file(Fd(fd), |file| copy(file))
            .map_err(|errno| match errno {
                Errno::EBADF => Errno::ENOENT,
                errno => errno,
            })?;
        return Ok((file, descriptor.file.label().to_vec()));
    }
    let thread = proc::thread_of(cx, pid).ok_or(Errno::ENOENT)?;
    let descriptor = thread.files().get(fd).map_err(|_| Errno::ENOENT)?;
    let file = match (descriptor.file.host(), thread.cage.pidfd()) {
        (Some(host), _) => copy(host)?,
        (None, None) => return Err(Errno::ENOENT),
        (None, Some(process)) => sys::fs::file_of(process, fd).map_err(|errno| match errno {
            Errno::EBADF | Errno::ESRCH => Errno::ENOENT,
            errno => errno,
        })?,
    };
    Ok((file, descriptor.file.label().to_vec()))
}

/// What readlink says of an open file: the kernel's own words, but for our snapshots.
fn link_text(cx: &Ctx<'_>, file: &OwnedFd, label: &[u8]) -> Vec<u8> {
    let name = sys::fs::own_name(file.as_raw_fd());
    match sys::fs::readlink(cx.kernel.host_proc.as_fd(), &name) {
        Ok(text) if text != b"/memfd:proc (deleted)" => text,
        _ => label.to_vec(),
    }
}
