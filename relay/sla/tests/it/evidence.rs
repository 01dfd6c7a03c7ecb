//! Roots say what they are over.

use weir_sla::calendar::{DAY_S, day};
use weir_sla::{Judgement, daily, evidence, hourly, proof};
use weir_usage::bond::SlaTerms;

use crate::common::{START, measured, record, record_of, sample, terms, used, worse};

#[test]
fn an_interval_can_be_shown_and_the_total_counts_the_bad_ones() {
    let mut record = record();
    let sla = record.agreement().id();
    for interval in [3, 9] {
        for by in [4, 5] {
            record.add_measured(measured(by, worse(sample(sla, interval), 3))).unwrap();
        }
    }
    let judgement = Judgement::of(&record, 0).unwrap();
    let anchor = evidence(&record, &judgement).unwrap();
    assert_eq!(anchor.total, 2);
    assert_eq!(judgement.verdict(&record).unwrap().evidence, anchor.root);
    for interval in [0, 3, 59] {
        let (leaf, proof) = proof(&record, &judgement, interval).unwrap();
        assert_eq!(leaf.sum, u128::from(interval == 3));
        assert_eq!(proof.verify(&leaf, &anchor), Ok(()));
        let other = weir_usage::merkle::Leaf { sum: 1 - leaf.sum, ..leaf };
        assert!(proof.verify(&other, &anchor).is_err());
    }
    assert!(proof(&record, &judgement, 60).is_err());
    // One more statement, and the root is another.
    record.add_measured(measured(6, sample(sla, 3))).unwrap();
    let later = Judgement::of(&record, 0).unwrap();
    assert_eq!(later, judgement);
    assert_ne!(evidence(&record, &later).unwrap().root, anchor.root);
}

#[test]
fn hours_have_roots_over_their_samples() {
    let mut record = record();
    let sla = record.agreement().id();
    for interval in [0, 59, 60] {
        record.add_used(used(sample(sla, interval))).unwrap();
    }
    record.add_measured(measured(4, sample(sla, 59))).unwrap();
    let hours = hourly(&record, 0).unwrap();
    assert_eq!(hours.len(), 1);
    assert_eq!((hours[0].samples, hours[0].bytes), (3, 9_000));
    assert_eq!(hours[0].hour, START / 3600);
    assert_eq!(hourly(&record, 1).unwrap()[0].samples, 1);
}

#[test]
fn a_day_has_one_root_over_what_both_signed() {
    // From 23:00 on, two periods of an hour: the second one is of the next day.
    let (first, start) = (START / DAY_S, START + 23 * 3_600);
    let mut record = record_of(SlaTerms { start, ..terms() }, Default::default());
    let sla = record.agreement().id();
    let (none, empty) = daily(&record, first).unwrap();
    assert_eq!((none.len(), empty.total), (0, 0));
    for interval in [0, 59, 60] {
        record.add_used(used(sample(sla, interval))).unwrap();
    }
    let (hours, anchor) = daily(&record, first).unwrap();
    assert_eq!(
        hours.iter().map(|hour| (hour.samples, hour.bytes)).collect::<Vec<_>>(),
        [(2, 6_000)]
    );
    assert_eq!((anchor.total, anchor.epoch as u32), (6_000, first as u32));
    let (_, next) = daily(&record, first + 1).unwrap();
    assert_eq!((next.total, next.epoch), (3_000, anchor.epoch + 1));
    assert_eq!(daily(&record, first + 2).unwrap().1.total, 0);
    // A measurer's word may come late, and changes nothing; another sample is another root.
    record.add_measured(measured(4, sample(sla, 1))).unwrap();
    assert_eq!(daily(&record, first).unwrap().1, anchor);
    record.add_used(used(sample(sla, 1))).unwrap();
    assert_ne!(daily(&record, first).unwrap().1.root, anchor.root);
    // Another agreement's days have other numbers.
    let other = record_of(SlaTerms { start, fee: 9, ..terms() }, Default::default());
    assert_ne!(daily(&other, first).unwrap().1.epoch, anchor.epoch);
}

#[test]
fn days_are_read_as_they_are_written() {
    assert_eq!(day("2024-02-29"), Ok(START / DAY_S + 28));
    for bad in ["2024-02-30", "2023-02-29", "2024-2-9", "2024-02", "2024-02-00", "2024-02-+9", ""] {
        assert!(day(bad).is_err(), "{bad}");
    }
}
