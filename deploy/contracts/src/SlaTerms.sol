// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Below this availability, that much of the period's fee is owed to the payer.
struct CreditStep {
    /// Parts per million of the period's intervals.
    uint32 belowPpm;
    /// Parts per million of the fee.
    uint32 creditPpm;
}

/// What a payer and an operator agree on. Both sign it (EIP-712); the contract goes by its digest.
struct SlaTerms {
    /// Signs, and is credited.
    address payer;
    /// Signs.
    address operator;
    /// Gets back what is left of the bond.
    address payout;
    address token;
    /// The escrow channel that the service is paid from.
    bytes32 channelId;
    uint64 committedKbps;
    uint64 burstKbps;
    /// Parts per million of the intervals of a period that are to be good.
    uint32 availabilityPpm;
    uint32 rttP95Us;
    uint32 lossPpm;
    /// Hash of the list of references that the RTT is measured to.
    bytes32 references;
    /// Hash of the agreed maintenance windows, whose intervals are never bad.
    bytes32 maintenance;
    /// Unix time at which period 0 begins.
    uint64 start;
    /// Length of a period; 0 for calendar months in UTC, and then `start` begins one.
    uint32 periodSeconds;
    uint32 periods;
    /// What is judged good or bad, 60 seconds mostly. It divides the period.
    uint32 intervalSeconds;
    /// How long after the last period verdicts are taken before the bond can be had back.
    uint32 claimSeconds;
    /// Of one period; no period's credit exceeds it.
    uint128 fee;
    /// Bonded by the operator when the terms are opened.
    uint128 bond;
    /// Availability falling, credit rising.
    CreditStep[] credits;
    /// In ascending order; may be empty.
    address[] measurers;
    /// How many measurers make a verdict: more than half of them, so that two verdicts that differ
    /// show a measurer that signed both.
    uint32 threshold;
    /// Decides together with one of the sides, never alone; zero for none.
    address arbiter;
    bytes32 salt;
}

/// How many intervals of a period were good and bad. The rest is unknown: a draw, for which nobody
/// owes anything.
struct Verdict {
    bytes32 slaId;
    uint32 period;
    uint32 good;
    uint32 bad;
    /// Root of the samples and interval verdicts that it was computed from.
    bytes32 evidence;
}

/// @title EIP-712 hashes of terms and verdicts.
library SlaHash {
    bytes32 internal constant STEP_TYPEHASH =
        keccak256("CreditStep(uint32 belowPpm,uint32 creditPpm)");
    bytes32 internal constant TERMS_TYPEHASH = keccak256(
        "SlaTerms(address payer,address operator,address payout,address token,bytes32 channelId,uint64 committedKbps,uint64 burstKbps,uint32 availabilityPpm,uint32 rttP95Us,uint32 lossPpm,bytes32 references,bytes32 maintenance,uint64 start,uint32 periodSeconds,uint32 periods,uint32 intervalSeconds,uint32 claimSeconds,uint128 fee,uint128 bond,CreditStep[] credits,address[] measurers,uint32 threshold,address arbiter,bytes32 salt)CreditStep(uint32 belowPpm,uint32 creditPpm)"
    );
    bytes32 internal constant VERDICT_TYPEHASH =
        keccak256("Verdict(bytes32 slaId,uint32 period,uint32 good,uint32 bad,bytes32 evidence)");

    function hash(SlaTerms calldata t) internal pure returns (bytes32) {
        bytes32[] memory steps = new bytes32[](t.credits.length);
        for (uint256 i = 0; i < steps.length; ++i) {
            CreditStep calldata step = t.credits[i];
            steps[i] = keccak256(abi.encode(STEP_TYPEHASH, step.belowPpm, step.creditPpm));
        }
        bytes32[] memory measurers = new bytes32[](t.measurers.length);
        for (uint256 i = 0; i < measurers.length; ++i) {
            measurers[i] = bytes32(uint256(uint160(t.measurers[i])));
        }
        // In three parts, which are all whole words, because the compiler runs out of stack.
        bytes memory who = abi.encode(
            TERMS_TYPEHASH,
            t.payer,
            t.operator,
            t.payout,
            t.token,
            t.channelId,
            t.committedKbps,
            t.burstKbps,
            t.availabilityPpm
        );
        bytes memory what = abi.encode(
            t.rttP95Us,
            t.lossPpm,
            t.references,
            t.maintenance,
            t.start,
            t.periodSeconds,
            t.periods,
            t.intervalSeconds
        );
        bytes memory money = abi.encode(
            t.claimSeconds,
            t.fee,
            t.bond,
            keccak256(abi.encodePacked(steps)),
            keccak256(abi.encodePacked(measurers)),
            t.threshold,
            t.arbiter,
            t.salt
        );
        return keccak256(bytes.concat(who, what, money));
    }

    function hash(Verdict calldata v) internal pure returns (bytes32) {
        return keccak256(abi.encode(VERDICT_TYPEHASH, v.slaId, v.period, v.good, v.bad, v.evidence));
    }
}
