//! The command line: flags become [`crate::run`]'s options. Nothing is run or judged here but the command line itself.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::run::options::{Bind, Mediate, Options, PlatformChoice, StatsFormat};
use crate::run::{self, FAILED};

/// Run an unmodified Linux program in cages: every system call mediated, every process in its own virtual POSIX
#[derive(Debug, Parser)]
#[command(
    name = "cage-trace",
    version,
    override_usage = "cage-trace [OPTIONS] [--] COMMAND [ARG]..."
)]
#[command(
    after_help = "Exit status: that of COMMAND; 128+N if signal N killed it; 125 if cage-trace failed, 126 if COMMAND cannot be executed, 127 if it was not found."
)]
struct Arguments {
    /// Write a line for every system call to FILE (.jsonl)
    #[arg(short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Let the run read and write DIR of the host
    #[arg(long, value_name = "DIR")]
    bind: Vec<PathBuf>,
    /// Let the run read DIR of the host
    #[arg(long, value_name = "DIR")]
    ro_bind: Vec<PathBuf>,
    /// Hand on the whole environment
    #[arg(long)]
    keep_env: bool,
    /// Wait for all processes of the run, not only for the first
    #[arg(long)]
    wait: bool,
    /// Leave out the remarks at the end
    #[arg(short, long)]
    quiet: bool,
    /// Say what the supervisor does; twice for more
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Write what the supervisor says about itself to FILE
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print counters at the end
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    stats: Option<Stats>,
    /// Compare the kernel's tables with the virtual ones during the run
    #[arg(long)]
    check_invariants: bool,
    /// How system calls reach the supervisor [default: the best that the kernel allows]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Which system calls reach the supervisor
    #[arg(long, value_name = "WHICH", default_value = "names")]
    mediate: MediateArgument,
    /// The program to run, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stats {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Platform {
    Hybrid,
    Ptrace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MediateArgument {
    /// What names or makes something
    Names,
    /// All that have a handler
    All,
}

/// The binds in the order of the command line, which decides where two name one place.
fn binds(arguments: &Arguments, matches: &ArgMatches) -> Vec<Bind> {
    let with_order = |id: &str, paths: &[PathBuf], writable: bool| {
        let order = matches
            .indices_of(id)
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        order
            .into_iter()
            .zip(paths.iter().cloned())
            .map(|(order, path)| (order, Bind { path, writable }))
            .collect::<Vec<_>>()
    };
    let mut all = with_order("bind", &arguments.bind, true);
    all.extend(with_order("ro_bind", &arguments.ro_bind, false));
    all.sort_by_key(|(order, _)| *order);
    all.into_iter().map(|(_, bind)| bind).collect()
}

/// What to do with a command line.
#[derive(Debug)]
enum Request {
    Run(Box<Options>),
    /// Print this on standard output, and that is all.
    Show(String),
    /// Nothing can be run; what to tell the user.
    Refuse(String),
}

fn parse(words: impl IntoIterator<Item = OsString>) -> Request {
    let parsed = Arguments::command()
        .try_get_matches_from(words)
        .and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, matches)));
    let (arguments, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            return Request::Show(error.to_string());
        }
        Err(error) => {
            let text = error.to_string();
            return Request::Refuse(
                text.strip_prefix("error: ")
                    .unwrap_or(&text)
                    .trim_end()
                    .to_owned(),
            );
        }
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
    Request::Run(Box::new(Options {
        binds: binds(&arguments, &matches),
        command: arguments.command,
        keep_env: arguments.keep_env,
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
        },
        mediate: match arguments.mediate {
            MediateArgument::Names => Mediate::Names,
            MediateArgument::All => Mediate::All,
        },
    }))
}

/// Parses the command line, runs, and returns the exit status.
pub fn main() -> ExitCode {
    match parse(std::env::args_os()) {
        Request::Run(options) => ExitCode::from(run::run(&options)),
        Request::Show(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        },
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
        assert!(parsed.quiet && parsed.binds.is_empty() && parsed.output.is_none());
        assert_eq!(options(&["--", "-o", "x"]).command, ["-o", "x"]);
    }

    #[test]
    fn binds_keep_their_order() {
        let parsed = options(&["--ro-bind", "/a", "--bind", "/b", "--ro-bind=/c", "true"]);
        let found: Vec<_> = parsed
            .binds
            .iter()
            .map(|bind| (bind.path.to_str(), bind.writable))
            .collect();
        assert_eq!(
            found,
            [(Some("/a"), false), (Some("/b"), true), (Some("/c"), false)]
        );
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
    }
}
