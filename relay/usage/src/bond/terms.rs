use super::BondDomain;
use crate::{Address, ChannelId, Digest, Keccak, Signature, SigningKey, SlaId, keccak256};

const STEP_TYPE: &[u8] = b"CreditStep(uint32 belowPpm,uint32 creditPpm)";
const TERMS_TYPE: &[u8] = b"SlaTerms(address payer,address operator,address payout,address token,\
bytes32 channelId,uint64 committedKbps,uint64 burstKbps,uint32 availabilityPpm,uint32 rttP95Us,\
uint32 lossPpm,bytes32 references,bytes32 maintenance,uint64 start,uint32 periodSeconds,\
uint32 periods,uint32 intervalSeconds,uint32 claimSeconds,uint128 fee,uint128 bond,\
CreditStep[] credits,address[] measurers,uint32 threshold,address arbiter,bytes32 salt)\
CreditStep(uint32 belowPpm,uint32 creditPpm)";

/// Below this availability, that much of the period's fee is owed to the payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct CreditStep {
    /// Parts per million of the period's intervals.
    pub below_ppm: u32,
    /// Parts per million of the fee.
    pub credit_ppm: u32,
}

/// What a payer and an operator agree on: the arguments of `OperatorBond.openSla`. Both sign it,
/// and its digest is the agreement's name. [`SlaTerms::check`] says whether the contract takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct SlaTerms {
    /// Signs, and is credited.
    pub payer: Address,
    /// Signs.
    pub operator: Address,
    /// Gets back what is left of the bond.
    pub payout: Address,
    pub token: Address,
    /// The escrow channel that the service is paid from.
    pub channel: ChannelId,
    pub committed_kbps: u64,
    pub burst_kbps: u64,
    /// Parts per million of the intervals of a period that are to be good.
    pub availability_ppm: u32,
    pub rtt_p95_us: u32,
    pub loss_ppm: u32,
    /// Hash of the list of references that the RTT is measured to.
    #[cfg_attr(feature = "serde", serde(default))]
    pub references: Digest,
    /// Hash of the agreed maintenance windows, whose intervals are never bad.
    #[cfg_attr(feature = "serde", serde(default))]
    pub maintenance: Digest,
    /// Unix time in seconds at which period 0 begins.
    pub start: u64,
    /// Length of a period; 0 for calendar months in UTC, and then `start` begins one.
    pub period_s: u32,
    pub periods: u32,
    /// What is judged good or bad, 60 seconds mostly. It divides the period.
    pub interval_s: u32,
    /// How long after the last period verdicts are taken before the bond can be had back.
    pub claim_s: u32,
    /// Of one period, in token units; no period's credit exceeds it.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::amount"))]
    pub fee: u128,
    /// Bonded by the operator when the agreement is opened, in token units.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::amount"))]
    pub bond: u128,
    /// Availability falling, credit rising.
    pub credits: Vec<CreditStep>,
    /// In ascending order; may be empty.
    #[cfg_attr(feature = "serde", serde(default))]
    pub measurers: Vec<Address>,
    /// How many measurers make a verdict: more than half of them; 0 if there are none.
    #[cfg_attr(feature = "serde", serde(default))]
    pub threshold: u32,
    /// Decides together with one of the sides, never alone; zero for none.
    #[cfg_attr(feature = "serde", serde(default))]
    pub arbiter: Address,
    /// Tells apart agreements that are otherwise the same.
    #[cfg_attr(feature = "serde", serde(default))]
    pub salt: Digest,
}

impl SlaTerms {
    /// The EIP-712 `hashStruct`.
    pub fn struct_hash(&self) -> Digest {
        let credits = self.credits.iter().fold(Keccak::default(), |all, step| {
            let step = Keccak::default()
                .update(&keccak256(STEP_TYPE).0)
                .word(step.below_ppm.into())
                .word(step.credit_ppm.into());
            all.update(&step.finish().0)
        });
        let measurers =
            self.measurers.iter().fold(Keccak::default(), |all, one| all.update(&one.word()));
        Keccak::default()
            .update(&keccak256(TERMS_TYPE).0)
            .update(&self.payer.word())
            .update(&self.operator.word())
            .update(&self.payout.word())
            .update(&self.token.word())
            .update(&self.channel.0)
            .word(self.committed_kbps.into())
            .word(self.burst_kbps.into())
            .word(self.availability_ppm.into())
            .word(self.rtt_p95_us.into())
            .word(self.loss_ppm.into())
            .update(&self.references.0)
            .update(&self.maintenance.0)
            .word(self.start.into())
            .word(self.period_s.into())
            .word(self.periods.into())
            .word(self.interval_s.into())
            .word(self.claim_s.into())
            .word(self.fee)
            .word(self.bond)
            .update(&credits.finish().0)
            .update(&measurers.finish().0)
            .word(self.threshold.into())
            .update(&self.arbiter.word())
            .update(&self.salt.0)
            .finish()
    }

    /// The agreement's name, as `OperatorBond.slaIdOf` computes it: also what both sides sign.
    pub fn id(&self, domain: &BondDomain) -> SlaId {
        SlaId(self.digest(domain).0)
    }

    /// What both sides sign (EIP-712).
    pub fn digest(&self, domain: &BondDomain) -> Digest {
        domain.digest(&self.struct_hash())
    }

    /// Signs the terms, as the payer or as the operator.
    pub fn sign(&self, domain: &BondDomain, key: &SigningKey) -> Signature {
        key.sign(&self.digest(domain))
    }
}
