//! Roots say what they are over.

use weir_sla::{Judgement, evidence, hourly, proof};

use crate::common::{measured, record, sample, used, worse};

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
    assert_eq!(hours[0].hour, crate::common::START / 3600);
    assert_eq!(hourly(&record, 1).unwrap()[0].samples, 1);
}
