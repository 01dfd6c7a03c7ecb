//! What was paid for what, by day and exit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::journal::Units;
use super::state::Paid;

const DAY_MS: u64 = 86_400_000;

/// Rows that are kept: eleven years with one exit. The oldest become one row of day 0.
const ROWS_MAX: usize = 4_096;

/// One day with one exit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// UTC days since 1970; 0 for what nobody knows the day of.
    pub(crate) day: u64,
    pub(crate) exit: String,
    /// Own counts: (up, down).
    pub(crate) bytes: (u64, u64),
    /// Of those, paid by the day's vouchers.
    pub(crate) paid: (u64, u64),
    pub(crate) vouchers: u64,
    pub(crate) amount: Units,
    /// Lowest and highest price of the day's vouchers, per GiB.
    pub(crate) price: Option<(Units, Units)>,
}

/// All rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Days(BTreeMap<(u64, String), Row>);

pub(crate) fn day_of(at_ms: u64) -> u64 {
    at_ms / DAY_MS
}

impl Days {
    pub(crate) fn from_rows(rows: Vec<Row>) -> Days {
        Days(rows.into_iter().map(|row| ((row.day, row.exit.clone()), row)).collect())
    }

    /// Oldest first.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.values()
    }

    /// These bytes moved.
    pub(crate) fn count(&mut self, exit: &str, at_ms: u64, bytes: (u64, u64)) {
        if bytes != (0, 0) {
            add(&mut self.row(exit, day_of(at_ms)).bytes, bytes);
        }
    }

    /// A voucher was signed.
    pub(crate) fn pay(
        &mut self,
        exit: &str,
        at_ms: u64,
        before: Option<Paid>,
        paid: Paid,
        price: Units,
    ) {
        let row = self.row(exit, day_of(at_ms));
        row.vouchers += 1;
        let (low, high) = row.price.unwrap_or((price, price));
        row.price = Some((low.min(price), high.max(price)));
        row.add(before, paid);
    }

    /// A voucher of an unknown day was taken over.
    pub(crate) fn recover(
        &mut self,
        exit: &str,
        bytes: (u64, u64),
        before: Option<Paid>,
        paid: Paid,
    ) {
        let row = self.row(exit, 0);
        add(&mut row.bytes, bytes);
        row.add(before, paid);
    }

    fn row(&mut self, exit: &str, day: u64) -> &mut Row {
        let key = (day, exit.to_owned());
        while self.0.len() >= ROWS_MAX && !self.0.contains_key(&key) {
            self.fold();
        }
        let exit = exit.to_owned();
        self.0.entry(key).or_insert_with(|| Row { day, exit, ..Row::default() })
    }

    /// Adds the oldest row to the one that stands for all that is long ago.
    fn fold(&mut self) {
        let earlier = (0, String::new());
        let oldest = self.0.keys().find(|key| **key != earlier).cloned();
        let Some(old) = oldest.and_then(|key| self.0.remove(&key)) else { return };
        let row = self.0.entry(earlier).or_default();
        add(&mut row.bytes, old.bytes);
        add(&mut row.paid, old.paid);
        row.vouchers += old.vouchers;
        row.amount.0 = row.amount.0.saturating_add(old.amount.0);
        row.price = match (row.price, old.price) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }
}

impl Row {
    fn add(&mut self, before: Option<Paid>, paid: Paid) {
        let was = before.map_or((0, 0), |before| before.bytes);
        let more = (paid.bytes.0.saturating_sub(was.0), paid.bytes.1.saturating_sub(was.1));
        add(&mut self.paid, more);
        let signed = before.map_or(0, |before| before.signed.voucher.amount);
        let more = paid.signed.voucher.amount.saturating_sub(signed);
        self.amount.0 = self.amount.0.saturating_add(more);
    }
}

fn add(sum: &mut (u64, u64), more: (u64, u64)) {
    *sum = (sum.0.saturating_add(more.0), sum.1.saturating_add(more.1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_bounded_and_no_byte_is_lost() {
        let mut days = Days::default();
        let count = ROWS_MAX as u64 + 100;
        for day in 0..count {
            days.count("exit", day * DAY_MS, (1, 2));
        }
        assert!(days.rows().count() <= ROWS_MAX);
        assert_eq!(days.rows().map(|row| row.bytes.0).sum::<u64>(), count);
        assert_eq!(days.rows().map(|row| row.bytes.1).sum::<u64>(), 2 * count);
        assert!(days.rows().next().is_some_and(|row| row.day == 0 && row.bytes.0 > 100));
    }
}
