//! Randomness of the process; the engine takes all of its own from the seed it is given.

use ring::rand::{SecureRandom, SystemRandom};

/// Fresh random bytes.
///
/// # Panics
/// When the kernel has no randomness to give, in which case no connection would be safe.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the kernel's random generator failed");
    bytes
}

/// A fresh random number.
pub(crate) fn number() -> u64 {
    u64::from_ne_bytes(bytes())
}
