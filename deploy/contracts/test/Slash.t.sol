// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OperatorBond} from "../src/OperatorBond.sol";
import {Signatures} from "../src/Signatures.sol";
import {Stakes} from "../src/Stakes.sol";
import {SignedEpochStatement, SignedStreamStatement} from "../src/Statements.sol";
import {BondFixture} from "./util/BondFixture.sol";

contract SlashTest is BondFixture {
    function test_two_contents_of_one_record_cost_a_quarter() public {
        bytes32 id = openStake(1_000);
        SignedStreamStatement memory a = record("stream", 7, "one");
        SignedStreamStatement memory b = record("stream", 7, "other");
        vm.assertEq(report(id, a, b), 250, "slashed");
        Stakes.Stake memory staked = bond.stakes(id);
        vm.assertEq(staked.active, 750, "active");
        vm.assertEq(staked.slashed, 250, "slashed");
        vm.assertEq(staked.equivocations, 1, "equivocations");
        vm.assertEq(bond.owed(REPORTER, address(token)), 125, "the reporter gets half");
        vm.assertEq(bond.owed(BURNED, address(token)), 125, "nobody gets the other half");
        bond.payOut(BURNED, address(token));
        vm.assertEq(token.balanceOf(BURNED), 125, "burned");
    }

    function test_two_roots_of_one_epoch_cost_a_quarter() public {
        bytes32 id = openStake(1_001);
        SignedEpochStatement memory a = epochOf(7, "root", 5);
        SignedEpochStatement memory b = epochOf(7, "root", 6);
        announce(REPORTER, id, bond.subjectOfEpoch(a.statement));
        vm.prank(REPORTER);
        vm.assertEq(bond.slashEpochEquivocation(id, a, b, "salt"), 250, "slashed");
        vm.assertEq(bond.owed(REPORTER, address(token)), 125, "reporter");
    }

    function test_what_is_on_its_way_out_is_slashed_too() public {
        bytes32 id = openStake(1_000);
        vm.prank(operator);
        bond.unbond(id, 900);
        vm.assertEq(report(id, record("s", 1, "a"), record("s", 1, "b")), 250, "of all of it");
        vm.assertEq(bond.stakes(id).active, 0, "bonded first");
        vm.assertEq(bond.stakes(id).unbonding, 750, "then unbonding");
        // Ripe, and still slashable while it is there.
        vm.warp(vm.getBlockTimestamp() + DELAY);
        vm.assertEq(report(id, record("s", 2, "a"), record("s", 2, "b")), 187, "a second time");
        vm.assertEq(bond.release(id), 563, "the rest comes out");
    }

    function test_all_slashes_together_take_at_most_half() public {
        bytes32 id = openStake(1_000);
        uint256 total = 0;
        for (uint64 seq = 0; seq < 5; ++seq) {
            total += report(id, record("s", seq, "a"), record("s", seq, "b"));
        }
        vm.assertEq(total, 500, "slashed");
        vm.assertEq(bond.stakes(id).active, 500, "left");
        vm.assertEq(bond.stakes(id).equivocations, 5, "all of them are counted");
    }

    function test_the_same_evidence_counts_once() public {
        bytes32 id = openStake(1_000);
        SignedStreamStatement memory a = record("s", 1, "a");
        SignedStreamStatement memory b = record("s", 1, "b");
        report(id, a, b);
        bytes memory again = abi.encodeWithSelector(Stakes.AlreadySlashed.selector);
        vm.expectRevert(again);
        vm.prank(REPORTER);
        bond.slashStreamEquivocation(id, a, b, "salt");
        vm.expectRevert(again);
        vm.prank(REPORTER);
        bond.slashStreamEquivocation(id, b, a, "salt");
    }

    /// n contents of one record are n - 1 equivocations, however they are paired.
    function test_a_third_content_counts_once_more() public {
        bytes32 id = openStake(1_000);
        SignedStreamStatement memory a = record("s", 1, "a");
        SignedStreamStatement memory b = record("s", 1, "b");
        SignedStreamStatement memory c = record("s", 1, "c");
        vm.assertEq(report(id, a, b), 250, "a, b");
        vm.assertEq(report(id, c, a), 187, "c, a");
        vm.expectRevert(abi.encodeWithSelector(Stakes.AlreadySlashed.selector));
        vm.prank(REPORTER);
        bond.slashStreamEquivocation(id, b, c, "salt");
    }

    /// Reporting oneself when nothing is at stake must not make a record unpunishable later.
    function test_a_self_report_in_advance_buys_no_immunity() public {
        bytes32 id = openStake(1);
        SignedStreamStatement memory x = record("s", 1, "x");
        announce(operator, id, bond.subjectOf(x.statement));
        SignedStreamStatement memory y = record("s", 1, "y");
        vm.prank(operator);
        vm.assertEq(bond.slashStreamEquivocation(id, x, y, "salt"), 0, "nothing there");
        vm.prank(operator);
        bond.bond(id, 999);
        SignedStreamStatement memory real = record("s", 1, "real");
        vm.assertEq(report(id, real, x), 250, "slashed all the same");
    }

    /// Whoever sees a report in the mempool can't take its reward, nor keep the reporter from it.
    function test_a_report_can_not_be_run_after() public {
        bytes32 id = openStake(1_000);
        SignedStreamStatement memory a = record("s", 1, "a");
        SignedStreamStatement memory b = record("s", 1, "b");
        bytes32 subject = bond.subjectOf(a.statement);
        announce(REPORTER, id, subject);
        // The copy is in the same block as the report: it has no older commitment.
        bytes32 copy = bond.reportCommitment(ANYBODY, id, subject, "salt");
        bytes memory uncommitted = abi.encodeWithSelector(Stakes.NotCommitted.selector, copy);
        vm.expectRevert(uncommitted);
        vm.prank(ANYBODY);
        bond.slashStreamEquivocation(id, a, b, "salt");
        vm.prank(ANYBODY);
        bond.commitReport(copy);
        vm.expectRevert(uncommitted);
        vm.prank(ANYBODY);
        bond.slashStreamEquivocation(id, a, b, "salt");
        // Nor does committing somebody else's commitment again put it off.
        vm.prank(ANYBODY);
        bond.commitReport(bond.reportCommitment(REPORTER, id, subject, "salt"));
        vm.prank(REPORTER);
        vm.assertEq(bond.slashStreamEquivocation(id, a, b, "salt"), 250, "the reporter's");
    }

    function test_what_proves_nothing_is_refused() public {
        bytes32 id = openStake(1_000);
        SignedStreamStatement memory a = record("s", 1, "a");
        announce(REPORTER, id, bond.subjectOf(a.statement));
        refused(id, a, a, abi.encodeWithSelector(Stakes.SameStatement.selector));
        // Two signatures of one content are no contradiction either.
        SignedStreamStatement memory other = record("s", 1, "a");
        other.signature = twin(USAGE_KEY, bond.streamDigest(other.statement));
        refused(id, a, other, abi.encodeWithSelector(Stakes.SameStatement.selector));
        bytes memory differ = abi.encodeWithSelector(Stakes.SubjectsDiffer.selector);
        refused(id, a, record("s", 2, "b"), differ);
        refused(id, a, record("t", 1, "b"), differ);

        other = record("s", 1, "b");
        bytes32 digest = bond.streamDigest(other.statement);
        other.signature = sign(STRANGER_KEY, digest);
        refused(id, a, other, notSigned(1, Signatures.Flaw.None));
        refused(id, other, a, notSigned(0, Signatures.Flaw.None));
        other.signature = twin(USAGE_KEY, digest);
        refused(id, a, other, notSigned(1, Signatures.Flaw.HighS));
        other.signature = abi.encodePacked(sign(USAGE_KEY, digest), uint8(0));
        refused(id, a, other, notSigned(1, Signatures.Flaw.Length));
        other.signature = abi.encodePacked(bytes32(0), bytes32(0), uint8(27));
        refused(id, a, other, notSigned(1, Signatures.Flaw.Nobody));
        other.signature = sign(USAGE_KEY, digest);
        other.signature[64] = bytes1(uint8(other.signature[64]) - 27);
        refused(id, a, other, notSigned(1, Signatures.Flaw.RecoveryByte));
        vm.assertEq(bond.stakes(id).active, 1_000, "nothing was slashed");
    }

    function test_statements_are_good_on_one_chain_and_contract() public {
        bytes32 id = openStake(1_000);
        SignedStreamStatement memory a = record("s", 1, "a");
        SignedStreamStatement memory b = record("s", 1, "b");
        announce(REPORTER, id, bond.subjectOf(a.statement));
        vm.chainId(31_338);
        refused(id, a, b, notSigned(0, Signatures.Flaw.None));
        vm.chainId(31_337);
        OperatorBond other = new OperatorBond();
        vm.assertTrue(other.streamDigest(a.statement) != bond.streamDigest(a.statement), "digest");
    }

    function testFuzz_a_slash_is_a_quarter_within_the_cap_and_never_more(
        uint128 amount,
        uint128 unbonded,
        uint8 times
    ) public {
        amount = bound128(amount, 1, 1e30);
        unbonded = bound128(unbonded, 0, amount);
        bytes32 id = openStake(amount);
        if (unbonded != 0) {
            vm.prank(operator);
            bond.unbond(id, unbonded);
        }
        uint256 left = amount;
        for (uint64 seq = 0; seq < times % 6; ++seq) {
            uint256 expected = left / 4;
            uint256 cap = amount / 2 - (amount - left);
            if (expected > cap) expected = cap;
            vm.assertEq(report(id, record("s", seq, "a"), record("s", seq, "b")), expected, "");
            left -= expected;
        }
        Stakes.Stake memory staked = bond.stakes(id);
        vm.assertEq(uint256(staked.active) + staked.unbonding, left, "left");
        uint256 rewards = bond.owed(REPORTER, address(token));
        uint256 burned = bond.owed(BURNED, address(token));
        vm.assertEq(left + rewards + burned, amount, "nothing is lost");
        vm.assertLe(rewards, burned, "the reporter gets at most half");
    }

    function refused(
        bytes32 id,
        SignedStreamStatement memory a,
        SignedStreamStatement memory b,
        bytes memory why
    ) private {
        vm.expectRevert(why);
        vm.prank(REPORTER);
        bond.slashStreamEquivocation(id, a, b, "salt");
    }

    function notSigned(uint256 statement, Signatures.Flaw flaw)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSelector(Stakes.NotTheSigner.selector, statement, flaw);
    }
}
