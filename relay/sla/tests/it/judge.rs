//! The rule: good, bad, draw.

use proptest::prelude::*;
use weir_sla::{Error, Fate, Judged, Judgement, Maintenance, Record, Window};
use weir_usage::{Address, CoSigned, SignedSample};

use crate::common::{
    DOMAIN, PERIOD_INTERVALS, START, key, measured, record, record_of, sample, terms, used, worse,
};

fn first(record: &Record) -> Judged {
    Judgement::of(record, 0).unwrap().intervals[0]
}

#[test]
fn nothing_said_is_a_draw() {
    let judgement = Judgement::of(&record(), 1).unwrap();
    assert_eq!((judgement.first, judgement.intervals.len()), (60, 60));
    assert_eq!(judgement.count(Judged::Unknown), 60);
}

#[test]
fn a_co_signed_sample_that_meets_the_terms_is_good_whatever_measurers_say() {
    let mut record = record();
    let met = sample(record.agreement().id(), 0);
    for measurer in 4..7 {
        record.add_measured(measured(measurer, worse(met, 3))).unwrap();
    }
    assert_eq!(first(&record), Judged::Bad);
    record.add_used(used(met)).unwrap();
    assert_eq!(first(&record), Judged::Good);
}

#[test]
fn a_co_signed_sample_that_misses_the_terms_proves_nothing_alone() {
    for way in [0, 1, 3] {
        let mut record = record();
        record.add_used(used(worse(sample(record.agreement().id(), 0), way))).unwrap();
        assert_eq!(first(&record), Judged::Unknown, "way {way}");
    }
    // A client that asked for little got little.
    let mut record = record();
    record.add_used(used(worse(sample(record.agreement().id(), 0), 2))).unwrap();
    assert_eq!(first(&record), Judged::Good);
}

#[test]
fn one_measurer_of_a_threshold_of_two_decides_nothing() {
    for way in 0..4 {
        let mut record = record();
        let met = sample(record.agreement().id(), 0);
        record.add_measured(measured(4, worse(met, way))).unwrap();
        assert_eq!(first(&record), Judged::Unknown);
        record.add_measured(measured(5, met)).unwrap();
        assert_eq!(first(&record), Judged::Unknown);
        record.add_measured(measured(6, worse(met, way))).unwrap();
        assert_eq!(first(&record), Judged::Bad, "way {way}");
    }
}

#[test]
fn a_measurer_that_contradicts_itself_has_no_vote() {
    let mut record = record();
    let met = sample(record.agreement().id(), 0);
    for measurer in [4, 5] {
        record.add_measured(measured(measurer, worse(met, 0))).unwrap();
    }
    assert_eq!(first(&record), Judged::Bad);
    assert_eq!(record.add_measured(measured(4, met)), Ok(Fate::Contradiction));
    assert_eq!(first(&record), Judged::Unknown);
    let third = measured(4, worse(met, 1));
    assert!(matches!(record.add_measured(third), Err(Error::TooMany { samples: 2, .. })));
}

#[test]
fn maintenance_is_never_bad_and_may_be_good() {
    let window = Window { from_s: START + 119, until_s: START + 180 };
    let windows = Maintenance::new(vec![window]).unwrap();
    let mut terms = terms();
    terms.maintenance = windows.hash();
    let mut record = record_of(terms, windows);
    for interval in 0..4 {
        let low = worse(sample(record.agreement().id(), interval), 3);
        for measurer in 4..7 {
            record.add_measured(measured(measurer, low)).unwrap();
        }
    }
    record.add_used(used(sample(record.agreement().id(), 2))).unwrap();
    let judged = &Judgement::of(&record, 0).unwrap().intervals[..4];
    assert_eq!(judged, [Judged::Bad, Judged::Unknown, Judged::Good, Judged::Bad]);
}

#[test]
fn windows_that_are_none_or_not_agreed_on_are_refused() {
    let window = |from_s, until_s| Window { from_s, until_s };
    for bad in [vec![window(5, 5)], vec![window(5, 9), window(8, 10)]] {
        assert!(matches!(Maintenance::new(bad), Err(Error::BadWindow { .. })));
    }
    let agreement = weir_usage::bond::Agreement::new(DOMAIN, terms()).unwrap();
    let windows = Maintenance::new(vec![window(5, 9)]).unwrap();
    let refused = Record::new(agreement, key(7).address(), windows).unwrap_err();
    assert!(matches!(refused, Error::OtherWindows { .. }));
}

#[test]
fn what_nobody_may_say_is_refused() {
    let mut record = record();
    let met = sample(record.agreement().id(), 0);
    let mut foreign = met;
    foreign.sla.0[0] ^= 1;
    assert!(record.add_used(used(foreign)).is_err());
    assert!(record.add_measured(measured(4, foreign)).is_err());
    let late = sample(met.sla, 2 * PERIOD_INTERVALS);
    assert_eq!(record.add_used(used(late)), Err(Error::NoSuchInterval { interval: 120 }));
    let stranger = record.add_measured(measured(9, met));
    assert_eq!(stranger, Err(Error::NotAMeasurer { found: key(9).address() }));
    // Signed for something else than it says.
    let mut changed = used(met);
    changed.sample.up_bytes += 1;
    assert!(record.add_used(changed).is_err());
    // The client's word without the exit's.
    let alone = CoSigned { exit_signature: used(met).signature, ..used(met) };
    assert!(record.add_used(alone).is_err());
    assert_eq!(record.intervals(0..120).count(), 0);
}

#[derive(Clone, Debug)]
enum Said {
    Used(CoSigned),
    Measured(SignedSample),
}

fn said() -> impl Strategy<Value = (u64, u8, Option<u8>)> {
    (0..4_u64, 4..8_u8, prop::option::of(0..4_u8))
}

fn put(record: &mut Record, said: &Said) {
    // A third statement of one measurer is refused, and none of the three counts anyhow.
    let _ = match said {
        Said::Used(used) => record.add_used(*used),
        Said::Measured(measured) => record.add_measured(*measured),
    };
}

fn spoken(record: &Record, (interval, by, way): (u64, u8, Option<u8>)) -> Said {
    let met = sample(record.agreement().id(), interval);
    let sample = way.map_or(met, |way| worse(met, way));
    if by == 7 { Said::Used(used(sample)) } else { Said::Measured(measured(by, sample)) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The rule again, written down without any of the crate's types.
    #[test]
    fn the_rule_holds_and_the_order_of_samples_does_not_matter(
        all in prop::collection::vec(said(), 0..16),
        seed in any::<u64>(),
    ) {
        let (mut one, mut other) = (record(), record());
        let spoken: Vec<Said> = all.iter().map(|said| spoken(&one, *said)).collect();
        for said in &spoken {
            put(&mut one, said);
        }
        let mut shuffled: Vec<_> = spoken.iter().enumerate().collect();
        shuffled.sort_by_key(|(index, _)| (*index as u64 + 1).wrapping_mul(seed | 1));
        for (_, said) in shuffled {
            put(&mut other, said);
        }
        let judgement = Judgement::of(&one, 0).unwrap();
        prop_assert_eq!(&judgement, &Judgement::of(&other, 0).unwrap());
        for interval in 0..4 {
            let of = |by: u8| {
                let mut ways: Vec<Option<u8>> =
                    all.iter().filter(|s| (s.0, s.1) == (interval, by)).map(|s| s.2).collect();
                ways.sort();
                ways.dedup();
                ways
            };
            let client = of(7).iter().any(|way| matches!(way, None | Some(2)));
            let votes: Vec<bool> = (4..7)
                .map(of)
                .filter(|ways| ways.len() == 1)
                .map(|ways| ways[0].is_none())
                .collect();
            let good = votes.iter().filter(|good| **good).count();
            let expected = match (client || good >= 2, votes.len() - good >= 2) {
                (true, _) => Judged::Good,
                (false, true) => Judged::Bad,
                (false, false) => Judged::Unknown,
            };
            prop_assert_eq!(judgement.intervals[interval as usize], expected);
        }
        // An equal root too, as long as no statement was dropped for being a third.
        let whole = (4..7).all(|by| (0..4).all(|interval| {
            let mut ways: Vec<_> =
                all.iter().filter(|s| (s.0, s.1) == (interval, by)).map(|s| s.2).collect();
            ways.sort();
            ways.dedup();
            ways.len() <= 2
        }));
        if whole {
            prop_assert_eq!(judgement.verdict(&one).unwrap(), judgement.verdict(&other).unwrap());
        }
    }
}

#[test]
fn without_measurers_nothing_is_bad() {
    let mut terms = terms();
    (terms.measurers, terms.threshold) = (Vec::<Address>::new(), 0);
    let mut record = record_of(terms, Maintenance::default());
    record.add_used(used(worse(sample(record.agreement().id(), 0), 3))).unwrap();
    assert_eq!(first(&record), Judged::Unknown);
}
