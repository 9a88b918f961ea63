//! What Linux says, as pure data: error numbers, layouts of structures, wait statuses. No behaviour, no calls.
//!
//! Numbers of calls and of errors come from the `syscalls` crate.

pub mod layout;
pub mod wait;

pub use syscalls::{Errno, Sysno};
