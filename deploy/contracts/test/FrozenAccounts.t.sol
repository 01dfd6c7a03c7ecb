// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {TokenTransfer} from "../src/TokenTransfer.sol";
import {EscrowFixture} from "./util/EscrowFixture.sol";
import {FreezeToken, LyingToken} from "./util/WeirdTokens.sol";

/// An account that a token has frozen stops its own payment, and nobody else's.
contract FrozenAccountsTest is EscrowFixture {
    FreezeToken private usd;
    bytes32 private id;
    address private constant OTHER = address(0xE818);

    function setUp() public override {
        super.setUp();
        usd = new FreezeToken();
        usd.mint(PAYER, 10_000);
        vm.prank(PAYER);
        usd.approve(address(escrow), type(uint256).max);
        vm.prank(PAYER);
        id = escrow.openChannel(signer, RECEIVER, address(usd), DELAY, 0, 1_000);
    }

    function test_a_frozen_receiver_holds_up_neither_claims_nor_payers_nor_other_exits() public {
        vm.prank(PAYER);
        bytes32 other = escrow.openChannel(signer, OTHER, address(usd), DELAY, 0, 1_000);
        usd.freeze(RECEIVER, true);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](2);
        (rows[0], rows[1]) = (signed(id, 0, 300, 1), signed(other, 0, 400, 1));
        escrow.claim(rows);
        vm.expectRevert(abi.encodeWithSelector(TokenTransfer.TransferFailed.selector, address(usd)));
        escrow.settle(RECEIVER, address(usd));
        vm.assertEq(escrow.settle(OTHER, address(usd)), 400, "the other exit");
        vm.prank(PAYER);
        escrow.initiateWithdraw(id);
        vm.warp(vm.getBlockTimestamp() + DELAY);
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
        vm.assertEq(usd.balanceOf(PAYER), 10_000 - 2_000 + 700, "the payer leaves");
        usd.freeze(RECEIVER, false);
        vm.assertEq(escrow.settle(RECEIVER, address(usd)), 300, "nothing was lost");
    }

    function test_a_frozen_payer_loses_nothing_and_the_exit_is_paid() public {
        vm.prank(PAYER);
        escrow.initiateWithdraw(id);
        usd.freeze(PAYER, true);
        vm.warp(vm.getBlockTimestamp() + DELAY);
        vm.expectRevert(abi.encodeWithSelector(TokenTransfer.TransferFailed.selector, address(usd)));
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
        vm.assertEq(claim(signed(id, 0, 300, 1)), 300, "the exit");
        usd.freeze(PAYER, false);
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
        vm.assertEq(usd.balanceOf(PAYER), 9_700, "the rest");
    }

    function test_a_token_that_moves_nothing_deposits_nothing() public {
        LyingToken lying = new LyingToken();
        vm.prank(PAYER);
        lying.approve(address(escrow), 5);
        vm.expectRevert(
            abi.encodeWithSelector(TokenTransfer.TransferInexact.selector, address(lying), 5, 0)
        );
        vm.prank(PAYER);
        escrow.openChannel(signer, RECEIVER, address(lying), DELAY, 0, 5);
    }
}
