//! The payer's arithmetic: what to sign, given an ask and the own counts. No I/O, no clock.

#[cfg(test)]
mod tests;

use std::time::Instant;

use weir_usage::{Address, Ask, ChannelId, Domain, Price, Voucher};

use super::state::{Day, Paid, State};
use super::watch::{Tolerance, Watch};
use crate::Budget;

/// What was agreed, from the configuration.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Chain and escrow contract.
    pub domain: Domain,
    /// The payer's channel with the exit.
    pub channel: ChannelId,
    /// The lane of the channel.
    pub lane: u32,
    /// The highest price accepted.
    pub price_max: Price,
    /// What may be signed at most.
    pub budget: Budget,
}

/// What an ask leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing new to pay for.
    Nothing,
    /// Sign this.
    Sign { voucher: Voucher, bytes: (u64, u64) },
    /// The relay does not hold the last voucher: send it again.
    Resend(Paid),
}

/// Why an ask is not paid. The relay's fault, or the configuration's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Of another chain or contract.
    #[error(
        "the relay asks for chain {asked_chain} escrow {asked_escrow}, configured are chain \
         {own_chain} escrow {own_escrow}; nothing is signed"
    )]
    Domain { asked_chain: u64, asked_escrow: Address, own_chain: u64, own_escrow: Address },
    /// Of another channel or lane.
    #[error(
        "the relay asks for channel {asked} lane {asked_lane}, configured are channel {own} lane \
         {own_lane}; nothing is signed"
    )]
    Channel { asked: ChannelId, asked_lane: u32, own: ChannelId, own_lane: u32 },
    /// Dearer than agreed.
    #[error(
        "the relay's price of {asked} is above the configured ceiling of {ceiling}; nothing is \
         signed"
    )]
    Price { asked: Price, ceiling: Price },
    /// The amount doesn't follow from price and bytes.
    #[error("the relay's ask does not add up: {0}; nothing is signed")]
    Amount(weir_usage::Error),
    /// What the exit holds is not of this payer.
    #[error("the relay shows a last voucher that this key did not sign: {0}; nothing is signed")]
    ForeignVoucher(weir_usage::Error),
    /// The exit forgot a voucher that it had taken.
    #[error(
        "the relay asks for sequence number {asked}, but {signed} is signed already; nothing is \
         signed"
    )]
    Sequence { asked: u64, signed: u64 },
    /// Bytes that are paid would be paid again.
    #[error(
        "the relay asks for {asked} units in all, but at its price of {price} the bytes since the \
         last voucher of {signed} units are worth {worth}: it bills again for what is paid; \
         nothing is signed"
    )]
    Rebilled { asked: u128, price: Price, signed: u128, worth: u128 },
    /// What the exit holds is of another lane.
    #[error(
        "the relay shows a last voucher of channel {channel} lane {lane} for another one; nothing \
         is signed"
    )]
    OtherLane { channel: ChannelId, lane: u32 },
    /// More than may be spent.
    #[error(
        "the budget {span} is {budget} units and the relay's ask would make it {would}; nothing is \
         signed"
    )]
    Budget { span: &'static str, budget: u128, would: u128 },
}

impl Terms {
    /// Whether an ask is what was agreed, as far as it can be told without own counts.
    ///
    /// # Errors
    /// [`Objection`].
    pub fn check(&self, ask: &Ask) -> Result<(), Objection> {
        if ask.domain != self.domain {
            return Err(Objection::Domain {
                asked_chain: ask.domain.chain_id,
                asked_escrow: ask.domain.escrow,
                own_chain: self.domain.chain_id,
                own_escrow: self.domain.escrow,
            });
        }
        if (ask.channel, ask.lane) != (self.channel, self.lane) {
            return Err(Objection::Channel {
                asked: ask.channel,
                asked_lane: ask.lane,
                own: self.channel,
                own_lane: self.lane,
            });
        }
        if ask.price > self.price_max {
            return Err(Objection::Price { asked: ask.price, ceiling: self.price_max });
        }
        ask.check_amount().map_err(Objection::Amount)
    }
}

impl Objection {
    /// Whether it is about what was agreed, so that nothing should be used that can't be paid.
    pub fn is_about_terms(&self) -> bool {
        matches!(
            self,
            Objection::Domain { .. } | Objection::Channel { .. } | Objection::Price { .. }
        )
    }

    /// What who configured the payer may do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Objection::Domain { .. } | Objection::Channel { .. } => {
                "compare the payer's channel, lane, chain and escrow with what the operator says"
            }
            Objection::Price { .. } => "use another exit, or agree to its price: --payer-price-max",
            Objection::Budget { .. } => "raise the budget: --payer-budget, --payer-budget-day",
            _ => "ask the exit's operator",
        }
    }
}

/// All that decides about money.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) terms: Terms,
    /// The address of the own key.
    signer: Address,
    /// Own counts of earlier runs of this client.
    base: (u64, u64),
    last: Option<Paid>,
    day: Day,
    /// Bytes that may still be taken on the relay's word, because the own count of them was lost.
    allowance: u64,
    /// Cumulative bytes of the lane, both directions together, that may be taken on the relay's
    /// word because this payer sold them to others as blind tokens.
    vouched: u64,
    watch: Watch,
    /// The relay refused this voucher; sending it again would not help.
    rejected_seq: Option<u64>,
}

impl Book {
    /// Starts from a saved state. The allowance counts only if the last run did not end cleanly.
    pub(crate) fn new(
        terms: Terms,
        signer: Address,
        state: &State,
        crash_allowance: u64,
        tolerance: Tolerance,
    ) -> Book {
        Book {
            terms,
            signer,
            base: (state.up_bytes, state.down_bytes),
            last: state.paid,
            day: state.day,
            allowance: if state.clean { 0 } else { crash_allowance },
            vouched: 0,
            watch: Watch::new(tolerance, state.clean),
            rejected_seq: None,
        }
    }

    /// Tells the number of the UTC day. A clock that was set back begins no new one, so it doesn't
    /// give the day's budget a second time.
    pub(crate) fn begin_day(&mut self, number: u64) {
        if number > self.day.number {
            let before = self.last.map_or(0, |last| last.signed.voucher.amount);
            self.day = Day { number, before };
        }
    }

    /// Sets how many bytes were sold since the lane began.
    pub(crate) fn vouch(&mut self, bytes: u64) {
        self.vouched = bytes;
    }

    /// Own cumulative counts.
    pub(crate) fn own(&self, since_start: (u64, u64)) -> (u64, u64) {
        // What a recovered signature stands for is up to the relay's ask, and may be near the end.
        (self.base.0.saturating_add(since_start.0), self.base.1.saturating_add(since_start.1))
    }

    pub(crate) fn last(&self) -> Option<&Paid> {
        self.last.as_ref()
    }

    /// Own counts that are not of this run.
    pub(crate) fn base(&self) -> (u64, u64) {
        self.base
    }

    pub(crate) fn day(&self) -> Day {
        self.day
    }

    /// This was signed. That the exit refused another one with its sequence number says nothing
    /// about this one.
    pub(crate) fn record(&mut self, paid: Paid) {
        self.rejected_seq = None;
        self.last = Some(paid.after(self.last));
    }

    pub(crate) fn accepted(&mut self, seq: u64) {
        if let Some(last) = self.last.as_mut().filter(|last| last.signed.voucher.seq == seq) {
            last.accepted = true;
        }
    }

    pub(crate) fn rejected(&mut self, seq: u64) {
        self.rejected_seq = Some(seq);
    }

    /// How the relay's counts stand to the own ones.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Checks an ask against the terms and the own counts. Never agrees to more than the own count
    /// in either direction, nor to less than was signed before.
    pub(crate) fn consider(
        &mut self,
        ask: &Ask,
        since_start: (u64, u64),
        now: Instant,
    ) -> Result<Decision, Objection> {
        self.terms.check(ask)?;
        self.check_last(ask, since_start)?;
        self.recover(ask, since_start);
        let own = self.own(since_start);
        self.watch.compare((ask.up_bytes, ask.down_bytes), own, now);
        let relay_seq = ask.last.map_or(0, |last| last.voucher.seq);
        if let Some(last) = self.last
            && last.signed.voucher.seq > relay_seq
            && self.rejected_seq != Some(last.signed.voucher.seq)
        {
            return Ok(Decision::Resend(last));
        }
        let bytes = ask.agreed(own.0, own.1);
        let voucher = ask.voucher(bytes.0, bytes.1).map_err(Objection::Amount)?;
        let refused = self.last.filter(|last| last.signed.voucher.seq > relay_seq);
        if let Some(refused) = refused
            && refused.signed.voucher.amount == voucher.amount
        {
            // Why it was refused may be over: a deposit that was too small, an ask that the exit
            // had forgotten. The relay stops who doesn't pay, so the counts need not move again.
            return Ok(if refused.signed.voucher == voucher {
                Decision::Resend(refused)
            } else {
                Decision::Sign { voucher, bytes }
            });
        }
        let signed = self.last.map(|last| last.signed.voucher);
        if voucher.amount <= signed.map_or(0, |signed| signed.amount) {
            return Ok(Decision::Nothing);
        }
        if let Some(signed) = signed.filter(|signed| voucher.seq <= signed.seq)
            && self.rejected_seq != Some(signed.seq)
        {
            return Err(Objection::Sequence { asked: voucher.seq, signed: signed.seq });
        }
        self.check_increment(ask, bytes, voucher.amount)?;
        self.check_budget(voucher.amount)?;
        Ok(Decision::Sign { voucher, bytes })
    }

    /// A voucher adds what the bytes since the last one are worth, at today's price. An ask is
    /// price times all bytes, so without this a price that rises below the ceiling would bill again
    /// for what is paid; and a relay could show the own voucher at a tiny price to a payer without
    /// state, have its bytes taken for many, and bill those at the ceiling.
    fn check_increment(&self, ask: &Ask, bytes: (u64, u64), amount: u128) -> Result<(), Objection> {
        let Some(last) = self.last else { return Ok(()) };
        let total = |bytes: (u64, u64)| u128::from(bytes.0) + u128::from(bytes.1);
        let fresh = total(bytes).saturating_sub(total(last.bytes));
        // Rounded up: both sums were rounded down, so the difference may be one unit more.
        let worth = fresh
            .checked_mul(ask.price.units_per_gib())
            .map_or(u128::MAX, |scaled| scaled.div_ceil(1 << 30));
        let signed = last.signed.voucher.amount;
        if amount > signed.saturating_add(worth) {
            return Err(Objection::Rebilled { asked: amount, price: ask.price, signed, worth });
        }
        Ok(())
    }

    fn check_budget(&self, amount: u128) -> Result<(), Objection> {
        let today = amount.saturating_sub(self.day.before);
        let Budget { total, per_day } = self.terms.budget;
        for (span, budget, would) in [("in all", total, amount), ("of a day", per_day, today)] {
            if let Some(budget) = budget.filter(|budget| would > *budget) {
                return Err(Objection::Budget { span, budget, would });
            }
        }
        Ok(())
    }

    /// The relay's last voucher must be ours. If it is worth more than the last we know of, our
    /// state was lost: what it pays for counts as ours from now on.
    fn check_last(&mut self, ask: &Ask, since_start: (u64, u64)) -> Result<(), Objection> {
        let Some(held) = ask.last else { return Ok(()) };
        held.verify(&self.terms.domain, self.signer).map_err(Objection::ForeignVoucher)?;
        let (channel, lane) = (held.voucher.channel, held.voucher.lane);
        if (channel, lane) != (self.terms.channel, self.terms.lane) {
            return Err(Objection::OtherLane { channel, lane });
        }
        if let Some(last) = self.last.as_mut()
            && last.signed.voucher == held.voucher
        {
            last.accepted = true;
        }
        let known = self.last.map_or(0, |last| last.signed.voucher.amount);
        if held.voucher.amount > known {
            let bytes = paid_bytes(ask, since_start, held.voucher.amount);
            self.base = (self.base.0.max(bytes.0), self.base.1.max(bytes.1));
            self.record(Paid { signed: held, bytes, accepted: true });
            // On which day it was signed is lost with the state.
            self.day.before = self.day.before.saturating_add(held.voucher.amount - known);
        }
        Ok(())
    }

    /// Once per start, after a crash or loss of state: bytes that nobody but the relay can know
    /// of are taken on its word, up to the allowance.
    fn recover(&mut self, ask: &Ask, since_start: (u64, u64)) {
        let own = self.own(since_start);
        let missing = (ask.up_bytes.saturating_sub(own.0), ask.down_bytes.saturating_sub(own.1));
        let allowance = std::mem::take(&mut self.allowance);
        if missing.0.saturating_add(missing.1) <= allowance {
            self.base = (self.base.0 + missing.0, self.base.1 + missing.1);
            return;
        }
        // Both sides of the bound are cumulative, so no restart gives anything away twice.
        let room = self.vouched.saturating_sub(self.base.0.saturating_add(self.base.1));
        let up = missing.0.min(room);
        let down = missing.1.min(room - up);
        self.base = (self.base.0 + up, self.base.1 + down);
    }
}

/// The fewest bytes that cost `amount` at the ask's price: what our own signature proves that we
/// received. A voucher does not say how they are spread over the directions; what the relay counted
/// before this start does.
fn paid_bytes(ask: &Ask, since_start: (u64, u64), amount: u128) -> (u64, u64) {
    let before =
        (ask.up_bytes.saturating_sub(since_start.0), ask.down_bytes.saturating_sub(since_start.1));
    // floor(n * price / 2^30) reaches the amount at n = ceil(amount * 2^30 / price).
    let price = ask.price.units_per_gib();
    let total = match amount.checked_mul(1 << 30) {
        Some(scaled) if price > 0 => u64::try_from(scaled.div_ceil(price)).unwrap_or(u64::MAX),
        _ => u64::MAX,
    };
    let up = before.0.min(total);
    (up, before.1.min(total - up))
}
