//! The record stream: gaps, repeats and forgeries are told apart, and the books must balance.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_usage::{Amount, Digest, Error, ExitId, RecordChain, UsageRecord, usage_head};

use crate::random::record;

const EXIT: ExitId = ExitId([7; 32]);

fn stamped(mut records: Vec<UsageRecord>) -> Vec<UsageRecord> {
    let mut chain = RecordChain::new(EXIT, 5);
    records.iter_mut().for_each(|record| chain.stamp(record));
    records
}

/// A record whose books balance: 10 packets in, 7 forwarded, 2 dropped, 1 pending, 100 bytes each.
fn balanced(record: UsageRecord) -> UsageRecord {
    let amount = |packets| Amount { bytes: 100 * packets, packets };
    let mut record = UsageRecord { is_final: false, t0_ms: 1, t1_ms: 2, ..record };
    for direction in [&mut record.up, &mut record.down] {
        direction.received = amount(10);
        direction.forwarded = amount(7);
        direction.dropped = Default::default();
        direction.dropped[0] = amount(2);
    }
    record
}

proptest! {
    #[test]
    fn a_stream_is_accepted_once_and_in_order(records in vec(record(), 1..6)) {
        let records = stamped(records);
        let mut chain = RecordChain::new(EXIT, 5);
        for (seq, record) in (0..).zip(&records) {
            prop_assert_eq!(record.seq, seq);
            prop_assert_eq!(chain.accept(record), Ok(()));
            let expected = seq + 1;
            prop_assert_eq!(chain.accept(record), Err(Error::Duplicate { seq, expected }));
        }
        let mut late = RecordChain::new(EXIT, 5);
        let last = records.last().unwrap();
        if last.seq > 0 {
            let gap = Error::Gap { seq: last.seq, expected: 0 };
            prop_assert_eq!(late.accept(last), Err(gap));
            prop_assert_eq!(late, RecordChain::new(EXIT, 5));
        }
        prop_assert_eq!(RecordChain::resume(EXIT, 5, chain.next_seq(), chain.head()), chain);
    }

    #[test]
    fn a_changed_past_breaks_the_chain(records in vec(record(), 2..5), at in any::<prop::sample::Index>()) {
        let mut records = stamped(records);
        let changed = at.index(records.len() - 1);
        records[changed].up.forwarded.bytes ^= 1;
        let mut chain = RecordChain::new(EXIT, 5);
        let results: Vec<_> = records.iter().map(|record| chain.accept(record)).collect();
        let broken = matches!(results[changed + 1], Err(Error::BrokenChain { .. }));
        prop_assert!(broken, "{results:?}");
    }

    #[test]
    fn other_streams_are_foreign(record in record()) {
        let record = stamped(vec![record]).remove(0);
        for mut other in [RecordChain::new(EXIT, 6), RecordChain::new(ExitId([8; 32]), 5)] {
            prop_assert_eq!(other.accept(&record), Err(Error::ForeignStream));
        }
    }

    #[test]
    fn books_that_do_not_balance_are_named(record in record()) {
        let good = balanced(record);
        let seq = good.seq;
        prop_assert_eq!(good.check(), Ok(()));

        let mut reversed = good.clone();
        reversed.t1_ms = 0;
        prop_assert_eq!(reversed.check(), Err(Error::TimeReversed { seq, t0_ms: 1, t1_ms: 0 }));

        let mut pending = good.clone();
        pending.is_final = true;
        let error = Error::PendingAtClose { seq, direction: "up", bytes: 100, packets: 1 };
        prop_assert_eq!(pending.check(), Err(error));

        let mut invented = good.clone();
        invented.down.forwarded.bytes = 801;
        prop_assert_eq!(invented.check(), Err(Error::Conservation { seq, direction: "down" }));

        let mut overflowing = good.clone();
        overflowing.up.dropped[6].packets = u64::MAX;
        prop_assert_eq!(overflowing.check(), Err(Error::Conservation { seq, direction: "up" }));

        let mut later = good.clone();
        later.up.forwarded.bytes = 699;
        let error = Error::CounterFell { seq, counter: "up bytes", before: 700, after: 699 };
        prop_assert_eq!(later.check_after(&good), Err(error));
        prop_assert_eq!(good.check_after(&good), Ok(()));
        prop_assert_eq!(good.billable_bytes(), 1_400);
    }
}

#[test]
fn a_usage_head_hides_the_record_behind_its_salt() {
    let record = Digest([1; 32]);
    assert_ne!(usage_head(&[0; 32], &record), usage_head(&[1; 32], &record));
    assert_ne!(usage_head(&[0; 32], &record), usage_head(&[0; 32], &Digest([2; 32])));
}
