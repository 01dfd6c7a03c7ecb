//! Bad input, from the socket on: each refused by name and counted, and nobody else waits for it.

use weir_settle::metrics::render;
use weir_usage::{Ask, Digest, Domain, Frame, Refusal, Signature, SigningKey, VoucherOffer};

use crate::common::{channel, domain, pay, pay_with, payer, usage};
use crate::server::Lab;

/// Between any two of these, the payer of another lane pays as if nothing happened.
#[tokio::test(flavor = "multi_thread")]
async fn bad_vouchers_of_one_payer_hold_up_no_other() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 1000, 500)).await;
    let ask = relay.ask(channel(), 0, 1500).await;
    let signed = |up_bytes, down_bytes, change: &dyn Fn(&mut weir_usage::Voucher)| {
        let mut voucher = ask.voucher(1000, 500).unwrap();
        change(&mut voucher);
        let signed = voucher.sign(&domain(), &payer());
        VoucherOffer { query: ask.seq, signed, up_bytes, down_bytes }
    };
    let thief = SigningKey::from_bytes(&[8; 32]).unwrap();
    let mut garbage = pay(&ask);
    garbage.signed.signature = Signature([0xff; 65]);
    let other_chain = Domain { chain_id: 1, ..domain() };
    let other_contract = Domain { escrow: weir_usage::Address([1; 20]), ..domain() };
    let bad = [
        ("a foreign signature", pay_with(&ask, &thief), Refusal::Signature),
        ("no signature at all", garbage, Refusal::Signature),
        ("for another chain", pay(&Ask { domain: other_chain, ..ask }), Refusal::Signature),
        ("for another contract", pay(&Ask { domain: other_contract, ..ask }), Refusal::Signature),
        ("out of order", pay(&Ask { seq: 7, ..ask }), Refusal::StaleSeq),
        ("overflowing", signed(u64::MAX, u64::MAX, &|_| {}), Refusal::AmountMismatch),
        ("all there is", signed(1000, 500, &|v| v.amount = u128::MAX), Refusal::AmountMismatch),
        (
            "another's usage",
            signed(1000, 500, &|v| v.usage_head = Digest([9; 32])),
            Refusal::UsageHead,
        ),
        (
            "another channel",
            signed(1000, 500, &|v| v.channel = weir_usage::ChannelId([9; 32])),
            Refusal::UnknownChannel,
        ),
    ];
    for (number, (what, offer, expected)) in (1u64..).zip(&bad) {
        let Frame::VoucherRefused(no) = relay.offer(*offer).await else { panic!("{what}") };
        assert_eq!((no.query, no.refusal), (offer.query, *expected), "{what}: {}", no.reason);
        assert!(!no.reason.is_empty(), "{what}");
        relay.report(usage(channel(), 1, 2, number * 100, 0)).await;
        let honest = relay.ask(channel(), 1, number * 100).await;
        assert!(matches!(relay.offer(pay(&honest)).await, Frame::VoucherAck(_)), "after {what}");
    }
    // The lane that was attacked can still be paid, and a replay of that is no second payment.
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    let view = running.sidecar.clerk.view().await.unwrap();
    let vouchered: Vec<u128> = view.lanes.values().map(|lane| lane.vouchered).collect();
    assert_eq!(vouchered, [1500, bad.len() as u128 * 100]);
    let text = render(&running.sidecar);
    for (reason, count) in [
        ("signature", 4),
        ("stale_seq", 1),
        ("amount_mismatch", 2),
        ("usage_head", 1),
        ("unknown_channel", 1),
    ] {
        let line = format!("weir_settle_vouchers_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(text.contains(&line), "no `{line}` in\n{text}");
    }
    running.stop().await.unwrap();
}

/// A relay whose clock runs ahead: what it reports counts, and the operator is told, because ages
/// by that clock say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_the_future_is_billed_and_said() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    let mut record = usage(channel(), 0, 1, 1000, 0);
    record.t0_ms = weir_settle::now_ms();
    record.t1_ms = record.t0_ms + 3_600_000;
    relay.report(record).await;
    let ask = relay.ask(channel(), 0, 1000).await;
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    // And back to the right time.
    let mut record = usage(channel(), 0, 1, 1500, 0);
    (record.t0_ms, record.t1_ms) = (weir_settle::now_ms(), weir_settle::now_ms());
    relay.report(record).await;
    let ask = relay.ask(channel(), 0, 1500).await;
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    let status = weir_settle::status::status(&running.sidecar);
    let said = status.troubles.iter().find(|t| t.name == "clock").expect("it is said");
    assert!(said.words.contains("s in the future"), "{}", said.words);
    running.stop().await.unwrap();
}
