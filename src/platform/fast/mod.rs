//! The fast path: calls that patched sites post in a shared mailbox, served by a thread that looks for them while they
//! come thick and sleeps otherwise. It is a cache in front of the notifications, never a boundary: the filter is the
//! same as without it, and whatever is odd goes the other way.

mod atlas;
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

pub(super) use atlas::{Atlas, Chart};
pub(super) use client::{Client, Lane};
pub(super) use due::Due;
use letter::{is_about_numbers, shape};
pub(super) use near::{NEAR, Native, Near, Site, Standing};
pub(super) use server::{answer_wait, start};
pub(super) use space::{Plot, Space};

/// What the threads of the supervisor share of the fast path.
#[derive(Debug)]
pub(super) struct Fast {
    began: Instant,
    clients: RwLock<HashMap<i32, Arc<Client>>>,
    /// Which objects have which sites.
    pub(super) atlas: Arc<Atlas>,
    /// Lanes that the server is to look at from now on.
    heated: Mutex<Vec<Arc<Lane>>>,
    has_heated: AtomicBool,
    woken: Condvar,
    patches: AtomicBool,
    spins: AtomicBool,
}

impl Fast {
    /// The fast path, where this machine can have it: the shim finds its slot by an instruction that not every processor
    /// has, and one CPU alone cannot serve what it asks.
    pub(super) fn new() -> Option<Arc<Self>> {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cpus > 1 && crate::sys::shim::is_supported()).then(|| {
            Arc::new(Self {
                began: Instant::now(),
                clients: RwLock::default(),
                atlas: Arc::default(),
                heated: Mutex::default(),
                has_heated: AtomicBool::new(false),
                woken: Condvar::new(),
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
    pub(super) fn arrives(&self, meter: &Meter, tid: i32, nr: u64) -> bool {
        if shape(nr).is_none() || !self.patches.load(Ordering::Relaxed) {
            return false;
        }
        let client = self.client(tid);
        let (looks, heats) = client.arrives(meter, self.now(), !is_about_numbers(nr));
        if let Some(lane) = heats.filter(|_| self.spins.load(Ordering::Relaxed)) {
            self.heat(lane);
        }
        looks
    }

    /// The server is to look at this lane.
    fn heat(&self, lane: Arc<Lane>) {
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
const WAITS_FOR: Duration = Duration::from_micros(if cfg!(debug_assertions) { 1000 } else { 250 });
/// How long the server looks at a lane where nothing comes.
const LOOKS_FOR: Duration = Duration::from_micros(if cfg!(debug_assertions) { 1000 } else { 200 });
