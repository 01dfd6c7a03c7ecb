//! What others do on the chain: whoever else has the wallet's key, challengers, and payers that
//! leave.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::SolCall;
use weir_settle::chain::challenge::IChallenges;
use weir_settle::chain::contracts::IUsageAnchor;
use weir_usage::ChannelId;

use super::{Node, RICH_FEE, Tx};

/// What the intruder anchors under: the journal knows nothing of it.
pub const FOREIGN_EPOCH: u64 = 1 << 62;

impl Node {
    /// Somebody else with the same key uses the next nonce, and may anchor with it.
    pub fn intrude(&mut self, anchors: bool) {
        let from = self.wallet;
        let nonce = self.world().nonces.get(&from).copied().unwrap_or(0);
        let root = B256::repeat_byte(0x66);
        let anchor = IUsageAnchor::anchorCall { epoch: FOREIGN_EPOCH, root, total: 1 };
        let (to, input) = match anchors {
            true => (self.anchor, anchor.abi_encode().into()),
            false => (Address::ZERO, Bytes::new()),
        };
        let hash = keccak256(format!("intruder {nonce} {}", self.forks));
        let tx = Tx { hash, from, nonce, max_fee: RICH_FEE, to, input, value: 0 };
        self.pool.insert(0, tx);
        let stalled = std::mem::take(&mut self.stalled);
        self.mine();
        self.stalled = stalled;
    }

    /// Somebody pays `fee` wei to be shown a leaf of the wallet's, as soon as there is a block.
    pub fn challenge(&mut self, epoch: u64, fee: u128) {
        self.challengers += 1;
        // Each from an account of its own, so that one that is lost holds no other up.
        let from = Address::from_word(keccak256(format!("challenger {}", self.challengers)));
        let call = IChallenges::challengeLeafCall { exit: self.wallet, epoch };
        self.stranger(from, call.abi_encode(), fee);
    }

    /// Somebody has it recorded that a challenge went unanswered, as soon as there is a block.
    pub fn record_unanswered(&mut self, challenge: u64) {
        let from = Address::from_word(keccak256(format!("recorder of {challenge}")));
        let challenge = U256::from(challenge);
        let call = IChallenges::expireChallengeCall { challengeId: challenge };
        self.stranger(from, call.abi_encode(), 0);
    }

    /// A transaction of an account that has made none before.
    fn stranger(&mut self, from: Address, input: Vec<u8>, value: u128) {
        self.pool.push(Tx {
            hash: keccak256(from),
            from,
            nonce: 0,
            max_fee: RICH_FEE,
            to: self.anchor,
            input: input.into(),
            value,
        });
    }

    /// A payer begins to leave: what it owes after `seconds` is lost.
    pub fn leave(&mut self, channel: ChannelId, seconds: u64) {
        let at = self.time() + seconds;
        let tip = self.blocks.last_mut().and_then(|block| block.after.as_mut());
        tip.expect("the newest state is kept").leave(channel, at);
    }
}
