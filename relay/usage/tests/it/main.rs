//! The public promises of weir-usage.

mod chain;
mod codec;
mod merkle;
mod random;
mod signature;
