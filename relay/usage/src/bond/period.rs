//! Periods of an agreement and what a verdict on one is worth, as the contract computes both.

use super::SlaTerms;
use crate::Error;

const DAY_S: u128 = 86_400;
/// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH_DAYS: u128 = 719_468;

/// From when until when a period lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Unix time in seconds of the first second.
    pub begins: u64,
    /// Unix time in seconds of the first second after it, which begins the next period.
    pub ends: u64,
}

impl SlaTerms {
    /// When a period begins and ends, as `OperatorBond.periodOf` has it.
    ///
    /// # Errors
    /// [`Error::NoSuchPeriod`]; [`Error::BadTerms`] for times past the year 584 billion.
    pub fn period(&self, period: u32) -> Result<Period, Error> {
        if period >= self.periods {
            return Err(Error::NoSuchPeriod { period, periods: self.periods });
        }
        let at = |number: u128| {
            let start = u128::from(self.start);
            let time = match self.period_s {
                0 => month_start(month_of(start) + number),
                seconds => start + number * u128::from(seconds),
            };
            let why = "is too far away";
            u64::try_from(time).map_err(|_| Error::BadTerms { term: "start", why })
        };
        Ok(Period { begins: at(period.into())?, ends: at(u128::from(period) + 1)? })
    }

    /// How many intervals a period has.
    ///
    /// # Errors
    /// As [`SlaTerms::period`], and for intervals of no length.
    pub fn intervals(&self, period: u32) -> Result<u64, Error> {
        let Period { begins, ends } = self.period(period)?;
        let none = Error::BadTerms { term: "interval_s", why: "is 0" };
        (ends - begins).checked_div(self.interval_s.into()).ok_or(none)
    }

    /// How many intervals all periods have together; they are counted from 0 at the start.
    ///
    /// # Errors
    /// As [`SlaTerms::intervals`].
    pub fn all_intervals(&self) -> Result<u64, Error> {
        let ends = self.period(self.periods.saturating_sub(1))?.ends;
        let none = Error::BadTerms { term: "interval_s", why: "is 0" };
        ends.saturating_sub(self.start).checked_div(self.interval_s.into()).ok_or(none)
    }

    /// What the payer is owed for a period of `intervals` of which `bad` were bad, in token units:
    /// `OperatorBond.creditOf`. An unknown interval counts as if the terms had been met.
    ///
    /// # Errors
    /// [`Error::TooManyIntervals`] for more bad intervals than there are.
    pub fn credit(&self, intervals: u64, bad: u64) -> Result<u128, Error> {
        let Some(met) = intervals.checked_sub(bad) else {
            return Err(Error::TooManyIntervals { judged: bad, intervals });
        };
        // Availability isn't rounded: met / intervals < below_ppm / 1e6.
        let reached = self.credits.iter().take_while(|step| {
            u128::from(met) * 1_000_000 < u128::from(step.below_ppm) * u128::from(intervals)
        });
        let credit_ppm = reached.last().map_or(0, |step| u128::from(step.credit_ppm));
        // fee * ppm / 1e6 in two parts, so that no product overflows: exact, rounded down.
        let (whole, rest) = (self.fee / 1_000_000, self.fee % 1_000_000);
        let credit = whole.checked_mul(credit_ppm).map(|c| c + rest * credit_ppm / 1_000_000);
        let why = "exceed the fee";
        credit.ok_or(Error::BadTerms { term: "credits", why })
    }
}

/// The months since the year 0 at a Unix time.
fn month_of(time_s: u128) -> u128 {
    // Years are counted from March on, so that the leap day is the last day of a year; 400 years
    // have 146,097 days.
    let day = time_s / DAY_S + EPOCH_DAYS;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    // Month 0 is March: two months later than the calendar's.
    (era * 400 + year) * 12 + month + 2
}

/// The Unix time of the first second of a month, the months counted as by `month_of`.
fn month_start(month: u128) -> u128 {
    let since_march = month - 2;
    let year = since_march / 12;
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * (since_march % 12) + 2) / 5;
    let day = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (day - EPOCH_DAYS) * DAY_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_of_the_calendar() {
        // `date -u -d 2024-02-29T23:59:59 +%s` and the like.
        for (time, starts, next) in [
            (1_709_251_199, 1_706_745_600, 1_709_251_200),
            (1_709_251_200, 1_709_251_200, 1_711_929_600),
            (0, 0, 2_678_400),
            (1_798_761_599, 1_796_083_200, 1_798_761_600),
        ] {
            let month = month_of(time);
            assert_eq!((month_start(month), month_start(month + 1)), (starts, next), "{time}");
        }
    }
}
