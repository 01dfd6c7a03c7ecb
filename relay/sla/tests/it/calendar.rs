//! Months, against a calendar that counts days one by one.

use weir_sla::calendar::{date, date_time, month_start, period_of_month};

use crate::common::terms;

fn days_of(year: u64, month: u64) -> u64 {
    let leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[test]
fn every_month_of_330_years_begins_where_it_should_and_is_a_period() {
    let mut terms = terms();
    (terms.start, terms.period_s, terms.periods) = (0, 0, 120);
    let mut day = 0;
    for year in 1970..2300 {
        for month in 1..=12 {
            let name = format!("{year:04}-{month:02}");
            let begins = month_start(&name).unwrap();
            assert_eq!(begins, day * 86_400, "{name}");
            assert_eq!(date(begins), format!("{name}-01"));
            let ends = begins + days_of(year, month) * 86_400;
            assert_eq!(date(ends - 1), format!("{name}-{:02}", days_of(year, month)));
            // The same month as the contract's, as the first of an agreement and as its last.
            if (year - 1970) % 10 == 0 && month == 1 {
                terms.start = begins;
            }
            let period = period_of_month(&terms, &name).unwrap();
            let lasts = terms.period(period).unwrap();
            assert_eq!((lasts.begins, lasts.ends), (begins, ends), "{name}");
            day += days_of(year, month);
        }
    }
}

#[test]
fn what_is_no_month_is_refused() {
    for bad in ["2026", "2026-13", "2026-00", "26-01", "2026-1", "1969-12", "+026-01", "2026-11-01"]
    {
        assert!(month_start(bad).is_err(), "{bad}");
    }
    // Its periods are hours.
    assert!(period_of_month(&terms(), "2024-02").is_err());
    assert_eq!(date_time(1_709_251_199), "2024-02-29 23:59:59 UTC");
}
