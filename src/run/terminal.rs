//! The terminal of a run: lent to the program's process group while it runs, as a shell does. What bytes flow is none of its business.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::getpgrp;

use crate::sys::terminal;

/// A terminal that the supervisor had in its foreground when it was started.
#[derive(Debug)]
pub struct Terminal {
    device: OwnedFd,
    group: i32,
    lent: bool,
}

impl Terminal {
    /// The controlling terminal, if this process is in its foreground.
    pub(super) fn open() -> Option<Self> {
        let device = terminal::open_controlling()?;
        terminal::in_foreground(device.as_fd()).then(|| Self {
            device,
            group: 0,
            lent: false,
        })
    }

    /// Names the process group of the program.
    pub(super) fn set_group(&mut self, group: i32) {
        self.group = group;
    }

    /// Puts the program into the foreground; again after it was stopped and goes on.
    pub fn lend(&mut self) -> io::Result<()> {
        terminal::set_foreground(self.device.as_fd(), self.group)?;
        self.lent = true;
        Ok(())
    }

    /// Takes the terminal back, at the end and when the program stops. Nothing happens if it is not lent.
    pub fn take_back(&mut self) -> io::Result<()> {
        if self.lent {
            terminal::set_foreground(self.device.as_fd(), getpgrp().as_raw())?;
            self.lent = false;
        }
        Ok(())
    }

    /// Whether the program has it.
    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// Whether the supervisor is in the foreground by now, which a shell's `fg` sees to.
    pub fn is_ours(&self) -> bool {
        terminal::in_foreground(self.device.as_fd())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // At the end of a failed launch there is nobody left to tell; the shell takes the terminal anyway.
        let _ = self.take_back();
    }
}
