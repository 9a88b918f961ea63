//! What a handler answers.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Ctx;
use crate::abi::{Errno, Sysno};
use crate::cage::{OpenFile, Sharing};

/// A handler's answer: an outcome, or an ordinary failure of the call.
pub type SysResult = Result<Outcome, Errno>;

/// Looks at a forwarded call's result (a value, or a negative errno) and answers in its place. [`Outcome::Continue`]
/// leaves the result as it is, restart codes included; another [`Outcome::Forward`] sends the cage on.
pub type Then = Box<dyn FnOnce(&Ctx<'_>, i64) -> SysResult + Send>;

/// What happens to a call.
#[derive(Debug)]
pub enum Outcome {
    /// The supervisor did it; this is the result.
    Emulated(u64),
    /// A policy's no: a violation in the log.
    Deny(Errno),
    /// The kernel runs the call as the cage made it. Only for calls whose arguments are registers alone, or whose
    /// memory decides nothing.
    Continue,
    /// The kernel runs this call instead, in the cage.
    Forward(Forward),
}

impl Outcome {
    /// A result of zero.
    pub const DONE: SysResult = Ok(Self::Emulated(0));

    /// A count, a descriptor or another non-negative number.
    ///
    /// # Errors
    /// Never; the type is that of a handler's last line.
    pub fn value(value: impl TryInto<u64>) -> SysResult {
        value
            .try_into()
            .map(Self::Emulated)
            .map_err(|_| Errno::EOVERFLOW)
    }
}

/// A call that runs natively in the cage.
pub struct Forward {
    /// The call's number.
    pub nr: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Bytes that the kernel must find in the cage's memory, out of the cage's reach.
    pub lent: Vec<Lent>,
    /// A file that the cage holds for this one call only; see [`Lent::path_at`]. May be an `O_PATH` descriptor.
    pub lent_file: Option<OwnedFd>,
    /// The kernel's working directory must be this one during the call (a relative exec or bind).
    pub at_cwd: Option<Arc<OpenFile>>,
    /// Looks at the result.
    pub then: Option<Then>,
    /// What else the platform must know of it.
    pub role: Role,
}

/// What a forwarded call does besides returning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Plain,
    /// It makes a thread or a process.
    Fork(Sharing),
    /// It replaces the program: the new image must be this file.
    Exec(Judged),
    /// Where it succeeds, the thread's descriptor table is a copy of the one that it shared.
    Copy,
}

/// The file that an exec was judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Device and inode of the file that the kernel will map: the program, or the interpreter of a script.
    pub identity: (u64, u64),
    /// The program as the cage named it, absolute.
    pub path: Vec<u8>,
}

/// Bytes lent to the cage for one call. They are put on a page of the platform's, and the argument is pointed at them.
#[derive(Debug, Clone, Default)]
pub struct Lent {
    /// Which argument points at the first byte.
    pub arg: usize,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Offsets of 8-byte pointers within `bytes` that hold an offset into `bytes` and become addresses.
    pub relocations: Vec<usize>,
    /// Where the NUL-terminated name `/proc/self/fd/N` of the lent file is to be written; room is there.
    pub path_at: Option<usize>,
    /// Whether the kernel writes to the bytes. Such bytes are only a hint: the cage can change them too.
    pub writable: bool,
}

impl Forward {
    /// The call, with registers alone.
    #[must_use]
    pub fn new(sysno: Sysno, args: [u64; 6]) -> Self {
        Self::again(sysno.id() as u64, args)
    }

    /// The call as it was made, by its number.
    #[must_use]
    pub fn again(nr: u64, args: [u64; 6]) -> Self {
        Self {
            nr,
            args,
            lent: Vec::new(),
            lent_file: None,
            at_cwd: None,
            then: None,
            role: Role::Plain,
        }
    }

    /// Looks at the result before the cage does.
    #[must_use]
    pub fn then(mut self, then: impl FnOnce(&Ctx<'_>, i64) -> SysResult + Send + 'static) -> Self {
        self.then = Some(Box::new(then));
        self
    }

    /// Lends bytes for the call.
    #[must_use]
    pub fn lend(mut self, lent: Lent) -> Self {
        self.lent.push(lent);
        self
    }

    /// Lends a file for the call.
    #[must_use]
    pub fn lend_file(mut self, file: OwnedFd) -> Self {
        self.lent_file = Some(file);
        self
    }

    /// Says what else the call does.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Runs the call in this directory.
    #[must_use]
    pub fn at(mut self, cwd: Arc<OpenFile>) -> Self {
        self.at_cwd = Some(cwd);
        self
    }
}

impl From<Forward> for SysResult {
    fn from(forward: Forward) -> Self {
        Ok(Outcome::Forward(forward))
    }
}

impl Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward")
            .field("nr", &self.nr)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}
