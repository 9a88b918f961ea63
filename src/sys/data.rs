//! Calls on the data of an open file that have no safe wrapper: reads and writes that never wait, and directories.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::os::fd::{AsRawFd, BorrowedFd};

use syscalls::syscall;

use crate::abi::layout::Iovec;
use crate::abi::{Errno, Sysno};

/// `RWF_NOWAIT` of preadv2(2).
const RWF_NOWAIT: i32 = 8;
/// The offset that stands for the file's own.
const OWN: i64 = -1;

/// Reads what is there at once, at the file's own offset.
///
/// # Errors
/// `EAGAIN` where nothing is, `EOPNOTSUPP` where the file cannot say, and those of preadv2(2).
pub fn read_ready(file: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
    let vector = Iovec {
        base: bytes.as_mut_ptr().expose_provenance() as u64,
        len: bytes.len() as u64,
    };
    // SAFETY: the vector describes `bytes`, which nobody else has, and outlives the call.
    unsafe {
        syscall!(
            Sysno::preadv2,
            file.as_raw_fd(),
            &raw const vector,
            1,
            OWN,
            OWN,
            RWF_NOWAIT
        )
    }
}

/// Writes what there is room for at once, at the file's own offset.
///
/// # Errors
/// `EAGAIN` where there is none, `EOPNOTSUPP` where the file cannot say, and those of pwritev2(2).
pub fn write_ready(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let vector = Iovec {
        base: bytes.as_ptr().expose_provenance() as u64,
        len: bytes.len() as u64,
    };
    // SAFETY: the vector describes `bytes`, which the kernel only reads, and outlives the call.
    unsafe {
        syscall!(
            Sysno::pwritev2,
            file.as_raw_fd(),
            &raw const vector,
            1,
            OWN,
            OWN,
            RWF_NOWAIT
        )
    }
}

/// Reads entries of a directory, as getdents64(2) lays them out.
///
/// # Errors
/// Those of getdents64(2).
pub fn read_entries(directory: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: `bytes` is writable and as long as said.
    unsafe {
        syscall!(
            Sysno::getdents64,
            directory.as_raw_fd(),
            bytes.as_mut_ptr(),
            bytes.len()
        )
    }
}

/// Moves a file's offset; the kernel judges `whence`.
///
/// # Errors
/// Those of lseek(2).
pub fn seek(file: BorrowedFd<'_>, offset: i64, whence: i32) -> Result<u64, Errno> {
    // SAFETY: registers alone.
    unsafe { syscall!(Sysno::lseek, file.as_raw_fd(), offset, whence) }.map(|at| at as u64)
}

/// A file's status flags and access mode.
///
/// # Errors
/// Those of fcntl(2).
pub fn status_flags(file: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: registers alone.
    let flags = unsafe { syscall!(Sysno::fcntl, file.as_raw_fd(), libc::F_GETFL) }?;
    i32::try_from(flags).map_err(|_| Errno::EOVERFLOW)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_pipe_is_never_waited_for() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut bytes = [0; 4096];
        assert_eq!(read_ready(reader.as_fd(), &mut bytes), Err(Errno::EAGAIN));
        assert_eq!(write_ready(writer.as_fd(), b"ready"), Ok(5));
        assert_eq!(read_ready(reader.as_fd(), &mut bytes), Ok(5));
        assert_eq!(&bytes[..5], b"ready");
        while write_ready(writer.as_fd(), &bytes).is_ok() {}
        assert_eq!(write_ready(writer.as_fd(), &bytes), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_directory_and_its_offset() {
        let directory = std::fs::File::open("/proc/self").unwrap();
        let mut bytes = [0; 256];
        assert_eq!(
            status_flags(directory.as_fd()).unwrap() & libc::O_ACCMODE,
            libc::O_RDONLY
        );
        let first = read_entries(directory.as_fd(), &mut bytes).unwrap();
        assert!(first > 24);
        assert_eq!(seek(directory.as_fd(), 0, libc::SEEK_SET), Ok(0));
        assert_eq!(read_entries(directory.as_fd(), &mut bytes), Ok(first));
        assert_eq!(seek(directory.as_fd(), 0, 99), Err(Errno::EINVAL));
    }
}
