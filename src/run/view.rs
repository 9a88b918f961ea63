//! What a run sees of the host: a list of places and what covers each, decided by looking at the host. Nothing is mounted here.
//!
//! Every place keeps its host path, so a later, deeper entry always finds its mount point in the one that covers it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::command::HostCommand;
use super::filesystem::Filesystem;
use super::launch::LaunchError;
use super::lookup::trace_path;
use super::mountinfo;
use super::options::{Net, Options};

/// What covers a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// An empty directory of the run's own.
    Private { mode: u32 },
    /// A file or directory of the host.
    Host(Shown),
    /// An empty file or directory that nobody can change.
    Mask { directory: bool },
    /// A file of the run's own that nobody can change.
    Text(Vec<u8>),
    /// A symlink.
    Link { target: PathBuf },
    /// The minimal `/dev`.
    Devices,
    /// An unchangeable directory whose entries are other covers.
    Frame,
    /// The kernel's `/sys`, read-only.
    Sys { own_network: bool },
    /// A file system that was asked for.
    Mounted(Filesystem),
}

/// How the host's file or directory shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Where the host has it; canonical.
    pub(super) source: PathBuf,
    pub(super) writable: bool,
    pub(super) noexec: bool,
    pub(super) directory: bool,
}

impl Shown {
    /// The host's `source`, to be read.
    pub(super) fn read_only(source: impl Into<PathBuf>, directory: bool) -> Self {
        Self {
            source: source.into(),
            writable: false,
            noexec: false,
            directory,
        }
    }
}

impl Cover {
    fn read_only(source: impl Into<PathBuf>, directory: bool) -> Self {
        Self::Host(Shown::read_only(source, directory))
    }

    /// Whether it lies over a directory. A symlink is none.
    pub(super) fn is_directory(&self) -> bool {
        match self {
            Self::Host(shown) => shown.directory,
            Self::Mask { directory } => *directory,
            Self::Link { .. } | Self::Text(_) => false,
            _ => true,
        }
    }

    /// Whether a mount point in it is made, not found.
    pub(super) fn is_own(&self) -> bool {
        match self {
            Self::Private { .. } | Self::Devices | Self::Frame => true,
            Self::Mounted(filesystem) => filesystem.is_own(),
            _ => false,
        }
    }
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

/// A place that a flag names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// The flag with its value, as messages show it.
    pub(super) flag: String,
    /// Whether it shows the host's file or directory in its own place.
    pub(super) own_place: bool,
}

/// All covers of a run, parents before children.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) covers: BTreeMap<PathBuf, Cover>,
    /// Files of the supervisor's own that are covered wherever they show.
    pub(super) shadows: Vec<PathBuf>,
    /// Whether a fresh `/proc` is mounted.
    pub(super) proc: bool,
    /// Whether the root is another directory than the host's.
    pub(super) other_root: bool,
    pub(super) private_roots: HashSet<PathBuf>,
    /// What flags name.
    pub(super) explicit: BTreeMap<PathBuf, Named>,
    /// Places that every world has, whatever its root has.
    pub(super) required: BTreeSet<PathBuf>,
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

/// Names in a shown directory that stay hidden.
fn is_secret(name: &std::ffi::OsStr) -> bool {
    matches!(
        name.to_str(),
        Some(".ssh" | ".gnupg" | ".aws" | ".config" | ".docker" | ".kube")
    ) || name.as_encoded_bytes().starts_with(b"credentials")
}

impl View {
    /// Whether `/sys` shows: the network of who mounts it.
    pub(super) fn shows_network(&self) -> bool {
        let mut covers = self.covers.values();
        covers.any(|cover| matches!(cover, Cover::Sys { .. }))
    }

    /// Decides what the run of `options` sees.
    pub(super) fn new(
        options: &Options,
        caller: &Caller,
        command: &HostCommand,
    ) -> Result<Self, LaunchError> {
        let mut view = Self {
            proc: !options.no_proc,
            ..Self::default()
        };
        let mut links = Vec::new();
        view.choose_root(options, caller)?;
        view.cover_system(options);
        if view.other_root {
            view.cover_private_of_other_root();
        } else {
            view.cover_private(caller, &mut links);
        }
        if options.no_devices {
            view.covers.retain(|place, _| !place.starts_with("/dev"));
            view.require("/dev", Cover::Frame);
        }
        view.add_entries(options, caller, &mut links)?;
        if !view.other_root {
            if let Some(cwd) = &caller.cwd {
                view.show_unless_root_of_private(cwd);
            }
            if options.net == Net::Host {
                view.show_resolver(&mut links);
            }
            for file in &command.files {
                view.show_command(file);
            }
            links.extend(command.links.iter().cloned());
        }
        if !view.other_root {
            view.name_in_hosts(options.hostname());
        }
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
        view.hide(&options.hide, caller)?;
        for own in [&options.output, &options.log, &options.report]
            .into_iter()
            .flatten()
        {
            view.shadow(own)?;
        }
        view.make_points()?;
        Ok(view)
    }

    /// The entry that covers `path`: itself or the nearest one above.
    pub(super) fn nearest(&self, path: &Path) -> Option<(&Path, &Cover)> {
        path.ancestors()
            .find_map(|place| self.covers.get_key_value(place))
            .map(|(place, cover)| (place.as_path(), cover))
    }

    /// Whether nothing of the host shows at `path`.
    pub(super) fn hidden(&self, path: &Path) -> bool {
        !matches!(
            self.nearest(path),
            None | Some((_, Cover::Host(_) | Cover::Link { .. }))
        )
    }

    /// A place that the world has even where its root has none.
    fn require(&mut self, place: impl Into<PathBuf>, cover: Cover) {
        let place = place.into();
        self.required.insert(place.clone());
        self.covers.insert(place, cover);
    }

    fn cover_system(&mut self, options: &Options) {
        if self.other_root {
            self.require("/dev", Cover::Devices);
            self.require("/dev/shm", Cover::Private { mode: 0o1777 });
        } else if Path::new("/dev").is_dir() {
            self.covers.insert("/dev".into(), Cover::Devices);
        }
        if self.other_root || !self.proc {
            // What the root has there is nobody's business: a fresh one is mounted over this, or none.
            self.require("/proc", Cover::Frame);
        }
        if options.sysfs {
            self.show_sys(options.net != Net::Host);
        } else if Path::new("/sys").is_dir() && !self.other_root {
            self.covers.insert("/sys".into(), Cover::Frame);
            for shown in SYS_SHOWN.iter().filter(|place| Path::new(place).is_dir()) {
                self.covers
                    .insert(shown.into(), Cover::read_only(*shown, true));
            }
        }
    }

    /// The whole of `/sys`.
    pub(super) fn show_sys(&mut self, own_network: bool) {
        self.covers.retain(|place, _| !place.starts_with("/sys"));
        self.require("/sys", Cover::Sys { own_network });
    }

    fn cover_private_of_other_root(&mut self) {
        for (place, mode) in [
            ("/tmp", 0o1777),
            ("/var/tmp", 0o1777),
            ("/run", 0o755),
            ("/var/run", 0o755),
        ] {
            if let Ok(place) = self.place_inside(Path::new(place))
                && self
                    .origin(&place)
                    .is_some_and(|source| fs::symlink_metadata(source).is_ok_and(|m| m.is_dir()))
            {
                self.private_roots.insert(place.clone());
                self.covers.insert(place, Cover::Private { mode });
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

    /// Whether `place` lies in what is private and empty in the host's stead.
    fn is_in_private(&self, place: &Path) -> bool {
        match self.nearest(place) {
            Some((_, Cover::Private { .. })) => true,
            Some((_, Cover::Mounted(filesystem))) => filesystem.is_own(),
            _ => false,
        }
    }

    /// What names servers on the host's network: on many systems a link to a file in /run.
    fn show_resolver(&mut self, links: &mut Vec<(PathBuf, PathBuf)>) {
        if let Ok(file) = trace_path(Path::new("/etc/resolv.conf"), links)
            && file.is_file()
            && self.hidden(&file)
        {
            self.covers
                .insert(file.clone(), Cover::read_only(file, false));
        }
    }

    fn show_unless_root_of_private(&mut self, place: &Path) {
        if self.hidden(place) && !self.private_roots.contains(place) && self.is_in_private(place) {
            self.covers
                .insert(place.to_owned(), Cover::read_only(place, true));
        }
    }

    /// Shows one file that stands for the command, with its directory as far as that is harmless.
    fn show_command(&mut self, file: &Path) {
        if !self.hidden(file) {
            return;
        }
        if !self.is_in_private(file) {
            return;
        }
        let Some((root, _)) = self.nearest(file) else {
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
            self.covers
                .insert(file.to_owned(), Cover::read_only(file, false));
            return;
        }
        for shown in self.command_directories(directory) {
            self.show_unless_root_of_private(&shown);
            self.hide_secrets(&shown);
        }
        self.hide_secrets(directory);
        if self.hidden(file) {
            self.covers
                .insert(file.to_owned(), Cover::read_only(file, false));
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
            if !kind.is_symlink() && !self.explicit.contains_key(&place) && !self.hidden(&place) {
                self.covers.insert(
                    place,
                    Cover::Mask {
                        directory: kind.is_dir(),
                    },
                );
            }
        }
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
        view.covers
            .insert("/home/u/src".into(), Cover::read_only("/home/u/src", true));
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
