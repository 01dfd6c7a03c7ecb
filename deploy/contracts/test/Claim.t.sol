// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {EscrowFixture} from "./util/EscrowFixture.sol";
import {Vm} from "./util/Test.sol";

contract ClaimTest is EscrowFixture {
    function test_a_voucher_earns_and_settle_pays_the_receiver() public {
        bytes32 id = open(1_000);
        ExitEscrow.SignedVoucher memory row = signed(id, 3, 400, 7);
        vm.expectEmit(address(escrow));
        emit ExitEscrow.Claimed(id, 3, RECEIVER, 400, 400, 400, 7, row.voucher.usageHead);
        vm.assertEq(claim(row), 400, "paid");
        vm.assertEq(balanceOf(id), 600, "balance");
        vm.assertEq(escrow.claimed(id, 3), 400, "claimed");

        vm.expectEmit(address(escrow));
        emit ExitEscrow.Settled(RECEIVER, address(token), 400);
        vm.prank(ANYBODY);
        vm.assertEq(escrow.settle(RECEIVER, address(token)), 400, "settled");
        vm.assertEq(token.balanceOf(RECEIVER), 400, "the receiver has it");
        vm.assertEq(token.balanceOf(ANYBODY), 0, "the caller gets no fee");
        vm.expectRevert(abi.encodeWithSelector(ExitEscrow.NothingToSettle.selector));
        escrow.settle(RECEIVER, address(token));
    }

    function test_a_voucher_is_collected_once() public {
        bytes32 id = open(1_000);
        ExitEscrow.SignedVoucher memory row = signed(id, 0, 400, 1);
        claim(row);
        claimSkipped(row, ExitEscrow.Skip.NothingOwed);
        claimSkipped(twin(row), ExitEscrow.Skip.HighS);
        // Another signature of the same amount, and an older voucher.
        claimSkipped(signed(id, 0, 400, 2), ExitEscrow.Skip.NothingOwed);
        claimSkipped(signed(id, 0, 399, 3), ExitEscrow.Skip.NothingOwed);
        vm.assertEq(claim(signed(id, 0, 401, 4)), 1, "only the difference");
    }

    function test_an_empty_escrow_burns_no_voucher() public {
        bytes32 id = open(100);
        ExitEscrow.SignedVoucher memory row = signed(id, 0, 250, 1);
        vm.assertEq(claim(row), 100, "what is there");
        claimSkipped(row, ExitEscrow.Skip.NoBalance);
        fund(ANYBODY, 500);
        vm.prank(ANYBODY);
        escrow.deposit(id, 500);
        vm.assertEq(claim(row), 150, "the remainder");
        claimSkipped(row, ExitEscrow.Skip.NothingOwed);
    }

    function test_lanes_are_paid_for_apart() public {
        bytes32 id = open(1_000);
        vm.assertEq(claim(signed(id, 0, 100, 1)), 100, "lane 0");
        vm.assertEq(claim(signed(id, type(uint32).max, 100, 1)), 100, "last lane");
        vm.assertEq(balanceOf(id), 800, "balance");
    }

    /// A payer could otherwise claim a worthless voucher with the highest seq and void the others.
    function test_a_high_seq_outdates_nothing() public {
        bytes32 id = open(1_000);
        vm.assertEq(claim(signed(id, 0, 1, type(uint64).max)), 1, "worthless");
        vm.assertEq(claim(signed(id, 0, 500, 5)), 499, "the real one");
    }

    function test_bad_rows_are_skipped_and_named() public {
        bytes32 id = open(1_000);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](10);
        for (uint32 lane = 0; lane < 10; ++lane) {
            rows[lane] = signed(id, lane, 10, 1);
        }
        rows[1].voucher.channelId = "none";
        rows[2].signature = "";
        rows[3].signature = abi.encodePacked(rows[3].signature, uint8(0));
        rows[4] = twin(rows[4]);
        rows[5].signature[64] = bytes1(uint8(rows[5].signature[64]) - 27);
        rows[6].voucher.cumulativeAmount = 11;
        rows[7].signature = abi.encodePacked(bytes32(0), bytes32(0), uint8(27));
        rows[8].voucher.cumulativeAmount = 0;
        rows[8] = signed(rows[8].voucher);

        vm.recordLogs();
        uint128[] memory paid = escrow.claim(rows);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        ExitEscrow.Skip[10] memory expected = [
            ExitEscrow.Skip.None,
            ExitEscrow.Skip.UnknownChannel,
            ExitEscrow.Skip.SignatureLength,
            ExitEscrow.Skip.SignatureLength,
            ExitEscrow.Skip.HighS,
            ExitEscrow.Skip.RecoveryByte,
            ExitEscrow.Skip.WrongSigner,
            ExitEscrow.Skip.WrongSigner,
            ExitEscrow.Skip.NothingOwed,
            ExitEscrow.Skip.None
        ];
        vm.assertEq(logs.length, 10, "one event per row");
        for (uint256 row = 0; row < 10; ++row) {
            bool good = expected[row] == ExitEscrow.Skip.None;
            vm.assertEq(paid[row], good ? 10 : 0, "paid");
            bytes32 topic = good ? ExitEscrow.Claimed.selector : ExitEscrow.ClaimSkipped.selector;
            vm.assertEq(logs[row].topics[0], topic, "event");
            if (good) continue;
            (, uint256 index, ExitEscrow.Skip reason) =
                abi.decode(logs[row].data, (uint64, uint256, ExitEscrow.Skip));
            vm.assertEq(index, row, "row");
            vm.assertEq(uint256(reason), uint256(expected[row]), "reason");
        }
        vm.assertEq(escrow.earned(RECEIVER, address(token)), 20, "the good rows are paid");
    }

    function test_a_voucher_is_good_on_one_chain_and_contract() public {
        bytes32 id = open(1_000);
        ExitEscrow.SignedVoucher memory row = signed(id, 0, 10, 1);
        vm.chainId(31_338);
        claimSkipped(row, ExitEscrow.Skip.WrongSigner);
        vm.chainId(31_337);

        ExitEscrow other = new ExitEscrow();
        vm.assertTrue(other.voucherDigest(row.voucher) != escrow.voucherDigest(row.voucher), "");
        vm.assertEq(claim(row), 10, "where it belongs");
    }

    /// Whatever is signed and in whatever order it is claimed, the lane earns the highest amount,
    /// once, as far as the deposit reaches.
    function testFuzz_the_highest_voucher_counts(uint128 deposit, uint128[8] memory amounts)
        public
    {
        bytes32 id = open(deposit);
        uint128 highest = 0;
        uint256 paid = 0;
        for (uint64 i = 0; i < amounts.length; ++i) {
            paid += claim(signed(id, 0, amounts[i], i));
            if (amounts[i] > highest) highest = amounts[i];
        }
        uint256 expected = highest < deposit ? highest : deposit;
        vm.assertEq(paid, expected, "paid");
        vm.assertEq(escrow.earned(RECEIVER, address(token)), expected, "earned");
        vm.assertEq(balanceOf(id), deposit - expected, "balance");
    }

    function testFuzz_garbage_earns_nothing_and_stops_nothing(
        ExitEscrow.Voucher memory voucher,
        bytes memory signature
    ) public {
        bytes32 id = open(100);
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](3);
        rows[0] = ExitEscrow.SignedVoucher(voucher, signature);
        voucher.channelId = id;
        rows[1] = ExitEscrow.SignedVoucher(voucher, signature);
        rows[2] = signed(id, 0, 100, 1);
        uint128[] memory paid = escrow.claim(rows);
        vm.assertEq(uint256(paid[0]) + paid[1], 0, "garbage");
        vm.assertEq(paid[2], 100, "the good row");
    }

    function testFuzz_another_key_earns_nothing(uint256 key, uint128 amount) public {
        key = bound(key, 1, GROUP_ORDER - 1);
        if (key == SIGNER_KEY) return;
        bytes32 id = open(1_000);
        ExitEscrow.Voucher memory voucher = voucherOf(id, 0, amount, 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, escrow.voucherDigest(voucher));
        bytes memory signature = abi.encodePacked(r, s, v);
        claimSkipped(ExitEscrow.SignedVoucher(voucher, signature), ExitEscrow.Skip.WrongSigner);
    }
}
