// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../lab/TestToken.sol";
import {OperatorBond} from "../../src/OperatorBond.sol";
import {CreditStep, SlaTerms, Verdict} from "../../src/SlaTerms.sol";
import {Stakes} from "../../src/Stakes.sol";
import {
    EpochStatement,
    SignedEpochStatement,
    SignedStreamStatement,
    StreamStatement
} from "../../src/Statements.sol";
import {Test} from "./Test.sol";

/// One bond contract, one token, one operator with a usage key, one payer, three measurers.
abstract contract BondFixture is Test {
    uint256 internal constant GROUP_ORDER =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint256 internal constant USAGE_KEY = 0x05A6E;
    uint256 internal constant PAYER_KEY = 0xBA1;
    uint256 internal constant OPERATOR_KEY = 0x0BE8;
    uint256 internal constant ARBITER_KEY = 0xA8B;
    uint256 internal constant STRANGER_KEY = 0x578;
    address internal constant OPERATOR_PAYOUT = address(0xCA54);
    address internal constant REPORTER = address(0x8E60);
    address internal constant ANYBODY = address(0xA4B);
    address internal constant BURNED = 0x000000000000000000000000000000000000dEaD;
    uint64 internal constant DELAY = 7 days;
    /// The first second of March 2026.
    uint64 internal constant MARCH = 1_772_323_200;
    uint128 internal constant FEE = 1_000_000;
    uint128 internal constant BOND = 1_500_000;

    OperatorBond internal bond;
    TestToken internal token;
    address internal operator;
    address internal payer;
    /// Measurers' keys, in ascending order of their addresses.
    uint256[3] internal measurerKeys;

    function setUp() public virtual {
        bond = new OperatorBond();
        token = new TestToken();
        operator = vm.addr(OPERATOR_KEY);
        payer = vm.addr(PAYER_KEY);
        measurerKeys = [uint256(0x3EA1), 0x3EA2, 0x3EA3];
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = i + 1; j < 3; ++j) {
                if (vm.addr(measurerKeys[j]) < vm.addr(measurerKeys[i])) {
                    (measurerKeys[i], measurerKeys[j]) = (measurerKeys[j], measurerKeys[i]);
                }
            }
        }
        vm.warp(MARCH - 10 days);
        vm.roll(1_000);
        fund(operator, 1e30);
    }

    function fund(address who, uint128 amount) internal {
        token.mint(who, amount);
        vm.prank(who);
        token.approve(address(bond), type(uint256).max);
    }

    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// The malleable twin of a signature: (r, n - s, other v).
    function twin(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, bytes32(GROUP_ORDER - uint256(s)), 55 - v);
    }

    // ---------------------------------------------------------------- stakes

    function stakeTerms() internal view returns (Stakes.StakeTerms memory) {
        return Stakes.StakeTerms({
            operator: operator,
            signer: vm.addr(USAGE_KEY),
            payout: OPERATOR_PAYOUT,
            token: address(token),
            unbondDelay: DELAY,
            committedKbps: 1_000_000,
            availabilityPpm: 999_000,
            salt: 0
        });
    }

    function openStake(uint128 amount) internal returns (bytes32) {
        vm.prank(operator);
        return bond.stake(stakeTerms(), amount);
    }

    function record(bytes32 stream, uint64 seq, bytes32 content)
        internal
        view
        returns (SignedStreamStatement memory)
    {
        StreamStatement memory statement = StreamStatement(stream, seq, content);
        return SignedStreamStatement(statement, sign(USAGE_KEY, bond.streamDigest(statement)));
    }

    function epochOf(uint64 number, bytes32 root, uint128 total)
        internal
        view
        returns (SignedEpochStatement memory)
    {
        EpochStatement memory statement = EpochStatement(number, root, total);
        return SignedEpochStatement(statement, sign(USAGE_KEY, bond.epochDigest(statement)));
    }

    /// Announces a report, and lets a block pass.
    function announce(address reporter, bytes32 stakeId, bytes32 subject) internal {
        bytes32 commitment = bond.reportCommitment(reporter, stakeId, subject, "salt");
        vm.prank(reporter);
        bond.commitReport(commitment);
        vm.roll(vm.getBlockNumber() + 1);
    }

    function report(bytes32 stakeId, SignedStreamStatement memory a, SignedStreamStatement memory b)
        internal
        returns (uint128)
    {
        announce(REPORTER, stakeId, bond.subjectOf(a.statement));
        vm.prank(REPORTER);
        return bond.slashStreamEquivocation(stakeId, a, b, "salt");
    }

    // ---------------------------------------------------------------- service levels

    function slaTerms() internal view returns (SlaTerms memory terms) {
        terms.payer = payer;
        terms.operator = operator;
        terms.payout = OPERATOR_PAYOUT;
        terms.token = address(token);
        terms.channelId = keccak256("channel");
        terms.committedKbps = 1_000_000;
        terms.burstKbps = 2_000_000;
        terms.availabilityPpm = 999_000;
        terms.rttP95Us = 30_000;
        terms.lossPpm = 1_000;
        terms.references = keccak256("references");
        terms.maintenance = keccak256("maintenance");
        terms.start = MARCH;
        terms.periodSeconds = 0;
        terms.periods = 3;
        terms.intervalSeconds = 60;
        terms.claimSeconds = 5 days;
        terms.fee = FEE;
        terms.bond = BOND;
        terms.credits = new CreditStep[](3);
        terms.credits[0] = CreditStep(999_000, 100_000);
        terms.credits[1] = CreditStep(990_000, 250_000);
        terms.credits[2] = CreditStep(950_000, 1_000_000);
        terms.measurers = new address[](3);
        for (uint256 i = 0; i < 3; ++i) {
            terms.measurers[i] = vm.addr(measurerKeys[i]);
        }
        terms.threshold = 2;
        terms.arbiter = vm.addr(ARBITER_KEY);
        terms.salt = "salt";
    }

    function openSla(SlaTerms memory terms) internal returns (bytes32) {
        bytes32 id = bond.slaIdOf(terms);
        bytes memory ofPayer = sign(PAYER_KEY, id);
        bytes memory ofOperator = sign(OPERATOR_KEY, id);
        vm.prank(operator);
        return bond.openSla(terms, ofPayer, ofOperator);
    }

    /// The verdict of a period, the minutes that aren't bad being good.
    function verdictOf(bytes32 slaId, uint32 period, uint32 bad)
        internal
        pure
        returns (Verdict memory)
    {
        uint32 minutes_ = period == 1 ? 30 * 1440 : 31 * 1440;
        return Verdict(slaId, period, minutes_ - bad, bad, keccak256("evidence"));
    }

    /// Signatures of two keys in the order that the contract wants.
    function signedBy(uint256 one, uint256 other, bytes32 digest)
        internal
        pure
        returns (bytes[] memory signatures)
    {
        if (vm.addr(other) < vm.addr(one)) (one, other) = (other, one);
        signatures = new bytes[](2);
        (signatures[0], signatures[1]) = (sign(one, digest), sign(other, digest));
    }

    function coSigned(Verdict memory verdict) internal view returns (bytes[] memory) {
        return signedBy(PAYER_KEY, OPERATOR_KEY, bond.verdictDigest(verdict));
    }
}
