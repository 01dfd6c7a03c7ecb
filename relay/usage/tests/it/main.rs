//! The public promises of weir-usage.

mod bond;
mod chain;
mod codec;
mod merkle;
mod pedersen;
mod random;
mod sample;
mod signature;
