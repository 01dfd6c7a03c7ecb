//! The usage record: what one tunnel carried, as of one export.

pub(crate) mod chain;
mod codec;

use crate::{ChannelId, Digest, Error, ExitId, Keccak};

/// The version of the record's encoding. A new drop reason or field is a new version.
pub const RECORD_VERSION: u8 = 1;

/// Number of drop reasons in a record; the relay's ledger has the same ones in the same order.
pub const DROP_REASONS: usize = 7;

/// Names of the drop reasons, in the order of [`Direction::dropped`].
pub const DROP_REASON_LABELS: [&str; DROP_REASONS] =
    ["queue_full", "too_big", "credit", "send_failed", "closed", "unknown_context", "early"];

/// What one tunnel carried since it was opened. All counters are cumulative, so a record that is
/// lost or seen twice does no harm: the last one of a tunnel says it all.
///
/// `exit`, `epoch`, `seq` and `prev_hash` place the record in its stream; [`RecordChain::stamp`]
/// fills them in.
///
/// [`RecordChain::stamp`]: crate::RecordChain::stamp
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// Which exit says so.
    pub exit: ExitId,
    /// Which stream of that exit: random, new with every start of the relay. The tunnel may be
    /// older than the stream, when a new process exports what a crashed one left behind.
    pub epoch: u64,
    /// Position in the stream, from 0, without gaps.
    pub seq: u64,
    /// [`UsageRecord::hash`] of the record before; the first follows the stream's genesis.
    pub prev_hash: Digest,
    /// Unique over all processes and hosts.
    pub tunnel: u128,
    /// The admitted client behind the tunnel, unique within the process that opened it.
    pub session: u64,
    /// Who pays; zero if nobody is billed.
    pub channel: ChannelId,
    pub lane: u32,
    pub transport: Transport,
    /// The tunnel is closed and these are its last values.
    pub is_final: bool,
    /// When the tunnel was opened, Unix time in milliseconds.
    pub t0_ms: u64,
    /// When the counters were read, Unix time in milliseconds.
    pub t1_ms: u64,
    /// Ledger A, client to target.
    pub up: Direction,
    /// Ledger A, target to client.
    pub down: Direction,
    /// Ledger B; `None` where no kernel program counts.
    pub flow: Option<ExitFlow>,
}

/// What a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Transport {
    Tcp = 1,
    Udp = 2,
}

/// Bytes and packets. For TCP `packets` counts reads and writes and means nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub bytes: u64,
    pub packets: u64,
}

/// One direction of ledger A: `received = forwarded + sum(dropped) + pending`, and nothing is
/// pending in a final record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    pub received: Amount,
    /// The billable part.
    pub forwarded: Amount,
    /// By reason, in the order of [`DROP_REASON_LABELS`].
    pub dropped: [Amount; DROP_REASONS],
}

/// What the kernel counted for one direction of the exit flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowAmount {
    pub packets: u64,
    /// UDP or TCP payload.
    pub payload_bytes: u64,
    /// Frames as they were on the wire.
    pub wire_bytes: u64,
}

/// Ledger B: the exit flow as the kernel saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitFlow {
    /// Relay to target.
    pub up: FlowAmount,
    /// Target to relay.
    pub down: FlowAmount,
}

impl UsageRecord {
    /// Bytes to be paid for, both directions.
    pub fn billable_bytes(&self) -> u128 {
        u128::from(self.up.forwarded.bytes) + u128::from(self.down.forwarded.bytes)
    }

    /// The hash of the canonical encoding: names the record in the chain, in Merkle roots and in
    /// vouchers.
    pub fn hash(&self) -> Digest {
        Keccak::default().update(b"weir usage record").update(&self.encode()).finish()
    }

    /// Checks what must hold for a record by itself: time goes forward, and what came in equals
    /// what went out, was dropped, or is pending (nothing, at the end).
    pub fn check(&self) -> Result<(), Error> {
        let (seq, t0_ms, t1_ms) = (self.seq, self.t0_ms, self.t1_ms);
        if t1_ms < t0_ms {
            return Err(Error::TimeReversed { seq, t0_ms, t1_ms });
        }
        for (direction, counters) in [("up", &self.up), ("down", &self.down)] {
            let pending = counters.pending().ok_or(Error::Conservation { seq, direction })?;
            if self.is_final && pending != Amount::default() {
                let Amount { bytes, packets } = pending;
                return Err(Error::PendingAtClose { seq, direction, bytes, packets });
            }
        }
        Ok(())
    }

    /// Checks that no forwarded counter fell since `before`, an earlier record of the same tunnel.
    pub fn check_after(&self, before: &UsageRecord) -> Result<(), Error> {
        let pairs = [
            ("up bytes", before.up.forwarded.bytes, self.up.forwarded.bytes),
            ("up packets", before.up.forwarded.packets, self.up.forwarded.packets),
            ("down bytes", before.down.forwarded.bytes, self.down.forwarded.bytes),
            ("down packets", before.down.forwarded.packets, self.down.forwarded.packets),
        ];
        for (counter, before, after) in pairs {
            if after < before {
                return Err(Error::CounterFell { seq: self.seq, counter, before, after });
            }
        }
        Ok(())
    }
}

impl Direction {
    /// What is neither forwarded nor dropped yet. `None`: the equation is broken.
    pub fn pending(&self) -> Option<Amount> {
        let mut left = self.received;
        for done in self.dropped.iter().chain([&self.forwarded]) {
            left.bytes = left.bytes.checked_sub(done.bytes)?;
            left.packets = left.packets.checked_sub(done.packets)?;
        }
        Some(left)
    }
}

/// What a voucher says about usage: the hash of the last record behind it, salted so that the
/// voucher on chain tells nobody anything, and opened by showing the salt.
pub fn usage_head(salt: &[u8; 32], record: &Digest) -> Digest {
    Keccak::default().update(b"weir usage head").update(salt).update(&record.0).finish()
}
