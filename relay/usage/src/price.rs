use std::fmt;

use crate::Error;

const GIB_SHIFT: u32 = 30;
const GIB_MASK: u128 = (1 << GIB_SHIFT) - 1;

/// Token units per GiB (2^30 bytes) of billable payload, both directions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(u128);

impl Price {
    /// Below this bound the fraction of a GiB can't overflow 128 bits; no real price comes near.
    const LIMIT: u128 = 1 << (128 - GIB_SHIFT);

    /// A price of `units_per_gib`, which is below 2^98.
    pub fn new(units_per_gib: u128) -> Result<Price, Error> {
        if units_per_gib >= Price::LIMIT {
            return Err(Error::PriceTooHigh { units_per_gib });
        }
        Ok(Price(units_per_gib))
    }

    /// Units per GiB.
    pub fn units_per_gib(self) -> u128 {
        self.0
    }

    /// `floor(bytes * price / 2^30)`. Always give it the cumulative bytes of a channel lane, so
    /// that the rounding never adds up.
    pub fn amount(self, bytes: u128) -> Result<u128, Error> {
        let overflow = Error::AmountOverflow { bytes, units_per_gib: self.0 };
        let whole = (bytes >> GIB_SHIFT).checked_mul(self.0);
        // (2^30 - 1) * (2^98 - 1) fits 128 bits.
        let fraction = ((bytes & GIB_MASK) * self.0) >> GIB_SHIFT;
        whole.and_then(|whole| whole.checked_add(fraction)).ok_or(overflow)
    }

    /// The amount for `up_bytes` and `down_bytes` together.
    pub fn amount_of(self, up_bytes: u64, down_bytes: u64) -> Result<u128, Error> {
        self.amount(u128::from(up_bytes) + u128::from(down_bytes))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} units/GiB", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_down_over_the_sum_of_both_directions() {
        let price = Price::new(3).unwrap();
        assert_eq!(price.amount(0), Ok(0));
        assert_eq!(price.amount((1 << 30) / 3), Ok(0));
        assert_eq!(price.amount((1 << 30) / 3 + 1), Ok(1));
        assert_eq!(price.amount_of(1 << 29, 1 << 29), Ok(3));
        assert_eq!(price.amount_of(u64::MAX, u64::MAX), Ok((((1u128 << 65) - 2) * 3) >> 30));
    }

    #[test]
    fn overflow_is_an_error_and_the_bound_is_tight() {
        assert!(Price::new(1 << 98).is_err());
        let price = Price::new((1 << 98) - 1).unwrap();
        assert_eq!(price.amount((1 << 30) - 1).unwrap(), (((1 << 30) - 1) * ((1 << 98) - 1)) >> 30);
        assert!(price.amount(1 << 60).is_ok());
        assert!(matches!(price.amount(1 << 61), Err(Error::AmountOverflow { .. })));
    }
}
