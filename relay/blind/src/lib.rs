//! Blind access: Privacy Pass tokens of type 0x0002 (Blind RSA, 2048 bit; RFC 9577, RFC 9578),
//! bound to one exit and one epoch, and the record of those that were spent.
//!
//! An issuer, an ordinary payer with a channel, signs tokens without seeing them. Whoever shows
//! one to the exit that it is bound to, in its epoch, is let in once. The exit checks the issuer's
//! signature with the public key ([`IssuerKey`]) and what the token is bound to ([`Binding`]), and
//! writes it down as spent ([`Spent`]) before it lets anybody in. Nothing in a token leads back to
//! the request that it was signed for.
//!
//! Only what verifies is here, with ring alone. What signs and blinds is the crate `weir-token`,
//! which no relay links.

#![forbid(unsafe_code)]

mod base64url;
mod binding;
mod challenge;
mod error;
mod header;
mod key;
pub mod spent;
mod token;
pub mod wallet;

pub use base64url::{decode as base64url_decode, encode as base64url_encode};
pub use binding::{Binding, Epoch, Epochs, ExitId};
pub use challenge::TokenChallenge;
pub use error::Error;
pub use header::{Challenge, SCHEME, parse_token, write_challenge, write_token};
pub use key::{IssuerKey, KEY_BYTES, MODULUS_BYTES};
pub use spent::{Outcome, Spent};
pub use token::{AUTHENTICATOR_BYTES, INPUT_BYTES, Nullifier, TOKEN_BYTES, Token};
pub use wallet::Wallet;

/// The token type of RFC 9578 section 8.2.1: Blind RSA (2048-bit), publicly verifiable.
pub const TOKEN_TYPE: u16 = 0x0002;

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
