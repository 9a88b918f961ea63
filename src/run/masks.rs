//! What of the host is hidden wherever it shows: secrets that a mode does not keep from root, kernel file systems, the
//! supervisor's own files.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::launch::LaunchError;
use super::mountinfo::{self, Mount};
use super::view::{Cover, View};

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

impl View {
    /// What a file's mode does not hide from a run whose owner is root.
    pub(super) fn mask_for_root(&mut self) {
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
            self.mask(&place, true);
        }
    }

    /// Hides the host's `file` wherever it shows, unless a flag names it or something in it.
    fn mask(&mut self, file: &Path, in_its_own_place: bool) {
        let directory = file.is_dir();
        for place in self.places_of(file) {
            let named = self.explicit.keys().any(|named| named.starts_with(&place));
            if !named && (in_its_own_place || place != file) {
                self.covers.insert(place, Cover::Mask { directory });
            }
        }
    }

    pub(super) fn mask_kernel_filesystems(&mut self) {
        let mounts = mountinfo::read_lossy(Path::new("/proc/self/mountinfo"));
        for mount in mounts.lines().filter_map(Mount::parse) {
            // Where everybody has them they have covers of their own, but not where a flag shows them elsewhere.
            let usual = ["/proc", "/sys", "/dev"]
                .iter()
                .any(|place| mount.place.starts_with(place));
            if KERNEL_FILESYSTEMS.contains(&mount.filesystem) {
                self.mask(&mount.place, !usual);
            }
        }
    }

    /// Covers a file that the supervisor writes, wherever it shows inside.
    pub(super) fn shadow(&mut self, file: &Path) -> Result<(), LaunchError> {
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
            for place in self.places_of(&place) {
                self.covers
                    .insert(place.clone(), Cover::Mask { directory: false });
                self.shadows.push(place);
            }
        }
        Ok(())
    }
}
