//! A report for a terminal, and numbers for people.

use std::fmt;

use crate::calendar::{date, date_time};
use crate::{Report, calendar};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "service level of agreement {}", self.sla)?;
        for (name, value) in rows(self) {
            writeln!(f, "  {name:<14} {value}")?;
        }
        writeln!(f, "  reputation     {}, from:", percent(self.reputation.score_ppm))?;
        for day in &self.reputation.inputs {
            let (date, paid) = (date(day.day * calendar::DAY_S), day.paid);
            writeln!(f, "    {date}  good {:>5}  bad {:>5}  paid {paid}", day.good, day.bad)?;
        }
        Ok(())
    }
}

/// What text and page both say, in order.
pub(crate) fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let (figures, terms) = (&report.figures, &report.terms);
    let state = if report.is_final() { "" } else { ", not over yet" };
    let ms = |us: u32| format!("{:.3} ms", f64::from(us) / 1000.0);
    vec![
        (
            "period",
            format!(
                "{} ({} to {}{state})",
                report.period,
                date_time(report.begins_s),
                date_time(report.ends_s)
            ),
        ),
        (
            "availability",
            format!(
                "{} (agreed {}; {} of what could be judged)",
                percent(figures.availability_ppm),
                percent(terms.availability_ppm),
                percent(figures.judged_availability_ppm)
            ),
        ),
        (
            "intervals",
            format!(
                "{} of {} s: good {}, bad {}, unknown {}",
                figures.intervals, terms.interval_s, figures.good, figures.bad, figures.unknown
            ),
        ),
        (
            "bandwidth p95",
            format!(
                "{} kbit/s (up {}, down {}; committed {}, peak {})",
                figures.p95_kbps,
                figures.up_p95_kbps,
                figures.down_p95_kbps,
                terms.committed_kbps,
                figures.peak_kbps
            ),
        ),
        (
            "RTT",
            format!(
                "p50 {}, p95 {} (agreed {})",
                ms(figures.rtt_p50_us),
                ms(figures.rtt_p95_us),
                ms(terms.rtt_p95_us)
            ),
        ),
        ("loss", format!("{} (agreed {})", percent(figures.loss_ppm), percent(terms.loss_ppm))),
        ("traffic", format!("{} bytes up, {} down", figures.up_bytes, figures.down_bytes)),
        ("credit", format!("{} of a fee of {} token units", report.credit, terms.fee)),
        ("evidence", report.evidence().to_string()),
        ("made", date_time(report.made_s)),
    ]
}

/// `99.9983 %`, all digits of parts per million.
pub(crate) fn percent(ppm: u32) -> String {
    format!("{}.{:04} %", ppm / 10_000, ppm % 10_000)
}
