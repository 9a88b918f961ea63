//! The command line: flags become [`crate::run`]'s options. Nothing is run or judged here but the command line itself.

mod arguments;
mod profile;
mod quantities;
mod syscalls;
mod values;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use arguments::{Arguments, MediateArgument, NetArgument, Platform, Stats};
use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, ValueEnum};
use clap_complete::Shell;

use crate::run::options::{
    CapabilityChange, Entry, EnvironmentChange, Identity, Limits, Mediate, Net, Options,
    PlatformChoice, PtyChoice, StatsFormat, Stdio,
};
use crate::run::{self, FAILED, doctor};

/// The values of a flag, each with its place on the command line.
fn placed<T: Clone>(matches: &ArgMatches, flag: &str, values: &[T]) -> Vec<(usize, T)> {
    let places = matches.indices_of(flag).into_iter().flatten();
    places.zip(values.iter().cloned()).collect()
}

/// Values of several flags in the order of the command line, which decides where two concern one thing.
fn in_order<T>(mut values: Vec<(usize, T)>) -> Vec<T> {
    values.sort_by_key(|(place, _)| *place);
    values.into_iter().map(|(_, value)| value).collect()
}

fn map<T, U>(values: Vec<(usize, T)>, make: impl Fn(T) -> U) -> impl Iterator<Item = (usize, U)> {
    values
        .into_iter()
        .map(move |(place, value)| (place, make(value)))
}

fn entries(arguments: &Arguments, matches: &ArgMatches) -> Vec<Entry> {
    let binds = placed(matches, "bind", &arguments.bind);
    let ro_binds = placed(matches, "ro_bind", &arguments.ro_bind);
    let mounts = placed(matches, "mount", &arguments.mount);
    let tmpfs = placed(matches, "tmpfs", &arguments.tmpfs);
    let links = placed(matches, "symlink", &arguments.symlink);
    let mut all: Vec<(usize, Entry)> = map(binds, Entry::Bind).collect();
    all.extend(map(ro_binds, Entry::Bind));
    all.extend(map(mounts, Entry::Mount));
    all.extend(map(tmpfs, Entry::Mount));
    all.extend(map(links, Entry::Symlink));
    in_order(all)
}

/// Where the environment begins, and then each change.
fn environment(arguments: &Arguments, matches: &ArgMatches) -> Vec<EnvironmentChange> {
    let mut all = placed(matches, "env", &arguments.env);
    all.extend(placed(matches, "short_env", &arguments.short_env));
    let unset = placed(matches, "unset_env", &arguments.unset_env);
    all.extend(map(unset, EnvironmentChange::Unset));
    let mut changes = Vec::new();
    if arguments.keep_env {
        changes.push(EnvironmentChange::KeepAll);
    }
    if arguments.clear_env {
        changes.push(EnvironmentChange::Clear);
    }
    changes.extend(in_order(all));
    changes
}

fn identity(arguments: &Arguments, matches: &ArgMatches) -> Identity {
    let added = placed(matches, "cap_add", &arguments.cap_add);
    let dropped = placed(matches, "cap_drop", &arguments.cap_drop);
    let mut capabilities: Vec<_> = map(added, CapabilityChange::Add).collect();
    capabilities.extend(map(dropped, CapabilityChange::Drop));
    Identity {
        user: arguments.user.clone(),
        group: arguments.group.clone(),
        uid_map: arguments.uid_map.clone(),
        gid_map: arguments.gid_map.clone(),
        noroot: arguments.noroot,
        capabilities: in_order(capabilities),
    }
}

fn limits(arguments: &Arguments) -> Limits {
    Limits {
        timeout: arguments.timeout,
        cpu_time: arguments.cpu_time,
        memory: arguments.memory,
        cpus: arguments.cpus,
        pids: arguments.pids_limit,
        rlimits: arguments.rlimit.clone(),
    }
}

/// What to do with a command line.
#[derive(Debug)]
enum Request {
    Run(Box<Options>),
    /// Print this on standard output, and that is all.
    Show(String),
    /// Nothing can be run; what to tell the user.
    Refuse(String),
    /// Examine the machine.
    Examine,
}

/// Reads a command line, and where it names a profile, that one's words before its own.
fn read(mut words: Vec<OsString>) -> Result<(Arguments, ArgMatches), Request> {
    let command = Arguments::command();
    let mut matches = command
        .clone()
        .try_get_matches_from(&words)
        .map_err(refusal)?;
    if let Some(profile) = matches.get_one::<OsString>("profile") {
        let added = profile::words(profile, &command, &matches).map_err(Request::Refuse)?;
        words.splice(1..1, added);
        matches = command.try_get_matches_from(&words).map_err(refusal)?;
    }
    let arguments = Arguments::from_arg_matches(&matches).map_err(refusal)?;
    Ok((arguments, matches))
}

/// What to do where the parser returned something else than arguments.
fn refusal(error: clap::Error) -> Request {
    let text = error.to_string();
    if let ErrorKind::DisplayHelp | ErrorKind::DisplayVersion = error.kind() {
        return Request::Show(text);
    }
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    Request::Refuse(text.trim_end().to_owned())
}

/// The table of calls.
fn written(form: syscalls::Form) -> Request {
    match syscalls::table(form) {
        Ok(table) => Request::Show(table),
        Err(error) => Request::Refuse(format!("syscalls: {error}")),
    }
}

/// What is asked for by a subcommand: they are known as the first word only.
fn subcommand(words: &[OsString]) -> Option<Request> {
    let (first, rest) = words.get(1..)?.split_first()?;
    let mut command = Arguments::command();
    match (first.to_str()?, rest) {
        ("doctor", []) => Some(Request::Examine),
        ("man", []) => {
            let mut page = Vec::new();
            let written = clap_mangen::Man::new(command).render(&mut page);
            Some(match written {
                Ok(()) => Request::Show(String::from_utf8_lossy(&page).into_owned()),
                Err(error) => Request::Refuse(format!("man: {error}")),
            })
        }
        ("completions", [shell]) => {
            let Ok(shell) = Shell::from_str(&shell.to_string_lossy(), true) else {
                return Some(Request::Refuse(format!(
                    "completions {}: bash, elvish, fish, powershell or zsh",
                    shell.to_string_lossy()
                )));
            };
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "cage-trace", &mut script);
            Some(Request::Show(String::from_utf8_lossy(&script).into_owned()))
        }
        ("syscalls", []) => Some(written(syscalls::Form::Text)),
        ("syscalls", [flag]) => Some(match syscalls::Form::of_flag(&flag.to_string_lossy()) {
            Some(form) => written(form),
            None => Request::Refuse(format!(
                "syscalls {}: --json or --markdown; to run a program of that name write -- before it",
                flag.to_string_lossy()
            )),
        }),
        ("completions", _) => Some(Request::Refuse(
            "completions needs one word: bash, elvish, fish, powershell or zsh".to_owned(),
        )),
        ("syscalls", _) => Some(Request::Refuse(
            "syscalls takes one flag, --json or --markdown, or none".to_owned(),
        )),
        ("doctor" | "man", _) => Some(Request::Refuse(format!(
            "{} takes no arguments; to run a program of that name write -- before it",
            first.to_string_lossy()
        ))),
        _ => None,
    }
}

fn parse(words: impl IntoIterator<Item = OsString>) -> Request {
    let words: Vec<OsString> = words.into_iter().collect();
    if let Some(request) = subcommand(&words) {
        return request;
    }
    let (arguments, matches) = match read(words) {
        Ok(read) => read,
        Err(request) => return request,
    };
    if let Some(output) = &arguments.output
        && !output
            .extension()
            .is_some_and(|end| end == "json" || end == "jsonl")
    {
        return Request::Refuse(format!(
            "-o {}: the name must end in .json or .jsonl, since JSON is the only --format yet",
            output.display()
        ));
    }
    Request::Run(Box::new(options(arguments, &matches)))
}

fn options(arguments: Arguments, matches: &ArgMatches) -> Options {
    Options {
        entries: entries(&arguments, matches),
        environment: environment(&arguments, matches),
        identity: identity(&arguments, matches),
        limits: limits(&arguments),
        hide: arguments.hide,
        root: arguments.root,
        chdir: arguments.chdir,
        hostname: arguments.hostname,
        no_proc: arguments.no_proc,
        no_devices: arguments.no_devfs,
        sysfs: arguments.sysfs,
        pty: match (arguments.pty, arguments.no_pty) {
            (true, _) => PtyChoice::Always,
            (_, true) => PtyChoice::Never,
            _ => PtyChoice::Auto,
        },
        net: match arguments.net {
            Some(NetArgument::Host) => Net::Host,
            None if arguments.share_net => Net::Host,
            _ => Net::None,
        },
        publish: arguments.publish,
        pass_fds: arguments.pass_fd,
        stdio: Stdio {
            input: arguments.stdin,
            output: arguments.stdout,
            error: arguments.stderr,
        },
        status_fd: arguments.status_fd,
        report: arguments.report,
        die_with_parent: arguments.die_with_parent,
        strict: arguments.strict,
        command: arguments.command,
        wait: arguments.wait,
        quiet: arguments.quiet,
        verbose: arguments.verbose,
        log: arguments.log,
        output: arguments.output,
        stats: arguments.stats.map(|stats| match stats {
            Stats::Text => StatsFormat::Text,
            Stats::Json => StatsFormat::Json,
        }),
        check_invariants: arguments.check_invariants,
        platform: match arguments.platform {
            None => PlatformChoice::Best,
            Some(Platform::Hybrid) => PlatformChoice::Hybrid,
            Some(Platform::Ptrace) => PlatformChoice::Ptrace,
            Some(Platform::Fast) => PlatformChoice::Fast,
        },
        patches: !arguments.no_patch,
        spins: !arguments.no_spin,
        mediate: match arguments.mediate {
            MediateArgument::Names => Mediate::Names,
            MediateArgument::All => Mediate::All,
        },
    }
}

fn show(text: &str, status: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => status,
        Err(_) => ExitCode::from(FAILED),
    }
}

/// Parses the command line, runs, and returns the exit status.
pub fn main() -> ExitCode {
    match parse(std::env::args_os()) {
        Request::Run(options) => ExitCode::from(run::run(&options)),
        Request::Show(text) => show(&text, ExitCode::SUCCESS),
        Request::Examine => {
            let (text, possible) = doctor::examine();
            let status = if possible {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
            show(&text, status)
        }
        Request::Refuse(message) => {
            eprintln!("cage-trace: {message}");
            ExitCode::from(FAILED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        match parse(["cage-trace"].iter().chain(words).map(OsString::from)) {
            Request::Run(options) => *options,
            other => panic!("{words:?} gave {other:?}"),
        }
    }

    fn refusal(words: &[&str]) -> String {
        match parse(["cage-trace"].iter().chain(words).map(OsString::from)) {
            Request::Refuse(message) => message,
            other => panic!("{words:?} gave {other:?}"),
        }
    }

    #[test]
    fn the_first_word_that_is_no_option_ends_parsing() {
        let parsed = options(&["-q", "ls", "-l", "--bind", "x", "--", "-o"]);
        assert_eq!(parsed.command, ["ls", "-l", "--bind", "x", "--", "-o"]);
        assert!(parsed.quiet && parsed.entries.is_empty() && parsed.output.is_none());
        assert_eq!(options(&["--", "-o", "x"]).command, ["-o", "x"]);
    }

    #[test]
    fn what_makes_the_world_keeps_its_order() {
        let words = [
            "--ro-bind",
            "/a",
            "-t",
            "1m",
            "--bind",
            "/b",
            "--symlink=x:/y",
            "--ro-bind=/c",
            "true",
        ];
        let found: Vec<_> = options(&words)
            .entries
            .iter()
            .map(|entry| match entry {
                Entry::Bind(bind) => format!("{} {}", bind.source.display(), bind.writable),
                Entry::Mount(mount) => mount.kind.clone(),
                Entry::Symlink(link) => link.link.display().to_string(),
            })
            .collect();
        assert_eq!(found, ["/a false", "tmpfs", "/b true", "/y", "/c false"]);
    }

    #[test]
    fn the_environment_and_capabilities_change_in_order() {
        let parsed = options(&[
            "-e",
            "A=1",
            "--unset-env",
            "A",
            "--env=B",
            "--clear-env",
            "true",
        ]);
        let [
            EnvironmentChange::Clear,
            EnvironmentChange::Set(..),
            EnvironmentChange::Unset(_),
            EnvironmentChange::Inherit(_),
        ] = parsed.environment.as_slice()
        else {
            panic!("{:?}", parsed.environment);
        };
        let parsed = options(&["--cap-drop", "ALL", "--cap-add", "net_raw", "true"]);
        let changes = parsed.identity.capabilities;
        assert_eq!(changes.last(), Some(&CapabilityChange::Add(1 << 13)));
    }

    #[test]
    fn subcommands_are_known_as_the_first_word_only() {
        let parsed = |words: &[&str]| parse(["cage-trace"].iter().chain(words).map(OsString::from));
        assert!(matches!(parsed(&["doctor"]), Request::Examine));
        assert_eq!(options(&["--", "doctor"]).command, ["doctor"]);
        assert_eq!(options(&["-q", "doctor"]).command, ["doctor"]);
        let Request::Show(script) = parsed(&["completions", "bash"]) else {
            panic!("no script");
        };
        assert!(script.contains("--uid-map"));
        let Request::Show(page) = parsed(&["man"]) else {
            panic!("no page");
        };
        assert!(page.contains("uid\\-map"));
        assert!(refusal(&["completions", "csh"]).contains("bash"));
        assert!(refusal(&["doctor", "x"]).contains("--"));
        assert!(matches!(parsed(&["syscalls", "--json"]), Request::Show(_)));
        assert!(refusal(&["syscalls", "--jsn"]).contains("--json"));
        assert!(refusal(&["syscalls", "--json", "x"]).contains("--json"));
    }

    #[test]
    fn stats_takes_its_format_only_after_an_equals_sign() {
        assert_eq!(options(&["--stats", "true"]).stats, Some(StatsFormat::Text));
        assert_eq!(
            options(&["--stats=json", "true"]).stats,
            Some(StatsFormat::Json)
        );
        assert_eq!(options(&["true"]).stats, None);
    }

    #[test]
    fn a_bad_command_line_is_refused_with_what_to_do() {
        assert!(refusal(&["-o", "x.txt", "true"]).contains("--format"));
        assert!(refusal(&["--no-such-flag", "true"]).contains("--no-such-flag"));
        assert!(refusal(&[]).contains("COMMAND"));
        for (words, said) in [
            (&["--uid-map=a:b", "true"][..], "host a, cage b"),
            (&["--cap-add=fly", "true"], "'fly'"),
            (&["--noroot", "--cap-add=kill", "true"], "--noroot"),
            (&["-m", "none:/tmp:tmpfs:", "true"], "nsjail"),
            (&["--bind=:x", "true"], "--bind"),
            (&["--timeout=x", "true"], "--timeout"),
        ] {
            assert!(
                refusal(words).contains(said),
                "{words:?}: {}",
                refusal(words)
            );
        }
    }
}
