//! The frames on the Unix socket between the relay and the sidecar.
//!
//! ```text
//! u32 length | u8 version | u8 kind | body          length = 2 + bytes of the body
//!
//! relay                                  sidecar
//!   Hello{exit, epoch}           ->
//!                                <-      HelloAck{next_seq, head}, then Credit per channel lane
//!   Record, Record, ...          ->
//!   Access                       ->       now and then, where the kernel counts
//!                                <-      RecordAck{next_seq}: all before it are on disk
//!                                <-      Credit, ..., RecordAck{next_seq} again: the news include
//!                                        all before it
//!                                <-      Ask: sign this
//!   Voucher{query, ...}          ->
//!                                <-      VoucherAck{query, ...} or VoucherRefused{query, ...}
//!                                <-      Credit: what is used and paid has changed
//!                                <-      Service per agreement, if there are any
//!   Sample{query, ...}           ->
//!                                <-      SampleAck{query, ...} or SampleRefused{query, ...}
//! ```
//!
//! A frame of a kind that the reader doesn't know ends the connection. So a relay sends samples
//! only for agreements that the sidecar has named in a [`ServiceNotice`], and a sidecar names none
//! unless it is configured with one: releases that know nothing of samples go on speaking with
//! those that do, in both directions, and the version stays what it is.

mod body;
pub(crate) mod reader;

use crate::{
    Ask, ChannelId, Digest, ExitId, FlowAmount, Signature, SignedSample, SignedVoucher, SlaId,
    UsageRecord,
};

/// Version of the framing and of all bodies.
pub const WIRE_VERSION: u8 = 1;

/// The most that a frame's length field may say. The largest frame, a refusal with a long reason,
/// is far below; the limit bounds what a confused peer can make the reader hold.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// The longest text of a [`VoucherRefused`]; longer ones are cut when encoded.
pub const MAX_REASON_BYTES: usize = 512;

/// One message between relay and sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Relay to sidecar, first.
    Hello(Hello),
    /// Sidecar to relay, first.
    HelloAck(HelloAck),
    /// Relay to sidecar.
    Record(Box<UsageRecord>),
    /// Relay to sidecar: ledger C.
    Access(AccessCount),
    /// Sidecar to relay: all records before `next_seq` are on disk. One that says nothing new comes
    /// after news and says how far they go: they include all records before `next_seq`, 0 if they
    /// are older than the greeting. Releases that don't know of it repeat none, and ignore it.
    RecordAck { next_seq: u64 },
    /// Sidecar to relay: replaces the earlier ask of the same channel lane.
    Ask(Ask),
    /// Relay to sidecar: what a payer signed.
    Voucher(VoucherOffer),
    /// Sidecar to relay: the voucher is good and on disk.
    VoucherAck(VoucherAck),
    /// Sidecar to relay: the voucher changes nothing.
    VoucherRefused(VoucherRefused),
    /// Sidecar to relay: how far a channel lane may go.
    Credit(CreditState),
    /// Sidecar to relay: samples of this agreement are taken.
    Service(ServiceNotice),
    /// Relay to sidecar: what a client signed of an interval.
    Sample(SampleOffer),
    /// Sidecar to relay: the sample is on disk, and signed by the exit too.
    SampleAck(SampleAck),
    /// Sidecar to relay: the exit doesn't sign the sample.
    SampleRefused(SampleRefused),
}

/// Ledger C: client-facing UDP as the kernel counted it, cumulative since the relay's process began
/// or earlier. It is read after the counters of every record that was sent before on the same
/// connection, so what those say came from clients is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessCount {
    /// Clients to relay.
    pub up: FlowAmount,
    /// Relay to clients.
    pub down: FlowAmount,
    /// Wire bytes that came in packets the kernel's program passed on without reading as far as
    /// their ports: fragments, headers it doesn't follow. Some may have been from clients.
    pub unread_bytes: u64,
}

/// An agreement whose samples are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceNotice {
    pub channel: ChannelId,
    pub sla: SlaId,
}

/// A sample as the client posted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleOffer {
    /// Comes back in the answer.
    pub query: u64,
    /// The channel and lane that the client showed a credential for.
    pub channel: ChannelId,
    pub lane: u32,
    pub signed: SignedSample,
}

/// The exit's signature over a client's sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleAck {
    pub query: u64,
    pub exit_signature: Signature,
}

/// Why the exit doesn't sign a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRefused {
    pub query: u64,
    pub refusal: SampleRefusal,
    /// In words, for the client; at most [`MAX_REASON_BYTES`].
    pub reason: String,
}

/// Why the exit doesn't sign a sample, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SampleRefusal {
    /// The sidecar knows no such agreement, or it is for another channel or lane.
    UnknownService = 1,
    /// The signature is malformed, or not by the channel's signer.
    Signature = 2,
    /// The interval isn't over, or isn't the agreement's.
    Future = 3,
    /// The interval is too long ago to be compared with anything.
    Stale = 4,
    /// Another sample of this lane and interval was signed before.
    Replayed = 5,
    /// The bytes are not those that the exit counted.
    Bytes = 6,
    /// The figures contradict each other.
    Figures = 7,
    /// The sidecar can't write its journal. Not the client's fault; try again.
    Storage = 8,
}

/// Opens the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    pub exit: ExitId,
    /// The stream that the relay is going to send; see [`UsageRecord::epoch`].
    pub epoch: u64,
}

/// Answers [`Hello`]: where the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloAck {
    pub epoch: u64,
    /// The first record that the journal doesn't hold.
    pub next_seq: u64,
    /// The hash of the last record in the journal, or the genesis of the stream.
    pub head: Digest,
}

/// A voucher as the payer posted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoucherOffer {
    /// Comes back in the answer.
    pub query: u64,
    pub signed: SignedVoucher,
    /// The bytes per direction that the payer agrees to; the amount follows from them.
    pub up_bytes: u64,
    pub down_bytes: u64,
}

/// What is paid for now on a channel lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoucherAck {
    pub query: u64,
    pub channel: ChannelId,
    pub lane: u32,
    /// The `seq` of the accepted voucher.
    pub seq: u64,
    pub up_bytes: u64,
    pub down_bytes: u64,
    pub amount: u128,
}

/// Why a voucher wasn't taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoucherRefused {
    pub query: u64,
    pub refusal: Refusal,
    /// In words, for the payer; at most [`MAX_REASON_BYTES`].
    pub reason: String,
}

/// Why a voucher wasn't taken, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// The sidecar knows no such channel.
    UnknownChannel = 1,
    /// The signature is malformed, or not by the channel's signer.
    Signature = 2,
    /// `seq` is not above that of the voucher that the exit holds.
    StaleSeq = 3,
    /// The amount is below that of the voucher that the exit holds.
    AmountFell = 4,
    /// The amount doesn't follow from the bytes and the price.
    AmountMismatch = 5,
    /// The voucher covers more than was asked for: the payer's or the exit's counters are wrong.
    BeyondAsk = 6,
    /// The usage head is not the one that was asked for.
    UsageHead = 7,
    /// The channel's deposit doesn't cover the amount.
    Unfunded = 8,
    /// The channel is closed, or being withdrawn.
    Closing = 9,
    /// The sidecar can't write its journal. Not the payer's fault; try again.
    Storage = 10,
}

/// How far a channel lane may go: `limit = paid + window` while it is funded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditState {
    pub channel: ChannelId,
    pub lane: u32,
    /// Billable bytes in the journal, both directions, over all epochs.
    pub used_bytes: u64,
    /// Billable bytes that accepted vouchers pay for, and those that the exit doesn't insist on.
    pub paid_bytes: u64,
    pub funding: Funding,
}

/// What the chain says of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Funding {
    /// Not looked up yet.
    Unknown = 0,
    /// The deposit covers what is owed and more.
    Funded = 1,
    /// The deposit is used up: no new credit.
    Exhausted = 2,
    /// The payer is withdrawing: no new credit.
    Withdrawing = 3,
    /// There is no such channel.
    Missing = 4,
}
