// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {UsageAnchor} from "../src/UsageAnchor.sol";
import {Test, Vm} from "./util/Test.sol";

contract UsageAnchorTest is Test {
    UsageAnchor private anchor;

    function setUp() public {
        anchor = new UsageAnchor();
    }

    function testFuzz_an_epoch_is_anchored_once(
        address exit,
        uint64 epoch,
        bytes32 root,
        uint128 total
    ) public {
        if (root == 0) return;
        vm.expectEmit(address(anchor));
        emit UsageAnchor.Anchored(exit, epoch, root, total);
        vm.prank(exit);
        anchor.anchor(epoch, root, total);
        vm.assertTrue(anchor.isAnchored(exit, epoch, root, total), "anchored");

        vm.recordLogs();
        vm.prank(exit);
        anchor.anchor(epoch, root, total);
        vm.assertEq(vm.getRecordedLogs().length, 0, "the same again is silent");

        bytes memory conflict =
            abi.encodeWithSelector(UsageAnchor.AnchorConflict.selector, exit, epoch);
        vm.expectRevert(conflict);
        vm.prank(exit);
        anchor.anchor(epoch, root, total ^ 1);
        bytes32 other = bytes32(uint256(root) ^ (root == bytes32(uint256(1)) ? 2 : 1));
        vm.expectRevert(conflict);
        vm.prank(exit);
        anchor.anchor(epoch, other, total);
        vm.assertTrue(anchor.isAnchored(exit, epoch, root, total), "unchanged");
    }

    function testFuzz_nobody_anchors_for_another_exit(address exit, address other) public {
        if (exit == other) return;
        vm.prank(exit);
        anchor.anchor(1, "root", 2);
        vm.assertTrue(!anchor.isAnchored(other, 1, "root", 2), "other exit");
        vm.assertTrue(!anchor.isAnchored(exit, 2, "root", 2), "other epoch");
        vm.prank(other);
        anchor.anchor(1, "other root", 3);
        vm.assertTrue(anchor.isAnchored(exit, 1, "root", 2), "unchanged");
    }

    function test_a_zero_root_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(UsageAnchor.ZeroRoot.selector));
        anchor.anchor(1, 0, 1);
        vm.assertTrue(!anchor.isAnchored(address(this), 1, 0, 0), "nothing is anchored");
    }

    function testFuzz_a_random_proof_shows_nothing(
        bytes32 hash,
        uint64 sum,
        uint64 index,
        uint64 leaves,
        bytes32[4] memory hashes
    ) public {
        anchor.anchor(1, keccak256("root"), 2);
        UsageAnchor.Node[] memory siblings = new UsageAnchor.Node[](hashes.length);
        for (uint256 i = 0; i < hashes.length; ++i) {
            siblings[i] = UsageAnchor.Node(hashes[i], sum);
        }
        bool shown = anchor.verifyLeaf(address(this), 1, hash, sum, index, leaves, siblings);
        vm.assertTrue(!shown, "shown");
    }

    /// An inner node has the shape of two leaves; the prefixes tell them apart.
    function test_a_node_is_no_leaf() public {
        UsageAnchor.Node[] memory none = new UsageAnchor.Node[](0);
        bytes32 left = keccak256(abi.encodePacked(uint8(0), bytes32("a"), uint128(1)));
        bytes32 right = keccak256(abi.encodePacked(uint8(0), bytes32("b"), uint128(2)));
        bytes32 top = keccak256(abi.encodePacked(uint8(1), left, uint128(1), right, uint128(2)));
        bytes32 root = keccak256(abi.encodePacked(uint8(2), top, uint128(3), uint64(2)));
        anchor.anchor(1, root, 3);
        UsageAnchor.Node[] memory one = new UsageAnchor.Node[](1);
        one[0] = UsageAnchor.Node(right, 2);
        vm.assertTrue(anchor.verifyLeaf(address(this), 1, "a", 1, 0, 2, one), "leaf a");
        vm.assertTrue(!anchor.verifyLeaf(address(this), 1, "a", 1, 1, 2, one), "wrong side");
        vm.assertTrue(!anchor.verifyLeaf(address(this), 1, left, 1, 0, 2, one), "node as leaf");
        vm.assertTrue(!anchor.verifyLeaf(address(this), 1, top, 3, 0, 1, none), "top as leaf");
        vm.assertTrue(!anchor.verifyLeaf(address(this), 1, "a", 1, 0, 1, one), "wrong count");
        vm.assertTrue(!anchor.verifyLeaf(address(this), 1, "a", 1, 2, 2, one), "outside");
        one[0].sum = type(uint128).max;
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        anchor.verifyLeaf(address(this), 1, "a", 1, 0, 2, one);
    }
}
