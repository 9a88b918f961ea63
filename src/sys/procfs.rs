//! Reading a mounted /proc by way of a descriptor of its root. What may be read by whom is decided above.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use syscalls::syscall;

use super::descriptor::owned;
use crate::abi::{Errno, Sysno};

/// No file read here is longer; a status of 20 groups has 2 KiB.
const MOST: u64 = 1 << 20;
const LINK_MAX: usize = 4096;

fn name(path: &str) -> Result<CString, Errno> {
    CString::new(path).map_err(|_| Errno::EINVAL)
}

/// Opens a file below `proc`; magic links are followed.
///
/// # Errors
/// Those of openat(2).
pub fn open(proc: BorrowedFd<'_>, path: &str, flags: i32) -> Result<OwnedFd, Errno> {
    let path = name(path)?;
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    owned(unsafe { syscall!(Sysno::openat, proc.as_raw_fd(), path.as_ptr(), flags, 0) })
}

/// The whole of a file below `proc`.
///
/// # Errors
/// Those of openat(2) and read(2).
pub fn read(proc: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Errno> {
    let file = File::from(open(proc, path, libc::O_RDONLY)?);
    let mut content = Vec::new();
    match file.take(MOST).read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(error) => Err(error.raw_os_error().map_or(Errno::EIO, Errno::new)),
    }
}

/// A piece of a process's address space, as `/proc/PID/maps` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address, and the one behind its last.
    pub range: (u64, u64),
    /// `rwxp`, a dash for what it lacks, `s` where it is shared.
    pub mode: String,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file's inode, or zero.
    pub inode: u64,
    /// The file's path, or `[heap]` and the like.
    pub name: Vec<u8>,
}

impl Mapping {
    fn parse(line: &[u8]) -> Option<Self> {
        // A name may have spaces and need not be text.
        let slash = line.iter().position(|&byte| byte == b'/' || byte == b'[');
        let name = slash.and_then(|at| line.get(at..)).unwrap_or_default();
        let line = line.get(..line.len() - name.len())?;
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        let range = (hex(start)?, hex(end)?);
        let mode = words.next()?.to_owned();
        let offset = hex(words.next()?)?;
        let inode = words.nth(1)?.parse().ok()?;
        Some(Self {
            range,
            mode,
            offset,
            inode,
            name: name.to_vec(),
        })
    }
}

/// What a thread has mapped at an address. The list is as long as the thread made it, and is read only so far.
///
/// # Errors
/// Those of openat(2) and read(2).
pub fn mapping_at(proc: BorrowedFd<'_>, tid: i32, address: u64) -> Result<Option<Mapping>, Errno> {
    let maps = File::from(open(proc, &format!("{tid}/maps"), libc::O_RDONLY)?);
    for line in BufReader::new(maps).split(b'\n') {
        let line = line.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::new))?;
        let Some(mapping) = Mapping::parse(&line) else {
            continue;
        };
        if mapping.range.1 > address {
            return Ok(Some(mapping).filter(|mapping| mapping.range.0 <= address));
        }
    }
    Ok(None)
}

/// All that a thread has mapped, in order.
///
/// # Errors
/// Those of openat(2) and read(2); `E2BIG` where there are more than `most`.
pub fn mappings(proc: BorrowedFd<'_>, tid: i32, most: usize) -> Result<Vec<Mapping>, Errno> {
    let maps = File::from(open(proc, &format!("{tid}/maps"), libc::O_RDONLY)?);
    let mut all = Vec::new();
    for line in BufReader::new(maps).split(b'\n') {
        let line = line.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::new))?;
        if all.len() == most {
            return Err(Errno::E2BIG);
        }
        all.extend(Mapping::parse(&line));
    }
    Ok(all)
}

/// The text of a link below `proc`.
///
/// # Errors
/// Those of readlinkat(2).
pub fn link(proc: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Errno> {
    let path = name(path)?;
    let mut text = vec![0_u8; LINK_MAX];
    // SAFETY: `path` is NUL-terminated, `text` has the room that is told; both outlive the call.
    let len = unsafe {
        syscall!(
            Sysno::readlinkat,
            proc.as_raw_fd(),
            path.as_ptr(),
            text.as_mut_ptr(),
            text.len()
        )
    }?;
    text.truncate(len);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_mapping_is_found_by_any_address_in_it() {
        let proc = File::open("/proc").unwrap();
        let tid = std::process::id().cast_signed();
        let here = a_mapping_is_found_by_any_address_in_it as *const () as u64;
        let code = mapping_at(proc.as_fd(), tid, here).unwrap().unwrap();
        assert_eq!(code.mode, "r-xp");
        assert!(code.inode != 0 && code.range.0 <= here && here < code.range.1);
        let again = mapping_at(proc.as_fd(), tid, code.range.0).unwrap();
        assert_eq!(again, Some(code));
        assert_eq!(mapping_at(proc.as_fd(), tid, 0), Ok(None));
        assert_eq!(Mapping::parse(b"no line of maps"), None);
    }
}
