//! Random agreements that the contract takes, and random verdicts on them with random signatures:
//! what is paid, or that nothing is.

use serde_json::Value;
use weir_usage::bond::{BondDomain, CreditStep, SlaTerms, Verdict};
use weir_usage::{Address, ChannelId, Signature, SigningKey};

use crate::bond::terms_row;
use crate::random::Random;

/// The agreement's periods are of seconds, so that any length divides.
const DAY_S: u32 = 86_400;

pub(crate) fn row(random: &mut Random, domain: &BondDomain, token: Address) -> Value {
    let sides = [random.key(), random.key(), random.key()];
    let mut measurers: Vec<SigningKey> = (0..random.u64() % 6).map(|_| random.key()).collect();
    measurers.sort_by_key(SigningKey::address);
    let terms = terms(random, token, &sides, &measurers);
    terms.check().expect("terms that make sense");

    let period = random.u32() % terms.periods;
    let lasts = terms.period(period).expect("one of its periods");
    let intervals = terms.intervals(period).expect("one of its periods");
    let bad = (random.u64() % (intervals + 1)) as u32;
    // Some say more than there are.
    let good = (random.u64() % (intervals - u64::from(bad) + 1 + intervals / 8)) as u32;
    let sla = terms.id(domain);
    let verdict = Verdict { sla, period, good, bad, evidence: random.word() };
    let signatures = signatures(random, domain, &verdict, &sides, &measurers);
    let credit = verdict.credit(&terms, domain, &signatures);

    let mut row = terms_row(&terms, domain);
    let texts: Vec<String> = signatures.iter().map(|signature| signature.to_string()).collect();
    row["payerSignature"] = terms.sign(domain, &sides[0]).to_string().into();
    row["operatorSignature"] = terms.sign(domain, &sides[1]).to_string().into();
    row["period"] = period.into();
    row["ends"] = lasts.ends.to_string().into();
    row["good"] = good.into();
    row["bad"] = bad.into();
    row["evidence"] = verdict.evidence.to_string().into();
    row["signatures"] = texts.into();
    row["agreed"] = credit.is_ok().into();
    row["paid"] = credit.unwrap_or(0).min(terms.bond).to_string().into();
    row
}

fn terms(
    random: &mut Random,
    token: Address,
    sides: &[SigningKey; 3],
    measurers: &[SigningKey],
) -> SlaTerms {
    let count = measurers.len() as u32;
    // Any that is more than half of them and not more than all.
    let least = count / 2 + 1;
    let threshold = if count == 0 { 0 } else { least + random.u32() % (count - least + 1) };
    let interval_s = 1 + random.u32() % 600;
    let (availability_ppm, credits) = ladder(random);
    SlaTerms {
        payer: sides[0].address(),
        operator: sides[1].address(),
        payout: random.address(),
        token,
        channel: ChannelId(random.word().0),
        committed_kbps: random.u64(),
        burst_kbps: random.u64(),
        availability_ppm,
        rtt_p95_us: random.u32(),
        loss_ppm: random.u32() % 1_000_001,
        references: random.word(),
        maintenance: random.word(),
        start: u64::from(random.u32()),
        period_s: interval_s * (1 + random.u32() % 2_000),
        periods: 1 + random.u32() % 12,
        interval_s,
        claim_s: DAY_S,
        // The bond is too small for some.
        fee: 1 + random.u128() % 1_000_000_007,
        bond: 1 + random.u128() % 1_000_000_007,
        credits,
        measurers: measurers.iter().map(SigningKey::address).collect(),
        threshold,
        arbiter: if random.u64().is_multiple_of(2) { Address::ZERO } else { sides[2].address() },
        salt: random.word(),
    }
}

/// One to six steps, availability falling and credit rising.
fn ladder(random: &mut Random) -> (u32, Vec<CreditStep>) {
    let count = 1 + (random.u64() % 6) as usize;
    let mut below: Vec<u32> = Vec::new();
    let mut credit: Vec<u32> = Vec::new();
    for values in [&mut below, &mut credit] {
        while values.len() < count {
            values.push(1 + random.u32() % 1_000_000);
            values.sort_unstable();
            values.dedup();
        }
    }
    below.reverse();
    let steps = below.iter().zip(&credit);
    let steps = steps.map(|(&below_ppm, &credit_ppm)| CreditStep { below_ppm, credit_ppm });
    (below[0], steps.collect())
}

/// Each side and measurer signs or doesn't, and now and then a stranger does.
fn signatures(
    random: &mut Random,
    domain: &BondDomain,
    verdict: &Verdict,
    sides: &[SigningKey; 3],
    measurers: &[SigningKey],
) -> Vec<Signature> {
    let stranger = random.key();
    let all = sides.iter().chain(measurers).chain([&stranger]);
    let signed: Vec<Signature> = all
        .filter(|_| random.u64().is_multiple_of(2))
        .map(|key| verdict.sign(domain, key))
        .collect();
    let ordered = verdict.order(domain, &signed).expect("good signatures");
    ordered.into_iter().map(|(_, signature)| signature).collect()
}
