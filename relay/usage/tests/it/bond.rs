//! What the bond's messages refuse. That they hash as the contract hashes them is shown by
//! `cargo xtask contracts test`.

use weir_usage::bond::{
    Agreement, BondDomain, CreditStep, EpochStatement, Period, SlaTerms, StakeTerms, Statement,
    StreamStatement, Verdict,
};
use weir_usage::{Address, ChannelId, Digest, Error, Signature, SigningKey, SlaId};

const DOMAIN: BondDomain = BondDomain { chain_id: 31_337, bond: Address([0xb0; 20]) };
/// 2024-02-01, and the month has 29 days.
const FEBRUARY: u64 = 1_706_745_600;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

/// Payer 1, operator 2, arbiter 3, measurers 4 to 6.
fn terms() -> SlaTerms {
    let mut measurers: Vec<Address> = (4..7).map(|n| key(n).address()).collect();
    measurers.sort();
    let step = |below_ppm, credit_ppm| CreditStep { below_ppm, credit_ppm };
    SlaTerms {
        payer: key(1).address(),
        operator: key(2).address(),
        payout: Address([9; 20]),
        token: Address([8; 20]),
        channel: ChannelId([7; 32]),
        committed_kbps: 100_000,
        burst_kbps: 200_000,
        availability_ppm: 999_000,
        rtt_p95_us: 20_000,
        loss_ppm: 1000,
        references: Digest::ZERO,
        maintenance: Digest::ZERO,
        start: FEBRUARY,
        period_s: 0,
        periods: 12,
        interval_s: 60,
        claim_s: 7 * 86_400,
        fee: 1_000_000,
        bond: 3_000_000,
        credits: vec![step(999_000, 100_000), step(990_000, 250_000), step(950_000, 1_000_000)],
        measurers,
        threshold: 2,
        arbiter: key(3).address(),
        salt: Digest([1; 32]),
    }
}

fn refused(change: impl Fn(&mut SlaTerms)) -> &'static str {
    let mut terms = terms();
    change(&mut terms);
    match terms.check() {
        Err(Error::BadTerms { term, .. }) => term,
        other => panic!("{other:?}"),
    }
}

#[test]
fn terms_that_the_contract_refuses_are_named() {
    assert_eq!(terms().check(), Ok(()));
    assert_eq!(refused(|t| t.payer = t.operator), "payer");
    assert_eq!(refused(|t| t.arbiter = t.operator), "arbiter");
    assert_eq!(refused(|t| t.bond = 0), "bond");
    assert_eq!(refused(|t| t.availability_ppm = 1_000_001), "availability_ppm");
    assert_eq!(refused(|t| t.claim_s = 86_399), "claim_s");
    assert_eq!(refused(|t| t.periods = 0), "periods");
    assert_eq!(refused(|t| t.periods = 121), "periods");
    assert_eq!(refused(|t| t.start += 1), "start");
    assert_eq!(refused(|t| (t.period_s, t.interval_s) = (3600, 7)), "interval_s");
    assert_eq!(refused(|t| t.interval_s = 0), "interval_s");
    assert_eq!(refused(|t| (t.period_s, t.interval_s) = (u32::MAX, 1)), "periods");
    assert_eq!(refused(|t| t.start = u64::MAX), "start");
    assert_eq!(refused(|t| (t.start, t.period_s) = (u64::MAX, 3600)), "start");
    assert_eq!(refused(|t| t.credits.clear()), "credits");
    assert_eq!(refused(|t| t.credits[0].below_ppm = 999_001), "credits");
    assert_eq!(refused(|t| t.credits.swap(0, 1)), "credits");
    assert_eq!(refused(|t| t.credits[2].credit_ppm = 1_000_001), "credits");
    assert_eq!(refused(|t| t.measurers.reverse()), "measurers");
    assert_eq!(refused(|t| t.arbiter = t.measurers[1]), "measurers");
    assert_eq!(refused(|t| t.threshold = 1), "threshold");
    assert_eq!(refused(|t| t.threshold = 4), "threshold");
    assert_eq!(refused(|t| (t.threshold, t.measurers) = (1, Vec::new())), "threshold");
}

#[test]
fn an_agreement_needs_both_sides() {
    let mut agreement = Agreement::new(DOMAIN, terms()).unwrap();
    let other = agreement.sign(&key(3)).unwrap_err();
    assert!(matches!(other, Error::WrongSigner { .. }), "{other}");
    agreement.sign(&key(1)).unwrap();
    let missing = agreement.signatures().unwrap_err().to_string();
    assert_eq!(missing, "operator_signature: is missing");
    agreement.sign(&key(2)).unwrap();
    agreement.signatures().unwrap();
    agreement.terms.fee += 1;
    let changed = agreement.signatures().unwrap_err();
    assert!(matches!(changed, Error::WrongSigner { .. }), "{changed}");
}

#[test]
fn periods_and_credits() {
    let mut terms = terms();
    assert_eq!(terms.period(0), Ok(Period { begins: FEBRUARY, ends: FEBRUARY + 29 * 86_400 }));
    assert_eq!(terms.intervals(0), Ok(29 * 1440));
    assert_eq!(terms.period(12), Err(Error::NoSuchPeriod { period: 12, periods: 12 }));
    // Exactly the step's availability is no breach.
    for (intervals, bad, credit) in
        [(1000, 0, 0), (1000, 1, 0), (999, 1, 100_000), (1000, 51, 1_000_000)]
    {
        assert_eq!(terms.credit(intervals, bad), Ok(credit), "{bad} of {intervals}");
    }
    assert_eq!(terms.credit(9, 10), Err(Error::TooManyIntervals { judged: 10, intervals: 9 }));
    terms.fee = u128::MAX;
    assert_eq!(terms.credit(10, 10), Ok(u128::MAX), "a huge fee doesn't overflow");
    terms.interval_s = 0;
    assert!(terms.intervals(0).is_err());
}

#[test]
fn verdicts_need_two_sides_or_most_measurers() {
    let terms = terms();
    let id = terms.id(&DOMAIN);
    let verdict = Verdict { sla: id, period: 0, good: 0, bad: 500, evidence: Digest::ZERO };
    let by = |keys: &[u8]| -> Vec<Signature> {
        keys.iter().map(|n| verdict.sign(&DOMAIN, &key(*n))).collect()
    };
    let credit = |keys: &[u8]| verdict.credit(&terms, &DOMAIN, &by(keys));
    for enough in [&[1, 2][..], &[2, 3], &[3, 1], &[4, 6], &[1, 2, 4, 5, 6, 9]] {
        assert_eq!(credit(enough), Ok(250_000), "{enough:?}");
    }
    for few in [&[][..], &[1], &[1, 1], &[3, 4], &[4, 4], &[1, 9]] {
        assert!(matches!(credit(few), Err(Error::NotAgreed { .. })), "{few:?}");
    }
    let signers: Vec<Address> = verdict
        .order(&DOMAIN, &by(&[6, 1, 6, 2]))
        .unwrap()
        .into_iter()
        .map(|(signer, _)| signer)
        .collect();
    assert!(signers.is_sorted() && signers.len() == 3, "ascending, each once: {signers:?}");

    let other = Verdict { sla: SlaId([1; 32]), ..verdict };
    let error = other.credit(&terms, &DOMAIN, &by(&[1, 2])).unwrap_err();
    assert!(matches!(error, Error::OtherAgreement { .. }), "{error}");
    let many = Verdict { good: u32::MAX, bad: u32::MAX, ..verdict };
    let error = many.credit(&terms, &DOMAIN, &by(&[1, 2])).unwrap_err();
    assert!(matches!(error, Error::TooManyIntervals { .. }), "{error}");
    // A signature over something else recovers to somebody, who is no side.
    let elsewhere = BondDomain { chain_id: 1, ..DOMAIN };
    let foreign: Vec<_> = [1, 2].map(|n| verdict.sign(&elsewhere, &key(n))).into();
    let error = verdict.credit(&terms, &DOMAIN, &foreign).unwrap_err();
    assert!(matches!(error, Error::NotAgreed { sides: 0, .. }), "{error}");
}

#[test]
fn only_two_contents_of_one_subject_contradict() {
    let said = |epoch, total| EpochStatement { epoch, root: Digest([3; 32]), total };
    let one = said(5, 10).sign(&DOMAIN, &key(2));
    let two = said(5, 11).sign(&DOMAIN, &key(2));
    assert_eq!(one.contradicts(&two, &DOMAIN), Ok(key(2).address()));
    let no = |other| match one.contradicts(&other, &DOMAIN) {
        Err(Error::NoContradiction { why }) => why,
        other => panic!("{other:?}"),
    };
    assert!(no(one).contains("the same"));
    assert!(no(said(6, 11).sign(&DOMAIN, &key(2))).contains("different things"));
    assert!(no(said(5, 11).sign(&DOMAIN, &key(1))).contains("different keys"));
    let elsewhere = BondDomain { chain_id: 1, ..DOMAIN };
    assert!(no(said(5, 11).sign(&elsewhere, &key(2))).contains("another contract"));

    let mut twin = two;
    twin.signature = crate::signature::twin(&two.signature);
    assert_eq!(one.contradicts(&twin, &DOMAIN), Err(Error::HighS));

    let record = |seq, content| StreamStatement {
        stream: Digest([1; 32]),
        seq,
        content: Digest([content; 32]),
    };
    let one = record(1, 1).sign(&DOMAIN, &key(2));
    assert!(one.contradicts(&record(1, 2).sign(&DOMAIN, &key(2)), &DOMAIN).is_ok());
    assert!(one.contradicts(&record(2, 2).sign(&DOMAIN, &key(2)), &DOMAIN).is_err());
}

#[test]
fn stakes_that_the_contract_refuses_are_named() {
    let good = StakeTerms {
        operator: Address([1; 20]),
        signer: Address([2; 20]),
        payout: Address([3; 20]),
        token: Address([4; 20]),
        unbond_delay_s: 86_400,
        committed_kbps: 1,
        availability_ppm: 1_000_000,
        salt: Digest::ZERO,
    };
    assert_eq!(good.check(), Ok(()));
    let elsewhere = BondDomain { chain_id: 1, ..DOMAIN };
    assert_ne!(good.id(&DOMAIN), good.id(&elsewhere));
    for (bad, name) in [
        (StakeTerms { signer: Address::ZERO, ..good }, "signer"),
        (StakeTerms { unbond_delay_s: 86_399, ..good }, "unbond_delay_s"),
        (StakeTerms { availability_ppm: 1_000_001, ..good }, "availability_ppm"),
    ] {
        assert!(matches!(bad.check(), Err(Error::BadTerms { term, .. }) if term == name), "{name}");
    }
}
