//! The file: a redb table for each kind of row, and one that says what they stand for.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use alloy::primitives::U256;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};
use serde::{Deserialize, Serialize};
use weir_usage::{Digest, Keccak};

use super::rows::{self, Key, Table};
use super::{Doubt, SCHEMA};
use crate::book::Book;
use crate::chain::Past;
use crate::journal::Position;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The only row of [`META`].
const META_KEY: &str = "state";
/// Pages kept in memory; a write touches few.
const CACHE_BYTES: usize = 16 << 20;

/// What the rows stand for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Hash of the journal's header, which names the exit.
    pub journal: Digest,
    /// Hash of that part of the configuration on which the book depends.
    pub config: Digest,
    /// How much of the journal is in the rows.
    pub position: Position,
    /// Sum of the hashes of all rows, modulo 2^256.
    pub rows: Digest,
}

/// Where the file is.
pub trait Place: fmt::Debug + Send {
    /// Whether there is one.
    fn is_there(&self) -> bool;

    /// Opens it; a file that isn't there is made.
    ///
    /// # Errors
    /// redb's, also for a file that isn't whole.
    fn open(&self) -> Result<Database, redb::Error>;

    /// Removes it. It need not be there.
    ///
    /// # Errors
    /// The system's.
    fn discard(&self) -> io::Result<()>;
}

/// A file beside the journal, private as that is.
#[derive(Debug, Clone)]
pub struct Beside(PathBuf);

impl Beside {
    /// `journal` and `.state.redb`.
    pub fn of(journal: &Path) -> Self {
        let mut name = journal.as_os_str().to_owned();
        name.push(".state.redb");
        Self(name.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Place for Beside {
    fn is_there(&self) -> bool {
        self.0.exists()
    }

    fn open(&self) -> Result<Database, redb::Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&self.0)?;
        Ok(builder().create_with_backend(FileBackend::new(file)?)?)
    }

    fn discard(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// How the file is opened, wherever it is: every page is checked first, so that no damage is read.
pub fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Runs what reads pages that somebody may have damaged: redb asserts what its checksums promise.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Doubt> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(redb::Error::Corrupted(why))) => Err(Doubt::Damaged(why)),
        // What redb says of bytes that were never its own.
        Ok(Err(redb::Error::Io(e))) if e.kind() == io::ErrorKind::InvalidData => {
            Err(Doubt::Damaged(e.to_string()))
        }
        Ok(Err(e)) => Err(Doubt::Unusable(e.to_string())),
        Err(_) => Err(Doubt::Damaged("its pages contradict each other".into())),
    }
}

/// What every version writes.
#[derive(Deserialize)]
struct Any {
    schema: u32,
}

/// What the rows are said to stand for; an inner error if there is nothing that can be read.
pub(super) fn meta(db: &Database) -> Result<Result<Meta, Doubt>, redb::Error> {
    let read = db.begin_read()?;
    let table = match read.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Err(Doubt::Missing)),
        table => table?,
    };
    let Some(row) = table.get(META_KEY)? else { return Ok(Err(Doubt::Missing)) };
    let damaged = |e: serde_json::Error| Doubt::Damaged(e.to_string());
    let schema = match serde_json::from_slice::<Any>(row.value()) {
        Ok(any) => any.schema,
        Err(e) => return Ok(Err(damaged(e))),
    };
    if schema != SCHEMA {
        return Ok(Err(Doubt::Schema { found: schema }));
    }
    Ok(serde_json::from_slice(row.value()).map_err(damaged))
}

/// Hands over all rows in their order, and returns the sum of their hashes. A key that can't be
/// read is handed over as `None`.
pub(super) fn read(
    db: &Database,
    mut row: impl FnMut(Option<Key>, &[u8]),
) -> Result<Digest, redb::Error> {
    let mut sum = Sum::default();
    let read = db.begin_read()?;
    for table in Table::ALL {
        let rows = match read.open_table(definition(table)) {
            Err(redb::TableError::TableDoesNotExist(_)) => continue,
            rows => rows?,
        };
        for pair in rows.iter()? {
            let (key, value) = pair?;
            sum.add(table, key.value(), value.value());
            row(Key::of(table, key.value()), value.value());
        }
    }
    Ok(sum.digest())
}

/// Writes the rows of `changed`, drops those that are no more, and says in the same transaction
/// what all of them stand for. `meta.rows` is the sum before and becomes the one after.
pub(super) fn write(
    db: &Database,
    meta: &mut Meta,
    changed: &BTreeSet<Key>,
    book: &Book,
    past: &Past,
) -> Result<(), redb::Error> {
    let mut sum = Sum(U256::from_be_bytes(meta.rows.0));
    let write = db.begin_write()?;
    for table in Table::ALL {
        let mut rows = write.open_table(definition(table))?;
        for key in changed.iter().filter(|key| key.table() == table) {
            let bytes = key.bytes();
            let Some(value) = key.value(book, past) else { continue };
            let before = rows.insert(bytes.as_slice(), value.as_slice())?;
            if let Some(before) = before {
                sum.take(table, &bytes, before.value());
            }
            sum.add(table, &bytes, &value);
        }
        if rows.len()? == rows::count(table, book, past) {
            continue;
        }
        rows.retain(|bytes, value| {
            let stays = Key::of(table, bytes).is_some_and(|k| k.value(book, past).is_some());
            if !stays {
                sum.take(table, bytes, value);
            }
            stays
        })?;
    }
    let after = Meta { rows: sum.digest(), ..meta.clone() };
    {
        // Numbers and text: always JSON.
        let row = serde_json::to_vec(&after).expect("the meta row is representable in JSON");
        write.open_table(META)?.insert(META_KEY, row.as_slice())?;
    }
    write.commit()?;
    *meta = after;
    Ok(())
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// A sum of hashes: it follows single changes, and doesn't depend on their order.
#[derive(Default)]
struct Sum(U256);

impl Sum {
    fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(hash(table, key, value));
    }

    fn take(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(hash(table, key, value));
    }

    fn digest(&self) -> Digest {
        Digest(self.0.to_be_bytes())
    }
}

fn hash(table: Table, key: &[u8], value: &[u8]) -> U256 {
    // Names and keys have a length that the table decides, so nothing can move between the parts.
    let digest = Keccak::default().update(table.name().as_bytes()).update(key).update(value);
    U256::from_be_bytes(digest.finish().0)
}
