//! What the operator's usage key vouches for, in files: made from the journal for payers, and
//! searched by anybody for contradictions.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_usage::bond::{BondDomain, EpochStatement, Signed, Statement, StreamStatement};
use weir_usage::{Address, ChannelId, Digest, Keccak, UsageRecord};

use crate::agreement::{read_json, write_new};
use crate::chain::Past;
use crate::chain::bond::{Evidence, Pair};
use crate::error::Error;
use crate::journal::entry::{Action, Item, OutboxStep, Step};
use crate::journal::scan;
use crate::keys::Wallet;
use crate::storage::Storage;

/// Statements about a million records; more are several files.
const FILE_LEN_MAX: u64 = 512 * 1024 * 1024;

/// A file of signed statements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statements {
    /// Chain and contract that they are good for.
    pub domain: BondDomain,
    /// About epochs.
    #[serde(default)]
    pub epochs: Vec<Signed<EpochStatement>>,
    /// About records.
    #[serde(default)]
    pub records: Vec<Signed<StreamStatement>>,
}

/// A statement whose signature isn't one, and where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flawed {
    /// Number of the file, from 0.
    pub file: usize,
    /// `epoch 7`, `record 12 of stream 0x...`.
    pub statement: String,
    /// What is wrong.
    pub reason: String,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Statements with good signatures.
    pub statements: usize,
    /// Contradictions, at most one per subject and key.
    pub contradictions: Vec<Evidence>,
    /// What was left aside.
    pub flawed: Vec<Flawed>,
}

/// The name of a relay process's records in statements: which exit, and which of its processes.
pub fn stream(record: &UsageRecord) -> Digest {
    Keccak::default().update(&record.exit.0).update(&record.epoch.to_be_bytes()).finish()
}

impl Statements {
    /// Signs a statement for each epoch whose anchor is final on chain, and for each record of
    /// `channel`. What is only planned isn't vouched for: after a lost journal the same epoch could
    /// be planned with other values. The same journal gives the same statements every time, so
    /// nothing contradicts itself.
    ///
    /// # Errors
    /// Those of reading the journal.
    pub fn of_journal<S: Storage>(
        storage: &S,
        domain: BondDomain,
        channel: Option<ChannelId>,
        key: &Wallet,
    ) -> Result<Self, Error> {
        let mut made = Self { domain, epochs: Vec::new(), records: Vec::new() };
        let mut past = Past::default();
        scan(storage, |_, offset, entry| {
            past.replay(offset, &entry)?;
            match entry.item {
                Item::Record(record) if Some(record.channel) == channel => {
                    let (stream, seq, content) = (stream(&record), record.seq, record.hash());
                    let said = StreamStatement { stream, seq, content };
                    made.records.push(sign(said, &domain, key)?);
                }
                Item::Outbox(OutboxStep { intent, step: Step::Final { success: true, .. } }) => {
                    let action = past.outbox.get(intent).map(|intent| &intent.action);
                    if let Some(&Action::Anchor { epoch, root, total }) = action {
                        let said = EpochStatement { epoch, root, total };
                        made.epochs.push(sign(said, &domain, key)?);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(made)
    }

    /// A file of one statement.
    ///
    /// # Errors
    /// [`Error::Transaction`] if the signature can't be made.
    pub fn of_one(said: StreamStatement, domain: BondDomain, key: &Wallet) -> Result<Self, Error> {
        let records = vec![sign(said, &domain, key)?];
        Ok(Self { domain, epochs: Vec::new(), records })
    }

    /// Reads a file. No signature is checked yet.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_json(path, FILE_LEN_MAX)
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write_new(path, self)
    }
}

fn sign<S: Statement>(statement: S, domain: &BondDomain, key: &Wallet) -> Result<Signed<S>, Error> {
    Ok(Signed { statement, signature: key.sign_digest(&statement.digest(domain))? })
}

/// Looks for contradictions among all statements of all files for `domain`. A statement of another
/// domain or with a bad signature proves nothing, and is listed.
pub fn search(files: &[Statements], domain: &BondDomain) -> Findings {
    let mut findings = Findings::default();
    let mut epochs = Said::default();
    let mut records = Said::default();
    for (file, all) in files.iter().enumerate() {
        let other = all.domain != *domain;
        let flaw = |statement: String, error: &dyn std::fmt::Display| Flawed {
            file,
            statement,
            reason: match other {
                true => "of another chain or contract".to_owned(),
                false => error.to_string(),
            },
        };
        for one in &all.epochs {
            match epochs.take(one, &all.domain, other) {
                Ok(pair) => findings.add(pair.map(|(signer, a, b)| (signer, Pair::Epochs(a, b)))),
                Err(e) => findings.flawed.push(flaw(format!("epoch {}", one.statement.epoch), &e)),
            }
        }
        for one in &all.records {
            match records.take(one, &all.domain, other) {
                Ok(pair) => findings.add(pair.map(|(signer, a, b)| (signer, Pair::Records(a, b)))),
                Err(e) => {
                    let what = one.statement;
                    let name = format!("record {} of stream {}", what.seq, what.stream);
                    findings.flawed.push(flaw(name, &e));
                }
            }
        }
    }
    findings
}

impl Findings {
    fn add(&mut self, pair: Option<(Address, Pair)>) {
        self.statements += 1;
        self.contradictions.extend(pair.map(|(signer, pair)| Evidence { signer, pair }));
    }
}

/// Who said two things, and what.
type Caught<S> = (Address, Signed<S>, Signed<S>);

/// The first thing said about each subject by each key, and whether it was contradicted.
struct Said<S>(HashMap<(Address, Digest), (Signed<S>, bool)>);

impl<S> Default for Said<S> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<S: Statement> Said<S> {
    fn take(
        &mut self,
        one: &Signed<S>,
        domain: &BondDomain,
        other: bool,
    ) -> Result<Option<Caught<S>>, weir_usage::Error> {
        if other {
            return Err(weir_usage::Error::NoContradiction { why: "another domain" });
        }
        let signer = one.recover(domain)?;
        let subject = one.statement.subject();
        let (first, caught) = self.0.entry((signer, subject)).or_insert((*one, false));
        if first.statement == one.statement || *caught {
            return Ok(None);
        }
        *caught = true;
        Ok(Some((signer, *first, *one)))
    }
}
