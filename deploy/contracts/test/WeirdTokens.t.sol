// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {Locked} from "../src/Locked.sol";
import {TokenTransfer} from "../src/TokenTransfer.sol";
import {EscrowFixture} from "./util/EscrowFixture.sol";
import {AnswerToken, CallbackToken, FeeToken, SilentToken} from "./util/WeirdTokens.sol";

contract WeirdTokensTest is EscrowFixture {
    function test_a_fee_on_transfer_is_refused() public {
        FeeToken fee = new FeeToken();
        fee.mint(PAYER, 1_000);
        bytes32 id = openWith(address(fee), 0);
        vm.expectRevert(
            abi.encodeWithSelector(TokenTransfer.TransferInexact.selector, address(fee), 1_000, 990)
        );
        vm.prank(PAYER);
        escrow.deposit(id, 1_000);
        vm.assertEq(balanceOf(id), 0, "nothing is credited");
    }

    function test_a_token_without_return_value_works_all_the_way() public {
        SilentToken silent = new SilentToken();
        silent.mint(PAYER, 1_000);
        bytes32 id = openWith(address(silent), 1_000);
        vm.assertEq(claim(signed(id, 0, 300, 1)), 300, "claim");
        escrow.settle(RECEIVER, address(silent));
        vm.assertEq(silent.balanceOf(RECEIVER), 300, "receiver");
        vm.prank(RECEIVER);
        escrow.refund(id, 700);
        vm.assertEq(silent.balanceOf(PAYER), 700, "payer");
    }

    function test_only_true_is_success() public {
        AnswerToken answer = new AnswerToken();
        answer.mint(PAYER, 3_000);
        bytes32 id = openWith(address(answer), 1_000);
        claim(signed(id, 0, 300, 1));
        bytes[3] memory answers =
            [abi.encode(false), abi.encode(uint256(2)), abi.encodePacked(uint8(1))];
        bytes memory failed =
            abi.encodeWithSelector(TokenTransfer.TransferFailed.selector, address(answer));
        for (uint256 i = 0; i < answers.length; ++i) {
            answer.setAnswer(answers[i]);
            vm.expectRevert(failed);
            vm.prank(PAYER);
            escrow.deposit(id, 1_000);
            vm.expectRevert(failed);
            escrow.settle(RECEIVER, address(answer));
            vm.expectRevert(failed);
            vm.prank(RECEIVER);
            escrow.refund(id, 1);
        }
        vm.assertEq(balanceOf(id), 700, "balance");
        vm.assertEq(escrow.earned(RECEIVER, address(answer)), 300, "earned");
        answer.setAnswer(abi.encode(true));
        escrow.settle(RECEIVER, address(answer));
        vm.assertEq(answer.balanceOf(RECEIVER), 300, "once the token works again");
    }

    /// Whatever moves tokens can't be entered while tokens move, in either direction.
    function test_a_token_that_calls_back_finds_the_door_shut() public {
        CallbackToken hostile = new CallbackToken();
        hostile.mint(PAYER, 100_000);
        vm.prank(PAYER);
        hostile.approve(address(escrow), type(uint256).max);
        bytes32 id = openWith(address(hostile), 10_000);
        bytes[5] memory calls = [
            abi.encodeCall(
                escrow.openChannel, (signer, RECEIVER, address(hostile), DELAY, "again", 1)
            ),
            abi.encodeCall(escrow.deposit, (id, 1)),
            abi.encodeCall(escrow.settle, (RECEIVER, address(hostile))),
            abi.encodeCall(escrow.refund, (id, 1)),
            abi.encodeCall(escrow.finalizeWithdraw, (id))
        ];
        bytes memory reentered = abi.encodeWithSelector(Locked.Reentered.selector);
        for (uint64 i = 0; i < calls.length; ++i) {
            hostile.arm(address(escrow), calls[i]);
            vm.prank(PAYER);
            escrow.deposit(id, 1_000);
            vm.assertTrue(!hostile.succeeded(), "entered during a deposit");
            vm.assertEq(keccak256(hostile.result()), keccak256(reentered), "why");

            claim(signed(id, 0, 10 * (i + 1), i));
            hostile.arm(address(escrow), calls[i]);
            escrow.settle(RECEIVER, address(hostile));
            vm.assertTrue(!hostile.succeeded(), "entered during a payment");
            vm.assertEq(keccak256(hostile.result()), keccak256(reentered), "why");
        }
        vm.assertEq(balanceOf(id), 10_000 + 5_000 - 50, "balance");
        vm.assertEq(hostile.balanceOf(RECEIVER), 50, "receiver");
        vm.assertEq(hostile.balanceOf(address(escrow)), balanceOf(id), "tokens in the escrow");
    }

    /// `claim` has no lock because it moves no token: the books are right in the middle of it.
    function test_a_claim_from_within_a_token_keeps_the_books() public {
        CallbackToken hostile = new CallbackToken();
        hostile.mint(PAYER, 1_000);
        vm.prank(PAYER);
        hostile.approve(address(escrow), type(uint256).max);
        bytes32 id = openWith(address(hostile), 0);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](1);
        rows[0] = signed(id, 0, 400, 1);
        hostile.arm(address(escrow), abi.encodeCall(escrow.claim, (rows)));
        vm.prank(PAYER);
        escrow.deposit(id, 1_000);
        vm.assertTrue(hostile.succeeded(), "claimed");
        vm.assertEq(balanceOf(id), 600, "balance");
        vm.assertEq(escrow.earned(RECEIVER, address(hostile)), 400, "earned");
        vm.assertEq(hostile.balanceOf(address(escrow)), 1_000, "tokens in the escrow");
    }

    function openWith(address weird, uint128 amount) private returns (bytes32) {
        vm.prank(PAYER);
        return escrow.openChannel(signer, RECEIVER, weird, DELAY, 0, amount);
    }
}
