//! A Merkle-sum tree over usage: every node carries the sum of what is below it, so that the root
//! commits to a total, and one leaf can be shown without the others.
//!
//! ```text
//! leaf = keccak(0x00 || hash || sum)                          hash: bytes32, sum: uint128
//! node = keccak(0x01 || left || left sum || right || right sum)
//! root = keccak(0x02 || top || total || leaves)               leaves: uint64
//! ```
//!
//! The prefixes keep a node from being passed off as a leaf. The tree over n leaves has the shape
//! of RFC 6962, section 2.1: the left subtree holds the largest power of two below n. The root of
//! no leaves has the top 0 and the total 0. `UsageAnchor.verifyLeaf` checks the same proofs.

use crate::{Digest, Error, Keccak};

/// What is committed to: a record (or any hash) and its share of the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub hash: Digest,
    pub sum: u128,
}

/// One node on the way from a leaf to the top: the hash and the sum of a subtree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub hash: Digest,
    pub sum: u128,
}

/// What is anchored on chain: `UsageAnchor.anchor(epoch, root, total)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The accounting period: a number that the operator counts up.
    pub epoch: u64,
    pub root: Digest,
    pub total: u128,
}

/// The way from one leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub index: u64,
    pub leaves: u64,
    /// The siblings, from the leaf upwards.
    pub siblings: Vec<Node>,
}

/// The root and the total of all leaves, as the anchor of `epoch`.
pub fn anchor(epoch: u64, leaves: &[Leaf]) -> Result<Anchor, Error> {
    let top = subtree(leaves)?;
    Ok(Anchor { epoch, root: root_of(&top, leaves.len() as u64), total: top.sum })
}

/// The proof that leaf `index` is under the root of `leaves`.
pub fn prove(leaves: &[Leaf], index: usize) -> Result<Proof, Error> {
    let (count, wanted) = (leaves.len() as u64, index as u64);
    if index >= leaves.len() {
        return Err(Error::NoSuchLeaf { index: wanted, leaves: count });
    }
    let mut siblings = Vec::new();
    let (mut below, mut at) = (leaves, index);
    while below.len() > 1 {
        let (left, right) = below.split_at(split(below.len()));
        if at < left.len() {
            siblings.push(subtree(right)?);
            below = left;
        } else {
            siblings.push(subtree(left)?);
            at -= left.len();
            below = right;
        }
    }
    siblings.reverse();
    Ok(Proof { index: wanted, leaves: count, siblings })
}

impl Proof {
    /// Checks that `leaf` is where the proof says, under the anchored root and total.
    pub fn verify(&self, leaf: &Leaf, anchor: &Anchor) -> Result<(), Error> {
        let (index, leaves) = (self.index, self.leaves);
        if index >= leaves {
            return Err(Error::NoSuchLeaf { index, leaves });
        }
        let mut node = leaf_node(leaf);
        let (mut at, mut last) = (index, leaves - 1);
        for sibling in &self.siblings {
            if last == 0 {
                return Err(Error::BadProof);
            }
            if at % 2 == 1 || at == last {
                node = parent(sibling, &node)?;
                // The last node of a row with an odd count moves up without a sibling.
                while at % 2 == 0 && at != 0 {
                    (at, last) = (at / 2, last / 2);
                }
            } else {
                node = parent(&node, sibling)?;
            }
            (at, last) = (at / 2, last / 2);
        }
        let found = (root_of(&node, leaves), node.sum);
        if last != 0 || found != (anchor.root, anchor.total) {
            return Err(Error::BadProof);
        }
        Ok(())
    }
}

fn subtree(leaves: &[Leaf]) -> Result<Node, Error> {
    match leaves {
        [] => Ok(Node::default()),
        [leaf] => Ok(leaf_node(leaf)),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            parent(&subtree(left)?, &subtree(right)?)
        }
    }
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: usize) -> usize {
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}

fn leaf_node(leaf: &Leaf) -> Node {
    let hash = Keccak::default().update(&[0]).update(&leaf.hash.0).update(&leaf.sum.to_be_bytes());
    Node { hash: hash.finish(), sum: leaf.sum }
}

fn parent(left: &Node, right: &Node) -> Result<Node, Error> {
    let mut hash = Keccak::default().update(&[1]);
    for child in [left, right] {
        hash = hash.update(&child.hash.0).update(&child.sum.to_be_bytes());
    }
    let sum = left.sum.checked_add(right.sum).ok_or(Error::SumOverflow)?;
    Ok(Node { hash: hash.finish(), sum })
}

fn root_of(top: &Node, leaves: u64) -> Digest {
    Keccak::default()
        .update(&[2])
        .update(&top.hash.0)
        .update(&top.sum.to_be_bytes())
        .update(&leaves.to_be_bytes())
        .finish()
}
