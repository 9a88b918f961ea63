//! Which objects have which sites: each file is looked through once in a run, by a thread of its own, so that neither
//! the next process nor the tracer waits for it; one file at a time, however many a cage maps.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::sites;
use super::letter::Shapes;
use crate::sys::shim::Shape;

/// No object with more bytes is looked through.
const LARGEST: u64 = 64 << 20;
/// So many objects are known at a time.
const MOST: usize = 256;

/// A file as it was when it was looked through: device, inode, size, times of change.
type Identity = (u64, u64, u64, i64, i64, i64, i64);

fn identity(file: &File) -> Option<Identity> {
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ))
}

/// A site whose calls go by the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Mark {
    /// It, at the object's own addresses.
    pub(super) site: sites::Site,
    /// The number.
    pub(super) nr: u32,
    /// Its arguments.
    pub(super) shape: Shape,
}

/// What is known of an object.
#[derive(Debug, Clone)]
pub(in super::super) enum Chart {
    /// It is being looked through.
    Drawing,
    /// Its sites.
    Drawn(Arc<[Mark]>),
}

/// All objects of a run.
#[derive(Debug)]
pub(in super::super) struct Atlas {
    shapes: Arc<Shapes>,
    charts: Mutex<HashMap<Identity, Chart>>,
}

impl Atlas {
    /// Of a run where these calls go by the mailbox.
    pub(super) fn new(shapes: Arc<Shapes>) -> Self {
        Self {
            shapes,
            charts: Mutex::default(),
        }
    }

    /// What is known of this object; where nothing is, it will be. `None` for what is no file to look through.
    pub(in super::super) fn chart(self: &Arc<Self>, mut file: File) -> Option<Chart> {
        let identity = identity(&file).filter(|&(_, _, size, ..)| size <= LARGEST)?;
        let mut charts = self.charts.lock();
        if let Some(chart) = charts.get(&identity) {
            return Some(chart.clone());
        }
        let busy = |chart: &Chart| matches!(chart, Chart::Drawing);
        if charts.values().any(busy) {
            return Some(Chart::Drawing);
        }
        if charts.len() >= MOST {
            charts.clear();
        }
        charts.insert(identity, Chart::Drawing);
        drop(charts);
        let atlas = Arc::clone(self);
        let draw = move || {
            let mut image = Vec::new();
            let marks = match Read::by_ref(&mut file)
                .take(LARGEST)
                .read_to_end(&mut image)
            {
                Ok(_) => marks(&image, &atlas.shapes),
                Err(_) => Vec::new(),
            };
            let chart = Chart::Drawn(marks.into());
            atlas.charts.lock().insert(identity, chart);
        };
        let started = std::thread::Builder::new()
            .name("atlas".to_owned())
            .spawn(draw);
        if started.is_err() {
            self.charts.lock().remove(&identity);
        }
        Some(Chart::Drawing)
    }
}

fn marks(image: &[u8], shapes: &Shapes) -> Vec<Mark> {
    let found = match sites::find(image) {
        Ok(found) => found,
        Err(unfit) => {
            tracing::debug!(?unfit, "an object has no sites to patch");
            return Vec::new();
        }
    };
    let marks: Vec<Mark> = found
        .sites
        .iter()
        .filter_map(|site| mark(site, shapes))
        .collect();
    tracing::debug!(
        marks = marks.len(),
        sites = found.sites.len(),
        refused = found.refused.len(),
        "an object is looked through"
    );
    marks
}

/// A site whose calls go by the mailbox. Where the stub would have to run instructions of the site's first, an interruption
/// among those would show it.
fn mark(site: &sites::Site, shapes: &Shapes) -> Option<Mark> {
    let nr = site.nr.filter(|_| site.kind != sites::Kind::Moved)?;
    let shape = shapes.of(u64::from(nr))?;
    Some(Mark {
        site: *site,
        nr,
        shape,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(atlas: &Arc<Atlas>, path: &str) -> usize {
        loop {
            match atlas.chart(File::open(path).unwrap()).unwrap() {
                Chart::Drawn(marks) => return marks.len(),
                Chart::Drawing => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn one_file_is_looked_through_at_a_time_and_once() {
        let atlas = Arc::new(Atlas::new(Arc::new(Shapes::new(|_| true))));
        // While one is drawn another is not begun.
        let busy = identity(&File::open("/proc/self/exe").unwrap()).unwrap();
        atlas.charts.lock().insert(busy, Chart::Drawing);
        let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
        let file = File::open(libc).unwrap();
        assert!(matches!(atlas.chart(file), Some(Chart::Drawing)));
        assert_eq!(atlas.charts.lock().len(), 1);
        atlas.charts.lock().clear();
        assert!(drawn(&atlas, libc) > 10);
        assert_eq!(atlas.charts.lock().len(), 1);
        assert!(atlas.chart(File::open("/dev/null").unwrap()).is_none());
    }
}
