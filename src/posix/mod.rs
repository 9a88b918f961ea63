//! RustPOSIX: one function per system call, named as in man 2; a file or folder per topic. `table.rs` holds the rows.
//!
//! A handler reads like its man page: `pub fn dup(cx: &Ctx<'_>, fd: Fd) -> SysResult`. It gets typed arguments,
//! touches the cage's memory only through [`Ctx::guest`], and answers with an [`Outcome`] or an errno.

#[cfg(test)]
pub(crate) mod bench_cage;
mod carry;
pub mod credentials;
mod ctx;
pub mod dirs;
pub mod events;
pub mod exec;
pub mod fcntl;
pub mod fd;
mod fifo;
pub mod io;
pub mod ioctl;
pub mod limits;
pub mod links;
pub mod memory;
pub mod meta;
pub mod mqueue;
pub mod open;
mod outcome;
pub mod passes;
pub(crate) mod path;
pub mod peers;
pub mod prctl;
mod probe;
pub(crate) mod proc;
pub mod process;
pub mod row;
pub mod signal;
pub mod socket;
pub mod stat;
pub mod table;
pub mod transfer;
mod tty;
mod xattr;

pub use carry::{Carried, Taken, carry};
pub use ctx::{Ctx, Install, Kernel};
pub use outcome::{Forward, Judged, Lent, Outcome, Role, SysResult, Then};
pub use probe::{adopt, file_kind, host_label};
