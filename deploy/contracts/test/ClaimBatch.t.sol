// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {EscrowFixture} from "./util/EscrowFixture.sol";

/// A batch reads a channel once for rows that follow each other. However rows are ordered, they
/// earn what they would earn one by one.
contract ClaimBatchTest is EscrowFixture {
    uint256 private constant ROWS = 12;

    /// Three channels of two receivers and two tokens, unknown channels, bad signatures, repeated
    /// and older vouchers, at random; claimed as one batch and one by one on a copy.
    function testFuzz_a_batch_is_its_rows(
        uint128[3] memory deposits,
        uint256[ROWS] memory seeds,
        uint128[ROWS] memory amounts
    ) public {
        ExitEscrow single = new ExitEscrow();
        bytes32[4] memory here = channelsOf(escrow, deposits);
        bytes32[4] memory there = channelsOf(single, deposits);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](ROWS);
        ExitEscrow.SignedVoucher[] memory one = new ExitEscrow.SignedVoucher[](1);
        uint128[] memory paid = new uint128[](ROWS);
        for (uint256 i = 0; i < ROWS; ++i) {
            (uint256 channel, uint32 lane) = (seeds[i] % 4, uint32((seeds[i] >> 8) % 3));
            uint256 key = (seeds[i] >> 16) % 5 == 0 ? 0xBAD : SIGNER_KEY;
            uint128 amount = amounts[i] % 2_000;
            rows[i] = signedOn(escrow, key, voucherOf(here[channel], lane, amount, uint64(i)));
            one[0] = signedOn(single, key, voucherOf(there[channel], lane, amount, uint64(i)));
            paid[i] = single.claim(one)[0];
        }
        vm.assertEq(keccak256(abi.encode(escrow.claim(rows))), keccak256(abi.encode(paid)), "paid");
        for (uint256 i = 0; i < 4; ++i) {
            (,,,, address receiver, address paidIn, uint128 balance) = escrow.channels(here[i]);
            (,,,,,, uint128 expected) = single.channels(there[i]);
            vm.assertEq(balance, expected, "balance");
            vm.assertEq(escrow.earned(receiver, paidIn), single.earned(receiver, paidIn), "earned");
            for (uint32 lane = 0; lane < 3; ++lane) {
                uint128 there_ = single.claimed(there[i], lane);
                vm.assertEq(escrow.claimed(here[i], lane), there_, "claimed");
            }
        }
    }

    /// The channel that is read for an unknown id must not be the one before it, nor be written.
    function test_an_unknown_channel_between_two_rows_changes_neither() public {
        bytes32 id = open(1_000);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](4);
        rows[0] = signed(bytes32(0), 0, 1, 1);
        rows[1] = signed(id, 0, 100, 1);
        rows[2] = signed("none", 0, 500, 1);
        rows[3] = signed(id, 0, 150, 2);
        uint128[] memory paid = escrow.claim(rows);
        vm.assertEq(paid[0] + paid[2], 0, "unknown");
        vm.assertEq(paid[1], 100, "before");
        vm.assertEq(paid[3], 50, "after");
        vm.assertEq(balanceOf(id), 850, "balance");
        vm.assertEq(escrow.claimed("none", 0), 0, "claimed");
        (address payer,,,,,,) = escrow.channels("none");
        vm.assertEq(payer, address(0), "no channel came to be");
    }

    /// Lane 0 is kept beside the balance, the others are not; nobody notices.
    function testFuzz_all_lanes_are_alike(uint32 lane, uint32 other) public {
        if (lane == other) return;
        bytes32 id = open(1_000);
        vm.assertEq(claim(signed(id, lane, 300, 1)), 300, "first");
        vm.assertEq(escrow.claimed(id, lane), 300, "claimed");
        vm.assertEq(escrow.claimed(id, other), 0, "the other");
        vm.assertEq(claim(signed(id, other, 200, 1)), 200, "other lane");
        vm.assertEq(claim(signed(id, lane, 350, 2)), 50, "difference");
        vm.assertEq(escrow.claimed(id, lane), 350, "claimed");
        vm.assertEq(escrow.claimed(id, other), 200, "the other");
    }

    /// What is outside of a member's type in calldata earns nothing: it isn't cut off silently.
    function test_dirty_bits_are_not_cut_off() public {
        bytes32 id = open(1_000);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](1);
        rows[0] = signed(id, 3, 100, 1);
        bytes memory input = abi.encodeCall(escrow.claim, (rows));
        // selector, offset, length, offset of row 0, channelId, lane: its highest byte.
        input[4 + 32 * 4] = 0x01;
        (bool ok,) = address(escrow).call(input);
        vm.assertTrue(!ok, "claimed");
        vm.assertEq(balanceOf(id), 1_000, "balance");
    }

    /// The whole range of amounts, on several lanes of one channel.
    function test_the_largest_amounts_do_not_wrap_around() public {
        bytes32 id = open(type(uint128).max);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](3);
        rows[0] = signed(id, 0, type(uint128).max - 1, 1);
        rows[1] = signed(id, 1, type(uint128).max, 1);
        rows[2] = signed(id, 2, type(uint128).max, 1);
        uint128[] memory paid = escrow.claim(rows);
        vm.assertEq(paid[0], type(uint128).max - 1, "first");
        vm.assertEq(paid[1], 1, "what is left");
        vm.assertEq(paid[2], 0, "nothing");
        vm.assertEq(escrow.earned(RECEIVER, address(token)), type(uint128).max, "earned");
    }

    function channelsOf(ExitEscrow on, uint128[3] memory deposits)
        private
        returns (bytes32[4] memory ids)
    {
        for (uint256 i = 0; i < 3; ++i) {
            uint128 amount = deposits[i] % 3_000;
            token.mint(PAYER, amount);
            vm.prank(PAYER);
            token.approve(address(on), type(uint256).max);
            address receiver = i == 2 ? address(0xE818) : RECEIVER;
            vm.prank(PAYER);
            ids[i] = on.openChannel(signer, receiver, address(token), DELAY, bytes32(i), amount);
        }
        ids[3] = "none";
    }

    function signedOn(ExitEscrow on, uint256 key, ExitEscrow.Voucher memory voucher)
        private
        view
        returns (ExitEscrow.SignedVoucher memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, on.voucherDigest(voucher));
        return ExitEscrow.SignedVoucher(voucher, abi.encodePacked(r, s, v));
    }
}
