//! Audits without disclosure: random leaves of an anchored epoch, and a sum of hidden amounts.
//!
//! A leaf shows the salted hash of one lane's usage and its amount, not whose it is. A verifier who
//! picks leaves by a seed that the operator couldn't foresee, after the epoch was anchored, and is
//! shown all of them, knows that with m of n leaves unshowable he would have noticed with a chance
//! of 1 - (1 - m/n)^count. That the leaves are the usage that happened, only their payers know.

mod sums;

use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_usage::merkle::{self, Anchor, Leaf, Node, Proof};
use weir_usage::{Digest, Keccak};

use crate::agreement::{read_json, write_new};
use crate::chain::Past;
use crate::error::Error;
use crate::journal::entry::{Action, AnchorLeaves, Item, OutboxStep, Step, text};
use crate::journal::{Header, scan};
use crate::storage::Storage;

pub use sums::{Hidden, Own};

/// Leaves shown at once: with 1,000, one lie among 200 leaves is noticed with 99 %.
pub const COUNT_MAX: u32 = 1024;
/// 1,024 proofs of 64 siblings each are half of this.
const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// The leaves that a seed picks, with their way to the root. A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The accounting period.
    pub epoch: u64,
    /// What the verifier picked by.
    pub seed: Digest,
    /// Leaves of the tree; the root commits to it.
    pub leaves: u64,
    /// In the order of the picks.
    pub proofs: Vec<ShownLeaf>,
}

/// One leaf and its way to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownLeaf {
    /// Its place.
    pub index: u64,
    /// Salted hash of a lane's usage.
    pub hash: Digest,
    /// What the lane has signed for, in token units.
    #[serde(with = "text")]
    pub sum: u128,
    /// From the leaf upwards.
    pub siblings: Vec<Sibling>,
}

/// A subtree beside the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sibling {
    /// Hash of the subtree.
    pub hash: Digest,
    /// Its sum.
    #[serde(with = "text")]
    pub sum: u128,
}

/// The leaves that `seed` picks of so many: number i is `keccak256(seed || i) mod leaves`, with i
/// in 32 bits and the hash's first 128. A leaf may be picked twice.
pub fn picks(seed: &Digest, leaves: u64, count: u32) -> Vec<u64> {
    let pick = |i: u32| {
        let hash = Keccak::default().update(&seed.0).update(&i.to_be_bytes()).finish();
        let (first, _) = hash.0.split_first_chunk::<16>().expect("16 of 32 bytes");
        u64::try_from(u128::from_be_bytes(*first) % u128::from(leaves)).expect("less than leaves")
    };
    if leaves == 0 { Vec::new() } else { (0..count).map(pick).collect() }
}

/// What the journal holds of an anchored epoch, and the journal's header.
///
/// # Errors
/// Those of reading the journal; [`Error::Audit`] if it has no such epoch.
pub fn find<S: Storage>(storage: &S, epoch: u64) -> Result<(Header, AnchorLeaves), Error> {
    let mut found = None;
    scan(storage, |header, _, entry| {
        if let Item::Anchor(anchor) = entry.item
            && anchor.epoch == epoch
        {
            found = Some((header.clone(), anchor));
        }
        Ok(())
    })?;
    found.ok_or_else(|| Error::Audit(format!("the journal has no anchor of epoch {epoch}")))
}

/// Whether exactly this anchor is final on chain, by the journal. What is only planned must not be
/// signed for: after a lost journal the same epoch could be anchored with other values, and an
/// honest operator would contradict himself.
///
/// # Errors
/// Those of reading the journal.
pub fn is_final<S: Storage>(storage: &S, anchor: &AnchorLeaves) -> Result<bool, Error> {
    let AnchorLeaves { epoch, root, total, .. } = *anchor;
    let (mut past, mut found) = (Past::default(), false);
    scan(storage, |_, offset, entry| {
        past.replay(offset, &entry)?;
        if let Item::Outbox(OutboxStep { intent, step: Step::Final { success: true, .. } }) =
            entry.item
        {
            let action = past.outbox.get(intent).map(|intent| &intent.action);
            found |= action == Some(&Action::Anchor { epoch, root, total });
        }
        Ok(())
    })?;
    Ok(found)
}

/// The leaf at `index`, with its proof.
///
/// # Errors
/// [`Error::Usage`] for an index outside the tree.
pub fn leaf(anchor: &AnchorLeaves, index: u64) -> Result<(Leaf, Proof), Error> {
    let tree: Vec<Leaf> =
        anchor.leaves.iter().map(|one| Leaf { hash: one.hash, sum: one.sum }).collect();
    let proof = merkle::prove(&tree, usize::try_from(index).unwrap_or(usize::MAX))?;
    // `prove` has found it.
    Ok((tree[index as usize], proof))
}

impl Shown {
    /// The leaves that `seed` picks.
    ///
    /// # Errors
    /// [`Error::Audit`] for more than [`COUNT_MAX`].
    pub fn make(anchor: &AnchorLeaves, seed: Digest, count: u32) -> Result<Self, Error> {
        must_be_bounded(count)?;
        let leaves = anchor.leaves.len() as u64;
        let show = |index| -> Result<ShownLeaf, Error> {
            let (leaf, proof) = leaf(anchor, index)?;
            let sibling = |node: &Node| Sibling { hash: node.hash, sum: node.sum };
            let siblings = proof.siblings.iter().map(sibling).collect();
            Ok(ShownLeaf { index, hash: leaf.hash, sum: leaf.sum, siblings })
        };
        let proofs = picks(&seed, leaves, count).into_iter().map(show).collect::<Result<_, _>>()?;
        Ok(Self { epoch: anchor.epoch, seed, leaves, proofs })
    }

    /// Checks that these are the leaves that `seed` picks, all of them, under the root and total.
    ///
    /// # Errors
    /// [`Error::Audit`] with what isn't as it was asked for, [`Error::Usage`] for a wrong proof.
    pub fn verify(&self, anchor: &Anchor, seed: Digest, count: u32) -> Result<(), Error> {
        must_be_bounded(count)?;
        let refuse = |what: String| Err(Error::Audit(what));
        if (self.epoch, self.seed) != (anchor.epoch, seed) {
            return refuse("the proofs are for another epoch or seed".into());
        }
        if self.leaves == 0 && merkle::anchor(anchor.epoch, &[])? != *anchor {
            return refuse("the epoch isn't empty, as the file says".into());
        }
        let picks = picks(&seed, self.leaves, count);
        if picks.len() != self.proofs.len() {
            return refuse(format!("{} leaves of {} are shown", self.proofs.len(), picks.len()));
        }
        for (shown, index) in self.proofs.iter().zip(picks) {
            if shown.index != index {
                return refuse(format!("leaf {} is shown, the seed picks {index}", shown.index));
            }
            let node = |one: &Sibling| Node { hash: one.hash, sum: one.sum };
            let siblings = shown.siblings.iter().map(node).collect();
            let leaf = Leaf { hash: shown.hash, sum: shown.sum };
            Proof { index, leaves: self.leaves, siblings }.verify(&leaf, anchor)?;
        }
        Ok(())
    }

    /// Reads a file. Nothing in it is checked yet.
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

fn must_be_bounded(count: u32) -> Result<(), Error> {
    if (1..=COUNT_MAX).contains(&count) {
        return Ok(());
    }
    Err(Error::Audit(format!("{count} leaves are not between 1 and {COUNT_MAX}")))
}
