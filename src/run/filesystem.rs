//! File systems that `--mount` and `--tmpfs` ask for: which can be mounted, with what options, and where their layers lie.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, mkdirat};

use super::launch::LaunchError;
use super::lookup::trace_path;
use super::options::{Entry, Mount};
use super::view::Caller;
use crate::sys::mount::{self, Setting, Walk, attr};

/// What every user may mount in a namespace of his own.
const OWN: [&str; 5] = ["tmpfs", "ramfs", "devpts", "mqueue", "overlay"];

/// Kinds that are no file systems of a device, but have flags and places of their own.
const OTHERWISE: [&str; 3] = ["bind", "proc", "sysfs"];

/// The mount as it stands on the command line.
pub(super) fn flag(mount: &Mount) -> String {
    let target = mount.target.display();
    let options = mount.options.join(",");
    let colon = if options.is_empty() { "" } else { ":" };
    if mount.kind == "tmpfs" && mount.device == "none" {
        return format!("--tmpfs {target}{colon}{options}");
    }
    let device = mount.device.to_string_lossy();
    format!("--mount {}:{device}:{target}{colon}{options}", mount.kind)
}

/// A file system to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filesystem {
    pub(super) kind: String,
    flag: String,
    settings: Vec<Setting>,
    pub(super) read_only: bool,
    noexec: bool,
    lower: Vec<PathBuf>,
    /// An overlay's upper and work directories, where changes are to be kept.
    kept: Option<(PathBuf, PathBuf)>,
    /// Which entry it is, where the mount was made before the host was left.
    opened: Option<usize>,
}

/// A file system of a device, mounted before the host was left: only there root may.
#[derive(Debug)]
pub(super) struct Opened {
    number: usize,
    mount: OwnedFd,
}

impl Filesystem {
    /// Reads entry `number`.
    pub(super) fn plan(mount: &Mount, number: usize, caller: &Caller) -> Result<Self, LaunchError> {
        let mut planned = Self {
            kind: mount.kind.clone(),
            flag: flag(mount),
            settings: Vec::new(),
            read_only: false,
            noexec: false,
            lower: Vec::new(),
            kept: None,
            opened: (!OWN.contains(&mount.kind.as_str())).then_some(number),
        };
        let (mut upper, mut work) = (None, None);
        for option in &mount.options {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (option.as_str(), None),
            };
            let overlay = mount.kind == "overlay";
            let mut layer = |path: &str| planned.layer(path, caller);
            match (key, value) {
                ("ro", None) => planned.read_only = true,
                ("rw", None) => planned.read_only = false,
                ("noexec", None) => planned.noexec = true,
                ("exec", None) => planned.noexec = false,
                // They hold for all of a run.
                ("nosuid" | "nodev" | "defaults", None) => {}
                ("suid" | "dev", None) => {
                    return Err(planned.refuse("no set-id bit and no device works on a run's own mounts: leave that option out"));
                }
                ("lowerdir" | "lower", Some(paths)) if overlay => {
                    let lower: Result<Vec<_>, _> = paths.split(':').map(&mut layer).collect();
                    planned.lower.extend(lower?);
                }
                ("upperdir" | "upper", Some(path)) if overlay => upper = Some(layer(path)?),
                ("workdir" | "work", Some(path)) if overlay => work = Some(layer(path)?),
                _ if overlay => {
                    return Err(planned.refuse(&format!(
                        "an overlay has no option {option:?} here: lowerdir=, upperdir=, workdir=, ro, noexec"
                    )));
                }
                _ => planned
                    .settings
                    .push((key.to_owned(), value.map(str::to_owned))),
            }
        }
        if mount.kind == "overlay" {
            if planned.lower.is_empty() {
                return Err(planned.refuse("an overlay needs what lies below: add lowerdir=DIR"));
            }
            planned.kept = match (upper, work) {
                (Some(upper), Some(work)) => Some((upper, work)),
                (None, None) => None,
                _ => {
                    return Err(planned.refuse(
                        "an overlay needs both upperdir= and workdir=, two directories of one file system; without both its changes are thrown away",
                    ));
                }
            };
        }
        Ok(planned)
    }

    fn refuse(&self, why: &str) -> LaunchError {
        LaunchError::said(format!("{}: {why}", self.flag))
    }

    fn layer(&self, path: &str, caller: &Caller) -> Result<PathBuf, LaunchError> {
        let absolute = caller.cwd.as_deref().unwrap_or(Path::new("/")).join(path);
        let place = trace_path(&absolute, &mut Vec::new()).map_err(|error| {
            LaunchError::new(format!("{}: {path}", self.flag), error)
                .mend("name a directory that exists on the host")
        })?;
        if place.starts_with("/proc") {
            return Err(self.refuse("/proc is always the run's own: name another directory"));
        }
        if !place.is_dir() {
            return Err(self.refuse(&format!("{path} is no directory: name one")));
        }
        Ok(place)
    }

    /// The directories of the host that show in it, the highest first.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Path> {
        let upper = self.kept.iter().map(|(upper, _)| upper);
        upper.chain(&self.lower).map(PathBuf::as_path)
    }

    /// Whether nothing outside keeps what is written to it, so that mount points can be made in it.
    pub(super) fn is_own(&self) -> bool {
        match self.kind.as_str() {
            "tmpfs" | "ramfs" => true,
            "overlay" => self.kept.is_none(),
            _ => false,
        }
    }

    /// Whether it is a file system of the host's that the run may write to.
    pub(super) fn is_written_outside(&self) -> bool {
        self.opened.is_some() && !self.read_only
    }

    /// Makes the mount, detached; `own` is a directory of the run's, for what an overlay needs.
    pub(super) fn mount(
        &self,
        host: &OwnedFd,
        base: BorrowedFd<'_>,
        own: &Path,
        opened: &[Opened],
    ) -> Result<OwnedFd, LaunchError> {
        if let Some(number) = self.opened {
            let found = opened.iter().find(|opened| opened.number == number);
            return found
                .and_then(|opened| opened.mount.try_clone().ok())
                .ok_or_else(|| self.refuse("it was not mounted"));
        }
        let mut settings = self.settings.clone();
        let mut layers = Vec::new();
        if self.kind == "overlay" {
            layers = self
                .overlay(host, base, own, &mut settings)
                .map_err(|error| {
                    LaunchError::new(&self.flag, error)
                        .mend("its layers must be directories that stay in their places")
                })?;
        }
        settings.push(("source".to_owned(), Some("cage".to_owned())));
        let mounted = mount::configured_filesystem(&self.kind, &settings, self.attributes(false));
        drop(layers);
        mounted.map_err(|refusal| {
            let mend = match self.kind.as_str() {
                "overlay" => "upperdir and workdir must be writable, empty of other overlays' work, and on one file system",
                _ => "check the options: size=10m, mode=0755, nr_inodes=1000 for a tmpfs",
            };
            refused(&self.flag, &refusal, mend)
        })
    }

    fn attributes(&self, now: bool) -> u64 {
        let noexec = if self.noexec { attr::NOEXEC } else { 0 };
        let read_only = if self.read_only && now {
            attr::RDONLY
        } else {
            0
        };
        // Terminals are devices, and a devpts holds no others.
        let nodev = if self.kind == "devpts" {
            0
        } else {
            attr::NODEV
        };
        attr::NOSUID | nodev | noexec | read_only
    }

    /// Names an overlay's layers by descriptors, which the settings refer to.
    fn overlay(
        &self,
        host: &OwnedFd,
        base: BorrowedFd<'_>,
        own: &Path,
        settings: &mut Vec<Setting>,
    ) -> io::Result<Vec<OwnedFd>> {
        let mut held = Vec::new();
        let mut name = |layer: OwnedFd| {
            let name = format!("/proc/self/fd/{}", layer.as_raw_fd());
            held.push(layer);
            name
        };
        let find = |path: &Path| mount::resolve(host.as_fd(), path, Walk::Canonical);
        let lower: io::Result<Vec<String>> = self
            .lower
            .iter()
            .map(|path| Ok(name(find(path)?)))
            .collect();
        let (upper, work) = match &self.kept {
            Some((upper, work)) => (find(upper)?, find(work)?),
            None => {
                let make = |part: &str, mode: u32| {
                    let place = own.join(part);
                    mkdirat(base, &place, Mode::from_bits_truncate(mode))?;
                    mount::resolve(base, &place, Walk::Canonical)
                };
                mkdirat(base, own, Mode::from_bits_truncate(0o755))?;
                (make("upper", 0o755)?, make("work", 0o755)?)
            }
        };
        let mut set = |key: &str, value: String| settings.push((key.to_owned(), Some(value)));
        set("lowerdir", lower?.join(":"));
        set("upperdir", name(upper));
        set("workdir", name(work));
        settings.push(("userxattr".to_owned(), None));
        Ok(held)
    }
}

fn refused(flag: &str, refusal: &mount::Refusal, mend: &'static str) -> LaunchError {
    let said = if refusal.said.is_empty() {
        String::new()
    } else {
        format!(": {}", refusal.said)
    };
    let error = io::Error::from_raw_os_error(refusal.error.raw_os_error().unwrap_or(libc::EIO));
    LaunchError::new(format!("{flag}{said}"), error).mend(mend)
}

/// Mounts the file systems of devices, detached. The caller has not left the host yet.
pub(super) fn open_devices(entries: &[Entry], root: bool) -> Result<Vec<Opened>, LaunchError> {
    let mut opened = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let Entry::Mount(mount) = entry else { continue };
        let kind = mount.kind.as_str();
        if OWN.contains(&kind) || OTHERWISE.contains(&kind) {
            continue;
        }
        let flag = flag(mount);
        if !root {
            return Err(LaunchError::said(format!(
                "{flag}: only root can mount {kind}: mount it first and --bind it, or take one of {}, proc, sysfs, bind",
                OWN.join(", ")
            )));
        }
        let nobody = Caller {
            uid: 0,
            root,
            cwd: None,
            home: None,
        };
        let planned = Filesystem::plan(mount, number, &nobody)?;
        let device = std::path::absolute(&mount.device)
            .map_err(|error| LaunchError::new(&flag, error).mend("name the device by its path"))?;
        let mut settings = planned.settings.clone();
        if planned.read_only {
            settings.push(("ro".to_owned(), None));
        }
        settings.push((
            "source".to_owned(),
            Some(device.to_string_lossy().into_owned()),
        ));
        let made =
            mount::configured_filesystem(kind, &settings, planned.attributes(true)).map_err(|refusal| {
                refused(&flag, &refusal, "the second field is the device that has the file system; a file that holds one needs a loop device (losetup)")
            })?;
        opened.push(Opened {
            number,
            mount: made,
        });
    }
    Ok(opened)
}
