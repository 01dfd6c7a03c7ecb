//! What a service was worth: samples of its intervals in, verdicts, figures and reports out.
//!
//! - [`Record`]: the signed samples of one agreement, whatever the order they came in.
//! - [`Judgement`]: good, bad or unknown, interval by interval, and what follows for a period.
//! - [`Figures`]: what buyers look at: availability, 95th percentile of bandwidth, RTT, loss.
//! - [`Reputation`]: a score with its inputs. It takes money from nobody.
//! - [`Report`] and [`Sealed`]: a period on one page, signed.
//!
//! Terms, periods, credits and verdicts themselves are `weir_usage::bond`'s, which is held equal to
//! the contract. Nothing here reads a clock, a file or a random source.

#![forbid(unsafe_code)]

pub mod calendar;
mod error;
mod evidence;
mod figures;
mod judge;
mod maintenance;
mod page;
mod record;
mod references;
mod report;
mod reputation;
mod seal;
mod svg;
mod text;

pub use error::Error;
pub use evidence::{HourRoot, daily, evidence, hourly, proof};
pub use figures::{Figures, percentile};
pub use judge::{Judged, Judgement, meets_measured, meets_used};
pub use maintenance::{Maintenance, Window};
pub use record::{Fate, Interval, Record};
pub use references::{Kind, Reference, References};
pub use report::{Paid, Report, Slot};
pub use reputation::{Day, Reputation};
pub use seal::Sealed;
