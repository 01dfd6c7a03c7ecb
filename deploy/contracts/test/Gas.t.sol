// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {UsageAnchor} from "../src/UsageAnchor.sol";
import {EscrowFixture} from "./util/EscrowFixture.sol";

/// What a transaction costs, base fee and calldata included: every call is a transaction of its
/// own. The figures are kept in snapshots/Gas.json, and `cargo xtask contracts test` fails when
/// they change.
/// forge-config: default.isolate = true
contract GasTest is EscrowFixture {
    function test_gas_of_the_payer() public {
        fund(PAYER, 10_000);
        vm.prank(PAYER);
        bytes32 id = escrow.openChannel(signer, RECEIVER, address(token), DELAY, 0, 1_000);
        vm.snapshotGasLastCall("Gas", "openChannel with a deposit");
        vm.prank(PAYER);
        escrow.deposit(id, 1_000);
        vm.snapshotGasLastCall("Gas", "deposit");
        vm.prank(PAYER);
        escrow.initiateWithdraw(id);
        vm.snapshotGasLastCall("Gas", "initiateWithdraw");
        vm.warp(block.timestamp + DELAY);
        vm.prank(PAYER);
        escrow.finalizeWithdraw(id);
        vm.snapshotGasLastCall("Gas", "finalizeWithdraw");
    }

    function test_gas_of_the_exit() public {
        bytes32 id = open(1_000_000);
        claimBatch(id, 0, 1, 10, "claim, first voucher of a lane and receiver");
        claimBatch(id, 0, 1, 20, "claim, later voucher of a lane");
        claimBatch(id, 0, 100, 30, "claim, 100 lanes of one channel, first time");
        claimBatch(id, 0, 100, 40, "claim, 100 lanes of one channel, later");
        bytes32[] memory ids = new bytes32[](100);
        for (uint256 i = 0; i < ids.length; ++i) {
            ids[i] = open(bytes32(i + 1), 1_000);
        }
        claimChannels(ids, 10, "claim, 100 channels, first time");
        claimChannels(ids, 20, "claim, 100 channels, later");
        escrow.settle(RECEIVER, address(token));
        vm.snapshotGasLastCall("Gas", "settle, first payment to a receiver");
        claim(signed(id, 0, 100, 1));
        escrow.settle(RECEIVER, address(token));
        vm.snapshotGasLastCall("Gas", "settle, later");
        vm.prank(RECEIVER);
        escrow.refund(id, 1);
        vm.snapshotGasLastCall("Gas", "refund");
    }

    function test_gas_of_an_anchor() public {
        UsageAnchor anchor = new UsageAnchor();
        anchor.anchor(1, keccak256("root"), 1_000_000);
        vm.snapshotGasLastCall("Gas", "anchor");
        anchor.anchor(1, keccak256("root"), 1_000_000);
        vm.snapshotGasLastCall("Gas", "anchor, repeated");
    }

    function claimBatch(
        bytes32 id,
        uint32 firstLane,
        uint32 count,
        uint128 amount,
        string memory name
    ) private {
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](count);
        for (uint32 i = 0; i < count; ++i) {
            rows[i] = signed(id, firstLane + i, amount, 1);
        }
        escrow.claim(rows);
        vm.snapshotGasLastCall("Gas", name);
    }

    function claimChannels(bytes32[] memory ids, uint128 amount, string memory name) private {
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](ids.length);
        for (uint256 i = 0; i < ids.length; ++i) {
            rows[i] = signed(ids[i], 0, amount, 1);
        }
        escrow.claim(rows);
        vm.snapshotGasLastCall("Gas", name);
    }
}
