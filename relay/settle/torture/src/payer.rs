//! A payer: signs for what it got, keeps what it signed, and catches an exit that forgets.

use weir_usage::{
    Address, Ask, ChannelId, ChannelTerms, Domain, SignedVoucher, SigningKey, VoucherOffer,
};

use crate::node::Deposit;

/// The lane of every payer's channel.
pub(crate) const LANE: u32 = 0;

/// One payer with one channel.
#[derive(Debug)]
pub(crate) struct Payer {
    /// The channel's terms.
    pub(crate) terms: ChannelTerms,
    /// The channel.
    pub(crate) channel: ChannelId,
    /// Token units paid in.
    pub(crate) deposit: u128,
    /// It takes what it is given and signs no more.
    pub(crate) is_gone: bool,
    /// Bytes that reached it, over all sessions: its own count.
    pub(crate) got_bytes: u64,
    /// The highest amount it ever signed for.
    pub(crate) signed: u128,
    /// The highest amount that the exit acknowledged.
    pub(crate) acked: u128,
    /// The most units that the exit asked for beyond what it delivered.
    pub(crate) over_asked: u64,
    /// What the exit did that it must not.
    pub(crate) complaints: Vec<String>,
    key: SigningKey,
    last: Option<SignedVoucher>,
}

impl Payer {
    /// The payer of this number, with this deposit.
    pub(crate) fn new(number: u8, deposit: u128, domain: &Domain) -> Self {
        // Any number but zero is a key.
        let key = SigningKey::from_bytes(&[number + 1; 32]).expect("a small number is a key");
        let terms = ChannelTerms {
            payer: Address([number + 1; 20]),
            signer: key.address(),
            receiver: Address([0xbb; 20]),
            token: Address([0xcc; 20]),
            withdraw_delay_s: 3600,
            salt: [number; 32],
        };
        Self {
            channel: terms.id(domain),
            terms,
            deposit,
            is_gone: false,
            got_bytes: 0,
            signed: 0,
            acked: 0,
            over_asked: 0,
            complaints: Vec::new(),
            key,
            last: None,
        }
    }

    /// Signs its vouchers, and its samples.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// What the chain knows of the channel.
    pub(crate) fn deposit(&self) -> Deposit {
        Deposit {
            channel: self.channel,
            payer: self.terms.payer,
            signer: self.terms.signer,
            receiver: self.terms.receiver,
            token: self.terms.token,
            amount: self.deposit,
        }
    }

    /// The answer to an ask, if there is something to sign for.
    pub(crate) fn answer(&mut self, ask: &Ask) -> Option<VoucherOffer> {
        if self.is_gone {
            return None;
        }
        if let Some(last) = &ask.last {
            if last.verify(&ask.domain, self.key.address()).is_err() {
                self.complaints.push("the exit shows a voucher that the payer never signed".into());
            } else if self.last.is_none_or(|mine| mine.voucher.seq < last.voucher.seq) {
                // The ack was lost, the voucher wasn't.
                self.last = Some(*last);
            }
        }
        let held = ask.last.map_or(0, |last| last.voucher.amount);
        if held < self.acked {
            self.complaints.push(format!(
                "the exit acknowledged {} and now holds a voucher of {held}",
                self.acked
            ));
        }
        // Shown is as good as acknowledged.
        self.acked = self.acked.max(held);
        let asked = ask.up_bytes.saturating_add(ask.down_bytes);
        if asked > self.got_bytes {
            self.over_asked = self.over_asked.max(asked - self.got_bytes);
            self.complaints.push(format!("asked for {asked} bytes, got {}", self.got_bytes));
            return None;
        }
        if ask.amount <= held {
            return None;
        }
        let voucher = ask.voucher(ask.up_bytes, ask.down_bytes).ok()?;
        let signed = voucher.sign(&ask.domain, &self.key);
        self.signed = self.signed.max(voucher.amount);
        self.last = Some(signed);
        Some(VoucherOffer {
            query: ask.seq,
            signed,
            up_bytes: ask.up_bytes,
            down_bytes: ask.down_bytes,
        })
    }

    /// A voucher that the exit must not take: for more than was asked, with a seq that was used, or
    /// signed by somebody else.
    pub(crate) fn forge(&self, ask: &Ask, way: u64) -> Option<VoucherOffer> {
        let mut voucher = ask.voucher(ask.up_bytes, ask.down_bytes).ok()?;
        let mut up_bytes = ask.up_bytes;
        let stranger = SigningKey::from_bytes(&[0x99; 32]).ok()?;
        let key = match way % 3 {
            0 => {
                voucher.amount += 1 << 20;
                up_bytes += 1 << 20;
                &self.key
            }
            1 => {
                voucher.seq = voucher.seq.checked_sub(1)?;
                voucher.amount = voucher.amount.checked_add(1)?;
                &self.key
            }
            _ => &stranger,
        };
        let signed = voucher.sign(&ask.domain, key);
        Some(VoucherOffer { query: ask.seq, signed, up_bytes, down_bytes: ask.down_bytes })
    }
}
