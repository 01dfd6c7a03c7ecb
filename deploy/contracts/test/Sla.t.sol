// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ServiceLevels} from "../src/ServiceLevels.sol";
import {Signatures} from "../src/Signatures.sol";
import {SlaTerms, Verdict} from "../src/SlaTerms.sol";
import {BondFixture} from "./util/BondFixture.sol";

/// The life of an agreement, and what its verdicts pay.
contract SlaTest is BondFixture {
    function test_opening_takes_the_bond_that_both_sides_signed() public {
        SlaTerms memory terms = slaTerms();
        bytes32 expected = bond.slaIdOf(terms);
        vm.expectEmit(address(bond));
        emit ServiceLevels.SlaOpened(expected, payer, operator, BOND);
        bytes32 id = openSla(terms);
        vm.assertEq(id, expected, "id");
        (uint128 balance, ServiceLevels.State state) = bond.slas(id);
        vm.assertEq(balance, BOND, "bond");
        vm.assertEq(uint256(state), uint256(ServiceLevels.State.Open), "open");
        vm.assertEq(token.balanceOf(address(bond)), BOND, "tokens");
    }

    function test_a_bad_month_is_credited_from_the_bond() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = openSla(terms);
        vm.warp(MARCH + 31 days);
        // 44,640 minutes; 1 % of them is 446.4.
        Verdict memory verdict = verdictOf(id, 0, 447);
        bytes[] memory signatures = coSigned(verdict);
        vm.expectEmit(address(bond));
        emit ServiceLevels.Judged(id, 0, 44_193, 447, 44_640, 250_000, verdict.evidence);
        vm.expectEmit(address(bond));
        emit ServiceLevels.Credited(id, 0, payer, 250_000);
        vm.prank(ANYBODY);
        vm.assertEq(bond.applyCredit(terms, verdict, signatures), 250_000, "a quarter of the fee");
        vm.assertEq(bond.owed(payer, address(token)), 250_000, "the payer's");
        vm.assertEq(bond.owed(ANYBODY, address(token)), 0, "nothing for the caller");
        bond.payOut(payer, address(token));
        vm.assertEq(token.balanceOf(payer), 250_000, "payer");
    }

    /// Availability is compared without rounding: exactly the step's availability is no breach.
    function test_the_steps_of_the_credit_table() public view {
        SlaTerms memory terms = slaTerms();
        vm.assertEq(bond.creditOf(terms, 1_000, 0), 0, "1000 of 1000");
        vm.assertEq(bond.creditOf(terms, 1_000, 1), 0, "exactly 99.9 %");
        vm.assertEq(bond.creditOf(terms, 999, 1), 100_000, "a bit less");
        vm.assertEq(bond.creditOf(terms, 1_000, 10), 100_000, "exactly 99 %");
        vm.assertEq(bond.creditOf(terms, 1_000, 11), 250_000, "below 99 %");
        vm.assertEq(bond.creditOf(terms, 1_000, 50), 250_000, "exactly 95 %");
        vm.assertEq(bond.creditOf(terms, 1_000, 51), FEE, "below 95 %");
        vm.assertEq(bond.creditOf(terms, 1_000, 1_000), FEE, "nothing at all");
    }

    function test_unknown_minutes_are_a_draw() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = openSla(terms);
        vm.warp(MARCH + 31 days);
        Verdict memory verdict = Verdict(id, 0, 0, 44, 0);
        vm.assertEq(bond.applyCredit(terms, verdict, coSigned(verdict)), 0, "44 of 44,640 bad");
        (uint32 good, uint32 bad, bool made,) = bond.judgements(id, 0);
        vm.assertEq(good + bad, 44, "as judged");
        vm.assertTrue(made, "judged");
    }

    function test_a_period_is_credited_once() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = openSla(terms);
        vm.warp(MARCH + 31 days);
        Verdict memory verdict = verdictOf(id, 0, 100);
        bytes[] memory signatures = coSigned(verdict);
        vm.assertEq(bond.applyCredit(terms, verdict, signatures), 100_000, "first");
        vm.assertEq(bond.applyCredit(terms, verdict, signatures), 0, "again");
        vm.assertEq(bond.applyCredit(terms, verdict, new bytes[](0)), 0, "without signatures");
        Verdict memory worse = verdictOf(id, 0, 44_640);
        bytes[] memory ofWorse = coSigned(worse);
        vm.expectRevert(abi.encodeWithSelector(ServiceLevels.JudgedOtherwise.selector, 0));
        bond.applyCredit(terms, worse, ofWorse);
        vm.assertEq(bond.owed(payer, address(token)), 100_000, "once");
    }

    function test_what_the_bond_is_short_of_is_paid_once_it_is_filled_up() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = openSla(terms);
        vm.warp(MARCH + 61 days);
        Verdict memory first = verdictOf(id, 0, 44_640);
        Verdict memory second = verdictOf(id, 1, 30 * 1440);
        vm.assertEq(bond.applyCredit(terms, first, coSigned(first)), FEE, "all of it");
        vm.assertEq(bond.applyCredit(terms, second, coSigned(second)), BOND - FEE, "what is left");
        fund(ANYBODY, 700_000);
        vm.expectEmit(address(bond));
        emit ServiceLevels.SlaFunded(id, ANYBODY, 700_000, 700_000);
        vm.prank(ANYBODY);
        bond.fundSla(terms, 700_000);
        vm.assertEq(bond.applyCredit(terms, second, new bytes[](0)), 500_000, "the remainder");
        vm.assertEq(bond.owed(payer, address(token)), 2 * FEE, "two fees");
        (uint128 balance,) = bond.slas(id);
        vm.assertEq(balance, 200_000, "left");
    }

    function test_a_period_is_judged_after_it_ended_and_only_if_it_exists() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = openSla(terms);
        vm.warp(MARCH + 31 days - 1);
        Verdict memory verdict = verdictOf(id, 0, 100);
        bytes[] memory signatures = coSigned(verdict);
        vm.expectRevert(
            abi.encodeWithSelector(ServiceLevels.PeriodRuns.selector, uint256(MARCH) + 31 days)
        );
        bond.applyCredit(terms, verdict, signatures);
        verdict.period = 3;
        vm.expectRevert(abi.encodeWithSelector(ServiceLevels.NoSuchPeriod.selector, 3));
        bond.applyCredit(terms, verdict, signatures);
        vm.warp(MARCH + 31 days);
        verdict = Verdict(id, 0, 44_000, 641, 0);
        signatures = coSigned(verdict);
        bytes memory tooMany =
            abi.encodeWithSelector(ServiceLevels.MoreThanThePeriodHas.selector, 44_640);
        vm.expectRevert(tooMany);
        bond.applyCredit(terms, verdict, signatures);
        verdict = Verdict(id, 0, 0, 44_641, 0);
        signatures = coSigned(verdict);
        vm.expectRevert(tooMany);
        bond.applyCredit(terms, verdict, signatures);
    }

    function test_the_rest_of_the_bond_comes_back_after_the_time_for_verdicts() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = openSla(terms);
        // March, April and May have 92 days.
        uint256 until = uint256(MARCH) + 92 days + 5 days;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(ServiceLevels.VerdictsAreTakenUntil.selector, until));
        vm.prank(operator);
        bond.closeSla(terms);
        Verdict memory verdict = verdictOf(id, 2, 100);
        bytes[] memory signatures = coSigned(verdict);
        bond.applyCredit(terms, verdict, signatures);
        vm.warp(until);
        vm.expectEmit(address(bond));
        emit ServiceLevels.SlaClosed(id, OPERATOR_PAYOUT, BOND - 100_000);
        vm.prank(ANYBODY);
        bond.closeSla(terms);
        vm.assertEq(bond.owed(OPERATOR_PAYOUT, address(token)), BOND - 100_000, "payout");

        bytes memory closed = abi.encodeWithSelector(ServiceLevels.NoSuchSla.selector, id);
        vm.expectRevert(closed);
        bond.closeSla(terms);
        vm.expectRevert(closed);
        bond.applyCredit(terms, verdict, signatures);
        vm.expectRevert(closed);
        bond.fundSla(terms, 1);
        bytes memory ofPayer = sign(PAYER_KEY, id);
        bytes memory ofOperator = sign(OPERATOR_KEY, id);
        vm.expectRevert(abi.encodeWithSelector(ServiceLevels.SlaExists.selector, id));
        bond.openSla(terms, ofPayer, ofOperator);
    }

    function test_the_payer_can_let_the_operator_go_early() public {
        SlaTerms memory terms = slaTerms();
        openSla(terms);
        vm.prank(payer);
        vm.assertEq(bond.closeSla(terms), BOND, "all of it");
    }

    /// No verdict reaches the operator's stake.
    function test_a_verdict_never_touches_a_stake() public {
        bytes32 stakeId = openStake(1_000);
        SlaTerms memory terms = slaTerms();
        terms.bond = 1;
        bytes32 id = openSla(terms);
        vm.warp(MARCH + 31 days);
        Verdict memory verdict = verdictOf(id, 0, 44_640);
        vm.assertEq(bond.applyCredit(terms, verdict, coSigned(verdict)), 1, "the bond is empty");
        vm.assertEq(bond.stakes(stakeId).active, 1_000, "stake");
        vm.assertEq(token.balanceOf(address(bond)), 1_001, "tokens");
    }

    /// One agreement's verdict is no other's, and an agreement isn't open because another one is.
    function test_agreements_keep_to_themselves() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = openSla(terms);
        SlaTerms memory other = slaTerms();
        other.salt = "other";
        bytes32 otherId = openSla(other);
        vm.warp(MARCH + 31 days);
        Verdict memory verdict = verdictOf(id, 0, 44_640);
        bytes[] memory signatures = coSigned(verdict);
        vm.expectRevert(abi.encodeWithSelector(ServiceLevels.OtherSla.selector, id));
        bond.applyCredit(other, verdict, signatures);
        bond.applyCredit(terms, verdict, signatures);
        (uint128 balance,) = bond.slas(otherId);
        vm.assertEq(balance, BOND, "untouched");
        // The same agreement with a lower fee was never opened.
        terms.fee = 1;
        bytes32 lower = bond.slaIdOf(terms);
        vm.expectRevert(abi.encodeWithSelector(ServiceLevels.NoSuchSla.selector, lower));
        bond.closeSla(terms);
    }

    function test_the_bond_must_be_signed_for_by_both_sides() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = bond.slaIdOf(terms);
        bytes memory ofPayer = sign(PAYER_KEY, id);
        bytes memory ofOperator = sign(OPERATOR_KEY, id);
        bytes memory ofStranger = sign(STRANGER_KEY, id);
        bytes memory twinned = twin(PAYER_KEY, id);
        notOpened(terms, ofStranger, ofOperator, payer, Signatures.Flaw.None);
        notOpened(terms, ofPayer, ofStranger, operator, Signatures.Flaw.None);
        notOpened(terms, ofOperator, ofPayer, payer, Signatures.Flaw.None);
        notOpened(terms, twinned, ofOperator, payer, Signatures.Flaw.HighS);
        notOpened(terms, ofPayer, "", operator, Signatures.Flaw.Length);
        vm.chainId(31_338);
        notOpened(terms, ofPayer, ofOperator, payer, Signatures.Flaw.None);
        vm.chainId(31_337);
        terms.fee += 1;
        notOpened(terms, ofPayer, ofOperator, payer, Signatures.Flaw.None);
    }

    function testFuzz_a_credit_is_within_the_fee_and_rises_with_the_bad_minutes(
        uint128 fee,
        uint32 intervals,
        uint32 bad
    ) public view {
        SlaTerms memory terms = slaTerms();
        terms.fee = fee;
        bad = uint32(bound(bad, 0, intervals));
        uint128 credit = bond.creditOf(terms, intervals, bad);
        vm.assertLe(credit, fee, "the cap");
        if (bad > 0) vm.assertLe(bond.creditOf(terms, intervals, bad - 1), credit, "monotonic");
        if (bad == 0) vm.assertEq(credit, 0, "nothing bad, nothing owed");
    }

    /// Whatever is judged and in whatever order, an agreement pays at most its bond, and a period
    /// at most the fee.
    function testFuzz_credits_come_out_of_the_bond(uint128 deposit, uint32[6] memory bads) public {
        SlaTerms memory terms = slaTerms();
        terms.bond = bound128(deposit, 1, 4 * FEE);
        bytes32 id = openSla(terms);
        vm.warp(MARCH + 92 days);
        uint256 paid = 0;
        for (uint32 i = 0; i < 3; ++i) {
            Verdict memory verdict = verdictOf(id, i, uint32(bound(bads[i], 0, 30 * 1440)));
            bytes[] memory signatures = coSigned(verdict);
            uint256 credit = bond.applyCredit(terms, verdict, signatures);
            vm.assertLe(credit, FEE, "a period's cap");
            paid += credit;
            credit = bond.applyCredit(terms, verdict, signatures);
            vm.assertEq(credit, 0, "once");
        }
        vm.prank(payer);
        uint256 returned = bond.closeSla(terms);
        vm.assertEq(paid + returned, terms.bond, "in and out");
        vm.assertEq(bond.owed(payer, address(token)), paid, "payer");
    }

    function notOpened(
        SlaTerms memory terms,
        bytes memory ofPayer,
        bytes memory ofOperator,
        address missing,
        Signatures.Flaw flaw
    ) private {
        vm.expectRevert(abi.encodeWithSelector(ServiceLevels.NotSigned.selector, missing, flaw));
        vm.prank(operator);
        bond.openSla(terms, ofPayer, ofOperator);
    }
}
