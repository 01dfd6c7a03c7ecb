use weir_usage::{Address, Digest};

/// What can be wrong with samples, windows and reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Terms, verdict or signature are wrong. Whoever wrote or signed them.
    #[error(transparent)]
    Usage(#[from] weir_usage::Error),
    /// The sample is of an interval that the agreement doesn't have. Its signer.
    #[error("interval {interval} is past the agreement's last")]
    NoSuchInterval { interval: u64 },
    /// The signer is not one of the agreement's measurers. Whoever brought the statement.
    #[error("{found} is not a measurer of this agreement")]
    NotAMeasurer { found: Address },
    /// The interval holds as many samples as it may. Whoever brought more.
    #[error("interval {interval} has {samples} samples already")]
    TooMany { interval: u64, samples: usize },
    /// The windows aren't those that the terms name. Operator.
    #[error("the maintenance windows hash to {found}, the terms say {expected}")]
    OtherWindows { expected: Digest, found: Digest },
    /// Windows that end before they begin, overlap, or are too many. Operator.
    #[error("maintenance window {number}: {why}")]
    BadWindow { number: usize, why: &'static str },
    /// The references aren't those that the terms name. Measurer.
    #[error("the references hash to {found}, the terms say {expected}")]
    OtherReferences { expected: Digest, found: Digest },
    /// Nothing that can be probed. Whoever wrote the list.
    #[error("reference {text:?} {why}")]
    BadReference { text: String, why: &'static str },
    /// Not YYYY-MM. Whoever typed it.
    #[error("`{text}` is not a month: YYYY-MM, from 1970-01 to 9999-12")]
    BadMonth { text: String },
    /// Not YYYY-MM-DD. Whoever typed it.
    #[error("`{text}` is not a day: YYYY-MM-DD, from 1970-01-01 to 9999-12-31")]
    BadDay { text: String },
    /// The agreement has no period that is that month. Whoever asked.
    #[error("no period of this agreement is {month}")]
    NoSuchMonth { month: String },
    /// Not a sealed report, or one that was changed. Whoever handed it over.
    #[error("the report can't be trusted: {why}")]
    BadReport { why: String },
}
