//! Wait statuses, as wait(2) packs them and as a shell shows them.

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It called exit with this code (0..=255).
    Exited(u8),
    /// A signal killed it.
    Killed(u8),
}

impl Ended {
    /// Reads a wait status; `None` where it says that the process goes on (stopped, continued).
    #[must_use]
    pub fn from_status(status: i32) -> Option<Self> {
        if libc::WIFEXITED(status) {
            u8::try_from(libc::WEXITSTATUS(status))
                .ok()
                .map(Self::Exited)
        } else if libc::WIFSIGNALED(status) {
            u8::try_from(libc::WTERMSIG(status)).ok().map(Self::Killed)
        } else {
            None
        }
    }

    /// The exit status a shell would show: the code, or 128 plus the signal.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => signal.wrapping_add(128),
        }
    }
}
