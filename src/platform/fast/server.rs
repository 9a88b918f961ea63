//! The thread that serves the mailboxes. While calls come thick it looks for them without a pause; a lane where nothing
//! comes for some microseconds cools down, and with none left it sleeps.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::meter::count;
use super::super::{Platform, ToTracer};
use super::due::{self, Due};
use super::letter::{Letter, is_about_numbers};
use super::{Fast, LOOKS_FOR, Lane, WAITS_FOR};
use crate::dispatch::Answer;
use crate::interpose::{Call, Handled};
use crate::posix::{Carried, Ctx, Outcome, SysResult, carry};
use crate::sys::namespace;
use crate::sys::notify::{self, Response};
use crate::sys::shim::{self, Shape, slot};

/// After so many looks at all lanes the clock is read.
const LOOKS: u32 = 64;

/// Starts the server; it lives as long as the supervisor.
///
/// # Errors
/// Where no thread can be made.
pub(in super::super) fn start(platform: &Arc<Platform>, fast: &Arc<Fast>) -> std::io::Result<()> {
    let (platform, fast) = (Arc::clone(platform), Arc::clone(fast));
    std::thread::Builder::new()
        .name("mailbox".to_owned())
        .spawn(move || {
            // A umask and a working directory of its own: handlers set them for a call.
            namespace::own_fs_context();
            serve(&platform, &fast);
        })?;
    Ok(())
}

/// A lane that is looked at.
struct Hot {
    lane: Arc<Lane>,
    last: Instant,
    /// Whether a call was served since it was heated.
    is_of_use: bool,
}

fn serve(platform: &Platform, fast: &Fast) {
    let mut hot: Vec<Hot> = Vec::new();
    let mut looks = 0;
    fast.berth.enter();
    let mut came = Instant::now();
    loop {
        let heated = fast.take_heated(hot.is_empty());
        if !heated.is_empty() {
            let last = Instant::now();
            for lane in heated {
                lane.set_awake(true);
                hot.push(Hot {
                    lane,
                    last,
                    is_of_use: false,
                });
            }
        }
        let mut served = false;
        for hot in &mut hot {
            if hot.lane.slot.take() {
                hot.last = serve_one(platform, fast, &hot.lane);
                hot.is_of_use = true;
                served = true;
            }
        }
        looks += 1;
        if served {
            continue;
        }
        if looks > LOOKS {
            looks = 0;
            let now = fast.berth.give_way(&mut came);
            hot.retain(|hot| {
                let patience = if hot.is_of_use { LOOKS_FOR } else { WAITS_FOR };
                let stays = now.duration_since(hot.last) < patience;
                if !stays {
                    cool(platform, fast, hot);
                }
                stays
            });
        }
        std::hint::spin_loop();
    }
}

/// Leaves a lane alone from now on.
fn cool(platform: &Platform, fast: &Fast, hot: &Hot) {
    hot.lane.cool(&platform.meter, fast.now(), hot.is_of_use);
    // What was posted before it could be seen that nobody looks.
    if hot.lane.slot.take() {
        serve_one(platform, fast, &hot.lane);
    }
}

/// Serves the call that was taken; says when it came.
fn serve_one(platform: &Platform, fast: &Fast, lane: &Lane) -> Instant {
    let posted = &lane.slot;
    let nr = shim::number(posted.call());
    let call = Call::new(nr, posted.args());
    let answered = fast
        .shapes
        .of(nr)
        .and_then(|shape| answer(platform, lane, &call, shape));
    match answered {
        Some(()) => {
            count(&platform.meter.mailed);
            lane.hits.fetch_add(1, Ordering::Relaxed);
        }
        None => {
            count(&platform.meter.returned);
            posted.finish(slot::REFUSED);
        }
    }
    let parked = lane.parked.lock().take();
    if let (Some(id), Some(listener)) = (parked, platform.listener.get()) {
        let _ = notify::send(listener.as_fd(), id, Response::Result(0));
    }
    if lane.tracer_waits.swap(false, Ordering::AcqRel) {
        platform.ask_tracer(ToTracer::Served(lane.thread.tid.0));
    }
    call.started
}

/// Answers a call; `None` where it must go the kernel's way.
fn answer(platform: &Platform, lane: &Lane, call: &Call, shape: Shape) -> Option<()> {
    let dispatcher = &platform.dispatcher;
    // Another process with the same memory could go on in the name of one that is gone, whose number may be another's now.
    let is_there = {
        let cages = dispatcher.kernel.cages.read();
        let known = cages.get(lane.thread.tid);
        known.is_some_and(|known| Arc::ptr_eq(known, &lane.thread))
    };
    if !is_there {
        return None;
    }
    let opens = !shape.paths().is_empty();
    if is_about_numbers(call.nr) && !due::owns_its_table(&lane.thread, opens) {
        return None;
    }
    // It posted this: whatever it owed before is paid.
    lane.thread.settle();
    lane.due.lock().take();
    lane.taken.lock().take();
    let letter = Letter::new(&lane.slot, shape, &call.args);
    let (value, due, change) = {
        let thread = &lane.thread;
        let cx = Ctx::new(&dispatcher.kernel, thread, &letter, call.nr, call.args).aside();
        let Answer::Now(result, change) = dispatcher.dispatch(&cx, call) else {
            return None;
        };
        let judged = judge(platform, lane, &cx, call, result, &letter);
        let Some((handled, value, due)) = judged.filter(|_| !letter.has_strayed()) else {
            dispatcher.withdraw(&cx, call);
            return None;
        };
        (dispatcher.finish(&cx, call, handled, value), due, change)
    };
    let given = letter.into_given();
    let bytes = if value < 0 {
        &[]
    } else {
        given.bytes.as_slice()
    };
    lane.slot.answer(value, given.addr, bytes);
    if let Some(due) = due {
        due.post(&lane.slot, call, lane.at);
        *lane.due.lock() = Some(due);
    }
    lane.slot.finish(slot::SERVED);
    // The table may be copied once the thread can know of what changed in it.
    drop(change);
    Some(())
}

/// What a call comes to: by whom, its value, what it still owes. `None` where it must go the kernel's way.
fn judge(
    platform: &Platform,
    lane: &Lane,
    cx: &Ctx<'_>,
    call: &Call,
    result: SysResult,
    letter: &Letter,
) -> Option<(Handled, i64, Option<Due>)> {
    Some(match result {
        Ok(Outcome::Emulated(value)) => {
            match due::bring(platform, cx, value, letter.has_strayed())? {
                Ok(due) => (Handled::Virtual, value.cast_signed(), due),
                Err(errno) => (Handled::Virtual, -i64::from(errno.into_raw()), None),
            }
        }
        Ok(Outcome::Deny(errno)) => (Handled::Denied, -i64::from(errno.into_raw()), None),
        Err(errno) => (Handled::Virtual, -i64::from(errno.into_raw()), None),
        Ok(Outcome::Continue) if due::is_by_call(call) => (Handled::Kernel, 0, Some(Due::Call)),
        Ok(Outcome::Continue) => {
            let Carried { value, taken } = carry(cx)?;
            *lane.taken.lock() = taken;
            (Handled::Virtual, value.cast_signed(), None)
        }
        Ok(Outcome::Forward(_)) => return None,
    })
}

/// A thread waits by this notification until its call is served.
pub(in super::super) fn answer_wait(fast: &Fast, listener: BorrowedFd<'_>, tid: i32, id: u64) {
    if let Some(lane) = fast.known(tid).and_then(|client| client.lane()) {
        let mut parked = lane.parked.lock();
        if lane.slot.state() == slot::TAKEN {
            *parked = Some(id);
            return;
        }
    }
    let _ = notify::send(listener, id, Response::Result(0));
}
