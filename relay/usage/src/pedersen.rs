//! Pedersen commitments on secp256k1: amounts that stay hidden, and a sum that can be checked.
//!
//! ```text
//! C(amount, blinder) = amount * H + blinder * G        sum of all C = C(sum, sum of blinders)
//! ```
//!
//! G is the curve's generator. H is the first point, by even y, whose x is
//! `keccak256("Weir Pedersen H" || i)` for a byte i = 0, 1, ...: nobody chose it, so nobody knows
//! its logarithm to G, and nobody can open a commitment in two ways.
//!
//! # What it proves
//!
//! Whoever knows an opening of the sum of the commitments has committed to amounts with that sum,
//! *modulo the group's order n*. Nothing is learnt about a single amount.
//!
//! # What it doesn't prove
//!
//! There are no range proofs. A commitment that nobody opens may hold n - x, which counts as minus
//! x, and so bring a total down to (or up to) whatever is wanted. An [`Opening`] holds 128 bits, so
//! a commitment that was opened to its payer is not one of those: the total is at least honest when
//! every payer checks his own. A payer that is left out, or told another list, notices only if the
//! list is the same for all, which is why the operator signs its [`digest`] as a statement. What
//! was paid for by somebody who never checks may be understated. Amounts of 128 bits can't wrap
//! around an order of 256 bits with fewer than 2^127 commitments.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::group::GroupEncoding;
use k256::elliptic_curve::sec1::FromEncodedPoint;
use k256::{AffinePoint, CompressedPoint, EncodedPoint, ProjectivePoint, Scalar};

use crate::ids::{parse_hex, write_hex};
use crate::{Digest, Error, Keccak, keccak256};

/// Commitments that are added up at once; as many lanes as a challenge's answer is priced for.
pub const COMMITMENTS_MAX: usize = 65_536;

static H: LazyLock<ProjectivePoint> = LazyLock::new(|| {
    let candidate = |i: u8| {
        let x = Keccak::default().update(b"Weir Pedersen H").update(&[i]).finish();
        // SEC 1, section 2.3.3: 2 marks a compressed point with an even y.
        let mut bytes = [2; 33];
        bytes[1..].copy_from_slice(&x.0);
        point(&bytes)
    };
    // Every second x is on the curve; the value is fixed, and a test looks at it.
    (0..=u8::MAX).find_map(candidate).expect("one of 256 numbers is on the curve")
});

/// What hides an amount: a number below the group's order. `Debug` doesn't show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Blinder(Scalar);

/// A hidden amount: a point of the curve, 33 bytes (SEC 1, compressed).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Commitment(ProjectivePoint);

/// What a commitment hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Opening {
    /// In token units.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::amount"))]
    pub amount: u128,
    pub blinder: Blinder,
}

impl Blinder {
    /// A blinder that only somebody who knows `secret` can compute. `context` must differ for
    /// everything that is committed to: the same blinder under two amounts shows their difference.
    pub fn derive(secret: &[u8; 32], context: &[u8]) -> Blinder {
        let mut hash = Keccak::default()
            .update(b"Weir Pedersen blinder")
            .update(secret)
            .update(context)
            .finish();
        loop {
            // All but 2^-128 of all hashes are below the order.
            if let Some(scalar) = Option::<Scalar>::from(Scalar::from_repr(hash.0.into())) {
                return Blinder(scalar);
            }
            hash = keccak256(&hash.0);
        }
    }
}

impl Opening {
    /// The commitment that this opens.
    pub fn commit(&self) -> Commitment {
        let amount = Scalar::from(self.amount);
        Commitment(*H * amount + ProjectivePoint::GENERATOR * self.blinder.0)
    }

    /// Opens the sum of what all of `openings` open.
    ///
    /// # Errors
    /// [`Error::SumOverflow`].
    pub fn sum(openings: &[Opening]) -> Result<Opening, Error> {
        let mut sum = Opening { amount: 0, blinder: Blinder(Scalar::ZERO) };
        for one in openings {
            sum.amount = sum.amount.checked_add(one.amount).ok_or(Error::SumOverflow)?;
            sum.blinder.0 += one.blinder.0;
        }
        Ok(sum)
    }

    /// Checks that this opens `commitment`: a payer's look at his own.
    ///
    /// # Errors
    /// [`Error::BadOpening`].
    pub fn verify(&self, commitment: &Commitment) -> Result<(), Error> {
        if self.commit() == *commitment { Ok(()) } else { Err(Error::BadOpening) }
    }

    /// Checks that this opens the sum of all `commitments`.
    ///
    /// # Errors
    /// [`Error::BadOpening`], also for more than [`COMMITMENTS_MAX`].
    pub fn verify_sum(&self, commitments: &[Commitment]) -> Result<(), Error> {
        if commitments.len() > COMMITMENTS_MAX {
            return Err(Error::BadOpening);
        }
        let sum = commitments.iter().fold(ProjectivePoint::IDENTITY, |sum, one| sum + one.0);
        self.verify(&Commitment(sum))
    }
}

/// The hash of a list of commitments, in order: what the operator signs, so that he can't show two
/// lists.
pub fn digest(commitments: &[Commitment]) -> Digest {
    let start = Keccak::default().update(b"Weir Pedersen list");
    commitments.iter().fold(start, |hash, one| hash.update(&one.0.to_bytes())).finish()
}

/// A point from its compressed form. The identity has none of 33 bytes that begins with 2 or 3.
fn point(bytes: &[u8; 33]) -> Option<ProjectivePoint> {
    if !matches!(bytes[0], 2 | 3) {
        return None;
    }
    let encoded = EncodedPoint::from_bytes(CompressedPoint::from(*bytes)).ok()?;
    Option::<AffinePoint>::from(AffinePoint::from_encoded_point(&encoded)).map(Into::into)
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0.to_bytes())
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Commitment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Commitment, Error> {
        let bytes = parse_hex(text).ok_or(Error::BadHex { what: "commitment", digits: 66 })?;
        point(&bytes).map(Commitment).ok_or(Error::NotOnCurve)
    }
}

impl fmt::Display for Blinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0.to_bytes())
    }
}

impl fmt::Debug for Blinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blinder(..)")
    }
}

impl FromStr for Blinder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Blinder, Error> {
        let bytes: [u8; 32] =
            parse_hex(text).ok_or(Error::BadHex { what: "blinder", digits: 64 })?;
        Option::from(Scalar::from_repr(bytes.into())).map(Blinder).ok_or(Error::ScalarRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the documentation says, so that others can compute it.
    #[test]
    fn h_is_the_first_candidate_on_the_curve() {
        let shown = Commitment(*H).to_string();
        let candidates: Vec<String> = (0..=u8::MAX)
            .map(|i| Keccak::default().update(b"Weir Pedersen H").update(&[i]).finish())
            .map(|x| format!("0x02{}", &x.to_string()[2..]))
            .collect();
        let at = candidates.iter().position(|one| *one == shown).unwrap();
        assert!(candidates[..at].iter().all(|one| one.parse::<Commitment>().is_err()));
        assert_ne!(*H, ProjectivePoint::GENERATOR);
    }

    /// What the documentation warns of: an unopened commitment can hold a negative amount, and no
    /// opening of a payer can.
    #[test]
    fn a_negative_amount_passes_the_sum_and_nothing_else() {
        let blinder = |n: u8| Blinder::derive(&[n; 32], b"");
        let honest = Opening { amount: 100, blinder: blinder(1) };
        let minus = *H * -Scalar::from(40_u64) + ProjectivePoint::GENERATOR * blinder(2).0;
        let list = [honest.commit(), Commitment(minus)];
        let blinders = Blinder(blinder(1).0 + blinder(2).0);
        assert_eq!(Opening { amount: 60, blinder: blinders }.verify_sum(&list), Ok(()));
        for amount in [40, 0, u128::MAX, u128::MAX - 39] {
            let opening = Opening { amount, blinder: blinder(2) };
            assert_eq!(opening.verify(&list[1]), Err(Error::BadOpening));
        }
    }
}
