//! The functions of `OperatorBond` that are used here; the sources are in `deploy/contracts`.

use alloy::primitives::{Address, B256, Bytes};
use weir_usage::bond;
use weir_usage::{Digest, Signature};

use crate::chain::contracts::address;

pub use sol::{IAllowance, IOperatorBond};

mod sol {
    use alloy::sol;

    sol! {
        #[derive(Debug)]
        interface IOperatorBond {
            struct StakeTerms {
                address operator;
                address signer;
                address payout;
                address token;
                uint64 unbondDelay;
                uint64 committedKbps;
                uint32 availabilityPpm;
                bytes32 salt;
            }
            struct Stake {
                StakeTerms terms;
                uint128 active;
                uint128 unbonding;
                uint128 deposited;
                uint128 slashed;
                uint64 releaseAt;
                uint32 equivocations;
            }
            struct StreamStatement {
                bytes32 stream;
                uint64 seq;
                bytes32 content;
            }
            struct EpochStatement {
                uint64 epoch;
                bytes32 root;
                uint128 total;
            }
            struct SignedStreamStatement {
                StreamStatement statement;
                bytes signature;
            }
            struct SignedEpochStatement {
                EpochStatement statement;
                bytes signature;
            }
            struct CreditStep {
                uint32 belowPpm;
                uint32 creditPpm;
            }
            struct SlaTerms {
                address payer;
                address operator;
                address payout;
                address token;
                bytes32 channelId;
                uint64 committedKbps;
                uint64 burstKbps;
                uint32 availabilityPpm;
                uint32 rttP95Us;
                uint32 lossPpm;
                bytes32 references;
                bytes32 maintenance;
                uint64 start;
                uint32 periodSeconds;
                uint32 periods;
                uint32 intervalSeconds;
                uint32 claimSeconds;
                uint128 fee;
                uint128 bond;
                CreditStep[] credits;
                address[] measurers;
                uint32 threshold;
                address arbiter;
                bytes32 salt;
            }
            struct Verdict {
                bytes32 slaId;
                uint32 period;
                uint32 good;
                uint32 bad;
                bytes32 evidence;
            }

            function stake(StakeTerms calldata terms, uint128 amount) external returns (bytes32);
            function bond(bytes32 stakeId, uint128 amount) external;
            function unbond(bytes32 stakeId, uint128 amount) external;
            function rebond(bytes32 stakeId) external;
            function release(bytes32 stakeId) external returns (uint128);
            function stakes(bytes32 stakeId) external view returns (Stake memory);

            function commitReport(bytes32 commitment) external;
            function committedAt(bytes32 commitment) external view returns (uint256);
            function slashedFor(bytes32 stakeId, bytes32 statement) external view returns (bool);
            function slashStreamEquivocation(
                bytes32 stakeId,
                SignedStreamStatement calldata a,
                SignedStreamStatement calldata b,
                bytes32 salt
            ) external returns (uint128);
            function slashEpochEquivocation(
                bytes32 stakeId,
                SignedEpochStatement calldata a,
                SignedEpochStatement calldata b,
                bytes32 salt
            ) external returns (uint128);

            function openSla(
                SlaTerms calldata terms,
                bytes calldata payerSignature,
                bytes calldata operatorSignature
            ) external returns (bytes32);
            function fundSla(SlaTerms calldata terms, uint128 amount) external;
            function applyCredit(
                SlaTerms calldata terms,
                Verdict calldata verdict,
                bytes[] calldata signatures
            ) external returns (uint128);
            function closeSla(SlaTerms calldata terms) external returns (uint128);
            function slas(bytes32 slaId) external view returns (uint128 balance, uint8 state);
            function judgements(bytes32 slaId, uint32 period)
                external view returns (uint32 good, uint32 bad, bool made, uint128 paid);

            function payOut(address account, address token) external returns (uint256);
            function owed(address account, address token) external view returns (uint256);
            function domainSeparator() external view returns (bytes32);

            error BadTerms(string term);
            error NotSigned(address by, uint8 flaw);
            error SlaExists(bytes32 slaId);
            error NoSuchSla(bytes32 slaId);
            error NoSuchPeriod(uint32 period);
            error PeriodRuns(uint256 until);
            error NotEnoughSignatures(uint256 sides, uint256 measurers);
            error JudgedOtherwise(uint32 period);
            error VerdictsAreTakenUntil(uint256 time);
            error StakeExists(bytes32 stakeId);
            error UnknownStake(bytes32 stakeId);
            error NotOperator();
            error BadToken();
            error StakeTooLow(uint128 active, uint128 amount);
            error NothingUnbonding();
            error TooEarly(uint64 from);
            error SubjectsDiffer();
            error SameStatement();
            error NotTheSigner(uint256 statement, uint8 flaw);
            error AlreadySlashed();
            error NotCommitted(bytes32 commitment);
        }

        #[derive(Debug)]
        interface IAllowance {
            function allowance(address owner, address spender) external view returns (uint256);
        }
    }
}

pub(super) fn word(digest: Digest) -> B256 {
    B256::from(digest.0)
}

pub(super) fn bytes(signature: &Signature) -> Bytes {
    Bytes::copy_from_slice(&signature.0)
}

pub(super) fn stake_terms(terms: &bond::StakeTerms) -> IOperatorBond::StakeTerms {
    IOperatorBond::StakeTerms {
        operator: address(terms.operator),
        signer: address(terms.signer),
        payout: address(terms.payout),
        token: address(terms.token),
        unbondDelay: terms.unbond_delay_s,
        committedKbps: terms.committed_kbps,
        availabilityPpm: terms.availability_ppm,
        salt: word(terms.salt),
    }
}

/// The other way round.
pub(super) fn from_stake_terms(terms: &IOperatorBond::StakeTerms) -> bond::StakeTerms {
    bond::StakeTerms {
        operator: own(terms.operator),
        signer: own(terms.signer),
        payout: own(terms.payout),
        token: own(terms.token),
        unbond_delay_s: terms.unbondDelay,
        committed_kbps: terms.committedKbps,
        availability_ppm: terms.availabilityPpm,
        salt: Digest(terms.salt.0),
    }
}

pub(super) fn sla_terms(terms: &bond::SlaTerms) -> IOperatorBond::SlaTerms {
    let step = |step: &bond::CreditStep| IOperatorBond::CreditStep {
        belowPpm: step.below_ppm,
        creditPpm: step.credit_ppm,
    };
    IOperatorBond::SlaTerms {
        payer: address(terms.payer),
        operator: address(terms.operator),
        payout: address(terms.payout),
        token: address(terms.token),
        channelId: B256::from(terms.channel.0),
        committedKbps: terms.committed_kbps,
        burstKbps: terms.burst_kbps,
        availabilityPpm: terms.availability_ppm,
        rttP95Us: terms.rtt_p95_us,
        lossPpm: terms.loss_ppm,
        references: word(terms.references),
        maintenance: word(terms.maintenance),
        start: terms.start,
        periodSeconds: terms.period_s,
        periods: terms.periods,
        intervalSeconds: terms.interval_s,
        claimSeconds: terms.claim_s,
        fee: terms.fee,
        bond: terms.bond,
        credits: terms.credits.iter().map(step).collect(),
        measurers: terms.measurers.iter().map(|one| address(*one)).collect(),
        threshold: terms.threshold,
        arbiter: address(terms.arbiter),
        salt: word(terms.salt),
    }
}

pub(super) fn verdict(verdict: &bond::Verdict) -> IOperatorBond::Verdict {
    IOperatorBond::Verdict {
        slaId: B256::from(verdict.sla.0),
        period: verdict.period,
        good: verdict.good,
        bad: verdict.bad,
        evidence: word(verdict.evidence),
    }
}

pub(super) fn own(address: Address) -> weir_usage::Address {
    weir_usage::Address(address.into_array())
}
