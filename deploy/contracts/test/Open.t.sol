// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {EscrowFixture} from "./util/EscrowFixture.sol";

contract OpenTest is EscrowFixture {
    function test_opening_stores_the_terms_and_takes_the_deposit() public {
        fund(PAYER, 500);
        bytes32 expected =
            escrow.channelIdOf(PAYER, signer, RECEIVER, address(token), DELAY, "salt");
        vm.expectEmit(address(escrow));
        emit ExitEscrow.Opened(expected, PAYER, RECEIVER, signer, address(token), DELAY, "salt");
        vm.expectEmit(address(escrow));
        emit ExitEscrow.Deposited(expected, PAYER, 500, 500);
        vm.prank(PAYER);
        bytes32 id = escrow.openChannel(signer, RECEIVER, address(token), DELAY, "salt", 500);
        vm.assertEq(id, expected, "id");

        (
            address payer,
            uint64 delay,
            address signedBy,
            uint64 withdrawAt,
            address receiver,
            address paidIn,
            uint128 balance
        ) = escrow.channels(id);
        vm.assertEq(payer, PAYER, "payer");
        vm.assertEq(delay, DELAY, "delay");
        vm.assertEq(signedBy, signer, "signer");
        vm.assertEq(withdrawAt, 0, "withdrawAt");
        vm.assertEq(receiver, RECEIVER, "receiver");
        vm.assertEq(paidIn, address(token), "token");
        vm.assertEq(balance, 500, "balance");
        vm.assertEq(token.balanceOf(address(escrow)), 500, "tokens in the escrow");
    }

    function test_the_same_terms_open_one_channel_only() public {
        bytes32 id = open(1);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.ChannelExists.selector, id));
        vm.prank(PAYER);
        escrow.openChannel(signer, RECEIVER, address(token), DELAY, 0, 0);
    }

    function test_terms_that_would_lose_money_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.BadSigner.selector));
        escrow.openChannel(address(0), RECEIVER, address(token), DELAY, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.BadReceiver.selector));
        escrow.openChannel(signer, address(0), address(token), DELAY, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.BadReceiver.selector));
        escrow.openChannel(signer, address(escrow), address(token), DELAY, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.BadToken.selector));
        escrow.openChannel(signer, RECEIVER, address(0xDEAD), DELAY, 0, 0);

        uint64 max = escrow.MAX_WITHDRAW_DELAY();
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.DelayTooLong.selector, max + 1, max));
        escrow.openChannel(signer, RECEIVER, address(token), max + 1, 0, 0);
        escrow.openChannel(signer, RECEIVER, address(token), max, 0, 0);
    }

    function testFuzz_anybody_can_deposit(uint128 first, uint128 second, address from) public {
        if (from == address(0) || from == address(escrow) || from == PAYER) return;
        second = bound128(second, 1, type(uint128).max);
        first = bound128(first, 0, type(uint128).max - second);
        bytes32 id = open(first);
        fund(from, second);
        vm.prank(from);
        escrow.deposit(id, second);
        vm.assertEq(balanceOf(id), uint256(first) + second, "balance");
        vm.assertEq(token.balanceOf(address(escrow)), uint256(first) + second, "tokens");
    }

    function test_deposits_that_make_no_sense_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.UnknownChannel.selector, bytes32("none")));
        escrow.deposit("none", 1);
        bytes32 id = open(type(uint128).max);
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.ZeroAmount.selector));
        escrow.deposit(id, 0);
        fund(ANYBODY, 1);
        // Panic 0x11: the balance of a channel doesn't wrap around.
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        vm.prank(ANYBODY);
        escrow.deposit(id, 1);
    }

    function testFuzz_every_term_is_part_of_the_name(address payer, address other) public view {
        if (payer == other) return;
        bytes32 id = escrow.channelIdOf(payer, payer, payer, payer, 1, 0);
        vm.assertTrue(escrow.channelIdOf(other, payer, payer, payer, 1, 0) != id, "payer");
        vm.assertTrue(escrow.channelIdOf(payer, other, payer, payer, 1, 0) != id, "signer");
        vm.assertTrue(escrow.channelIdOf(payer, payer, other, payer, 1, 0) != id, "receiver");
        vm.assertTrue(escrow.channelIdOf(payer, payer, payer, other, 1, 0) != id, "token");
        vm.assertTrue(escrow.channelIdOf(payer, payer, payer, payer, 2, 0) != id, "delay");
        vm.assertTrue(escrow.channelIdOf(payer, payer, payer, payer, 1, "1") != id, "salt");
    }
}
