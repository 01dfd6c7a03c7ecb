// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title UsageAnchor: exits commit to the usage of an epoch, once.
/// @notice An anchor can't be changed. It holds the root of a Merkle-sum tree over the usage
/// records of the epoch and their total, so that one record can be shown to be (or not to be) what
/// the exit committed to, without the others.
contract UsageAnchor {
    struct Node {
        bytes32 hash;
        uint128 sum;
    }

    event Anchored(address indexed exit, uint64 indexed epoch, bytes32 root, uint128 total);

    error ZeroRoot();
    /// The exit has committed to other values for this epoch.
    error AnchorConflict(address exit, uint64 epoch);

    /// keccak256(abi.encode(root, total)), or 0. The values are in the event.
    mapping(address exit => mapping(uint64 epoch => bytes32)) public commitments;

    /// Commits msg.sender to `root` and `total` for `epoch`. Repeating it changes nothing, so a
    /// transaction whose fate is unknown can be sent again; other values revert.
    function anchor(uint64 epoch, bytes32 root, uint128 total) external {
        if (root == 0) revert ZeroRoot();
        bytes32 commitment = keccak256(abi.encode(root, total));
        bytes32 existing = commitments[msg.sender][epoch];
        if (existing == commitment) return;
        if (existing != 0) revert AnchorConflict(msg.sender, epoch);
        commitments[msg.sender][epoch] = commitment;
        emit Anchored(msg.sender, epoch, root, total);
    }

    /// Whether `exit` committed to exactly these values.
    function isAnchored(address exit, uint64 epoch, bytes32 root, uint128 total)
        external
        view
        returns (bool)
    {
        return commitments[exit][epoch] == keccak256(abi.encode(root, total));
    }

    /// Whether the leaf (`hash`, `sum`) is number `index` of the `leaves` that `exit` committed to.
    /// @param siblings From the leaf upwards. The tree has the shape of RFC 6962, section 2.1.
    function verifyLeaf(
        address exit,
        uint64 epoch,
        bytes32 hash,
        uint128 sum,
        uint64 index,
        uint64 leaves,
        Node[] calldata siblings
    ) external view returns (bool) {
        if (index >= leaves) return false;
        Node memory node = Node(keccak256(abi.encodePacked(uint8(0), hash, sum)), sum);
        uint64 last = leaves - 1;
        for (uint256 i = 0; i < siblings.length; ++i) {
            if (last == 0) return false;
            if (index % 2 == 1 || index == last) {
                node = _parent(siblings[i], node);
                // The last node of a row with an odd count moves up without a sibling.
                while (index % 2 == 0 && index != 0) {
                    index /= 2;
                    last /= 2;
                }
            } else {
                node = _parent(node, siblings[i]);
            }
            index /= 2;
            last /= 2;
        }
        if (last != 0) return false;
        bytes32 root = keccak256(abi.encodePacked(uint8(2), node.hash, node.sum, leaves));
        return commitments[exit][epoch] == keccak256(abi.encode(root, node.sum));
    }

    /// Reverts when the sum overflows: no total has such a leaf.
    function _parent(Node memory left, Node memory right) private pure returns (Node memory) {
        return Node(
            keccak256(abi.encodePacked(uint8(1), left.hash, left.sum, right.hash, right.sum)),
            left.sum + right.sum
        );
    }
}
