// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Locked} from "../src/Locked.sol";
import {SlaTerms, Verdict} from "../src/SlaTerms.sol";
import {Stakes} from "../src/Stakes.sol";
import {TokenTransfer} from "../src/TokenTransfer.sol";
import {BondFixture} from "./util/BondFixture.sol";
import {
    AnswerToken,
    CallbackToken,
    FeeToken,
    FreezeToken,
    SilentToken
} from "./util/WeirdTokens.sol";

contract BondWeirdTokensTest is BondFixture {
    function test_a_fee_on_transfer_is_refused() public {
        FeeToken fee = new FeeToken();
        fee.mint(operator, 1_000);
        Stakes.StakeTerms memory terms = stakeTerms();
        terms.token = address(fee);
        vm.expectRevert(
            abi.encodeWithSelector(TokenTransfer.TransferInexact.selector, address(fee), 1_000, 990)
        );
        vm.prank(operator);
        bond.stake(terms, 1_000);
    }

    function test_a_token_without_return_value_works_all_the_way() public {
        SilentToken silent = new SilentToken();
        silent.mint(operator, 1_000);
        bytes32 id = stakeIn(address(silent), 1_000);
        report(id, record("s", 1, "a"), record("s", 1, "b"));
        vm.prank(operator);
        bond.unbond(id, 750);
        vm.warp(vm.getBlockTimestamp() + DELAY);
        bond.release(id);
        bond.payOut(OPERATOR_PAYOUT, address(silent));
        bond.payOut(REPORTER, address(silent));
        bond.payOut(BURNED, address(silent));
        vm.assertEq(silent.balanceOf(OPERATOR_PAYOUT), 750, "operator");
        vm.assertEq(silent.balanceOf(REPORTER), 125, "reporter");
        vm.assertEq(silent.balanceOf(address(bond)), 0, "nothing is left");
    }

    function test_only_true_is_success() public {
        AnswerToken answer = new AnswerToken();
        answer.mint(operator, 2_000);
        bytes32 id = stakeIn(address(answer), 1_000);
        report(id, record("s", 1, "a"), record("s", 1, "b"));
        answer.setAnswer(abi.encode(false));
        bytes memory failed =
            abi.encodeWithSelector(TokenTransfer.TransferFailed.selector, address(answer));
        vm.expectRevert(failed);
        vm.prank(operator);
        bond.bond(id, 1);
        vm.expectRevert(failed);
        bond.payOut(REPORTER, address(answer));
        vm.assertEq(bond.owed(REPORTER, address(answer)), 125, "still owed");
    }

    /// The token's issuer can't shield an operator: what is taken is booked, whoever is frozen.
    function test_frozen_accounts_stop_neither_a_slash_nor_a_credit() public {
        FreezeToken usd = new FreezeToken();
        usd.mint(operator, 10 * BOND);
        bytes32 id = stakeIn(address(usd), 1_000);
        SlaTerms memory terms = slaTerms();
        terms.token = address(usd);
        bytes32 slaId = openSla(terms);
        usd.freeze(REPORTER, true);
        usd.freeze(BURNED, true);
        usd.freeze(payer, true);
        usd.freeze(OPERATOR_PAYOUT, true);
        vm.assertEq(report(id, record("s", 1, "a"), record("s", 1, "b")), 250, "slashed");
        vm.warp(MARCH + 31 days);
        Verdict memory verdict = verdictOf(slaId, 0, 44_640);
        vm.assertEq(bond.applyCredit(terms, verdict, coSigned(verdict)), FEE, "credited");
        vm.prank(payer);
        bond.closeSla(terms);
        vm.expectRevert(abi.encodeWithSelector(TokenTransfer.TransferFailed.selector, address(usd)));
        bond.payOut(payer, address(usd));
        usd.freeze(payer, false);
        vm.assertEq(bond.payOut(payer, address(usd)), FEE, "paid in the end");
    }

    function test_a_token_that_calls_back_finds_the_door_shut() public {
        CallbackToken hostile = new CallbackToken();
        hostile.mint(operator, 10_000);
        bytes32 id = stakeIn(address(hostile), 1_000);
        report(id, record("s", 1, "a"), record("s", 1, "b"));
        Stakes.StakeTerms memory terms = stakeTerms();
        SlaTerms memory sla = slaTerms();
        bytes[5] memory calls = [
            abi.encodeCall(bond.stake, (terms, 1)),
            abi.encodeCall(bond.bond, (id, 1)),
            abi.encodeCall(bond.payOut, (REPORTER, address(hostile))),
            abi.encodeCall(bond.openSla, (sla, "", "")),
            abi.encodeCall(bond.fundSla, (sla, 1))
        ];
        bytes memory shut = abi.encodeWithSelector(Locked.Reentered.selector);
        for (uint256 i = 0; i < calls.length; ++i) {
            hostile.arm(address(bond), calls[i]);
            vm.prank(operator);
            bond.bond(id, 100);
            vm.assertTrue(!hostile.succeeded(), "entered");
            vm.assertEq(keccak256(hostile.result()), keccak256(shut), "why");
        }
        // What holds no lock moves no token, and the books are right in the middle of a payment.
        hostile.arm(address(bond), abi.encodeCall(bond.payOut, (REPORTER, address(hostile))));
        bond.payOut(REPORTER, address(hostile));
        vm.assertTrue(!hostile.succeeded(), "paid twice");
        vm.assertEq(hostile.balanceOf(REPORTER), 125, "once");
        vm.assertEq(hostile.balanceOf(address(bond)), 750 + 500 + 125, "tokens");
    }

    function stakeIn(address weird, uint128 amount) private returns (bytes32) {
        Stakes.StakeTerms memory terms = stakeTerms();
        terms.token = weird;
        // Some of them know no allowances.
        vm.prank(operator);
        (bool known,) =
            weird.call(abi.encodeCall(token.approve, (address(bond), type(uint256).max)));
        vm.assertTrue(known || weird != address(token), "approve");
        vm.prank(operator);
        return bond.stake(terms, amount);
    }
}
