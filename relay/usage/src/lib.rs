//! The shape of money: what the relay tells the sidecar about usage, what a payer signs, and how
//! both are written down byte by byte.
//!
//! A [`UsageRecord`] says what one tunnel carried so far; records form a gap-free, hash-chained
//! stream per exit process ([`RecordChain`]). The sidecar turns records into an [`Ask`]; the payer
//! answers with a [`Voucher`], an EIP-712 message over a cumulative amount, which the `ExitEscrow`
//! contract pays. [`Frame`] and [`FrameReader`] are the socket between relay and sidecar. [`bond`]
//! has what stands behind an operator's word: stakes, agreements, verdicts and statements.
//!
//! All integers on the wire are big-endian. Amounts are in the smallest unit of the channel's
//! token. Nothing here reads a clock, a file or a random source.

#![forbid(unsafe_code)]

mod address;
mod ask;
pub mod bond;
mod channel;
mod eip712;
mod error;
mod frame;
mod hash;
mod ids;
pub mod merkle;
pub mod pedersen;
mod price;
mod record;
mod sample;
mod signature;
#[cfg(feature = "serde")]
mod text;
mod voucher;
mod wire;

pub use address::Address;
pub use ask::{Ask, NEWS_WITHIN};
pub use channel::ChannelTerms;
pub use error::Error;
pub use frame::reader::FrameReader;
pub use frame::{
    AccessCount, CreditState, Frame, Funding, Hello, HelloAck, MAX_FRAME_BYTES, MAX_REASON_BYTES,
    Refusal, SampleAck, SampleOffer, SampleRefusal, SampleRefused, ServiceNotice, VoucherAck,
    VoucherOffer, VoucherRefused, WIRE_VERSION,
};
pub use hash::{Keccak, keccak256};
pub use ids::{ChannelId, Digest, ExitId, SlaId, StakeId};
pub use price::Price;
pub use record::chain::RecordChain;
pub use record::{
    Amount, DROP_REASON_LABELS, DROP_REASONS, Direction, ExitFlow, FlowAmount, RECORD_VERSION,
    Transport, UsageRecord, usage_head,
};
pub use sample::{CoSigned, Sample, SignedSample};
pub use signature::{SIGNATURE_BYTES, Signature, SigningKey};
pub use voucher::{Domain, SignedVoucher, Voucher};
