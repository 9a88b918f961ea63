//! What the program has open when it starts: the caller's standard streams or files in their place, and the descriptors
//! that the command line hands on. Nothing else of the caller's reaches it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::stat::fstat;

use super::launch::LaunchError;
use super::options::Options;
use crate::sys::process;

/// The program's first descriptors.
#[derive(Debug)]
pub struct Streams {
    /// In place of 0, 1 and 2.
    files: [Option<OwnedFd>; 3],
    /// Which of 0, 1 and 2 the caller had.
    inherited: [bool; 3],
    /// Handed on under their own numbers, sorted.
    passed: Vec<RawFd>,
}

impl Streams {
    /// Opens what the command line names. Must come before anything else is opened: a number that the caller did not
    /// have could be taken by then.
    ///
    /// # Errors
    /// Where a number is not open or a file cannot be.
    pub fn open(options: &Options) -> Result<Self, LaunchError> {
        let inherited = process::inherited_stdio();
        let mut passed = options.pass_fds.clone();
        passed.sort_unstable();
        passed.dedup();
        passed.retain(|&fd| inherited.get(fd as usize) != Some(&true));
        for &fd in &passed {
            if fd < 3 || !process::is_open(fd) {
                let missing = io::Error::from_raw_os_error(libc::EBADF);
                return Err(LaunchError::new(format!("--pass-fd={fd}"), missing).mend(
                    "no such descriptor was handed to cage-trace: have the shell open it, as in `N<file` or `<(…)`",
                ));
            }
        }
        if let Some(fd) = options.status_fd.filter(|fd| !process::is_open(*fd)) {
            let missing = io::Error::from_raw_os_error(libc::EBADF);
            return Err(LaunchError::new(format!("--status-fd={fd}"), missing)
                .mend("no such descriptor was handed to cage-trace: have the shell open it, as in `N>file`"));
        }
        let stdio = &options.stdio;
        let read = |path: &Path| open_for("--stdin", path, File::options().read(true));
        let input = stdio.input.as_deref().map(read).transpose()?;
        let write = |flag: &'static str, path: &Path| {
            let mut how = File::options();
            open_for(flag, path, how.write(true).create(true).truncate(true))
        };
        let output = stdio
            .output
            .as_deref()
            .map(|path| write("--stdout", path))
            .transpose()?;
        let error = stdio
            .error
            .as_deref()
            .map(|path| write("--stderr", path))
            .transpose()?;
        // One file for both is one open file: neither writes over what the other wrote.
        let error = match (&output, error) {
            (Some(output), Some(error)) if is_same(output, &error) => Some(
                output
                    .try_clone()
                    .map_err(|error| LaunchError::new("cannot copy a descriptor", error))?,
            ),
            (_, error) => error,
        };
        Ok(Self {
            files: [input, output, error],
            inherited,
            passed,
        })
    }

    /// The numbers that the program finds open.
    pub fn numbers(&self) -> Vec<RawFd> {
        let standard = (0..).zip(self.files.iter().zip(self.inherited));
        standard
            .filter(|(_, (file, inherited))| file.is_some() || *inherited)
            .map(|(fd, _)| fd)
            .chain(self.passed.iter().copied())
            .collect()
    }

    /// Gives the calling process just these. It is a forked child that never returns.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn arrange(&self) -> io::Result<()> {
        for (fd, (file, inherited)) in (0..).zip(self.files.iter().zip(self.inherited)) {
            match file {
                Some(file) => process::put_at(file.as_raw_fd(), fd)?,
                None if !inherited => process::close_number(fd),
                None => {}
            }
        }
        for &fd in &self.passed {
            process::put_at(fd, fd)?;
        }
        process::close_all_but(3, &self.passed)
    }

    /// What the command names by a descriptor's path though it is not handed on: the number, where the caller has it.
    pub fn forgotten(&self, options: &Options) -> Option<RawFd> {
        let number = |word: &std::ffi::OsString| {
            let word = word.to_str()?;
            let text = word
                .strip_prefix("/dev/fd/")
                .or_else(|| word.strip_prefix("/proc/self/fd/"))?;
            text.parse::<RawFd>().ok()
        };
        options
            .command
            .iter()
            .filter_map(number)
            .find(|fd| *fd > 2 && !self.passed.contains(fd))
    }
}

fn open_for(flag: &str, path: &Path, how: &std::fs::OpenOptions) -> Result<OwnedFd, LaunchError> {
    how.open(path).map(OwnedFd::from).map_err(|error| {
        LaunchError::new(format!("{flag}={}", path.display()), error)
            .mend("name a file of the host that you may open so")
    })
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    matches!((fstat(one), fstat(other)), (Ok(one), Ok(other)) if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}
