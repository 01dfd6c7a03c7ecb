use crate::{Address, Digest, SlaId};

/// Everything that can be wrong with a message, a signature or a record.
///
/// Offsets count from the first byte of the message that was decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    // Codec: the peer on the socket is at fault.
    /// The message ends inside a field.
    #[error("{field} at offset {offset} needs {needed} bytes, {left} are left")]
    Truncated { field: &'static str, offset: usize, needed: usize, left: usize },
    /// A field holds a value that has no meaning.
    #[error("{field} at offset {offset} is {value}: {why}")]
    BadValue { field: &'static str, offset: usize, value: u64, why: &'static str },
    /// The message goes on after its last field.
    #[error("{left} bytes follow the last field, at offset {offset}")]
    TrailingBytes { offset: usize, left: usize },
    /// A frame announces more than [`crate::MAX_FRAME_BYTES`], or less than its own header. The
    /// stream can't be read any further.
    #[error("frame length {length} is outside 2..={max}")]
    FrameLength { length: u32, max: usize },
    /// A frame's version isn't [`crate::WIRE_VERSION`]: relay and sidecar are of different
    /// releases.
    #[error(
        "frame version {found}, this build speaks {expected}: upgrade relay and sidecar together"
    )]
    FrameVersion { found: u8, expected: u8 },
    /// A text field that isn't UTF-8.
    #[error("{field} at offset {offset} is not UTF-8")]
    NotUtf8 { field: &'static str, offset: usize },

    // Text forms: whoever wrote the configuration or the JSON is at fault.
    /// Not `0x` and the right number of hexadecimal digits.
    #[error("{what} must be 0x and {digits} hexadecimal digits")]
    BadHex { what: &'static str, digits: usize },
    /// Mixed-case address whose letters don't match its ERC-55 checksum: a digit is mistyped.
    #[error("address has a wrong ERC-55 checksum, did you mean {expected}?")]
    BadChecksum { expected: Address },

    // Signatures: the payer is at fault.
    /// A signature isn't 65 bytes (r, s, v).
    #[error("signature has {length} bytes, expected 65 (r, s, v)")]
    SignatureLength { length: usize },
    /// The recovery byte isn't 27 or 28.
    #[error("signature recovery byte is {v}, expected 27 or 28")]
    RecoveryByte { v: u8 },
    /// `s` is in the upper half of the group order: the malleable twin of another signature.
    #[error("signature has a high s: the malleable form is refused")]
    HighS,
    /// `r` or `s` is zero or not below the group order.
    #[error("signature r or s is outside 1..n")]
    ScalarRange,
    /// No public key belongs to this signature.
    #[error("no public key can be recovered from the signature")]
    NotRecoverable,
    /// The signature is sound, and somebody else's.
    #[error("signed by {found}, expected {expected}")]
    WrongSigner { expected: Address, found: Address },
    /// A private key that is zero or not below the group order.
    #[error("private key is outside 1..n")]
    BadKey,

    // Price: the operator is at fault.
    /// A price of 2^98 or more units per GiB.
    #[error("price of {units_per_gib} units per GiB is 2^98 or more")]
    PriceTooHigh { units_per_gib: u128 },
    /// The amount doesn't fit 128 bits.
    #[error("{bytes} bytes at {units_per_gib} units per GiB exceed a 128-bit amount")]
    AmountOverflow { bytes: u128, units_per_gib: u128 },

    /// The exit asks for another amount than the price and the bytes give.
    #[error("asked for {asked} units, the bytes and the price give {computed}")]
    AskAmount { asked: u128, computed: u128 },

    // Record stream: the relay is at fault, or the stream was tampered with.
    /// The record belongs to another exit or process.
    #[error("record of another stream: exit or epoch differs")]
    ForeignStream,
    /// The record was seen before. Harmless, because counters are cumulative.
    #[error("record {seq} was seen before, next is {expected}")]
    Duplicate { seq: u64, expected: u64 },
    /// Records are missing.
    #[error("record {seq} leaves a gap, expected {expected}")]
    Gap { seq: u64, expected: u64 },
    /// The record doesn't continue the chain.
    #[error("record {seq} follows {found}, the chain ends in {expected}")]
    BrokenChain { seq: u64, expected: Digest, found: Digest },
    /// The interval ends before it begins.
    #[error("record {seq} ends at {t1_ms} ms, before its start at {t0_ms} ms")]
    TimeReversed { seq: u64, t0_ms: u64, t1_ms: u64 },
    /// More was forwarded and dropped than was received, or a sum overflows.
    #[error("record {seq}, {direction}: forwarded and dropped exceed received")]
    Conservation { seq: u64, direction: &'static str },
    /// A final record that leaves something neither forwarded nor dropped.
    #[error("record {seq}, {direction}: final, but {bytes} bytes in {packets} packets are pending")]
    PendingAtClose { seq: u64, direction: &'static str, bytes: u64, packets: u64 },
    /// A counter of a tunnel fell.
    #[error("record {seq}: {counter} fell from {before} to {after}")]
    CounterFell { seq: u64, counter: &'static str, before: u64, after: u64 },

    // Stakes and agreements: whoever wrote the terms, the verdict or the statement is at fault.
    /// The terms of an agreement or a stake make no sense; the contract refuses them too.
    #[error("{term}: {why}")]
    BadTerms { term: &'static str, why: &'static str },
    /// A period that the agreement doesn't have.
    #[error("period {period} of an agreement over {periods}")]
    NoSuchPeriod { period: u32, periods: u32 },
    /// A verdict about more intervals than the period has.
    #[error("a verdict on {judged} intervals of a period that has {intervals}")]
    TooManyIntervals { judged: u64, intervals: u64 },
    /// The verdict or signature is for another agreement.
    #[error("this is about agreement {found}, not {expected}")]
    OtherAgreement { expected: SlaId, found: SlaId },
    /// Too few of those who may judge have signed.
    #[error(
        "signed by {sides} of payer, operator and arbiter (2 are needed) and {measurers} measurers \
         ({threshold} are needed)"
    )]
    NotAgreed { sides: usize, measurers: usize, threshold: u32 },
    /// Two statements that don't contradict each other.
    #[error("no contradiction: {why}")]
    NoContradiction { why: &'static str },

    // Merkle proofs: whoever made the proof is at fault.
    /// The sum of all leaves doesn't fit 128 bits.
    #[error("the sum of the leaves exceeds 128 bits")]
    SumOverflow,
    /// A leaf index outside the tree.
    #[error("leaf {index} of a tree of {leaves}")]
    NoSuchLeaf { index: u64, leaves: u64 },
    /// The proof doesn't lead to the root.
    #[error("the proof doesn't lead to the root")]
    BadProof,

    // Hidden amounts: whoever made the commitment or the opening is at fault.
    /// 33 bytes that are no point of secp256k1.
    #[error("not a compressed point of secp256k1")]
    NotOnCurve,
    /// The opening is of another commitment, or of another sum.
    #[error("the opening doesn't fit the commitment: another amount, or another blinder")]
    BadOpening,
}
