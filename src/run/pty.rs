//! The pseudo-terminal of a run: made out of the run's own devpts, relayed to the caller's streams by two threads.
//!
//! What is typed goes in as bytes: the run's own line discipline makes signals of it. The caller's terminal is raw only
//! while this job is in its foreground. What the bytes say is none of our business.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::fstat;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, tcgetattr, tcsetattr};
use nix::unistd::{read, write};

use super::options::{Options, PtyChoice};
use super::outer::{Outer, Typed};
use super::world::World;
use crate::sys::descriptor::{copy, is_terminal};
use crate::sys::{event, process, signal, terminal};

/// How much is relayed at once.
const BUFFER: usize = 64 << 10;

/// How often a job in the background looks whether it is in the foreground by now: a shell that moves a running job there
/// tells it nothing.
const LOOK: u16 = 250;

/// How long the end is waited for after the last process of the run, once there is nothing to read, in milliseconds.
const GRACE: u16 = 1000;

/// A pseudo-terminal that nobody uses yet.
#[derive(Debug)]
pub(super) struct Pty {
    master: OwnedFd,
    slave: OwnedFd,
    /// Which of 0, 1 and 2 of the program are this terminal.
    streams: [bool; 3],
}

fn stream(number: i32) -> Option<OwnedFd> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let stream = match number {
        0 => input.as_fd(),
        1 => output.as_fd(),
        _ => error.as_fd(),
    };
    copy(stream).ok()
}

/// Which of the standard streams are to be the run's own terminal; `None` where it gets none.
fn streams(options: &Options) -> Option<[bool; 3]> {
    let own = process::inherited_stdio();
    let files = [
        options.stdio.input.is_some(),
        options.stdio.output.is_some(),
        options.stdio.error.is_some(),
    ];
    let [input, output, error] = [0, 1, 2].map(|number: usize| {
        let ours = own.get(number) == Some(&true) && files.get(number) == Some(&false);
        i32::try_from(number).ok().and_then(stream).filter(|_| ours)
    });
    let [on_input, on_output, on_error] = [&input, &output, &error].map(|stream| {
        stream
            .as_ref()
            .is_some_and(|stream| is_terminal(stream.as_fd()))
    });
    match options.pty {
        PtyChoice::Never => None,
        PtyChoice::Auto => (on_input && on_output).then_some([true, true, on_error]),
        // Errors that go elsewhere than the output shall still go there.
        PtyChoice::Always => {
            let same = output.zip(error).is_some_and(|(output, error)| {
                fstat(output)
                    .ok()
                    .zip(fstat(error).ok())
                    .is_some_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
            });
            Some([
                input.is_some(),
                own.get(1) == Some(&true) && !files.get(1).is_some_and(|file| *file),
                on_error || same,
            ])
        }
    }
}

impl Pty {
    /// The terminal that `options` ask for, if they do: with the modes and the window of the caller's, where that has one.
    pub(super) fn open(options: &Options, world: &World) -> io::Result<Option<Self>> {
        let Some(streams) = streams(options) else {
            return Ok(None);
        };
        let (master, slave) = world.open_terminal()?;
        let caller = [0, 1, 2]
            .into_iter()
            .filter_map(stream)
            .find(|stream| is_terminal(stream.as_fd()));
        if let Some(caller) = caller {
            // In the background they are those of whoever is in the foreground, a shell at its prompt say.
            if terminal::is_at_hand(caller.as_fd()) {
                let modes = tcgetattr(&caller)?;
                tcsetattr(&slave, SetArg::TCSANOW, &modes)?;
            }
            if let Some(size) = terminal::size(caller.as_fd()) {
                terminal::set_size(master.as_fd(), size)?;
            }
        }
        Ok(Some(Self {
            master,
            slave,
            streams,
        }))
    }

    /// In init: makes a session with this terminal. Not the program leads it, but its parent: a program that leads a
    /// session is in an orphaned process group, which no ^Z stops.
    pub(super) fn lead_session(&self) -> io::Result<()> {
        terminal::lead_session(self.slave.as_fd())
    }

    /// In the program's process, which leads its group: puts it into the foreground of this terminal, on its streams.
    pub(super) fn take(&self) -> io::Result<()> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        terminal::set_foreground(self.slave.as_fd(), own)?;
        for (number, wanted) in (0..).zip(self.streams) {
            if wanted {
                process::put_at(self.slave.as_raw_fd(), number)?;
            }
        }
        Ok(())
    }
}

/// How far a relay is.
const RUNNING: u8 = 0;
/// Nobody of the run is left: what is left to read is the end.
const ENDING: u8 = 1;
/// One side of the caller's is gone: the run's terminal is hung up.
const HUNG_UP: u8 = 2;

/// What the threads of a relay share.
#[derive(Debug)]
struct Shared {
    outer: Outer,
    state: AtomicU8,
    /// Readable as soon as the state is no longer the first.
    told: OwnedFd,
    /// Readable when the one who reads the caller's input is to look around.
    nudge: OwnedFd,
    /// All output is relayed.
    drained: AtomicBool,
    /// Who waits for that.
    waiter: i32,
}

impl Shared {
    fn tell(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        // The counter of an eventfd never gets full by a few of these.
        let _ = write(&self.told, &1_u64.to_ne_bytes());
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }
}

/// Waits until one of these is ready; false after the time-out.
fn wait<const N: usize>(ready: [(&OwnedFd, PollFlags); N], timeout: PollTimeout) -> bool {
    let mut fds = ready.map(|(fd, events)| PollFd::new(fd.as_fd(), events));
    poll(&mut fds, timeout) != Ok(0)
}

/// Writes all of it, also where the other end never blocks. With `told` a change of the relay's state ends that.
fn write_all(to: &OwnedFd, mut bytes: &[u8], told: Option<&Shared>) -> nix::Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(nix::Error::EAGAIN) => {
                let room = (to, PollFlags::POLLOUT);
                match told {
                    Some(shared) => {
                        wait([room, (&shared.told, PollFlags::POLLIN)], PollTimeout::NONE);
                        if shared.state() != RUNNING {
                            return Err(nix::Error::EIO);
                        }
                    }
                    None => {
                        wait([room], PollTimeout::NONE);
                    }
                }
            }
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what there is, up to a whole buffer: a terminal gives a page at a time. Says how much, and what came after it:
/// nothing for now (`EAGAIN`) or ever (`EIO`).
fn read_master(master: &OwnedFd, buffer: &mut [u8]) -> (usize, nix::Result<()>) {
    let mut filled = 0;
    loop {
        let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) else {
            return (filled, Ok(()));
        };
        match read(master, room) {
            Ok(0) => return (filled, Err(nix::Error::EIO)),
            Ok(count) => filled += count,
            Err(nix::Error::EINTR) => {}
            Err(error) => return (filled, Err(error)),
        }
    }
}

/// From the run to the caller, until the run's last process is gone and all is read.
fn relay_output(shared: &Shared, master: &OwnedFd, to: Option<&OwnedFd>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let (count, after) = read_master(master, &mut buffer);
        let bytes = buffer.get(..count).unwrap_or_default();
        if let Some(to) = to
            && write_all(to, bytes, None).is_err()
        {
            shared.tell(HUNG_UP);
            return;
        }
        match after {
            Ok(()) => {}
            Err(nix::Error::EAGAIN) => {
                let more = (master, PollFlags::POLLIN);
                match shared.state() {
                    RUNNING => {
                        wait([more, (&shared.told, PollFlags::POLLIN)], PollTimeout::NONE);
                    }
                    ENDING if wait([more], GRACE.into()) => {}
                    _ => return,
                }
            }
            Err(_) => return,
        }
        if shared.state() == HUNG_UP {
            return;
        }
    }
}

/// From the caller to the run, until there is no more of it or the run is over.
fn relay_input(shared: &Shared, master: &OwnedFd, from: &OwnedFd) {
    let mut buffer = vec![0; BUFFER];
    let typed = is_terminal(from.as_fd());
    let mut last = b'\n';
    let told = (&shared.told, PollFlags::POLLIN);
    while shared.state() == RUNNING {
        let before = shared.outer.take_typed();
        if write_all(master, &before, Some(shared)).is_err() {
            return;
        }
        if typed && !shared.outer.is_in_front() {
            wait([told], LOOK.into());
            if shared.state() == RUNNING && shared.outer.look() {
                resize(shared, master);
            }
            continue;
        }
        let nudge = (&shared.nudge, PollFlags::POLLIN);
        wait([told, nudge, (from, PollFlags::POLLIN)], PollTimeout::NONE);
        // It never blocks, and how often it was nudged makes no difference.
        if read(&shared.nudge, &mut [0; 8]).is_ok() || shared.state() != RUNNING {
            continue;
        }
        let found = if typed {
            shared.outer.read(from, &mut buffer)
        } else {
            read(from, &mut buffer).map(|count| match count {
                0 => Typed::End,
                count => Typed::Bytes(count),
            })
        };
        match found {
            Ok(Typed::Bytes(count)) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                last = bytes.last().copied().unwrap_or(last);
                if write_all(master, bytes, Some(shared)).is_err() {
                    return;
                }
            }
            Ok(Typed::Nothing) | Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
            // In the background, with SIGTTIN blocked.
            Err(nix::Error::EIO) if typed && shared.outer.is_lost() => {}
            _ if typed => return shared.tell(HUNG_UP),
            _ => return send_end(shared, master, last),
        }
    }
}

/// The end of the caller's input, as one would type it: a line that was begun needs one more, since the first only ends it.
fn send_end(shared: &Shared, master: &OwnedFd, last: u8) {
    let Ok(modes) = tcgetattr(master) else {
        return;
    };
    let by_lines = modes.local_flags.contains(LocalFlags::ICANON);
    let Some(&end) = modes
        .control_chars
        .get(SpecialCharacterIndices::VEOF as usize)
    else {
        return;
    };
    let times = if by_lines && last != b'\n' { 2 } else { 1 };
    // Where the run is gone, nobody waits for it.
    let _ = write_all(master, &vec![end; times], Some(shared));
}

/// Gives the run's terminal the window of the caller's; whether that changed anything.
fn resize(shared: &Shared, master: &OwnedFd) -> bool {
    match shared.outer.size() {
        Some(size) if terminal::size(master.as_fd()) != Some(size) => {
            terminal::set_size(master.as_fd(), size).is_ok()
        }
        _ => false,
    }
}

/// A running relay.
#[derive(Debug)]
pub(super) struct Relay {
    shared: Arc<Shared>,
    /// The threads hold the master: it is closed when the last of them ends, which hangs the run's terminal up.
    master: Weak<OwnedFd>,
    /// Held over the run, so that a terminal that the program closes everywhere is not at its end.
    slave: Option<OwnedFd>,
}

impl Relay {
    /// Starts to relay; the caller's terminal is raw from now on, if this job is in its foreground.
    pub(super) fn start(pty: Pty) -> io::Result<Self> {
        let [from_input, to_output, to_error] = pty.streams;
        let input = stream(0).filter(|_| from_input);
        let output = match pty.streams {
            _ if to_output => stream(1),
            _ if to_error => stream(2),
            _ => input.as_ref().and_then(|input| copy(input.as_fd()).ok()),
        };
        let output = output.filter(|output| to_output || to_error || is_terminal(output.as_fd()));
        let shared = Arc::new(Shared {
            outer: Outer::new(input.as_ref(), output.as_ref()),
            state: AtomicU8::new(RUNNING),
            told: event::eventfd(0, 0)?,
            nudge: event::eventfd(0, libc::EFD_NONBLOCK)?,
            drained: AtomicBool::new(false),
            waiter: signal::own_tid(),
        });
        let master = Arc::new(pty.master);
        let relay = Self {
            shared: Arc::clone(&shared),
            master: Arc::downgrade(&master),
            slave: Some(pty.slave),
        };
        shared.outer.resume();
        // Neither thread may stop the job, whatever it does with a terminal in whose foreground it is not.
        let mut stops = SigSet::empty();
        stops.add(Signal::SIGTTIN);
        stops.add(Signal::SIGTTOU);
        if let Some(input) = input {
            let (shared, master) = (Arc::clone(&shared), Arc::clone(&master));
            thread::Builder::new()
                .name("pty-input".to_owned())
                .spawn(move || {
                    if stops.thread_block().is_ok() {
                        relay_input(&shared, &master, &input);
                    }
                })?;
        }
        thread::Builder::new()
            .name("pty-output".to_owned())
            .spawn(move || {
                if stops.thread_block().is_ok() {
                    relay_output(&shared, &master, output.as_ref());
                }
                drop(master);
                shared.drained.store(true, Ordering::Release);
                signal::wake(shared.waiter);
            })?;
        Ok(relay)
    }

    /// Gives the caller's terminal back, before this job stops; whether there was one to give.
    pub(super) fn suspend(&self) -> bool {
        self.shared.outer.suspend()
    }

    /// The job goes on, in the foreground or not.
    pub(super) fn resume(&self) {
        self.shared.outer.resume();
        let _ = write(&self.shared.nudge, &1_u64.to_ne_bytes());
        self.resize();
    }

    /// Gives the run the window of the caller's; whether that changed anything, so that the run is told.
    pub(super) fn resize(&self) -> bool {
        self.master
            .upgrade()
            .is_some_and(|master| resize(&self.shared, &master))
    }

    /// The run is over: relays what it wrote before it ended. A signal that would end us ends this.
    pub(super) fn finish(mut self) {
        drop(self.slave.take());
        if self.shared.state() == RUNNING {
            self.shared.tell(ENDING);
        }
        while !self.shared.drained.load(Ordering::Acquire) {
            match signal::next() {
                libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT => break,
                libc::SIGCONT => self.shared.outer.resume(),
                _ => {}
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.outer.give_back();
    }
}
