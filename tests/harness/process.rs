//! A child with captured, bounded output and a hard time limit. A child that does not end is killed and reported as
//! hung; nothing here waits without a limit.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::scratch::Produced;

/// More than this of a stream is read but not kept.
const KEPT: usize = 8 << 20;

/// Between the fork and the exec of a child it holds a copy of every descriptor of ours, and a program that somebody has
/// open for writing cannot be executed: so nobody starts anything while a program is being written.
static STARTING: RwLock<()> = RwLock::new(());

/// Writes a program by `write` while no child is being started.
pub(crate) fn while_nothing_starts<T>(write: impl FnOnce() -> T) -> T {
    let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    write()
}

fn spawn(command: &mut Command) -> Child {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    command
        .spawn()
        .unwrap_or_else(|e| panic!("start {}: {e}", command.get_program().display()))
}

/// Runs a compiler and fails with what it said, unless it succeeds.
pub(crate) fn compile(command: &mut Command) {
    let child = spawn(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let output = child
        .wait_with_output()
        .unwrap_or_else(|e| panic!("wait for a compiler: {e}"));
    assert!(
        output.status.success(),
        "{command:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How long the pipes may stay open after the child's end.
const LINGER: Duration = Duration::from_secs(10);

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// The exit status, or 128 + the signal that ended it, as a shell would say it.
    pub(crate) status: i32,
    /// Why the run counts as hung: it did not end, or something that it left behind kept its output open.
    pub(crate) hung: Option<&'static str>,
    pub(crate) files: Vec<Produced>,
}

impl Output {
    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// One output stream, filled by a thread of its own.
#[derive(Default)]
struct Capture {
    state: Mutex<Captured>,
    changed: Condvar,
}

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    ended: bool,
}

impl Capture {
    fn start(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let capture = Arc::new(Self::default());
        let filled = Arc::clone(&capture);
        thread::spawn(move || {
            let mut buffer = [0u8; 16 << 10];
            loop {
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut state = filled.state.lock().unwrap_or_else(PoisonError::into_inner);
                let room = KEPT.saturating_sub(state.bytes.len()).min(count);
                state.bytes.extend(buffer.iter().take(room));
                state.ended = count == 0;
                filled.changed.notify_all();
                if state.ended {
                    return;
                }
            }
        });
        capture
    }

    /// Waits until `done` says so or `deadline` passes.
    fn wait(&self, deadline: Instant, done: impl Fn(&Captured) -> bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !done(&state) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn take(&self) -> Vec<u8> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.bytes)
    }
}

/// A started child in a process group of its own.
pub(crate) struct Running {
    child: Child,
    pid: Pid,
    stdout: Arc<Capture>,
    stderr: Arc<Capture>,
    deadline: Instant,
    reaped: bool,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", self.pid)
    }
}

impl Running {
    /// Starts `command` with `stdin` as its input (none: /dev/null), to be killed after `limit`.
    pub(crate) fn start(mut command: Command, stdin: &[u8], limit: Duration) -> Self {
        command
            .stdin(if stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = spawn(&mut command);
        if let Some(mut pipe) = child.stdin.take() {
            let bytes = stdin.to_vec();
            // A program that does not read all of its input is no failure.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            panic!("a child without its pipes");
        };
        let pid = i32::try_from(child.id()).unwrap_or_else(|e| panic!("pid {}: {e}", child.id()));
        Self {
            child,
            pid: Pid::from_raw(pid),
            stdout: Capture::start(stdout),
            stderr: Capture::start(stderr),
            deadline: Instant::now() + limit,
            reaped: false,
        }
    }

    /// The child's pid (cage-trace's own in a caged run).
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the child alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap_or_else(|e| panic!("send {signal} to {}: {e}", self.pid));
    }

    /// Waits until stdout contains `text`; false when the time limit or the stream's end comes first.
    pub(crate) fn wait_for(&self, text: &str) -> bool {
        let seen = |state: &Captured| String::from_utf8_lossy(&state.bytes).contains(text);
        self.stdout
            .wait(self.deadline, |state| state.ended || seen(state))
            && seen(
                &self
                    .stdout
                    .state
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            )
    }

    /// Waits for the end, or kills the child's whole group at the limit.
    pub(crate) fn finish(mut self) -> Output {
        let mut hung = None;
        let mut pause = Duration::from_micros(500);
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            if Instant::now() >= self.deadline {
                hung = Some("did not end within its time limit");
                self.kill();
                break self.child.wait().unwrap_or_else(|e| panic!("wait: {e}"));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        self.reaped = true;
        let deadline = Instant::now() + LINGER;
        for stream in [&self.stdout, &self.stderr] {
            if !stream.wait(deadline, |state| state.ended) && hung.is_none() {
                hung = Some("ended, but something that it left behind keeps its output open");
            }
        }
        Output {
            stdout: self.stdout.take(),
            stderr: self.stderr.take(),
            status: status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal))
                .unwrap_or(-1),
            hung,
            files: Vec::new(),
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .unwrap_or_else(|e| panic!("wait for {}: {e}", self.pid))
    }

    fn kill(&mut self) {
        // Both may find nobody left, which is what they are for.
        let _ = killpg(self.pid, Signal::SIGKILL);
        let _ = self.child.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            drop(self.child.wait());
        }
    }
}
