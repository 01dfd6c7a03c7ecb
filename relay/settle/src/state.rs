//! Kept state: what book and outbox derive from the journal, so that a start reads the journal's
//! tail only.
//!
//! The journal stays the one truth. The state is a redb file beside it, written every few seconds
//! in one transaction together with the journal position that it stands for, and only after the
//! journal was synced up to there: a crash leaves it at or before the journal's end. At start it is
//! believed if it is whole, of this version, exit and configuration, and if the journal has its
//! position; otherwise the reason is logged and it is made anew from the journal. Failing to write
//! it stops nothing but itself.
//!
//! - [`store`]: the file. [`rows`]: what is in it. [`keeper`]: when it is written, how it is read.
//! - [`rebuild`]: made anew by one command, which says whether it was equal.

pub mod keeper;
pub mod rebuild;
pub mod rows;
pub mod store;

use std::fmt;

pub use keeper::{Keeper, Kept, load};
pub use store::{Beside, Meta, Place};

/// Raised when the rows of an older version can't be read any more, or mean something else.
pub const SCHEMA: u32 = 2;

/// Why a state isn't believed. None of these is an error: the journal has it all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// There is none yet.
    Missing,
    /// Written by another version.
    Schema {
        /// Its number.
        found: u32,
    },
    /// It is of another journal, perhaps of another exit.
    Foreign,
    /// Made under other tolerances, prices, signers or channels, on which the book depends.
    Configuration,
    /// It stands for bytes that the journal doesn't have, or for others than it has: the disk
    /// lost synced bytes, or the journal was put back from a backup.
    NotInJournal {
        /// Where it says that the journal ended.
        offset: u64,
    },
    /// It can't be read, or isn't what was written.
    Damaged(String),
    /// The file can't be used.
    Unusable(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is none yet"),
            Self::Schema { found } => {
                write!(f, "it is of schema {found}, this version writes {SCHEMA}")
            }
            Self::Foreign => f.write_str("it is of another journal"),
            Self::Configuration => f.write_str("it was made under another configuration"),
            Self::NotInJournal { offset } => {
                write!(f, "it stands for byte {offset} of a journal that isn't this one's past")
            }
            Self::Damaged(why) => write!(f, "it is damaged: {why}"),
            Self::Unusable(why) => write!(f, "it can't be used: {why}"),
        }
    }
}
