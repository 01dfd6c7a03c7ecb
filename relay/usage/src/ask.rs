use std::time::Duration;

use crate::{ChannelId, Digest, Domain, Error, Price, SignedVoucher, Voucher};

/// The exit says how a lane stands at the latest so long after it acknowledged records of it,
/// unless its journal stalls. A relay that was killed counts on this only with a sidecar that
/// doesn't say how far its news go: until then it gives none of the window that its last process
/// may have used.
pub const NEWS_WITHIN: Duration = Duration::from_secs(2);

/// What the exit asks a payer to sign next, for one lane of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub domain: Domain,
    pub channel: ChannelId,
    pub lane: u32,
    pub price: Price,
    /// The `seq` that the voucher must carry.
    pub seq: u64,
    /// Billable bytes from the client to targets, since the channel was opened.
    pub up_bytes: u64,
    /// Billable bytes from targets to the client, since the channel was opened.
    pub down_bytes: u64,
    /// `price` for both directions together.
    pub amount: u128,
    pub usage_head: Digest,
    /// The best voucher that the exit holds, so that a payer who lost its state can adopt it after
    /// checking its own signature.
    pub last: Option<SignedVoucher>,
}

impl Ask {
    /// Checks what the payer can check without its own counters: the amount follows from the bytes
    /// and the price.
    pub fn check_amount(&self) -> Result<(), Error> {
        let computed = self.price.amount_of(self.up_bytes, self.down_bytes)?;
        if computed != self.amount {
            return Err(Error::AskAmount { asked: self.amount, computed });
        }
        Ok(())
    }

    /// The bytes that a payer with these counts of its own agrees to: in each direction the smaller
    /// of the ask and its own count, so that it can never sign for more than it saw.
    pub fn agreed(&self, own_up_bytes: u64, own_down_bytes: u64) -> (u64, u64) {
        (self.up_bytes.min(own_up_bytes), self.down_bytes.min(own_down_bytes))
    }

    /// The voucher for `up_bytes` and `down_bytes`, ready to be signed.
    pub fn voucher(&self, up_bytes: u64, down_bytes: u64) -> Result<Voucher, Error> {
        Ok(Voucher {
            channel: self.channel,
            lane: self.lane,
            amount: self.price.amount_of(up_bytes, down_bytes)?,
            seq: self.seq,
            usage_head: self.usage_head,
        })
    }
}
