//! Is this voucher worth money?

use weir_usage::{Domain, Funding, Refusal, VoucherOffer};

use super::lane::Lane;

/// What to do with a voucher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Journal it, then ack it.
    Accept,
    /// It is the one that is held: ack it again.
    Held,
    /// Tell the payer why not.
    Refuse(Refused),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// For programs.
    pub refusal: Refusal,
    /// For people.
    pub reason: String,
}

/// Checks a voucher against the lane and what was asked for on it.
pub(super) fn verify(domain: &Domain, lane: Option<&Lane>, offer: &VoucherOffer) -> Verdict {
    match check(domain, lane, offer) {
        Ok(verdict) => verdict,
        Err((refusal, reason)) => Verdict::Refuse(Refused { refusal, reason }),
    }
}

fn check(
    domain: &Domain,
    lane: Option<&Lane>,
    offer: &VoucherOffer,
) -> Result<Verdict, (Refusal, String)> {
    let voucher = &offer.signed.voucher;
    let (lane, price) = lane
        .and_then(|lane| Some((lane, lane.price?)))
        .ok_or_else(|| (Refusal::UnknownChannel, "this exit has no such channel lane".into()))?;

    // Before anything else, so that only the payer learns where its lane stands.
    offer.signed.verify(domain, lane.signer).map_err(|e| {
        (Refusal::Signature, format!("{e}; chain {}, escrow {}", domain.chain_id, domain.escrow))
    })?;

    if let Some(held) = &lane.accepted {
        // By content, never by signature bytes.
        if held.signed.voucher == *voucher {
            return Ok(Verdict::Held);
        }
    }
    let next = lane.next_seq();
    if voucher.seq != next {
        return Err((
            Refusal::StaleSeq,
            format!("seq is {}, the next one of this lane is {next}", voucher.seq),
        ));
    }
    if voucher.amount < lane.vouchered() {
        return Err((
            Refusal::AmountFell,
            format!("amount {} is below {}, which is held", voucher.amount, lane.vouchered()),
        ));
    }
    if price.amount_of(offer.up_bytes, offer.down_bytes) != Ok(voucher.amount) {
        return Err((
            Refusal::AmountMismatch,
            format!(
                "amount {} is not {} + {} bytes at {price}",
                voucher.amount, offer.up_bytes, offer.down_bytes
            ),
        ));
    }
    let asked = lane.asked_under(&voucher.usage_head).ok_or_else(|| {
        (
            Refusal::UsageHead,
            "usage_head is none of those asked for lately; fetch the ask again".into(),
        )
    })?;
    if offer.up_bytes > asked.up_bytes || offer.down_bytes > asked.down_bytes {
        return Err((
            Refusal::BeyondAsk,
            format!(
                "signed for {} + {} bytes, asked for {} + {}",
                offer.up_bytes, offer.down_bytes, asked.up_bytes, asked.down_bytes
            ),
        ));
    }
    // While a payer withdraws, a voucher is as good as ever, and more urgent.
    if lane.funding == Funding::Missing {
        return Err((Refusal::Closing, "the channel is not open on chain".into()));
    }
    if let Some(spendable) = lane.spendable
        && voucher.amount > spendable
    {
        return Err((
            Refusal::Unfunded,
            format!("amount {} exceeds the {spendable} that the deposit covers", voucher.amount),
        ));
    }
    Ok(Verdict::Accept)
}
