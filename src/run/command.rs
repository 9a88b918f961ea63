//! The command to run: which file of the host it means, and what it resolves to inside the world. Executes nothing.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::lookup::trace_path;
use super::options::EnvironmentChange;

/// Where a command is looked for when `PATH` is not set, as libc does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Environment variables that a run inherits.
const KEPT: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "COLORTERM",
    "LANG",
    "TZ",
];

/// What the command resolved to inside the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The path to execute.
    Found(PathBuf),
    /// There is none; what to tell the user. Exit status 127.
    NotFound(String),
    /// There is one, but it cannot be executed; what to tell the user. Exit status 126.
    NotExecutable(String),
}

/// The environment of the program: the harmless part of ours, `named` of a user who was named, then what the command line
/// changes, in its order.
pub(super) fn environment(
    changes: &[EnvironmentChange],
    named: &[(OsString, OsString)],
) -> Vec<OsString> {
    let harmless =
        |name: &OsStr| KEPT.iter().any(|kept| name == *kept) || name.as_bytes().starts_with(b"LC_");
    let mut variables: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| harmless(name))
        .collect();
    let follow = |variables: &mut Vec<(OsString, OsString)>| {
        variables.retain(|(known, _)| named.iter().all(|(name, _)| name != known));
        variables.extend(named.iter().cloned());
    };
    follow(&mut variables);
    for change in changes {
        let set = match change {
            EnvironmentChange::KeepAll => {
                variables = std::env::vars_os().collect();
                follow(&mut variables);
                None
            }
            EnvironmentChange::Clear => {
                variables.clear();
                None
            }
            EnvironmentChange::Set(name, value) => Some((name, Some(value.clone()))),
            EnvironmentChange::Inherit(name) => Some((name, std::env::var_os(name))),
            EnvironmentChange::Unset(name) => Some((name, None)),
        };
        if let Some((name, value)) = set {
            variables.retain(|(known, _)| known != name);
            variables.extend(value.map(|value| (name.clone(), value)));
        }
    }
    variables
        .into_iter()
        .map(|(name, value)| {
            let mut text = name.into_vec();
            text.push(b'=');
            text.extend(value.into_vec());
            OsString::from_vec(text)
        })
        .collect()
}

/// The places where `command` is looked for, in order.
fn candidates(command: &OsStr) -> Vec<PathBuf> {
    if command.is_empty() {
        return Vec::new();
    }
    if command.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(command)];
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| {
            if directory.is_empty() {
                Path::new(".").join(command)
            } else {
                Path::new(OsStr::from_bytes(directory)).join(command)
            }
        })
        .collect()
}

fn executable(file: &Path) -> bool {
    faccessat(AT_FDCWD, file, AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok()
}

/// The interpreter that the `#!` line of `file` names.
fn interpreter(file: &Path) -> Option<PathBuf> {
    let mut head = Vec::with_capacity(256);
    File::open(file)
        .ok()?
        .take(255)
        .read_to_end(&mut head)
        .ok()?;
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let name = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .find(|part| !part.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// What the host knows of the command.
#[derive(Clone, Debug, Default)]
pub(super) struct HostCommand {
    /// The file as found, and each file that a symlink leads to; the last is no link. Directories are canonical.
    pub(super) files: Vec<PathBuf>,
    /// Every symlink on the way: its place and its target.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// The interpreter of its `#!` line, if that exists on the host.
    interpreter: Option<PathBuf>,
}

impl HostCommand {
    /// Looks `command` up on the host.
    pub(super) fn find(command: &OsStr, cwd: Option<&Path>) -> Self {
        let mut found = Self::default();
        let all = candidates(command);
        let regular = |file: &&PathBuf| fs::metadata(file).is_ok_and(|meta| meta.is_file());
        let Some(file) = all
            .iter()
            .filter(regular)
            .find(|file| executable(file))
            .or_else(|| all.iter().find(regular))
        else {
            return found;
        };
        let Some(mut file) = cwd
            .map(|cwd| cwd.join(file))
            .or_else(|| file.is_absolute().then(|| file.clone()))
        else {
            return found;
        };
        for _ in 0..40 {
            let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
                break;
            };
            let Ok(directory) = trace_path(directory, &mut found.links) else {
                break;
            };
            let place = directory.join(name);
            let target = fs::read_link(&place);
            found.files.push(place.clone());
            let Ok(target) = target else { break };
            file = directory.join(&target);
            found.links.push((place, target));
        }
        found.interpreter = found
            .files
            .last()
            .and_then(|file| interpreter(file))
            .filter(|file| file.exists());
        found
    }

    /// What would show the file that is missing inside, as a sentence.
    fn hint(&self, missing: &Path, on_host: Option<&PathBuf>) -> String {
        match on_host.and_then(|file| file.parent()) {
            Some(directory) => format!(
                "; it exists on the host: --ro-bind {} would show it",
                directory.display()
            ),
            None if missing.as_os_str().as_bytes().contains(&b'/') => {
                "; the host has none either: check its name".to_owned()
            }
            None => "; no directory of PATH has it: check its name, or give its path".to_owned(),
        }
    }

    /// Resolves `command` where this process is: inside the world, with the program's own identity.
    pub(super) fn resolve(&self, command: &OsStr) -> Resolved {
        let shown = Path::new(command);
        let mut denied = None;
        for file in candidates(command) {
            let meta = match fs::metadata(&file) {
                Ok(meta) => meta,
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    denied.get_or_insert_with(|| format!("{}: permission denied", file.display()));
                    continue;
                }
                Err(_) => continue,
            };
            if meta.is_dir() {
                denied.get_or_insert_with(|| format!("{}: is a directory", file.display()));
            } else if !executable(&file) {
                let mend = if meta.permissions().mode() & 0o111 == 0 {
                    ": chmod +x it, or run it by its interpreter"
                } else {
                    ""
                };
                denied
                    .get_or_insert_with(|| format!("{}: permission denied{mend}", file.display()));
            } else if let Some(missing) =
                interpreter(&file).filter(|interpreter| !interpreter.exists())
            {
                let hint = self.hint(&missing, self.interpreter.as_ref());
                return Resolved::NotFound(format!(
                    "{}: its interpreter {} was not found inside{hint}",
                    file.display(),
                    missing.display()
                ));
            } else {
                return Resolved::Found(file);
            }
        }
        match denied {
            Some(message) => Resolved::NotExecutable(format!("cannot execute {message}")),
            None => Resolved::NotFound(format!(
                "{}: command not found inside{}",
                shown.display(),
                self.hint(shown, self.files.last())
            )),
        }
    }
}
