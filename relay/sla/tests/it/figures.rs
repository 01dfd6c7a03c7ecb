//! Numbers that buyers compare.

use proptest::prelude::*;
use weir_sla::{Figures, Judgement, percentile};

use crate::common::{measured, record, sample, used, worse};

#[test]
fn a_period_in_numbers() {
    let mut record = record();
    let sla = record.agreement().id();
    // 12 steps of five minutes: the first is the busiest, and 5 % of 12 is no whole step.
    for interval in 0..10 {
        let mut sample = sample(sla, interval);
        (sample.up_bytes, sample.down_bytes) = match interval {
            0 => (375_000_000, 0),
            5 => (0, 37_500_000),
            _ => (0, 0),
        };
        (sample.rtt_p95_us, sample.rtt_p50_us) = (1_000 + interval as u32, interval as u32);
        (sample.loss_ppm, sample.n) = if interval == 9 { (1_000, 30) } else { (0, 10) };
        record.add_used(used(sample)).unwrap();
    }
    for by in [4, 5] {
        record.add_measured(measured(by, worse(sample(sla, 20), 3))).unwrap();
    }
    let figures = Figures::of(&record, &Judgement::of(&record, 0).unwrap()).unwrap();
    assert_eq!((figures.good, figures.bad, figures.unknown), (10, 1, 49));
    assert_eq!((figures.availability_ppm, figures.judged_availability_ppm), (983_333, 909_090));
    // 375 MB in 300 s are 10 Mbit/s.
    assert_eq!(
        (figures.up_p95_kbps, figures.down_p95_kbps, figures.p95_kbps),
        (10_000, 1_000, 10_000)
    );
    assert_eq!((figures.rtt_p50_us, figures.rtt_p95_us), (4, 1_009));
    assert_eq!(figures.loss_ppm, 250);
    assert_eq!(figures.peak_kbps, 100_000);
    assert_eq!((figures.up_bytes, figures.down_bytes), (375_000_000, 37_500_000));
}

#[test]
fn a_twentieth_of_the_steps_is_free() {
    // The usual example: of 100 samples, the highest five don't count.
    let mut values: Vec<u64> = (1..=100).rev().collect();
    assert_eq!(percentile(&mut values, 95), 95);
    assert_eq!(percentile(&mut values, 50), 50);
    assert_eq!(percentile::<u64>(&mut [], 95), 0);
    assert_eq!(percentile(&mut [7_u64], 95), 7);
}

proptest! {
    #[test]
    fn a_percentile_is_a_value_that_so_many_are_not_above(
        mut values in prop::collection::vec(any::<u32>(), 1..200),
        percent in 1..=100_usize,
    ) {
        let found = percentile(&mut values, percent);
        let not_above = values.iter().filter(|value| **value <= found).count();
        let below = values.iter().filter(|value| **value < found).count();
        prop_assert!(not_above * 100 >= values.len() * percent);
        prop_assert!(below * 100 < values.len() * percent);
    }
}
