//! A row of the one table: a call's man-page prototype, what happens to it, how well it is supported.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::ArgKind;

/// Decodes the registers and runs the handler.
pub type Handler = fn(&Ctx<'_>, [u64; 6]) -> SysResult;

/// What happens to a call.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// The kernel runs it; there is nothing to decide.
    Pass,
    /// The kernel runs it on what the cage was granted, unless it is to be mediated.
    Data(Handler),
    /// A handler runs it, reached by a notification where there are notifications.
    Run(Handler),
    /// A handler does its part, then the kernel runs the call as it is: a notification, or a stop where the result is
    /// to be seen.
    Shared(Handler),
    /// A handler judges it, then the kernel runs it and tells of it by an event: a notification, or a stop where the
    /// result is to be seen.
    Announce(Handler),
    /// A handler runs it, reached by a stop: it forwards, or needs the call's end.
    Trace(Handler),
    /// It fails, always.
    Fail(Errno),
}

/// How well a call is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// As on Linux.
    Full,
    /// With what is missing.
    Partial(&'static str),
    /// The kernel's own.
    Host,
    /// Not at all, and why.
    No(&'static str),
}

/// A condition on one argument: its upper half is zero and its lower half, after the mask, is one of these.
#[derive(Debug, Clone, Copy)]
pub struct ArgIs {
    /// Which argument.
    pub arg: u8,
    /// The bits that are compared.
    pub mask: u32,
    /// The values that pass.
    pub values: &'static [u32],
}

/// What of a mediated row passes the filter after all: any of these alternatives, each all of its conditions.
pub type Passes = &'static [&'static [ArgIs]];

/// Whether a call with these arguments passes: the question that the filter answers.
#[must_use]
pub fn lets_through(passes: Passes, args: &[u64; 6]) -> bool {
    let holds = |condition: &ArgIs| {
        let value = args.get(usize::from(condition.arg)).copied();
        value
            .and_then(|value| u32::try_from(value).ok())
            .is_some_and(|low| condition.values.contains(&(low & condition.mask)))
    };
    passes.iter().any(|all| all.iter().all(holds))
}

/// An argument: its name in the man page and its kind.
#[derive(Debug, Clone, Copy)]
pub struct Arg {
    /// The name.
    pub name: &'static str,
    /// The kind.
    pub kind: ArgKind,
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The call's number.
    pub nr: u32,
    /// The call's name.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static [Arg],
    /// What happens to it.
    pub action: Action,
    /// What passes the filter though the row is mediated.
    pub passes: Passes,
    /// Whether it changes the descriptor table: then it waits while the kernel copies that table.
    pub changes_files: bool,
    /// How well it is supported.
    pub support: Support,
}

/// Writes rows as man-page prototypes; see `table.rs`.
macro_rules! syscalls {
    ($(
        $nr:literal $name:ident ( $($arg:ident : $ty:ty),* ) => $action:ident $(( $($what:tt)* ))? $(/ $mark:ident)? $(unless $passes:expr)?, $support:ident $(($why:literal))? ;
    )*) => {
        /// All rows, by number.
        pub static ROWS: &[$crate::posix::row::Row] = &[$(
            $crate::posix::row::Row {
                nr: $nr,
                name: stringify!($name),
                args: &[$($crate::posix::row::Arg {
                    name: stringify!($arg),
                    kind: <$ty as $crate::guest::FromArg>::KIND,
                }),*],
                action: syscalls!(@action $action $(( $($what)* ))? ; $($arg : $ty),*),
                passes: syscalls!(@passes $($passes)?),
                changes_files: syscalls!(@mark $($mark)?),
                support: $crate::posix::row::Support::$support $(($why))?,
            },
        )*];
    };
    (@action pass ; $($rest:tt)*) => { $crate::posix::row::Action::Pass };
    (@action fail ($errno:ident) ; $($rest:tt)*) => { $crate::posix::row::Action::Fail($crate::abi::Errno::$errno) };
    (@action data ($handler:path) ; $($arg:ident : $ty:ty),*) => {
        $crate::posix::row::Action::Data(syscalls!(@handler $handler ; $($arg : $ty),*))
    };
    (@action run ($handler:path) ; $($arg:ident : $ty:ty),*) => {
        $crate::posix::row::Action::Run(syscalls!(@handler $handler ; $($arg : $ty),*))
    };
    (@action shared ($handler:path) ; $($arg:ident : $ty:ty),*) => {
        $crate::posix::row::Action::Shared(syscalls!(@handler $handler ; $($arg : $ty),*))
    };
    (@action announce ($handler:path) ; $($arg:ident : $ty:ty),*) => {
        $crate::posix::row::Action::Announce(syscalls!(@handler $handler ; $($arg : $ty),*))
    };
    (@action trace ($handler:path) ; $($arg:ident : $ty:ty),*) => {
        $crate::posix::row::Action::Trace(syscalls!(@handler $handler ; $($arg : $ty),*))
    };
    (@handler $handler:path ; $($arg:ident : $ty:ty),*) => {
        |cx, registers| {
            let [$($arg,)* ..] = registers;
            $handler(cx, $(<$ty as $crate::guest::FromArg>::from_arg($arg)),*)
        }
    };
    (@passes) => { &[] };
    (@passes $passes:expr) => { $passes };
    (@mark) => { false };
    (@mark files) => { true };
}
pub(crate) use syscalls;

#[cfg(test)]
mod tests {
    use super::lets_through;
    use crate::posix::passes;

    #[test]
    fn what_passes_is_what_the_filter_lets_through() {
        let fcntl = |op| lets_through(passes::FCNTL, &[0, op, 0, 0, 0, 0]);
        assert!(fcntl(7) && !fcntl(0) && !fcntl(7 | 1 << 32));
        let option = |level, name| lets_through(passes::GETSOCKOPT, &[0, level, name, 0, 0, 0]);
        assert!(option(6, 99) && option(1, 20) && !option(1, 17) && !option(2, 20));
        assert!(!lets_through(&[], &[0; 6]));
    }
}
