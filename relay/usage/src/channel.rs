use crate::{Address, ChannelId, Domain, Keccak};

/// What a channel is: the arguments of `ExitEscrow.openChannel`. They never change, because the
/// channel's name is their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelTerms {
    /// Who opened the channel and gets the remainder.
    pub payer: Address,
    /// Whose signature makes a voucher: the payer's session key.
    pub signer: Address,
    /// Who is paid. A thief of the claiming key can't change it.
    pub receiver: Address,
    /// The ERC-20 token.
    pub token: Address,
    /// Seconds between the payer's `initiateWithdraw` and `finalizeWithdraw`: the receiver's time
    /// to claim.
    pub withdraw_delay_s: u64,
    /// Tells apart channels that are otherwise the same.
    pub salt: [u8; 32],
}

impl ChannelTerms {
    /// `keccak256(abi.encode(payer, signer, receiver, token, withdrawDelay, salt, chainid,
    /// contract))`, as `ExitEscrow.channelIdOf` computes it.
    pub fn id(&self, domain: &Domain) -> ChannelId {
        let hash = Keccak::default()
            .update(&self.payer.word())
            .update(&self.signer.word())
            .update(&self.receiver.word())
            .update(&self.token.word())
            .word(self.withdraw_delay_s.into())
            .update(&self.salt)
            .word(domain.chain_id.into())
            .update(&domain.escrow.word())
            .finish();
        ChannelId(hash.0)
    }
}
