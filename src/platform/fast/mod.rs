//! The fast path: calls that patched sites post in a shared mailbox, served by a thread that looks for them while they
//! come thick and sleeps otherwise. It is a cache in front of the notifications, never a boundary: the filter is the
//! same as without it, and whatever is odd goes the other way.

mod atlas;
mod berth;
mod client;
mod due;
mod letter;
mod near;
mod server;
mod space;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::meter::Meter;
use crate::dispatch::{Dispatcher, Way};
use crate::posix::row::Row;

pub(super) use atlas::{Atlas, Chart};
use berth::Berth;
pub(super) use client::{Client, Lane};
pub(super) use due::Due;
use letter::{Shapes, is_often_refused};
pub(super) use near::{NEAR, Native, Near, Site, Standing};
pub(super) use server::{answer_wait, start};
pub(super) use space::{Plot, Space};

/// What the threads of the supervisor share of the fast path.
#[derive(Debug)]
pub(super) struct Fast {
    began: Instant,
    clients: RwLock<HashMap<i32, Arc<Client>>>,
    /// Which calls go by the mailbox.
    shapes: Arc<Shapes>,
    /// Which objects have which sites.
    pub(super) atlas: Arc<Atlas>,
    /// Lanes that the server is to look at from now on.
    heated: Mutex<Vec<Arc<Lane>>>,
    has_heated: AtomicBool,
    woken: Condvar,
    berth: Berth,
    patches: AtomicBool,
    spins: AtomicBool,
}

impl Fast {
    /// The fast path, where this machine can have it: the shim finds its slot by an instruction that not every processor
    /// has, and one CPU alone cannot serve what it asks.
    pub(super) fn new(dispatcher: &Dispatcher) -> Option<Arc<Self>> {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cpus > 1 && crate::sys::shim::is_supported()).then(|| {
            let reaches = |row: &Row| !matches!(dispatcher.way(row), Way::Pass);
            let shapes = Arc::new(Shapes::new(reaches));
            Arc::new(Self {
                began: Instant::now(),
                clients: RwLock::default(),
                atlas: Arc::new(Atlas::new(Arc::clone(&shapes))),
                shapes,
                heated: Mutex::default(),
                has_heated: AtomicBool::new(false),
                woken: Condvar::new(),
                berth: Berth::default(),
                patches: AtomicBool::new(true),
                spins: AtomicBool::new(true),
            })
        })
    }

    /// Whether sites may be patched, and lanes looked at.
    pub(super) fn limit(&self, patches: bool, spins: bool) {
        self.patches.store(patches, Ordering::Relaxed);
        self.spins.store(spins, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A thread's entry.
    pub(super) fn client(&self, tid: i32) -> Arc<Client> {
        if let Some(client) = self.clients.read().get(&tid) {
            return Arc::clone(client);
        }
        Arc::clone(self.clients.write().entry(tid).or_default())
    }

    /// A thread's entry, where it has one.
    pub(super) fn known(&self, tid: i32) -> Option<Arc<Client>> {
        self.clients.read().get(&tid).cloned()
    }

    /// A thread is gone, or has another program.
    pub(super) fn forget(&self, tid: i32) {
        drop(self.clients.write().remove(&tid));
    }

    /// A call came the kernel's way: whether its site is worth a look.
    pub(super) fn arrives(&self, tid: i32, nr: u64) -> bool {
        self.shapes.of(nr).is_some()
            && self.patches.load(Ordering::Relaxed)
            && self.client(tid).arrives()
    }

    /// A call that could have gone by the mailbox came the kernel's way: the lane that is to be served from now on.
    pub(super) fn misses(&self, meter: &Meter, tid: i32, nr: u64) -> Option<Arc<Lane>> {
        self.shapes.of(nr)?;
        let client = self.known(tid)?;
        client
            .misses(meter, self.now(), !is_often_refused(nr))
            .filter(|_| self.spins.load(Ordering::Relaxed))
    }

    /// Somebody who runs on the very CPU of a thread is about to let it go on: the server leaves both alone there.
    pub(super) fn leave_cpu(&self) {
        self.berth.keep_off();
    }

    /// The server is to look at this lane.
    pub(super) fn heat(&self, lane: Arc<Lane>) {
        if lane.is_hot.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut heated = self.heated.lock();
        heated.push(lane);
        self.has_heated.store(true, Ordering::Release);
        drop(heated);
        self.woken.notify_one();
    }

    /// Takes the lanes that were heated; waits for some where there is nothing else to do.
    fn take_heated(&self, idle: bool) -> Vec<Arc<Lane>> {
        if !idle && !self.has_heated.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut heated = self.heated.lock();
        while idle && heated.is_empty() {
            self.woken.wait(&mut heated);
        }
        self.has_heated.store(false, Ordering::Release);
        std::mem::take(&mut *heated)
    }
}

/// How long it looks at a lane that was just heated: the thread is in a call that goes the kernel's way.
const WAITS_FOR: Duration = Duration::from_micros(if cfg!(debug_assertions) { 1000 } else { 2000 });
/// How long the server looks at a lane where nothing comes.
const LOOKS_FOR: Duration = Duration::from_millis(1);
