//! The Merkle-sum tree: every leaf can be shown, nothing else can.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_usage::merkle::{Leaf, anchor, prove};
use weir_usage::{Error, keccak256};

use crate::random::digest;

fn leaves() -> impl Strategy<Value = Vec<Leaf>> {
    let leaf = (digest(), 0..u128::MAX >> 8).prop_map(|(hash, sum)| Leaf { hash, sum });
    vec(leaf, 1..70)
}

proptest! {
    #[test]
    fn every_leaf_can_be_shown(leaves in leaves()) {
        let anchor = anchor(1, &leaves).unwrap();
        prop_assert_eq!(anchor.total, leaves.iter().map(|leaf| leaf.sum).sum::<u128>());
        for (index, leaf) in leaves.iter().enumerate() {
            let proof = prove(&leaves, index).unwrap();
            prop_assert_eq!(proof.verify(leaf, &anchor), Ok(()));
        }
    }

    #[test]
    fn nothing_else_can(leaves in leaves(), at in any::<prop::sample::Index>()) {
        let anchor = anchor(1, &leaves).unwrap();
        let index = at.index(leaves.len());
        let (leaf, proof) = (leaves[index], prove(&leaves, index).unwrap());
        let refused = |proof: &weir_usage::merkle::Proof, leaf: &Leaf| {
            matches!(
                proof.verify(leaf, &anchor),
                Err(Error::BadProof | Error::NoSuchLeaf { .. } | Error::SumOverflow)
            )
        };
        let more = Leaf { sum: leaf.sum + 1, ..leaf };
        prop_assert!(refused(&proof, &more));
        let other = Leaf { hash: keccak256(b"other"), ..leaf };
        prop_assert!(refused(&proof, &other));

        let mut longer = proof.clone();
        longer.leaves += 1;
        prop_assert!(refused(&longer, &leaf));
        let mut outside = proof.clone();
        outside.index = outside.leaves;
        prop_assert!(refused(&outside, &leaf));

        if let Some(last) = proof.siblings.len().checked_sub(1) {
            let mut short = proof.clone();
            short.siblings.pop();
            prop_assert!(refused(&short, &leaf));
            let mut shifted = proof.clone();
            shifted.siblings[last].sum ^= 1;
            prop_assert!(refused(&shifted, &leaf));
            let mut extended = proof;
            extended.siblings.push(extended.siblings[last]);
            prop_assert!(refused(&extended, &leaf));
        }
    }

    /// Moving value between leaves keeps the total and must change the root.
    #[test]
    fn the_root_depends_on_every_sum(leaves in leaves(), at in any::<prop::sample::Index>()) {
        let index = at.index(leaves.len());
        let mut moved = leaves.clone();
        moved[index].sum += 1;
        prop_assert_ne!(anchor(1, &leaves).unwrap().root, anchor(1, &moved).unwrap().root);
    }
}

#[test]
fn the_edges() {
    let empty = anchor(3, &[]).unwrap();
    assert_eq!((empty.epoch, empty.total), (3, 0));
    assert!(!empty.root.is_zero());
    assert_eq!(prove(&[], 0), Err(Error::NoSuchLeaf { index: 0, leaves: 0 }));

    let leaf = Leaf { hash: keccak256(b"leaf"), sum: u128::MAX };
    assert_eq!(anchor(0, &[leaf]).unwrap().total, u128::MAX);
    assert_eq!(anchor(0, &[leaf, leaf]), Err(Error::SumOverflow));
}
