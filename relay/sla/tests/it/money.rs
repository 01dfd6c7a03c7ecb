//! What verdicts cost. That `SlaTerms::credit` is what the contract computes is shown by
//! `cargo xtask contracts test` on random terms.

use proptest::prelude::*;
use weir_sla::{Judged, Judgement};
use weir_usage::bond::CreditStep;

use crate::common::{measured, record, sample, terms, used, worse};

fn ladder() -> impl Strategy<Value = Vec<CreditStep>> {
    let steps = prop::collection::btree_set(1..=1_000_000_u32, 1..8);
    (steps.clone(), steps).prop_map(|(below, credit)| {
        let below = below.into_iter().rev();
        below
            .zip(credit)
            .map(|(below_ppm, credit_ppm)| CreditStep { below_ppm, credit_ppm })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_credit_grows_with_bad_intervals_and_stays_within_the_fee(
        credits in ladder(),
        fee in 1..=u128::MAX,
        intervals in 1..50_000_u64,
        bad in any::<prop::sample::Index>(),
    ) {
        let mut terms = terms();
        (terms.availability_ppm, terms.credits, terms.fee) = (1_000_000, credits, fee);
        prop_assert_eq!(terms.check(), Ok(()));
        let bad = bad.index(intervals as usize) as u64;
        let (less, more) =
            (terms.credit(intervals, bad).unwrap(), terms.credit(intervals, bad + 1).unwrap());
        prop_assert!(less <= more && more <= fee);
        prop_assert_eq!(terms.credit(intervals, 0), Ok(0));
        prop_assert!(terms.credit(intervals, intervals + 1).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// A draw neither costs the operator nor takes from the payer what bad intervals gave it.
    #[test]
    fn an_unknown_interval_costs_nobody(
        bad in prop::collection::btree_set(0..60_u64, 0..12),
        good in prop::collection::btree_set(0..60_u64, 0..60),
    ) {
        let mut record = record();
        let sla = record.agreement().id();
        for &interval in &bad {
            for by in [4, 5] {
                record.add_measured(measured(by, worse(sample(sla, interval), 0))).unwrap();
            }
        }
        let credit = |record: &weir_sla::Record| {
            let verdict = Judgement::of(record, 0).unwrap().verdict(record).unwrap();
            (verdict.bad, terms().credit(60, verdict.bad.into()).unwrap())
        };
        let before = credit(&record);
        prop_assert_eq!(before.0 as usize, bad.len());
        // Unknown ones becoming good change nothing.
        for &interval in good.difference(&bad) {
            record.add_used(used(sample(sla, interval))).unwrap();
        }
        prop_assert_eq!(credit(&record), before);
        let judgement = Judgement::of(&record, 0).unwrap();
        let sum = [Judged::Good, Judged::Bad, Judged::Unknown].map(|kind| judgement.count(kind));
        prop_assert_eq!(sum.iter().sum::<u32>(), 60);
    }
}
