//! Dates for people: months by name and days of the UTC calendar.

use weir_usage::bond::SlaTerms;

use crate::Error;

/// Seconds of a day; UTC as Unix counts it has no other.
pub const DAY_S: u64 = 86_400;

/// The period of an agreement over calendar months that a month like `2026-11` names.
///
/// # Errors
/// [`Error::BadMonth`], [`Error::NoSuchMonth`].
pub fn period_of_month(terms: &SlaTerms, month: &str) -> Result<u32, Error> {
    let begins = month_start(month)?;
    (0..terms.periods)
        .find(|&period| {
            terms.period_s == 0 && terms.period(period).is_ok_and(|p| p.begins == begins)
        })
        .ok_or_else(|| Error::NoSuchMonth { month: month.to_owned() })
}

/// The Unix time at which a month like `2026-11` begins.
///
/// # Errors
/// [`Error::BadMonth`].
pub fn month_start(text: &str) -> Result<u64, Error> {
    let bad = || Error::BadMonth { text: text.to_owned() };
    let (year, month) = text.split_once('-').ok_or_else(bad)?;
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) {
        return Err(bad());
    }
    let (year, month): (u64, u64) =
        (year.parse().map_err(|_| bad())?, month.parse().map_err(|_| bad())?);
    if year < 1970 || !(1..=12).contains(&month) {
        return Err(bad());
    }
    // Years are counted from March on, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5;
    // Days from 0000-03-01 to 1970-01-01.
    Ok((day - 719_468) * DAY_S)
}

/// The day, counted from 1970, that a date like `2026-11-22` names.
///
/// # Errors
/// [`Error::BadDay`].
pub fn day(text: &str) -> Result<u64, Error> {
    let bad = || Error::BadDay { text: text.to_owned() };
    let (month, of_month) = text.rsplit_once('-').ok_or_else(bad)?;
    let of_month: u64 = of_month.parse().ok().filter(|of| (1..=31).contains(of)).ok_or_else(bad)?;
    let found = month_start(month).map_err(|_| bad())? + (of_month - 1) * DAY_S;
    // Neither 30 February nor a date that is written otherwise.
    if date(found) == text { Ok(found / DAY_S) } else { Err(bad()) }
}

/// `2026-11-22 20:15:00 UTC`.
pub fn date_time(time_s: u64) -> String {
    let (hour, minute, second) = (time_s / 3600 % 24, time_s / 60 % 60, time_s % 60);
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", date(time_s))
}

/// `2026-11-22`.
pub fn date(time_s: u64) -> String {
    let day = time_s / DAY_S + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year + u64::from(month >= 10);
    format!("{year:04}-{:02}-{day:02}", if month < 10 { month + 3 } else { month - 9 })
}
