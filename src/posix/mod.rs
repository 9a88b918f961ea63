//! RustPOSIX: one function per system call, named as in man 2; a file or folder per topic. `table.rs` holds the rows.
//!
//! A handler reads like its man page: `pub fn dup(cx: &Ctx<'_>, fd: Fd) -> SysResult`. It gets typed arguments,
//! touches the cage's memory only through [`Ctx::guest`], and answers with an [`Outcome`] or an errno.

mod ctx;
mod outcome;
pub mod row;
pub mod table;

pub use ctx::{Ctx, Install, Kernel};
pub use outcome::{Forward, Lent, Outcome, SysResult, Then};
