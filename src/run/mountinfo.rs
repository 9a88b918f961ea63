//! The table of mounts, as mountinfo(5) shows it: parsing, and finding a file's other places. Mounts nothing.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The text of a file that may hold odd bytes; empty if there is none.
pub(super) fn read_lossy(path: &Path) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// One line of mountinfo(5), as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount<'a> {
    pub(super) id: u64,
    pub(super) parent: u64,
    /// The device of its file system, `major:minor`.
    device: &'a str,
    /// The directory of that file system which it shows.
    pub(super) root: PathBuf,
    pub(super) place: PathBuf,
    pub(super) filesystem: &'a str,
    /// The options of the file system itself; of a cgroup hierarchy they name its controllers.
    pub(super) options: &'a str,
}

impl<'a> Mount<'a> {
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ');
        let mut of_filesystem = right.split(' ');
        let id = fields.next()?.parse().ok()?;
        let parent = fields.next()?.parse().ok()?;
        let device = fields.next()?;
        let root = unescape(fields.next()?);
        let place = unescape(fields.next()?);
        Some(Self {
            id,
            parent,
            device,
            root,
            place,
            filesystem: of_filesystem.next()?,
            options: of_filesystem.nth(1).unwrap_or_default(),
        })
    }
}

/// Undoes the octal escapes (`\040`) of mountinfo(5).
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            after.get(3..).unwrap_or_default()
        } else {
            after
        };
    }
    OsString::from_vec(bytes).into()
}

/// Where else `file` may show, since its directory is mounted in several places. Some of them may be covered by later mounts.
pub(super) fn other_places(mounts: &[Mount<'_>], file: &Path) -> Vec<PathBuf> {
    let holders = mounts
        .iter()
        .filter_map(|mount| Some((mount, file.strip_prefix(&mount.place).ok()?)));
    // Of several mounts in one place the last is on top; a deeper one covers the others.
    let Some((holder, below)) = holders.max_by_key(|(mount, _)| mount.place.components().count())
    else {
        return Vec::new();
    };
    let inside = holder.root.join(below);
    mounts
        .iter()
        .filter(|mount| mount.device == holder.device)
        .filter_map(|mount| Some(mount.place.join(inside.strip_prefix(&mount.root).ok()?)))
        .filter(|place| place != file)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_are_read_with_their_escapes() {
        let line = r"36 35 98:0 /mnt1 /mnt/with\040space\134x rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line);
        let expected = Mount {
            id: 36,
            parent: 35,
            device: "98:0",
            root: PathBuf::from("/mnt1"),
            place: PathBuf::from(r"/mnt/with space\x"),
            filesystem: "ext3",
            options: "rw,errors=continue",
        };
        assert_eq!(mount, Some(expected));
        assert_eq!(Mount::parse("36 35 98:0"), None);
    }

    #[test]
    fn a_file_below_a_directory_that_is_mounted_twice_has_two_places() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /data rw - ext4 b rw\n3 1 8:2 /logs /var/log rw - ext4 b rw\n4 1 8:2 /other /srv rw - ext4 b rw";
        let mounts: Vec<_> = table.lines().filter_map(Mount::parse).collect();
        let places = |file: &str| other_places(&mounts, Path::new(file));
        assert_eq!(places("/data/logs/x"), [Path::new("/var/log/x")]);
        assert_eq!(places("/var/log/x"), [Path::new("/data/logs/x")]);
        assert_eq!(places("/data/x"), Vec::<PathBuf>::new());
        assert_eq!(places("/etc/x"), Vec::<PathBuf>::new());
    }
}
