// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {UsageAnchor} from "../src/UsageAnchor.sol";
import {SlaTerms, Verdict} from "../src/SlaTerms.sol";
import {SignedStreamStatement} from "../src/Statements.sol";
import {BondFixture} from "./util/BondFixture.sol";
import {EscrowFixture} from "./util/EscrowFixture.sol";

/// What a transaction costs, base fee and calldata included: every call is a transaction of its
/// own. The figures are kept in snapshots/Gas.json, and `cargo xtask contracts test` fails when
/// they change. Amounts are those of a token with 18 decimals, because bytes cost gas too.
/// forge-config: default.isolate = true
contract GasTest is EscrowFixture {
    /// An amount of the usual size.
    uint128 private constant UNIT = 1_234_567_890_123_456_789;

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
        bytes32 id = open(1_000_000 * UNIT);
        claimBatch(id, 0, 1, 10, "claim, first voucher of a lane and receiver");
        claimBatch(id, 0, 1, 20, "claim, later voucher of a lane");
        claimBatch(id, 0, 100, 30, "claim, 100 lanes of one channel, first time");
        claimBatch(id, 0, 100, 40, "claim, 100 lanes of one channel, later");
        bytes32[] memory ids = new bytes32[](100);
        for (uint256 i = 0; i < ids.length; ++i) {
            ids[i] = open(bytes32(i + 1), 1_000 * UNIT);
        }
        claimChannels(ids, 10, "claim, 100 channels, first time");
        claimChannels(ids, 20, "claim, 100 channels, later");
        escrow.settle(RECEIVER, address(token));
        vm.snapshotGasLastCall("Gas", "settle, first payment to a receiver");
        claim(signed(id, 0, 100 * UNIT, 1));
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
        anchor.challengeLeaf{value: anchor.answerFee()}(address(this), 1);
        vm.snapshotGasLastCall("Gas", "challengeLeaf");
    }

    /// A leaf of a tree of 65,536, whose proof has 16 siblings.
    function test_gas_of_an_answer() public {
        UsageAnchor anchor = new UsageAnchor();
        UsageAnchor.Node[] memory siblings = new UsageAnchor.Node[](16);
        (bytes32 hash, uint128 sum) = (keccak256("leaf"), UNIT);
        bytes32 top = keccak256(abi.encodePacked(uint8(0), hash, sum));
        // Leaf 0 is the left one all the way up.
        for (uint256 i = 0; i < 16; ++i) {
            siblings[i] = UsageAnchor.Node(keccak256(abi.encode(i)), UNIT);
            top = keccak256(abi.encodePacked(uint8(1), top, sum, siblings[i].hash, UNIT));
            sum += UNIT;
        }
        bytes32 root = keccak256(abi.encodePacked(uint8(2), top, sum, uint64(65_536)));
        anchor.anchor(1, root, sum);
        uint256 id = anchor.challengeLeaf{value: anchor.answerFee()}(address(this), 1);
        setSeed(anchor, id);
        anchor.answerLeaf(id, hash, UNIT, 65_536, siblings);
        uint256 gas = vm.snapshotGasLastCall("Gas", "answerLeaf, 65,536 leaves");
        vm.assertLe(gas, anchor.ANSWER_GAS(), "the fee covers it");
    }

    /// Has chance pick leaf 0: the seed is in the third slot of a challenge.
    function setSeed(UsageAnchor anchor, uint256 id) private {
        uint256 slot = uint256(keccak256(abi.encode(id, uint256(1)))) + 2;
        vm.store(address(anchor), bytes32(slot), bytes32(uint256(65_536) << 64));
        (,,,,, bytes32 seed,) = anchor.challenges(id);
        vm.assertEq(seed, bytes32(uint256(65_536) << 64), "the slot of the seed");
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
            rows[i] = signed(id, firstLane + i, amount * UNIT, 1);
        }
        escrow.claim(rows);
        vm.snapshotGasLastCall("Gas", name);
    }

    function claimChannels(bytes32[] memory ids, uint128 amount, string memory name) private {
        ExitEscrow.SignedVoucher[] memory rows = new ExitEscrow.SignedVoucher[](ids.length);
        for (uint256 i = 0; i < ids.length; ++i) {
            rows[i] = signed(ids[i], 0, amount * UNIT, 1);
        }
        escrow.claim(rows);
        vm.snapshotGasLastCall("Gas", name);
    }
}

/// forge-config: default.isolate = true
contract BondGasTest is BondFixture {
    uint128 private constant UNIT = 1_234_567_890_123_456_789;

    function test_gas_of_a_stake() public {
        vm.prank(operator);
        bytes32 id = bond.stake(stakeTerms(), 1_000 * UNIT);
        vm.snapshotGasLastCall("Gas", "stake");
        SignedStreamStatement memory a = record("s", 1, "a");
        SignedStreamStatement memory b = record("s", 1, "b");
        bytes32 subject = bond.subjectOf(a.statement);
        bytes32 commitment = bond.reportCommitment(REPORTER, id, subject, "salt");
        bond.commitReport(commitment);
        vm.snapshotGasLastCall("Gas", "commitReport");
        vm.roll(vm.getBlockNumber() + 1);
        vm.prank(REPORTER);
        bond.slashStreamEquivocation(id, a, b, "salt");
        vm.snapshotGasLastCall("Gas", "slashStreamEquivocation");
        vm.prank(operator);
        bond.unbond(id, 100 * UNIT);
        vm.snapshotGasLastCall("Gas", "unbond");
        vm.warp(vm.getBlockTimestamp() + DELAY);
        bond.release(id);
        vm.snapshotGasLastCall("Gas", "release");
        bond.payOut(OPERATOR_PAYOUT, address(token));
        vm.snapshotGasLastCall("Gas", "payOut, first payment to an account");
    }

    function test_gas_of_a_service_level() public {
        SlaTerms memory terms = slaTerms();
        bytes32 id = openSla(terms);
        vm.snapshotGasLastCall("Gas", "openSla");
        vm.warp(MARCH + 92 days);
        Verdict memory verdict = verdictOf(id, 0, 447);
        bytes[] memory signatures =
            signedBy(measurerKeys[0], measurerKeys[1], bond.verdictDigest(verdict));
        bond.applyCredit(terms, verdict, signatures);
        vm.snapshotGasLastCall("Gas", "applyCredit, 2 of 3 measurers");
        vm.warp(MARCH + 97 days);
        bond.closeSla(terms);
        vm.snapshotGasLastCall("Gas", "closeSla");
    }
}
