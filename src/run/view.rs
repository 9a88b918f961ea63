//! What a run sees of the host: a list of places and what covers each, decided by looking at the host. Nothing is mounted here.
//!
//! Every place keeps its host path, so a later, deeper entry always finds its mount point in the one that covers it.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::command::HostCommand;
use super::launch::LaunchError;
use super::mountinfo::{self, Mount};
use super::options::{Entry, Options};

/// What covers a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// An empty directory of the run's own.
    Private { mode: u32 },
    /// The host's file or directory of the same path.
    Host { writable: bool, directory: bool },
    /// An empty file or directory that nobody can change.
    Mask { directory: bool },
    /// The symlink that the host has there.
    Link { target: PathBuf },
    /// The minimal `/dev`.
    Devices,
    /// An unchangeable empty directory whose entries are other covers (`/sys`).
    Frame,
}

/// Who asks for a run and from where.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) uid: u32,
    /// Whether all ids are mapped: a run of root.
    pub(super) root: bool,
    pub(super) cwd: Option<PathBuf>,
    pub(super) home: Option<PathBuf>,
}

/// All covers of a run, parents before children.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) covers: BTreeMap<PathBuf, Cover>,
    /// Files of the supervisor's own that are covered wherever they show.
    pub(super) shadows: Vec<PathBuf>,
    private_roots: HashSet<PathBuf>,
    explicit: HashSet<PathBuf>,
}

/// Directories that are empty inside, with their modes.
const PRIVATE: [(&str, u32); 9] = [
    ("/tmp", 0o1777),
    ("/var/tmp", 0o1777),
    ("/run", 0o755),
    ("/var/run", 0o755),
    ("/dev/shm", 0o1777),
    ("/mnt", 0o755),
    ("/media", 0o755),
    ("/home", 0o755),
    ("/root", 0o700),
];

/// What is left of `/sys`.
const SYS_SHOWN: [&str; 3] = [
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
];

/// A home that is one of these, or above one, is no home: to hide it would hide the system.
const SYSTEM: [&str; 13] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc", "/sys", "/var/lib", "/opt",
    "/boot", "/nix",
];

/// Kernel file systems that tell of the host; where one is mounted in an unusual place, it is masked.
const KERNEL_FILESYSTEMS: [&str; 19] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devtmpfs",
    "devpts",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "bpf",
    "efivarfs",
    "mqueue",
    "pstore",
    "binfmt_misc",
    "rpc_pipefs",
    "nfsd",
    "selinuxfs",
    "fusectl",
];

/// Names in a shown directory that stay hidden.
fn is_secret(name: &std::ffi::OsStr) -> bool {
    matches!(
        name.to_str(),
        Some(".ssh" | ".gnupg" | ".aws" | ".config" | ".docker" | ".kube")
    ) || name.as_encoded_bytes().starts_with(b"credentials")
}

/// Resolves `path` as the kernel would, reporting each symlink met: where it is (canonical) and what it says.
pub(super) fn trace_path(path: &Path, links: &mut Vec<(PathBuf, PathBuf)>) -> io::Result<PathBuf> {
    let mut todo: Vec<PathBuf> = path
        .components()
        .rev()
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect();
    let mut done = PathBuf::from("/");
    let mut followed = 0;
    while let Some(part) = todo.pop() {
        match part.components().next() {
            Some(Component::RootDir) => done = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                done.pop();
            }
            Some(Component::Normal(name)) => {
                let next = done.join(name);
                if fs::symlink_metadata(&next)?.file_type().is_symlink() {
                    followed += 1;
                    if followed > 40 {
                        return Err(io::Error::from_raw_os_error(libc::ELOOP));
                    }
                    let target = fs::read_link(&next)?;
                    todo.extend(
                        target
                            .components()
                            .rev()
                            .map(|part| PathBuf::from(part.as_os_str())),
                    );
                    links.push((next, target));
                } else {
                    done = next;
                }
            }
            _ => {}
        }
    }
    Ok(done)
}

impl View {
    /// Decides what the run of `options` sees.
    pub(super) fn new(
        options: &Options,
        caller: &Caller,
        command: &HostCommand,
    ) -> Result<Self, LaunchError> {
        let mut view = Self::default();
        let mut links = Vec::new();
        view.cover_system();
        view.cover_private(caller, &mut links);
        view.show_binds(options, caller, &mut links)?;
        if let Some(cwd) = &caller.cwd {
            view.show_unless_root_of_private(cwd);
        }
        for file in &command.files {
            view.show_command(file);
        }
        links.extend(command.links.iter().cloned());
        if caller.root {
            view.mask_for_root();
        }
        view.mask_kernel_filesystems();
        for (place, target) in links {
            // A link is only missing where something private and empty covers its directory.
            if view.hidden(&place) && !view.covers.contains_key(&place) {
                view.covers.insert(place, Cover::Link { target });
            }
        }
        for own in [&options.output, &options.log, &options.report]
            .into_iter()
            .flatten()
        {
            view.shadow(own)?;
        }
        Ok(view)
    }

    /// The entry that covers `path`: itself or the nearest one above.
    pub(super) fn nearest(&self, path: &Path) -> Option<(&Path, &Cover)> {
        path.ancestors()
            .find_map(|place| self.covers.get_key_value(place))
            .map(|(place, cover)| (place.as_path(), cover))
    }

    /// Whether the host's `path` does not show inside.
    pub(super) fn hidden(&self, path: &Path) -> bool {
        !matches!(
            self.nearest(path),
            None | Some((_, Cover::Host { .. } | Cover::Link { .. }))
        )
    }

    fn cover_system(&mut self) {
        if Path::new("/dev").is_dir() {
            self.covers.insert("/dev".into(), Cover::Devices);
        }
        if Path::new("/sys").is_dir() {
            self.covers.insert("/sys".into(), Cover::Frame);
            for shown in SYS_SHOWN.iter().filter(|place| Path::new(place).is_dir()) {
                self.covers.insert(
                    shown.into(),
                    Cover::Host {
                        writable: false,
                        directory: true,
                    },
                );
            }
        }
    }

    fn cover_private(&mut self, caller: &Caller, links: &mut Vec<(PathBuf, PathBuf)>) {
        for (place, mode) in PRIVATE {
            self.cover_private_directory(Path::new(place), mode, links);
        }
        let passwd = mountinfo::read_lossy(Path::new("/etc/passwd"));
        let homes = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            let uid: u32 = fields.next()?.parse().ok()?;
            let home = fields.nth(2)?;
            (uid == 0 || (1000..60000).contains(&uid) || uid == caller.uid)
                .then(|| PathBuf::from(home))
        });
        for home in homes.chain(caller.home.clone()) {
            self.cover_private_directory(&home, 0o700, links);
        }
    }

    fn cover_private_directory(
        &mut self,
        place: &Path,
        mode: u32,
        links: &mut Vec<(PathBuf, PathBuf)>,
    ) {
        if !place.is_absolute() {
            return;
        }
        let Ok(canonical) = trace_path(place, links) else {
            return;
        };
        let hides_the_system = SYSTEM
            .iter()
            .any(|system| Path::new(system).starts_with(&canonical))
            || canonical.starts_with("/proc");
        if hides_the_system || !canonical.is_dir() {
            return;
        }
        self.private_roots.insert(canonical.clone());
        self.covers
            .entry(canonical)
            .or_insert(Cover::Private { mode });
    }

    fn show_binds(
        &mut self,
        options: &Options,
        caller: &Caller,
        links: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<(), LaunchError> {
        for entry in &options.entries {
            let Entry::Bind(bind) = entry else { continue };
            let flag = if bind.writable { "--bind" } else { "--ro-bind" };
            let absolute = caller
                .cwd
                .as_deref()
                .unwrap_or(Path::new("/"))
                .join(&bind.source);
            let place = trace_path(&absolute, links).map_err(|error| {
                LaunchError::new(format!("{flag} {}", bind.source.display()), error)
                    .mend("name a file or directory that exists on the host")
            })?;
            if place.starts_with("/proc") {
                let error = io::Error::from_raw_os_error(libc::EINVAL);
                return Err(
                    LaunchError::new(format!("{flag} {}", bind.source.display()), error)
                        .mend("/proc is always the run's own"),
                );
            }
            // Whoever names a directory means all of it, private places below it too; /dev and /sys must be named themselves.
            let explicit = &self.explicit;
            self.covers.retain(|other, cover| {
                let replaced = *other == place || matches!(cover, Cover::Private { .. });
                !(replaced && other.starts_with(&place)) || explicit.contains(other)
            });
            let directory = place.is_dir();
            self.covers.insert(
                place.clone(),
                Cover::Host {
                    writable: bind.writable,
                    directory,
                },
            );
            self.explicit.insert(place);
        }
        Ok(())
    }

    fn show_unless_root_of_private(&mut self, place: &Path) {
        if self.hidden(place)
            && !self.private_roots.contains(place)
            && matches!(self.nearest(place), Some((_, Cover::Private { .. })))
        {
            self.covers.insert(
                place.to_owned(),
                Cover::Host {
                    writable: false,
                    directory: true,
                },
            );
        }
    }

    /// Shows one file that stands for the command, with its directory as far as that is harmless.
    fn show_command(&mut self, file: &Path) {
        if !self.hidden(file) {
            return;
        }
        let Some((root, Cover::Private { .. })) = self.nearest(file) else {
            return;
        };
        let Some(directory) = file.parent() else {
            return;
        };
        let secret = file.strip_prefix(root).is_ok_and(|below| {
            below
                .parent()
                .is_some_and(|parents| parents.iter().any(is_secret))
        });
        if secret || self.private_roots.contains(directory) {
            self.covers.insert(
                file.to_owned(),
                Cover::Host {
                    writable: false,
                    directory: false,
                },
            );
            return;
        }
        for shown in self.command_directories(directory) {
            self.show_unless_root_of_private(&shown);
            self.hide_secrets(&shown);
        }
        self.hide_secrets(directory);
        if self.hidden(file) {
            self.covers.insert(
                file.to_owned(),
                Cover::Host {
                    writable: false,
                    directory: false,
                },
            );
        }
    }

    /// The directory of a command, or what belongs to it: a tool's `bin` comes with its `lib`.
    fn command_directories(&self, directory: &Path) -> Vec<PathBuf> {
        let plain = vec![directory.to_owned()];
        let (Some(name), Some(parent)) = (directory.file_name(), directory.parent()) else {
            return plain;
        };
        if (name != "bin" && name != "shims") || self.private_roots.contains(parent) {
            return plain;
        }
        let local = parent.file_name().is_some_and(|name| name == ".local")
            && parent
                .parent()
                .is_some_and(|home| self.private_roots.contains(home));
        if !local {
            return vec![parent.to_owned()];
        }
        let mut both = plain;
        both.extend(
            ["bin", "lib"]
                .iter()
                .map(|part| parent.join(part))
                .filter(|part| part.is_dir() && part != directory),
        );
        both
    }

    fn hide_secrets(&mut self, directory: &Path) {
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries
            .flatten()
            .filter(|entry| is_secret(&entry.file_name()))
        {
            let (place, Ok(kind)) = (entry.path(), entry.file_type()) else {
                continue;
            };
            if !kind.is_symlink() && !self.explicit.contains(&place) && !self.hidden(&place) {
                self.covers.insert(
                    place,
                    Cover::Mask {
                        directory: kind.is_dir(),
                    },
                );
            }
        }
    }

    /// What a file's mode does not hide from a run whose owner is root.
    fn mask_for_root(&mut self) {
        let mut places: Vec<PathBuf> = [
            "/etc/ssl/private",
            "/boot",
            "/var/lib/docker",
            "/var/lib/containerd",
        ]
        .iter()
        .map(PathBuf::from)
        .collect();
        let starts = |name: &[u8], stems: &[&[u8]]| stems.iter().any(|stem| name.starts_with(stem));
        for entry in fs::read_dir("/etc").into_iter().flatten().flatten() {
            if starts(
                entry.file_name().as_encoded_bytes(),
                &[b"shadow", b"gshadow", b"sudoers"],
            ) {
                places.push(entry.path());
            }
        }
        for entry in fs::read_dir("/etc/ssh").into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().ends_with(b"_key") {
                places.push(entry.path());
            }
        }
        for place in places {
            // A link's target is what has to be hidden; the link itself tells nothing.
            let Ok(place) = fs::canonicalize(place) else {
                continue;
            };
            self.mask(place);
        }
    }

    fn mask(&mut self, place: PathBuf) {
        if self.explicit.iter().any(|bind| bind.starts_with(&place)) || self.hidden(&place) {
            return;
        }
        let directory = place.is_dir();
        self.covers.insert(place, Cover::Mask { directory });
    }

    fn mask_kernel_filesystems(&mut self) {
        let mounts = mountinfo::read_lossy(Path::new("/proc/self/mountinfo"));
        for mount in mounts.lines().filter_map(Mount::parse) {
            let usual = ["/proc", "/sys", "/dev"]
                .iter()
                .any(|place| mount.place.starts_with(place));
            if !usual && KERNEL_FILESYSTEMS.contains(&mount.filesystem) {
                self.mask(mount.place);
            }
        }
    }

    /// Covers a file that the supervisor writes, wherever it shows inside.
    fn shadow(&mut self, file: &Path) -> Result<(), LaunchError> {
        let Ok(place) = fs::canonicalize(file) else {
            return Ok(());
        };
        let Ok(meta) = fs::metadata(&place) else {
            return Ok(());
        };
        if !meta.is_file() {
            return Ok(());
        }
        if meta.nlink() > 1 {
            let error = io::Error::from_raw_os_error(libc::EMLINK);
            let what = format!("cannot hide {} from the run", file.display());
            return Err(LaunchError::new(what, error)
                .mend("it has a second name, a hard link; remove it or name a new file"));
        }
        // The host may have mounted the same directory twice.
        let table = mountinfo::read_lossy(Path::new("/proc/self/mountinfo"));
        let mounts: Vec<Mount<'_>> = table.lines().filter_map(Mount::parse).collect();
        let same = |other: &PathBuf| {
            fs::metadata(other)
                .is_ok_and(|other| other.dev() == meta.dev() && other.ino() == meta.ino())
        };
        let mut places = mountinfo::other_places(&mounts, &place);
        places.retain(same);
        places.push(place);
        for place in places {
            if !self.hidden(&place) {
                self.covers
                    .insert(place.clone(), Cover::Mask { directory: false });
                self.shadows.push(place);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_cover_decides() {
        let mut view = View::default();
        view.covers
            .insert("/home".into(), Cover::Private { mode: 0o755 });
        view.covers.insert(
            "/home/u/src".into(),
            Cover::Host {
                writable: false,
                directory: true,
            },
        );
        view.covers
            .insert("/home/u/src/secret".into(), Cover::Mask { directory: true });
        assert!(view.hidden(Path::new("/home/u")));
        assert!(!view.hidden(Path::new("/home/u/src/main.c")));
        assert!(view.hidden(Path::new("/home/u/src/secret/key")));
        assert!(!view.hidden(Path::new("/homes")));
    }

    #[test]
    fn secrets_are_known_by_name() {
        for name in [".ssh", ".config", "credentials", "credentials.toml"] {
            assert!(is_secret(name.as_ref()), "{name}");
        }
        for name in ["ssh", ".configure", "credential", "src"] {
            assert!(!is_secret(name.as_ref()), "{name}");
        }
    }
}
