//! What flags put into the world: the root, binds, file systems, symlinks; where each lies and what it takes away. Looks at the
//! host, mounts nothing.

use std::io;
use std::path::{Path, PathBuf};

use super::filesystem::{self, Filesystem};
use super::launch::LaunchError;
use super::lookup::trace_path;
use super::options::{Bind, Entry, Mount, Net, Options, Symlink};
use super::view::{Caller, Cover, Named, Shown, View};

fn bind_flag(bind: &Bind) -> String {
    let flag = if bind.writable { "--bind" } else { "--ro-bind" };
    let source = bind.source.display();
    match &bind.target {
        Some(target) => format!("{flag} {source}:{}", target.display()),
        None => format!("{flag} {source}"),
    }
}

fn link_flag(link: &Symlink) -> String {
    format!("--symlink {}:{}", link.text.display(), link.link.display())
}

/// `--mount bind:SRC:DIR:OPTIONS` as the bind that it is.
fn as_bind(mount: &Mount) -> Result<Bind, LaunchError> {
    let mut bind = Bind {
        source: mount.device.clone().into(),
        target: Some(mount.target.clone()),
        writable: true,
        optional: false,
        noexec: false,
    };
    for option in &mount.options {
        match option.as_str() {
            "ro" => bind.writable = false,
            "rw" => bind.writable = true,
            "try" => bind.optional = true,
            "noexec" => bind.noexec = true,
            other => {
                return Err(LaunchError::said(format!(
                    "{}: a bind has no option {other:?}: ro, rw, try, noexec",
                    filesystem::flag(mount)
                )));
            }
        }
    }
    Ok(bind)
}

/// Whether there is no such file.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl View {
    /// Whose directory is the root: the host's, that of `--root`, or that of a bind to `/`.
    pub(super) fn choose_root(
        &mut self,
        options: &Options,
        caller: &Caller,
    ) -> Result<(), LaunchError> {
        if let Some(root) = &options.root {
            let flag = format!("--root {}", root.display());
            let source = find_source(&flag, root, caller, &mut Vec::new())?;
            if !source.is_dir() {
                let error = io::Error::from_raw_os_error(libc::ENOTDIR);
                return Err(LaunchError::new(flag, error).mend("name a directory"));
            }
            if source != Path::new("/") {
                self.covers
                    .insert("/".into(), Cover::Host(Shown::read_only(source, true)));
                self.other_root = true;
            }
        }
        let binds_root = |entry: &Entry| match entry {
            Entry::Bind(bind) => bind.target.as_deref() == Some(Path::new("/")),
            Entry::Mount(mount) => mount.target == Path::new("/"),
            Entry::Symlink(_) => false,
        };
        self.other_root |= options.entries.iter().any(binds_root);
        Ok(())
    }

    /// Puts every entry where it belongs, in the order given.
    pub(super) fn add_entries(
        &mut self,
        options: &Options,
        caller: &Caller,
        links: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<(), LaunchError> {
        for (number, entry) in options.entries.iter().enumerate() {
            match entry {
                Entry::Bind(bind) => self.add_bind(bind, &bind_flag(bind), caller, links)?,
                Entry::Mount(mount) if mount.kind == "bind" => {
                    self.add_bind(&as_bind(mount)?, &filesystem::flag(mount), caller, links)?;
                }
                Entry::Mount(mount) => self.add_mount(mount, number, options, caller)?,
                Entry::Symlink(link) => self.add_link(link)?,
            }
        }
        Ok(())
    }

    fn add_bind(
        &mut self,
        bind: &Bind,
        flag: &str,
        caller: &Caller,
        links: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<(), LaunchError> {
        let mut met = Vec::new();
        let source = match find_source(flag, &bind.source, caller, &mut met) {
            Err(error) if bind.optional && error.cause().is_some_and(is_missing) => return Ok(()),
            source => source?,
        };
        let own_place = bind.target.is_none() && !self.other_root;
        let place = match &bind.target {
            None if own_place => {
                links.append(&mut met);
                source.clone()
            }
            target => self.destination(flag, target.as_deref().unwrap_or(&source))?,
        };
        let shown = Shown {
            directory: source.is_dir(),
            source,
            writable: bind.writable,
            noexec: bind.noexec,
        };
        if place == Path::new("/") && !shown.directory {
            let error = io::Error::from_raw_os_error(libc::ENOTDIR);
            return Err(LaunchError::new(flag, error).mend("name a directory"));
        }
        let own_place = own_place || place == shown.source || place == Path::new("/");
        self.put(place, Cover::Host(shown), flag.to_owned(), own_place)
    }

    fn add_mount(
        &mut self,
        mount: &Mount,
        number: usize,
        options: &Options,
        caller: &Caller,
    ) -> Result<(), LaunchError> {
        let flag = filesystem::flag(mount);
        let only_at = |place: &str| {
            if mount.target != Path::new(place) {
                return Err(LaunchError::said(format!(
                    "{flag}: a {} can only be at {place}",
                    mount.kind
                )));
            }
            if !mount.options.is_empty() {
                return Err(LaunchError::said(format!(
                    "{flag}: a {} takes no options here: leave them out",
                    mount.kind
                )));
            }
            Ok(())
        };
        match mount.kind.as_str() {
            "proc" => {
                only_at("/proc")?;
                self.proc = true;
                return Ok(());
            }
            "sysfs" => {
                only_at("/sys")?;
                self.show_sys(options.net != Net::Host);
                return Ok(());
            }
            _ => {}
        }
        let place = self.destination(&flag, &mount.target)?;
        if place == Path::new("/") {
            return Err(LaunchError::said(format!(
                "{flag}: only a directory can be the root: use --root=DIR, or --bind DIR:/"
            )));
        }
        let filesystem = Filesystem::plan(mount, number, caller)?;
        if filesystem.is_own() {
            self.private_roots.insert(place.clone());
        }
        self.put(place, Cover::Mounted(filesystem), flag, false)
    }

    fn add_link(&mut self, link: &Symlink) -> Result<(), LaunchError> {
        let flag = link_flag(link);
        let (Some(directory), Some(name)) = (link.link.parent(), link.link.file_name()) else {
            return Err(LaunchError::said(format!(
                "{flag}: the link has no name: write --symlink TARGET:/DIR/NAME"
            )));
        };
        let place = self.destination(&flag, directory)?.join(name);
        refuse_proc(&flag, &place)?;
        let target = link.text.clone();
        self.put(place, Cover::Link { target }, flag, false)
    }

    /// Where a destination lies, symlinks on the way followed.
    fn destination(&self, flag: &str, target: &Path) -> Result<PathBuf, LaunchError> {
        let place = self
            .place_inside(target)
            .map_err(|error| LaunchError::new(flag, error).mend("name another place inside"))?;
        refuse_proc(flag, &place)?;
        Ok(place)
    }

    /// Puts `cover` at `place`. Whoever names a directory means all of it: what was decided for places below it goes, but for
    /// what flags name.
    fn put(
        &mut self,
        place: PathBuf,
        cover: Cover,
        flag: String,
        own_place: bool,
    ) -> Result<(), LaunchError> {
        // A tmpfs that takes the place of a private directory only bounds it.
        let bounds = matches!(self.covers.get(&place), Some(Cover::Private { .. }))
            && matches!(&cover, Cover::Mounted(filesystem) if filesystem.is_own());
        for (other, earlier) in &self.explicit {
            let covered = other.starts_with(&place) && *other != place;
            if covered && !bounds && !(own_place && earlier.own_place) {
                return Err(LaunchError::said(format!(
                    "{flag} would cover what {} puts below it: write {flag} first, since later ones lie over earlier ones",
                    earlier.flag
                )));
            }
        }
        let explicit = &self.explicit;
        self.covers.retain(|other, old| {
            if *other == place {
                return false;
            }
            if !other.starts_with(&place) || explicit.contains_key(other) || bounds {
                return true;
            }
            // The host's own tree keeps what covers /dev and /sys: they must be named themselves.
            own_place && !matches!(old, Cover::Private { .. })
        });
        self.explicit
            .insert(place.clone(), Named { flag, own_place });
        self.required.insert(place.clone());
        self.covers.insert(place, cover);
        Ok(())
    }
}

/// Where the host has what a flag names.
fn find_source(
    flag: &str,
    path: &Path,
    caller: &Caller,
    links: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<PathBuf, LaunchError> {
    let base = caller.cwd.as_deref().unwrap_or(Path::new("/"));
    let source = trace_path(&base.join(path), links).map_err(|error| {
        LaunchError::new(flag, error).mend("name a file or directory that exists on the host")
    })?;
    refuse_proc(flag, &source)?;
    Ok(source)
}

/// What is below /proc says who the caller is; descriptors are lent by names there.
fn refuse_proc(flag: &str, place: &Path) -> Result<(), LaunchError> {
    if place.starts_with("/proc") {
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        return Err(LaunchError::new(flag, error).mend("/proc is always the run's own"));
    }
    Ok(())
}
