//! The payer's side as a library: signs for what was received and for nothing else, never loses
//! what it signed, and knows what was paid for what.
//!
//! A [`Purse`] is fed with what an exit asks ([`weir_usage::Ask`]) and with the own counts since
//! the start, and gives vouchers. It does no network and reads no clock: [`crate::Client`] does
//! both around it. A voucher is given away only after it is on the disk, in a journal of lines
//! that are chained by hashes, so that after a crash at any step
//!
//! - nothing is signed beyond the own count (and, once per unclean start, the configured
//!   allowance);
//! - no amount falls, and a sequence number gets another content only after the exit refused the
//!   first;
//! - no budget begins anew.

mod book;
mod days;
mod import;
mod journal;
mod report;
mod state;
mod watch;

use std::fmt;
use std::time::Instant;

use weir_blind::spent::Disk;
use weir_usage::{Ask, SignedVoucher, SigningKey};

pub use book::{Objection, Terms};
pub use journal::JournalError;
pub use report::{DayReport, JournalReport, read_journal};
pub use state::Paid;
pub use watch::{Overbilling, Tolerance};

use book::{Book, Decision};
use journal::{DayFields, Header, Journal, Record, VoucherFields};

/// The money of one lane.
pub struct Purse<D> {
    book: Book,
    key: SigningKey,
    journal: Journal<D>,
    /// What of the book the journal has.
    kept: Kept,
}

/// When something happens, by both clocks of the caller.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For how long something lasts.
    pub instant: Instant,
    /// Unix time in milliseconds; decides which day's budget is spent.
    pub unix_ms: u64,
}

/// What else a purse goes by.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the exit is called in the journal.
    pub exit: String,
    /// Bytes that are taken on the exit's word, once, after a run that did not end in order.
    pub crash_allowance_bytes: u64,
    /// How far the exit's counts may be ahead before it is called over-billing.
    pub tolerance: Tolerance,
    /// Journal bytes after which a snapshot takes the place of its lines.
    pub journal_bytes_max: usize,
}

/// What to tell the exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is owed that isn't paid.
    Nothing,
    /// This voucher, for these bytes (up, down). It is on the disk.
    Send(SignedVoucher, (u64, u64)),
}

/// Why an ask got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not what was agreed, or more than is due.
    #[error(transparent)]
    Objection(#[from] Objection),
    /// Nothing is signed that can't be written down first.
    #[error("{0}; no voucher is sent before it is on the disk")]
    Journal(#[from] JournalError),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    base: (u64, u64),
    last: Option<(SignedVoucher, (u64, u64))>,
    day: state::Day,
}

impl Options {
    /// Without an allowance, for an exit of this name.
    pub fn new(exit: impl Into<String>) -> Options {
        Options {
            exit: exit.into(),
            crash_allowance_bytes: 0,
            tolerance: Tolerance::default(),
            journal_bytes_max: journal::BYTES_MAX,
        }
    }
}

impl<D: Disk> Purse<D> {
    /// Opens the journal `name` in a directory that is locked for this process, or begins one.
    ///
    /// # Errors
    /// A journal that is damaged, of another lane or key, or that can't be written.
    pub fn open(
        disk: D,
        name: &str,
        terms: Terms,
        key: SigningKey,
        options: &Options,
        now: Now,
    ) -> Result<Self, JournalError> {
        let header = Header::new(&terms.domain, terms.channel, terms.lane);
        let mut journal = Journal::open(disk, name, header, options.journal_bytes_max)?;
        let state = journal.state().clone();
        if let Some(paid) = &state.paid {
            let verified = paid.signed.verify(&terms.domain, key.address());
            verified.map_err(JournalError::OtherKey)?;
        }
        journal.append(now.unix_ms, Record::Start { exit: options.exit.clone() })?;
        let allowance = options.crash_allowance_bytes;
        let book = Book::new(terms, key.address(), &state, allowance, options.tolerance);
        let kept = Kept::of(&book);
        let mut purse = Purse { book, key, journal, kept };
        purse.begin_day(now)?;
        Ok(purse)
    }

    /// What the exit asks, beside the own counts (up, down) since the purse was opened. They must
    /// have been read after the ask arrived: what the exit counted before is in them by then, or
    /// still under way.
    ///
    /// # Errors
    /// [`Problem`]. Asking again is always safe.
    pub fn consider(
        &mut self,
        ask: &Ask,
        counted: (u64, u64),
        now: Now,
    ) -> Result<Answer, Problem> {
        self.begin_day(now)?;
        let decision = self.book.consider(ask, counted, now.instant);
        // What was taken over counts whatever is decided about the rest.
        self.keep_recovered(counted, now)?;
        match decision? {
            Decision::Sign { voucher, bytes } => {
                let signed = voucher.sign(&self.book.terms.domain, &self.key);
                let paid = Paid { signed, bytes, accepted: false };
                let own = self.book.own(counted);
                let (price, voucher) = (ask.price.into(), VoucherFields::of(&paid));
                self.journal.append(now.unix_ms, Record::Voucher { own, price, voucher })?;
                self.book.record(paid);
                self.kept = Kept::of(&self.book);
                Ok(Answer::Send(signed, bytes))
            }
            Decision::Resend(paid) => {
                self.note(counted, now)?;
                Ok(Answer::Send(paid.signed, paid.bytes))
            }
            Decision::Nothing => {
                self.note(counted, now)?;
                Ok(Answer::Nothing)
            }
        }
    }

    /// The exit said that it holds the voucher with this sequence number.
    pub fn accepted(&mut self, seq: u64) {
        self.book.accepted(seq);
    }

    /// The exit refused the voucher with this sequence number for good.
    pub fn rejected(&mut self, seq: u64) {
        self.book.rejected(seq);
    }

    /// Bytes that were sold to others as blind tokens since the lane began; they are signed for
    /// without having been seen.
    pub fn vouch(&mut self, bytes: u64) {
        self.book.vouch(bytes);
    }

    /// Writes down the own counts, if they grew.
    ///
    /// # Errors
    /// [`JournalError::Storage`].
    pub fn note(&mut self, counted: (u64, u64), now: Now) -> Result<(), JournalError> {
        let own = self.book.own(counted);
        let state = self.journal.state();
        if own == (state.up_bytes, state.down_bytes) {
            return Ok(());
        }
        self.journal.append(now.unix_ms, Record::Counts { own })
    }

    /// Writes down that the counts are final: nothing is taken on the exit's word at the next
    /// start.
    ///
    /// # Errors
    /// [`JournalError::Storage`].
    pub fn stop(&mut self, counted: (u64, u64), now: Now) -> Result<(), JournalError> {
        self.keep_recovered(counted, now)?;
        let own = self.book.own(counted);
        self.journal.append(now.unix_ms, Record::Stop { own })
    }

    /// Own cumulative counts (up, down), all runs together.
    pub fn own(&self, counted: (u64, u64)) -> (u64, u64) {
        self.book.own(counted)
    }

    /// The last voucher.
    pub fn last(&self) -> Option<&Paid> {
        self.book.last()
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.book.terms
    }

    /// The exit claims more than was ever received, beyond the tolerance.
    pub fn overbilling(&self) -> Option<&Overbilling> {
        self.book.watch().overbilling()
    }

    /// Asks beyond the tolerance since the purse was opened.
    pub fn overbilled_asks(&self) -> u64 {
        self.book.watch().asks()
    }

    /// So many of them in a row that no accident explains it.
    pub fn is_through(&self) -> bool {
        self.book.watch().is_through()
    }

    /// Bytes (up, down) that the exit counted and a crash of this client made unknown. They stay
    /// unpaid, and nobody is blamed for them.
    pub fn forgotten(&self) -> (u64, u64) {
        self.book.watch().forgotten()
    }

    fn begin_day(&mut self, now: Now) -> Result<(), JournalError> {
        self.book.begin_day(days::day_of(now.unix_ms));
        let day = self.book.day();
        if day.number != self.kept.day.number {
            self.journal.append(now.unix_ms, Record::Day(DayFields::of(day)))?;
            self.kept.day = day;
        }
        Ok(())
    }

    fn keep_recovered(&mut self, counted: (u64, u64), now: Now) -> Result<(), JournalError> {
        let book = Kept::of(&self.book);
        if book == self.kept {
            return Ok(());
        }
        let voucher = self.book.last().filter(|_| book.last != self.kept.last);
        let voucher = voucher.map(VoucherFields::of);
        let (own, day) = (self.book.own(counted), DayFields::of(book.day));
        self.journal.append(now.unix_ms, Record::Recovered { own, voucher, day })?;
        self.kept = book;
        Ok(())
    }
}

impl Kept {
    fn of(book: &Book) -> Kept {
        let last = book.last().map(|paid| (paid.signed, paid.bytes));
        Kept { base: book.base(), last, day: book.day() }
    }
}

impl<D: fmt::Debug> fmt::Debug for Purse<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purse").field("book", &self.book).finish_non_exhaustive()
    }
}
