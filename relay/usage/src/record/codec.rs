//! The record's canonical encoding: fixed length, so that equal records have equal bytes.

use super::{Amount, Direction, ExitFlow, FlowAmount, RECORD_VERSION, Transport, UsageRecord};
use crate::wire::{Decoder, Encoder};
use crate::{ChannelId, DROP_REASONS, Digest, Error, ExitId};

const FLAG_FINAL: u8 = 1;
const FLAG_FLOW: u8 = 2;

const DIRECTION_BYTES: usize = 16 * (2 + DROP_REASONS);
const FLOW_AMOUNT_BYTES: usize = 24;

impl UsageRecord {
    /// Bytes of every encoded record.
    pub const ENCODED_BYTES: usize = 1
        + 32 + 8 + 8 + 32 // exit, epoch, seq, prev_hash
        + 16 + 8 + 32 + 4 // tunnel, session, channel, lane
        + 1 + 1 + 8 + 8 // transport, flags, t0, t1
        + 2 * DIRECTION_BYTES
        + 2 * FLOW_AMOUNT_BYTES;

    /// The canonical encoding, [`UsageRecord::ENCODED_BYTES`] long.
    pub fn encode(&self) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(UsageRecord::ENCODED_BYTES);
        self.encode_into(&mut buffer);
        buffer
    }

    /// Appends the canonical encoding to `buffer`.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) {
        let flags = if self.is_final { FLAG_FINAL } else { 0 }
            | if self.flow.is_some() { FLAG_FLOW } else { 0 };
        let mut out = Encoder(buffer);
        out.u8(RECORD_VERSION)
            .bytes(&self.exit.0)
            .u64(self.epoch)
            .u64(self.seq)
            .bytes(&self.prev_hash.0)
            .u128(self.tunnel)
            .u64(self.session)
            .bytes(&self.channel.0)
            .u32(self.lane)
            .u8(self.transport as u8)
            .u8(flags)
            .u64(self.t0_ms)
            .u64(self.t1_ms);
        for direction in [&self.up, &self.down] {
            for amount in
                [&direction.received, &direction.forwarded].into_iter().chain(&direction.dropped)
            {
                out.u64(amount.bytes).u64(amount.packets);
            }
        }
        let flow = self.flow.unwrap_or_default();
        for amount in [flow.up, flow.down] {
            amount.encode_into(&mut out);
        }
    }

    /// Decodes exactly one record; every other encoding of it is refused.
    pub fn decode(bytes: &[u8]) -> Result<UsageRecord, Error> {
        let mut input = Decoder::new(bytes);
        let record = UsageRecord::decode_from(&mut input)?;
        input.finish()?;
        Ok(record)
    }

    pub(crate) fn decode_from(input: &mut Decoder<'_>) -> Result<UsageRecord, Error> {
        let version = input.u8("version")?;
        if version != RECORD_VERSION {
            return Err(input.bad("version", 1, version.into(), "unknown record version"));
        }
        let exit = ExitId(input.array("exit")?);
        let epoch = input.u64("epoch")?;
        let seq = input.u64("seq")?;
        let prev_hash = Digest(input.array("prev_hash")?);
        let tunnel = input.u128("tunnel")?;
        let session = input.u64("session")?;
        let channel = ChannelId(input.array("channel")?);
        let lane = input.u32("lane")?;
        let transport = match input.u8("transport")? {
            1 => Transport::Tcp,
            2 => Transport::Udp,
            value => return Err(input.bad("transport", 1, value.into(), "expected 1 or 2")),
        };
        let flags = input.u8("flags")?;
        if flags & !(FLAG_FINAL | FLAG_FLOW) != 0 {
            return Err(input.bad("flags", 1, flags.into(), "unknown flag"));
        }
        let t0_ms = input.u64("t0")?;
        let t1_ms = input.u64("t1")?;
        let up = direction(input, "up")?;
        let down = direction(input, "down")?;
        let flow =
            ExitFlow { up: FlowAmount::decode_from(input)?, down: FlowAmount::decode_from(input)? };
        let flow = if flags & FLAG_FLOW != 0 {
            Some(flow)
        } else if flow == ExitFlow::default() {
            None
        } else {
            let why = "flow counters without the flow flag";
            return Err(input.bad("flow", 2 * FLOW_AMOUNT_BYTES, 0, why));
        };
        let is_final = flags & FLAG_FINAL != 0;
        Ok(UsageRecord {
            exit,
            epoch,
            seq,
            prev_hash,
            tunnel,
            session,
            channel,
            lane,
            transport,
            is_final,
            t0_ms,
            t1_ms,
            up,
            down,
            flow,
        })
    }
}

fn direction(input: &mut Decoder<'_>, field: &'static str) -> Result<Direction, Error> {
    let mut direction = Direction {
        received: amount(input, field)?,
        forwarded: amount(input, field)?,
        ..Default::default()
    };
    for dropped in &mut direction.dropped {
        *dropped = amount(input, field)?;
    }
    Ok(direction)
}

fn amount(input: &mut Decoder<'_>, field: &'static str) -> Result<Amount, Error> {
    Ok(Amount { bytes: input.u64(field)?, packets: input.u64(field)? })
}

impl FlowAmount {
    pub(crate) fn encode_into(self, out: &mut Encoder<'_>) {
        out.u64(self.packets).u64(self.payload_bytes).u64(self.wire_bytes);
    }

    pub(crate) fn decode_from(input: &mut Decoder<'_>) -> Result<Self, Error> {
        Ok(Self {
            packets: input.u64("flow packets")?,
            payload_bytes: input.u64("flow payload_bytes")?,
            wire_bytes: input.u64("flow wire_bytes")?,
        })
    }
}
