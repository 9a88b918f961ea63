//! The host kernel, as safe functions: the only floor with `unsafe`. No policy lives here.

pub mod descriptor;
pub mod event;
pub mod mount;
pub mod namespace;
pub mod privilege;
pub mod process;
pub mod procfs;
pub mod socket;
pub mod terminal;
