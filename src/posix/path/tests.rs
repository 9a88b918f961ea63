//! The path calls over a cage without a process, each beside the same call made natively in a directory like the cage's.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::abi::Errno;
use crate::posix::bench_cage::{NOWHERE, TestCage, fails};

const CWD: u64 = libc::AT_FDCWD as u64;

/// A directory of the test's own, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("path-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tree with some of everything, and a cage in it.
fn tree(name: &str) -> (Scratch, TestCage) {
    let scratch = Scratch::new(name);
    fs::create_dir(scratch.path("d")).unwrap();
    fs::write(scratch.path("f"), "text").unwrap();
    fs::write(scratch.path("d/g"), "inner").unwrap();
    symlink("f", scratch.path("lf")).unwrap();
    symlink("d", scratch.path("ld")).unwrap();
    symlink("loop", scratch.path("loop")).unwrap();
    symlink("missing", scratch.path("dangling")).unwrap();
    symlink("/proc/self/fd", scratch.path("fds")).unwrap();
    symlink("/proc/self", scratch.path("me")).unwrap();
    let cage = TestCage::at(&scratch.0);
    (scratch, cage)
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn native(result: i64) -> i64 {
    if result == -1 {
        -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap())
    } else {
        result
    }
}

/// openat(2), natively, from a directory; the descriptor is closed, 0 says that it worked.
fn native_open(dir: &Path, name: &str, flags: i32, mode: u32) -> i64 {
    let dir = fs::File::open(dir).unwrap();
    let name = c(name);
    // SAFETY: a test's own call, `name` is NUL-terminated.
    let fd = unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode) };
    if fd < 0 {
        return native(-1);
    }
    // SAFETY: just opened.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    0
}

fn open(cage: &TestCage, name: &str, flags: i32) -> i64 {
    let path = cage.put_str(name);
    cage.call("openat", &[CWD, path, flags as u64, 0o666])
}

#[test]
fn opens_fail_as_linux_fails_them() {
    let (scratch, cage) = tree("open");
    for (name, flags) in [
        ("f", libc::O_RDONLY),
        ("f", libc::O_RDWR | libc::O_TRUNC),
        ("f/", libc::O_RDONLY),
        ("f/x", libc::O_RDONLY),
        ("d", libc::O_RDONLY),
        ("d/", libc::O_RDONLY),
        ("d", libc::O_WRONLY),
        ("d", libc::O_RDONLY | libc::O_CREAT),
        ("d", libc::O_DIRECTORY),
        ("f", libc::O_DIRECTORY),
        ("ld/g", libc::O_RDONLY),
        ("ld", libc::O_NOFOLLOW),
        ("ld/", libc::O_NOFOLLOW),
        ("ld", libc::O_NOFOLLOW | libc::O_DIRECTORY),
        ("lf", libc::O_NOFOLLOW),
        ("lf", libc::O_NOFOLLOW | libc::O_PATH),
        ("loop", libc::O_RDONLY),
        ("loop/x", libc::O_RDONLY),
        ("dangling", libc::O_RDONLY),
        ("dangling", libc::O_RDONLY | libc::O_CREAT | libc::O_EXCL),
        ("f", libc::O_RDONLY | libc::O_CREAT | libc::O_EXCL),
        ("new/", libc::O_RDONLY | libc::O_CREAT),
        ("missing", libc::O_RDONLY),
        ("missing/x", libc::O_RDONLY),
        ("d/../f", libc::O_RDONLY),
        ("d/missing/../../f", libc::O_RDONLY),
        ("", libc::O_RDONLY),
        (".", libc::O_TMPFILE | libc::O_RDONLY),
        ("f", 3),
        ("f", libc::O_RDONLY | 0x4000_0000),
        ("fds/x", libc::O_RDONLY),
        ("fds", libc::O_RDONLY | libc::O_DIRECTORY),
        ("me/missing", libc::O_RDONLY),
        ("/proc/self/missing/x", libc::O_RDONLY),
        ("/proc/self/fd/x", libc::O_RDONLY),
        ("/proc/0/fd", libc::O_RDONLY),
        ("/proc/012/fd", libc::O_RDONLY),
        ("/proc", libc::O_RDONLY),
        ("/proc/self/../self/", libc::O_RDONLY),
        ("/proc/self/comm/", libc::O_RDONLY),
        ("/proc/self/exe", libc::O_RDONLY),
        ("/proc/self/exe", libc::O_RDONLY | libc::O_NOFOLLOW),
        ("/proc/self/cwd/", libc::O_RDONLY),
        ("/dev/null", libc::O_RDWR),
    ] {
        let linux = native_open(&scratch.0, name, flags | libc::O_NONBLOCK, 0o666);
        let ours = open(&cage, name, flags);
        assert_eq!(ours.min(0), linux, "open {name:?} {flags:#o}");
    }
    let long = "x".repeat(5000);
    let linux = native_open(&scratch.0, &long, libc::O_RDONLY, 0);
    assert_eq!(open(&cage, &long, libc::O_RDONLY), linux);
    assert_eq!(cage.call("open", &[NOWHERE, 0, 0]), fails(Errno::EFAULT));
    assert_eq!(
        cage.call("openat", &[77, cage.put_str("f"), 0, 0]),
        fails(Errno::EBADF)
    );
    let f = open(&cage, "f", libc::O_RDONLY).cast_unsigned();
    assert_eq!(
        cage.call("openat", &[f, cage.put_str("f"), 0, 0]),
        fails(Errno::ENOTDIR)
    );
    let absolute = cage.put_str(scratch.path("f"));
    assert!(cage.call("openat", &[77, absolute, 0, 0]) >= 0);
}

#[test]
fn what_is_opened_has_the_flags_that_were_asked_for() {
    let (_scratch, cage) = tree("flags");
    for flags in [
        libc::O_RDONLY,
        libc::O_WRONLY | libc::O_APPEND,
        libc::O_RDWR | libc::O_NONBLOCK,
        libc::O_RDONLY | libc::O_NOATIME,
    ] {
        let fd = open(&cage, "f", flags | libc::O_CLOEXEC);
        let host = crate::guest::Guest::borrow_file(&cage.ram, i32::try_from(fd).unwrap()).unwrap();
        // SAFETY: registers alone.
        let got = unsafe { libc::fcntl(host.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(got & !0o100_000, flags, "{flags:#o}");
        assert!(cage.cloexec(i32::try_from(fd).unwrap()));
    }
}

#[test]
fn modes_are_masked_by_the_cages_umask_and_lose_set_id_bits() {
    let (scratch, cage) = tree("modes");
    let mode = |name: &str| fs::symlink_metadata(scratch.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(cage.call("umask", &[0o027]), 0);
    let new = cage.put_str("new");
    let flags = (libc::O_CREAT | libc::O_RDWR) as u64;
    assert!(cage.call("open", &[new, flags, 0o6777]) >= 0);
    assert_eq!(mode("new"), 0o750);
    assert_eq!(cage.call("mkdir", &[cage.put_str("m"), 0o3777]), 0);
    assert_eq!(mode("m"), 0o1750);
    assert_eq!(
        cage.call(
            "mknod",
            &[cage.put_str("p"), u64::from(libc::S_IFIFO) | 0o4666, 0]
        ),
        0
    );
    assert_eq!(mode("p"), 0o640);
    assert_eq!(cage.call("chmod", &[new, 0o6711]), 0);
    assert_eq!(mode("new"), 0o711);
    assert_eq!(cage.call("fchmodat", &[CWD, new, 0o4600]), 0);
    assert_eq!(mode("new"), 0o600);
    cage.call("umask", &[0]);
    assert_eq!(cage.call("mkdir", &[cage.put_str("open"), 0o777]), 0);
    assert_eq!(mode("open"), 0o777);
    assert_eq!(
        cage.call("mknod", &[cage.put_str("x"), u64::from(libc::S_IFDIR), 0]),
        fails(Errno::EPERM)
    );
}

#[test]
fn a_full_table_leaves_no_new_file() {
    let (scratch, cage) = tree("full");
    cage.thread.cage.set_nofile(1);
    assert_eq!(open(&cage, "f", libc::O_RDONLY), 0);
    let flags = libc::O_CREAT | libc::O_RDWR;
    assert_eq!(open(&cage, "new", flags), fails(Errno::EMFILE));
    assert!(!Path::new(&scratch.path("new")).exists());
}

#[test]
fn names_are_made_and_removed_as_on_linux() {
    let (scratch, cage) = tree("names");
    let call = |name: &str, paths: &[&str]| {
        let args: Vec<u64> = paths.iter().map(|path| cage.put_str(path)).collect();
        cage.call(name, &args)
    };
    let here = c(&scratch.path(""));
    // Two times the same sequence: in the cage, and natively in a copy.
    let other = tree("names-native").0;
    let prefix = other.path("");
    for (name, paths) in [
        ("rmdir", vec!["d"]),
        ("unlink", vec!["d"]),
        ("unlink", vec!["f/"]),
        ("rmdir", vec!["f"]),
        ("rmdir", vec!["ld"]),
        ("rmdir", vec!["ld/"]),
        ("rmdir", vec!["."]),
        ("rmdir", vec!["d/.."]),
        ("unlink", vec!["missing"]),
        ("unlink", vec!["f/x"]),
        ("link", vec!["f", "hard"]),
        ("link", vec!["f", "hard"]),
        ("link", vec!["d", "hard2"]),
        ("link", vec!["lf", "hardlink"]),
        ("link", vec!["missing", "x"]),
        ("symlink", vec!["anything at all", "s"]),
        ("symlink", vec!["", "s2"]),
        ("symlink", vec!["x", "s"]),
        ("rename", vec!["f", "d"]),
        ("rename", vec!["d", "f"]),
        ("rename", vec!["d", "d/below"]),
        ("rename", vec!["s", "t"]),
        ("rename", vec!["missing", "t"]),
        ("rename", vec!["f/", "t"]),
        ("rename", vec!["d", "e/"]),
        ("unlink", vec!["dangling"]),
        ("unlink", vec!["loop"]),
        ("unlink", vec!["/proc/self/fd/0"]),
        ("rmdir", vec!["/proc/self/task"]),
        ("link", vec!["/proc/self/status", "/tmp/never"]),
    ] {
        let row = crate::posix::table::ROWS
            .iter()
            .find(|row| row.name == name)
            .unwrap();
        let full: Vec<CString> = paths
            .iter()
            .enumerate()
            .map(|(index, path)| {
                // A link's text is no path, and an empty path stays one.
                let text = name == "symlink" && index == 0;
                if text || path.is_empty() || path.starts_with('/') {
                    c(path)
                } else {
                    c(&format!("{prefix}{path}"))
                }
            })
            .collect();
        let second = full.get(1).map_or(std::ptr::null(), |path| path.as_ptr());
        // SAFETY: a test's own call on NUL-terminated paths.
        let linux = native(unsafe { libc::syscall(i64::from(row.nr), full[0].as_ptr(), second) });
        assert_eq!(call(name, &paths), linux, "{name} {paths:?}");
    }
    assert!(!here.is_empty());
    assert_eq!(call("unlink", &[""]), fails(Errno::ENOENT));
    assert_eq!(
        cage.call("rename", &[NOWHERE, NOWHERE]),
        fails(Errno::EFAULT)
    );
    let (a, b) = (cage.put_str("hard"), cage.put_str("t"));
    assert_eq!(
        cage.call("renameat2", &[CWD, a, CWD, b, 3]),
        fails(Errno::EINVAL)
    );
    assert_eq!(
        cage.call("renameat2", &[CWD, a, CWD, b, 1]),
        fails(Errno::EEXIST)
    );
    assert_eq!(cage.call("renameat2", &[CWD, a, CWD, b, 2]), 0);
    assert_eq!(fs::read(scratch.path("t")).unwrap(), b"text");
    assert_eq!(cage.call("unlinkat", &[CWD, b, 1]), fails(Errno::EINVAL));
}

#[test]
fn what_is_asked_of_a_name_is_what_linux_says() {
    let (scratch, cage) = tree("stat");
    let buf = cage.room(256);
    let ino = |buf: u64| u64::from_ne_bytes(cage.bytes(buf + 8, 8).try_into().unwrap());
    let f = cage.put_str("f");
    let lf = cage.put_str("lf");
    assert_eq!(cage.call("stat", &[lf, buf]), 0);
    assert_eq!(ino(buf), fs::metadata(scratch.path("f")).unwrap().ino());
    assert_eq!(cage.call("lstat", &[lf, buf]), 0);
    assert_eq!(
        ino(buf),
        fs::symlink_metadata(scratch.path("lf")).unwrap().ino()
    );
    assert_eq!(cage.call("stat", &[lf, NOWHERE]), fails(Errno::EFAULT));
    assert_eq!(
        cage.call("stat", &[cage.put_str("loop"), buf]),
        fails(Errno::ELOOP)
    );
    assert_eq!(
        cage.call("stat", &[cage.put_str("f/"), buf]),
        fails(Errno::ENOTDIR)
    );
    assert_eq!(
        cage.call("newfstatat", &[CWD, f, buf, 0x4_0000]),
        fails(Errno::EINVAL)
    );
    let empty = cage.put_str("");
    let flag = libc::AT_EMPTY_PATH as u64;
    assert_eq!(
        cage.call("newfstatat", &[CWD, empty, buf, 0]),
        fails(Errno::ENOENT)
    );
    assert_eq!(cage.call("newfstatat", &[CWD, empty, buf, flag]), 0);
    assert_eq!(ino(buf), fs::metadata(&scratch.0).unwrap().ino());
    let fd = open(&cage, "f", libc::O_RDONLY).cast_unsigned();
    for path in [empty, 0] {
        assert_eq!(cage.call("newfstatat", &[fd, path, buf, flag]), 0);
        assert_eq!(ino(buf), fs::metadata(scratch.path("f")).unwrap().ino());
        assert_eq!(cage.call("statx", &[fd, path, flag, 0x7ff, buf]), 0);
    }
    assert_eq!(
        cage.call("newfstatat", &[66, empty, buf, flag]),
        fails(Errno::EBADF)
    );
    assert_eq!(
        cage.call("statx", &[CWD, lf, 0, 0x8000_0000, buf]),
        fails(Errno::EINVAL)
    );
    assert_eq!(cage.call("statx", &[CWD, lf, 0x100, 0x7ff, buf]), 0);

    assert_eq!(cage.call("access", &[f, 0]), 0);
    assert_eq!(cage.call("access", &[f, 8]), fails(Errno::EINVAL));
    assert_eq!(cage.call("access", &[f, 1]), fails(Errno::EACCES));
    assert_eq!(
        cage.call("faccessat2", &[CWD, cage.put_str("dangling"), 0, 0x100]),
        0
    );
    assert_eq!(cage.call("faccessat2", &[fd, empty, 4, flag]), 0);
    assert_eq!(
        cage.call("faccessat2", &[CWD, f, 0, 1]),
        fails(Errno::EINVAL)
    );

    assert_eq!(cage.call("readlink", &[lf, buf, 64]), 1);
    assert_eq!(cage.bytes(buf, 1), b"f");
    assert_eq!(cage.call("readlink", &[lf, buf, 0]), fails(Errno::EINVAL));
    assert_eq!(cage.call("readlink", &[f, buf, 64]), fails(Errno::EINVAL));
    assert_eq!(
        cage.call("readlink", &[cage.put_str("ld"), NOWHERE, 64]),
        fails(Errno::EFAULT)
    );
    let link = open(&cage, "lf", libc::O_PATH | libc::O_NOFOLLOW).cast_unsigned();
    assert_eq!(cage.call("readlinkat", &[link, empty, buf, 64]), 1);

    assert_eq!(cage.call("statfs", &[f, buf]), 0);
    assert_eq!(cage.call("statfs", &[cage.put_str("/proc"), buf]), 0);
    assert_eq!(cage.bytes(buf, 2), 0x9fa0_u16.to_ne_bytes());
    assert_eq!(
        cage.call("statfs", &[cage.put_str("missing"), buf]),
        fails(Errno::ENOENT)
    );
}

#[test]
fn a_descriptor_is_opened_again_by_its_name() {
    let (scratch, cage) = tree("again");
    let fd = open(&cage, "f", libc::O_RDONLY);
    assert_eq!(fd, 0);
    fs::remove_file(scratch.path("f")).unwrap();
    for name in [
        "/proc/self/fd/0",
        "/dev/fd/0",
        "/dev/stdin",
        "fds/0",
        "me/fd/0",
        "me/task/../fd/0",
    ] {
        let again = open(&cage, name, libc::O_RDWR);
        assert!(again > 0, "{name}: {again}");
        let buf = cage.room(144);
        assert_eq!(cage.call("stat", &[cage.put_str(name), buf]), 0, "{name}");
        // st_nlink
        assert_eq!(cage.bytes(buf + 16, 8), 0_u64.to_ne_bytes());
    }
    for (name, errno) in [
        ("/proc/self/fd/77", Errno::ENOENT),
        ("/proc/self/fd/0/x", Errno::ENOTDIR),
        ("/proc/self/fd/0/", Errno::ENOTDIR),
    ] {
        assert_eq!(open(&cage, name, libc::O_RDONLY), fails(errno), "{name}");
    }
    assert_eq!(
        open(&cage, "/proc/self/fd/0", libc::O_RDONLY | libc::O_NOFOLLOW),
        fails(Errno::ELOOP)
    );
    let d = open(&cage, "d", libc::O_RDONLY | libc::O_DIRECTORY);
    assert!(open(&cage, &format!("/proc/self/fd/{d}/g"), libc::O_RDONLY) > 0);
    assert!(open(&cage, &format!("fds/{d}/../ld/g"), libc::O_RDONLY) > 0);
    assert_eq!(
        cage.call("chdir", &[cage.put_str(format!("/dev/fd/{d}"))]),
        0
    );
    let buf = cage.room(4096);
    let got = cage.call("getcwd", &[buf, 4096]);
    let want = scratch.path("d");
    assert_eq!(usize::try_from(got).unwrap(), want.len() + 1);
    assert_eq!(cage.bytes(buf, want.len()), want.as_bytes());
    // From a directory of /proc, names still mean the caller.
    let fds = open(&cage, "/proc/self/fd", libc::O_RDONLY).cast_unsigned();
    assert!(cage.call("openat", &[fds, cage.put_str("0"), 0, 0]) > 0);
    assert_eq!(
        cage.call("openat", &[fds, cage.put_str("777"), 0, 0]),
        fails(Errno::ENOENT)
    );
    // Following is for magic links too many, but not for others.
    let how: Vec<u8> = [0_u64, 0, libc::RESOLVE_NO_MAGICLINKS]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let how = cage.put(&how);
    let name = cage.put_str("/proc/self/fd/0");
    assert_eq!(
        cage.call("openat2", &[CWD, name, how, 24]),
        fails(Errno::ELOOP)
    );
}

#[test]
fn openat2_judges_its_structure_as_linux_does() {
    let (_scratch, cage) = tree("how");
    let name = cage.put_str("f");
    let how = |words: &[u64]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        cage.call(
            "openat2",
            &[CWD, name, cage.put(&bytes), bytes.len() as u64],
        )
    };
    assert!(how(&[0, 0, 0]) >= 0);
    assert!(how(&[0, 0, 0, 0]) >= 0);
    assert_eq!(how(&[0, 0, 0, 1]), fails(Errno::E2BIG));
    assert_eq!(how(&[0, 0]), fails(Errno::EINVAL));
    assert_eq!(how(&[0, 0o644, 0]), fails(Errno::EINVAL));
    assert_eq!(how(&[1 << 40, 0, 0]), fails(Errno::EINVAL));
    assert_eq!(how(&[0, 0, 1 << 20]), fails(Errno::EINVAL));
    assert_eq!(how(&[0x4000_0000, 0, 0]), fails(Errno::EINVAL));
    let big = cage.call("openat2", &[CWD, name, name, 1 << 20]);
    assert_eq!(big, fails(Errno::E2BIG));
    assert_eq!(
        cage.call("openat2", &[CWD, name, NOWHERE, 24]),
        fails(Errno::EFAULT)
    );
    let beneath = cage.put_str("/etc/passwd");
    let bytes: Vec<u8> = [0, 0, libc::RESOLVE_BENEATH]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    assert_eq!(
        cage.call("openat2", &[CWD, beneath, cage.put(&bytes), 24]),
        fails(Errno::EXDEV)
    );
}

#[test]
fn a_nameless_file_is_given_a_name() {
    let (scratch, cage) = tree("nameless");
    let fd = open(&cage, ".", libc::O_TMPFILE | libc::O_RDWR);
    if fd == fails(Errno::EOPNOTSUPP) {
        return;
    }
    let from = cage.put_str(format!("/proc/self/fd/{fd}"));
    let to = cage.put_str("named");
    let follow = libc::AT_SYMLINK_FOLLOW as u64;
    assert_eq!(cage.call("linkat", &[CWD, from, CWD, to, follow]), 0);
    let (empty, flag) = (cage.put_str(""), libc::AT_EMPTY_PATH as u64);
    let again = cage.put_str("again");
    let fd = fd.cast_unsigned();
    assert_eq!(cage.call("linkat", &[fd, empty, CWD, again, flag]), 0);
    assert_eq!(fs::metadata(scratch.path("named")).unwrap().nlink(), 2);
    assert_eq!(
        cage.call("linkat", &[CWD, from, CWD, to, 1]),
        fails(Errno::EINVAL)
    );
}

#[test]
fn the_working_directory_is_the_cages_own() {
    let (scratch, cage) = tree("cwd");
    let before = std::env::current_dir().unwrap();
    let buf = cage.room(4096);
    assert_eq!(
        cage.call("chdir", &[cage.put_str("f")]),
        fails(Errno::ENOTDIR)
    );
    assert_eq!(
        cage.call("chdir", &[cage.put_str("missing")]),
        fails(Errno::ENOENT)
    );
    assert_eq!(cage.call("chdir", &[cage.put_str("ld")]), 0);
    assert!(open(&cage, "g", libc::O_RDONLY) >= 0);
    assert_eq!(cage.call("getcwd", &[buf, 3]), fails(Errno::ERANGE));
    assert_eq!(cage.call("getcwd", &[NOWHERE, 4096]), fails(Errno::EFAULT));
    fs::rename(scratch.path("d"), scratch.path("moved")).unwrap();
    assert!(cage.call("getcwd", &[buf, 4096]) > 0);
    let want = scratch.path("moved");
    assert_eq!(cage.bytes(buf, want.len()), want.as_bytes());
    fs::remove_dir_all(scratch.path("moved")).unwrap();
    assert_eq!(cage.call("getcwd", &[buf, 4096]), fails(Errno::ENOENT));
    let place = cage.put_str(scratch.0.as_os_str().as_bytes());
    let fd = cage
        .call("open", &[place, libc::O_PATH as u64, 0])
        .cast_unsigned();
    assert_eq!(cage.call("fchdir", &[fd]), 0);
    let f = open(&cage, "f", libc::O_RDONLY).cast_unsigned();
    assert_eq!(cage.call("fchdir", &[f]), fails(Errno::ENOTDIR));
    assert_eq!(cage.call("fchdir", &[999]), fails(Errno::EBADF));
    assert_eq!(std::env::current_dir().unwrap(), before);
}

#[test]
fn metadata_is_changed_by_name() {
    let (scratch, cage) = tree("meta");
    let f = cage.put_str("f");
    let times: Vec<u8> = [1_i64, 5, 2, 6]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let at = cage.put(&times);
    assert_eq!(cage.call("utimensat", &[CWD, f, at, 0]), 0);
    let meta = fs::metadata(scratch.path("f")).unwrap();
    assert_eq!((meta.atime(), meta.mtime(), meta.mtime_nsec()), (1, 2, 6));
    assert_eq!(cage.call("utimes", &[f, at]), 0);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().mtime_nsec(), 6000);
    assert_eq!(cage.call("utime", &[f, at]), 0);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().mtime(), 5);
    assert_eq!(
        cage.call("utimensat", &[CWD, f, NOWHERE, 0]),
        fails(Errno::EFAULT)
    );
    let bad: Vec<u8> = [0_i64, 2_000_000, 0, 0]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    assert_eq!(
        cage.call("utimes", &[f, cage.put(&bad)]),
        fails(Errno::EINVAL)
    );
    let omit: Vec<u8> = [0, libc::UTIME_OMIT, 0, libc::UTIME_OMIT]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    assert_eq!(
        cage.call("utimensat", &[CWD, NOWHERE, cage.put(&omit), 0]),
        0
    );
    let fd = open(&cage, "f", libc::O_RDONLY).cast_unsigned();
    assert_eq!(cage.call("utimensat", &[fd, 0, at, 0]), 0);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().atime(), 1);

    assert_eq!(cage.call("truncate", &[f, 2]), 0);
    assert_eq!(fs::read(scratch.path("f")).unwrap(), b"te");
    assert_eq!(cage.call("truncate", &[f, u64::MAX]), fails(Errno::EINVAL));
    assert_eq!(
        cage.call("truncate", &[cage.put_str("d"), 0]),
        fails(Errno::EISDIR)
    );
    let own = cage.put_str(format!("/proc/self/fd/{fd}"));
    assert_eq!(cage.call("truncate", &[own, 1]), 0);
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().len(), 1);
    assert_eq!(cage.call("chmod", &[own, 0o600]), 0);
    let mode = fs::metadata(scratch.path("f"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let keep = u64::from(u32::MAX);
    assert_eq!(cage.call("chown", &[f, keep, keep]), 0);
    assert_eq!(
        cage.call("lchown", &[cage.put_str("dangling"), keep, keep]),
        0
    );
    assert_eq!(
        cage.call("chown", &[cage.put_str("dangling"), keep, keep]),
        fails(Errno::ENOENT)
    );
    let lf = cage.put_str("lf");
    assert_eq!(
        cage.call("fchmodat2", &[CWD, lf, 0o600, 0x800]),
        fails(Errno::EINVAL)
    );
}

#[test]
fn attributes_are_set_listed_and_removed_by_name() {
    let (_scratch, cage) = tree("xattr");
    let (f, name, value) = (
        cage.put_str("f"),
        cage.put_str("user.note"),
        cage.put(b"hello"),
    );
    let buf = cage.room(256);
    let set = cage.call("setxattr", &[f, name, value, 5, 0]);
    if set == fails(Errno::EOPNOTSUPP) {
        return;
    }
    assert_eq!(set, 0);
    assert_eq!(
        cage.call("setxattr", &[f, name, value, 5, 1]),
        fails(Errno::EEXIST)
    );
    assert_eq!(cage.call("getxattr", &[f, name, buf, 0]), 5);
    assert_eq!(
        cage.call("getxattr", &[f, name, buf, 2]),
        fails(Errno::ERANGE)
    );
    assert_eq!(cage.call("getxattr", &[f, name, buf, 256]), 5);
    assert_eq!(cage.bytes(buf, 5), b"hello");
    assert_eq!(cage.call("listxattr", &[f, buf, 256]), 10);
    assert_eq!(cage.call("llistxattr", &[cage.put_str("lf"), buf, 256]), 0);
    assert_eq!(cage.call("removexattr", &[f, name]), 0);
    assert_eq!(cage.call("removexattr", &[f, name]), fails(Errno::ENODATA));
    assert_eq!(
        cage.call("getxattr", &[f, cage.put_str(""), buf, 1]),
        fails(Errno::ERANGE)
    );
    assert_eq!(
        cage.call("setxattr", &[f, name, value, 70_000, 0]),
        fails(Errno::E2BIG)
    );
    assert_eq!(
        cage.call("setxattr", &[f, name, value, 5, 8]),
        fails(Errno::EINVAL)
    );
}

#[test]
fn a_fifo_without_a_peer_is_waited_for_in_the_cage() {
    let (scratch, cage) = tree("fifo");
    let fifo = cage.put_str("p");
    assert_eq!(
        cage.call("mknod", &[fifo, u64::from(libc::S_IFIFO) | 0o600, 0]),
        0
    );
    // Nobody writes: the cage sleeps, and looks again until somebody does.
    let crate::posix::Outcome::Forward(sleep) = cage.outcome("open", &[fifo, 0, 0]).unwrap() else {
        panic!("an open of a FIFO that nobody writes waits");
    };
    assert_eq!(sleep.nr, libc::SYS_poll.cast_unsigned());
    assert!(cage.numbers().is_empty());
    let writer = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(scratch.path("p"))
        .unwrap();
    drop(writer);
    let cx = crate::posix::Ctx::new(
        &cage.kernel,
        &cage.thread,
        &cage.ram,
        2,
        [fifo, 0, 0, 0, 0, 0],
    );
    let then = sleep.then.unwrap();
    assert!(matches!(
        then(&cx, 0),
        Ok(crate::posix::Outcome::Emulated(0))
    ));
    assert_eq!(cage.numbers(), vec![0]);
    // A signal and nobody: the call may be made again.
    let crate::posix::Outcome::Forward(sleep) = cage.outcome("open", &[fifo, 0, 0]).unwrap() else {
        panic!("it waits again");
    };
    assert_eq!(sleep.then.unwrap()(&cx, -4).err(), Some(Errno::ERESTARTSYS));
    // A mount that is not the run's own: a writer would reach the host.
    assert_eq!(open(&cage, "p", libc::O_WRONLY), fails(Errno::EACCES));
    assert!(open(&cage, "p", libc::O_RDONLY | libc::O_NONBLOCK) > 0);
}
