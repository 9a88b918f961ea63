//! The threads that answer notifications. Each takes one, asks the dispatcher, puts files into the cage, replies.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::fast;
use super::meter::count;
use super::process_guest::ProcessGuest;
use super::standby::Pulse;
use super::{Announced, Handover, Next, Platform, Promise, ToTracer, all_addable, filter};
use crate::abi::Errno;
use crate::cage::{FileKind, Thread, Tid};
use crate::dispatch::{Answer, Dispatcher};
use crate::interpose::{Call, Handled};
use crate::posix::row::Action;
use crate::posix::{Ctx, Forward, Install, Outcome, Role};
use crate::sys::closer::Loan;
use crate::sys::notify::{self, Notification, Response, Then};
use crate::sys::shim::{LOST, WAIT};
use crate::sys::{namespace, signal};

/// How many threads answer: one that always does, and its standbys.
pub(super) const SERVERS: usize = 3;

/// Starts the threads that serve a run's listener, which they wait for; they live as long as the supervisor.
///
/// # Errors
/// Where no thread can be made.
pub(super) fn start(platform: &Arc<Platform>) -> std::io::Result<()> {
    debug_assert!(platform.kind.notifies());
    for number in 0..SERVERS {
        let platform = Arc::clone(platform);
        let name = match number {
            0 => "notify".to_owned(),
            _ => format!("standby-{number}"),
        };
        std::thread::Builder::new().name(name).spawn(move || {
            // A umask and a working directory of its own: handlers set them for a call.
            namespace::own_fs_context();
            serve(&platform, platform.listener.wait().as_fd(), number);
        })?;
    }
    Ok(())
}

/// The life of a server: the first takes every call that it can, each other one helps where the one before it is stuck.
fn serve(platform: &Arc<Platform>, listener: BorrowedFd<'_>, number: usize) {
    let [own, watched] = [Some(number), number.checked_sub(1)]
        .map(|number| number.and_then(|number| platform.pulses.get(number)));
    let serve_one = || serve_one(platform, listener, own);
    match watched {
        None => while serve_one() {},
        Some(watched) => watched.watch(|| notify::is_pending(listener), serve_one),
    }
}

/// Answers the next call; says whether there can be another.
fn serve_one(platform: &Arc<Platform>, listener: BorrowedFd<'_>, pulse: Option<&Pulse>) -> bool {
    match notify::receive(listener) {
        Ok(notification) => {
            if let Some(pulse) = pulse {
                pulse.beat();
            }
            answer(platform, listener, notification);
            true
        }
        Err(Errno::EINTR | Errno::ENOENT) => notify::has_users(listener),
        Err(errno) => {
            tracing::debug!(%errno, "no more notifications");
            false
        }
    }
}

fn answer(platform: &Arc<Platform>, listener: BorrowedFd<'_>, notification: Notification) {
    count(&platform.meter.notifications);
    let thread = platform
        .dispatcher
        .kernel
        .cages
        .read()
        .get(Tid(notification.tid))
        .cloned();
    let Some(thread) = thread else {
        // A call from an unknown cage: refused, and its thread ends; where it has ended already its number may be
        // somebody else's.
        if notify::still_waits(listener, notification.id) {
            signal::kill_thread(notification.tid);
        }
        let _ = notify::send(
            listener,
            notification.id,
            Response::Result(-i64::from(Errno::ENOSYS.into_raw())),
        );
        return;
    };
    thread.settle();
    if thread.is_injected() {
        let _ = notify::send(listener, notification.id, Response::Continue);
        return;
    }
    if let Some(fast) = &platform.fast
        && notification.nr == u64::from(WAIT)
    {
        fast::answer_wait(fast, listener, notification.tid, notification.id);
        return;
    }
    if let Some(fast) = &platform.fast
        && notification.nr == u64::from(LOST)
    {
        let result = fast
            .known(notification.tid)
            .map_or(Errno::EMFILE, |client| client.lose());
        let result = Response::Result(-i64::from(result.into_raw()));
        let _ = notify::send(listener, notification.id, result);
        return;
    }
    if let Some(index) = private_index(notification.nr) {
        keep_promise(platform, listener, &notification, &thread, index);
        return;
    }
    let call = Call::new(notification.nr, notification.args);
    if let Some(fast) = &platform.fast
        && let Some(lane) = fast.misses(&platform.meter, notification.tid, notification.nr)
    {
        fast.leave_cpu();
        fast.heat(lane);
    }
    if platform.looks_at(&thread, notification.nr) {
        hand_over(platform, &thread, notification.id, call, Next::Look, None);
        return;
    }
    serve_call(platform, listener, notification, &thread, call);
}

fn private_index(nr: u64) -> Option<u32> {
    let index = u32::try_from(nr).ok()?.checked_sub(filter::PRIVATE)?;
    (index < filter::PRIVATES).then_some(index)
}

fn serve_call(
    platform: &Arc<Platform>,
    listener: BorrowedFd<'_>,
    notification: Notification,
    thread: &Arc<Thread>,
    call: Call,
) {
    let dispatcher = &platform.dispatcher;
    let guest = ProcessGuest::notified(thread, listener, notification.id);
    let cx = Ctx::new(&dispatcher.kernel, thread, &guest, call.nr, call.args);
    let (result, change) = match dispatcher.dispatch(&cx, &call) {
        Answer::Now(result, change) => (result, change),
        Answer::Wait(files) => {
            let platform = Arc::clone(platform);
            let thread = Arc::clone(thread);
            files.when_free(Box::new(move || {
                if let Some(listener) = platform.listener.get() {
                    serve_call(&platform, listener.as_fd(), notification, &thread, call);
                }
            }));
            return;
        }
    };
    let (handled, value) = match result {
        Ok(Outcome::Emulated(value)) => (Handled::Virtual, value.cast_signed()),
        Ok(Outcome::Deny(errno)) => (Handled::Denied, -i64::from(errno.into_raw())),
        Err(errno) => (Handled::Virtual, -i64::from(errno.into_raw())),
        Ok(Outcome::Continue) if must_be_seen(dispatcher, &call) => {
            let own = Forward::again(call.nr, call.args);
            let next = Next::Forward(own);
            hand_over(platform, thread, notification.id, call, next, change);
            return;
        }
        Ok(Outcome::Continue) => {
            dispatcher.finish(&cx, &call, Handled::Kernel, 0);
            let _ = notify::send(listener, notification.id, Response::Continue);
            drop(change);
            return;
        }
        Ok(Outcome::Forward(forward)) if announce(thread, &call, &forward) => {
            dispatcher.finish(&cx, &call, Handled::Kernel, 0);
            let _ = notify::send(listener, notification.id, Response::Continue);
            return;
        }
        Ok(Outcome::Forward(forward)) => {
            hand_over(
                platform,
                thread,
                notification.id,
                call,
                Next::Forward(forward),
                change,
            );
            return;
        }
    };
    let installs = cx.take_installs();
    if shows_numbers(&cx, &installs) {
        for install in installs {
            let _ = thread.files().lock().remove(install.fd);
        }
        hand_over(platform, thread, notification.id, call, Next::Clear, change);
        return;
    }
    if !all_addable(&installs) {
        hand_over(
            platform,
            thread,
            notification.id,
            call,
            Next::Install(installs, value),
            change,
        );
        return;
    }
    let is_the_result = matches!(installs.as_slice(), [install] if i64::from(install.fd) == value);
    if is_the_result && !dispatcher.wants_result(call.nr) {
        // One wake-up of the caller instead of two. It goes on at once, so the call is counted first.
        dispatcher.finish(&cx, &call, handled, value);
        if let Err(errno) = add_all(
            platform,
            listener,
            notification.id,
            &cx,
            installs,
            Then::Answer,
        ) {
            let error = Response::Result(-i64::from(errno.into_raw()));
            let _ = notify::send(listener, notification.id, error);
        }
        drop(change);
        return;
    }
    let value = match add_all(
        platform,
        listener,
        notification.id,
        &cx,
        installs,
        Then::Wait,
    ) {
        Ok(()) => value,
        Err(errno) => -i64::from(errno.into_raw()),
    };
    let value = dispatcher.finish(&cx, &call, handled, value);
    let _ = notify::send(listener, notification.id, Response::Result(value));
    drop(change);
}

/// Whether only the kernel knows what a call that goes on to it gives, and that is wanted.
fn must_be_seen(dispatcher: &Dispatcher, call: &Call) -> bool {
    let is_known = call
        .row
        .is_some_and(|row| matches!(row.action, Action::Shared(_)) && row.changes_files);
    dispatcher.wants_result(call.nr) && !is_known
}

/// Whether a call opened a list of descriptors, where there is one more in the kernel's table than the cage may see.
pub(super) fn shows_numbers(cx: &Ctx<'_>, installs: &[Install]) -> bool {
    let files = cx.files();
    let table = files.lock();
    let is_list = |install: &Install| {
        let file = table.get(install.fd).map(|descriptor| &descriptor.file);
        install.kind == FileKind::Directory
            && file.is_ok_and(|file| {
                file.is_on_procfs()
                    && [&b"/fd"[..], b"/fdinfo"]
                        .iter()
                        .any(|end| file.label().ends_with(end))
            })
    };
    table.has_courier_end() && installs.iter().any(is_list)
}

/// Announces a life that the kernel is to begin or to replace by the thread's own call, where the event alone can
/// complete it: the kernel runs the call just as it was judged, and where it fails nobody but the thread itself waits for
/// the table that is held still until then.
fn announce(thread: &Thread, call: &Call, forward: &Forward) -> bool {
    let takes = call.row.map_or(0, |row| row.args.len());
    let is_own = forward.nr == call.nr && forward.args.get(..takes) == call.args.get(..takes);
    let is_bare = forward.lent.is_empty()
        && forward.lent_file.is_none()
        && forward.at_cwd.is_none()
        && forward.then.is_none();
    let holds_still = match &forward.role {
        Role::Fork(sharing) => !(sharing.files && sharing.thread),
        Role::Exec(_) => true,
        Role::Plain | Role::Copy => return false,
    };
    if !is_own || !is_bare {
        return false;
    }
    let mut freeze = None;
    if holds_still {
        let files = thread.files();
        // The thread's own and this one.
        if Arc::strong_count(&files) > 2 {
            return false;
        }
        let Ok(held) = files.freeze() else {
            return false;
        };
        freeze = Some(held);
    }
    let role = forward.role.clone();
    thread.announce(Box::new(Announced { role, freeze }));
    true
}

/// The tracer interrupts the thread and then answers the notification itself.
fn hand_over(
    platform: &Platform,
    thread: &Arc<Thread>,
    notification: u64,
    call: Call,
    next: Next,
    change: Option<crate::cage::Change>,
) {
    count(&platform.meter.handovers);
    platform.ask_tracer(ToTracer::Handover(Box::new(Handover {
        thread: Arc::clone(thread),
        notification,
        call,
        next,
        change,
    })));
}

/// Puts the files into the cage, our copies dropped before the answer goes out; a failure takes all of them back.
fn add_all(
    platform: &Platform,
    listener: BorrowedFd<'_>,
    id: u64,
    cx: &Ctx<'_>,
    installs: Vec<Install>,
    then: Then,
) -> Result<(), Errno> {
    let numbers: Vec<i32> = installs.iter().map(|install| install.fd).collect();
    for Install {
        fd,
        file,
        kind,
        cloexec,
        ..
    } in installs
    {
        count(&platform.meter.grants);
        let added = notify::add_file(listener, id, &file, fd, cloexec, then);
        // The cage may close its own at once, and end: nobody waits for what lingers in a socket.
        if kind == FileKind::Socket {
            Arc::into_inner(file).map(Loan::from);
        }
        if let Err(errno) = added {
            numbers.into_iter().for_each(|fd| cx.undo_install(fd));
            return Err(errno);
        }
    }
    Ok(())
}

fn keep_promise(
    platform: &Arc<Platform>,
    listener: BorrowedFd<'_>,
    notification: &Notification,
    thread: &Arc<Thread>,
    index: u32,
) {
    let promise = thread
        .disarm(index)
        .and_then(|answer| answer.downcast::<Promise>().ok());
    let Some(promise) = promise else {
        platform.dispatcher.note_unknown(notification.nr);
        let _ = notify::send(
            listener,
            notification.id,
            Response::Result(-i64::from(Errno::ENOSYS.into_raw())),
        );
        return;
    };
    let Promise {
        installs,
        call,
        result,
        change,
    } = *promise;
    let guest = ProcessGuest::notified(thread, listener, notification.id);
    let cx = Ctx::new(
        &platform.dispatcher.kernel,
        thread,
        &guest,
        call.nr,
        call.args,
    );
    let value = match add_all(
        platform,
        listener,
        notification.id,
        &cx,
        installs,
        Then::Wait,
    ) {
        Ok(()) => result,
        Err(errno) => -i64::from(errno.into_raw()),
    };
    let value = platform
        .dispatcher
        .finish(&cx, &call, Handled::Virtual, value);
    let _ = notify::send(listener, notification.id, Response::Result(value));
    drop(change);
}
