//! The book: totals that never fall, whatever the order, and vouchers that are worth money.

use crate::common::{EXIT, channel, config, domain, pay, payer, stamped, terms, usage};
use proptest::prelude::*;
use weir_settle::book::{Book, Finding, LaneKey, RecordFate, Uncarried, Verdict};
use weir_settle::journal::Entry;
use weir_settle::journal::entry::{Item, Note};
use weir_usage::{
    AccessCount, Ask, ChannelId, Digest, Domain, ExitFlow, FlowAmount, Funding, RecordChain,
    Refusal, SigningKey, Transport, UsageRecord, VoucherOffer,
};

const LANE: LaneKey = LaneKey { channel: ChannelId([0; 32]), lane: 0 };

fn lane() -> LaneKey {
    LaneKey { channel: channel(), ..LANE }
}

fn book() -> Book {
    Book::new(&config(), [9; 32])
}

/// A book in which the payer owes `up + down` units, and the ask for them.
fn owing(up: u64, down: u64) -> (Book, Ask) {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    assert_eq!(book.record(&stamped(&mut chain, 0, 1, up, down)), RecordFate::New);
    let ask = book.ask(&lane()).unwrap();
    (book, ask)
}

fn totals(book: &Book) -> Vec<(LaneKey, u64, u64, u64)> {
    book.lanes().iter().map(|(k, l)| (*k, l.up_bytes, l.down_bytes, l.tunnels)).collect()
}

/// (tunnel, lane, up, down) of one report.
type Report = (u8, u32, u64, u64);

fn reports() -> impl Strategy<Value = Vec<Report>> {
    prop::collection::vec((0..6u8, 0..2u32, 0..1_000_000u64, 0..1_000_000u64), 1..40)
        // A tunnel has one lane.
        .prop_map(|reports| {
            reports.into_iter().map(|(t, _, u, d)| (t, u32::from(t % 2), u, d)).collect()
        })
}

fn fed(reports: &[Report], epoch: u64) -> (Book, Vec<UsageRecord>) {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, epoch);
    let records: Vec<UsageRecord> = reports
        .iter()
        .map(|&(tunnel, lane, up, down)| stamped(&mut chain, lane, tunnel.into(), up, down))
        .collect();
    for record in &records {
        assert_eq!(book.record(record), RecordFate::New);
    }
    (book, records)
}

proptest! {
    #[test]
    fn the_order_of_reports_does_not_matter(reports in reports(), seed: u64) {
        let (book, _) = fed(&reports, 1);
        let mut shuffled = reports;
        let mut rng = crate::common::Rng(seed);
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, rng.below(i as u64 + 1) as usize);
        }
        let (other, _) = fed(&shuffled, 2);
        prop_assert_eq!(totals(&book), totals(&other));
    }

    #[test]
    fn a_lane_owes_the_highest_report_of_each_tunnel(reports in reports()) {
        let (book, _) = fed(&reports, 1);
        for number in 0..2 {
            let highest = |pick: fn(&Report) -> u64| -> u64 {
                (0..6u8).map(|t| {
                    reports.iter().filter(|r| r.0 == t && r.1 == number).map(pick).max().unwrap_or(0)
                }).sum()
            };
            let state = &book.lanes()[&LaneKey { lane: number, ..lane() }];
            prop_assert_eq!(state.up_bytes, highest(|r| r.2));
            prop_assert_eq!(state.down_bytes, highest(|r| r.3));
            prop_assert_eq!(state.used_amount(), u128::from(state.up_bytes + state.down_bytes));
        }
    }

    #[test]
    fn duplicates_and_replays_change_nothing(reports in reports()) {
        let (mut book, records) = fed(&reports, 1);
        let before = totals(&book);
        for record in &records {
            prop_assert_eq!(book.record(record), RecordFate::Duplicate);
        }
        prop_assert_eq!(&totals(&book), &before);
        // The journal of the same records gives the same book.
        let mut again = self::book();
        for record in &records {
            again.replay(0, &Entry::now(Item::Record(Box::new(record.clone())))).unwrap();
        }
        prop_assert_eq!(totals(&again), before);
        prop_assert_eq!(again.ask(&lane()), book.ask(&lane()));
    }

    #[test]
    fn totals_never_fall(reports in reports()) {
        let mut book = book();
        let mut chain = RecordChain::new(EXIT, 1);
        let mut last = totals(&book);
        for &(tunnel, lane, up, down) in &reports {
            book.record(&stamped(&mut chain, lane, tunnel.into(), up, down));
            let now = totals(&book);
            for (before, after) in last.iter().zip(&now) {
                prop_assert!(after.1 >= before.1 && after.2 >= before.2);
            }
            last = now;
        }
    }
}

#[test]
fn a_tunnel_that_a_new_process_reports_again_counts_once() {
    let mut book = book();
    let mut first = RecordChain::new(EXIT, 1);
    book.record(&stamped(&mut first, 0, 1, 100, 50));
    // The relay was killed; the next one reads the ledger file and exports the final values.
    let mut second = RecordChain::new(EXIT, 2);
    book.record(&stamped(&mut second, 0, 1, 130, 60));
    book.record(&stamped(&mut second, 0, 2, 1, 1));
    assert_eq!(totals(&book)[0], (lane(), 131, 61, 2));
}

#[test]
fn a_lower_report_is_ignored_and_counted() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    book.record(&stamped(&mut chain, 0, 1, 100, 50));
    book.record(&stamped(&mut chain, 0, 1, 90, 70));
    assert_eq!(totals(&book)[0], (lane(), 100, 70, 1));
    assert_eq!(book.counters().lower, 1);
}

#[test]
fn a_gap_or_a_broken_chain_is_out_of_stream_and_leaves_no_trace() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    book.record(&stamped(&mut chain, 0, 1, 100, 50));
    let lost = stamped(&mut chain, 0, 1, 110, 50);
    let after = stamped(&mut chain, 0, 1, 120, 50);
    let before = totals(&book);
    assert!(matches!(book.record(&after), RecordFate::OutOfStream(_)));
    let mut forged = lost.clone();
    forged.prev_hash = Digest([1; 32]);
    assert!(matches!(book.record(&forged), RecordFate::OutOfStream(_)));
    assert_eq!(totals(&book), before);
    assert_eq!(book.record(&lost), RecordFate::New, "the stream goes on where it was");
    assert_eq!(book.record(&after), RecordFate::New);
}

#[test]
fn a_record_that_contradicts_itself_is_kept_and_not_billed() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    let mut wrong = usage(channel(), 0, 1, 100, 50);
    wrong.up.received.bytes = 99;
    chain.stamp(&mut wrong);
    assert_eq!(book.record(&wrong), RecordFate::New);
    assert_eq!(totals(&book)[0], (lane(), 0, 0, 0));
    assert_eq!(book.counters().invalid, 1);
    assert_eq!(book.lanes()[&lane()].held_back(), Some((1, Finding::Invalid)));
}

#[test]
fn a_tunnel_cannot_be_billed_on_two_lanes() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    book.record(&stamped(&mut chain, 0, 1, 100, 50));
    book.record(&stamped(&mut chain, 1, 1, 100, 50));
    assert_eq!(totals(&book)[1], (LaneKey { lane: 1, ..lane() }, 0, 0, 0));
}

#[test]
fn tunnels_that_nobody_pays_for_are_counted_apart() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    for channel in [ChannelId::ZERO, ChannelId([0xaa; 32])] {
        let mut record = usage(channel, 0, u128::from(channel.0[0]), 100, 50);
        chain.stamp(&mut record);
        book.record(&record);
    }
    assert_eq!((book.counters().unbilled, book.counters().unknown_channel), (1, 1));
    assert_eq!(book.ask(&LaneKey { channel: ChannelId([0xaa; 32]), lane: 0 }), None);
}

// ------------------------------------------------------------------ ledger B

fn closed(transport: Transport, relay: u64, kernel: u64) -> UsageRecord {
    let mut record = usage(channel(), 0, 1, relay, relay);
    let count = FlowAmount { packets: 1, payload_bytes: kernel, wire_bytes: kernel };
    record.flow = Some(ExitFlow { up: count, down: count });
    record.transport = transport;
    record.is_final = true;
    record
}

fn finding(mut record: UsageRecord) -> (Book, Option<Finding>) {
    let mut book = book();
    RecordChain::new(EXIT, 1).stamp(&mut record);
    book.record(&record);
    let found = book.lanes()[&lane()].held_back().map(|(_, finding)| finding);
    (book, found)
}

#[test]
fn ledgers_within_tolerance_hold_nothing_back() {
    for (transport, relay, kernel) in [
        (Transport::Udp, 1_000_000, 1_000_000),
        (Transport::Udp, 1_000_000, 1_000_000 - 65_536),
        (Transport::Udp, 1_000_000, 1_000_000 + 65_536),
        (Transport::Tcp, 1_000_000, 1_200_000 + 65_536),
        (Transport::Tcp, 10_000_000, 10_000_000 - (4 << 20)),
    ] {
        let (book, found) = finding(closed(transport, relay, kernel));
        assert_eq!(found, None, "{transport:?} {relay} {kernel}");
        let expected = i64::try_from(kernel).unwrap() - i64::try_from(relay).unwrap();
        assert_eq!(book.lanes()[&lane()].kernel_minus_relay_up, expected);
    }
}

#[test]
fn ledgers_out_of_tolerance_hold_the_lane_back_by_name() {
    for (transport, relay, kernel, expected) in [
        (Transport::Udp, 1_000_000, 900_000, Finding::Overcounted { bytes: 100_000 }),
        (Transport::Tcp, 10_000_000, 5_000_000, Finding::Overcounted { bytes: 5_000_000 }),
    ] {
        let (mut book, found) = finding(closed(transport, relay, kernel));
        assert_eq!(found, Some(expected));
        let ask = book.ask(&lane()).unwrap();
        assert_eq!((ask.amount, ask.up_bytes), (0, 0), "nothing new is asked for");
        assert_eq!(book.lanes()[&lane()].exposure(), u128::from(relay) * 2, "and it shows");
        book.note(&Note::Waived { tunnel: format!("{:032x}", 1), reason: "seen".into() });
        assert_eq!(book.ask(&lane()).unwrap().up_bytes, relay);
    }
}

#[test]
fn a_download_that_the_client_broke_off_does_not_cut_off_its_payer() {
    for (transport, kernel) in [(Transport::Udp, 1_100_000), (Transport::Tcp, 7_000_000)] {
        // The target's bytes were in the socket's buffer when the client went away.
        let mut record = closed(transport, 1_000_000, 1_000_000);
        record.flow.as_mut().unwrap().down.payload_bytes = kernel;
        let (mut book, found) = finding(record);
        assert_eq!(found, None);
        assert_eq!(book.lanes()[&lane()].undercounted, 1, "and it shows");
        let ask = book.ask(&lane()).unwrap();
        assert_eq!(
            (ask.up_bytes, ask.down_bytes),
            (1_000_000, 1_000_000),
            "nothing more is billed"
        );
    }
}

#[test]
fn kernel_counts_that_died_with_a_second_process_change_nothing() {
    let mut book = book();
    let mut open = closed(Transport::Tcp, 1_000_000, 900_000);
    open.is_final = false;
    RecordChain::new(EXIT, 1).stamp(&mut open);
    book.record(&open);
    // The next process found them in the kernel and was killed before it reported them; the one
    // after it has the relay's own counts only.
    let mut last = closed(Transport::Tcp, 1_000_000, 900_000);
    last.flow = None;
    RecordChain::new(EXIT, 2).stamp(&mut last);
    book.record(&last);
    let state = &book.lanes()[&lane()];
    assert_eq!((state.held_back(), state.kernel_minus_relay_up), (None, 0));
    assert_eq!(book.ask(&lane()).unwrap().up_bytes, 1_000_000);
}

/// A tunnel of the relay's process 1.
fn of_process(number: u128) -> u128 {
    1 << 64 | number
}

fn seen(up: u64, down: u64) -> AccessCount {
    let amount = |payload_bytes| FlowAmount { payload_bytes, ..FlowAmount::default() };
    AccessCount { up: amount(up), down: amount(down), unread_bytes: 0 }
}

#[test]
fn a_process_that_bills_what_came_from_no_client_has_its_lanes_held_back() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    let other = LaneKey { lane: 1, ..lane() };
    book.record(&stamped(&mut chain, 0, of_process(1), 1_000, 9_000));
    // The kernel's packets have headers and more in them; what a client breaks off never left.
    assert_eq!(book.access(1, seen(1_000, 0)), None);
    assert_eq!(book.access(1, AccessCount { unread_bytes: 100, ..seen(900, 0) }), None);
    let asked = book.ask(&lane()).unwrap();
    assert_eq!(asked.up_bytes, 1_000);
    // Not this process's: the dead one's, whose stream this one goes on with.
    book.record(&stamped(&mut chain, 1, 77, 5_000, 0));
    assert_eq!(book.access(1, seen(1_000, 0)), None);

    book.record(&stamped(&mut chain, 0, of_process(1), 3_000, 9_000));
    book.record(&stamped(&mut chain, 0, of_process(2), 100, 0));
    let found = book.access(1, seen(2_600, 1 << 40)).unwrap();
    assert_eq!(found, Uncarried { epoch: 1, billed_up: 3_100, seen_up: 2_600 });
    book.uncarried(&found);
    let (id, finding) = book.lanes()[&lane()].held_back().unwrap();
    assert_eq!((id, finding), (of_process(u64::MAX.into()), Finding::Uncarried { bytes: 500 }));
    assert_eq!(book.lanes()[&other].held_back(), None);
    assert_eq!(book.ask(&lane()).unwrap().amount, 0, "not what was counted before it either");
    assert_eq!(book.access(1, seen(2_600, 0)), None, "it is journaled once");

    // What it goes on to bill is held back too, on whatever lane; a new process isn't.
    book.record(&stamped(&mut chain, 1, of_process(3), 10, 0));
    assert_eq!(book.lanes()[&other].held_back(), Some((id, finding)));
    let mut next = RecordChain::new(EXIT, 2);
    book.record(&stamped(&mut next, 2, 2 << 64, 10, 0));
    assert_eq!(book.access(2, seen(10, 0)), None);

    book.note(&Note::Waived { tunnel: format!("{id:032x}"), reason: "by loopback".into() });
    assert_eq!(book.ask(&lane()).unwrap().up_bytes, 3_100);
    assert_eq!(book.lanes()[&other].held_back(), None);
    book.record(&stamped(&mut chain, 1, of_process(4), 1 << 20, 0));
    assert_eq!(book.access(1, seen(2_600, 0)), None);
    assert_eq!(book.lanes()[&other].held_back(), None, "waived is waived");
}

#[test]
fn an_operator_may_have_ledger_c_shown_only() {
    let mut config = config();
    config.tolerance.access_holds_back = false;
    let mut book = Book::new(&config, [9; 32]);
    book.record(&stamped(&mut RecordChain::new(EXIT, 1), 0, of_process(1), 1_000, 0));
    assert_eq!(book.access(1, seen(0, 0)), None);
    let view = book.access_view(1).unwrap();
    assert_eq!((view.billed_up, view.seen_up), (1_000, 0));
}

#[test]
fn an_open_tunnel_is_not_judged() {
    let mut record = closed(Transport::Udp, 1_000_000, 0);
    record.is_final = false;
    assert_eq!(finding(record).1, None);
}

#[test]
fn packets_dropped_after_the_kernel_are_no_discrepancy() {
    let mut record = closed(Transport::Udp, 1_000_000, 1_000_000);
    // 300 kB of the target's bytes were dropped towards the client.
    record.down.forwarded.bytes = 700_000;
    record.down.dropped[0].bytes = 300_000;
    let (book, found) = finding(record);
    assert_eq!(found, None);
    assert_eq!(book.lanes()[&lane()].down_bytes, 700_000, "and they aren't billed");
}

// ------------------------------------------------------------------ vouchers

fn refusal(book: &Book, offer: &VoucherOffer) -> Option<Refusal> {
    match book.verify(offer) {
        Verdict::Refuse(why) => {
            assert!(!why.reason.is_empty());
            Some(why.refusal)
        }
        Verdict::Accept | Verdict::Held => None,
    }
}

#[test]
fn an_ask_paid_in_full_is_accepted_once_and_held_after() {
    let (mut book, ask) = owing(1000, 500);
    assert_eq!((ask.amount, ask.seq, ask.last), (1500, 1, None));
    ask.check_amount().unwrap();
    let offer = pay(&ask);
    assert_eq!(book.verify(&offer), Verdict::Accept);
    book.accept(&offer, 1);
    assert_eq!(book.verify(&offer), Verdict::Held, "sent again, acked again");
    let state = &book.lanes()[&lane()];
    assert_eq!((state.vouchered(), state.exposure(), state.unclaimed()), (1500, 0, 1500));
    let next = book.ask(&lane()).unwrap();
    assert_eq!((next.seq, next.last), (2, Some(offer.signed)), "a lost voucher can be adopted");
    assert_eq!(book.credit(&lane()).unwrap().paid_bytes, 1500);
}

#[test]
fn what_is_lost_on_the_way_does_not_eat_up_an_honest_payers_credit() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    for round in 1..=100_u64 {
        // One byte in 200 that the exit sent never arrived.
        book.record(&stamped(&mut chain, 0, 1, 0, round * 1_000_000));
        let ask = book.ask(&lane()).unwrap();
        let down_bytes = ask.down_bytes - round * 5_000;
        book.accept(&pay(&Ask { down_bytes, ..ask }), round);
        let credit = book.credit(&lane()).unwrap();
        assert_eq!(credit.paid_bytes, credit.used_bytes, "nothing of the window is used");
    }
    // Who keeps back more gets no more than the share, and who signs nothing gets nothing.
    book.record(&stamped(&mut chain, 0, 1, 0, 200_000_000));
    let ask = book.ask(&lane()).unwrap();
    book.accept(&pay(&Ask { down_bytes: 100_000_000, ..ask }), 200);
    assert_eq!(book.credit(&lane()).unwrap().paid_bytes, 101_000_000);
    assert_eq!(book.lanes()[&lane()].exposure(), 100_000_000, "the loss shows all the same");
    assert_eq!(owing(1000, 500).0.credit(&lane()).unwrap().paid_bytes, 0);
}

#[test]
fn a_payer_may_sign_for_less_than_it_was_asked() {
    let (book, ask) = owing(1000, 500);
    let voucher = ask.voucher(900, 500).unwrap();
    let offer = VoucherOffer {
        query: 1,
        signed: voucher.sign(&domain(), &payer()),
        up_bytes: 900,
        down_bytes: 500,
    };
    assert_eq!(book.verify(&offer), Verdict::Accept);
}

#[test]
fn refused_unknown_channel() {
    let (book, ask) = owing(1000, 500);
    let mut offer = pay(&ask);
    offer.signed.voucher.channel = ChannelId([1; 32]);
    assert_eq!(refusal(&book, &offer), Some(Refusal::UnknownChannel));
    let mut offer = pay(&ask);
    offer.signed.voucher.lane = 7;
    assert_eq!(refusal(&book, &offer), Some(Refusal::UnknownChannel));
}

#[test]
fn refused_signature_of_somebody_else_or_for_something_else() {
    let (book, ask) = owing(1000, 500);
    let thief = SigningKey::from_bytes(&[8; 32]).unwrap();
    assert_eq!(refusal(&book, &crate::common::pay_with(&ask, &thief)), Some(Refusal::Signature));
    for other in [
        Domain { chain_id: 1, ..domain() },
        Domain { escrow: weir_usage::Address([1; 20]), ..domain() },
    ] {
        let offer = pay(&Ask { domain: other, ..ask });
        assert_eq!(refusal(&book, &offer), Some(Refusal::Signature), "{other:?}");
    }
    let mut offer = pay(&ask);
    offer.signed.voucher.amount += 1;
    assert_eq!(refusal(&book, &offer), Some(Refusal::Signature), "changed after signing");
}

#[test]
fn refused_signature_malleable_twin() {
    // secp256k1's group order.
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36,
        0x41, 0x41,
    ];
    let (mut book, ask) = owing(1000, 500);
    let good = pay(&ask);
    let mut twin = good;
    let mut borrow = 0i16;
    for i in (0..32).rev() {
        let digit = i16::from(N[i]) - i16::from(good.signed.signature.0[32 + i]) - borrow;
        borrow = i16::from(digit < 0);
        twin.signed.signature.0[32 + i] = digit.rem_euclid(256) as u8;
    }
    twin.signed.signature.0[64] = 55 - good.signed.signature.0[64];
    assert_eq!(refusal(&book, &twin), Some(Refusal::Signature));
    book.accept(&good, 1);
    assert_eq!(refusal(&book, &twin), Some(Refusal::Signature), "nor as a duplicate");
}

#[test]
fn refused_stale_and_skipped_seq() {
    let (mut book, ask) = owing(1000, 500);
    book.accept(&pay(&ask), 1);
    let next = book.ask(&lane()).unwrap();
    for seq in [0, 1, 3, u64::MAX] {
        // Another usage head, so that it isn't the held voucher itself.
        let offer = pay(&Ask { seq, usage_head: Digest([1; 32]), ..next });
        assert_eq!(refusal(&book, &offer), Some(Refusal::StaleSeq), "{seq}");
    }
}

#[test]
fn refused_amount_that_fell() {
    let (mut book, ask) = owing(1000, 500);
    book.accept(&pay(&ask), 1);
    let next = book.ask(&lane()).unwrap();
    let voucher = next.voucher(1000, 499).unwrap();
    let offer = VoucherOffer {
        query: 1,
        signed: voucher.sign(&domain(), &payer()),
        up_bytes: 1000,
        down_bytes: 499,
    };
    assert_eq!(refusal(&book, &offer), Some(Refusal::AmountFell));
}

#[test]
fn refused_amount_that_does_not_follow_from_the_bytes() {
    let (book, ask) = owing(1000, 500);
    let mut offer = pay(&ask);
    offer.up_bytes -= 1;
    assert_eq!(refusal(&book, &offer), Some(Refusal::AmountMismatch));
    let mut offer = pay(&ask);
    (offer.up_bytes, offer.down_bytes) = (u64::MAX, u64::MAX);
    assert_eq!(refusal(&book, &offer), Some(Refusal::AmountMismatch));
}

#[test]
fn refused_beyond_the_ask() {
    let (book, ask) = owing(1000, 500);
    assert_eq!(
        refusal(&book, &pay(&Ask { up_bytes: 1001, ..ask })),
        Some(Refusal::BeyondAsk),
        "more in total"
    );
    assert_eq!(
        refusal(&book, &pay(&Ask { up_bytes: 999, down_bytes: 501, ..ask })),
        Some(Refusal::BeyondAsk),
        "more in one direction"
    );
}

#[test]
fn refused_usage_head_that_was_not_asked_for() {
    let (book, ask) = owing(1000, 500);
    let offer = pay(&Ask { usage_head: Digest([1; 32]), ..ask });
    assert_eq!(refusal(&book, &offer), Some(Refusal::UsageHead));
}

#[test]
fn an_earlier_ask_can_still_be_paid_while_usage_goes_on() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    book.record(&stamped(&mut chain, 0, 1, 1000, 500));
    let first = book.ask(&lane()).unwrap();
    book.record(&stamped(&mut chain, 0, 1, 2000, 500));
    let second = book.ask(&lane()).unwrap();
    assert_ne!(first.usage_head, second.usage_head);
    assert_eq!(book.verify(&pay(&first)), Verdict::Accept);
    let mixed = Ask { usage_head: first.usage_head, ..second };
    assert_eq!(refusal(&book, &pay(&mixed)), Some(Refusal::BeyondAsk));
}

#[test]
fn refused_unfunded_and_closed() {
    let (mut book, ask) = owing(1000, 500);
    let offer = pay(&ask);
    let state = book.lane_mut(&lane()).unwrap();
    state.spendable = Some(1499);
    assert_eq!(refusal(&book, &offer), Some(Refusal::Unfunded));
    let state = book.lane_mut(&lane()).unwrap();
    state.spendable = Some(1500);
    assert_eq!(book.verify(&offer), Verdict::Accept);
    book.lane_mut(&lane()).unwrap().funding = Funding::Missing;
    assert_eq!(refusal(&book, &offer), Some(Refusal::Closing));
    // A payer who leaves may still pay what it owes.
    book.lane_mut(&lane()).unwrap().funding = Funding::Withdrawing;
    assert_eq!(book.verify(&offer), Verdict::Accept);
}

#[test]
fn the_usage_head_opens_with_its_salt_and_differs_between_lanes() {
    let mut book = book();
    let mut chain = RecordChain::new(EXIT, 1);
    let record = stamped(&mut chain, 0, 1, 1000, 500);
    book.record(&record);
    let ask = book.ask(&lane()).unwrap();
    let salt = book.salt(&lane(), &record.hash());
    assert_eq!(ask.usage_head, weir_usage::usage_head(&salt, &record.hash()));
    assert_ne!(salt, book.salt(&LaneKey { lane: 1, ..lane() }, &record.hash()));
}

#[test]
fn a_lane_keeps_the_price_it_was_first_billed_at() {
    let mut book = book();
    let record = usage(channel(), 0, 1, 1, 1);
    let opened = book.lane_to_open(&record).unwrap();
    book.opened(&opened);
    assert_eq!(book.lane_to_open(&record), None, "once");
    let mut dearer = opened;
    dearer.price_per_gib += 1;
    let outcome = self::book().replay(0, &Entry::now(Item::Lane(dearer)));
    assert!(matches!(outcome, Err(weir_settle::Error::PriceChanged { .. })));
    assert_eq!(terms().id(&domain()), channel());
}
