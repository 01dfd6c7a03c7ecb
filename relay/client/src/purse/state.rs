//! What the journal says all in all.

use weir_usage::SignedVoucher;

use super::days::Days;
use super::journal::{Entry, Header, Record};

/// What outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Own cumulative count.
    pub(crate) up_bytes: u64,
    /// Own cumulative count.
    pub(crate) down_bytes: u64,
    /// Whether the process that wrote it stopped in order, so that the counts are final.
    pub(crate) clean: bool,
    pub(crate) paid: Option<Paid>,
    pub(crate) day: Day,
}

/// Where the budget of the day began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Day {
    /// UTC days since 1970; 0 before the first.
    pub(crate) number: u64,
    /// Signed before it, cumulative, in token units.
    pub(crate) before: u128,
}

/// The last voucher and the bytes it pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// The voucher.
    pub signed: SignedVoucher,
    /// (up, down), cumulative.
    pub bytes: (u64, u64),
    /// The exit said that it holds it.
    pub accepted: bool,
}

impl Paid {
    /// Bytes that were paid stay paid. The same amount can be asked for fewer bytes at a higher
    /// price, after a refusal or a restored backup; taken at its word, it would bill the rest
    /// again.
    pub(crate) fn after(self, before: Option<Paid>) -> Paid {
        let before = before.map_or((0, 0), |paid| paid.bytes);
        let bytes = (self.bytes.0.max(before.0), self.bytes.1.max(before.1));
        Paid { bytes, ..self }
    }
}

/// Reads a journal from its start.
#[derive(Debug)]
pub(crate) struct Replay {
    header: Header,
    pub(crate) state: State,
    pub(crate) exit: String,
    pub(crate) days: Days,
}

impl Replay {
    pub(crate) fn new(header: Header) -> Replay {
        let (state, exit) = (State::default(), String::new());
        Replay { header, state, exit, days: Days::default() }
    }

    /// Takes the next entry; fails with why it can't follow those before it.
    pub(crate) fn take(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let at_ms = entry.at_ms;
        match &entry.record {
            Record::Start { exit } => {
                self.state.clean = false;
                self.exit.clone_from(exit);
            }
            Record::Day(day) => {
                if day.number < self.state.day.number {
                    return Err("a day goes back");
                }
                self.state.day = day.day();
            }
            Record::Counts { own } => self.count(at_ms, *own)?,
            Record::Stop { own } => {
                self.count(at_ms, *own)?;
                self.state.clean = true;
            }
            Record::Voucher { own, price, voucher } => {
                self.count(at_ms, *own)?;
                let paid = voucher.paid(&self.header);
                let before = self.pay(paid)?;
                self.days.pay(&self.exit, at_ms, before, paid, *price);
            }
            Record::Recovered { own, voucher, day } => {
                self.state.day = day.day();
                match voucher {
                    None => self.count(at_ms, *own)?,
                    Some(voucher) => {
                        let grown = self.grow(*own)?;
                        let paid = voucher.paid(&self.header);
                        let before = self.pay(paid)?;
                        self.days.recover(&self.exit, grown, before, paid);
                    }
                }
            }
            Record::Snapshot { exit, own, clean, voucher, day, rows } => {
                let paid = voucher.map(|voucher| voucher.paid(&self.header));
                let (up_bytes, down_bytes) = *own;
                self.state = State { up_bytes, down_bytes, clean: *clean, paid, day: day.day() };
                self.exit.clone_from(exit);
                self.days = Days::from_rows(rows.clone());
            }
        }
        Ok(())
    }

    fn count(&mut self, at_ms: u64, own: (u64, u64)) -> Result<(), &'static str> {
        let grown = self.grow(own)?;
        self.days.count(&self.exit, at_ms, grown);
        Ok(())
    }

    fn grow(&mut self, own: (u64, u64)) -> Result<(u64, u64), &'static str> {
        let up = own.0.checked_sub(self.state.up_bytes);
        let down = own.1.checked_sub(self.state.down_bytes);
        let (Some(up), Some(down)) = (up, down) else { return Err("a count falls") };
        (self.state.up_bytes, self.state.down_bytes) = own;
        Ok((up, down))
    }

    /// What was paid before.
    fn pay(&mut self, paid: Paid) -> Result<Option<Paid>, &'static str> {
        let before = self.state.paid;
        if before.is_some_and(|before| before.signed.voucher.amount > paid.signed.voucher.amount) {
            return Err("an amount falls");
        }
        self.state.paid = Some(paid.after(before));
        Ok(before)
    }
}
