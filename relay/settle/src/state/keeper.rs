//! When the state is written, and how it is read at start.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use redb::Database;
use tokio::time::Instant;
use tracing::{error, info};
use weir_usage::{Digest, Keccak};

use super::rows::{self, Key};
use super::store::{self, Meta, Place, guarded};
use super::{Doubt, SCHEMA};
use crate::book::Book;
use crate::chain::Past;
use crate::config::Config;
use crate::error::Error;
use crate::journal::entry::Entry;
use crate::journal::{Header, Position};
use crate::storage::Storage;

/// Between two writes. What is journaled in that time is what a start after a crash replays.
pub const EVERY: Duration = Duration::from_secs(5);
/// Rows that wait before they are written sooner; bounds the time that one write takes.
const CHANGED_MAX: usize = 50_000;

/// A state that is believed.
#[derive(Debug)]
pub struct Kept {
    /// The book at the position.
    pub book: Book,
    /// The outbox at the position.
    pub past: Past,
    /// Up to where the journal is in it.
    pub position: Position,
    db: Database,
    meta: Meta,
}

/// Reads the state of a journal.
///
/// # Errors
/// Why it isn't believed, or [`Error::Storage`] of the journal.
pub fn load<S: Storage>(
    config: &Config,
    header: &Header,
    storage: &S,
    place: &dyn Place,
) -> Result<Result<Kept, Doubt>, Error> {
    if !place.is_there() {
        return Ok(Err(Doubt::Missing));
    }
    let opened = guarded(|| {
        let db = place.open()?;
        Ok(store::meta(&db)?.map(|meta| (db, meta)))
    });
    let (db, meta) = match opened.and_then(|inner| inner) {
        Ok(opened) => opened,
        Err(doubt) => return Ok(Err(doubt)),
    };
    if let Some(doubt) = doubt(config, header, storage, &meta)? {
        return Ok(Err(doubt));
    }
    let mut book = Book::new(config, header.secret);
    let (mut rest, mut intents, mut strange) = (None, Vec::new(), None);
    let read = guarded(|| {
        store::read(&db, |key, value| {
            let taken = match key {
                Some(Key::Stream(epoch)) => book.put_stream(epoch, value),
                Some(Key::Tunnel(id)) => book.put_tunnel(id, value),
                Some(Key::Lane(key)) => book.put_lane(key, value),
                Some(Key::Anchor(number)) => book.put_anchor(number, value),
                Some(Key::Counters) => book.put_counters(value),
                Some(Key::Intent(_)) => {
                    intents.push(value.to_vec());
                    Some(())
                }
                Some(Key::Outbox) => {
                    rest = Some(value.to_vec());
                    Some(())
                }
                None => None,
            };
            if taken.is_none() {
                strange = Some(key.map_or_else(|| "a key".to_owned(), |key| key.to_string()));
            }
        })
    });
    let damaged = |why: String| Ok(Err(Doubt::Damaged(why)));
    match read {
        Err(doubt) => return Ok(Err(doubt)),
        Ok(sum) if sum != meta.rows => {
            return damaged("its rows aren't those that were written".into());
        }
        Ok(_) => {}
    }
    if let Some(what) = strange {
        return damaged(format!("{what} can't be read"));
    }
    let Some(past) = rest.and_then(|rest| Past::of_rows(&rest, &intents)) else {
        return damaged("the outbox's rows don't fit together".into());
    };
    let position = meta.position;
    Ok(Ok(Kept { book, past, position, db, meta }))
}

/// What its own words say against it.
pub(super) fn doubt<S: Storage>(
    config: &Config,
    header: &Header,
    storage: &S,
    meta: &Meta,
) -> Result<Option<Doubt>, Error> {
    Ok(if meta.journal.0 != header.hash() {
        Some(Doubt::Foreign)
    } else if meta.config != digest(config) {
        Some(Doubt::Configuration)
    } else if !meta.position.is_in(storage)? {
        Some(Doubt::NotInJournal { offset: meta.position.offset })
    } else {
        None
    })
}

/// Hash of what the book depends on beside the journal.
fn digest(config: &Config) -> Digest {
    let tolerance = &config.tolerance;
    let mut text = format!(
        "{}\n{} {} {} {}\n",
        config.exit,
        tolerance.udp_bytes,
        tolerance.tcp_deficit_bytes,
        tolerance.tcp_overhead_permille,
        tolerance.tcp_overhead_bytes
    );
    let mut channels: Vec<String> = config
        .channels
        .iter()
        .map(|c| format!("{} {} {} {:?}\n", c.id, c.terms.signer, c.price.units_per_gib(), c.lanes))
        .collect();
    channels.sort_unstable();
    text.extend(channels);
    Keccak::default().update(b"weir settle state").update(text.as_bytes()).finish()
}

/// Keeps the state of a running sidecar.
#[derive(Debug)]
pub struct Keeper {
    place: Box<dyn Place>,
    /// `None` after a write failed; it is opened anew for the next.
    db: Option<Database>,
    /// What the file says, as far as is known.
    meta: Meta,
    /// As the journal has it; the driver's own is ahead of what is written.
    past: Past,
    changed: BTreeSet<Key>,
    /// Everything has to be written.
    all: bool,
    anchors: usize,
    every: Duration,
    last: Instant,
    failing: bool,
}

impl Keeper {
    /// Goes on with a state that was read.
    pub fn resume(place: Box<dyn Place>, kept: Kept) -> (Book, Self) {
        let Kept { book, past, db, meta, .. } = kept;
        let anchors = book.anchors().len();
        (book, Self::of(place, Some(db), meta, past, anchors))
    }

    /// Begins a new file: with its first write it has everything.
    pub fn new(place: Box<dyn Place>, config: &Config, header: &Header, past: Past) -> Self {
        let position = Position { offset: 0, groups: 0, entries: 0, tip: [0; 32] };
        let meta = Meta {
            schema: SCHEMA,
            journal: Digest(header.hash()),
            config: digest(config),
            position,
            rows: Digest::ZERO,
        };
        Self { all: true, ..Self::of(place, None, meta, past, 0) }
    }

    fn of(
        place: Box<dyn Place>,
        db: Option<Database>,
        meta: Meta,
        past: Past,
        anchors: usize,
    ) -> Self {
        Self {
            place,
            db,
            meta,
            past,
            changed: BTreeSet::new(),
            all: false,
            anchors,
            every: EVERY,
            last: Instant::now(),
            failing: false,
        }
    }

    /// Writes at most so often.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// The outbox as of the last entry that was noted.
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// Whether the last write failed.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// Takes an entry that is durable. `offset` is for the error.
    ///
    /// # Errors
    /// [`Error::Contradiction`] for a step that doesn't follow.
    pub fn note(&mut self, offset: u64, entry: &Entry, book: &Book) -> Result<(), Error> {
        self.past.replay(offset, entry)?;
        rows::changed(entry, book, |key| {
            self.changed.insert(key);
        });
        Ok(())
    }

    /// Whether it is time to write.
    pub fn is_due(&self) -> bool {
        let waits = self.all || !self.changed.is_empty() || self.failing;
        waits && (self.last.elapsed() >= self.every || self.changed.len() >= CHANGED_MAX)
    }

    /// Writes what has changed. `book` is exactly what the journal gives up to `position`, and the
    /// journal is synced up to there. A failure is logged, and made good by a later write.
    pub fn write(&mut self, book: &Book, position: Position) {
        self.last = Instant::now();
        if position == self.meta.position && !self.all {
            self.changed.clear();
            return;
        }
        match self.try_write(book, position) {
            Ok(()) => {
                if mem::take(&mut self.failing) {
                    info!("the kept state can be written again");
                }
            }
            Err(doubt) => {
                self.db = None;
                if !mem::replace(&mut self.failing, true) {
                    error!("kept state: {doubt}; the journal has it all, a start takes longer");
                }
            }
        }
    }

    fn try_write(&mut self, book: &Book, position: Position) -> Result<(), Doubt> {
        let db = match self.db.take() {
            Some(db) => db,
            None => self.reopen()?,
        };
        let added = self.anchors..book.anchors().len();
        self.changed.extend(added.map(|number| Key::Anchor(number as u64)));
        if self.all {
            self.changed = rows::keys(book, &self.past).collect();
        }
        let mut meta = Meta { position, ..self.meta.clone() };
        guarded(|| store::write(&db, &mut meta, &self.changed, book, &self.past))?;
        self.changed.clear();
        self.anchors = book.anchors().len();
        self.all = false;
        self.meta = meta;
        self.db = Some(db);
        Ok(())
    }

    /// A write that failed may have happened all the same: only the file knows what it holds.
    fn reopen(&mut self) -> Result<Database, Doubt> {
        let open = || {
            guarded(|| {
                let db = self.place.open()?;
                Ok(store::meta(&db)?.ok().filter(|found| *found == self.meta).map(|_| db))
            })
        };
        if !self.all
            && let Ok(Some(db)) = open()
        {
            return Ok(db);
        }
        self.place.discard().map_err(|e| Doubt::Unusable(e.to_string()))?;
        self.all = true;
        self.meta.rows = Digest::ZERO;
        guarded(|| self.place.open())
    }
}
