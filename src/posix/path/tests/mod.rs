//! The path calls over a cage without a process, each beside the same call made natively in a directory like the cage's.

mod changes;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

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

/// A native call's result as a cage would see it; what it made is closed, so that success is 0.
fn linux<T>(result: std::io::Result<T>) -> i64 {
    match result {
        Ok(_) => 0,
        Err(error) => -i64::from(error.raw_os_error().unwrap()),
    }
}

/// openat(2), natively, from a directory.
fn native_open(dir: &Path, name: &str, flags: i32, mode: u32) -> i64 {
    let dir = fs::File::open(dir).unwrap();
    let flags = OFlag::from_bits_retain(flags);
    linux(openat(&dir, name, flags, Mode::from_bits_retain(mode)).map_err(Into::into))
}

/// A call on one or two paths, natively.
fn native(name: &str, paths: &[String]) -> i64 {
    let (first, second) = (&paths[0], paths.get(1));
    linux(match name {
        "rmdir" => fs::remove_dir(first),
        "unlink" => fs::remove_file(first),
        "link" => fs::hard_link(first, second.unwrap()),
        "symlink" => symlink(first, second.unwrap()),
        "rename" => fs::rename(first, second.unwrap()),
        name => panic!("{name} is not called here"),
    })
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
        let got = nix::fcntl::fcntl(&host, nix::fcntl::F_GETFL).unwrap();
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
        ("unlink", vec!["/proc/self/status"]),
        ("rmdir", vec!["/proc/self/task"]),
        ("link", vec!["/proc/self/status", "/tmp/never"]),
    ] {
        let full: Vec<String> = paths
            .iter()
            .enumerate()
            .map(|(index, path)| {
                // A link's text is no path, and an empty path stays one.
                let text = name == "symlink" && index == 0;
                if text || path.is_empty() || path.starts_with('/') {
                    (*path).to_owned()
                } else {
                    format!("{prefix}{path}")
                }
            })
            .collect();
        let linux = native(name, &full);
        assert_eq!(call(name, &paths), linux, "{name} {paths:?}");
    }
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
        // Here supervisor and cage are one process, so that the host does follow a link to its own /proc/self.
        if !name.starts_with('/') {
            continue;
        }
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
