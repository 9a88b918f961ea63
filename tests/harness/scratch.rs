//! Users, scratch directories and what a run left in one. A scratch is removed when it is dropped.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::process::while_nothing_starts;

/// Contents up to this size are compared and shown as they are; longer ones by length and hash.
const SHOWN: usize = 16 << 10;

/// Who runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// The user who runs the tests.
    Own,
    /// A user id that no account has, without groups: only root can become it.
    Ordinary,
    /// The ordinary user whose account every machine has, for programs that ask for their user's name: likewise.
    Nobody,
}

impl User {
    /// Everyone whom this process can run programs as.
    pub(crate) fn all() -> &'static [Self] {
        if running_as_root() && !super::quick() {
            &[Self::Own, Self::Ordinary]
        } else {
            &[Self::Own]
        }
    }

    /// One user who has an account and is not root.
    pub(crate) fn with_account() -> &'static [Self] {
        if running_as_root() {
            &[Self::Nobody]
        } else {
            &[Self::Own]
        }
    }

    /// Makes `command` run as this user; std drops the supplementary groups along with root's id.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Some((user, group)) = self.ids() {
            command.gid(group).uid(user);
        }
    }

    fn give(self, path: &Path) {
        if let Some((user, group)) = self.ids() {
            lchown(path, Some(user), Some(group))
                .unwrap_or_else(|e| panic!("chown {}: {e}", path.display()));
        }
    }

    /// The user and the group to become, unless they are the tests' own.
    fn ids(self) -> Option<(u32, u32)> {
        match self {
            Self::Own => None,
            Self::Ordinary => Some((ordinary_id(), ordinary_id())),
            Self::Nobody => Some(nobody()),
        }
    }
}

/// The ids of the account that is called nobody.
fn nobody() -> (u32, u32) {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = text.lines().find_map(|line| {
        let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.unwrap_or_else(|| panic!("/etc/passwd has no nobody"))
}

/// Whether the tests run as root (the owner of /proc/self is the effective user).
pub(crate) fn running_as_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// A number that neither a user nor a group of this machine has.
pub(crate) fn ordinary_id() -> u32 {
    static ID: OnceLock<u32> = OnceLock::new();
    *ID.get_or_init(|| {
        let mut taken = Vec::new();
        for file in ["/etc/passwd", "/etc/group"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            taken.extend(
                text.lines()
                    .filter_map(|l| l.split(':').nth(2)?.parse::<u32>().ok()),
            );
        }
        (61_000..65_000)
            .find(|id| !taken.contains(id))
            .unwrap_or_else(|| panic!("no free id between 61000 and 65000"))
    })
}

/// A fresh directory below /tmp that everyone can traverse and that `user` owns.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    user: User,
    /// What is run in it stays installed as long as it is there.
    _installed: Option<Arc<Installed>>,
}

impl Scratch {
    pub(crate) fn new(user: User) -> Self {
        Self::holding(user, Some(Installed::get()))
    }

    fn holding(user: User, installed: Option<Arc<Installed>>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/tmp/cage-trace-test.{}.{number}", process::id()));
        let scratch = Self {
            path,
            user,
            _installed: installed,
        };
        scratch.make();
        scratch
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn user(&self) -> User {
        self.user
    }

    /// Empties the directory: the same path, a new directory.
    pub(crate) fn reset(&self) {
        remove(&self.path);
        self.make();
    }

    /// Writes a file into the directory, its parents too, all owned by the user.
    pub(crate) fn write(&self, name: &str, content: &[u8], mode: u32) {
        let path = self.path.join(name);
        let mut parent = self.path.clone();
        let folders = Path::new(name).parent().unwrap_or_else(|| Path::new(""));
        for folder in folders {
            parent.push(folder);
            if !parent.exists() {
                fs::create_dir(&parent)
                    .unwrap_or_else(|e| panic!("mkdir {}: {e}", parent.display()));
                self.user.give(&parent);
            }
        }
        while_nothing_starts(|| fs::write(&path, content))
            .unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .unwrap_or_else(|e| panic!("chmod {}: {e}", path.display()));
        self.user.give(&path);
    }

    /// What lies in the directory, sorted by name, without what `ignored` names (a file, or a folder with all in it).
    pub(crate) fn files(&self, ignored: &[String]) -> Vec<Produced> {
        let mut found = Vec::new();
        list(&self.path, "", ignored, &mut found);
        found.sort();
        found
    }

    fn make(&self) {
        DirBuilder::new()
            .mode(0o755)
            .create(&self.path)
            .unwrap_or_else(|e| panic!("mkdir {}: {e}", self.path.display()));
        // The umask of whoever runs the tests must not decide.
        fs::set_permissions(&self.path, Permissions::from_mode(0o755))
            .unwrap_or_else(|e| panic!("chmod {}: {e}", self.path.display()));
        self.user.give(&self.path);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a tree, unsearchable directories included.
fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_err() {
        open_up(path);
        if let Err(error) = fs::remove_dir_all(path) {
            eprintln!("cannot remove {}: {error}", path.display());
        }
    }
}

fn open_up(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        // A directory that refuses its new mode shows up as a failure of the removal.
        drop(fs::set_permissions(path, Permissions::from_mode(0o700)));
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            open_up(&entry.path());
        }
    }
}

/// One file that a run left behind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Produced {
    name: String,
    kind: char,
    mode: u32,
    content: Vec<u8>,
}

impl fmt::Display for Produced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            kind,
            mode,
            content,
        } = self;
        write!(f, "{kind} {mode:04o} {name}")?;
        if !content.is_empty() {
            write!(f, " {:?}", String::from_utf8_lossy(content))?;
        }
        Ok(())
    }
}

fn list(directory: &Path, prefix: &str, ignored: &[String], found: &mut Vec<Produced>) {
    let entries = fs::read_dir(directory)
        .unwrap_or_else(|e| panic!("read the directory {}: {e}", directory.display()));
    for entry in entries.flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if ignored.contains(&name) {
            continue;
        }
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let kind = meta.file_type();
        let (letter, content) = if kind.is_dir() {
            ('d', Vec::new())
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap_or_default();
            ('l', target.to_string_lossy().into_owned().into_bytes())
        } else if kind.is_fifo() {
            ('p', Vec::new())
        } else if kind.is_socket() {
            ('s', Vec::new())
        } else if kind.is_file() {
            ('f', shown(&path))
        } else {
            ('?', Vec::new())
        };
        found.push(Produced {
            name: name.clone(),
            kind: letter,
            mode: meta.mode() & 0o777,
            content,
        });
        // The tests run as root or as the owner, so an unreadable directory is the owner's own doing: listed, not entered.
        if kind.is_dir() && fs::read_dir(&path).is_ok() {
            list(&path, &format!("{name}/"), ignored, found);
        }
    }
}

fn shown(path: &Path) -> Vec<u8> {
    match fs::read(path) {
        Ok(content) if content.len() <= SHOWN => content,
        Ok(content) => {
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            format!("{} bytes, hash {:016x}", content.len(), hasher.finish()).into_bytes()
        }
        Err(error) => format!("unreadable: {error}").into_bytes(),
    }
}

/// A directory that every user can read, with a copy of the cage-trace under test in it. It lives as long as a test
/// holds it, so that nothing is left behind when the last one ends.
#[derive(Debug)]
pub(crate) struct Installed {
    scratch: Scratch,
}

impl Installed {
    pub(crate) fn get() -> Arc<Self> {
        static CURRENT: Mutex<Weak<Installed>> = Mutex::new(Weak::new());
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(installed) = current.upgrade() {
            return installed;
        }
        let installed = Arc::new(Self {
            scratch: Scratch::holding(User::Own, None),
        });
        installed.add(Path::new(env!("CARGO_BIN_EXE_cage-trace")));
        *current = Arc::downgrade(&installed);
        installed
    }

    pub(crate) fn directory(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn cage_trace(&self) -> PathBuf {
        self.scratch.path().join("cage-trace")
    }

    /// Copies a program next to cage-trace, once, and says where it is now.
    pub(crate) fn add(&self, program: &Path) -> PathBuf {
        let name = program
            .file_name()
            .unwrap_or_else(|| panic!("{} has no file name", program.display()));
        let target = self.scratch.path().join(name);
        if !target.exists() {
            while_nothing_starts(|| fs::copy(program, &target))
                .unwrap_or_else(|e| panic!("copy {}: {e}", program.display()));
            fs::set_permissions(&target, Permissions::from_mode(0o755))
                .unwrap_or_else(|e| panic!("chmod {}: {e}", target.display()));
        }
        target
    }
}
