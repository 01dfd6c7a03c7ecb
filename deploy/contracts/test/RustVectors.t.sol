// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExitEscrow} from "../src/ExitEscrow.sol";
import {UsageAnchor} from "../src/UsageAnchor.sol";
import {Vectors} from "./util/Vectors.sol";

/// What the relay, the sidecar and the payer compute in Rust is what the contracts compute. The
/// rows are written by `cargo run -p weir-usage --example vectors`, which
/// `cargo xtask contracts test` runs first.
contract RustVectorsTest is Vectors {
    ExitEscrow private escrow;
    bytes32 private separator;

    function setUp() public {
        string memory row = vm.readLine("out/vectors/domain.jsonl");
        vm.closeFile("out/vectors/domain.jsonl");
        escrow = ExitEscrow(vm.parseJsonAddress(row, ".escrow"));
        vm.etch(address(escrow), address(new ExitEscrow()).code);
        vm.chainId(vm.parseJsonUint(row, ".chainId"));
        separator = vm.parseJsonBytes32(row, ".separator");
    }

    function test_the_domain_separators_agree() public view {
        vm.assertEq(escrow.domainSeparator(), separator, "domain separator");
    }

    function test_digests_and_signers_agree() public view {
        uint256 count = 0;
        string memory row = vm.readLine("out/vectors/vouchers.jsonl");
        for (; bytes(row).length != 0; ++count) {
            ExitEscrow.SignedVoucher memory signed;
            signed.voucher = ExitEscrow.Voucher({
                channelId: vm.parseJsonBytes32(row, ".channelId"),
                lane: number32(row, ".lane"),
                cumulativeAmount: number128(row, ".cumulativeAmount"),
                seq: number64(row, ".seq"),
                usageHead: vm.parseJsonBytes32(row, ".usageHead")
            });
            signed.signature = vm.parseJsonBytes(row, ".signature");
            bytes32 digest = escrow.voucherDigest(signed.voucher);
            vm.assertEq(digest, vm.parseJsonBytes32(row, ".digest"), "digest");
            (address signer, ExitEscrow.Skip reason) = escrow.recoverVoucher(signed);
            vm.assertEq(uint256(reason), uint256(ExitEscrow.Skip.None), "reason");
            vm.assertEq(signer, vm.parseJsonAddress(row, ".signer"), "signer");
            row = vm.readLine("out/vectors/vouchers.jsonl");
        }
        vm.assertLe(MIN_ROWS, count, "vouchers");
    }

    function test_channel_ids_agree() public view {
        uint256 count = 0;
        string memory row = vm.readLine("out/vectors/channels.jsonl");
        for (; bytes(row).length != 0; ++count) {
            bytes32 id = escrow.channelIdOf(
                vm.parseJsonAddress(row, ".payer"),
                vm.parseJsonAddress(row, ".signer"),
                vm.parseJsonAddress(row, ".receiver"),
                vm.parseJsonAddress(row, ".token"),
                number64(row, ".withdrawDelay"),
                vm.parseJsonBytes32(row, ".salt")
            );
            vm.assertEq(id, vm.parseJsonBytes32(row, ".id"), "channel id");
            row = vm.readLine("out/vectors/channels.jsonl");
        }
        vm.assertLe(MIN_ROWS, count, "channels");
    }

    function test_merkle_proofs_agree() public {
        UsageAnchor anchor = new UsageAnchor();
        uint256 count = 0;
        string memory row = vm.readLine("out/vectors/proofs.jsonl");
        for (; bytes(row).length != 0; ++count) {
            uint64 epoch = number64(row, ".epoch");
            bytes32 root = vm.parseJsonBytes32(row, ".root");
            anchor.anchor(epoch, root, number128(row, ".total"));
            bytes32 hash = vm.parseJsonBytes32(row, ".hash");
            uint128 sum = number128(row, ".sum");
            vm.assertTrue(verify(anchor, row, epoch, hash, sum), "a leaf");
            vm.assertTrue(!verify(anchor, row, epoch, hash, sum + 1), "another sum");
            vm.assertTrue(!verify(anchor, row, epoch, ~hash, sum), "another hash");
            vm.assertTrue(!verify(anchor, row, epoch ^ 1, hash, sum), "another epoch");
            row = vm.readLine("out/vectors/proofs.jsonl");
        }
        vm.assertLe(MIN_ROWS, count, "proofs");
    }

    function verify(UsageAnchor anchor, string memory row, uint64 epoch, bytes32 hash, uint128 sum)
        private
        view
        returns (bool)
    {
        bytes32[] memory hashes = vm.parseJsonBytes32Array(row, ".siblingHashes");
        uint256[] memory sums = vm.parseJsonUintArray(row, ".siblingSums");
        UsageAnchor.Node[] memory siblings = new UsageAnchor.Node[](hashes.length);
        for (uint256 i = 0; i < hashes.length; ++i) {
            siblings[i] = UsageAnchor.Node(hashes[i], narrow128(sums[i]));
        }
        uint64 index = number64(row, ".index");
        uint64 leaves = number64(row, ".leaves");
        return anchor.verifyLeaf(address(this), epoch, hash, sum, index, leaves, siblings);
    }
}
