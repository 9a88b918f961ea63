//! Reading a mounted /proc by way of a descriptor of its root. What may be read by whom is decided above.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
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

/// Whether a private mapping of a file still is as the file: no page of it was written to.
///
/// # Errors
/// Those of openat(2), lseek(2) and read(2).
pub fn is_unwritten(proc: BorrowedFd<'_>, tid: i32, range: (u64, u64)) -> Result<bool, Errno> {
    const PAGE: u64 = 4096;
    const ENTRY: u64 = size_of::<u64>() as u64;
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const OF_FILE: u64 = 1 << 61;
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::new);
    let mut map = File::from(open(proc, &format!("{tid}/pagemap"), libc::O_RDONLY)?);
    map.seek(SeekFrom::Start(range.0 / PAGE * ENTRY))
        .map_err(errno)?;
    let mut map = BufReader::with_capacity(1 << 16, map);
    for _ in range.0 / PAGE..range.1 / PAGE {
        let mut entry = [0; size_of::<u64>()];
        map.read_exact(&mut entry).map_err(errno)?;
        let entry = u64::from_ne_bytes(entry);
        if entry & SWAPPED != 0 || entry & PRESENT != 0 && entry & OF_FILE == 0 {
            return Ok(false);
        }
    }
    Ok(true)
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

    #[test]
    fn a_page_of_a_file_that_was_written_to_is_told_from_the_others() {
        const LEN: usize = 3 * 4096;
        let proc = File::open("/proc").unwrap();
        let tid = std::process::id().cast_signed();
        let file = super::super::sealed::memfd(i64::try_from(LEN).unwrap()).unwrap();
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
        // SAFETY: a new mapping at a place of the kernel's choice disturbs nothing.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), LEN, prot, flags, file.as_raw_fd(), 0) };
        assert_ne!(base, libc::MAP_FAILED);
        let range = (base.addr() as u64, (base.addr() + LEN) as u64);
        let is_unwritten = || is_unwritten(proc.as_fd(), tid, range);
        assert_eq!(is_unwritten(), Ok(true));
        // SAFETY: the last page of the mapping just made, which nobody else knows.
        unsafe { base.cast::<u8>().add(LEN - 1).read_volatile() };
        assert_eq!(is_unwritten(), Ok(true));
        // SAFETY: as above.
        unsafe { base.cast::<u8>().add(LEN - 1).write_volatile(1) };
        assert_eq!(is_unwritten(), Ok(false));
        // SAFETY: the mapping just made; nobody borrows from it.
        unsafe { libc::munmap(base, LEN) };
    }
}
