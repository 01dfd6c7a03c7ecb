// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../lab/TestToken.sol";
import {OperatorBond} from "../../src/OperatorBond.sol";
import {ServiceLevels} from "../../src/ServiceLevels.sol";
import {CreditStep, SlaTerms, Verdict} from "../../src/SlaTerms.sol";
import {Stakes} from "../../src/Stakes.sol";
import {SignedStreamStatement, StreamStatement} from "../../src/Statements.sol";
import {Test} from "./Test.sol";

/// Plays operators, reporters, payers and strangers at random, and keeps books of its own.
contract BondHandler is Test {
    uint256 private constant USAGE_KEY = 0x05A6E;
    uint256 private constant PAYER_KEY = 0xBA1;
    uint256 private constant OPERATOR_KEY = 0x0BE8;
    uint128 private constant MAX_AMOUNT = 1e30;
    uint64 private constant START = 1_772_323_200;
    uint32 public constant PERIODS = 4;
    uint128 public constant FEE = 1e24;

    OperatorBond public immutable bond;
    TestToken[2] public tokens;
    address public immutable operator = vm.addr(OPERATOR_KEY);
    address public immutable payer = vm.addr(PAYER_KEY);
    address[2] public reporters = [address(0x8E60), address(0x8E61)];
    address public constant PAYOUT = address(0xCA54);

    bytes32[] public stakeIds;
    bytes32[] public slaIds;
    mapping(bytes32 id => uint256) private saltOf;

    mapping(bytes32 id => address) public tokenOf;
    /// Of a stake: bonded, released and slashed. Of an agreement: funded, returned and credited.
    mapping(bytes32 id => uint256) public put;
    mapping(bytes32 id => uint256) public released;
    mapping(bytes32 id => uint256) public taken;
    mapping(bytes32 id => mapping(uint32 period => uint256)) public credited;
    mapping(address token => uint256) public paidOut;
    mapping(address token => uint256) public strayed;
    uint64 private nextSeq;

    constructor(OperatorBond bond_) {
        bond = bond_;
        vm.warp(START - 1 days);
        tokens = [new TestToken(), new TestToken()];
        for (uint256 j = 0; j < tokens.length; ++j) {
            vm.prank(operator);
            tokens[j].approve(address(bond), type(uint256).max);
        }
    }

    function stakeCount() external view returns (uint256) {
        return stakeIds.length;
    }

    function slaCount() external view returns (uint256) {
        return slaIds.length;
    }

    // ---------------------------------------------------------------- what happens at random

    function stake(uint256 seed, uint256 amount) external {
        Stakes.StakeTerms memory terms = Stakes.StakeTerms({
            operator: operator,
            signer: vm.addr(USAGE_KEY),
            payout: PAYOUT,
            token: address(tokens[seed % 2]),
            unbondDelay: 1 days,
            committedKbps: 1,
            availabilityPpm: 1,
            salt: bytes32((seed >> 8) % 2)
        });
        bytes32 id = bond.stakeIdOf(terms);
        if (tokenOf[id] != address(0)) return;
        uint128 value = mint(terms.token, amount);
        vm.prank(operator);
        bond.stake(terms, value);
        (tokenOf[id], put[id]) = (terms.token, value);
        stakeIds.push(id);
    }

    function addToStake(uint256 seed, uint256 amount) external {
        if (stakeIds.length == 0) return;
        bytes32 id = stakeIds[seed % stakeIds.length];
        uint128 value = mint(tokenOf[id], amount);
        vm.prank(operator);
        bond.bond(id, value);
        put[id] += value;
    }

    function unbond(uint256 seed, uint256 amount) external {
        if (stakeIds.length == 0) return;
        bytes32 id = stakeIds[seed % stakeIds.length];
        uint128 active = bond.stakes(id).active;
        if (active == 0) return;
        vm.prank(operator);
        bond.unbond(id, bound128(amount, 1, active));
    }

    function rebondOrRelease(uint256 seed) external {
        if (stakeIds.length == 0) return;
        bytes32 id = stakeIds[seed % stakeIds.length];
        Stakes.Stake memory staked = bond.stakes(id);
        if (staked.unbonding == 0) return;
        if (staked.releaseAt <= vm.getBlockTimestamp()) {
            released[id] += bond.release(id);
        } else if (seed % 3 == 0) {
            vm.prank(operator);
            bond.rebond(id);
        }
    }

    function slash(uint256 seed) external {
        if (stakeIds.length == 0) return;
        bytes32 id = stakeIds[seed % stakeIds.length];
        address reporter = reporters[(seed >> 8) % 2];
        SignedStreamStatement memory a = statement(nextSeq, "a");
        SignedStreamStatement memory b = statement(nextSeq++, "b");
        bytes32 subject = bond.subjectOf(a.statement);
        bond.commitReport(bond.reportCommitment(reporter, id, subject, 0));
        vm.roll(vm.getBlockNumber() + 1);
        uint256 before = bond.stakes(id).active + bond.stakes(id).unbonding;
        vm.prank(reporter);
        uint256 slashed = bond.slashStreamEquivocation(id, a, b, 0);
        vm.assertLe(slashed, before / 4, "a quarter at most");
        taken[id] += slashed;
    }

    function openSla(uint256 seed) external {
        SlaTerms memory terms = termsOf(seed % 6);
        bytes32 id = bond.slaIdOf(terms);
        if (tokenOf[id] != address(0)) return;
        TestToken(terms.token).mint(operator, terms.bond);
        (bytes memory one, bytes memory two) = (sign(PAYER_KEY, id), sign(OPERATOR_KEY, id));
        vm.prank(operator);
        bond.openSla(terms, one, two);
        (tokenOf[id], put[id], saltOf[id]) = (terms.token, terms.bond, seed % 6);
        slaIds.push(id);
    }

    function fundSla(uint256 seed, uint256 amount) external {
        (bytes32 id, SlaTerms memory terms, bool any) = pick(seed);
        if (!any) return;
        uint128 value = mint(terms.token, amount);
        vm.prank(operator);
        bond.fundSla(terms, value);
        put[id] += value;
    }

    function applyCredit(uint256 seed, uint256 bad) external {
        (bytes32 id, SlaTerms memory terms, bool any) = pick(seed);
        if (!any) return;
        uint32 period = uint32((seed >> 64) % PERIODS);
        if (vm.getBlockTimestamp() < START + (uint256(period) + 1) * 1 days) return;
        Verdict memory verdict = Verdict(id, period, 0, uint32(bound(bad, 0, 1440)), 0);
        (, uint32 judged, bool made,) = bond.judgements(id, period);
        if (made) verdict.bad = judged;
        uint256 paid = bond.applyCredit(terms, verdict, coSigned(verdict));
        taken[id] += paid;
        credited[id][period] += paid;
    }

    function closeSla(uint256 seed) external {
        (bytes32 id, SlaTerms memory terms, bool any) = pick(seed);
        // Rarely, or none would be left.
        if (!any || seed % 5 != 0) return;
        vm.prank(payer);
        released[id] += bond.closeSla(terms);
    }

    function payOut(uint256 seed) external {
        address account = accounts()[seed % 5];
        address token = address(tokens[(seed >> 8) % 2]);
        if (bond.owed(account, token) != 0) paidOut[token] += bond.payOut(account, token);
    }

    function wait_(uint256 seconds_) external {
        vm.warp(vm.getBlockTimestamp() + seconds_ % 1 days);
    }

    function stray(uint256 seed, uint256 amount) external {
        TestToken token = tokens[seed % 2];
        uint128 value = bound128(amount, 0, MAX_AMOUNT);
        token.mint(address(bond), value);
        strayed[address(token)] += value;
    }

    // ---------------------------------------------------------------- used by the invariants

    function accounts() public view returns (address[5] memory) {
        return [PAYOUT, payer, reporters[0], reporters[1], bond.BURNED()];
    }

    /// Everybody leaves: stakes unbond, agreements close, and all that is owed is fetched.
    function leaveAll() external {
        for (uint256 i = 0; i < stakeIds.length; ++i) {
            uint128 active = bond.stakes(stakeIds[i]).active;
            if (active == 0) continue;
            vm.prank(operator);
            bond.unbond(stakeIds[i], active);
        }
        vm.warp(vm.getBlockTimestamp() + 30 days);
        for (uint256 i = 0; i < stakeIds.length; ++i) {
            bytes32 id = stakeIds[i];
            if (bond.stakes(id).unbonding != 0) released[id] += bond.release(id);
        }
        for (uint256 i = 0; i < slaIds.length; ++i) {
            (bytes32 id, SlaTerms memory terms, bool open) = pick(i);
            if (open) released[id] += bond.closeSla(terms);
        }
        for (uint256 i = 0; i < 5; ++i) {
            for (uint256 j = 0; j < 2; ++j) {
                (address account, address token) = (accounts()[i], address(tokens[j]));
                if (bond.owed(account, token) == 0) continue;
                paidOut[token] += bond.payOut(account, token);
            }
        }
    }

    function mint(address token, uint256 amount) private returns (uint128 value) {
        value = bound128(amount, 1, MAX_AMOUNT);
        TestToken(token).mint(operator, value);
    }

    function pick(uint256 seed) private view returns (bytes32 id, SlaTerms memory terms, bool any) {
        if (slaIds.length == 0) return (id, terms, false);
        id = slaIds[seed % slaIds.length];
        (, ServiceLevels.State state) = bond.slas(id);
        any = state == ServiceLevels.State.Open;
        terms = termsOf(saltOf[id]);
    }

    function termsOf(uint256 salt) private view returns (SlaTerms memory terms) {
        terms.payer = payer;
        terms.operator = operator;
        terms.payout = PAYOUT;
        terms.token = address(tokens[salt % 2]);
        terms.availabilityPpm = 999_000;
        terms.start = START;
        terms.periodSeconds = 1 days;
        terms.periods = PERIODS;
        terms.intervalSeconds = 60;
        terms.claimSeconds = 1 days;
        terms.fee = FEE;
        terms.bond = FEE * 2;
        terms.credits = new CreditStep[](2);
        terms.credits[0] = CreditStep(999_000, 100_000);
        terms.credits[1] = CreditStep(500_000, 1_000_000);
        terms.salt = bytes32(salt);
    }

    function statement(uint64 seq, bytes32 content)
        private
        view
        returns (SignedStreamStatement memory)
    {
        StreamStatement memory said = StreamStatement("stream", seq, content);
        return SignedStreamStatement(said, sign(USAGE_KEY, bond.streamDigest(said)));
    }

    function coSigned(Verdict memory verdict) private view returns (bytes[] memory signatures) {
        bytes32 digest = bond.verdictDigest(verdict);
        bool first = payer < operator;
        signatures = new bytes[](2);
        signatures[0] = sign(first ? PAYER_KEY : OPERATOR_KEY, digest);
        signatures[1] = sign(first ? OPERATOR_KEY : PAYER_KEY, digest);
    }

    function sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
