//! Files of service-level agreements: terms in TOML or JSON as somebody writes them, and the
//! agreement in JSON as it goes from hand to hand for signatures.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_usage::Digest;
use weir_usage::bond::{Agreement, SlaTerms};

use crate::error::Error;
use crate::keys::random32;

/// Terms with all credit steps and measurers that a contract takes are a tenth of this.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// Terms from a file: JSON if it begins with `{`, else TOML. Without a salt they get a random one.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`].
pub fn read_terms(path: &Path) -> Result<SlaTerms, Error> {
    let text = text(path, FILE_LEN_MAX)?;
    let mut terms: SlaTerms = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map_err(|e| bad(path, &e))?,
        false => toml::from_str(&text).map_err(|e| bad(path, &e))?,
    };
    if terms.salt.is_zero() {
        terms.salt = Digest(random32()?);
    }
    Ok(terms)
}

/// An agreement from a file. Neither its terms nor its signatures are checked yet.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`].
pub fn read(path: &Path) -> Result<Agreement, Error> {
    read_json(path, FILE_LEN_MAX)
}

/// Writes a new file; an existing one may hold signatures, and stays.
///
/// # Errors
/// [`Error::Io`].
pub fn create(path: &Path, agreement: &Agreement) -> Result<(), Error> {
    write_new(path, agreement)
}

/// Replaces the file, at once or not at all.
///
/// # Errors
/// [`Error::Io`].
pub fn replace<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // Left behind by a run that was killed; it was never the agreement.
    drop(fs::remove_file(&new));
    write_new(&new, value)?;
    fs::rename(&new, path).map_err(Error::io("replace", path))
}

/// JSON from a file of at most `max` bytes.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`].
pub fn read_json<T: DeserializeOwned>(path: &Path, max: u64) -> Result<T, Error> {
    serde_json::from_str(&text(path, max)?).map_err(|e| bad(path, &e))
}

/// JSON into a file that doesn't exist yet, on the disk before this returns.
///
/// # Errors
/// [`Error::Io`].
pub fn write_new<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|e| bad(path, &e))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        // Amounts are between an operator and one payer.
        .mode(0o600)
        .open(path)
        .map_err(Error::io("create", path))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", path))
}

/// The text of a file of at most `max` bytes.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`].
pub fn text(path: &Path, max: u64) -> Result<String, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut text = String::new();
    // One byte more than is allowed shows that there is more.
    file.take(max + 1).read_to_string(&mut text).map_err(Error::io("read", path))?;
    if text.len() as u64 > max {
        return Err(bad(path, &format!("it is longer than {max} bytes")));
    }
    Ok(text)
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_string() }
}
