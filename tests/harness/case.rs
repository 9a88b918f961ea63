//! A case: one command, run natively and caged by every user at hand, the two compared. Also the two plain runs, for
//! tests that look at a caged run alone.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::process::{Output, Running};
use super::scratch::{Installed, Scratch, User, running_as_root};
use super::{PLAIN_PATH, platforms, program, quick, skip};

/// A run that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// How much of a differing text a failure shows, on each side of the difference.
const CONTEXT: usize = 1_500;

/// A command with its environment and input.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) limit: Duration,
}

impl Run {
    pub(crate) fn new(argv: &[&str]) -> Self {
        Self {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: Vec::new(),
            stdin: Vec::new(),
            limit: LIMIT,
        }
    }

    /// Starts the command as it is. `env` stands before it on both sides, so that both have the same shape.
    pub(crate) fn start_native(&self, scratch: &Scratch) -> Running {
        // A cage has no inherited descriptors but 0, 1 and 2; whoever started the tests may have left more open.
        let closing: String = inherited()
            .iter()
            .map(|number| format!(" {number}>&-"))
            .collect();
        let mut command = plain("/bin/bash", scratch);
        command
            .args(["-c", &format!("exec /usr/bin/env \"$@\"{closing}"), "env"])
            .args(&self.env)
            .args(&self.argv);
        Running::start(command, &self.stdin, self.limit)
    }

    /// Starts the command under cage-trace with `flags`, the scratch directory bound read-write, `CAGED=1` set.
    pub(crate) fn start_caged(&self, flags: &[&str], scratch: &Scratch) -> Running {
        let installed = Installed::get();
        let mut command = plain(installed.cage_trace(), scratch);
        command
            .args(["-q", "--check-invariants"])
            .args(flags)
            .arg("--bind")
            .arg(scratch.path())
            .arg("--ro-bind")
            .arg(installed.directory())
            .args(["--", "/usr/bin/env", "CAGED=1"])
            .args(&self.env)
            .args(&self.argv);
        Running::start(command, &self.stdin, self.limit)
    }
}

/// Runs `argv` natively to its end.
pub(crate) fn run_native(argv: &[&str], scratch: &Scratch) -> Output {
    Run::new(argv).start_native(scratch).finish()
}

/// Runs `argv` caged to its end.
pub(crate) fn run_caged(flags: &[&str], argv: &[&str], scratch: &Scratch) -> Output {
    Run::new(argv).start_caged(flags, scratch).finish()
}

/// Runs cage-trace with exactly these arguments.
pub(crate) fn run_cage_trace(arguments: &[&str], scratch: &Scratch) -> Output {
    start_cage_trace(arguments, scratch).finish()
}

/// Starts cage-trace with exactly these arguments.
pub(crate) fn start_cage_trace(arguments: &[&str], scratch: &Scratch) -> Running {
    let installed = Installed::get();
    let mut command = plain(installed.cage_trace(), scratch);
    command.args(arguments);
    Running::start(command, &[], LIMIT)
}

/// The descriptors from 3 up that this process would hand to its children.
fn inherited() -> Vec<u32> {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let flags = |number: u32| -> Option<u32> {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
        u32::from_str_radix(line.trim(), 8).ok()
    };
    fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&number| number > 2)
        .filter(|&number| flags(number).is_some_and(|bits| bits & CLOSE_ON_EXEC == 0))
        .collect()
}

/// A command in the scratch directory, as its user, in an environment that is the same on every machine.
fn plain(program: impl AsRef<std::ffi::OsStr>, scratch: &Scratch) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(scratch.path())
        .env_clear()
        .env("PATH", PLAIN_PATH)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("HOME", "/nonexistent");
    scratch.user().apply(&mut command);
    command
}

/// One command and what is expected of its native and its caged run.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    run: Run,
    needs: Vec<String>,
    files: Vec<(String, Vec<u8>, u32)>,
    ignored: Vec<String>,
    variants: Vec<Vec<String>>,
    as_root: Vec<String>,
    with_account: bool,
    fails_alike: bool,
    silent: bool,
    /// The program that it names may be installed.
    _installed: Arc<Installed>,
}

impl Case {
    pub(crate) fn new(argv: &[&str]) -> Self {
        Self {
            run: Run::new(argv),
            needs: argv
                .first()
                .map(|&name| name.to_owned())
                .into_iter()
                .collect(),
            files: Vec::new(),
            ignored: Vec::new(),
            variants: vec![Vec::new()],
            as_root: Vec::new(),
            with_account: false,
            fails_alike: false,
            silent: false,
            _installed: Installed::get(),
        }
    }

    /// A script for a shell that takes `-c`.
    pub(crate) fn script(shell: &str, script: &str) -> Self {
        Self::new(&[shell, "-c", script])
    }

    /// Programs without which the case cannot run (the command itself is always one).
    pub(crate) fn needs(mut self, programs: &[&str]) -> Self {
        self.needs
            .extend(programs.iter().map(|&name| name.to_owned()));
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.run.stdin = bytes.into();
        self
    }

    /// An environment variable of the program, `NAME=value`.
    pub(crate) fn env(mut self, assignment: &str) -> Self {
        self.run.env.push(assignment.to_owned());
        self
    }

    /// A file that lies in the scratch directory before the run.
    pub(crate) fn file(self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.file_with_mode(name, content, 0o644)
    }

    pub(crate) fn file_with_mode(
        mut self,
        name: &str,
        content: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Self {
        self.files.push((name.to_owned(), content.into(), mode));
        self
    }

    /// A produced file or folder that two native runs leave different (it holds a time, say).
    pub(crate) fn ignoring(mut self, name: &str) -> Self {
        self.ignored.push(name.to_owned());
        self
    }

    /// Compares once more with these flags.
    pub(crate) fn also(mut self, flags: &[&str]) -> Self {
        self.variants
            .push(flags.iter().map(|&flag| flag.to_owned()).collect());
        self
    }

    /// Compares on the platforms that are not the default too.
    pub(crate) fn on_each_platform(self) -> Self {
        self.also(&["--platform=ptrace"]).also(&["--platform=fast"])
    }

    /// Flags of root's caged runs: a server that gives up root's id needs capabilities for that.
    pub(crate) fn root_with(mut self, flags: &[&str]) -> Self {
        self.as_root = flags.iter().map(|&flag| flag.to_owned()).collect();
        self
    }

    /// The program refuses to be root's and asks for its user's name: it runs as one user, who has an account.
    pub(crate) fn with_account(mut self) -> Self {
        self.with_account = true;
        self
    }

    /// The program is meant to end with a failure, natively as well.
    pub(crate) fn fails_alike(mut self) -> Self {
        self.fails_alike = true;
        self
    }

    /// The program is meant to print nothing.
    pub(crate) fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    pub(crate) fn limit(mut self, seconds: u64) -> Self {
        self.run.limit = Duration::from_secs(seconds);
        self
    }

    /// Runs the case for every user and variant and panics with all that differed.
    pub(crate) fn check(&self, name: &str) {
        if let Some(missing) = self.needs.iter().find(|&need| program(need).is_none()) {
            return skip(name, missing);
        }
        let _installed = Installed::get();
        let mut failures = String::new();
        let users = if self.with_account {
            User::with_account()
        } else {
            User::all()
        };
        for &user in users {
            let scratch = Scratch::new(user);
            let native = self.output(&scratch, None);
            for mut flags in self.flags() {
                scratch.reset();
                if user == User::Own && running_as_root() && flags != ["native"] {
                    flags.extend(self.as_root.iter().cloned());
                }
                let caged = self.output(&scratch, Some(&flags));
                if let Some(difference) = self.compare(&native, &caged) {
                    let flags = flags.join(" ");
                    failures.push_str(&format!("── {name}, {user:?}, {flags}\n{difference}\n"));
                }
            }
        }
        assert!(failures.is_empty(), "\n{failures}");
    }

    /// The flags of every caged run: each platform that was asked for, then the case's own variants.
    fn flags(&self) -> Vec<Vec<String>> {
        let mut all: Vec<Vec<String>> = Vec::new();
        for platform in platforms() {
            for variant in self
                .variants
                .iter()
                .take(if quick() { 1 } else { usize::MAX })
            {
                let mut flags = variant.clone();
                if platform == "native" {
                    flags = vec!["native".to_owned()];
                } else if !flags.iter().any(|flag| flag.starts_with("--platform=")) {
                    flags.insert(0, format!("--platform={platform}"));
                }
                if !all.contains(&flags) {
                    all.push(flags);
                }
            }
        }
        all
    }

    fn output(&self, scratch: &Scratch, flags: Option<&[String]>) -> Output {
        for (name, content, mode) in &self.files {
            scratch.write(name, content, *mode);
        }
        let flags: Option<Vec<&str>> =
            flags.map(|flags| flags.iter().map(String::as_str).collect());
        let running = match flags.as_deref() {
            None | Some(["native"]) => self.run.start_native(scratch),
            Some(flags) => self.run.start_caged(flags, scratch),
        };
        let mut output = running.finish();
        output.files = scratch.files(&self.ignored);
        output
    }

    /// Says how the two runs differ, or why their being alike proves nothing.
    fn compare(&self, native: &Output, caged: &Output) -> Option<String> {
        let mut text = String::new();
        let mut note = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        for (side, output) in [("native", native), ("caged", caged)] {
            if let Some(why) = output.hung {
                note(format!("the {side} run {why}"));
            }
        }
        if native.status != caged.status {
            note(format!(
                "status: native {}, caged {}",
                native.status, caged.status
            ));
        } else if native.status != 0 && !self.fails_alike {
            note(format!(
                "both end with {}, which the case does not say",
                native.status
            ));
        } else if native.status == 0 && self.fails_alike {
            note("both succeed, though the case says that they fail".to_owned());
        }
        for (stream, native, caged) in [
            ("stdout", &native.stdout, &caged.stdout),
            ("stderr", &native.stderr, &caged.stderr),
        ] {
            if native != caged {
                note(format!("{stream} differs\n{}", sides(native, caged)));
            }
        }
        let prints = |output: &Output| !(output.stdout.is_empty() && output.stderr.is_empty());
        if !self.silent && !prints(native) && !prints(caged) {
            note("neither side prints anything, which the case does not say".to_owned());
        }
        for file in native
            .files
            .iter()
            .filter(|&file| !caged.files.contains(file))
        {
            note(format!("only native leaves: {file}"));
        }
        for file in caged
            .files
            .iter()
            .filter(|&file| !native.files.contains(file))
        {
            note(format!("only caged leaves:  {file}"));
        }
        if native.status != caged.status && native.stderr == caged.stderr {
            note(format!("stderr of both: {:?}", native.stderr_text()));
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Both texts around their first difference.
fn sides(native: &[u8], caged: &[u8]) -> String {
    let common = native.iter().zip(caged).take_while(|(a, b)| a == b).count();
    let start = common.saturating_sub(CONTEXT / 3);
    let part = |bytes: &[u8]| {
        let shown: Vec<u8> = bytes.iter().skip(start).take(CONTEXT).copied().collect();
        String::from_utf8_lossy(&shown).into_owned()
    };
    format!(
        "  (first difference at byte {common}, shown from byte {start})\n  native, {} bytes: {:?}\n  caged,  {} bytes: {:?}",
        native.len(),
        part(native),
        caged.len(),
        part(caged)
    )
}

/// One `#[test]` per case: `cases! { name: expression; … }`, the expression a [`Case`].
#[macro_export]
macro_rules! cases {
    ($($name:ident: $case:expr;)+) => {
        $(
            #[test]
            fn $name() {
                $case.check(stringify!($name));
            }
        )+
    };
}
