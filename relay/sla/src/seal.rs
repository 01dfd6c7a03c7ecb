//! A report and the operator's signature over it, as a file or as a page.

use serde::{Deserialize, Serialize};
use weir_usage::{Digest, Keccak, Signature, SigningKey};

use crate::{Error, Report, page};

/// Much more than a month's report.
const FILE_BYTES_MAX: usize = 8 << 20;

/// A signed report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// What is signed.
    pub report: Report,
    /// By the agreement's operator, over `keccak("Weir SLA report\n" || report)`, the report as
    /// JSON without white space, its fields in the order of [`Report`].
    pub signature: Signature,
}

impl Sealed {
    /// Signs a report.
    ///
    /// # Errors
    /// If the key isn't the operator's.
    pub fn new(report: Report, key: &SigningKey) -> Result<Self, Error> {
        let signature = key.sign(&report.digest()?);
        Self::of(report, signature)
    }

    /// Takes a report and a signature over [`Report::digest`].
    ///
    /// # Errors
    /// If the signature isn't the operator's.
    pub fn of(report: Report, signature: Signature) -> Result<Self, Error> {
        let sealed = Self { report, signature };
        sealed.verify()?;
        Ok(sealed)
    }

    /// Reads a report from JSON or from a page, and checks all that can be checked.
    ///
    /// # Errors
    /// [`Error::BadReport`] or what is wrong with the signature.
    pub fn read(text: &str) -> Result<Self, Error> {
        if text.len() > FILE_BYTES_MAX {
            return Err(Error::BadReport { why: "it is too long".to_owned() });
        }
        let bad = |error: serde_json::Error| Error::BadReport { why: error.to_string() };
        let Some(json) = page::embedded(text) else {
            let sealed: Self = serde_json::from_str(text).map_err(bad)?;
            sealed.verify()?;
            return Ok(sealed);
        };
        let sealed: Self = serde_json::from_str(json).map_err(bad)?;
        sealed.verify()?;
        // What a reader sees must be what is signed.
        if sealed.to_html()? != text {
            return Err(Error::BadReport { why: "the page isn't the report's".to_owned() });
        }
        Ok(sealed)
    }

    /// Checks the signature, and that the numbers follow from each other.
    ///
    /// # Errors
    /// [`Error::BadReport`] or what is wrong with the signature.
    pub fn verify(&self) -> Result<(), Error> {
        self.signature.verify(&self.report.digest()?, self.report.terms.operator)?;
        self.report.check()
    }

    /// As JSON.
    ///
    /// # Errors
    /// [`Error::BadReport`], which can't happen to a report of this crate.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(|e| Error::BadReport { why: e.to_string() })
    }

    /// As a page that needs no other file; the report is in it, signed.
    ///
    /// # Errors
    /// As [`Sealed::to_json`].
    pub fn to_html(&self) -> Result<String, Error> {
        let json = serde_json::to_string(self);
        Ok(page::render(self, &json.map_err(|e| Error::BadReport { why: e.to_string() })?))
    }
}

impl Report {
    /// What the operator signs.
    ///
    /// # Errors
    /// [`Error::BadReport`], which can't happen to a report of this crate.
    pub fn digest(&self) -> Result<Digest, Error> {
        let json = serde_json::to_vec(self);
        let json = json.map_err(|e| Error::BadReport { why: e.to_string() })?;
        Ok(Keccak::default().update(b"Weir SLA report\n").update(&json).finish())
    }
}
