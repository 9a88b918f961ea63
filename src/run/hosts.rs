//! `/etc/hosts` of a run: the host's, and a line for the run's own name. Programs ask for the address of the host's name;
//! the name is the run's, so the host's file does not have it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::view::{Cover, View};

const HOSTS: &str = "/etc/hosts";

/// Debian's address for a host's own name: of the loopback interface, and not localhost's.
const ADDRESS: &str = "127.0.1.1";

/// A file that is longer stays as it is.
const LONGEST: u64 = 1 << 20;

impl View {
    /// Adds the run's name to the file that everybody sees, unless a flag shows that file or its directory.
    pub(super) fn name_in_hosts(&mut self, hostname: &str) {
        let place = Path::new(HOSTS);
        let slash = Path::new("/");
        let named = place
            .ancestors()
            .any(|above| above != slash && self.explicit.contains_key(above));
        let writable = self.explicit.contains_key(slash);
        // A link leads to where others may look too.
        let plain = fs::symlink_metadata(place).is_ok_and(|meta| meta.is_file());
        if named || writable || !plain || self.hidden(place) {
            return;
        }
        if let Some(text) = read().and_then(|text| with_name(text, hostname)) {
            self.covers.insert(place.to_owned(), Cover::Text(text));
        }
    }
}

fn read() -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(HOSTS).ok()?;
    file.take(LONGEST + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= LONGEST).then_some(text)
}

/// The text with a line for `hostname`; none where it has one.
fn with_name(mut text: Vec<u8>, hostname: &str) -> Option<Vec<u8>> {
    let has = String::from_utf8_lossy(&text).lines().any(|line| {
        let names = line.split('#').next().unwrap_or_default();
        names
            .split_whitespace()
            .skip(1)
            .any(|name| name == hostname)
    });
    if has {
        return None;
    }
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text.extend(format!("{ADDRESS}\t{hostname}\n").bytes());
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::with_name;

    #[test]
    fn the_name_is_added_once() {
        let added = |text: &str| {
            with_name(text.into(), "cage").map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        assert_eq!(added("").as_deref(), Some("127.0.1.1\tcage\n"));
        assert_eq!(
            added("127.0.0.1 localhost").as_deref(),
            Some("127.0.0.1 localhost\n127.0.1.1\tcage\n")
        );
        assert_eq!(
            added("127.0.0.1 cages # cage\n").as_deref(),
            Some("127.0.0.1 cages # cage\n127.0.1.1\tcage\n")
        );
        assert_eq!(added("10.0.0.1 a cage\n"), None);
    }
}
