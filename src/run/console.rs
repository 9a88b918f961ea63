//! Where a run meets a terminal: one of its own, or the caller's lent to it, or none. What happens to it when the job
//! stops, goes on and ends.

use super::pty::Relay;
use super::terminal::Terminal;

/// What the run has for a terminal.
#[derive(Debug)]
pub(super) enum Console {
    /// A pseudo-terminal of its own.
    Own(Relay),
    /// The caller's, where that was in its foreground.
    Lent(Option<Terminal>),
}

impl Console {
    /// The program was stopped: gives the terminal back to the shell. Whether there is a shell to stop for.
    pub(super) fn suspend(&mut self) -> bool {
        match self {
            Self::Own(relay) => relay.suspend(),
            Self::Lent(Some(terminal)) if terminal.is_lent() => {
                // If it cannot be given back it is gone, and so is whoever wanted it.
                let _ = terminal.take_back();
                true
            }
            Self::Lent(_) => false,
        }
    }

    /// The shell let this job go on: in the foreground where it gave us the terminal.
    pub(super) fn resume(&mut self) {
        match self {
            Self::Own(relay) => relay.resume(),
            Self::Lent(Some(terminal)) if terminal.is_ours() => {
                // The program finds out by its first read that it could not be.
                let _ = terminal.lend();
            }
            Self::Lent(_) => {}
        }
    }

    /// The caller's window may have changed; whether the run is told of it, so that nobody else need tell it.
    pub(super) fn resize(&self) -> bool {
        matches!(self, Self::Own(relay) if relay.resize())
    }

    /// The run is over: all that it wrote gets out, and the caller has its terminal as it was.
    pub(super) fn finish(self) {
        match self {
            Self::Own(relay) => relay.finish(),
            Self::Lent(terminal) => drop(terminal),
        }
    }
}
