//! Whether the contract would take an agreement: `ServiceLevels._mustMakeSense`, with the reason in
//! words. What depends on the chain's clock or state (a token that is no contract, a start in the
//! far future) only the contract can say.

use super::SlaTerms;
use crate::{Address, Error};

/// As `OperatorBond.MAX_CREDIT_STEPS`.
const MAX_CREDIT_STEPS: usize = 16;
/// As `OperatorBond.MAX_MEASURERS`.
const MAX_MEASURERS: usize = 32;
/// As `OperatorBond.MAX_PERIODS`: ten years of months.
const MAX_PERIODS: u32 = 120;
/// As `OperatorBond.MAX_DURATION`.
const MAX_DURATION_S: u64 = 10 * 366 * DAY_S;
/// As `OperatorBond.MIN_CLAIM_SECONDS`.
const MIN_CLAIM_S: u32 = 86_400;
/// As `OperatorBond.MAX_CLAIM_SECONDS`.
const MAX_CLAIM_S: u32 = 365 * 86_400;
const DAY_S: u64 = 86_400;
const MILLION: u32 = 1_000_000;

impl SlaTerms {
    /// Checks everything that the contract checks and that needs no chain.
    pub fn check(&self) -> Result<(), Error> {
        let zero = Address::ZERO;
        must(self.payer != zero, "payer", "is nobody")?;
        must(self.operator != zero, "operator", "is nobody")?;
        must(self.payer != self.operator, "payer", "is the operator")?;
        let sides = [self.payer, self.operator];
        must(!sides.contains(&self.arbiter), "arbiter", "is one of the sides")?;
        must(self.payout != zero, "payout", "is nobody")?;
        must(self.token != zero, "token", "is no contract")?;
        must(self.fee != 0, "fee", "is 0: nothing could be credited")?;
        must(self.bond != 0, "bond", "is 0: nothing could be paid from it")?;
        must(self.availability_ppm <= MILLION, "availability_ppm", "is over 1,000,000")?;
        must(self.loss_ppm <= MILLION, "loss_ppm", "is over 1,000,000")?;
        let claim = (MIN_CLAIM_S..=MAX_CLAIM_S).contains(&self.claim_s);
        must(claim, "claim_s", "is not between a day and 365 days")?;
        self.check_periods()?;
        self.check_credits()?;
        self.check_measurers()
    }

    fn check_periods(&self) -> Result<(), Error> {
        must((1..=MAX_PERIODS).contains(&self.periods), "periods", "is not between 1 and 120")?;
        must(self.interval_s != 0, "interval_s", "is 0")?;
        let whole = "doesn't divide the period";
        if self.period_s == 0 {
            let begins = self.period(0)?.begins;
            must(begins == self.start, "start", "is not the first second of a UTC month")?;
            must(DAY_S.is_multiple_of(self.interval_s.into()), "interval_s", whole)?;
        } else {
            must(self.period_s.is_multiple_of(self.interval_s), "interval_s", whole)?;
            let all = u64::from(self.period_s) * u64::from(self.periods);
            must(all <= MAX_DURATION_S, "periods", "together last longer than ten years")?;
        }
        self.period(self.periods - 1).map(drop)
    }

    fn check_credits(&self) -> Result<(), Error> {
        let count = (1..=MAX_CREDIT_STEPS).contains(&self.credits.len());
        must(count, "credits", "are not between 1 and 16 steps")?;
        // A step at the promised availability is the first that makes sense.
        let (mut below, mut credit) = (self.availability_ppm + 1, 0);
        for step in &self.credits {
            let falls = step.below_ppm < below;
            must(falls, "credits", "need below_ppm falling, at most availability_ppm")?;
            must(step.credit_ppm > credit, "credits", "need credit_ppm rising from above 0")?;
            (below, credit) = (step.below_ppm, step.credit_ppm);
        }
        must(below != 0, "credits", "have a step that nothing is below")?;
        must(credit <= MILLION, "credits", "exceed the fee")
    }

    fn check_measurers(&self) -> Result<(), Error> {
        let count = self.measurers.len();
        must(count <= MAX_MEASURERS, "measurers", "are more than 32")?;
        let mut last = Address::ZERO;
        for &measurer in &self.measurers {
            must(measurer > last, "measurers", "are not in ascending order")?;
            let own = [self.payer, self.operator, self.arbiter].contains(&measurer);
            must(!own, "measurers", "must not be the payer, the operator or the arbiter")?;
            last = measurer;
        }
        let threshold = u64::from(self.threshold);
        let count = count as u64;
        let most =
            if count == 0 { threshold == 0 } else { 2 * threshold > count && threshold <= count };
        must(most, "threshold", "is not more than half of the measurers, or more than all")
    }
}

fn must(holds: bool, term: &'static str, why: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::BadTerms { term, why }) }
}
