//! Where a path leads: on the host, and inside a world that is still being decided. Nothing is opened.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::view::{Cover, View};

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
    /// What the host has of what shows at `place`, if it has all of it.
    pub(super) fn origin(&self, place: &Path) -> Option<PathBuf> {
        match self.nearest(place) {
            None => Some(place.to_owned()),
            Some((root, Cover::Host(shown))) => below(&shown.source, root, place),
            _ => None,
        }
    }

    /// Every file or directory of the host that may show at `place`: in an overlay there are several, the highest first.
    pub(super) fn origins(&self, place: &Path) -> Vec<PathBuf> {
        match self.nearest(place) {
            Some((root, Cover::Mounted(filesystem))) => filesystem
                .layers()
                .filter_map(|layer| below(layer, root, place))
                .collect(),
            _ => self.origin(place).into_iter().collect(),
        }
    }

    /// Where the host's `file` shows.
    pub(super) fn places_of(&self, file: &Path) -> Vec<PathBuf> {
        let slash = Path::new("/");
        let mut shown: Vec<(&Path, &Path)> = Vec::new();
        if !self.covers.contains_key(slash) {
            shown.push((slash, slash));
        }
        for (place, cover) in &self.covers {
            match cover {
                Cover::Host(host) => shown.push((place, &host.source)),
                Cover::Mounted(filesystem) => {
                    shown.extend(filesystem.layers().map(|layer| (place.as_path(), layer)));
                }
                _ => {}
            }
        }
        let mut places: Vec<PathBuf> = shown
            .into_iter()
            .filter_map(|(root, source)| Some((root, below(root, source, file)?)))
            .filter(|(root, place)| {
                let nearest = self.nearest(place).map_or(slash, |(root, _)| root);
                nearest == *root
            })
            .map(|(_, place)| place)
            .collect();
        places.dedup();
        places
    }

    /// Where `path` leads inside, as far as that can be told now; what is not there yet is taken as it is written.
    pub(super) fn place_inside(&self, path: &Path) -> io::Result<PathBuf> {
        let parts = |path: &Path| -> Vec<PathBuf> {
            let parts = path.components().rev();
            parts.map(|part| PathBuf::from(part.as_os_str())).collect()
        };
        let mut todo = parts(path);
        let mut done = PathBuf::from("/");
        let mut followed = 0;
        while let Some(part) = todo.pop() {
            match part.components().next() {
                Some(Component::RootDir) => done = PathBuf::from("/"),
                Some(Component::ParentDir) => {
                    done.pop();
                }
                Some(Component::Normal(name)) => {
                    done.push(name);
                    let Some(target) = self.link_at(&done) else {
                        continue;
                    };
                    followed += 1;
                    if followed > 40 {
                        return Err(io::Error::from_raw_os_error(libc::ELOOP));
                    }
                    done.pop();
                    todo.extend(parts(&target));
                }
                _ => {}
            }
        }
        Ok(done)
    }

    /// What the symlink at `place` says, if one shows there.
    pub(super) fn link_at(&self, place: &Path) -> Option<PathBuf> {
        match self.covers.get(place) {
            Some(Cover::Link { target }) => Some(target.clone()),
            Some(_) => None,
            None => {
                let mut origins = self.origins(place).into_iter();
                origins.find_map(|origin| fs::read_link(origin).ok())
            }
        }
    }
}

/// The path of `file` below `from`, below `to` instead.
fn below(to: &Path, from: &Path, file: &Path) -> Option<PathBuf> {
    let rest = file.strip_prefix(from).ok()?;
    Some(if rest.as_os_str().is_empty() {
        to.to_owned()
    } else {
        to.join(rest)
    })
}
