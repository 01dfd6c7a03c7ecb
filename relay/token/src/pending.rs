//! A client's requests between asking and getting, as a file: secret, because it ties the requests
//! to the tokens.

use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_blind::wallet::Entry;
use weir_blind::{Binding, IssuerKey, MODULUS_BYTES, base64url_decode, base64url_encode};

use crate::blind::{Blinded, blind};
use crate::{Error, write_secret};

/// Tokens asked for with one file.
const COUNT_MAX: usize = 10_000;

/// Requests that wait for their responses, in the order in which they were made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    key: String,
    start_s: u64,
    end_s: u64,
    challenge_digest: String,
    /// Nonce and inverse of each.
    secrets: Vec<(String, String)>,
}

impl Pending {
    /// Makes requests for tokens with one binding, one per line.
    ///
    /// # Errors
    /// More than 10,000, or no randomness.
    pub fn make(key: &IssuerKey, binding: &Binding, count: usize) -> Result<(Self, String), Error> {
        if count > COUNT_MAX {
            return Err(Error::malformed("count", format!("at most {COUNT_MAX} at once")));
        }
        let digest = binding.challenge().digest()?;
        let (start_s, end_s) = binding.epochs.span(binding.epoch);
        let (mut secrets, mut requests) = (Vec::with_capacity(count), String::new());
        for _ in 0..count {
            let (blinded, request) = blind(key, digest)?;
            secrets.push((base64url_encode(&blinded.nonce), base64url_encode(&blinded.inverse)));
            requests.push_str(&base64url_encode(&request));
            requests.push('\n');
        }
        let challenge_digest = base64url_encode(&digest);
        Ok((
            Pending { key: key.to_base64url(), start_s, end_s, challenge_digest, secrets },
            requests,
        ))
    }

    /// Reads a file that [`Pending::save`] wrote.
    ///
    /// # Errors
    /// What isn't one.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
        serde_json::from_str(&text).map_err(|error| Error::malformed("pending requests", error))
    }

    /// Writes a file that only its owner may read.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string(self);
        write_secret(path, &text.map_err(|error| Error::malformed("pending requests", error))?)
    }

    /// Makes tokens of the issuer's responses, one per line in the order of the requests.
    ///
    /// # Errors
    /// Too few, too many, or a wrong one: then there are no tokens at all, and the issuer is asked
    /// why.
    pub fn finalize(&self, responses: &str) -> Result<Vec<Entry>, Error> {
        let wrong = |why: &'static str| Error::malformed("responses", why);
        let lines: Vec<&str> = responses.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.len() != self.secrets.len() {
            return Err(wrong("there are not as many as there were requests"));
        }
        let key = IssuerKey::from_base64url(&self.key)?;
        let mut entries = Vec::with_capacity(lines.len());
        for (line, (nonce, inverse)) in lines.into_iter().zip(&self.secrets) {
            let blinded = Blinded {
                nonce: fixed(nonce)?,
                challenge_digest: fixed(&self.challenge_digest)?,
                inverse: fixed::<MODULUS_BYTES>(inverse)?,
            };
            let response = base64url_decode(line.trim()).ok_or(wrong("a line is not base64url"))?;
            let token = blinded.finalize(&key, &response)?;
            entries.push(Entry { start_s: self.start_s, end_s: self.end_s, token });
        }
        Ok(entries)
    }
}

fn fixed<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    let bytes = base64url_decode(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(Error::malformed("pending requests", "a value has another length"))
}
