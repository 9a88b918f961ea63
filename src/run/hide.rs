//! Patterns of paths that are hidden: what matches when the run starts is covered by an empty file or directory.
//!
//! A pattern is matched against paths as the run sees them, and against the host's for what a bind shows elsewhere. What
//! cannot be listed is hidden as a whole.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::devices;
use super::entries;
use super::launch::LaunchError;
use super::view::{Caller, Cover, View};

/// More matches than these are a mistake, and many mounts.
const MATCHES_MAX: usize = 10_000;

/// One part of a pattern, between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of names, or none.
    Deep,
    /// A name, perhaps with `*` and `?`.
    Name(Vec<u8>),
}

impl Part {
    /// The one name that it means, where there is but one.
    fn literal(&self) -> Option<OsString> {
        let Self::Name(glob) = self else { return None };
        if glob.iter().any(|byte| matches!(byte, b'*' | b'?')) {
            return None;
        }
        let mut name = Vec::with_capacity(glob.len());
        let mut bytes = glob.iter().peekable();
        while let Some(byte) = bytes.next() {
            let byte = if *byte == b'\\' {
                bytes.next().unwrap_or(byte)
            } else {
                byte
            };
            name.push(*byte);
        }
        Some(OsString::from_vec(name))
    }
}

/// Whether `name` is what `glob` describes: `*` is any text, `?` any byte, `\` takes the next byte as it is.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    // Where to go on after the last `*`: what follows it, and how much of the name it has taken.
    let mut star: Option<(&[u8], &[u8])> = None;
    let (mut glob, mut name) = (glob, name);
    loop {
        let hit = match (glob, name) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                star = Some((rest, name));
                Some((rest, name))
            }
            ([b'?', rest @ ..], [_, after @ ..]) => Some((rest, after)),
            ([b'\\', wanted, rest @ ..], [byte, after @ ..]) => {
                (wanted == byte).then_some((rest, after))
            }
            ([wanted, rest @ ..], [byte, after @ ..]) => (wanted == byte).then_some((rest, after)),
            _ => None,
        };
        (glob, name) = match (hit, star) {
            (Some(next), _) => next,
            (None, Some((rest, [_, after @ ..]))) => {
                star = Some((rest, after));
                (rest, after)
            }
            _ => return false,
        };
    }
}

/// A pattern, and how far a path has come in it: every position that the names so far lead to.
struct Pattern {
    parts: Vec<Part>,
}

type Positions = BTreeSet<usize>;

impl Pattern {
    fn new(text: &str, home: Option<&Path>) -> Result<Self, &'static str> {
        let mut path = Vec::new();
        let rest = match (text.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => {
                for byte in home.as_os_str().as_bytes() {
                    if matches!(byte, b'*' | b'?' | b'\\') {
                        path.push(b'\\');
                    }
                    path.push(*byte);
                }
                path.push(b'/');
                rest
            }
            (Some(_), None) => return Err("there is no home: set HOME, or write the path"),
            (None, _) => text,
        };
        path.extend(rest.as_bytes());
        let parts: Vec<Part> = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .map(|part| match part {
                b"**" => Part::Deep,
                name => Part::Name(name.to_vec()),
            })
            .collect();
        if parts.contains(&Part::Name(b"..".to_vec())) {
            return Err("a pattern has no ..: write the path that is meant");
        }
        if parts.first() == Some(&Part::Name(b"proc".to_vec())) {
            return Err("/proc is always the run's own: use --no-proc for none");
        }
        if parts.iter().all(|part| *part == Part::Deep) {
            return Err("it would hide the whole world: name something in it");
        }
        Ok(Self { parts })
    }

    fn closed(&self, mut positions: Positions) -> Positions {
        for position in 0..self.parts.len() {
            // `**` may stand for nothing, but at the end it means what lies below.
            let skipped = position + 1 < self.parts.len();
            if positions.contains(&position)
                && skipped
                && self.parts.get(position) == Some(&Part::Deep)
            {
                positions.insert(position + 1);
            }
        }
        positions
    }

    fn start(&self) -> Positions {
        self.closed(Positions::from([0]))
    }

    fn step(&self, positions: &Positions, name: &[u8]) -> Positions {
        let mut next = Positions::new();
        for &position in positions {
            match self.parts.get(position) {
                Some(Part::Deep) => {
                    next.insert(position);
                    if position + 1 == self.parts.len() {
                        next.insert(position + 1);
                    }
                }
                Some(Part::Name(glob)) if matches(glob, name) => {
                    next.insert(position + 1);
                }
                _ => {}
            }
        }
        self.closed(next)
    }

    fn accepts(&self, positions: &Positions) -> bool {
        positions.contains(&self.parts.len())
    }

    /// The only names that can go on from here, if they can be told without a look.
    fn names(&self, positions: &Positions) -> Option<Vec<OsString>> {
        let parts = positions
            .iter()
            .filter_map(|position| self.parts.get(*position));
        parts.map(Part::literal).collect()
    }
}

/// A search for what matches.
struct Search<'v> {
    view: &'v View,
    pattern: Pattern,
    found: BTreeSet<PathBuf>,
    links: usize,
}

impl Search<'_> {
    /// What shows at `place`: whether it is a directory. A symlink is none.
    fn is_directory(&self, place: &Path) -> Option<bool> {
        if let Some(cover) = self.view.covers.get(place) {
            return Some(cover.is_directory());
        }
        let origins = self.view.origins(place);
        let kind = |origin: &PathBuf| Some(fs::symlink_metadata(origin).ok()?.is_dir());
        if let Some(directory) = origins.iter().find_map(kind) {
            return Some(directory);
        }
        let below = self
            .view
            .covers
            .keys()
            .any(|cover| cover.starts_with(place));
        let node = place.parent() == Some(Path::new("/dev"))
            && devices::NODES.iter().any(|node| place.ends_with(node))
            && matches!(self.view.nearest(place), Some((_, Cover::Devices)));
        (below || node).then_some(below)
    }

    /// The names in `place`.
    fn list(&self, place: &Path) -> io::Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        for origin in self.view.origins(place) {
            match fs::read_dir(origin) {
                Ok(entries) => {
                    for entry in entries {
                        names.insert(entry?.file_name());
                    }
                }
                // Not every layer has it.
                Err(error) if entries::is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for cover in self.view.covers.keys() {
            let below = cover.strip_prefix(place).ok();
            if let Some(Component::Normal(name)) = below.and_then(|below| below.components().next())
            {
                names.insert(name.to_owned());
            }
        }
        if matches!(self.view.covers.get(place), Some(Cover::Devices)) {
            names.extend(devices::NODES.iter().map(OsString::from));
        }
        Ok(names)
    }

    fn walk(&mut self, place: &Path, positions: &Positions) {
        if place == Path::new("/proc") || self.found.len() > MATCHES_MAX {
            return;
        }
        let names: Vec<OsString> = match self.pattern.names(positions) {
            Some(names) => names,
            None => match self.list(place) {
                Ok(names) => names.into_iter().collect(),
                // What is in it cannot be told, but a program that knows a name might open it.
                Err(_) => {
                    self.found.insert(place.to_owned());
                    return;
                }
            },
        };
        for name in names {
            let child = place.join(&name);
            let next = self.pattern.step(positions, name.as_bytes());
            if next.is_empty() {
                continue;
            }
            let Some(directory) = self.is_directory(&child) else {
                continue;
            };
            if self.view.link_at(&child).is_some() {
                self.follow(&child, &next);
            } else if self.pattern.accepts(&next) {
                self.found.insert(child);
            } else if directory {
                self.walk(&child, &next);
            }
        }
    }

    /// A link itself tells nothing: what it leads to is hidden, or searched, but never by `**`, which would go in circles.
    fn follow(&mut self, link: &Path, next: &Positions) {
        let deep = next
            .iter()
            .any(|at| self.pattern.parts.get(*at) == Some(&Part::Deep));
        let Ok(target) = self.view.place_inside(link) else {
            return;
        };
        let system = ["/proc", "/sys", "/dev"]
            .iter()
            .any(|tree| target.starts_with(tree));
        self.links += 1;
        if system || link.starts_with(&target) || self.links > MATCHES_MAX {
            return;
        }
        match self.is_directory(&target) {
            Some(_) if self.pattern.accepts(next) => {
                self.found.insert(target);
            }
            Some(true) if !deep => self.walk(&target, next),
            _ => {}
        }
    }
}

impl View {
    /// Hides what matches one of the patterns.
    pub(super) fn hide(&mut self, patterns: &[String], caller: &Caller) -> Result<(), LaunchError> {
        for text in patterns {
            let refuse = |why: String| LaunchError::said(format!("--hide {text}: {why}"));
            let home = caller.home.as_deref();
            let pattern = || Pattern::new(text, home).map_err(|why| refuse(why.to_owned()));
            let mut search = Search {
                view: self,
                pattern: pattern()?,
                found: BTreeSet::new(),
                links: 0,
            };
            let start = search.pattern.start();
            search.walk(Path::new("/"), &start);
            search.walk_elsewhere();
            let found = search.found;
            if found.len() > MATCHES_MAX {
                return Err(refuse(format!(
                    "more than {MATCHES_MAX} files and directories match: hide the directory that has them"
                )));
            }
            for place in found {
                self.hide_place(place).map_err(refuse)?;
            }
        }
        Ok(())
    }

    fn hide_place(&mut self, place: PathBuf) -> Result<(), String> {
        if place == Path::new("/") {
            return Err("it would hide the whole world: name something in it".to_owned());
        }
        // A directory that was hidden meanwhile hides it too.
        if matches!(self.nearest(&place), Some((_, Cover::Mask { .. }))) {
            return Ok(());
        }
        let named = self
            .explicit
            .iter()
            .find(|(named, _)| named.starts_with(&place));
        if let Some((_, named)) = named {
            return Err(format!(
                "it would hide {} (it matches {}): make the pattern narrower",
                named.flag,
                place.display()
            ));
        }
        let directory = match self.covers.get(&place) {
            Some(cover) => cover.is_directory(),
            None => {
                let origins = self.origins(&place);
                let kind = origins.iter().find_map(|origin| fs::metadata(origin).ok());
                kind.is_some_and(|meta| meta.is_dir())
            }
        };
        self.covers
            .retain(|other, _| *other == place || !other.starts_with(&place));
        self.covers.insert(place, Cover::Mask { directory });
        Ok(())
    }
}

impl Search<'_> {
    /// What a bind shows in another place is known by the host's names too: `--hide ~/.ssh` holds for `--bind ~:/h`.
    fn walk_elsewhere(&mut self) {
        let view = self.view;
        for (place, cover) in &view.covers {
            let sources: Vec<&Path> = match cover {
                Cover::Host(shown) if shown.directory => vec![&shown.source],
                Cover::Mounted(filesystem) => filesystem.layers().collect(),
                _ => continue,
            };
            for source in sources.into_iter().filter(|source| source != place) {
                let mut positions = self.pattern.start();
                let mut whole = false;
                for part in source.components() {
                    if let Component::Normal(name) = part {
                        positions = self.pattern.step(&positions, name.as_bytes());
                        whole |= self.pattern.accepts(&positions);
                    }
                }
                // Who hides a directory and binds it elsewhere wants it there.
                if !whole && !positions.is_empty() {
                    self.walk(place, &positions);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(pattern: &str, path: &str) -> bool {
        let pattern = Pattern::new(pattern, Some(Path::new("/home/u"))).unwrap();
        let mut positions = pattern.start();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            positions = pattern.step(&positions, name.as_bytes());
        }
        pattern.accepts(&positions)
    }

    #[test]
    fn a_pattern_matches_names_and_depths() {
        for (pattern, path) in [
            ("/etc/passwd", "/etc/passwd"),
            ("/etc/*.conf", "/etc/a.conf"),
            ("/etc/?", "/etc/a"),
            ("/etc/a*b*c", "/etc/aXbbXcc"),
            ("~/.ssh", "/home/u/.ssh"),
            ("**/.env", "/.env"),
            ("/**/.env", "/a/b/.env"),
            ("/a/**", "/a/b"),
            ("/a/**", "/a/b/c"),
            ("/a/**/b/**/c", "/a/x/b/c"),
            (r"/a\*", "/a*"),
        ] {
            assert!(hit(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/etc/passwd", "/etc/passwd-"),
            ("/etc/passwd", "/etc"),
            ("/etc/*", "/etc/a/b"),
            ("/etc/?", "/etc/"),
            ("/a/**", "/a"),
            ("**/.env", "/a/.environment"),
            (r"/a\*", "/ab"),
        ] {
            assert!(!hit(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn what_no_pattern_can_be_is_refused() {
        for bad in ["/", "/**", "**/", "/a/../b", "/proc/self", "~/x"] {
            assert!(Pattern::new(bad, None).is_err(), "{bad}");
        }
    }
}
