//! Random messages.

use proptest::array::{uniform20, uniform32};
use proptest::collection::vec;
use proptest::prelude::*;
use weir_usage::{
    AccessCount, Address, Amount, Ask, ChannelId, CoSigned, CreditState, DROP_REASONS, Digest,
    Direction, Domain, ExitFlow, ExitId, FlowAmount, Frame, Funding, Hello, HelloAck,
    MAX_REASON_BYTES, Price, Refusal, SIGNATURE_BYTES, Sample, SampleAck, SampleOffer,
    SampleRefusal, SampleRefused, ServiceNotice, Signature, SignedSample, SignedVoucher, SlaId,
    Transport, UsageRecord, Voucher, VoucherAck, VoucherOffer, VoucherRefused,
};

pub(crate) fn channel() -> impl Strategy<Value = ChannelId> {
    uniform32(any::<u8>()).prop_map(ChannelId)
}

pub(crate) fn digest() -> impl Strategy<Value = Digest> {
    uniform32(any::<u8>()).prop_map(Digest)
}

fn exit() -> impl Strategy<Value = ExitId> {
    uniform32(any::<u8>()).prop_map(ExitId)
}

pub(crate) fn domain() -> impl Strategy<Value = Domain> {
    (any::<u64>(), uniform20(any::<u8>()))
        .prop_map(|(chain_id, escrow)| Domain { chain_id, escrow: Address(escrow) })
}

fn amount() -> impl Strategy<Value = Amount> {
    any::<(u64, u64)>().prop_map(|(bytes, packets)| Amount { bytes, packets })
}

fn direction() -> impl Strategy<Value = Direction> {
    (amount(), amount(), vec(amount(), DROP_REASONS)).prop_map(|(received, forwarded, dropped)| {
        Direction { received, forwarded, dropped: dropped.try_into().unwrap() }
    })
}

fn flow_amount() -> impl Strategy<Value = FlowAmount> {
    any::<[u64; 3]>().prop_map(|[packets, payload_bytes, wire_bytes]| FlowAmount {
        packets,
        payload_bytes,
        wire_bytes,
    })
}

pub(crate) fn record() -> impl Strategy<Value = UsageRecord> {
    let place = (exit(), any::<u64>(), any::<u64>(), digest());
    let who = (any::<u128>(), any::<u64>(), channel(), any::<u32>());
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
    let what = (transport, any::<bool>(), any::<u64>(), any::<u64>());
    let flow = prop::option::of((flow_amount(), flow_amount()));
    (place, who, what, direction(), direction(), flow).prop_map(
        |(
            (exit, epoch, seq, prev_hash),
            (tunnel, session, channel, lane),
            what,
            up,
            down,
            flow,
        )| {
            let (transport, is_final, t0_ms, t1_ms) = what;
            UsageRecord {
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
                flow: flow.map(|(up, down)| ExitFlow { up, down }),
            }
        },
    )
}

pub(crate) fn voucher() -> impl Strategy<Value = Voucher> {
    (channel(), any::<u32>(), any::<u128>(), any::<u64>(), digest()).prop_map(
        |(channel, lane, amount, seq, usage_head)| Voucher {
            channel,
            lane,
            amount,
            seq,
            usage_head,
        },
    )
}

fn signed() -> impl Strategy<Value = SignedVoucher> {
    (voucher(), vec(any::<u8>(), SIGNATURE_BYTES)).prop_map(|(voucher, signature)| SignedVoucher {
        voucher,
        signature: Signature::from_slice(&signature).unwrap(),
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u128>());
    let last = prop::option::of(signed());
    (domain(), channel(), any::<u32>(), 0..1u128 << 98, numbers, digest(), last).prop_map(
        |(domain, channel, lane, price, (seq, up_bytes, down_bytes, amount), usage_head, last)| {
            Ask {
                domain,
                channel,
                lane,
                price: Price::new(price).unwrap(),
                seq,
                up_bytes,
                down_bytes,
                amount,
                usage_head,
                last,
            }
        },
    )
}

fn refused() -> impl Strategy<Value = VoucherRefused> {
    let refusal = prop::sample::select(vec![
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
    ]);
    (any::<u64>(), refusal, vec(any::<char>(), 0..100)).prop_map(|(query, refusal, reason)| {
        let reason: String = reason.into_iter().collect();
        assert!(reason.len() <= MAX_REASON_BYTES);
        VoucherRefused { query, refusal, reason }
    })
}

fn credit() -> impl Strategy<Value = CreditState> {
    let funding = prop::sample::select(vec![
        Funding::Unknown,
        Funding::Funded,
        Funding::Exhausted,
        Funding::Withdrawing,
        Funding::Missing,
    ]);
    (channel(), any::<u32>(), any::<u64>(), any::<u64>(), funding).prop_map(
        |(channel, lane, used_bytes, paid_bytes, funding)| CreditState {
            channel,
            lane,
            used_bytes,
            paid_bytes,
            funding,
        },
    )
}

fn signature() -> impl Strategy<Value = Signature> {
    vec(any::<u8>(), SIGNATURE_BYTES).prop_map(|bytes| Signature::from_slice(&bytes).unwrap())
}

pub(crate) fn sample() -> impl Strategy<Value = Sample> {
    (uniform32(any::<u8>()), any::<[u32; 5]>(), any::<[u64; 4]>()).prop_map(
        |(sla, [lane, rtt_p50_us, rtt_p95_us, loss_ppm, n], numbers)| {
            let [interval, up_bytes, down_bytes, tput_1s_max_kbps] = numbers;
            Sample {
                sla: SlaId(sla),
                lane,
                interval,
                up_bytes,
                down_bytes,
                rtt_p50_us,
                rtt_p95_us,
                loss_ppm,
                tput_1s_max_kbps,
                n,
            }
        },
    )
}

pub(crate) fn co_signed() -> impl Strategy<Value = CoSigned> {
    (sample(), signature(), signature()).prop_map(|(sample, signature, exit_signature)| CoSigned {
        sample,
        signature,
        exit_signature,
    })
}

fn sample_refused() -> impl Strategy<Value = SampleRefused> {
    let refusal = prop::sample::select(vec![
        SampleRefusal::UnknownService,
        SampleRefusal::Signature,
        SampleRefusal::Future,
        SampleRefusal::Stale,
        SampleRefusal::Replayed,
        SampleRefusal::Bytes,
        SampleRefusal::Figures,
        SampleRefusal::Storage,
    ]);
    (any::<u64>(), refusal, "[a-zé ]{0,40}").prop_map(|(query, refusal, reason)| SampleRefused {
        query,
        refusal,
        reason,
    })
}

pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    let ack = (any::<[u64; 4]>(), channel(), any::<u32>(), any::<u128>()).prop_map(
        |([query, seq, up_bytes, down_bytes], channel, lane, amount)| VoucherAck {
            query,
            channel,
            lane,
            seq,
            up_bytes,
            down_bytes,
            amount,
        },
    );
    let offer =
        (any::<[u64; 3]>(), signed()).prop_map(|([query, up_bytes, down_bytes], signed)| {
            VoucherOffer { query, signed, up_bytes, down_bytes }
        });
    let notice = (channel(), uniform32(any::<u8>()))
        .prop_map(|(channel, sla)| ServiceNotice { channel, sla: SlaId(sla) });
    let sampled = (any::<u64>(), channel(), any::<u32>(), sample(), signature()).prop_map(
        |(query, channel, lane, sample, signature)| SampleOffer {
            query,
            channel,
            lane,
            signed: SignedSample { sample, signature },
        },
    );
    let co_signed = (any::<u64>(), signature())
        .prop_map(|(query, exit_signature)| SampleAck { query, exit_signature });
    prop_oneof![
        (exit(), any::<u64>()).prop_map(|(exit, epoch)| Frame::Hello(Hello { exit, epoch })),
        (any::<[u64; 2]>(), digest()).prop_map(|([epoch, next_seq], head)| {
            Frame::HelloAck(HelloAck { epoch, next_seq, head })
        }),
        record().prop_map(|record| Frame::Record(Box::new(record))),
        (flow_amount(), flow_amount(), any::<u64>()).prop_map(|(up, down, unread_bytes)| {
            Frame::Access(AccessCount { up, down, unread_bytes })
        }),
        any::<u64>().prop_map(|next_seq| Frame::RecordAck { next_seq }),
        ask().prop_map(Frame::Ask),
        offer.prop_map(Frame::Voucher),
        ack.prop_map(Frame::VoucherAck),
        refused().prop_map(Frame::VoucherRefused),
        credit().prop_map(Frame::Credit),
        notice.prop_map(Frame::Service),
        sampled.prop_map(Frame::Sample),
        co_signed.prop_map(Frame::SampleAck),
        sample_refused().prop_map(Frame::SampleRefused),
    ]
}
