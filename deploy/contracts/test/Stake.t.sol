// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Payouts} from "../src/Payouts.sol";
import {Stakes} from "../src/Stakes.sol";
import {BondFixture} from "./util/BondFixture.sol";

contract StakeTest is BondFixture {
    function test_staking_stores_the_terms_and_takes_the_tokens() public {
        Stakes.StakeTerms memory terms = stakeTerms();
        bytes32 expected = bond.stakeIdOf(terms);
        vm.expectEmit(address(bond));
        emit Stakes.Staked(expected, operator, terms.signer, terms);
        vm.expectEmit(address(bond));
        emit Stakes.Bonded(expected, operator, 1_000, 1_000);
        bytes32 id = openStake(1_000);
        vm.assertEq(id, expected, "id");
        Stakes.Stake memory staked = bond.stakes(id);
        vm.assertEq(keccak256(abi.encode(staked.terms)), keccak256(abi.encode(terms)), "terms");
        vm.assertEq(staked.active, 1_000, "active");
        vm.assertEq(staked.deposited, 1_000, "deposited");
        vm.assertEq(token.balanceOf(address(bond)), 1_000, "tokens");

        vm.expectRevert(abi.encodeWithSelector(Stakes.StakeExists.selector, id));
        openStake(1);
    }

    function test_terms_that_would_lose_money_or_bind_nobody_are_refused() public {
        Stakes.StakeTerms memory terms = stakeTerms();
        terms.operator = ANYBODY;
        refused(terms, abi.encodeWithSelector(Stakes.NotOperator.selector));
        terms = stakeTerms();
        terms.signer = address(0);
        refused(terms, abi.encodeWithSelector(Stakes.BadSigner.selector));
        terms = stakeTerms();
        terms.payout = address(0);
        refused(terms, abi.encodeWithSelector(Stakes.BadPayout.selector));
        terms.payout = address(bond);
        refused(terms, abi.encodeWithSelector(Stakes.BadPayout.selector));
        terms = stakeTerms();
        terms.token = address(0xDEAD);
        refused(terms, abi.encodeWithSelector(Payouts.BadToken.selector));
        terms = stakeTerms();
        terms.availabilityPpm = 1_000_001;
        refused(terms, abi.encodeWithSelector(Stakes.BadAvailability.selector, 1_000_001));
        (uint64 min, uint64 max) = (bond.MIN_UNBOND_DELAY(), bond.MAX_UNBOND_DELAY());
        terms = stakeTerms();
        terms.unbondDelay = min - 1;
        refused(terms, abi.encodeWithSelector(Stakes.DelayOutOfRange.selector, min - 1, min, max));
        terms.unbondDelay = max + 1;
        refused(terms, abi.encodeWithSelector(Stakes.DelayOutOfRange.selector, max + 1, min, max));
    }

    function test_what_is_unbonded_is_released_after_the_delay_to_the_payout_account() public {
        bytes32 id = openStake(1_000);
        uint64 due = uint64(vm.getBlockTimestamp()) + DELAY;
        vm.expectEmit(address(bond));
        emit Stakes.Unbonding(id, 400, 400, due);
        vm.prank(operator);
        bond.unbond(id, 400);
        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(Stakes.TooEarly.selector, due));
        bond.release(id);
        vm.warp(due);
        vm.expectEmit(address(bond));
        emit Stakes.Released(id, OPERATOR_PAYOUT, 400);
        vm.prank(ANYBODY);
        vm.assertEq(bond.release(id), 400, "released");
        vm.prank(ANYBODY);
        vm.assertEq(bond.payOut(OPERATOR_PAYOUT, address(token)), 400, "paid out");
        vm.assertEq(token.balanceOf(OPERATOR_PAYOUT), 400, "payout account");
        vm.assertEq(bond.stakes(id).active, 600, "the rest stays");
        vm.expectRevert(abi.encodeWithSelector(Stakes.NothingUnbonding.selector));
        bond.release(id);
        vm.expectRevert(abi.encodeWithSelector(Payouts.NothingOwed.selector));
        bond.payOut(OPERATOR_PAYOUT, address(token));
    }

    /// Otherwise a unit unbonded early would let all the others out with it.
    function test_a_later_unbond_starts_the_delay_anew() public {
        bytes32 id = openStake(1_000);
        vm.prank(operator);
        bond.unbond(id, 1);
        vm.warp(vm.getBlockTimestamp() + DELAY);
        vm.prank(operator);
        bond.unbond(id, 999);
        uint64 due = uint64(vm.getBlockTimestamp()) + DELAY;
        vm.expectRevert(abi.encodeWithSelector(Stakes.TooEarly.selector, due));
        bond.release(id);
    }

    function test_unbonding_can_be_called_off() public {
        bytes32 id = openStake(1_000);
        vm.prank(operator);
        bond.unbond(id, 400);
        vm.prank(operator);
        bond.rebond(id);
        vm.assertEq(bond.stakes(id).active, 1_000, "active");
        vm.assertEq(bond.stakes(id).releaseAt, 0, "releaseAt");
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NothingUnbonding.selector));
        bond.rebond(id);
    }

    function test_only_the_operator_unbonds_and_only_what_is_there() public {
        bytes32 id = openStake(1_000);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotOperator.selector));
        vm.prank(OPERATOR_PAYOUT);
        bond.unbond(id, 1);
        vm.expectRevert(abi.encodeWithSelector(Stakes.NotOperator.selector));
        vm.prank(ANYBODY);
        bond.rebond(id);
        vm.expectRevert(abi.encodeWithSelector(Stakes.StakeTooLow.selector, 1_000, 1_001));
        vm.prank(operator);
        bond.unbond(id, 1_001);
        vm.expectRevert(abi.encodeWithSelector(Payouts.ZeroAmount.selector));
        vm.prank(operator);
        bond.unbond(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Stakes.UnknownStake.selector, bytes32("none")));
        bond.bond("none", 1);
    }

    function testFuzz_anybody_can_add(uint128 first, uint128 second) public {
        first = bound128(first, 1, 1e30);
        second = bound128(second, 1, 1e30);
        bytes32 id = openStake(first);
        fund(ANYBODY, second);
        vm.prank(ANYBODY);
        bond.bond(id, second);
        vm.assertEq(bond.stakes(id).active, uint256(first) + second, "active");
        vm.assertEq(bond.stakes(id).deposited, uint256(first) + second, "deposited");
    }

    function refused(Stakes.StakeTerms memory terms, bytes memory why) private {
        vm.expectRevert(why);
        vm.prank(operator);
        bond.stake(terms, 1);
    }
}
