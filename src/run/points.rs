//! Mount points that the host lacks: the directory that should have one is replaced by a frame of its entries. The host is not
//! changed for them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::entries::is_missing;
use super::launch::LaunchError;
use super::view::{Cover, Shown, View};

/// More entries than these are not shown one by one.
const ENTRIES_MAX: usize = 1000;

impl View {
    /// What the flag that named `place` is called.
    fn flag_of(&self, place: &Path) -> String {
        let named = self
            .explicit
            .get(place)
            .or_else(|| self.explicit.get(Path::new("/")));
        named.map_or_else(
            || format!("cannot cover {}", place.display()),
            |named| named.flag.clone(),
        )
    }

    /// Sees to it that every place that the world must have can be had.
    pub(super) fn make_points(&mut self) -> Result<(), LaunchError> {
        let mut frames = BTreeMap::new();
        let places: Vec<PathBuf> = self.required.iter().cloned().collect();
        for place in places {
            if let (Some(cover), Some(above)) = (self.covers.get(&place).cloned(), place.parent())
                && let Some(frame) = self.point(&place, &cover, above)?
            {
                frames.entry(frame).or_insert(place);
            }
        }
        // Parents first: a frame in a frame is one of its entries.
        for (frame, place) in frames {
            self.frame(&frame).map_err(|error| {
                let what = format!(
                    "{}: {} does not exist, and no place can be made for it in {}",
                    self.flag_of(&place),
                    place.display(),
                    frame.display()
                );
                LaunchError::new(what, error)
                    .mend("make it on the host first, or name a destination that exists")
            })?;
        }
        Ok(())
    }

    /// Judges whether `cover` can lie at `place`; the directory that must become a frame for it, if one must.
    fn point(
        &mut self,
        place: &Path,
        cover: &Cover,
        above: &Path,
    ) -> Result<Option<PathBuf>, LaunchError> {
        let refuse = |why: &str| {
            let flag = self.flag_of(place);
            Err(LaunchError::said(format!("{flag}: {why}")))
        };
        let nearest = self.nearest(above).map(|(_, cover)| cover);
        let shown = match nearest {
            None => None,
            Some(Cover::Host(shown)) => Some(shown),
            Some(Cover::Mask { .. }) => {
                return refuse("the directory that it belongs to is hidden");
            }
            // A mount point is made there, or must be there already.
            Some(cover)
                if cover.is_own()
                    || !matches!(self.covers.get(place), Some(Cover::Link { .. })) =>
            {
                return Ok(None);
            }
            Some(_) => {
                return refuse(
                    "a link can be made only in a directory that is shown read-only or is the run's own",
                );
            }
        };
        let Some(origin) = self
            .origin(above)
            .zip(place.file_name())
            .map(|(above, name)| above.join(name))
        else {
            return Ok(None);
        };
        match fs::symlink_metadata(&origin) {
            Ok(there) => match cover {
                Cover::Link { target }
                    if fs::read_link(&origin).is_ok_and(|old| old == *target) =>
                {
                    self.covers.remove(place);
                    Ok(None)
                }
                Cover::Link { .. } => refuse(&format!(
                    "{} exists already: name another link",
                    place.display()
                )),
                _ if there.is_symlink() => refuse(&format!(
                    "{} is a symbolic link inside: name the place that it leads to",
                    place.display()
                )),
                _ if there.is_dir() != cover.is_directory() => {
                    let (has, needs) = if there.is_dir() {
                        ("a directory", "a file")
                    } else {
                        ("a file", "a directory")
                    };
                    refuse(&format!(
                        "{} is {has} inside, and {needs} cannot lie over it: name another destination",
                        place.display()
                    ))
                }
                _ => Ok(None),
            },
            Err(error) if is_missing(&error) => {
                let writable = shown.is_some_and(|shown| shown.writable);
                let Some(frame) = above
                    .ancestors()
                    .find(|above| self.origin(above).is_some_and(|origin| origin.exists()))
                else {
                    return refuse("no directory above it exists inside");
                };
                if !self.origin(frame).is_some_and(|origin| origin.is_dir()) {
                    return refuse(&format!(
                        "{} is no directory inside: name another destination",
                        frame.display()
                    ));
                }
                if writable {
                    return refuse(&match cover {
                        Cover::Link { .. } => format!(
                            "{} is bound read-write, and a link in it would stay on the host: make it there with ln -s",
                            frame.display()
                        ),
                        _ => {
                            let directory = if cover.is_directory() {
                                Some(&*origin)
                            } else {
                                origin.parent()
                            };
                            format!(
                                "{} does not exist, and what is bound read-write is not changed for it: make it on the host first (mkdir -p {}{})",
                                place.display(),
                                directory.unwrap_or(&origin).display(),
                                if cover.is_directory() {
                                    ""
                                } else {
                                    ", and a file in it"
                                },
                            )
                        }
                    });
                }
                Ok(Some(frame.to_owned()))
            }
            Err(error) => {
                let flag = self.flag_of(place);
                Err(LaunchError::new(flag, error)
                    .mend("name a destination below a directory that can be searched"))
            }
        }
    }

    /// Replaces the host's directory at `place` by its entries, one cover each, so that others fit among them.
    fn frame(&mut self, place: &Path) -> io::Result<()> {
        let Some(origin) = self.origin(place) else {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        };
        let noexec = matches!(self.nearest(place), Some((_, Cover::Host(shown))) if shown.noexec);
        let entries: Vec<fs::DirEntry> = fs::read_dir(&origin)?
            .take(ENTRIES_MAX + 1)
            .collect::<io::Result<_>>()?;
        if entries.len() > ENTRIES_MAX {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        for entry in entries {
            let child = place.join(entry.file_name());
            if self.covers.contains_key(&child) {
                continue;
            }
            let kind = entry.file_type()?;
            let cover = if child == Path::new("/proc") {
                // The fresh one comes over it.
                Cover::Frame
            } else if kind.is_symlink() {
                Cover::Link {
                    target: fs::read_link(entry.path())?,
                }
            } else {
                Cover::Host(Shown {
                    noexec,
                    ..Shown::read_only(entry.path(), kind.is_dir())
                })
            };
            self.covers.insert(child, cover);
        }
        self.covers.insert(place.to_owned(), Cover::Frame);
        Ok(())
    }
}
