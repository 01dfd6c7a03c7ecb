//! Which tokens were spent: each at most once per epoch at this exit, whatever crashes.
//!
//! One append-only file per epoch. A token is accepted only after the group that holds it is
//! synced, so what a crash takes away was never granted, and what was granted is found again. A
//! file is opened by writing it anew under another name, syncing and renaming it: after a failed
//! sync nobody knows what of the old one is on the disk, only that everything granted is. A failure
//! closes the epoch's file; the next spend opens it again.
//!
//! Epochs that are over are forgotten with [`Spent::retire`]. What was retired stays closed even if
//! the clock goes back: the file `floor` says from where on tokens are taken.
//!
//! Costs per token: 16 bytes of the file and 20 per group of at most 1,024, at most 60 bytes of
//! memory (a hash set at its largest, while it grows).

mod disk;
mod file;

use std::collections::{BTreeMap, HashSet};
use std::io;

pub use disk::{DirDisk, Disk};
pub use file::GROUP_MAX;

use crate::{Epoch, Error, ExitId, Nullifier};

/// Beyond this, a file is not one of ours: 60 bytes of memory each would be a gigabyte.
const TOKENS_MAX: usize = 1 << 24;

const FLOOR: &str = "floor";
const SUFFIX: &str = ".spent";
const NEW: &str = ".new";

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not spent before, and is now, on disk.
    Accepted,
    /// It was.
    SpentBefore,
    /// Its epoch is over, or its file is damaged: nothing of it is accepted.
    EpochClosed,
    /// As many as are allowed were accepted in this epoch.
    EpochFull,
    /// The disk failed. The token may be spent or not; it was not accepted.
    Storage,
}

/// The tokens spent at one exit.
#[derive(Debug)]
pub struct Spent<D> {
    disk: D,
    exit: ExitId,
    per_epoch_max: usize,
    floor: Epoch,
    open: BTreeMap<Epoch, Open>,
    problem: Option<Error>,
}

/// An epoch whose file can be appended to.
#[derive(Debug)]
struct Open {
    seen: HashSet<Nullifier>,
    chain: file::Chain,
}

impl<D: Disk> Spent<D> {
    /// Takes a directory that nobody else uses. At most `per_epoch_max` tokens are accepted per
    /// epoch, and never more than 2^24.
    ///
    /// # Errors
    /// [`Error::Storage`], or [`Error::Damaged`] for the file `floor`.
    pub fn new(mut disk: D, exit: ExitId, per_epoch_max: usize) -> Result<Self, Error> {
        let floor = match disk.read(FLOOR, 64).map_err(storage("read", FLOOR))? {
            None => Epoch(0),
            Some(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let damaged = |_| Error::Damaged { name: FLOOR.to_owned(), offset: 0 };
                Epoch(text.trim().parse().map_err(damaged)?)
            }
        };
        let per_epoch_max = per_epoch_max.min(TOKENS_MAX);
        Ok(Spent { disk, exit, per_epoch_max, floor, open: BTreeMap::new(), problem: None })
    }

    /// Spends tokens, all with one write and one sync per epoch and 1,024 of them. The outcomes are
    /// in the order of the tokens.
    pub fn spend(&mut self, tokens: &[(Epoch, Nullifier)]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Storage; tokens.len()];
        let mut epochs: BTreeMap<Epoch, Vec<usize>> = BTreeMap::new();
        for (at, (epoch, _)) in tokens.iter().enumerate() {
            epochs.entry(*epoch).or_default().push(at);
        }
        for (epoch, all) in epochs {
            for some in all.chunks(GROUP_MAX) {
                let group: Vec<Nullifier> = some.iter().map(|at| tokens[*at].1).collect();
                for (at, outcome) in some.iter().zip(self.spend_group(epoch, &group)) {
                    outcomes[*at] = outcome;
                }
            }
        }
        outcomes
    }

    /// Whether a token is known to be spent: a look before the work of a signature check. It says
    /// nothing about an epoch that was not opened yet.
    pub fn is_spent(&self, epoch: Epoch, nullifier: &Nullifier) -> bool {
        self.open.get(&epoch).is_some_and(|open| open.seen.contains(nullifier))
    }

    /// Tokens known to be spent in an epoch; 0 before its first.
    pub fn count(&self, epoch: Epoch) -> usize {
        self.open.get(&epoch).map_or(0, |open| open.seen.len())
    }

    /// The last thing that went wrong, once.
    pub fn take_problem(&mut self) -> Option<Error> {
        self.problem.take()
    }

    /// Forgets all epochs before `first`, for good.
    ///
    /// # Errors
    /// [`Error::Storage`]. Nothing is forgotten before the new floor is safe; files that could not
    /// be removed are removed by the next call.
    pub fn retire(&mut self, first: Epoch) -> Result<(), Error> {
        if first > self.floor {
            self.replace(FLOOR, format!("{}\n", first.0).as_bytes())?;
            self.floor = first;
            self.open = self.open.split_off(&first);
        }
        for name in self.disk.list().map_err(storage("list", "."))? {
            let digits = name.strip_suffix(NEW).unwrap_or(&name).strip_suffix(SUFFIX);
            let epoch = digits.and_then(|digits| digits.parse::<u64>().ok());
            if epoch.is_some_and(|epoch| epoch < self.floor.0) {
                self.disk.remove(&name).map_err(storage("remove", &name))?;
            }
        }
        Ok(())
    }

    fn spend_group(&mut self, epoch: Epoch, group: &[Nullifier]) -> Vec<Outcome> {
        if epoch < self.floor {
            return vec![Outcome::EpochClosed; group.len()];
        }
        let mut open = match self.open.remove(&epoch).map_or_else(|| self.load(epoch), Ok) {
            Ok(open) => open,
            Err(problem) => {
                let damaged = matches!(problem, Error::Damaged { .. });
                self.problem = Some(problem);
                let outcome = if damaged { Outcome::EpochClosed } else { Outcome::Storage };
                return vec![outcome; group.len()];
            }
        };
        let mut fresh: Vec<Nullifier> = Vec::with_capacity(group.len());
        let mut outcomes = Vec::with_capacity(group.len());
        for nullifier in group {
            outcomes.push(if open.seen.contains(nullifier) || fresh.contains(nullifier) {
                Outcome::SpentBefore
            } else if open.seen.len() + fresh.len() >= self.per_epoch_max {
                Outcome::EpochFull
            } else {
                fresh.push(*nullifier);
                Outcome::Accepted
            });
        }
        if !fresh.is_empty() {
            let name = name(epoch);
            let (bytes, chain) = file::group(&open.chain, &fresh);
            let appended = self.disk.append(&name, &bytes).map_err(storage("append to", &name));
            let synced =
                appended.and_then(|()| self.disk.sync(&name).map_err(storage("sync", &name)));
            if let Err(problem) = synced {
                self.problem = Some(problem);
                // The set is dropped with its file: what is on disk now, only opening it tells.
                return vec![Outcome::Storage; group.len()];
            }
            open.chain = chain;
            open.seen.extend(fresh);
        }
        self.open.insert(epoch, open);
        outcomes
    }

    /// Reads an epoch's file and writes it anew, ready for more.
    fn load(&mut self, epoch: Epoch) -> Result<Open, Error> {
        let name = name(epoch);
        let bytes_max = file::bytes_max(TOKENS_MAX);
        let old = self.disk.read(&name, bytes_max).map_err(storage("read", &name))?;
        let spent = match old {
            None => Vec::new(),
            Some(bytes) => file::parse(&bytes, &self.exit, epoch)
                .map_err(|offset| Error::Damaged { name: name.clone(), offset })?,
        };
        let (mut bytes, mut chain) = file::header(&self.exit, epoch);
        for some in spent.chunks(GROUP_MAX) {
            let (group, next) = file::group(&chain, some);
            bytes.extend_from_slice(&group);
            chain = next;
        }
        self.replace(&name, &bytes)?;
        Ok(Open { seen: spent.into_iter().collect(), chain })
    }

    /// Replaces a file as a whole: after a crash it is the old or the new one.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let new = format!("{name}{NEW}");
        self.disk.create(&new).map_err(storage("create", &new))?;
        self.disk.append(&new, bytes).map_err(storage("write", &new))?;
        self.disk.sync(&new).map_err(storage("sync", &new))?;
        self.disk.rename(&new, name).map_err(storage("rename", &new))?;
        self.disk.sync_dir().map_err(storage("sync the directory of", name))
    }
}

fn name(epoch: Epoch) -> String {
    format!("{:020}{SUFFIX}", epoch.0)
}

fn storage(doing: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Storage { doing, name, source }
}
