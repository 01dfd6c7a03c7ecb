//! The state made anew from the journal, and compared with the one that was kept.

use std::collections::BTreeMap;

use super::rows::{self, Key};
use super::store::{self, Meta, Place, guarded};
use super::{Doubt, Keeper, keeper};
use crate::book::Book;
use crate::chain::Past;
use crate::config::Config;
use crate::error::Error;
use crate::journal::{Header, Position, hex, read_header, scan};
use crate::storage::Storage;

/// What the kept state was worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every row is what the journal gives.
    Equal,
    /// The first row that isn't.
    Differs {
        /// Its name.
        row: String,
        /// What was kept; text for most rows, hexadecimal for streams and tunnels.
        kept: Option<String>,
        /// What the journal gives.
        journal: Option<String>,
    },
    /// It wasn't looked at, because a start wouldn't either.
    Refused(Doubt),
}

/// What the journal gives.
#[derive(Debug)]
pub struct Rebuilt {
    /// What was kept before.
    pub verdict: Verdict,
    /// Where the kept state ended.
    pub kept: Option<Position>,
    /// Where the journal ends.
    pub journal: Position,
    /// Rows of the state at the journal's end.
    pub rows: u64,
}

/// Replays the whole journal, which isn't changed, and compares; with `renew` the state is then
/// written anew.
///
/// # Errors
/// [`Error::NoJournal`], those of [`scan`] and of [`Book::replay`]; [`Error::State`] if the new
/// state can't be written.
pub fn rebuild<S: Storage>(
    config: &Config,
    storage: &S,
    place: Box<dyn Place>,
    renew: bool,
) -> Result<Rebuilt, Error> {
    let header = read_header(storage)?.ok_or(Error::NoJournal)?;
    if header.exit != config.exit.0 {
        let (found, expected) = (hex(&header.exit), hex(&config.exit.0));
        return Err(Error::JournalForeign { found, expected });
    }
    let old = match read_all(&*place) {
        Ok((meta, rows)) => match keeper::doubt(config, &header, storage, &meta)? {
            None => Ok((meta, rows)),
            Some(doubt) => Err(doubt),
        },
        Err(doubt) => Err(doubt),
    };
    let (mut book, mut past) = (Book::new(config, header.secret), Past::default());
    let mut verdict = None;
    let found = scan(storage, |_, offset, entry| {
        if let Ok((meta, rows)) = &old
            && verdict.is_none()
            && offset >= meta.position.offset
        {
            verdict = Some(compare(rows, &book, &past));
        }
        past.replay(offset, &entry)?;
        book.replay(offset, &entry)
    })?;
    let journal = found.ok_or(Error::NoJournal)?.position();
    let (verdict, kept) = match old {
        Err(doubt) => (Verdict::Refused(doubt), None),
        Ok((meta, rows)) => {
            let verdict = verdict.unwrap_or_else(|| compare(&rows, &book, &past));
            (verdict, Some(meta.position))
        }
    };
    let rows = rows::keys(&book, &past).count() as u64;
    if renew {
        renewed(config, &header, place, &book, past, journal)?;
    }
    Ok(Rebuilt { verdict, kept, journal, rows })
}

fn renewed(
    config: &Config,
    header: &Header,
    place: Box<dyn Place>,
    book: &Book,
    past: Past,
    journal: Position,
) -> Result<(), Error> {
    let mut keeper = Keeper::new(place, config, header, past);
    keeper.write(book, journal);
    if keeper.is_failing() {
        return Err(Error::State);
    }
    Ok(())
}

/// All rows as they are, whether or not their sum is right: the first that is wrong is to be named.
fn read_all(place: &dyn Place) -> Result<(Meta, BTreeMap<Key, Vec<u8>>), Doubt> {
    if !place.is_there() {
        return Err(Doubt::Missing);
    }
    guarded(|| {
        let db = place.open()?;
        let meta = match store::meta(&db)? {
            Ok(meta) => meta,
            Err(doubt) => return Ok(Err(doubt)),
        };
        let (mut rows, mut strange) = (BTreeMap::new(), false);
        store::read(&db, |key, value| match key {
            Some(key) => drop(rows.insert(key, value.to_vec())),
            None => strange = true,
        })?;
        if strange {
            return Ok(Err(Doubt::Damaged("it has a row without a name".into())));
        }
        Ok(Ok((meta, rows)))
    })?
}

fn compare(kept: &BTreeMap<Key, Vec<u8>>, book: &Book, past: &Past) -> Verdict {
    let mut keys: Vec<Key> = rows::keys(book, past).chain(kept.keys().copied()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (kept, journal) = (kept.get(&key), key.value(book, past));
        if kept != journal.as_ref() {
            return Verdict::Differs {
                row: key.to_string(),
                kept: kept.map(|row| show(row)),
                journal: journal.map(|row| show(&row)),
            };
        }
    }
    Verdict::Equal
}

fn show(row: &[u8]) -> String {
    std::str::from_utf8(row).map_or_else(|_| hex(row), str::to_owned)
}
