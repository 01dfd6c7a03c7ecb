//! Random messages of the `OperatorBond` contract.

use serde_json::{Value, json};
use weir_usage::bond::{
    BondDomain, CreditStep, EpochStatement, SlaTerms, StakeTerms, Statement, StreamStatement,
    Verdict, report_commitment,
};
use weir_usage::{ChannelId, Digest, SigningKey, SlaId};

use crate::random::Random;
use crate::verdict as judged;

/// Files and their rows.
pub(crate) fn rows(random: &mut Random, count: u64) -> [(&'static str, Vec<Value>); 7] {
    let domain = BondDomain { chain_id: 31_337, bond: random.address() };
    let mut about = json!({
        "bond": domain.bond.to_string(),
        "chainId": domain.chain_id,
        "separator": domain.separator().to_string(),
    });
    let token = random.address();
    about["token"] = token.to_string().into();
    let rows = (0..count).map(|_| judged::row(random, &domain, token)).collect();
    let mut many = |row: fn(&mut Random, &BondDomain) -> Value| -> Vec<Value> {
        (0..count).map(|_| row(random, &domain)).collect()
    };
    [
        ("bond.jsonl", vec![about]),
        ("terms.jsonl", many(terms)),
        ("judged.jsonl", rows),
        ("verdicts.jsonl", many(verdict)),
        ("streams.jsonl", many(stream)),
        ("epochs.jsonl", many(epoch)),
        ("stakes.jsonl", many(stake)),
    ]
}

fn terms(random: &mut Random, domain: &BondDomain) -> Value {
    let credits: Vec<CreditStep> = (0..random.u64() % 4).map(|_| step(random)).collect();
    let measurers = (0..random.u64() % 4).map(|_| random.address()).collect();
    let periods = 1 + random.u32() % 120;
    let terms = SlaTerms {
        payer: random.address(),
        operator: random.address(),
        payout: random.address(),
        token: random.address(),
        channel: ChannelId(random.word().0),
        committed_kbps: random.u64(),
        burst_kbps: random.u64(),
        availability_ppm: random.u32(),
        rtt_p95_us: random.u32(),
        loss_ppm: random.u32(),
        references: random.word(),
        maintenance: random.word(),
        // Up to about the year 36,000.
        start: random.u64() >> 24,
        // Half of them are calendar months.
        period_s: (random.u64() % 2) as u32 * random.u32(),
        periods,
        interval_s: 1 + random.u32() % 600,
        claim_s: random.u32(),
        fee: random.u128(),
        bond: random.u128(),
        credits,
        measurers,
        threshold: random.u32(),
        arbiter: random.address(),
        salt: random.word(),
    };
    let period = random.u32() % periods;
    let lasts = terms.period(period).expect("the year 36,000 fits 64 bits");
    let intervals = u64::from(random.u32());
    let bad = random.u64() % (intervals + 1);
    let credit = terms.credit(intervals, bad).expect("no step credits more than the fee");
    let mut row = terms_row(&terms, domain);
    row["period"] = period.into();
    row["begins"] = lasts.begins.to_string().into();
    row["ends"] = lasts.ends.to_string().into();
    row["intervals"] = intervals.to_string().into();
    row["bad"] = bad.to_string().into();
    row["credit"] = credit.to_string().into();
    row
}

/// An agreement and its name.
pub(crate) fn terms_row(terms: &SlaTerms, domain: &BondDomain) -> Value {
    let below: Vec<u32> = terms.credits.iter().map(|step| step.below_ppm).collect();
    let credits: Vec<u32> = terms.credits.iter().map(|step| step.credit_ppm).collect();
    let measurers: Vec<String> = terms.measurers.iter().map(|one| one.to_string()).collect();
    json!({
        "payer": terms.payer.to_string(),
        "operator": terms.operator.to_string(),
        "payout": terms.payout.to_string(),
        "token": terms.token.to_string(),
        "channelId": terms.channel.to_string(),
        "committedKbps": terms.committed_kbps.to_string(),
        "burstKbps": terms.burst_kbps.to_string(),
        "availabilityPpm": terms.availability_ppm,
        "rttP95Us": terms.rtt_p95_us,
        "lossPpm": terms.loss_ppm,
        "references": terms.references.to_string(),
        "maintenance": terms.maintenance.to_string(),
        "start": terms.start.to_string(),
        "periodSeconds": terms.period_s,
        "periods": terms.periods,
        "intervalSeconds": terms.interval_s,
        "claimSeconds": terms.claim_s,
        "fee": terms.fee.to_string(),
        "bond": terms.bond.to_string(),
        "creditsBelow": below,
        "creditsPpm": credits,
        "measurers": measurers,
        "threshold": terms.threshold,
        "arbiter": terms.arbiter.to_string(),
        "salt": terms.salt.to_string(),
        "slaId": terms.id(domain).to_string(),
    })
}

fn step(random: &mut Random) -> CreditStep {
    CreditStep { below_ppm: random.u32() % 1_000_001, credit_ppm: random.u32() % 1_000_001 }
}

fn verdict(random: &mut Random, domain: &BondDomain) -> Value {
    let verdict = Verdict {
        sla: SlaId(random.word().0),
        period: random.u32(),
        good: random.u32(),
        bad: random.u32(),
        evidence: random.word(),
    };
    json!({
        "slaId": verdict.sla.to_string(),
        "period": verdict.period,
        "good": verdict.good,
        "bad": verdict.bad,
        "evidence": verdict.evidence.to_string(),
        "digest": verdict.digest(domain).to_string(),
    })
}

fn stream(random: &mut Random, domain: &BondDomain) -> Value {
    let statement =
        StreamStatement { stream: random.word(), seq: random.u64(), content: random.word() };
    let fields = json!({
        "stream": statement.stream.to_string(),
        "seq": statement.seq.to_string(),
        "content": statement.content.to_string(),
    });
    signed(random.key(), domain, statement, fields)
}

fn epoch(random: &mut Random, domain: &BondDomain) -> Value {
    let statement =
        EpochStatement { epoch: random.u64(), root: random.word(), total: random.u128() };
    let fields = json!({
        "epoch": statement.epoch.to_string(),
        "root": statement.root.to_string(),
        "total": statement.total.to_string(),
    });
    signed(random.key(), domain, statement, fields)
}

fn signed<S: Statement>(key: SigningKey, domain: &BondDomain, said: S, mut row: Value) -> Value {
    row["subject"] = said.subject().to_string().into();
    row["digest"] = said.digest(domain).to_string().into();
    row["signature"] = said.sign(domain, &key).signature.to_string().into();
    row["signer"] = key.address().to_string().into();
    row
}

fn stake(random: &mut Random, domain: &BondDomain) -> Value {
    let terms = StakeTerms {
        operator: random.address(),
        signer: random.address(),
        payout: random.address(),
        token: random.address(),
        unbond_delay_s: random.u64(),
        committed_kbps: random.u64(),
        availability_ppm: random.u32(),
        salt: random.word(),
    };
    let (reporter, subject, secret) = (random.address(), random.word(), random.word());
    let id = terms.id(domain);
    json!({
        "operator": terms.operator.to_string(),
        "signer": terms.signer.to_string(),
        "payout": terms.payout.to_string(),
        "token": terms.token.to_string(),
        "unbondDelay": terms.unbond_delay_s.to_string(),
        "committedKbps": terms.committed_kbps.to_string(),
        "availabilityPpm": terms.availability_ppm,
        "salt": terms.salt.to_string(),
        "id": id.to_string(),
        "reporter": reporter.to_string(),
        "subject": subject.to_string(),
        "secret": Digest(secret.0).to_string(),
        "commitment": report_commitment(reporter, id, &subject, &secret.0).to_string(),
    })
}
