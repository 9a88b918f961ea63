//! The thread that serves the mailboxes. While calls come thick it looks for them without a pause; a lane where nothing
//! comes for some microseconds cools down, and with none left it sleeps.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::meter::count;
use super::super::notifier::shows_numbers;
use super::super::{Platform, ToTracer};
use super::due::Due;
use super::letter::{Letter, is_about_numbers, shape};
use super::{Fast, LOOKS_FOR, Lane};
use crate::abi::Errno;
use crate::dispatch::Answer;
use crate::interpose::{Call, Handled};
use crate::posix::{Ctx, Install, Outcome};
use crate::sys::namespace;
use crate::sys::notify::{self, Response};
use crate::sys::shim::slot;

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
}

fn serve(platform: &Platform, fast: &Fast) {
    let mut hot: Vec<Hot> = Vec::new();
    let mut looks = 0;
    loop {
        let heated = fast.take_heated(hot.is_empty());
        if !heated.is_empty() {
            let last = Instant::now();
            for lane in heated {
                lane.set_awake(true);
                hot.push(Hot { lane, last });
            }
        }
        let mut served = false;
        for hot in &mut hot {
            if hot.lane.slot.take() {
                hot.last = serve_one(platform, &hot.lane);
                served = true;
            }
        }
        looks += 1;
        if served {
            continue;
        }
        if looks > LOOKS {
            looks = 0;
            let now = Instant::now();
            hot.retain(|hot| {
                let stays = now.duration_since(hot.last) < LOOKS_FOR;
                if !stays {
                    cool(platform, &hot.lane);
                }
                stays
            });
        }
        std::hint::spin_loop();
    }
}

/// Leaves a lane alone from now on.
fn cool(platform: &Platform, lane: &Lane) {
    lane.set_awake(false);
    lane.is_hot.store(false, Ordering::Release);
    // What was posted before it could be seen that nobody looks.
    if lane.slot.take() {
        serve_one(platform, lane);
    }
}

/// Serves the call that was taken; says when it came.
fn serve_one(platform: &Platform, lane: &Lane) -> Instant {
    let posted = &lane.slot;
    let nr = u64::from(posted.call() >> 16 & 0x1fff);
    let call = Call::new(nr, posted.args());
    match answer(platform, lane, &call) {
        Some(()) => {
            count(&platform.meter.mailed);
            lane.hits.fetch_add(1, Ordering::Relaxed);
        }
        None => posted.finish(slot::REFUSED),
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
fn answer(platform: &Platform, lane: &Lane, call: &Call) -> Option<()> {
    let shape = shape(call.nr)?;
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
    let changes_numbers = is_about_numbers(call.nr);
    let opens = changes_numbers && !shape.paths().is_empty();
    if changes_numbers && !owns_its_table(lane, opens) {
        return None;
    }
    // It posted this: whatever it owed before is paid.
    lane.thread.settle();
    lane.due.lock().take();
    let letter = Letter::new(&lane.slot, shape, &call.args);
    let mut due = None;
    // The change of the table ends when the thread knows of it.
    let mut change = None;
    let value = {
        let thread = &lane.thread;
        let cx = Ctx::new(&dispatcher.kernel, thread, &letter, call.nr, call.args).aside();
        let Answer::Now(result, begun) = dispatcher.dispatch(&cx, call) else {
            return None;
        };
        change = begun.or(change);
        let (handled, value) = match result {
            Ok(Outcome::Emulated(value)) => (Handled::Virtual, value.cast_signed()),
            Ok(Outcome::Deny(errno)) => (Handled::Denied, -i64::from(errno.into_raw())),
            Err(errno) => (Handled::Virtual, -i64::from(errno.into_raw())),
            Ok(Outcome::Continue) if changes_numbers => {
                due = Some(Due::Call);
                (Handled::Kernel, 0)
            }
            Ok(Outcome::Continue | Outcome::Forward(_)) => return None,
        };
        let strayed = letter.has_strayed();
        let value = match bring(platform, &cx, value, strayed, &mut due)? {
            Ok(()) => value,
            Err(errno) => -i64::from(errno.into_raw()),
        };
        if strayed {
            return None;
        }
        dispatcher.finish(&cx, call, handled, value)
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
    drop(change);
    Some(())
}

/// Whether nobody else can change the thread's descriptor table, and, for a call that `opens`, files can be brought to it.
fn owns_its_table(lane: &Lane, opens: bool) -> bool {
    let files = lane.thread.files();
    // The thread's own and this one.
    Arc::strong_count(&files) == 2 && (!opens || files.lock().courier().is_some())
}

/// Sends the file that a call opened, or has the thread copy the number that it duplicates. `None` where the call must go the
/// kernel's way; then the number is free again.
fn bring(
    platform: &Platform,
    cx: &Ctx<'_>,
    value: i64,
    strayed: bool,
    due: &mut Option<Due>,
) -> Option<Result<(), Errno>> {
    let installs = cx.take_installs();
    let (Ok(to), true) = (
        i32::try_from(value),
        !installs.is_empty() || cx.source().is_some(),
    ) else {
        return Some(Ok(()));
    };
    if to < 0 {
        return Some(Ok(()));
    }
    let files = cx.files();
    let take_back = || drop(files.lock().remove(to));
    let is_odd = |install: &Install| install.fd != to || install.controlling;
    if strayed || installs.len() > 1 || installs.iter().any(is_odd) || shows_numbers(cx, &installs)
    {
        take_back();
        return None;
    }
    let Some(install) = installs.first() else {
        let cloexec = files.get(to).is_ok_and(|descriptor| descriptor.cloexec);
        *due = cx.source().map(|from| Due::Copy { from, to, cloexec });
        return Some(Ok(()));
    };
    count(&platform.meter.grants);
    let courier = files.lock().courier().cloned();
    match courier.map_or(Err(Errno::ENFILE), |courier| courier.send(&*install.file)) {
        Ok(()) => {
            let cloexec = install.cloexec;
            *due = Some(Due::Receive { to, cloexec });
            Some(Ok(()))
        }
        Err(_) => {
            // It happened: what it made or cut off cannot be done again.
            take_back();
            Some(Err(Errno::ENFILE))
        }
    }
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
