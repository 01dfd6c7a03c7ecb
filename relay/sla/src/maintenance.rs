//! Agreed times at which nothing counts as bad.

use serde::{Deserialize, Serialize};
use weir_usage::bond::SlaTerms;
use weir_usage::{Digest, Keccak};

use crate::Error;

/// One a day for ten years.
const WINDOWS_MAX: usize = 3_660;

/// From when until when, Unix time in seconds; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// First second.
    pub from_s: u64,
    /// First second after it.
    pub until_s: u64,
}

/// The windows of an agreement, in ascending order, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Window>", into = "Vec<Window>")]
pub struct Maintenance(Vec<Window>);

impl Maintenance {
    /// Takes windows that are in order.
    ///
    /// # Errors
    /// [`Error::BadWindow`].
    pub fn new(windows: Vec<Window>) -> Result<Self, Error> {
        let mut before = 0;
        for (number, window) in windows.iter().enumerate() {
            let bad = |why| Err(Error::BadWindow { number, why });
            if number >= WINDOWS_MAX {
                return bad("is one too many");
            }
            if window.from_s < before {
                return bad("begins before the one in front of it has ended");
            }
            if window.until_s <= window.from_s {
                return bad("doesn't end after it begins");
            }
            before = window.until_s;
        }
        Ok(Self(windows))
    }

    /// What the terms name: zero for no windows, else
    /// `keccak("Weir maintenance" || (from || until)*)`, 64 bits each, big-endian.
    pub fn hash(&self) -> Digest {
        if self.0.is_empty() {
            return Digest::ZERO;
        }
        let hash = Keccak::default().update(b"Weir maintenance");
        self.0
            .iter()
            .fold(hash, |hash, window| {
                hash.update(&window.from_s.to_be_bytes()).update(&window.until_s.to_be_bytes())
            })
            .finish()
    }

    /// Checks that these are the windows that the terms name.
    ///
    /// # Errors
    /// [`Error::OtherWindows`].
    pub fn must_be_of(&self, terms: &SlaTerms) -> Result<(), Error> {
        let (expected, found) = (terms.maintenance, self.hash());
        if expected == found { Ok(()) } else { Err(Error::OtherWindows { expected, found }) }
    }

    /// Whether any second of `from_s..until_s` is in a window.
    pub fn touches(&self, from_s: u64, until_s: u64) -> bool {
        let next = self.0.partition_point(|window| window.until_s <= from_s);
        self.0.get(next).is_some_and(|window| window.from_s < until_s)
    }
}

impl TryFrom<Vec<Window>> for Maintenance {
    type Error = Error;

    fn try_from(windows: Vec<Window>) -> Result<Self, Error> {
        Self::new(windows)
    }
}

impl From<Maintenance> for Vec<Window> {
    fn from(maintenance: Maintenance) -> Self {
        maintenance.0
    }
}
