use proptest::prelude::*;
use weir_usage::{Digest, SignedVoucher, SigningKey};

use super::*;
use crate::PayerConfig;

const GIB: u64 = 1 << 30;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32]).unwrap()
}

fn terms() -> Terms {
    Terms {
        domain: Domain { chain_id: 31337, escrow: Address([1; 20]) },
        channel: ChannelId([2; 32]),
        lane: 3,
        price_max: Price::new(1000).unwrap(),
        budget: Budget::default(),
    }
}

fn ask(up_bytes: u64, down_bytes: u64) -> Ask {
    let price = Price::new(1000).unwrap();
    Ask {
        domain: terms().domain,
        channel: terms().channel,
        lane: 3,
        price,
        seq: 1,
        up_bytes,
        down_bytes,
        amount: price.amount_of(up_bytes, down_bytes).unwrap(),
        usage_head: Digest([9; 32]),
        last: None,
    }
}

fn signed(ask: &Ask, up: u64, down: u64) -> SignedVoucher {
    ask.voucher(up, down).unwrap().sign(&ask.domain, &key())
}

fn state(up_bytes: u64, down_bytes: u64, clean: bool) -> State {
    State { up_bytes, down_bytes, clean, paid: None, day: Day::default() }
}

fn book() -> Book {
    Book::new(terms(), key().address(), &state(0, 0, true), 0, Tolerance::default())
}

fn amount(decision: Decision) -> Option<u128> {
    match decision {
        Decision::Sign { voucher, .. } => Some(voucher.amount),
        _ => None,
    }
}

#[test]
fn signs_the_smaller_count_of_each_direction() {
    for (asked, own, paid) in [
        ((GIB, GIB), (GIB, GIB), Some(2000)),
        ((GIB, 3 * GIB), (2 * GIB, 2 * GIB), Some(3000)),
        ((5 * GIB, 0), (0, 5 * GIB), None),
        ((0, 0), (GIB, GIB), None),
        ((GIB / 1000, 0), (GIB, GIB), None),
        ((GIB / 1000 + 1, 0), (GIB, GIB), Some(1)),
    ] {
        let decision = book().consider(&ask(asked.0, asked.1), own, Instant::now()).unwrap();
        assert_eq!(amount(decision), paid, "asked {asked:?}, own {own:?}");
    }
}

#[test]
fn refuses_an_ask_that_was_not_agreed() {
    let good = ask(GIB, GIB);
    let mut cases = Vec::new();
    let mut bad = good;
    bad.domain.chain_id = 1;
    cases.push((bad, "chain 1 "));
    bad = good;
    bad.domain.escrow = Address([8; 20]);
    cases.push((bad, "escrow"));
    bad = good;
    bad.channel = ChannelId([8; 32]);
    cases.push((bad, "channel"));
    bad = good;
    bad.lane = 4;
    cases.push((bad, "lane 4"));
    bad = good;
    bad.price = Price::new(1001).unwrap();
    bad.amount = 2002;
    cases.push((bad, "above the configured ceiling of 1000 units/GiB"));
    bad = good;
    bad.amount += 1;
    cases.push((bad, "does not add up"));
    bad = good;
    let thief = SigningKey::from_bytes(&[8; 32]).unwrap();
    bad.last = Some(bad.voucher(GIB, 0).unwrap().sign(&bad.domain, &thief));
    cases.push((bad, "did not sign"));
    bad = good;
    bad.last = Some(signed(&Ask { lane: 4, ..good }, GIB, 0));
    bad.last.as_mut().unwrap().voucher.lane = 3;
    cases.push((bad, "did not sign"));
    for (ask, text) in cases {
        let mut book = book();
        let objection = book.consider(&ask, (GIB, GIB), Instant::now()).unwrap_err();
        assert!(objection.to_string().contains(text), "{objection}");
        assert_eq!(book.last(), None);
    }
}

#[test]
fn never_signs_an_equal_or_lower_amount_or_an_old_sequence_number() {
    let mut book = book();
    let first = ask(GIB, GIB);
    let paid = signed(&first, GIB, GIB);
    book.record(Paid { signed: paid, bytes: (GIB, GIB), accepted: true });
    let mut next = Ask { seq: 2, last: Some(paid), ..first };
    let now = Instant::now();
    assert_eq!(book.consider(&next, (GIB, GIB), now), Ok(Decision::Nothing));
    next = Ask { seq: 2, last: Some(paid), ..ask(GIB, 0) };
    assert_eq!(book.consider(&next, (GIB, GIB), now), Ok(Decision::Nothing));
    next = Ask { seq: 1, last: Some(paid), ..ask(GIB, 2 * GIB) };
    let objection = book.consider(&next, (GIB, 2 * GIB), now);
    assert_eq!(objection, Err(Objection::Sequence { asked: 1, signed: 1 }));
    next.seq = 2;
    assert_eq!(amount(book.consider(&next, (GIB, 2 * GIB), now).unwrap()), Some(3000));
}

#[test]
fn a_voucher_that_the_relay_does_not_hold_is_sent_again_unchanged() {
    let mut book = book();
    let first = ask(GIB, GIB);
    let paid = Paid { signed: signed(&first, GIB, GIB), bytes: (GIB, GIB), accepted: false };
    book.record(paid);
    let later = Ask { last: None, ..ask(2 * GIB, GIB) };
    let now = Instant::now();
    assert_eq!(book.consider(&later, (2 * GIB, GIB), now), Ok(Decision::Resend(paid)));
    // The relay refuses it for good: a larger voucher takes its place.
    book.rejected(1);
    assert_eq!(amount(book.consider(&later, (2 * GIB, GIB), now).unwrap()), Some(3000));
}

#[test]
fn a_refused_voucher_is_offered_again_though_nothing_moved() {
    let mut book = book();
    let first = ask(GIB, GIB);
    let paid = Paid { signed: signed(&first, GIB, GIB), bytes: (GIB, GIB), accepted: false };
    book.record(paid);
    book.rejected(1);
    let now = Instant::now();
    // The deposit was too small: by now it may have grown.
    assert_eq!(book.consider(&first, (GIB, GIB), now), Ok(Decision::Resend(paid)));
    // The exit no longer knew the usage head: it asks with another one.
    let other = Ask { usage_head: Digest([8; 32]), ..first };
    let voucher = other.voucher(GIB, GIB).unwrap();
    let bytes = (GIB, GIB);
    assert_eq!(book.consider(&other, bytes, now), Ok(Decision::Sign { voucher, bytes }));
    // That one may be under way; it isn't given a third content before it is refused as well.
    let replaced = Paid { signed: voucher.sign(&other.domain, &key()), bytes, accepted: false };
    let mut book_after = Book::new(
        terms(),
        key().address(),
        &State { paid: Some(paid), ..state(GIB, GIB, true) },
        0,
        Tolerance::default(),
    );
    book_after.rejected(1);
    book_after.record(replaced);
    let third = Ask { usage_head: Digest([7; 32]), ..first };
    assert_eq!(book_after.consider(&third, (0, 0), now), Ok(Decision::Resend(replaced)));
    // An answer that was lost: the ask shows that it is held.
    let held = Ask { seq: 2, last: Some(paid.signed), ..first };
    assert_eq!(book.consider(&held, (GIB, GIB), now), Ok(Decision::Nothing));
    assert!(book.last().unwrap().accepted);
}

#[test]
fn lost_state_is_recovered_from_the_own_signature() {
    let paid = signed(&ask(GIB, GIB), GIB, GIB);
    let mut asked = Ask { seq: 2, last: Some(paid), ..ask(GIB + 100, 2 * GIB) };
    asked.last = Some(paid);
    // Nothing is known, and 100 bytes since the start: what was signed is taken over.
    let mut book = Book::new(terms(), key().address(), &State::default(), 0, Tolerance::default());
    let decision = book.consider(&asked, (100, 0), Instant::now()).unwrap();
    let (up, down) = book.own((0, 0));
    assert_eq!(u128::from(up + down) * 1000 / u128::from(GIB), 2000);
    assert_eq!(amount(decision), None, "100 bytes more cost nothing yet");
    assert_eq!(book.last().map(|last| last.signed), Some(paid));
    assert_eq!(up + down, 2 * GIB, "no byte beyond what the signature proves");
}

fn pay(book: &mut Book, seq: u64, gib: u64) -> Result<(), Objection> {
    let bytes = (gib * GIB, 0);
    let held = book.last().map(|last| last.signed);
    let asked = Ask { seq, last: held, ..ask(bytes.0, 0) };
    let Decision::Sign { voucher, bytes } = book.consider(&asked, bytes, Instant::now())? else {
        panic!("nothing to sign")
    };
    let signed = voucher.sign(&asked.domain, &key());
    book.record(Paid { signed, bytes, accepted: true });
    Ok(())
}

#[test]
fn a_budget_is_spent_to_the_unit_and_a_day_begins_once() {
    let budget = Budget { total: Some(5000), per_day: Some(2000) };
    let terms = || Terms { budget, ..terms() };
    let mut book = Book::new(terms(), key().address(), &state(0, 0, true), 0, Tolerance::default());
    book.begin_day(20_000);
    pay(&mut book, 1, 1).unwrap();
    pay(&mut book, 2, 2).unwrap();
    let spent = Objection::Budget { span: "of a day", budget: 2000, would: 3000 };
    assert_eq!(pay(&mut book, 3, 3), Err(spent.clone()));
    // Neither a restart nor a clock that is set back brings it back.
    let saved = State { paid: book.last().copied(), day: book.day(), ..state(0, 0, true) };
    let mut book = Book::new(terms(), key().address(), &saved, 0, Tolerance::default());
    for day in [19_999, 20_000] {
        book.begin_day(day);
        assert_eq!(pay(&mut book, 3, 3), Err(spent.clone()), "day {day}");
    }
    book.begin_day(20_001);
    pay(&mut book, 3, 4).unwrap();
    book.begin_day(20_002);
    pay(&mut book, 4, 5).unwrap();
    let all = Objection::Budget { span: "in all", budget: 5000, would: 6000 };
    assert_eq!(pay(&mut book, 5, 6), Err(all));
}

fn priced(units: u128, up_bytes: u64, down_bytes: u64) -> Ask {
    let price = Price::new(units).unwrap();
    let amount = price.amount_of(up_bytes, down_bytes).unwrap();
    Ask { price, amount, ..ask(up_bytes, down_bytes) }
}

#[test]
fn a_price_that_rises_below_the_ceiling_is_not_paid_for_bytes_already_paid() {
    let mut book = book();
    let cheap = priced(10, 4 * GIB, 0);
    let paid = signed(&cheap, 4 * GIB, 0);
    book.record(Paid { signed: paid, bytes: (4 * GIB, 0), accepted: true });
    let dear = Ask { seq: 2, last: Some(paid), ..priced(1000, 5 * GIB, 0) };
    let objection = book.consider(&dear, (5 * GIB, 0), Instant::now());
    let price = Price::new(1000).unwrap();
    let expected = Objection::Rebilled { asked: 5000, price, signed: 40, worth: 1000 };
    assert_eq!(objection, Err(expected));
    // At the old price the fresh GiB is paid.
    let fair = Ask { seq: 2, last: Some(paid), ..priced(10, 5 * GIB, 0) };
    assert_eq!(amount(book.consider(&fair, (5 * GIB, 0), Instant::now()).unwrap()), Some(50));
}

#[test]
fn a_refused_voucher_is_not_traded_for_fewer_bytes_at_a_higher_price() {
    let mut book = book();
    let cheap = priced(1, 1000 * GIB, 0);
    let bytes = (1000 * GIB, 0);
    book.record(Paid { signed: signed(&cheap, 1000 * GIB, 0), bytes, accepted: false });
    book.rejected(1);
    // The same 1,000 units, now for one GiB.
    let dear = Ask { usage_head: Digest([8; 32]), ..priced(1000, GIB, 0) };
    let now = Instant::now();
    let Ok(Decision::Sign { voucher, bytes }) = book.consider(&dear, (1000 * GIB, 0), now) else {
        panic!("the amount is what was signed before");
    };
    let signed = voucher.sign(&terms().domain, &key());
    book.record(Paid { signed, bytes, accepted: true });
    let again = Ask { seq: 2, last: Some(signed), ..priced(1000, 1000 * GIB, 0) };
    let objection = book.consider(&again, (1000 * GIB, 0), now).unwrap_err();
    assert!(matches!(objection, Objection::Rebilled { worth: 0, .. }), "{objection}");
}

#[test]
fn a_restored_backup_is_not_talked_out_of_the_bytes_it_knows_it_paid() {
    let mut book =
        Book::new(terms(), key().address(), &state(1000 * GIB, 0, true), 0, Tolerance::default());
    let old = signed(&priced(1, 1000 * GIB, 0), 1000 * GIB, 0);
    book.record(Paid { signed: old, bytes: (1000 * GIB, 0), accepted: true });
    // Signed after the backup was made; the relay shows it beside no bytes at all.
    let newer = signed(&Ask { seq: 2, ..priced(1, 1010 * GIB, 0) }, 1010 * GIB, 0);
    let hidden = Ask { seq: 3, last: Some(newer), ..priced(1, 0, 0) };
    assert_eq!(book.consider(&hidden, (0, 0), Instant::now()), Ok(Decision::Nothing));
    assert_eq!(book.last().map(|last| last.bytes), Some((1000 * GIB, 0)));
    let dear = Ask { seq: 3, last: Some(newer), ..priced(1000, 1000 * GIB, 0) };
    let objection = book.consider(&dear, (0, 0), Instant::now()).unwrap_err();
    assert!(matches!(objection, Objection::Rebilled { worth: 0, .. }), "{objection}");
}

#[test]
fn counts_near_the_end_of_their_range_do_not_wrap() {
    let paid = signed(&ask(GIB, 0), GIB, 0);
    let mut book = Book::new(terms(), key().address(), &State::default(), 0, Tolerance::default());
    // Bytes that cost nothing: what was signed stands for any number of them.
    let free = Ask { seq: 2, last: Some(paid), ..priced(0, u64::MAX, 0) };
    assert_eq!(book.consider(&free, (0, 0), Instant::now()), Ok(Decision::Nothing));
    assert_eq!(book.own((5, 0)), (u64::MAX, 0));
}

#[test]
fn a_payer_without_state_is_not_talked_into_more_bytes_by_a_low_price() {
    // 1,000 units were signed for one GiB. At a price of 1 they would stand for 1,000 GiB.
    let paid = signed(&ask(GIB, 0), GIB, 0);
    let mut book = Book::new(terms(), key().address(), &State::default(), 0, Tolerance::default());
    let low = Ask { seq: 2, last: Some(paid), ..priced(1, 2000 * GIB, 0) };
    assert_eq!(book.consider(&low, (0, 0), Instant::now()), Ok(Decision::Nothing));
    let high = Ask { seq: 2, last: Some(paid), ..priced(1000, 2000 * GIB, 0) };
    let objection = book.consider(&high, (0, 0), Instant::now()).unwrap_err();
    assert!(matches!(objection, Objection::Rebilled { worth: 0, .. }), "{objection}");
}

#[test]
fn a_voucher_of_another_lane_is_not_adopted() {
    let other = signed(&Ask { lane: 4, ..ask(2 * GIB, 0) }, 2 * GIB, 0);
    let asked = Ask { seq: 2, last: Some(other), ..ask(2 * GIB, 0) };
    let mut book = book();
    let objection = book.consider(&asked, (0, 0), Instant::now());
    assert_eq!(objection, Err(Objection::OtherLane { channel: terms().channel, lane: 4 }));
    assert_eq!((book.last(), book.own((0, 0))), (None, (0, 0)));
}

#[test]
fn a_first_ask_is_not_taken_on_the_relays_word() {
    let mut book = Book::new(
        terms(),
        key().address(),
        &State::default(),
        PayerConfig::CRASH_ALLOWANCE_BYTES,
        Tolerance::default(),
    );
    let decision = book.consider(&ask(GIB, GIB), (0, 0), Instant::now()).unwrap();
    assert_eq!(amount(decision), None);
    assert_eq!(book.own((0, 0)), (0, 0));
    // Nor one that a small allowance would have covered.
    let mut book = Book::new(
        terms(),
        key().address(),
        &State::default(),
        PayerConfig::CRASH_ALLOWANCE_BYTES,
        Tolerance::default(),
    );
    book.consider(&ask(0, 64 << 20), (0, 0), Instant::now()).unwrap();
    assert_eq!(book.own((0, 0)), (0, 0));
}

#[test]
fn after_a_crash_the_allowance_covers_a_small_difference_once() {
    for (clean, allowance, missing, taken) in [
        (false, 1000, 1000, true),
        (false, 1000, 1001, false),
        (false, 0, 1, false),
        (true, 1000, 1, false),
    ] {
        let mut book = Book::new(
            terms(),
            key().address(),
            &state(GIB, GIB, clean),
            allowance,
            Tolerance::default(),
        );
        let now = Instant::now();
        book.consider(&ask(GIB, GIB + missing), (0, 0), now).unwrap();
        let own = book.own((0, 0));
        assert_eq!(own.1 == GIB + missing, taken, "{clean} {allowance} {missing}");
        book.consider(&ask(GIB, GIB + missing + 1), (0, 0), now).unwrap();
        assert_eq!(book.own((0, 0)), own, "only the first ask counts");
    }
}

#[test]
fn signs_unseen_for_what_was_sold_and_no_more_over_restarts() {
    let now = Instant::now();
    let mut book = book();
    book.vouch(3 * GIB);
    let decision = book.consider(&ask(GIB, GIB), (0, 0), now).unwrap();
    assert_eq!(amount(decision), Some(2000));
    let decision = book.consider(&ask(5 * GIB, GIB), (0, 0), now).unwrap();
    assert_eq!(amount(decision), Some(3000), "the third GiB, and not the sixth");
    // A restart gives nothing away again.
    let (up_bytes, down_bytes) = book.own((0, 0));
    let mut book = Book::new(
        terms(),
        key().address(),
        &state(up_bytes, down_bytes, false),
        0,
        Tolerance::default(),
    );
    book.vouch(3 * GIB);
    book.consider(&ask(5 * GIB, GIB), (0, 0), now).unwrap();
    assert_eq!(book.own((0, 0)), (2 * GIB, GIB));
    // More was sold.
    book.vouch(4 * GIB);
    book.consider(&ask(5 * GIB, GIB), (0, 0), now).unwrap();
    assert_eq!(book.own((0, 0)), (3 * GIB, GIB));
}

proptest! {
    /// Whatever a relay asks, step by step: the sum signed never exceeds what was really received,
    /// and never falls.
    #[test]
    fn never_signs_for_more_than_it_received(
        steps in proptest::collection::vec((0..4 * GIB, 0..4 * GIB, 0..GIB, 0..GIB, 0u64..4, any::<bool>()), 1..40),
    ) {
        let mut book = book();
        let (mut own, mut last) = ((0u64, 0u64), 0);
        let price = Price::new(1000).unwrap();
        let mut held = None;
        for (up, down, more_up, more_down, seq, holds) in steps {
            own = (own.0 + more_up, own.1 + more_down);
            let asked = Ask { seq, last: held, ..ask(up, down) };
            if let Ok(Decision::Sign { voucher, bytes }) = book.consider(&asked, own, Instant::now()) {
                prop_assert!(bytes.0 <= own.0 && bytes.1 <= own.1);
                prop_assert!(voucher.amount > last);
                prop_assert!(voucher.amount <= price.amount_of(own.0, own.1).unwrap());
                last = voucher.amount;
                let signed = voucher.sign(&asked.domain, &key());
                book.record(Paid { signed, bytes, accepted: holds });
                if holds {
                    held = Some(signed);
                }
            }
        }
    }

    /// A relay that also changes its price from ask to ask, to a payer that lost its state: all
    /// that is signed after is worth the bytes that came after, at the ceiling at most.
    #[test]
    fn a_relay_that_plays_with_its_price_gets_the_ceiling_for_fresh_bytes_at_most(
        steps in proptest::collection::vec((1u128..1001, 0..4000 * GIB, 0..GIB), 1..12),
    ) {
        let paid = signed(&ask(GIB, 0), GIB, 0);
        let mut book = Book::new(terms(), key().address(), &State::default(), 0, Tolerance::default());
        let (mut own, mut held, mut vouchers) = (0, paid, 0);
        for (price, down, more) in steps {
            own += more;
            let seq = held.voucher.seq + 1;
            let asked = Ask { seq, last: Some(held), ..priced(price, 0, down) };
            if let Ok(Decision::Sign { voucher, bytes }) =
                book.consider(&asked, (0, own), Instant::now())
            {
                held = voucher.sign(&asked.domain, &key());
                book.record(Paid { signed: held, bytes, accepted: true });
                vouchers += 1;
            }
            // What was adopted may be spread over fewer bytes than arrived; rounding costs a unit
            // a voucher.
            let fresh = (u128::from(own) * 1000).div_ceil(u128::from(GIB));
            prop_assert!(held.voucher.amount <= 1000 + fresh + vouchers);
        }
    }
}
