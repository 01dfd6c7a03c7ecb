// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {EscrowFixture} from "./util/EscrowFixture.sol";

contract LeaveTest is EscrowFixture {
    function test_the_payer_leaves_after_the_delay() public {
        bytes32 id = open(1_000);
        uint64 due = uint64(block.timestamp) + DELAY;
        vm.expectEmit(address(escrow));
        emit ExitEscrow.WithdrawInitiated(id, due);
        vm.prank(PAYER);
        escrow.initiateWithdraw(id);

        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.TooEarly.selector, due));
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);

        vm.warp(due);
        vm.expectEmit(address(escrow));
        emit ExitEscrow.Withdrawn(id, 1_000);
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
        vm.assertEq(token.balanceOf(PAYER), 1_000, "all of it");

        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.NoWithdraw.selector));
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
    }

    function test_the_exit_is_paid_during_the_delay_and_from_a_later_deposit() public {
        bytes32 id = open(1_000);
        vm.prank(PAYER);
        escrow.initiateWithdraw(id);
        vm.assertEq(claim(signed(id, 0, 300, 1)), 300, "during the delay");
        vm.warp(block.timestamp + DELAY);
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
        vm.assertEq(token.balanceOf(PAYER), 700, "the rest");

        ExitEscrow.SignedVoucher memory late = signed(id, 0, 500, 2);
        claimSkipped(late, ExitEscrow.Skip.NoBalance);
        fund(PAYER, 1_000);
        vm.prank(PAYER);
        escrow.deposit(id, 1_000);
        vm.assertEq(claim(late), 200, "an old debt, without what was paid before");
    }

    function test_only_the_payer_leaves() public {
        bytes32 id = open(1_000);
        bytes memory notPayer = abi.encodeWithSelector(ExitEscrow.NotPayer.selector);
        vm.expectRevert(notPayer);
        vm.prank(RECEIVER);
        escrow.initiateWithdraw(id);
        vm.expectRevert(notPayer);
        vm.prank(ANYBODY);
        escrow.cancelWithdraw(id);
        vm.expectRevert(notPayer);
        escrow.finalizeWithdraw(id);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.UnknownChannel.selector, bytes32("none")));
        escrow.initiateWithdraw("none");
    }

    function test_a_withdrawal_can_be_called_off_but_not_restarted() public {
        bytes32 id = open(1_000);
        uint64 due = uint64(block.timestamp) + DELAY;
        vm.prank(PAYER);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.NoWithdraw.selector));
        escrow.cancelWithdraw(id);
        vm.prank(PAYER);
        escrow.initiateWithdraw(id);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.WithdrawPending.selector, due));
        vm.prank(PAYER);
        escrow.initiateWithdraw(id);

        vm.expectEmit(address(escrow));
        emit ExitEscrow.WithdrawCancelled(id);
        vm.prank(PAYER);
        escrow.cancelWithdraw(id);
        vm.warp(due);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.NoWithdraw.selector));
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
    }

    function testFuzz_nobody_waits_less_than_the_delay(uint64 delay, uint64 waited) public {
        delay = uint64(bound(delay, 0, escrow.MAX_WITHDRAW_DELAY()));
        waited = uint64(bound(waited, 0, 2 * escrow.MAX_WITHDRAW_DELAY()));
        fund(PAYER, 10);
        vm.prank(PAYER);
        bytes32 id = escrow.openChannel(signer, RECEIVER, address(token), delay, 0, 10);
        vm.prank(PAYER);
        escrow.initiateWithdraw(id);
        uint64 due = uint64(block.timestamp) + delay;
        vm.warp(block.timestamp + waited);
        if (waited < delay) {
            vm.expectRevert(abi.encodeWithSelector(ExitEscrow.TooEarly.selector, due));
        }
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
        vm.assertEq(token.balanceOf(PAYER), waited < delay ? 0 : 10, "payer");
    }

    function test_the_receiver_can_let_the_payer_go_at_once() public {
        bytes32 id = open(1_000);
        claim(signed(id, 0, 300, 1));
        vm.expectEmit(address(escrow));
        emit ExitEscrow.Refunded(id, 600, 100);
        vm.prank(RECEIVER);
        escrow.refund(id, 600);
        vm.assertEq(token.balanceOf(PAYER), 600, "payer");
        vm.assertEq(escrow.earned(RECEIVER, address(token)), 300, "earned stays");

        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.BalanceTooLow.selector, 100, 101));
        vm.prank(RECEIVER);
        escrow.refund(id, 101);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.ZeroAmount.selector));
        vm.prank(RECEIVER);
        escrow.refund(id, 0);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.NotReceiver.selector));
        vm.prank(PAYER);
        escrow.refund(id, 1);
    }
}
