//! cage-trace runs an unmodified Linux binary in cages.
//!
//! The modules below are the floors of the house, lowest first: a file imports its own floor or a lower one
//! (`tests/layers.rs` holds this). `ARCHITECTURE.md` follows one call from the cage to the kernel and back.

pub mod abi;
pub mod cage;
pub mod cli;
pub mod dispatch;
pub mod guest;
pub mod interpose;
pub mod platform;
pub mod posix;
pub mod run;
pub mod sys;
