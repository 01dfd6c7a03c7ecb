//! Ledger A in a file that is mapped into memory, so that it outlives the process.
//!
//! The worker writes ([`LedgerWriter`]), with plain stores and no system call per publication. The
//! exporter reads ([`LedgerReader`]), live from another thread or process without ever making the
//! writer wait, or after a crash.
//!
//! **A slot is never torn.** It holds two copies of the counters and the number of publications
//! `v`; copy `v & 1` is the valid one. To publish, the writer fills copy `(v + 1) & 1` and then
//! stores `v + 1`. A process that dies half way leaves `v` and its copy as they were: the counters
//! of the last complete publication. A reader that sees `v` unchanged after copying knows that
//! its copy was not overwritten meanwhile, because the writer comes back to it only after `v + 1`.
//!
//! **A slot is never confused with its successor.** The state word carries a generation that grows
//! with each opening; identity fields are written before the state becomes open.
//!
//! `free -> open -> closed -> free`: the writer does the first two steps, the exporter the last,
//! once the final counters are safe elsewhere. The file is bounded: [`LedgerWriter::create`] fixes
//! the number of slots, space is reserved in chunks as it is first used (a full file system then
//! refuses a tunnel instead of killing the process with SIGBUS).

mod layout;
mod map;
mod reader;
mod writer;

pub use layout::{SLOT_BYTES, SLOTS_MAX};
pub use reader::{LedgerReader, SlotRead, SlotSnapshot, SlotState};
pub use writer::LedgerWriter;
