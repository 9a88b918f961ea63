//! An address space with a fast path: what is mapped there for it, and where more can be.

use std::sync::{Arc, Weak};

use super::near::{NEAR, Near, Standing};
use crate::sys::mailbox::Mailbox;
use crate::sys::procfs::Mapping;
use crate::sys::shim::MAILBOX;

const PAGE: u64 = 4096;
/// So much is left free above it: what the kernel maps next goes there.
const SPARE: u64 = 1 << 20;
/// So much is left for a heap to grow.
const GROWTH: u64 = 64 << 30;
/// Nothing is mapped lower.
const LOWEST: u64 = 0x1_0000;
/// A jump reaches a little farther.
const REACH: u64 = 1 << 30;

/// An object that is or will be patched, or that is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    range: (u64, u64),
    inode: u64,
}

/// What a fork's child has of it too; threads share the whole.
#[derive(Debug, Default)]
pub(in super::super) struct Space {
    objects: Vec<Object>,
    nears: Vec<Arc<Near>>,
    /// Where the mailbox is or, after a fork, was.
    mailbox_at: Option<u64>,
    pub(in super::super) mailbox: Option<Mailbox>,
    /// Nothing is to be changed: another process has the same memory.
    closed: bool,
    /// Held, beside by the space itself, by those of children that run in this memory while their makers wait.
    guests: Arc<()>,
    /// Where this is such a child's: that of the memory that it runs in.
    host: Option<Arc<()>>,
    /// Whoever changes it at the moment.
    claim: Weak<()>,
}

/// What is to be mapped in an address space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Plot {
    /// The text that a call came from, where its object is not known yet.
    pub(in super::super) text: Option<Mapping>,
    /// Where the code near it goes.
    pub(in super::super) near_at: u64,
    /// Where the mailbox goes, or is.
    pub(in super::super) mailbox_at: u64,
    /// Whether it is to be mapped.
    pub(in super::super) maps_mailbox: bool,
}

impl Space {
    /// The address space of a fork's child: the mailbox is not in it.
    pub(in super::super) fn forked(&self, shares_memory: bool) -> Self {
        Self {
            objects: self.objects.clone(),
            nears: self.nears.clone(),
            mailbox_at: self.mailbox_at,
            mailbox: None,
            closed: shares_memory || self.closed,
            guests: Arc::default(),
            host: shares_memory.then(|| Arc::clone(self.host.as_ref().unwrap_or(&self.guests))),
            claim: Weak::new(),
        }
    }

    /// Whether all that run in it are threads of one process, and go by this.
    pub(in super::super) fn is_one_process(&self) -> bool {
        !self.closed && Arc::strong_count(&self.guests) == 1
    }

    /// The right to change it, until it is dropped; `None` while somebody else has it.
    pub(in super::super) fn claim(&mut self) -> Option<Arc<()>> {
        if self.claim.strong_count() > 0 {
            return None;
        }
        let claim = Arc::new(());
        self.claim = Arc::downgrade(&claim);
        Some(claim)
    }

    /// Whether a thread whose call came from here needs nothing but a slot: its object is patched, and there is a mailbox.
    pub(in super::super) fn is_patched_at(&self, rip: u64) -> bool {
        let holds = |range: (u64, u64), addr| (range.0..range.1).contains(&addr);
        self.mailbox.is_some()
            && !self.closed
            && self.claim.strong_count() == 0
            && self.objects.iter().any(|object| {
                holds(object.range, rip)
                    && self.nears.iter().any(|near| {
                        let mut sites = near.sites.iter();
                        sites.any(|site| holds(object.range, site.addr))
                    })
            })
    }

    /// From now on another process runs in it too: nothing is changed any more.
    pub(in super::super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether a thread in it may have come by a gs that is not its own.
    pub(in super::super) fn is_touched(&self) -> bool {
        self.mailbox_at.is_some()
    }

    /// Whether this address is in the mailbox, or where it was.
    pub(in super::super) fn is_in_mailbox(&self, addr: u64) -> bool {
        self.mailbox_at
            .is_some_and(|at| (at..at + MAILBOX as u64).contains(&addr))
    }

    /// Where a slot is that begins at this offset of the mailbox.
    pub(in super::super) fn slot_at(&self, offset: u64) -> Option<u64> {
        self.mailbox_at.map(|at| at + offset)
    }

    /// Where a thread at `rip` stands, where it is in code of ours.
    pub(in super::super) fn standing(&self, rip: u64) -> Option<Standing> {
        self.nears.iter().find_map(|near| near.standing(rip))
    }

    /// Whether a patched site's `syscall` ends at this address.
    pub(in super::super) fn ends_site(&self, end: u64) -> bool {
        self.nears.iter().any(|near| near.ends_site(end))
    }

    /// What a call from `rip` gives reason to map; `None` where nothing is.
    pub(in super::super) fn plot(&self, maps: &[Mapping], rip: u64) -> Option<Plot> {
        if self.closed {
            return None;
        }
        let place = maps
            .iter()
            .position(|mapping| (mapping.range.0..mapping.range.1).contains(&rip))?;
        let text = maps.get(place)?;
        let is_known = self
            .objects
            .iter()
            .any(|object| object.range == text.range && object.inode == text.inode);
        let is_object = text.mode == "r-xp" && text.inode != 0;
        let maps_mailbox = self.mailbox.is_none();
        let text = (is_object && !is_known).then(|| text.clone());
        match (&text, self.mailbox_at) {
            // A fork's child that has it all but the mailbox.
            (None, Some(at)) => maps_mailbox.then_some(Plot {
                text: None,
                near_at: 0,
                mailbox_at: at,
                maps_mailbox,
            }),
            (None, None) => None,
            (Some(_), Some(at)) => Some(Plot {
                text,
                near_at: gap(maps, place, NEAR)?,
                mailbox_at: at,
                maps_mailbox,
            }),
            (Some(_), None) => {
                let near_at = gap(maps, place, NEAR + MAILBOX as u64)?;
                Some(Plot {
                    text,
                    near_at,
                    mailbox_at: near_at + NEAR,
                    maps_mailbox,
                })
            }
        }
    }

    /// Notes an object, and the code near it where there is some.
    pub(in super::super) fn settle(&mut self, text: &Mapping, near: Option<Arc<Near>>) {
        self.objects.push(Object {
            range: text.range,
            inode: text.inode,
        });
        self.nears.extend(near);
    }

    /// Notes the mailbox.
    pub(in super::super) fn set_mailbox(&mut self, at: u64, mailbox: Mailbox) {
        self.mailbox_at = Some(at);
        self.mailbox = Some(mailbox);
    }
}

/// Room for so many bytes within reach of a mapping, with some free on either side, where the kernel puts what is mapped
/// next: below it, where there is some, never where a stack grows, and far from where a heap does.
fn gap(maps: &[Mapping], place: usize, bytes: u64) -> Option<u64> {
    let anchor = maps.get(place)?.range.0;
    let fits = |above: usize| {
        let end = maps.get(above)?.range.0;
        let below = above.checked_sub(1).and_then(|below| maps.get(below));
        let start = below.map_or(LOWEST, |below| below.range.1);
        let is_stack = maps
            .get(above)
            .is_some_and(|above| above.name == b"[stack]");
        let grows = below.is_some_and(|below| below.name == b"[heap]");
        let least = if grows { GROWTH } else { PAGE };
        let at = end.checked_sub(bytes + SPARE)?;
        (!is_stack && at >= start + least && anchor.abs_diff(at) < REACH).then_some(at)
    };
    (0..=place)
        .rev()
        .find_map(fits)
        .or_else(|| (place + 1..maps.len()).find_map(fits))
}

#[cfg(test)]
mod tests {
    use super::super::super::sites;
    use super::super::{Site, atlas::Mark};
    use super::*;

    fn mapping(start: u64, end: u64, mode: &str, inode: u64, name: &str) -> Mapping {
        Mapping {
            range: (start, end),
            mode: mode.to_owned(),
            offset: 0,
            inode,
            name: name.as_bytes().to_vec(),
        }
    }

    #[test]
    fn room_is_found_below_an_object_and_not_above_a_heap() {
        let maps = [
            mapping(0x40_0000, 0x40_1000, "r--p", 7, "/a"),
            mapping(0x40_1000, 0x50_0000, "r-xp", 7, "/a"),
            mapping(0x80_0000, 0x90_0000, "rw-p", 0, "[heap]"),
            mapping(0x3000_0000, 0x3100_0000, "r-xp", 8, "/b"),
        ];
        assert_eq!(gap(&maps, 1, 0x2000), Some(0x30_0000 - 0x2000));
        assert_eq!(gap(&maps, 3, 0x2000), Some(0x70_0000 - 0x2000));
        assert_eq!(gap(&maps, 0, 0x4000_0000), None);
        let apart = [
            mapping(0x5000_0000_0000, 0x5000_0010_0000, "rw-p", 0, "[heap]"),
            mapping(0x7000_0000_0000, 0x7000_0010_0000, "r-xp", 8, "/b"),
        ];
        assert_eq!(gap(&apart, 1, 0x2000), Some(0x7000_0000_0000 - 0x10_2000));
    }

    #[test]
    fn an_object_is_plotted_once_and_a_forked_child_gets_a_mailbox() {
        let maps = [mapping(0x40_0000, 0x50_0000, "r-xp", 7, "/a")];
        let mut space = Space::default();
        let plot = space.plot(&maps, 0x40_0100).unwrap();
        assert_eq!(plot.mailbox_at, plot.near_at + NEAR);
        assert!(plot.maps_mailbox && plot.text.is_some());
        assert_eq!(space.plot(&maps, 0x100), None);
        let file = crate::sys::sealed::memfd(MAILBOX as i64).unwrap();
        space.settle(&maps[0], None);
        space.set_mailbox(plot.mailbox_at, Mailbox::map(&file, 0).unwrap());
        assert_eq!(space.plot(&maps, 0x40_0100), None);
        let child = space.forked(false).plot(&maps, 0x40_0100).unwrap();
        assert_eq!((child.mailbox_at, child.text), (plot.mailbox_at, None));
        assert_eq!(space.forked(true).plot(&maps, 0x40_0100), None);
        let mut closed = Space::default();
        closed.close();
        assert_eq!(closed.plot(&maps, 0x40_0100), None);
        let data = [mapping(0x40_0000, 0x50_0000, "rw-p", 7, "/a")];
        assert_eq!(Space::default().plot(&data, 0x40_0100), None);
    }

    #[test]
    fn guests_are_known_until_they_leave_and_one_changes_it_at_a_time() {
        let mut space = Space::default();
        let claim = space.claim().unwrap();
        assert_eq!(space.claim(), None);
        drop(claim);
        assert!(space.claim().is_some());
        let fork = space.forked(false);
        assert!(space.is_one_process() && fork.is_one_process());
        let guest = space.forked(true);
        let of_guest = guest.forked(true);
        drop(guest);
        assert!(!space.is_one_process());
        drop(of_guest);
        assert!(space.is_one_process());
        space.close();
        assert!(!space.is_one_process());
    }

    #[test]
    fn a_slot_is_all_that_is_missing_where_an_object_has_patched_sites() {
        let maps = [
            mapping(0x40_0000, 0x50_0000, "r-xp", 7, "/a"),
            mapping(0x60_0000, 0x70_0000, "r-xp", 8, "/b"),
        ];
        let mark = Mark {
            site: sites::Site::made(sites::Kind::Number, b"\xb8\x04\0\0\0\x0f\x05"),
            nr: 4,
            shape: crate::sys::shim::Shape::First,
        };
        let site = Site::new(&mark, 0x40_0000, 0).unwrap();
        let mut space = Space::default();
        space.settle(&maps[0], Some(Arc::new(Near::new(0x30_0000, vec![site]))));
        space.settle(&maps[1], None);
        assert!(!space.is_patched_at(0x40_0500));
        let file = crate::sys::sealed::memfd(MAILBOX as i64).unwrap();
        space.set_mailbox(0x20_0000, Mailbox::map(&file, 0).unwrap());
        assert!(space.is_patched_at(0x40_0500));
        assert!(!space.is_patched_at(0x60_0500) && !space.is_patched_at(0x50_0000));
        let claim = space.claim().unwrap();
        assert!(!space.is_patched_at(0x40_0500));
        drop(claim);
        assert!(space.is_patched_at(0x40_0500));
        assert!(!space.forked(false).is_patched_at(0x40_0500));
    }
}
