//! Frames to bytes and back.

use super::{
    AccessCount, CreditState, Frame, Funding, Hello, HelloAck, MAX_REASON_BYTES, Refusal,
    SampleAck, SampleOffer, SampleRefusal, SampleRefused, ServiceNotice, VoucherAck, VoucherOffer,
    VoucherRefused, WIRE_VERSION,
};
use crate::wire::{Decoder, Encoder};
use crate::{
    Address, Ask, ChannelId, Digest, Domain, Error, ExitId, FlowAmount, Price, Signature,
    SignedSample, SignedVoucher, SlaId, UsageRecord, Voucher,
};

impl Frame {
    /// The frame with its length prefix.
    pub fn encode(&self) -> Vec<u8> {
        let mut buffer = Vec::new();
        self.encode_into(&mut buffer);
        buffer
    }

    /// Appends the frame with its length prefix to `buffer`.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        let mut out = Encoder(buffer);
        out.u32(0).u8(WIRE_VERSION).u8(self.kind());
        self.encode_body(&mut out);
        let length = u32::try_from(buffer.len() - start - 4).unwrap_or(u32::MAX);
        buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Decodes what follows a length prefix: version, kind and body. Offsets in errors count from
    /// the version byte.
    pub fn decode(bytes: &[u8]) -> Result<Frame, Error> {
        let mut input = Decoder::new(bytes);
        let found = input.u8("version")?;
        if found != WIRE_VERSION {
            return Err(Error::FrameVersion { found, expected: WIRE_VERSION });
        }
        let frame = Frame::decode_body(&mut input)?;
        input.finish()?;
        Ok(frame)
    }

    fn kind(&self) -> u8 {
        match self {
            Frame::Hello(_) => 1,
            Frame::HelloAck(_) => 2,
            Frame::Record(_) => 3,
            Frame::RecordAck { .. } => 4,
            Frame::Ask(_) => 5,
            Frame::Voucher(_) => 6,
            Frame::VoucherAck(_) => 7,
            Frame::VoucherRefused(_) => 8,
            Frame::Credit(_) => 9,
            Frame::Service(_) => 10,
            Frame::Sample(_) => 11,
            Frame::SampleAck(_) => 12,
            Frame::SampleRefused(_) => 13,
            Frame::Access(_) => 14,
        }
    }

    fn encode_body(&self, out: &mut Encoder<'_>) {
        match self {
            Frame::Hello(hello) => {
                out.bytes(&hello.exit.0).u64(hello.epoch);
            }
            Frame::HelloAck(ack) => {
                out.u64(ack.epoch).u64(ack.next_seq).bytes(&ack.head.0);
            }
            Frame::Record(record) => record.encode_into(out.0),
            Frame::Access(access) => {
                access.up.encode_into(out);
                access.down.encode_into(out);
                out.u64(access.unread_bytes);
            }
            Frame::RecordAck { next_seq } => {
                out.u64(*next_seq);
            }
            Frame::Ask(ask) => encode_ask(out, ask),
            Frame::Voucher(offer) => {
                out.u64(offer.query);
                encode_signed(out, &offer.signed);
                out.u64(offer.up_bytes).u64(offer.down_bytes);
            }
            Frame::VoucherAck(ack) => {
                out.u64(ack.query).bytes(&ack.channel.0).u32(ack.lane).u64(ack.seq);
                out.u64(ack.up_bytes).u64(ack.down_bytes).u128(ack.amount);
            }
            Frame::VoucherRefused(refused) => {
                let reason = cut(&refused.reason);
                // MAX_REASON_BYTES fits 16 bits.
                out.u64(refused.query).u8(refused.refusal as u8).u16(reason.len() as u16);
                out.bytes(reason.as_bytes());
            }
            Frame::Credit(credit) => {
                out.bytes(&credit.channel.0).u32(credit.lane);
                out.u64(credit.used_bytes).u64(credit.paid_bytes).u8(credit.funding as u8);
            }
            Frame::Service(notice) => {
                out.bytes(&notice.channel.0).bytes(&notice.sla.0);
            }
            Frame::Sample(offer) => {
                out.u64(offer.query).bytes(&offer.channel.0).u32(offer.lane);
                offer.signed.encode_into(out);
            }
            Frame::SampleAck(ack) => {
                out.u64(ack.query).bytes(&ack.exit_signature.0);
            }
            Frame::SampleRefused(refused) => {
                let reason = cut(&refused.reason);
                out.u64(refused.query).u8(refused.refusal as u8).u16(reason.len() as u16);
                out.bytes(reason.as_bytes());
            }
        }
    }

    fn decode_body(input: &mut Decoder<'_>) -> Result<Frame, Error> {
        Ok(match input.u8("kind")? {
            1 => Frame::Hello(Hello {
                exit: ExitId(input.array("exit")?),
                epoch: input.u64("epoch")?,
            }),
            2 => Frame::HelloAck(HelloAck {
                epoch: input.u64("epoch")?,
                next_seq: input.u64("next_seq")?,
                head: Digest(input.array("head")?),
            }),
            3 => Frame::Record(Box::new(UsageRecord::decode_from(input)?)),
            4 => Frame::RecordAck { next_seq: input.u64("next_seq")? },
            5 => Frame::Ask(decode_ask(input)?),
            6 => Frame::Voucher(VoucherOffer {
                query: input.u64("query")?,
                signed: decode_signed(input)?,
                up_bytes: input.u64("up_bytes")?,
                down_bytes: input.u64("down_bytes")?,
            }),
            7 => Frame::VoucherAck(VoucherAck {
                query: input.u64("query")?,
                channel: ChannelId(input.array("channel")?),
                lane: input.u32("lane")?,
                seq: input.u64("seq")?,
                up_bytes: input.u64("up_bytes")?,
                down_bytes: input.u64("down_bytes")?,
                amount: input.u128("amount")?,
            }),
            8 => Frame::VoucherRefused(VoucherRefused {
                query: input.u64("query")?,
                refusal: decode_refusal(input)?,
                reason: input.text("reason", MAX_REASON_BYTES)?.to_owned(),
            }),
            9 => Frame::Credit(CreditState {
                channel: ChannelId(input.array("channel")?),
                lane: input.u32("lane")?,
                used_bytes: input.u64("used_bytes")?,
                paid_bytes: input.u64("paid_bytes")?,
                funding: decode_funding(input)?,
            }),
            10 => Frame::Service(ServiceNotice {
                channel: ChannelId(input.array("channel")?),
                sla: SlaId(input.array("sla")?),
            }),
            11 => Frame::Sample(SampleOffer {
                query: input.u64("query")?,
                channel: ChannelId(input.array("channel")?),
                lane: input.u32("lane")?,
                signed: SignedSample::decode_from(input)?,
            }),
            12 => Frame::SampleAck(SampleAck {
                query: input.u64("query")?,
                exit_signature: Signature(input.array("exit_signature")?),
            }),
            13 => Frame::SampleRefused(SampleRefused {
                query: input.u64("query")?,
                refusal: decode_sample_refusal(input)?,
                reason: input.text("reason", MAX_REASON_BYTES)?.to_owned(),
            }),
            14 => Frame::Access(AccessCount {
                up: FlowAmount::decode_from(input)?,
                down: FlowAmount::decode_from(input)?,
                unread_bytes: input.u64("unread_bytes")?,
            }),
            value => return Err(input.bad("kind", 1, value.into(), "unknown frame kind")),
        })
    }
}

fn encode_ask(out: &mut Encoder<'_>, ask: &Ask) {
    out.u64(ask.domain.chain_id).bytes(&ask.domain.escrow.0).bytes(&ask.channel.0).u32(ask.lane);
    out.u128(ask.price.units_per_gib()).u64(ask.seq).u64(ask.up_bytes).u64(ask.down_bytes);
    out.u128(ask.amount).bytes(&ask.usage_head.0).u8(ask.last.is_some().into());
    if let Some(last) = &ask.last {
        encode_signed(out, last);
    }
}

fn decode_ask(input: &mut Decoder<'_>) -> Result<Ask, Error> {
    Ok(Ask {
        domain: Domain {
            chain_id: input.u64("chain_id")?,
            escrow: Address(input.array("escrow")?),
        },
        channel: ChannelId(input.array("channel")?),
        lane: input.u32("lane")?,
        price: Price::new(input.u128("price")?)?,
        seq: input.u64("seq")?,
        up_bytes: input.u64("up_bytes")?,
        down_bytes: input.u64("down_bytes")?,
        amount: input.u128("amount")?,
        usage_head: Digest(input.array("usage_head")?),
        last: if input.flag("last")? { Some(decode_signed(input)?) } else { None },
    })
}

fn encode_signed(out: &mut Encoder<'_>, signed: &SignedVoucher) {
    let voucher = &signed.voucher;
    out.bytes(&voucher.channel.0).u32(voucher.lane).u128(voucher.amount).u64(voucher.seq);
    out.bytes(&voucher.usage_head.0).bytes(&signed.signature.0);
}

fn decode_signed(input: &mut Decoder<'_>) -> Result<SignedVoucher, Error> {
    Ok(SignedVoucher {
        voucher: Voucher {
            channel: ChannelId(input.array("voucher channel")?),
            lane: input.u32("voucher lane")?,
            amount: input.u128("voucher amount")?,
            seq: input.u64("voucher seq")?,
            usage_head: Digest(input.array("voucher usage_head")?),
        },
        signature: Signature(input.array("voucher signature")?),
    })
}

fn decode_refusal(input: &mut Decoder<'_>) -> Result<Refusal, Error> {
    const ALL: [Refusal; 10] = [
        Refusal::UnknownChannel,
        Refusal::Signature,
        Refusal::StaleSeq,
        Refusal::AmountFell,
        Refusal::AmountMismatch,
        Refusal::BeyondAsk,
        Refusal::UsageHead,
        Refusal::Unfunded,
        Refusal::Closing,
        Refusal::Storage,
    ];
    let value = input.u8("refusal")?;
    ALL.into_iter()
        .find(|&refusal| refusal as u8 == value)
        .ok_or_else(|| input.bad("refusal", 1, value.into(), "unknown refusal"))
}

fn decode_sample_refusal(input: &mut Decoder<'_>) -> Result<SampleRefusal, Error> {
    const ALL: [SampleRefusal; 8] = [
        SampleRefusal::UnknownService,
        SampleRefusal::Signature,
        SampleRefusal::Future,
        SampleRefusal::Stale,
        SampleRefusal::Replayed,
        SampleRefusal::Bytes,
        SampleRefusal::Figures,
        SampleRefusal::Storage,
    ];
    let value = input.u8("refusal")?;
    ALL.into_iter()
        .find(|&refusal| refusal as u8 == value)
        .ok_or_else(|| input.bad("refusal", 1, value.into(), "unknown refusal"))
}

fn decode_funding(input: &mut Decoder<'_>) -> Result<Funding, Error> {
    const ALL: [Funding; 5] = [
        Funding::Unknown,
        Funding::Funded,
        Funding::Exhausted,
        Funding::Withdrawing,
        Funding::Missing,
    ];
    let value = input.u8("funding")?;
    ALL.into_iter()
        .find(|&funding| funding as u8 == value)
        .ok_or_else(|| input.bad("funding", 1, value.into(), "unknown funding state"))
}

/// At most [`MAX_REASON_BYTES`] of the text, whole characters.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_REASON_BYTES)).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "é".repeat(MAX_REASON_BYTES);
        let refusal = Refusal::Storage;
        let frame = Frame::VoucherRefused(VoucherRefused { query: 1, refusal, reason });
        let Ok(Frame::VoucherRefused(read)) = Frame::decode(&frame.encode()[4..]) else {
            panic!("a cut reason must decode");
        };
        assert_eq!(read.reason, "é".repeat(MAX_REASON_BYTES / 2));
        assert_eq!(cut(&format!("a{}", "é".repeat(300))).len(), MAX_REASON_BYTES - 1);
    }
}
