//! The host kernel, as safe functions: the only floor with `unsafe`. No policy lives here.

pub mod cgroup;
pub mod closer;
pub mod credentials;
pub mod descriptor;
pub mod event;
pub mod exec;
pub mod fs;
pub mod landlock;
pub mod limits;
pub mod memory;
pub mod mount;
pub mod mqueue;
pub mod namespace;
pub mod notify;
pub mod privilege;
pub mod process;
pub mod procfs;
pub mod ptrace;
pub mod sealed;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod terminal;
pub mod usage;
pub mod xattr;
