//! A thread whose calls come often gets the fast path: code near the object that they come from, a mailbox, a slot. All
//! of it is done in one stop, by calls made in the thread, and only while nobody else runs in its memory.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::super::fast::{Chart, Fast, Lane, NEAR, Near, Plot, Site};
use super::super::meter::count;
use super::Tracer;
use super::jobs::Job;
use super::script::{After, Script};
use super::tracee::{At, Entry, Phase};
use crate::cage::Thread;
use crate::sys::courier::{COURIER, Courier};
use crate::sys::mailbox::Mailbox;
use crate::sys::procfs::{self, Mapping};
use crate::sys::ptrace::{Error, Regs, Resume, Stopped};
use crate::sys::shim::MAILBOX;
use crate::sys::{memory, privilege, sealed};

/// An address space with more mappings is left alone.
const MAPPINGS: usize = 4096;

/// What a script maps for the fast path.
#[derive(Debug)]
pub(super) struct Promotion {
    /// Whether all of it could be mapped.
    pub(super) mapped: bool,
    /// Whether the text that other threads run was to be exchanged, and is as it was.
    pub(super) is_refused: bool,
    pub(super) text: Option<Mapping>,
    pub(super) near: Option<Arc<Near>>,
    pub(super) mailbox: Option<(u64, Mailbox)>,
    /// The courier that came with it.
    pub(super) courier: Option<Courier>,
    /// How many sites are patched in the copy of a text.
    pub(super) patched: u64,
    /// Nobody else changes the address space meanwhile.
    _claim: Arc<()>,
}

impl Tracer {
    /// Looks at where a thread's calls come from, and lets it make this one again.
    pub(super) fn look(&mut self, stopped: Stopped, mut entry: Entry) -> Result<(), Error> {
        let tid = stopped.tid();
        let prepared = match self.platform.fast.clone() {
            Some(fast) if !self.joins(&fast, &stopped, &mut entry.regs)? => {
                self.prepare(&fast, tid, &entry.regs)
            }
            _ => None,
        };
        let Some((promotion, jobs)) = prepared else {
            return self.make_again(stopped, entry);
        };
        let script = Script::new(entry, jobs, After::Promote(Box::new(promotion)));
        self.begin(stopped, Box::new(script))
    }

    /// A thread makes its call again: one that has not begun yet is asked about now.
    fn make_again(&mut self, stopped: Stopped, entry: Entry) -> Result<(), Error> {
        self.set_phase(stopped.tid(), Phase::Running);
        if entry.at == At::Entry {
            return self.ask(stopped, entry);
        }
        stopped.resume(Resume::Run, 0)
    }

    /// What is to be mapped for this thread now; `None` where nothing is.
    fn prepare(&self, fast: &Arc<Fast>, tid: i32, regs: &Regs) -> Option<(Promotion, Vec<Job>)> {
        let client = fast.client(tid);
        let tracee = self.tracees.get(&tid)?;
        let is_alone = self.is_alone(tracee);
        let mut space = tracee.space.lock();
        let claim = space.claim()?;
        if regs.gs_base != 0 && !space.is_in_mailbox(regs.gs_base) {
            client.settle();
            return None;
        }
        let host_proc = self.platform.dispatcher.kernel.host_proc.as_fd();
        let look = || procfs::mappings(host_proc, tid, MAPPINGS);
        let maps = look().or_else(|_| privilege::with_ptrace(look)).ok()?;
        let Some(plot) = space.plot(&maps, regs.rip) else {
            // Without a lane it may yet come from where there is more.
            if space.mailbox.is_none() || client.lane().is_some() {
                client.settle();
            }
            return None;
        };
        drop(space);
        if !is_alone && !self.may_exchange(tracee) {
            count(&self.platform.meter.declined);
            return None;
        }
        let keeps_courier = {
            let files = tracee.thread.files();
            // The thread's own and this one: nobody else may change a table with a courier.
            Arc::strong_count(&files) == 2
                && tracee.thread.cage.nofile() > COURIER as u64
                && files.lock().has_room_for_courier()
        };
        let Some(text) = plot.text.clone() else {
            let (promotion, job) = promotion(plot, None, keeps_courier, claim)?;
            return Some((promotion, vec![Job::map_writable(), job]));
        };
        let text = &text;
        let chart = self
            .open_object(text)
            .and_then(|file| fast.atlas.chart(file));
        let marks = match chart {
            Some(Chart::Drawing) => {
                client.postpone();
                return None;
            }
            Some(Chart::Drawn(marks)) => marks,
            None => Arc::default(),
        };
        let sites: Vec<Site> = marks
            .iter()
            .filter_map(|mark| Site::new(mark, text.range.0, text.offset))
            .filter(|site| self.stands(tid, site, text))
            .collect();
        let near = Near::new(plot.near_at, sites);
        if near.sites.is_empty() {
            // Nothing there to patch: it is not looked at again.
            tracee.space.lock().settle(text, None);
            return None;
        }
        let (promotion, job) = promotion(plot, Some(near), keeps_courier, claim)?;
        let mut jobs = vec![Job::map_writable(), job];
        if !is_alone {
            jobs.push(Job::exchange(self.open_object(text)?.into(), text));
        }
        Some((promotion, jobs))
    }

    /// The file behind a mapping.
    fn open_object(&self, text: &Mapping) -> Option<File> {
        let name = std::str::from_utf8(&text.name).ok()?;
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let place = open(name, flags, Mode::empty()).ok()?;
        let stat = fstat(&place).ok()?;
        let is_it = stat.st_ino == text.inode
            && SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        let host_proc = self.platform.dispatcher.kernel.host_proc.as_fd();
        is_it
            .then(|| sealed::reopen_read_only(host_proc, &place).ok())
            .flatten()
            .map(File::from)
    }

    /// Whether the site stands in the thread's memory as its file has it.
    fn stands(&self, tid: i32, site: &Site, text: &Mapping) -> bool {
        let original = site.code();
        let mut found = vec![0; original.len()];
        let end = site.addr.saturating_add(found.len() as u64);
        site.addr >= text.range.0
            && end < text.range.1
            && memory::read(tid, site.addr, &mut found) == Ok(found.len())
            && found == original
    }

    /// The script is done: patches the sites, gives the thread its slot, and lets it make its call again.
    pub(super) fn promoted(
        &mut self,
        stopped: Stopped,
        entry: Entry,
        mut promotion: Promotion,
        mask: Option<u64>,
    ) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(thread) = self.thread(tid) else {
            return Err(Error::Gone(tid));
        };
        let mut gs = None;
        if let Some(courier) = promotion.courier.take() {
            thread.files().lock().set_courier(courier);
        }
        if promotion.mapped {
            let is_whole = self.is_still_whole(&mut promotion, tid);
            self.settle_space(&stopped, promotion)?;
            if is_whole && let Some(slot) = self.lane_for(&thread) {
                gs = Some(slot);
            }
        } else if let Some(fast) = &self.platform.fast {
            fast.client(tid).settle();
        }
        self.again(stopped, &entry, mask, gs)
    }

    /// The script is done: the thread makes its call again, with this gs where it gets one.
    pub(super) fn again(
        &mut self,
        stopped: Stopped,
        entry: &Entry,
        mask: Option<u64>,
        gs: Option<u64>,
    ) -> Result<(), Error> {
        let tid = stopped.tid();
        if let Some(thread) = self.thread(tid) {
            thread.set_injected(false);
        }
        if let Some(mask) = mask {
            stopped.set_signal_mask(mask)?;
        }
        let mut regs = entry.regs;
        // Where nothing could even be begun the kernel makes the call again by itself.
        if entry.at == At::Exit {
            regs.rip = regs.rip.wrapping_sub(2);
            regs.rax = entry.call.nr;
            regs.orig_rax = u64::MAX;
        }
        regs.gs_base = gs.unwrap_or(regs.gs_base);
        stopped.set_regs(&regs)?;
        self.make_again(stopped, Entry { regs, ..*entry })
    }

    fn settle_space(&self, stopped: &Stopped, promotion: Promotion) -> Result<(), Error> {
        let Some(tracee) = self.tracees.get(&stopped.tid()) else {
            return Err(Error::Gone(stopped.tid()));
        };
        let mut space = tracee.space.lock();
        if let Some((at, mailbox)) = promotion.mailbox {
            space.set_mailbox(at, mailbox);
        }
        if let Some(near) = &promotion.near {
            for (site, patch) in near.patches() {
                let addr = site.addr;
                let mut word = [0; 8];
                if memory::read(stopped.tid(), addr, &mut word) != Ok(word.len()) {
                    continue;
                }
                let [a, b, c, d, e, ..] = &mut word;
                for (byte, new) in [a, b, c, d, e].into_iter().zip(patch) {
                    *byte = new;
                }
                stopped.poke(addr, word)?;
                count(&self.platform.meter.patched);
            }
        }
        if let Some(text) = &promotion.text {
            space.settle(text, promotion.near);
        }
        Ok(())
    }

    /// Gives a thread a slot of its address space's mailbox, where there is one; says where the slot is.
    pub(super) fn lane_for(&self, thread: &Arc<Thread>) -> Option<u64> {
        let fast = self.platform.fast.as_ref()?;
        let tracee = self.tracees.get(&thread.tid.0)?;
        let space = tracee.space.lock();
        let client = fast.client(thread.tid.0);
        if let Some(lane) = client.lane() {
            return space.slot_at(lane.slot.offset());
        }
        let slot = space.mailbox.as_ref()?.slot()?;
        let at = space.slot_at(slot.offset())?;
        client.set_lane(Lane::new(Arc::clone(thread), slot, at));
        Some(at)
    }
}

/// The file that is mapped, its content, and how.
fn promotion(
    plot: Plot,
    near: Option<Near>,
    keeps_courier: bool,
    claim: Arc<()>,
) -> Option<(Promotion, Job)> {
    let size = i64::try_from(NEAR + MAILBOX as u64).ok()?;
    let file = sealed::memfd(size).ok()?;
    if let Some(near) = &near {
        let image = near.image(plot.mailbox_at);
        let written = nix::sys::uio::pwrite(&file, &image, 0).ok()?;
        if written != image.len() {
            return None;
        }
    }
    let mailbox = if plot.maps_mailbox {
        let mailbox = Mailbox::map(&file, usize::try_from(NEAR).ok()?).ok()?;
        Some((plot.mailbox_at, mailbox))
    } else {
        None
    };
    let near_at = near.as_ref().map(|near| near.base);
    let mailbox_at = plot.maps_mailbox.then_some(plot.mailbox_at);
    let job = Job::map_fast(file, near_at, mailbox_at, keeps_courier);
    let promotion = Promotion {
        mapped: true,
        is_refused: false,
        text: plot.text,
        near: near.map(Arc::new),
        mailbox,
        courier: None,
        patched: 0,
        _claim: claim,
    };
    Some((promotion, job))
}
