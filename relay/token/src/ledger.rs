//! How many tokens each customer had, by key: the quota, and the sum that bounds what exits may
//! bill.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir_blind::IssuerKey;

use crate::{Error, write_secret};

type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// The issuer's file of counts. It says who had how many tokens, and can't say which.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    counts: Counts,
    _lock: std::fs::File,
}

impl Ledger {
    /// Opens or makes a ledger, and locks it.
    ///
    /// # Errors
    /// A file that can't be read or isn't a ledger.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(name);
        let lock = lock.and_then(|file| file.lock().map(|()| file)).map_err(Error::file(path))?;
        let counts = match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| Error::malformed("ledger", e))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Counts::new(),
            Err(error) => return Err(Error::file(path)(error)),
        };
        Ok(Ledger { path: path.to_owned(), counts, _lock: lock })
    }

    /// Notes that a customer gets tokens; on disk when this returns, so before they are signed.
    ///
    /// # Errors
    /// [`Error::Quota`] if it would have more than `quota` with this key.
    pub fn charge(
        &mut self,
        key: &IssuerKey,
        customer: &str,
        wanted: u64,
        quota: u64,
    ) -> Result<(), Error> {
        let customers = self.counts.entry(key_name(key)).or_default();
        let issued = customers.get(customer).copied().unwrap_or(0);
        let after = issued.checked_add(wanted).filter(|after| *after <= quota);
        let Some(after) = after else {
            return Err(Error::Quota { customer: customer.to_owned(), issued, quota, wanted });
        };
        customers.insert(customer.to_owned(), after);
        let text = serde_json::to_string_pretty(&self.counts);
        write_secret(&self.path, &text.map_err(|error| Error::malformed("ledger", error))?)
    }

    /// Tokens signed with a key so far: no exit can have taken more of it.
    pub fn issued(&self, key: &IssuerKey) -> u64 {
        self.counts.get(&key_name(key)).map_or(0, |customers| customers.values().sum())
    }
}

fn key_name(key: &IssuerKey) -> String {
    key.id().iter().map(|byte| format!("{byte:02x}")).collect()
}
