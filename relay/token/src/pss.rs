//! EMSA-PSS (RFC 8017 section 9.1.1) with SHA-384, MGF1 with SHA-384 and 48 bytes of salt.

use ring::digest::{Context, SHA384};
use weir_blind::MODULUS_BYTES;

/// Bytes of the salt, and of the digest.
pub(crate) const SALT_BYTES: usize = 48;

/// Encodes a message for a 2048-bit modulus: 2047 bits.
pub(crate) fn encode(message: &[u8], salt: &[u8; SALT_BYTES]) -> [u8; MODULUS_BYTES] {
    let hash = digest(&[&[0; 8], &digest(&[message]), salt]);
    let mut encoded = [0; MODULUS_BYTES];
    let masked = MODULUS_BYTES - SALT_BYTES - 1;
    encoded[masked - SALT_BYTES - 1] = 1;
    encoded[masked - SALT_BYTES..masked].copy_from_slice(salt);
    for (counter, block) in encoded[..masked].chunks_mut(SALT_BYTES).enumerate() {
        let mask = digest(&[&hash, &(counter as u32).to_be_bytes()]);
        block.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    encoded[0] &= 0x7f;
    encoded[masked..masked + SALT_BYTES].copy_from_slice(&hash);
    encoded[MODULUS_BYTES - 1] = 0xbc;
    encoded
}

fn digest(parts: &[&[u8]]) -> [u8; SALT_BYTES] {
    let mut context = Context::new(&SHA384);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; SALT_BYTES];
    out.copy_from_slice(context.finish().as_ref());
    out
}
