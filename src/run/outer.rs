//! The caller's terminal while a run has one of its own: raw in the foreground, as it was before otherwise.
//!
//! Its modes are put back whichever way the supervisor ends, a panic included; only SIGKILL leaves no time for that.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Once;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios,
    tcgetattr, tcsetattr,
};
use nix::unistd::read;
use parking_lot::Mutex;

use crate::sys::descriptor::{copy, is_terminal};
use crate::sys::terminal::{self, Size};

/// A terminal whose modes are not its own, and what they were. At most two, since a caller's input and output may be
/// two terminals. It is global for the sake of a panic.
static CHANGED: Mutex<Vec<(OwnedFd, Termios)>> = Mutex::new(Vec::new());

/// The longest line of a terminal.
const LINE: usize = 4096;

/// What [`Outer::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// This many bytes.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
    /// The terminal is hung up.
    End,
}

/// Where the job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// In the foreground, the terminal raw.
    Front,
    /// In the background, or not looked at yet.
    Back,
    /// About to stop: the terminal stays as it is.
    Stopping,
}

/// What a relay does with one terminal.
#[derive(Debug)]
struct Device {
    terminal: OwnedFd,
    /// It is read: what is typed is not to be made anything of.
    input: bool,
    /// It is written to: what is written is not to be made anything of.
    output: bool,
}

/// The caller's terminals; none where all its streams are files and pipes.
#[derive(Debug)]
pub(super) struct Outer {
    devices: Vec<Device>,
    standing: Mutex<Standing>,
    /// What was typed before the terminal was raw, for the run.
    typed: Mutex<Vec<u8>>,
}

fn same_file(a: &OwnedFd, b: &OwnedFd) -> bool {
    let identity = |file: &OwnedFd| fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino));
    identity(a).is_some() && identity(a) == identity(b)
}

/// Puts back the modes of what was changed. From the background they are somebody else's by now.
fn put_back(changed: &mut Vec<(OwnedFd, Termios)>) {
    for (device, modes) in changed.drain(..) {
        if terminal::is_at_hand(device.as_fd()) {
            // A terminal that is gone needs no modes.
            let _ = tcsetattr(&device, SetArg::TCSANOW, &modes);
        }
    }
}

/// Has a panic put the modes back before it says anything.
fn put_back_at_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(mut changed) = CHANGED.try_lock() {
                put_back(&mut changed);
            }
            before(panic);
        }));
    });
}

impl Device {
    fn raw(&self, before: &Termios) -> Termios {
        let mut modes = before.clone();
        if self.input {
            modes.input_flags &= !(InputFlags::IGNBRK
                | InputFlags::BRKINT
                | InputFlags::PARMRK
                | InputFlags::INPCK
                | InputFlags::ISTRIP
                | InputFlags::INLCR
                | InputFlags::IGNCR
                | InputFlags::ICRNL
                | InputFlags::IXON);
            modes.local_flags &= !(LocalFlags::ECHO
                | LocalFlags::ECHONL
                | LocalFlags::ICANON
                | LocalFlags::ISIG
                | LocalFlags::IEXTEN);
            modes.control_flags &= !(ControlFlags::CSIZE | ControlFlags::PARENB);
            modes.control_flags |= ControlFlags::CS8;
            // A read gives what is there, nothing too: it never waits.
            for index in [
                SpecialCharacterIndices::VMIN,
                SpecialCharacterIndices::VTIME,
            ] {
                if let Some(place) = modes.control_chars.get_mut(index as usize) {
                    *place = 0;
                }
            }
        }
        if self.output {
            modes.output_flags &= !OutputFlags::OPOST;
        }
        modes
    }

    /// The lines that were typed ahead. In raw mode the end of input among them would be read as a zero byte; here it is
    /// the character that was typed for it.
    fn typed_ahead(&self, modes: &Termios) -> Vec<u8> {
        let mut all = Vec::new();
        if !self.input || !modes.local_flags.contains(LocalFlags::ICANON) {
            return all;
        }
        let end = SpecialCharacterIndices::VEOF as usize;
        let mut line = [0; LINE];
        loop {
            let mut ready = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            let is_ready = poll(&mut ready, PollTimeout::ZERO) == Ok(1)
                && ready[0].revents() == Some(PollFlags::POLLIN);
            // Nobody types more than this ahead.
            let Some(Ok(count)) =
                (is_ready && all.len() < LINE).then(|| read(&self.terminal, &mut line))
            else {
                return all;
            };
            all.extend(line.iter().take(count));
            // A return is from a time before lines, at a shell's prompt, when it was not a line's end yet.
            if !matches!(line.iter().take(count).next_back(), Some(b'\n' | b'\r')) {
                all.extend(modes.control_chars.get(end));
            }
        }
    }

    fn make_raw(&self, changed: &mut Vec<(OwnedFd, Termios)>, typed: &mut Vec<u8>) {
        let known = changed
            .iter()
            .find(|(device, _)| same_file(device, &self.terminal));
        let before = match known {
            // Stopped by force, we could not put them back: what is there now may be our own.
            Some((_, before)) => before.clone(),
            None => {
                let (Ok(device), Ok(before)) =
                    (copy(self.terminal.as_fd()), tcgetattr(&self.terminal))
                else {
                    return;
                };
                changed.push((device, before.clone()));
                typed.extend(self.typed_ahead(&before));
                before
            }
        };
        // A terminal that is gone is found out by reading.
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.raw(&before));
    }
}

impl Outer {
    /// The terminals among the streams that are relayed.
    pub(super) fn new(input: Option<&OwnedFd>, output: Option<&OwnedFd>) -> Self {
        let is_terminal = |stream: &&OwnedFd| is_terminal(stream.as_fd());
        let (input, output) = (input.filter(is_terminal), output.filter(is_terminal));
        let one = matches!((input, output), (Some(a), Some(b)) if same_file(a, b));
        let device = |stream: Option<&OwnedFd>, input, output| {
            let terminal = copy(stream?.as_fd()).ok()?;
            Some(Device {
                terminal,
                input,
                output,
            })
        };
        let devices = [
            device(input, true, one),
            device(output.filter(|_| !one), false, true),
        ];
        Self {
            devices: devices.into_iter().flatten().collect(),
            standing: Mutex::new(Standing::Back),
            typed: Mutex::default(),
        }
    }

    /// Whether the terminal is ours to read.
    pub(super) fn is_in_front(&self) -> bool {
        *self.standing.lock() == Standing::Front
    }

    /// Whether a read failed because the job is in the background by now.
    pub(super) fn is_lost(&self) -> bool {
        let mut standing = self.standing.lock();
        let lost = !self.is_at_hand();
        if lost && *standing == Standing::Front {
            *standing = Standing::Back;
        }
        lost
    }

    fn is_at_hand(&self) -> bool {
        self.devices
            .iter()
            .all(|device| terminal::is_at_hand(device.terminal.as_fd()))
    }

    fn enter(&self, standing: &mut Standing) -> bool {
        *standing = Standing::Back;
        if self.devices.is_empty() || !self.is_at_hand() {
            return false;
        }
        put_back_at_panic();
        let mut changed = CHANGED.lock();
        for device in &self.devices {
            device.make_raw(&mut changed, &mut self.typed.lock());
        }
        *standing = Standing::Front;
        true
    }

    /// Looks whether the job is in the foreground by now, and is there then.
    pub(super) fn look(&self) -> bool {
        let mut standing = self.standing.lock();
        *standing == Standing::Back && self.enter(&mut standing)
    }

    /// The job starts or goes on.
    pub(super) fn resume(&self) {
        self.enter(&mut self.standing.lock());
    }

    /// Gives the terminal back, since the job is about to stop; whether it was in the foreground.
    pub(super) fn suspend(&self) -> bool {
        let mut standing = self.standing.lock();
        if *standing != Standing::Front {
            return false;
        }
        *standing = Standing::Stopping;
        put_back(&mut CHANGED.lock());
        true
    }

    /// Gives the terminal back for good.
    pub(super) fn give_back(&self) {
        *self.standing.lock() = Standing::Stopping;
        put_back(&mut CHANGED.lock());
    }

    /// Reads what is typed, without waiting: nothing where the terminal is not ours, and the end where it is gone.
    pub(super) fn read(&self, from: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Typed> {
        // What makes it raw, or what it was before, comes before or after this.
        let standing = self.standing.lock();
        if *standing != Standing::Front {
            return Ok(Typed::Nothing);
        }
        let count = read(from, buffer)?;
        let mut ready = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        let mut is_gone = || {
            poll(&mut ready, PollTimeout::ZERO) == Ok(1)
                && ready[0]
                    .revents()
                    .is_some_and(|events| events.contains(PollFlags::POLLHUP))
        };
        Ok(match count {
            0 if is_gone() => Typed::End,
            0 => Typed::Nothing,
            count => Typed::Bytes(count),
        })
    }

    /// Takes what was typed before the terminal was raw.
    pub(super) fn take_typed(&self) -> Vec<u8> {
        std::mem::take(&mut self.typed.lock())
    }

    /// The window of the caller's.
    pub(super) fn size(&self) -> Option<Size> {
        self.devices
            .first()
            .and_then(|device| terminal::size(device.terminal.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> (OwnedFd, OwnedFd) {
        let pair = nix::pty::openpty(None, None).unwrap();
        (pair.master, pair.slave)
    }

    fn modes(terminal: &OwnedFd) -> libc::termios {
        tcgetattr(terminal).unwrap().into()
    }

    /// The modes that are put back are global, so there is one test of them.
    #[test]
    fn the_modes_are_put_back_by_every_way_out() {
        let (master, slave) = terminal();
        let before = modes(&slave);
        let outer = Outer::new(Some(&slave), Some(&slave));
        assert_eq!(outer.devices.len(), 1);
        outer.resume();
        assert!(outer.is_in_front());
        let raw = modes(&slave);
        assert_eq!(raw.c_lflag & (libc::ICANON | libc::ISIG | libc::ECHO), 0);
        assert_eq!(raw.c_oflag & libc::OPOST, 0);

        assert!(outer.suspend());
        assert_eq!(modes(&slave), before);
        assert!(!outer.look(), "a job that is about to stop");
        outer.resume();
        assert_eq!(modes(&slave), raw);
        // Gone on without having been stopped by us: the first modes are still known.
        outer.resume();
        let panic = std::thread::spawn(|| panic!("as a fault of ours would"));
        assert!(panic.join().is_err());
        assert_eq!(modes(&slave), before);

        outer.resume();
        let mut buffer = [0; 9];
        assert_eq!(outer.read(&slave, &mut buffer), Ok(Typed::Nothing));
        nix::unistd::write(&master, b"\x03\x04").unwrap();
        assert_eq!(outer.read(&slave, &mut buffer), Ok(Typed::Bytes(2)));
        outer.give_back();
        assert_eq!(modes(&slave), before);
        assert_eq!(outer.read(&slave, &mut buffer), Ok(Typed::Nothing));

        // Input and output on two terminals; what is only written to still makes signals.
        let (_other_master, other) = terminal();
        let outer = Outer::new(Some(&slave), Some(&other));
        outer.resume();
        assert_eq!(modes(&slave).c_oflag & libc::OPOST, libc::OPOST);
        assert_eq!(modes(&slave).c_lflag & libc::ISIG, 0);
        assert_eq!(modes(&other).c_oflag & libc::OPOST, 0);
        assert_eq!(modes(&other).c_lflag & libc::ISIG, libc::ISIG);
        outer.give_back();
        assert_eq!(modes(&slave), before);

        let none = Outer::new(None, None);
        none.resume();
        assert!(!none.is_in_front() && !none.suspend());
    }
}
