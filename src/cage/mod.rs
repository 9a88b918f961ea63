//! The objects of a run, state only: cages, their threads, descriptor tables, working directories. Nothing here
//! calls the kernel or decides anything.

mod fd_table;
mod files;
mod fs_context;
mod open_file;
mod owed;
mod pairs;
mod table;
mod thread;

pub use fd_table::{Descriptor, FdTable};
pub use files::{Busy, Change, Files, Freeze, Frozen, Waker, Want};
pub use fs_context::FsContext;
pub use open_file::{FileKind, OpenFile, Peer};
pub use owed::Owed;
pub use pairs::Pairs;
pub use table::{CageTable, Lineage, Sharing};
pub use thread::{Armed, Cage, CageId, Counters, Pretence, Thread, Tid};
